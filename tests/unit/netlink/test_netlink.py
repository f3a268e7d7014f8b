# SPDX-License-Identifier: MIT
"""Bytes of a real kernel (Linux 6.12) read, and any bytes at all."""

import struct
from contextlib import nullcontext
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from idle import IDLE

from keepalived_dummy import interfaces, kernel, links, live, netlink, service
from keepalived_dummy.host import Host
from keepalived_dummy.interfaces import Address, Link
from keepalived_dummy.netlink import CLSACT_EGRESS, CLSACT_INGRESS, Message
from keepalived_dummy.plan import Dummy, Plan
from keepalived_dummy.service import Service

HERE = Path(__file__).parent
COOKIE = bytes.fromhex("00112233445566778899aabbccddeeff")


def captured(name: str) -> bytes:
    return bytes.fromhex((HERE / f"{name}.hex").read_text())


def test_egress_filters() -> None:
    found = [f for f in netlink.filters(captured("egress")) if f.handle]
    assert [(f.pref, f.protocol, f.kind) for f in found] == [
        (1, 0x0806, "matchall"),
        (2, 0x86DD, "flower"),
        (3, 0x86DD, "flower"),
        (4, 0x86DD, "flower"),
    ]
    assert {(f.ifindex, f.parent, f.chain, f.cookies) for f in found} == {(6, CLSACT_EGRESS, 0, ())}


def test_ingress_filters() -> None:
    found = list(netlink.filters(captured("ingress")))
    assert [(f.pref, f.protocol, f.kind, f.handle, f.cookies) for f in found] == [
        (19268, 0x86DD, "u32", 0, ()),
        (19268, 0x86DD, "u32", 0x80000000, ()),
        (19268, 0x86DD, "u32", 0x80000800, ()),
        (19268, 0x86DD, "u32", 0x80000801, ()),
        (19270, 0x0800, "flower", 0, ()),
        (19270, 0x0800, "flower", 1, (COOKIE,)),
    ]
    assert {(f.ifindex, f.parent) for f in found} == {(8, CLSACT_INGRESS)}


def nested(*parts: tuple[int, bytes]) -> bytes:
    return b"".join(netlink.attribute(kind, data) for kind, data in parts)


def counted(octets: int, frames: int, more: int = 0) -> bytes:
    """An action's counters, as the kernel has them with more than 32 bits of frames too."""
    basic = nested((1, struct.pack("=QI4x", octets, frames)))
    return basic + (nested((8, struct.pack("=Q", more))) if more else b"")


@pytest.mark.parametrize(("kind", "place"), [("u32", 7), ("flower", 3), ("matchall", 2)])
@pytest.mark.parametrize("more", [0, (1 << 32) + 3])
def test_cookies_and_counters_of_every_kind(kind: str, place: int, more: int) -> None:
    pedit = nested((1, b"pedit\0"), (4, counted(99, 9)))
    mirred = nested((1, b"mirred\0"), (4, counted(180, 3, more)), (6, COOKIE))
    actions = nested((1, pedit), (2, mirred))
    body = struct.pack("=BxxxiIII", 0, 7, 1, CLSACT_INGRESS, 19268 << 16 | 0x0608)
    body += nested((1, kind.encode() + b"\0"), (2, nested((place, actions))), (11, b"\5\0\0\0"))
    data = netlink.message(netlink.RTM_NEWTFILTER, 0, body)
    found = netlink.Filter(7, CLSACT_INGRESS, 1, 19268, 0x0806, kind, 5, (COOKIE,), more or 3, 180)
    assert list(netlink.filters(data)) == [found]
    assert netlink.tc(body) == (7, CLSACT_INGRESS, 19268, kind)


def test_link() -> None:
    mac = bytes.fromhex("02aabbccdd01")
    found = interfaces.link(captured("link"))
    assert found == Link(6, 0x10043, "kd9", "dummy", mac, 1400, 1, hardware=1)  # ARPHRD_ETHER


def test_the_master_of_a_link() -> None:
    body = captured("link") + nested((10, struct.pack("=I", 30)))
    assert interfaces.link(body) == interfaces.link(captured("link"))._replace(master=30)


ADDRESSES = {
    "IPv4": Address(2, 6, 32, bytes([192, 0, 2, 10]), 0x80, 0),
    "IPv6": Address(10, 6, 128, bytes.fromhex("fd" + 14 * "00" + "10"), 0x82, 0),
    "by-the-kernel": Address(10, 9, 64, bytes.fromhex("fe8000000000000000aabbfffeccdd01"), 0x80, 3),
}


@pytest.mark.parametrize(("name", "expected"), ADDRESSES.items(), ids=ADDRESSES)
def test_address(name: str, expected: Address) -> None:
    assert interfaces.address(captured(f"address-{name}")) == expected


