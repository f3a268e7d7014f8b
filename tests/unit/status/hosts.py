# SPDX-License-Identifier: MIT
"""Hosts as they may be found, to be looked at: sources from which what was seen is put together."""

from __future__ import annotations

import dataclasses
import ipaddress
import socket
from typing import Any

from keepalived_dummy import groups, netlink, routes, uplinks, wire
from keepalived_dummy.assembly import Sources
from keepalived_dummy.config import Config, Dummy
from keepalived_dummy.errors import Problem
from keepalived_dummy.interfaces import Address, Link
from keepalived_dummy.keepalived import CONFIG, Memory, read_from
from keepalived_dummy.links import Host
from keepalived_dummy.observed import Keepalived, Network, Running, Unseen
from keepalived_dummy.routes import Key, Route
from keepalived_dummy.service import InstanceState

NOW = 1_800_000_000.0
UP, DOWN, NOARP = 0x10043, 0x10002, 0x80
CONF = """vrrp_instance VI_1 {
  interface ens3
  mcast_src_ip 192.0.2.5
  virtual_ipaddress {
    192.0.2.10/32 dev keepalived0
  }
  virtual_ipaddress_excluded {
    2001:db8::10 dev keepalived0
  }
}
"""
OURS = Dummy("keepalived", "/etc/keepalived-dummy.d/keepalived.conf", "keepalived0")
DIRECTIONS = {"ingress": netlink.CLSACT_INGRESS, "egress": netlink.CLSACT_EGRESS}


def link(name: str, index: int, kind: str = "", flags: int = UP, alias: str = "") -> Link:
    return Link(index, flags, name, kind, bytes([2, 0, 0, 0, 0, index]), 1500, 1, alias, 1)


def address(index: int, text: str) -> Address:
    one = ipaddress.ip_interface(text)
    return Address(2 if one.version == 4 else 10, index, one.network.prefixlen, one.ip.packed, 0, 0)


def route(index: int, text: str, gateway: str = "", ours: bool = False) -> Route:
    network = ipaddress.ip_network(text)
    family = socket.AF_INET if network.version == 4 else socket.AF_INET6
    key = Key(254, network.network_address.packed, network.prefixlen, 0)
    hop = ipaddress.ip_address(gateway).packed if gateway else b""
    protocol, metric = (routes.PROTOCOL, routes.METRIC) if ours else (16, 100)
    return Route(family, key, protocol, 0, metric, index, b"", hop, b"")


def way(uplink: str = "ens3", **values: Any) -> dict[str, Any]:
    known = {"family": "inet", "known": 2, "in_use": 0, "since": None, "times": 3, "seconds": 0.412}
    return {"uplink": uplink, **known, **values}


def report(**values: Any) -> dict[str, Any]:
    known = {
        "version": 1,
        "pid": 512,
        "heals": {"down": 2, "deleted": 1},
        "way_out": [way(), way(family="inet6", known=1, times=0, seconds=0.0)],
        "memberships": 1,
        "memberships_failed": 0,
        "missing": [],
        "problems": [],
        "events": {"healed": 3, "vip-held": 1},
        "last": "keepalived0: was down; put right",
        "last_event": NOW - 185.4,
    }
    return {**known, **values}


def source(**values: Any) -> dict[str, Any]:
    known = {"instance": "VI_1", "uplink": "ens3", "address": "192.0.2.5", "held": True}
    return {**known, "since": NOW - 75, **values}


def member(index: int, address: str) -> tuple[int, bytes]:
    return index, groups.group(ipaddress.ip_address(address).packed)


@dataclasses.dataclass(frozen=True)
class Made:
    """What a host is made of; the defaults are a master as it should be."""

    conf: str = CONF
    dummies: tuple[Dummy, ...] = (OURS,)
    links: tuple[Link, ...] = (
        link("ens3", 2),
        link("keepalived0", 7, "dummy", alias="keepalived-dummy:keepalived"),
    )
    addresses: tuple[Address, ...] = (
        address(2, "192.0.2.5/24"),
        address(2, "2001:db8::5/64"),
        address(2, "fe80::ff:fe00:2/64"),
        address(7, "192.0.2.10/32"),
        address(7, "2001:db8::10/128"),
    )
    lost: tuple[int, ...] = ()  # filters that are not there, by their number
    routes: tuple[Route, ...] = (
        route(2, "192.0.2.0/24"),
        route(2, "0.0.0.0/0", "192.0.2.1"),
        route(2, "2001:db8::/64"),
    )
    networks: tuple[tuple[int, Network], ...] = (
        (2, Network("/run/systemd/network/10-netplan-ens3.network", "configured")),
        (7, Network("/run/systemd/network/05-keepalived.network", "unmanaged")),
    )
    members: tuple[tuple[int, bytes], ...] = (member(2, "2001:db8::10"),)
    report: dict[str, Any] = dataclasses.field(default_factory=report)
    daemon: bool = True
    keepalived: int = 700
    states: dict[str, InstanceState] | None = dataclasses.field(
        default_factory=lambda: {"VI_1": InstanceState(2, 4)}
    )
    readable: bool = True
    others: tuple[Running, ...] = ()
    problems: tuple[Problem, ...] = ()
    unseen: tuple[Unseen, ...] = ()


