# SPDX-License-Identifier: MIT
"""A healthy host as facts, and the ways to make another of it."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any

from keepalived_dummy.facts import Facts, Gateway, Named
from keepalived_dummy.interfaces import Link
from keepalived_dummy.keepalived import CONFIG, Document, Memory, read_from
from keepalived_dummy.observed import (
    Daemon,
    Dummy,
    Instance,
    Keepalived,
    Network,
    Observation,
    Uplink,
    Vip,
    WayOut,
    Wire,
)
from keepalived_dummy.targets import IPAddress

NOW = 1_800_000_000.0
CONF = """vrrp_instance VI_1 {
  interface ens3
  mcast_src_ip 192.0.2.5
  virtual_ipaddress {
    192.0.2.10/32 dev keepalived0
  }
  virtual_ipaddress_excluded {
    2001:db8::10/128 dev keepalived0
  }
}
"""
PATH = "/etc/keepalived-dummy.d/keepalived.conf"
UNMANAGED = Network("/run/systemd/network/05-keepalived.network", "unmanaged")
MANAGED = Network("/run/systemd/network/10-netplan-ens3.network", "configured")
WIRE = Wire(True, 9)
DUMMY = Dummy(
    "keepalived0",
    PATH,
    ("ens3",),
    WIRE,
    True,
    index=3,
    kind="dummy",
    up=True,
    arp=True,
    mtu=1500,
    mac="02:00:00:00:00:03",
    maker="networkd",
    network=UNMANAGED,
)
UPLINK = Uplink(
    "ens3",
    2,
    True,
    True,
    "02:00:00:00:00:02",
    ("192.0.2.5/24", "2001:db8::5/64", "fe80::2/64"),
    MANAGED,
    (),
    (WayOut(4, 2, 0, None, 0, 0.0), WayOut(6, 2, 0, None, 0, 0.0)),
)
VIP4 = Vip("192.0.2.10", 32, "keepalived0", "VI_1", True, True, where=f"{CONFIG}:5")
VIP6 = Vip("2001:db8::10", 128, "keepalived0", "VI_1", True, True, member=True, where=f"{CONFIG}:8")
INSTANCE = Instance("VI_1", "ens3", "MASTER", 1, "192.0.2.5", False, f"{CONFIG}:1")
SEEN = Observation(
    NOW,
    (DUMMY,),
    (VIP4, VIP6),
    (INSTANCE,),
    (UPLINK,),
    Daemon(True, 77),
    Keepalived(88, str(CONFIG), True, True),
)
AFTER = frozenset(("keepalived-dummy.service", "network-online.target"))


def link(name: str, index: int, kind: str = "", flags: int = 0x10043, mtu: int = 1500) -> Link:
    return Link(index, flags, name, kind, bytes([2, 0, 0, 0, 0, index]), mtu, 1, "", 1)


def document(text: str) -> Document:
    return read_from(Memory({str(CONFIG): text.encode()}), str(CONFIG))


def own(*texts: str) -> frozenset[IPAddress]:
    return frozenset(map(ipaddress.ip_address, texts))


SETTINGS = {
    ("ipv4", "keepalived0", "arp_ignore"): 1,
    ("ipv4", "keepalived0", "rp_filter"): 2,
    ("ipv6", "keepalived0", "disable_ipv6"): 0,
    ("ipv6", "ens3", "disable_ipv6"): 0,
}
HEALTHY = Facts(
    SEEN,
    document(CONF),
    links={"ens3": link("ens3", 2), "keepalived0": link("keepalived0", 3, "dummy")},
    networks={"ens3": MANAGED, "keepalived0": UNMANAGED},
    addresses=own("192.0.2.5", "2001:db8::5", "fe80::2", "192.0.2.10", "2001:db8::10"),
    settings=SETTINGS,
    netdevs=(Named("keepalived0", "/run/systemd/network/90-keepalived.netdev", 4),),
    gateways=(Gateway("ens3", 100),),
    keepalived=(2, 3, 3),
    after=AFTER,
)


def facts(**changed: Any) -> Facts:
    """The healthy host but for these facts; `seen_*` and `dummy_*` and so on reach into what was seen."""
    seen: Any = SEEN
    for prefix, of, field in (
        ("dummy_", DUMMY, "dummies"),
        ("uplink_", UPLINK, "uplinks"),
        ("instance_", INSTANCE, "instances"),
    ):
        into = {
            k.removeprefix(prefix): changed.pop(k) for k in list(changed) if k.startswith(prefix)
        }
        if into:
            made: Any = {field: (dataclasses.replace(of, **into),)}
            seen = dataclasses.replace(seen, **made)
    into = {k.removeprefix("seen_"): changed.pop(k) for k in list(changed) if k.startswith("seen_")}
    if text := changed.pop("conf", None):
        changed["document"] = document(text)
    for key in ("links", "networks", "settings"):
        if key in changed:
            changed[key] = {**getattr(HEALTHY, key), **changed[key]}
    return dataclasses.replace(HEALTHY, seen=dataclasses.replace(seen, **into), **changed)


def vip(of: Vip = VIP4, **changed: Any) -> Vip:
    return dataclasses.replace(of, **changed)
