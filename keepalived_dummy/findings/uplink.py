# SPDX-License-Identifier: MIT
"""Hazards of an uplink: its addresses, and the kernel's settings that decide what it answers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from datetime import datetime, timezone

from keepalived_dummy.facts import Facts
from keepalived_dummy.findings.hazard import Found, Severity, hazard
from keepalived_dummy.interfaces import IFF_NOARP
from keepalived_dummy.observed import Dummy, Uplink, is_link_local
from keepalived_dummy.onlink import covers, is_routed

_SILENT = frozenset((1, 2, 8))  # arp_ignore: what an uplink does not answer for a dummy with
_SILENT_ALL = frozenset((2, 8))  # and what the dummy itself does not answer with


@hazard("uplink-missing", Severity.CRITICAL, "its VIPs are reached by nobody")
def missing(facts: Facts) -> Iterator[Found]:
    """It is named, and not there."""
    for one in facts.seen.uplinks:
        if not one.index:
            dummies = [d for d in facts.seen.dummies if one.name in d.uplinks]
            names = ", ".join(d.name for d in dummies)
            mend = f"plug {one.name} in, or correct its name"
            yield Found(f"{one.name}, the uplink of {names}, is not there", mend)


@hazard(
    "uplink-without-address",
    Severity.CRITICAL,
    "replies of the VIPs have no route but the way out, and in time the neighbours' caches run out",
    passing=True,
)
def without_address(facts: Facts) -> Iterator[Found]:
    """networkd has taken its last address and not put it back."""
    for one in facts.uplinks:
        for family in (4, 6):
            if one.usable(family) or not facts.carries(one.name, family):
                continue
            if _is_routed(facts, one, family):
                continue
            way = next((w for w in one.ways if w.family == family and w.in_use), None)
            if way is None and family == 6:
                continue  # link-local addresses alone do well
            what = f"{one.name} has no IPv{family} address"
            if way is None:
                what += ", and the way out is not in use"
                yield Found(what, _readdress(one))
                continue
            what += "; the way out is in use" + _since(way.since, facts.seen.time)
            yield Found(what, _readdress(one), severity=Severity.WARNING)


def _is_routed(facts: Facts, uplink: Uplink, family: int) -> bool:
    """Whether each VIP has a route over an uplink that needs no address: of virtual_routes, or an on-link one in the kernel."""
    networks = [
        ipaddress.ip_network(route.destination)
        for route in uplink.routes
        if not route.ours and not route.gateway and route.destination != "default"
    ]
    instances = {one.name.text: one for one in facts.document.model.instances}
    for dummy in facts.served(uplink.name):
        for vip in facts.vips_over(uplink.name, dummy, family):
            network = ipaddress.ip_network(vip.address)
            instance = instances.get(vip.instance)
            written = instance and is_routed(instance, uplink.name, network)
            if not written and not any(covers(one, network) for one in networks):
                return False
    return True


def _readdress(uplink: Uplink) -> str:
    managed = uplink.network is not None and uplink.network.managed
    return f"networkctl renew {uplink.name}" if managed else f"ip address add ... dev {uplink.name}"


def _since(since: float | None, now: float) -> str:
    if since is None:
        return ""
    moment = datetime.fromtimestamp(since, timezone.utc).isoformat(timespec="seconds")
    return f" since {moment}, for {max(0, round(now - since))} s"


@hazard(
    "uplink-without-link-local",
    Severity.CRITICAL,
    "the kernel asks from no other address for the neighbours of a VIP that is not on the uplink, so replies of the"
    " IPv6 VIPs end when a neighbour's entry does (ndisc_send_ns(), net/ipv6/ndisc.c)",
    passing=True,
)
def without_link_local(facts: Facts) -> Iterator[Found]:
    """It has IPv6, but no link-local address."""
    for one in facts.uplinks:
        if not facts.carries(one.name, 6) or not facts.has_ipv6(one.name):
            continue
        if not any(map(is_link_local, one.addresses)):
            mend = "LinkLocalAddressing=ipv6 in its .network file (netplan: link-local: [ipv6])"
            yield Found(f"{one.name} has no IPv6 link-local address", mend)


@hazard("uplink-noarp", Severity.CRITICAL, "no IPv4 address of this host is answered for on it")
def noarp(facts: Facts) -> Iterator[Found]:
    """ARP is off on the uplink itself."""
    for one in facts.uplinks:
        link = facts.links.get(one.name)
        if link and link.flags & IFF_NOARP and facts.carries(one.name, 4):
            yield Found(f"{one.name} has ARP off (NOARP)", f"ip link set dev {one.name} arp on")


@hazard(
    "arp-ignore",
    Severity.CRITICAL,
    "ARP requests for the IPv4 VIPs are not answered (Documentation/networking/ip-sysctl.rst)",
    foreseen=True,
)
def arp_ignore(facts: Facts) -> Iterator[Found]:
    """A setting of `all`, of the dummy, or of an uplink that is not wired."""
    said: set[str] = set()
    for uplink in facts.uplinks:
        for dummy in facts.served(uplink.name):
            if not facts.vips_over(uplink.name, dummy, 4):
                continue
            place, value = _silenced(facts, uplink, dummy)
            if place and place not in said:
                said.add(place)
                mend = f"sysctl -w net.ipv4.conf.{place}={value}, and in /etc/sysctl.d"
                what = f"net.ipv4.conf.{place} keeps VIPs on {dummy.name} from being answered"
                yield Found(what, mend)


def _silenced(facts: Facts, uplink: Uplink, dummy: Dummy) -> tuple[str, int]:
    """The setting that keeps the VIPs of a dummy from being answered over an uplink, and what it should be."""
    key = "arp_ignore"
    for name in ("all", dummy.name):
        if facts.setting(name, key) in _SILENT_ALL:
            return f"{name}.{key}", 1
    over_the_wire = facts.effective(uplink.name, key) > 0
    for name in ("all", uplink.name):
        if facts.setting(name, key) in _SILENT and dummy.wire.state == "off":
            return f"{name}.{key}", 0
    for name in ("all", dummy.name):
        # What comes in over the wire comes in on the dummy, and the route to who asks is on the uplink.
        if over_the_wire and facts.setting(name, "arp_filter"):
            return f"{name}.arp_filter", 0
    if over_the_wire and facts.effective(dummy.name, "rp_filter") == 1:
        return f"{dummy.name}.rp_filter", 2
    return "", 0


@hazard(
    "rp-filter",
    Severity.WARNING,
    "what comes in there from beyond the network is dropped, since the route back is another (RFC 3704)",
)
def rp_filter(facts: Facts) -> Iterator[Found]:
    """Strict on an uplink, and the default route on another interface. Policy rules are not judged."""
    if not facts.gateways:
        return
    best = min(one.metric for one in facts.gateways)
    devices = {one.device for one in facts.gateways if one.metric == best}
    for one in facts.uplinks:
        strict = facts.effective(one.name, "rp_filter") == 1
        if strict and facts.carries(one.name, 4) and one.name not in devices:
            where = ", ".join(sorted(devices))
            what = f"{one.name} has a strict rp_filter, and the default route is on {where}"
            mend = f"sysctl -w net.ipv4.conf.{one.name}.rp_filter=2, and in /etc/sysctl.d"
            yield Found(what, mend)