def sources(made: Made) -> Sources:
    """The sources of a host; the filters are those it should have, each with counters of its own."""
    config = Config(made.dummies, problems=made.problems)
    document = read_from(
        Memory({str(CONFIG): made.conf.encode("utf-8", "surrogateescape")}), str(CONFIG)
    )
    host = Host({one.name: one for one in made.links}, made.addresses)
    found = uplinks.resolve(config, document, host.links, host.addresses)
    wanted = wire.render(found.joints, frozenset())
    filters = tuple(
        netlink.Filter(
            f.index, DIRECTIONS[f.direction], 1, f.pref, 0, "u32", 0, (f.cookie,), n, 64 * n
        )
        for n, f in enumerate(wanted.filters, 1)
        if n not in made.lost
    )
    return Sources(
        NOW,
        config,
        document,
        host,
        found,
        wanted,
        filters,
        made.routes,
        dict(made.networks),
        {},
        frozenset(made.members),
        made.report,
        made.daemon,
        Keepalived(made.keepalived, str(CONFIG), made.readable, False, others=made.others),
        made.states,
        made.unseen,
    )


PLAIN = ((7, Network("", "unmanaged")),)
SECOND = Dummy("second", "/etc/keepalived-dummy.d/second.conf", "second0", wire=False)
TWO = """vrrp_instance with_a_name_that_is_longer_than_usual {
  interface ens3
  unicast_peer { 192.0.2.6 }
  virtual_ipaddress {
    192.0.2.10/32 dev keepalived0
    192.0.2.11/32 dev second0
    192.0.2.12/24
  }
  virtual_ipaddress_excluded {
    2001:db8:1111:2222:3333:4444:5555:6666/128 dev keepalived0
  }
}
vrrp_instance VI_2 {
  interface ens4
  virtual_ipaddress {
    192.0.2.13/32 dev keepalived0
  }
}
"""
ODD = """vrrp_instance VI_\udcff {
  interface ens3
  virtual_ipaddress {
    192.0.2.10 dev keepalived0
    192.0.2.10 dev keepalived0
    192.0.2.999 dev keepalived0
  }
}
"""
BASE = Made()
HOSTS = {
    "master": BASE,
    "backup": dataclasses.replace(
        BASE, addresses=BASE.addresses[:3], states={"VI_1": InstanceState(1, 4)}, members=()
    ),
    "no-address": dataclasses.replace(
        BASE,
        addresses=BASE.addresses[2:],
        routes=(
            route(2, "192.0.2.0/24", ours=True),
            route(2, "0.0.0.0/0", "192.0.2.1", ours=True),
        ),
        report=report(way_out=[way(in_use=2, since=NOW - 75, times=4)], sources=[source()]),
        members=(),
        others=(Running(811, "docker-0123.scope", "/etc/keepalived/keepalived.conf", False),),
    ),
    "cannot-hear": dataclasses.replace(
        BASE,
        conf=CONF.replace(
            "mcast_src_ip 192.0.2.5", "unicast_src_ip 192.0.2.5\n  unicast_peer { 192.0.2.6 }"
        ),
        links=(link("ens3", 2), link("keepalived0", 7, "dummy", DOWN)),
        addresses=BASE.addresses[2:3],
        routes=(),
        report=report(
            sources=[source(held=False)],
            kept_down={
                "keepalived0": "vrrp_instance VI_1 can't hear its peers: ens3 does not have 192.0.2.5"
            },
        ),
        states={"VI_1": InstanceState(3, 4)},
        members=(),
    ),
    "broken": dataclasses.replace(
        BASE,
        links=(link("ens3", 2, flags=0x1003), link("keepalived0", 7, "dummy", DOWN | NOARP)),
        addresses=BASE.addresses[:4],
        lost=(1, 4),
        networks=((7, Network("/etc/systemd/network/50-all.network", "configured")),),
        report=report(problems=["/etc/keepalived-dummy.d/x.conf:3: unknown key 'Nam'"]),
        daemon=False,
        problems=(Problem("/etc/keepalived-dummy.d/x.conf", 3, "unknown key 'Nam'"),),
    ),
    "anybody": dataclasses.replace(
        BASE,
        conf="",
        dummies=(dataclasses.replace(OURS, uplinks=("ens3",)),),
        states=None,
        readable=False,
        unseen=(
            Unseen("/etc/keepalived/keepalived.conf", "only root may read it"),
            Unseen("keepalived's state", "only root may ask it"),
        ),
    ),
    "fresh": dataclasses.replace(
        BASE,
        conf="",
        links=(link("ens3", 2), link("keepalived0", 7, "dummy")),
        addresses=BASE.addresses[:3],
        networks=PLAIN,
        report=report(heals={}, way_out=[], events={}, last="", last_event=0.0),
        keepalived=0,
        states=None,
    ),
    "two": dataclasses.replace(
        BASE,
        conf=TWO,
        dummies=(OURS, SECOND),
        links=(
            *BASE.links,
            link("ens4", 3),
            link("second0", 8, "vxlan"),
        ),
        addresses=(
            address(2, "192.0.2.5/24"),
            address(7, "192.0.2.10/32"),
            address(2, "192.0.2.11/32"),
            address(2, "192.0.2.12/24"),
            address(7, "2001:db8:1111:2222:3333:4444:5555:6666/128"),
            address(7, "198.51.100.9/32"),
        ),
        routes=tuple(route(2, f"203.0.113.{n}/32", "192.0.2.1") for n in range(9)),
        states={"with_a_name_that_is_longer_than_usual": InstanceState(2, 1)},
    ),
    "odd": dataclasses.replace(BASE, conf=ODD, states={}),
    "nothing": Made("", (), (), (), (), (), (), (), {}, False, 0, None),
}
