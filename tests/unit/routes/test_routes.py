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
        for data, kind in (
            (routes.put(r), routes.RTM_NEWROUTE),
            (routes.take(r), routes.RTM_DELROUTE),
        ):
            (made,) = netlink.messages(data)
            again = routes.route(made.body, UPLINK)
            assert made.type == kind
            assert again == r._replace(protocol=75, metric=60000, source=b"")
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
    assert found == Route(
        2, Key(1000, bytes(4), 0, 0), 0, 4, 0, 0, UPLINK, bytes(4), gateway, extra
    )
    assert routes.route(routes.put(found)[16:], UPLINK) == found._replace(
        protocol=75, metric=60000, source=b""
    )


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
