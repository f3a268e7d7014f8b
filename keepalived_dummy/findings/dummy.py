# SPDX-License-Identifier: MIT
"""Hazards of a dummy."""

from __future__ import annotations

from collections.abc import Iterator

from keepalived_dummy.facts import Facts
from keepalived_dummy.findings.hazard import Found, Severity, hazard
from keepalived_dummy.interfaces import IFF_NOARP
from keepalived_dummy.observed import Vip
from keepalived_dummy.vrfs import vrf_of

_APPLY = "keepalived-dummy apply"


@hazard(
    "dummy-missing",
    Severity.CRITICAL,
    "keepalived (2.0 and later) ends when it starts without its device, and is in FAULT where it loses it",
)
def missing(facts: Facts) -> Iterator[Found]:
    """A conf asks for it, and no interface has its name."""
    for one in facts.seen.dummies:
        if not one.index:
            yield Found(f"{one.name} is not there", _APPLY, one.path)


@hazard(
    "dummy-of-another-kind",
    Severity.CRITICAL,
    "a VIP on an interface that is no dummy is at the mercy of whoever manages it",
)
def another_kind(facts: Facts) -> Iterator[Found]:
    """Another interface has its name."""
    for one in facts.seen.dummies:
        if one.index and one.kind != "dummy":
            what = f"{one.name} is there and is no dummy ({one.kind or 'hardware'})"
            yield Found(what, f"give it another [Interface] Name= in {one.path}", one.path)


@hazard(
    "dummy-down", Severity.CRITICAL, "keepalived goes to FAULT and withdraws every VIP on the dummy"
)
def down(facts: Facts) -> Iterator[Found]:
    """It is set down."""
    for one in facts.dummies:
        if not one.up and not (one.kept_down and facts.deaf):
            yield Found(f"{one.name} is down", _APPLY, one.path)


@hazard(
    "dummy-noarp",
    Severity.CRITICAL,
    "keepalived announces nothing on an interface without ARP, so after a failover the LAN goes on sending to the other node",
)
def noarp(facts: Facts) -> Iterator[Found]:
    """A dummy is born so."""
    for one in facts.dummies:
        if not one.arp:
            yield Found(f"{one.name} has ARP off (NOARP)", _APPLY, one.path)


@hazard(
    "dummy-in-another-vrf",
    Severity.CRITICAL,
    "what comes in on an uplink is for the addresses of its own VRF alone (Documentation/networking/vrf.rst)",
)
def another_vrf(facts: Facts) -> Iterator[Found]:
    """It holds VIPs, and so was not moved."""
    for uplink in facts.uplinks:
        vrf = vrf_of(uplink.name, facts.links)
        for one in facts.served(uplink.name):
            own = vrf_of(one.name, facts.links)
            vips = (facts.vips_over(uplink.name, one, family) for family in (4, 6))
            if own == vrf or not any(vips):
                continue
            what = f"{one.name} is in {_vrf(own)}, and its uplink {uplink.name} in {_vrf(vrf)}"
            mend = f"systemctl stop keepalived; {_APPLY}; systemctl start keepalived"
            if len({vrf_of(name, facts.links) for name in one.uplinks}) > 1:
                mend = "give each uplink a dummy of its own"
            yield Found(what, mend, one.path)


def _vrf(name: str) -> str:
    return f"VRF {name}" if name else "no VRF"


@hazard(
    "dummy-managed",
    Severity.CRITICAL,
    "networkd drops the VIPs on it at the next restart, reload or `netplan apply`",
)
def managed(facts: Facts) -> Iterator[Found]:
    """A .network file other than ours, a catch-all mostly, has taken it."""
    for one in facts.dummies:
        if one.network and one.network.managed:
            file = one.network.file
            what = f"{one.name} is managed by networkd ({one.network.state})"
            mend = f"{_APPLY} && networkctl reload"
            if file.startswith("/etc/"):
                mend += f"; if that does not do, exclude {one.name} in [Match] of {file}"
            yield Found(what, mend, file)


@hazard(
    "dummy-without-conf",
    Severity.WARNING,
    "nobody makes it at the next boot, keeps it up, wires it, or keeps networkd from it",
)
def without_conf(facts: Facts) -> Iterator[Found]:
    """VIPs on a dummy that somebody made by hand, as the published recipe does."""
    ours = facts.ours
    found: dict[str, list[Vip]] = {}
    for vip in facts.seen.vips:
        link = facts.links.get(vip.device)
        if link and link.kind == "dummy" and vip.device not in ours and vip.certain:
            found.setdefault(vip.device, []).append(vip)
    for name, vips in found.items():
        mend = f"printf '[Interface]\\nName={name}\\n' > /etc/keepalived-dummy.d/{name}.conf && {_APPLY}"
        what, severity = f"{name} holds VIPs, and no conf asks for it", None
        if any(vip.family == 6 for vip in vips):
            what += "; nobody answers for its IPv6 VIPs"
            severity = Severity.CRITICAL
        if facts.links[name].flags & IFF_NOARP:
            what += "; it has ARP off (NOARP), so keepalived announces no failover"
            severity = Severity.CRITICAL
        yield Found(what, mend, vips[0].where, severity)


@hazard(
    "ipv6-off",
    Severity.CRITICAL,
    "an IPv6 VIP can't be set on a dummy without IPv6, and is not reached over an uplink without it",
    foreseen=True,
)
def ipv6_off(facts: Facts) -> Iterator[Found]:
    """disable_ipv6 is set, or the MTU is below 1280 bytes, on the dummy or its uplink."""
    due = [one for one in facts.dummies if facts.vips_of(one, 6)]
    uplinks = [name for one in due for name in one.uplinks if facts.carries(name, 6)]
    names = dict.fromkeys(n for n in (*(one.name for one in due), *uplinks) if n in facts.links)
    for name in names:
        if facts.has_ipv6(name):
            continue
        mtu = facts.links[name].mtu
        if 0 < mtu < 1280:
            mend = f"ip link set dev {name} mtu 1500, and MTUBytes= or mtu: where it is configured"
            yield Found(f"{name} has no IPv6 with its MTU of {mtu}, under 1280", mend)
        else:
            mend = f"sysctl -w net.ipv6.conf.{name}.disable_ipv6=0, and in /etc/sysctl.d"
            yield Found(f"{name} has IPv6 switched off", mend)
