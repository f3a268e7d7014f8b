# SPDX-License-Identifier: MIT
"""What VRRP runs over, by which its source is chosen."""

from __future__ import annotations

import pytest

from keepalived_dummy.keepalived import Memory, read_from
from keepalived_dummy.keepalived.model import endpoint

MAIN = "/etc/keepalived/keepalived.conf"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("virtual_ipaddress {\ntypo\n2001:db8::50\n}", 6),
        ("virtual_ipaddress {\n192.0.2.1 label\n2001:db8::50\n}", 6),
        ("virtual_ipaddress {\n2001:db8::50 brd +\n192.0.2.1\n}", 4),
        ("virtual_ipaddress_excluded {\n2001:db8::50\n}", 4),
        ("unicast_peer {\npeer1\nfe80::2\n}", 6),
        ("mcast_src_ip here\nvirtual_ipaddress {\n2001:db8::50\n}", 6),
        ("mcast_src_ip 192.0.2.5\nunicast_peer {\nfe80::2\n}", 4),
        ("virtual_ipaddress {\n2001:db8::50\n}\nunicast_peer {\n192.0.2.6\n}", 6),
        ("unicast_peer {\n192.0.2.6\n}\nvirtual_ipaddress {\n2001:db8::50\n}", 4),
        ("mcast_dst_ip ff02::12\nvirtual_ipaddress {\n192.0.2.1\n}", 6),
        ("interface ens3", 4),
        ("mcast_src_ip fe80::1/64\nvirtual_ipaddress {\n192.0.2.1\n}", 6),
        ("unicast_peer {\nfe80::2-9\n}", 6),
        ("unicast_peer {\nfe80::2/64-9\n192.0.2.6/24\n}", 4),
        ("virtual_ipaddress {\n2001:db8::50 label sixteen-letters-\n192.0.2.1\n}", 4),
        ("virtual_ipaddress {\n192.0.2.1 brd 192.0.2\n2001:db8::50\n}", 6),
        ("native_ipv6\nvirtual_ipaddress {\n192.0.2.1\n}", 6),
    ],
)
def test_family_goes_by_what_keepalived_takes(body: str, expected: int) -> None:
    text = f"vrrp_instance V {{\n{body}\n}}\n".encode()
    (instance,) = read_from(Memory({MAIN: text}), MAIN).model.instances
    assert instance.family == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("virtual_ipaddress {\n192.0.2.1\n2001:db8::50\n}", ["192.0.2.1"]),
        ("native_ipv6\nvirtual_ipaddress {\n192.0.2.1\nfe80::1\n}", ["fe80::1"]),
        ("virtual_ipaddress {\n192.0.2.1\n}\nnative_ipv6", ["192.0.2.1"]),
        ("mcast_src_ip 192.0.2.5/24\nvirtual_ipaddress {\nfe80::1\n192.0.2.1\n}", ["192.0.2.1"]),
        ("mcast_src_ip here\nvirtual_ipaddress {\nfe80::1\n192.0.2.1\n}", ["fe80::1"]),
        ("unicast_peer {\n192.0.2.6\n}\nvirtual_ipaddress {\nfe80::1\n}", []),
        ("virtual_ipaddress {\n192.0.2.1 label\nfe80::1\n192.0.2.2\n}", ["fe80::1"]),
        ("virtual_ipaddress {\nfe80::1\n}\nvirtual_ipaddress {\n192.0.2.1\n}", ["fe80::1"]),
        (
            "virtual_ipaddress {\n192.0.2.1\n}\nvirtual_ipaddress_excluded {\nfe80::1\n}",
            ["192.0.2.1", "fe80::1"],
        ),
        ("@a native_ipv6\nvirtual_ipaddress {\n192.0.2.1\nfe80::1\n}", ["192.0.2.1", "fe80::1"]),
        ("virtual_ipaddress {\n@a 192.0.2.1\nfe80::1\n}", ["192.0.2.1", "fe80::1"]),
        (
            "mcast_src_ip $OWN\nvirtual_ipaddress {\n192.0.2.1\nfe80::1\n}",
            ["192.0.2.1", "fe80::1"],
        ),
        (
            "unicast_peer {\n$PEER\n}\nvirtual_ipaddress {\n192.0.2.1\nfe80::1\n}",
            ["192.0.2.1", "fe80::1"],
        ),
        (
            "virtual_ipaddress {\n$VIP\n192.0.2.1\nfe80::1\n}",
            ["192.0.2.1", "fe80::1"],
        ),
        ("@a priority 9\nvirtual_ipaddress {\n192.0.2.1\nfe80::1\n}", ["192.0.2.1"]),
    ],
)
def test_an_address_of_the_other_family_is_no_vip(body: str, expected: list[str]) -> None:
    text = f"vrrp_instance V {{\n{body}\n}}\n".encode()
    (instance,) = read_from(Memory({MAIN: text}), MAIN).model.instances
    assert [vip.address for vip in instance.vips if vip.valid] == expected


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("192.0.2.1", None),
        ("192.0.2.1/24", 24),
        ("192.0.2.1/+24", 24),
        ("192.0.2.1/0024", 24),
        ("192.0.2.1/", 0),
        ("192.0.2.1/33", None),
        ("192.0.2.1/-1", None),
        ("192.0.2.1/+", 0),
        ("192.0.2.1/24abc", 24),
        ("192.0.2.1/255.255.255.0", None),
        ("192.0.2.1/8.0.0.0", 8),
        ("192.0.2.1/" + "9" * 30, None),
        ("fe80::1/33", 33),
        ("fe80::1/129", None),
    ],
)
def test_prefix_length_as_keepalived_reads_it(word: str, expected: int | None) -> None:
    text = f"vrrp_instance V {{\nvirtual_ipaddress {{\n{word}\n}}\n}}\n".encode()
    (instance,) = read_from(Memory({MAIN: text}), MAIN).model.instances
    assert [vip.prefix for vip in instance.vips] == [expected]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("192.0.2.5", "192.0.2.5"),
        ("192.0.2.5/24", "192.0.2.5"),
        ("192.0.2.5-9", "192.0.2.5"),
        ("fe80::5/64", "fe80::5"),
        ("192.0.2.5/24-9", ""),
        ("192.0.2.5/fe80::", ""),
        ("fe80::5%ens3", ""),
        ("192.0.2", ""),
        ("/24", ""),
        ("", ""),
    ],
)
def test_a_source_is_stripped_as_keepalived_does(word: str, expected: str) -> None:
    assert endpoint(word) == expected
