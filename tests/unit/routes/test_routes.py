# SPDX-License-Identifier: MIT
"""Routes of a real kernel (Linux 6.1) read, and put back as they must be."""

import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepalived_dummy import netlink, routes
from keepalived_dummy.routes import Key, Route

HERE = Path(__file__).parent
UPLINK = 6


def captured(name: str) -> list[netlink.Message]:
    return list(netlink.messages(bytes.fromhex((HERE / f"{name}.hex").read_text())))


def shown(r: Route) -> str:
    network = socket.inet_ntop(r.family, r.key.destination)
    via = f" via {socket.inet_ntop(r.family, r.gateway)}" if r.gateway else ""
    return f"{network}/{r.key.length}{via} proto {r.protocol} metric {r.metric}"


EXPECTED = {
    "ipv4": [
        "0.0.0.0/0 via 192.0.2.1 proto 16 metric 50",
        "192.0.2.0/24 proto 2 metric 50",
        "192.0.2.1/32 proto 16 metric 50",
    ],
    "ipv6": [
        "fd00::/64 proto 9 metric 50",
        "fd00::/64 proto 2 metric 256",
        "::/0 via fe80::85b:72ff:fe70:eb16 proto 9 metric 50",
    ],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_routes_of_an_uplink(name: str) -> None:
    read = [routes.route(m.body, UPLINK) for m in captured(name) if m.type == routes.RTM_NEWROUTE]
    assert [shown(r) for r in read if r] == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_put_back_with_protocol_metric_and_onlink(name: str) -> None:
    for message in captured(name):
        if message.type != routes.RTM_NEWROUTE or not (r := routes.route(message.body, UPLINK)):
            continue
        copy = routes.copy(r, routes.beside(r.metric))
        for data, kind in (
            (routes.put(copy), routes.RTM_NEWROUTE),
            (routes.take(copy), routes.RTM_DELROUTE),
        ):
            (made,) = netlink.messages(data)
            again = routes.route(made.body, UPLINK)
            assert made.type == kind
            # IPv4 has ours before others of its metric, IPv6 refuses it.
            refused = netlink.EXCL if r.family == 10 and kind == routes.RTM_NEWROUTE else 0
            assert made.flags & netlink.EXCL == refused
            assert again == r._replace(protocol=75, metric=r.metric + 1, source=b"")
            assert struct.unpack_from("=I", made.body, 8)[0] == (4 if r.gateway else 0)
            assert routes.interface(made.body) == UPLINK
        (made,) = netlink.messages(routes.restore(r))
        assert made.type == routes.RTM_NEWROUTE
        assert routes.route(made.body, UPLINK) == r
        assert struct.unpack_from("=I", made.body, 8)[0] == 0


def made(
    family: int, table: int, kind: int, *attributes: tuple[int, bytes], length: int = 0
) -> bytes:
    body = struct.pack("=BBBBBBBBI", family, length, 0, 0, table, 4, 0, kind, 0)
    return body + b"".join(netlink.attribute(k, d) for k, d in attributes)


OIF = (4, struct.pack("=I", UPLINK))
LINK_LOCAL = bytes.fromhex("fe80") + bytes(14)
NO_REPLY_TAKES_IT = {
    "not unicast": made(2, 254, 7, OIF),
    "local table": made(2, 255, 1, OIF),
    "elsewhere": made(2, 254, 1, (4, struct.pack("=I", 5))),
    "nowhere": made(2, 254, 1),
    "link-local": made(10, 254, 1, OIF, (1, LINK_LOCAL), length=64),
    "multicast": made(10, 254, 1, OIF, (1, b"\xff" + bytes(15)), length=8),
    "another family": made(28, 254, 1, OIF),
}


@pytest.mark.parametrize("body", NO_REPLY_TAKES_IT.values(), ids=NO_REPLY_TAKES_IT)
def test_what_is_left_alone(body: bytes) -> None:
    assert routes.route(body, UPLINK) is None


def test_the_hop_of_a_multipath_route_and_what_is_kept() -> None:
    gateway = bytes([192, 0, 2, 9])
    hop = netlink.attribute(5, gateway)
    hops = b"".join(
        struct.pack("=HBBi", 8 + len(hop), 0, 0, index) + hop for index in (UPLINK - 1, UPLINK)
    )
    mtu = netlink.attribute(2, struct.pack("=I", 1400))
    body = made(2, 252, 1, (9, hops), (8, mtu), (15, struct.pack("=I", 1000)), (7, bytes(4)))
    found = routes.route(body, UPLINK)
    extra = netlink.attribute(5, gateway) + netlink.attribute(8, mtu)
    assert found == Route(2, Key(1000, bytes(4), 0, 0), 4, 0, 0, UPLINK, bytes(4), gateway, extra)
    assert routes.route(routes.put(routes.copy(found, 60000))[16:], UPLINK) == found._replace(
        protocol=75, metric=60000, source=b""
    )


def test_a_route_of_keepalived_is_restored_whole() -> None:
    """Its hops with their weights, realms, the flag onlink; not what says how a hop is now, nor counters."""

    def body(state: int, counters: bytes) -> bytes:
        hops = b""
        for last, weight in ((1, 2), (2, 0)):
            via = netlink.attribute(5, bytes([203, 0, 113, last])) + netlink.attribute(11, bytes(4))
            hops += struct.pack("=HBBi", 8 + len(via), 4 | state, weight, UPLINK) + via
        attributes = netlink.attribute(1, bytes([10, 2, 0, 0])) + netlink.attribute(9, hops)
        attributes += netlink.attribute(6, struct.pack("=I", 20)) + counters
        return struct.pack("=BBBBBBBBI", 2, 16, 0, 0, 254, 18, 0, 1, 4 | state) + attributes

    read = routes.route(body(1 | 16, netlink.attribute(12, bytes(32))), UPLINK)
    assert read is not None
    (made,) = netlink.messages(routes.restore(read))
    assert made.body == body(0, b"")
    assert routes.route(made.body, UPLINK) == read


def test_routes_of_two_source_prefixes_are_two() -> None:
    found = [
        routes.route(
            struct.pack("=BBBBBBBBI", 10, 0, length, 0, 254, 9, 0, 1, 0)
            + netlink.attribute(2, source)
            + netlink.attribute(*OIF),
            UPLINK,
        )
        for source, length in ((LINK_LOCAL, 48), (LINK_LOCAL, 56), (b"\xfd" + bytes(15), 48))
    ]
    assert len({r.key for r in found if r}) == 3
    for r in found:
        assert r is not None
        again = routes.route(routes.put(routes.copy(r, 5))[16:], UPLINK)
        assert again is not None
        assert again.key == r.key


@pytest.mark.parametrize(
    ("metric", "expected"),
    [(0, [1, 2, 3, 4]), (1, [2, 3, 4, 5]), (100, [101, 99, 102, 103])],
)
def test_metrics_beside_one(metric: int, expected: list[int]) -> None:
    assert [routes.beside(metric, tries) for tries in range(4)] == expected
    assert routes.beside(2**32 - 1) == 2**32 - 1


@given(st.binary(max_size=300))
def test_any_bytes_are_a_route_or_a_clear_error(data: bytes) -> None:
    for read in (lambda d: routes.route(d, UPLINK), routes.interface, routes.protocol):
        try:
            read(data)
        except netlink.Malformed as problem:
            assert "bytes" in str(problem)


@given(st.binary(max_size=120))
def test_any_next_hops_too(data: bytes) -> None:
    try:
        routes.route(made(2, 254, 1, (9, data)), UPLINK)
    except netlink.Malformed as problem:
        assert "bytes" in str(problem)


@pytest.mark.parametrize(
    ("address", "length", "expected"),
    [
        ("192.0.2.77", 24, "192.0.2.0"),
        ("192.0.2.77", 32, "192.0.2.77"),
        ("192.0.2.77", 0, "0.0.0.0"),
    ],
)
def test_prefix(address: str, length: int, expected: str) -> None:
    assert routes.prefix(socket.inet_aton(address), length) == socket.inet_aton(expected)
