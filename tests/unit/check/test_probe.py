# SPDX-License-Identifier: MIT
"""The frames of a probe, and what counts as an answer."""

from __future__ import annotations

import ipaddress
import struct

import pytest

from keepalived_dummy import probe

OUR_MAC, MAC = bytes.fromhex("020000000002"), bytes.fromhex("02aa00000001")
VIP4, VIP6 = (ipaddress.ip_address(a).packed for a in ("192.0.2.10", "2001:db8::1:203:405"))
LOCAL = ipaddress.ip_address("fe80::2").packed


def test_an_arp_probe_bears_no_sender() -> None:
    """RFC 5227 2.1.1."""
    frame = probe.question(OUR_MAC, None, VIP4)
    assert frame is not None
    head = "ffffffffffff" + OUR_MAC.hex() + "0806" + "0001080006040001"
    assert frame.hex() == head + OUR_MAC.hex() + "00000000" + "000000000000" + VIP4.hex()


def test_a_solicitation() -> None:
    """RFC 4861 4.3, 7.2.2: to the solicited-node group, from the link-local address, with its MAC."""
    frame = probe.question(OUR_MAC, LOCAL, VIP6)
    assert frame is not None
    assert frame[:14].hex() == "3333ff030405" + OUR_MAC.hex() + "86dd"
    assert frame[14:22].hex() == "60000000" + "0020" + "3a" + "ff"
    group = ipaddress.ip_address("ff02::1:ff03:405").packed
    assert frame[22:54] == LOCAL + group
    assert frame[54:56].hex() == "8700"
    assert frame[58:] == bytes(4) + VIP6 + b"\x01\x01" + OUR_MAC
    # Over all of it, the checksum with it, the sum is nothing.
    pseudo = LOCAL + group + struct.pack("!II", 32, 58)
    assert probe.checksum(pseudo + frame[54:]) == 0


def test_no_solicitation_without_a_link_local_address() -> None:
    assert probe.question(OUR_MAC, None, VIP6) is None


def reply(operation: int = 2, kind: str = "0806") -> bytes:
    body = struct.pack("!HHBBH", 1, 0x800, 6, 4, operation) + MAC + VIP4 + OUR_MAC + bytes(4)
    return OUR_MAC + MAC + bytes.fromhex(kind) + body


def advertisement(
    option: bytes = b"", kind: int = 136, limit: int = 255, protocol: int = 58
) -> bytes:
    icmp = struct.pack("!BBHI", kind, 0, 0, 0x60000000) + VIP6 + option
    head = struct.pack("!IHBB", 6 << 28, len(icmp), protocol, limit) + VIP6 + LOCAL
    return OUR_MAC + MAC + b"\x86\xdd" + head + icmp


OTHER = bytes.fromhex("02bb00000001")


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (reply(), (VIP4, MAC)),
        (reply() + bytes(18), (VIP4, MAC)),
        (reply(1), None),
        (reply(kind="0800"), None),
        (reply()[:30], None),
        (advertisement(), (VIP6, MAC)),
        (advertisement(b"\x02\x01" + OTHER), (VIP6, OTHER)),
        (advertisement(kind=135), None),
        (advertisement(limit=254), None),
        (advertisement(protocol=6), None),
        (advertisement()[:60], None),
        (b"", None),
    ],
)
def test_an_answer(frame: bytes, said: tuple[bytes, bytes] | None) -> None:
    assert probe.answer(frame) == said