def test_errors_and_the_end() -> None:
    data = struct.pack("=IHHIIi", 20, netlink.NLMSG_ERROR, 0, 7, 99, -17) + bytes(0)
    (message,) = netlink.messages(data)
    assert (message, netlink.error(message.body)) == (Message(2, 0, 7, 99, data[16:]), 17)
    assert netlink.error(struct.pack("=i", 0)) == 0
    assert netlink.error(b"") == 0


def test_packed_messages_are_read_again() -> None:
    mac = bytes.fromhex("02aabbccdd01")
    created = list(netlink.messages(interfaces.create_dummy("keepalived0", mac, 1400)))
    assert [m.flags for m in created] == [0x601]
    assert interfaces.link(created[0].body) == Link(0, 0, "keepalived0", "dummy", mac, 1400, None)
    inet, inet6, up = netlink.messages(interfaces.set_dummy("keepalived0"))
    conf = netlink.find(inet.body[16:], 26, 2, 1)
    assert conf == nested((19, b"\1\0\0\0"), (22, b"\1\0\0\0"))
    assert interfaces.link(inet6.body).addr_gen_mode == 1
    assert struct.unpack_from("=II", up.body, 8) == (0x1, 0x81)
    (again,) = netlink.messages(interfaces.set_mac(6, mac))
    assert interfaces.link(again.body)[:5] == (6, 0, "", "", mac)
    (gone,) = netlink.messages(interfaces.delete_address(ADDRESSES["IPv6"]))
    assert interfaces.address(gone.body)[:4] == ADDRESSES["IPv6"][:4]


READERS = (interfaces.link, interfaces.address, netlink.filter_of, netlink.tc, netlink.error)


@given(st.binary(max_size=400))
def test_any_bytes_are_messages_or_a_clear_error(data: bytes) -> None:
    try:
        for message in netlink.messages(data):
            for read in READERS:
                read(message.body)
    except netlink.Malformed as problem:
        assert "bytes" in str(problem)


@given(st.sampled_from(["egress", "ingress", "link"]), st.data())
def test_a_damaged_capture_is_messages_or_a_clear_error(name: str, data: st.DataObject) -> None:
    damaged = bytearray(captured(name))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    whole = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    for read in READERS:
        try:
            read(whole)
            list(netlink.filters(whole))
        except netlink.Malformed as problem:
            assert "bytes" in str(problem)


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40))))
def test_attributes_are_read_as_packed(parts: list[tuple[int, bytes]]) -> None:
    assert list(netlink.attributes(nested(*parts))) == parts


@pytest.mark.parametrize("data", [b"\0" * 15, struct.pack("=IHHII", 17, 16, 0, 0, 0), b"\0" * 16])
def test_a_lying_length_is_an_error(data: bytes) -> None:
    with pytest.raises(netlink.Malformed):
        list(netlink.messages(data))


MCTP, PHONET = 45, 35  # of linux/socket.h; both have addresses of one byte
FOREIGN = {
    family: struct.pack("=BBBBi", family, 0, 0, 0, 1) + netlink.attribute(2, b"\x08")
    for family in (MCTP, PHONET, 12, 28)
}


@pytest.mark.parametrize("family", FOREIGN)
def test_an_address_of_another_family_is_none_to_any_reader(
    family: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """inet_ntop(3) knows IPv4 and IPv6."""
    message = netlink.Message(interfaces.RTM_NEWADDR, 0, 0, 0, FOREIGN[family])
    link = netlink.Message(interfaces.RTM_NEWLINK, 0, 0, 0, captured("link"))
    index = interfaces.link(link.body).ifindex
    message = message._replace(body=message.body[:4] + struct.pack("=i", index) + message.body[8:])
    answers = {interfaces.dump_links(): [link], interfaces.dump_addresses(): [message]}
    monkeypatch.setattr(kernel, "open_dump_socket", nullcontext)
    monkeypatch.setattr(kernel, "dump", lambda _, request: answers[request])
    monkeypatch.setattr(service, "runs", lambda _: True)
    there = links.read()
    assert there.addresses == ()
    assert [there.held(one) for one in there.links.values()] == [[]]
    assert live.Live(Path("/"), print, Service(7, True)).picture(False).places == frozenset()
    assert all(one.addresses == () for one in live.facts(there).values())
    name = interfaces.link(link.body).name
    host = Host(IDLE)
    host.load(Plan((Dummy(name, 0, b"", True, True, ("ens3",), "a"),)), 1.0)
    host.picture([link], [message], 1.0)
    for kind in (interfaces.RTM_NEWADDR, interfaces.RTM_DELADDR):
        host.message(message._replace(type=kind), 2.0)
