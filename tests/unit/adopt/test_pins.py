# SPDX-License-Identifier: MIT
"""What VRRP runs over, by which its source is chosen."""

from __future__ import annotations

import pytest

from keepalived_dummy.keepalived import Memory, read_from
from keepalived_dummy.pins import family

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
        ("native_ipv6\nvirtual_ipaddress {\n192.0.2.1\n}", 6),
    ],
)
def test_family_goes_by_what_keepalived_takes(body: str, expected: int) -> None:
    text = f"vrrp_instance V {{\n{body}\n}}\n".encode()
    (instance,) = read_from(Memory({MAIN: text}), MAIN).model.instances
    assert family(instance) == expected
