# SPDX-License-Identifier: MIT
"""What was read of a host, put together to what was seen of it. Pure."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from keepalived_dummy import groups, links, netlink, tc
from keepalived_dummy.config import Config
from keepalived_dummy.interfaces import IFF_NOARP, IFF_RUNNING, IFF_UP
from keepalived_dummy.keepalived import Document
from keepalived_dummy.keepalived import Instance as VrrpInstance
from keepalived_dummy.keepalived.model import endpoint
from keepalived_dummy.netlink import AF_INET, AF_INET6
from keepalived_dummy.observed import (
    STATES,
    Daemon,
    Dummy,
    Instance,
    Keepalived,
    Network,
    Observation,
    Route,
    Unseen,
    Uplink,
    Vip,
    WayOut,
    Wire,
)
from keepalived_dummy.routes import PROTOCOL
from keepalived_dummy.routes import Route as KernelRoute
from keepalived_dummy.service import MASTER, States
from keepalived_dummy.uplinks import Uplinks
from keepalived_dummy.wire import Filter
from keepalived_dummy.wire import Wire as WholeWire

_DEV = re.compile(r" dev (\S+)")


@dataclass(frozen=True)
class Sources:
    """All that was read, as it was read. `wire` is as it should be, `filters` what there is.

    `report`: the daemon's state.json, empty where there is none. `states`: None where keepalived does not tell.
    `new`: dummies that are not there yet, and seen as they will be. `members`: interface index and group. `networks`: by interface index. `networkd`: whether it made the dummy, by name.
    """

    time: float
    config: Config
    document: Document
    host: links.Host
    found: Uplinks
    wire: WholeWire
    filters: tuple[netlink.Filter, ...]
    routes: tuple[KernelRoute, ...]
    networks: Mapping[int, Network]
    networkd: Mapping[str, bool]
    members: frozenset[tuple[int, bytes]]
    report: Mapping[str, Any]
    daemon: bool
    keepalived: Keepalived
    states: States | None
    unseen: tuple[Unseen, ...] = ()
    new: frozenset[str] = frozenset()


def assemble(s: Sources) -> Observation:
    """The host as it was seen."""
    wired = {name: None for d in s.config.dummies for name in s.found.names[d.name]}
    return Observation(
        s.time,
        tuple(_dummies(s)),
        tuple(_vips(s)),
        tuple(_instance(one, s) for one in s.document.model.instances),
        tuple(_uplink(name, s) for name in wired),
        _daemon(s),
        dataclasses.replace(s.keepalived, told=s.states is not None),
        tuple(map(str, (*s.config.problems, *s.found.problems))),
        s.unseen,
    )


def _dummies(s: Sources) -> Iterator[Dummy]:
    for wanted in s.config.dummies:
        link = s.host.links.get(wanted.name)
        made = Dummy(
            wanted.name,
            wanted.path,
            s.found.names[wanted.name],
            _wire(wanted.name, wanted.wire, s),
            wanted.way_out,
        )
        if link is not None:
            made = dataclasses.replace(
                made,
                index=link.ifindex,
                kind=link.kind,
                up=bool(link.flags & IFF_UP),
                arp=not link.flags & IFF_NOARP,
                mtu=link.mtu,
                mac=link.mac.hex(":"),
                maker=_maker(link.alias, s.networkd.get(link.name, False)),
                network=s.networks.get(link.ifindex),
                kept_down=s.report.get("kept_down", {}).get(link.name, ""),
            )
        yield made


def _maker(alias: str, networkd: bool) -> str:
    if alias.startswith(links.ALIAS):
        return "keepalived-dummy"
    return "networkd" if networkd else "somebody else"


def _wire(dummy: str, wanted: bool, s: Sources) -> Wire:
    there = {tc.place(item): item for item in s.filters}
    mine = [item for item in s.wire.filters if dummy in _DEV.findall(item.line)]
    seen = {item.place: there.get(item.place) for item in mine}
    out = _count(seen, (item for item in mine if item.dev == dummy and " mirred " in item.line))
    into = _count(seen, (item for item in mine if item.dev != dummy))
    return Wire(
        wanted,
        len(mine),
        tuple(f"{i.dev} {i.direction} pref {i.pref}" for i in mine if seen[i.place] is None),
        *out,
        *into,
    )


def _count(
    seen: Mapping[tuple[int, str, int, bytes], netlink.Filter | None], which: Iterator[Filter]
) -> tuple[int, int]:
    found = [item for one in which if (item := seen[one.place]) is not None]
    return sum(item.frames for item in found), sum(item.octets for item in found)


def _vips(s: Sources) -> Iterator[Vip]:
    """Those of keepalived.conf in its order, then what else is on a dummy."""
    held: dict[tuple[str, str], int] = {
        (_text(item.family, item.address), s.host.names[item.ifindex]): item.prefixlen
        for item in s.host.addresses
        if item.ifindex in s.host.names
    }
    named: set[tuple[str, str]] = set()
    for instance in s.document.model.instances:
        for line in instance.vips:
            interface = instance.interface.text if instance.interface else ""
            device = line.device.text if line.device else interface
            if not line.valid:
                continue
            address = str(ipaddress.ip_address(line.address))
            longest = 128 if line.family == 6 else 32
            named.add((address, device))
            yield Vip(
                address,
                longest if line.prefix is None else line.prefix,
                device,
                instance.name.text,
                (address, device) in held,
                _due(instance.name.text, (address, device), s.states),
                tuple(sorted(d for a, d in held if a == address and d != device)),
                _member(address, device, s),
                line.certain,
                line.excluded,
                line.where,
            )
    dummies = {dummy.name for dummy in s.config.dummies}
    for (address, device), prefix in held.items():
        if device in dummies and (address, device) not in named:
            member = _member(address, device, s)
            due = _due("", (address, device), s.states) or None
            yield Vip(address, prefix, device, "", True, due, member=member)


def _due(instance: str, place: tuple[str, str], states: States | None) -> bool | None:
    """Whether its instance is MASTER, or another that has it: keepalived may not have read its file again yet."""
    if states is None:
        return None
    masters = {name: state for name, state in states.items() if state.state == MASTER}
    return instance in masters or any(place in state.vips for state in masters.values())


def _member(address: str, device: str, s: Sources) -> bool | None:
    uplinks = [s.host.links[n] for n in s.found.names.get(device, ()) if n in s.host.links]
    if ":" not in address or not uplinks:
        return None
    group = groups.group(socket.inet_pton(socket.AF_INET6, address))
    return all((link.ifindex, group) in s.members for link in uplinks)


def _text(family: int, address: bytes) -> str:
    return socket.inet_ntop(family, address)


def _instance(one: VrrpInstance, s: Sources) -> Instance:
    source = one.unicast_src_ip or one.mcast_src_ip
    state = s.states.get(one.name.text) if s.states is not None else None
    told = (each for each in s.report.get("sources", ()) if each["instance"] == one.name.text)
    daemon: Mapping[str, Any] = next(told, {})
    return Instance(
        one.name.text,
        one.interface.text if one.interface else "",
        STATES.get(state.state, str(state.state)) if state else None,
        state.masters if state else None,
        (endpoint(source.text) or source.text) if source else "",
        bool(one.unicast_peer or one.unicast_peers),
        one.name.where,
        daemon.get("held", False),
        daemon.get("since"),
    )


def _uplink(name: str, s: Sources) -> Uplink:
    ways = tuple(_way(one) for one in s.report.get("way_out", ()) if one["uplink"] == name)
    link = s.host.links.get(name)
    if link is None:
        return Uplink(name, ways=ways)
    return Uplink(
        name,
        link.ifindex,
        bool(link.flags & IFF_UP),
        bool(link.flags & IFF_RUNNING),
        link.mac.hex(":"),
        tuple(s.host.held(link)),
        s.networks.get(link.ifindex),
        tuple(_route(one) for one in s.routes if one.ifindex == link.ifindex),
        ways,
    )


def _way(one: Mapping[str, Any]) -> WayOut:
    return WayOut(
        4 if one["family"] == "inet" else 6,
        one["known"],
        one["in_use"],
        one["since"],
        one["times"],
        one["seconds"],
    )


def _route(r: KernelRoute) -> Route:
    network = f"{_text(r.family, r.key.destination)}/{r.key.length}"
    return Route(
        network if r.key.length else "default",
        _text({4: AF_INET, 16: AF_INET6}[len(r.gateway)], r.gateway) if r.gateway else "",
        r.key.table,
        r.metric,
        r.protocol,
        r.protocol == PROTOCOL,
    )


def _daemon(s: Sources) -> Daemon:
    if not s.report:
        return Daemon(s.daemon)
    return Daemon(
        s.daemon,
        s.report["pid"],
        dict(s.report["heals"]),
        s.report["memberships"],
        s.report["memberships_failed"],
        (*s.report["missing"], *s.report["problems"]),
        dict(s.report["events"]),
        s.report["last"],
        s.report["last_event"],
    )
