# SPDX-License-Identifier: MIT
"""Routes of keepalived.conf on the link of an uplink: which do for a VIP's network, and the lines that are written."""

from __future__ import annotations

import ipaddress

import pytest

from keepalived_dummy.keepalived import CONFIG, Instance, Memory, read_from
from keepalived_dummy.onlink import is_ours, is_routed
from keepalived_dummy.undo import undo

ROUTED = [
    "203.0.113.0/24 dev ens4",
    "203.0.113.0/24 dev ens4 scope link src 203.0.113.89",
    "src 203.0.113.89 to 203.0.113.0/24 dev ens4 metric 5 proto 80",
    "unicast 203.0.113.0/24 oif ens4 table main",
    "203.0.113.0/24 dev ens4 table 254 onlink",
    "203.0.0.0/16 dev ens4",
    "203.0.113.89/24 dev ens4",
    "default dev ens4 scope link",
    "0.0.0.0/0 dev ens4",
]
NOT_ROUTED = [
    "203.0.113.0/24",
    "203.0.113.0/24 dev ens3",
    "203.0.113.0/25 dev ens4",
    "203.0.113.0/24 via 203.0.113.1 dev ens4",
    "203.0.113.0/24 gw 203.0.113.1 dev ens4",
    "203.0.113.0/24 dev ens4 table 100",
    "blackhole 203.0.113.0/24 dev ens4",
    "203.0.113.0/24 nexthop dev ens4 weight 1",
    "198.51.100.0/24 dev ens4",
    "default6 dev ens4",
    "inet6 default dev ens4",
    "2001:db8::/32 dev ens4",
    "dev ens4",
    "$NET dev ens4",
    "@node1 203.0.113.0/24 dev ens4",
]


def instance(*routes: str) -> Instance:
    block = "".join(f"{route}\n" for route in routes)
    text = f"vrrp_instance V {{\nvirtual_routes {{\n{block}}}\n}}\n".encode()
    (found,) = read_from(Memory({str(CONFIG): text}), str(CONFIG)).model.instances
    return found


@pytest.mark.parametrize(
    ("route", "expected"),
    [*((route, True) for route in ROUTED), *((route, False) for route in NOT_ROUTED)],
)
def test_what_is_routed(route: str, expected: bool) -> None:
    found = is_routed(instance(route), "ens4", ipaddress.ip_network("203.0.113.0/24"))
    assert found == expected


def test_an_ipv6_network_is_routed_by_ipv6() -> None:
    network = ipaddress.ip_network("2001:db8:1::/64")
    assert is_routed(instance("2001:db8::/32 dev ens4"), "ens4", network)
    assert is_routed(instance("inet6 default dev ens4"), "ens4", network)
    assert not is_routed(instance("default dev ens4"), "ens4", network)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"    virtual_routes { 203.0.113.0/24 dev ens4 scope link src 203.0.113.89 }\n", True),
        (b"\t203.0.113.0/24 dev ens4 scope link src 203.0.113.89\r\n", True),
        (b"virtual_routes { 2001:db8::/64 dev ens4 metric 256 }\n", True),
        (b"        2001:db8::/64 dev ens4 metric 1255\n", True),
        (b"203.0.113.0/24 dev ens4 scope link src 203.0.113.89", False),
        (b"203.0.113.0/24 dev ens4 scope link\n", False),
        (b"203.0.113.89/32 dev keepalived0 scope link\n", False),
        (b"2001:db8::10/128 dev keepalived0\n", False),
        (b"mcast_src_ip 192.0.2.5\n", False),
    ],
)
def test_a_line_that_adopt_writes(line: bytes, expected: bool) -> None:
    assert is_ours(line) == expected


BEFORE = """vrrp_instance V {
    interface ens3
    virtual_ipaddress {
        203.0.113.89/24 dev ens4
    }
    virtual_routes { 203.0.113.0/28 dev ens4 scope link src 203.0.113.89 }
    virtual_routes {
        default via 203.0.113.1 dev ens4
    }
}
"""
AFTER = """vrrp_instance V {
    interface ens3
    mcast_src_ip 192.0.2.5
    virtual_ipaddress {
        203.0.113.89/32 dev keepalived1
    }
    virtual_routes { 203.0.113.0/24 dev ens4 scope link src 203.0.113.89 }
    virtual_routes { 203.0.113.0/28 dev ens4 scope link src 203.0.113.89 }
    virtual_routes {
        198.51.100.0/24 dev ens4 scope link src 198.51.100.9
        default via 203.0.113.1 dev ens4
    }
}
"""


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("", ""),
        ("    interface ens3\n", "    interface ens3\n    priority 7\n"),
        ("        default via", "        192.0.2.0/24 via 203.0.113.2\n        default via"),
        ("    virtual_routes {\n", "    # text\n    virtual_routes {\n"),
    ],
)
def test_added_routes_are_taken_back_and_others_stay(old: str, new: str) -> None:
    current = AFTER.replace(old, new, 1)
    assert undo(BEFORE.encode(), AFTER.encode(), current.encode()).decode() == BEFORE.replace(
        old, new, 1
    )
