# SPDX-License-Identifier: MIT
"""Asks the LAN who has an address: an ARP probe, or a neighbour solicitation, from a packet socket.

An ARP probe has no sender's address (RFC 5227 1.1), so nobody's cache takes anything from it. A solicitation comes
from the uplink's own link-local address, and is answered to it (RFC 4861 7.2.4).
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import time
from collections.abc import Iterable

from keepalived_dummy.facts import Answer
from keepalived_dummy.groups import group
from keepalived_dummy.interfaces import Link

ETH_P_ALL, ETH_P_ARP, ETH_P_IPV6 = 0x0003, 0x0806, 0x86DD
_BROADCAST = b"\xff" * 6
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_ARP_HEAD = (1, 0x0800, 6, 4)
_REQUEST, _REPLY = 1, 2
_SOLICIT, _ADVERT = 135, 136
_ROUNDS, _BETWEEN = 3, 0.3  # three times, and 0.3 seconds for the answers each time


def ask(link: Link, local: Iterable[bytes], addresses: list[str]) -> list[Answer]:
    """Who answers for these addresses on the LAN of an uplink, once each; takes a second.

    `local`: the uplink's own addresses, of which IPv6 needs a link-local one. OSError without CAP_NET_RAW.
    """
    source = next((a for a in local if len(a) == 16 and a[:2] == b"\xfe\x80"), None)
    wanted = {ipaddress.ip_address(address).packed: address for address in addresses}
    frames = [frame for packed in wanted if (frame := question(link.mac, source, packed))]
    kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
    found: dict[Answer, None] = {}
    with socket.socket(socket.AF_PACKET, kind, socket.htons(ETH_P_ALL)) as sock:
        sock.bind((link.name, ETH_P_ALL))
        for _ in range(_ROUNDS):
            for frame in frames:
                sock.send(frame)
            for address, mac in _heard(sock, time.monotonic() + _BETWEEN):
                if address in wanted:
                    found[Answer(wanted[address], link.name, mac.hex(":"))] = None
    return list(found)


def _heard(sock: socket.socket, until: float) -> list[tuple[bytes, bytes]]:
    """Addresses and the MACs that answer for them, until then. Our own frames are not taken for answers."""
    found = []
    while (left := until - time.monotonic()) > 0:
        sock.settimeout(left)
        try:
            frame, (_, _, kind, _, _) = sock.recvfrom(2048)
        except TimeoutError:
            break
        if kind != socket.PACKET_OUTGOING and (said := answer(frame)):
            found.append(said)
    return found


def question(mac: bytes, source: bytes | None, address: bytes) -> bytes | None:
    """The frame that asks for an address; None for IPv6 without a link-local address to ask from."""
    if len(address) == 4:
        body = _ARP.pack(*_ARP_HEAD, _REQUEST, mac, bytes(4), bytes(6), address)
        return _BROADCAST + mac + struct.pack("!H", ETH_P_ARP) + body
    if source is None:
        return None
    to = group(address)
    body = struct.pack("!BBHI16s", _SOLICIT, 0, 0, 0, address) + b"\x01\x01" + mac
    pseudo = source + to + struct.pack("!II", len(body), socket.IPPROTO_ICMPV6)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    head = struct.pack("!IHBB", 6 << 28, len(body), socket.IPPROTO_ICMPV6, 255)
    ethernet = b"\x33\x33" + to[12:] + mac + struct.pack("!H", ETH_P_IPV6)
    return ethernet + head + source + to + body


def answer(frame: bytes) -> tuple[bytes, bytes] | None:
    """The address a frame answers for, and the MAC it gives; None for what is no answer."""
    kind, body = frame[12:14], frame[14:]
    if kind == struct.pack("!H", ETH_P_ARP) and len(body) >= _ARP.size:
        *head, operation, mac, address, _, _ = _ARP.unpack_from(body)
        said = tuple(head) == _ARP_HEAD and operation == _REPLY
        return (address, mac) if said else None
    if kind != struct.pack("!H", ETH_P_IPV6) or len(body) < 64:
        return None
    if body[6] != socket.IPPROTO_ICMPV6 or body[7] != 255 or body[40] != _ADVERT:
        return None
    options, target = body[64:], body[48:64]
    if len(options) >= 8 and options[:2] == b"\x02\x01":
        return target, options[2:8]
    return target, frame[6:12]


def checksum(data: bytes) -> int:
    """RFC 1071."""
    words = struct.iter_unpack("!H", data + bytes(len(data) % 2))
    total: int = sum(word for (word,) in words)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
