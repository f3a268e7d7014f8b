# SPDX-License-Identifier: MIT
"""Hazards of the wire between a dummy and its uplinks."""

from __future__ import annotations

from collections.abc import Iterator

from keepalived_dummy.facts import TIMER, Facts, Front
from keepalived_dummy.findings.hazard import Found, Severity, hazard


@hazard(
    "wire-broken",
    Severity.CRITICAL,
    "IPv6 VIPs are not answered, and after a failover nobody on the LAN is told where a VIP is",
    passing=True,
)
def broken(facts: Facts) -> Iterator[Found]:
    """Filters are not there, or are not as they should be."""
    for one in facts.seen.dummies:
        if one.wire.state != "broken":
            continue
        lacking = one.wire.lacking
        if len(lacking) == one.wire.expected:
            what = f"the wire of {one.name} is missing"
        else:
            what = f"the wire of {one.name} lacks {len(lacking)} of {one.wire.expected} filters"
        yield Found(
            f"{what} ({', '.join(list(dict.fromkeys(lacking))[:3])})",
            "keepalived-dummy apply",
            one.path,
        )


@hazard(
    "kernel-lacks-modules",
    Severity.CRITICAL,
    "the kernel can't make the dummy, or the wire, at all",
)
def lacks_modules(facts: Facts) -> Iterator[Found]:
    """What is not there needs modules that this kernel has not."""
    if facts.lacking:
        what = f"this kernel has no {', '.join(facts.lacking)}"
        mend = "install the kernel's modules package (Ubuntu: linux-modules-$(uname -r)), or boot the kernel installed"
        yield Found(what, mend)


@hazard(
    "filter-in-front",
    Severity.CRITICAL,
    "what it takes does not reach the wire, so VIPs are not answered",
    foreseen=True,
)
def in_front(facts: Facts) -> Iterator[Found]:
    """A tc filter of somebody else with a smaller pref, or a tcx program, that ends the classification."""
    places: dict[tuple[str, str, str, int], list[Front]] = {}
    for one in facts.fronts:
        if _needed(one, facts):
            places.setdefault((one.device, one.hook, one.kind, one.pref), []).append(one)
    for found in places.values():
        one = found[0]
        takes = "takes" if one.sure else "may take"
        whats = " and ".join(dict.fromkeys(item.what for item in found))
        if one.kind == "tcx":
            who = f"at {one.hook} of {one.device} the tcx program {' or '.join(one.programs)}"
        else:
            who = f"a {one.kind} filter at {one.hook} pref {one.pref} of {one.device}"
        passes = one.until_boot or (not one.sure and _has_passed(one, facts))
        yield Found(
            f"{who} {takes} {whats} before the wire{' after a boot' if one.until_boot else ''}",
            _out_of_the_way(one, facts),
            severity=Severity.WARNING if passes else None,
        )


def _out_of_the_way(front: Front, facts: Facts) -> str:
    """The command that lets the wire see it."""
    if front.kind != "tcx":
        place = f"dev {front.device} {front.hook} pref {front.pref}"
        return f"tc filter del {place}  # or have it end in continue"
    if front.hook == "egress":
        return f"bpftool net show dev {front.device}  # have it return TCX_NEXT (-1), or keep it off {front.device}"
    if facts.keeps_first:
        return "keepalived-dummy apply"
    return f"systemctl enable --now {TIMER}  # it puts a program of the wire before it"


def _needed(front: Front, facts: Facts) -> bool:
    """Whether a VIP needs what is taken."""
    if front.hook == "ingress":
        return facts.carries(front.device, front.family)
    return any(facts.vips_of(d, front.family) for d in facts.dummies if d.name == front.device)


def _has_passed(front: Front, facts: Facts) -> bool:
    """Whether the wire has seen a frame there, which speaks for a program that lets it."""
    if front.hook == "ingress":
        return any(dummy.wire.frames_in for dummy in facts.served(front.device))
    return any(d.wire.frames_out for d in facts.dummies if d.name == front.device)


@hazard(
    "uplink-unfit",
    Severity.CRITICAL,
    "nothing is announced at a failover, and IPv6 VIPs are not answered",
)
def unfit(facts: Facts) -> Iterator[Found]:
    """The uplink can't be wired."""
    for one in facts.unwired:
        mend = f"do so in {one.path} or keepalived.conf, then keepalived-dummy apply"
        yield Found(one.message, mend, one.path)


@hazard(
    "uplink-unknown",
    Severity.WARNING,
    "nothing is announced at a failover, and IPv6 VIPs are not answered",
)
def unknown(facts: Facts) -> Iterator[Found]:
    """There are VIPs on the dummy, and which uplink they are reached by is not known."""
    for one in facts.dummies:
        if not one.wire.wanted or one.uplinks or not facts.seen.vips_on(one.name):
            continue
        if not facts.seen.keepalived.readable:
            continue  # keepalived.conf would say
        said = next((line for line in facts.waiting if line.startswith(f"{one.name}: ")), "")
        mend = f"name it in [Uplink] Name= of {one.path}, then keepalived-dummy apply"
        yield Found(said or f"{one.name}: its uplink is not known", mend, one.path)


@hazard(
    "group-not-joined",
    Severity.WARNING,
    "a network card or a switch with MLD snooping does not pass on who asks for the VIP",
    passing=True,
)
def not_joined(facts: Facts) -> Iterator[Found]:
    """The uplink is no member of an IPv6 VIP's solicited-node group (RFC 4291 2.7.1)."""
    for vip in facts.seen.vips:
        dummy = next((one for one in facts.dummies if one.name == vip.device), None)
        if vip.held and vip.member is False and dummy and dummy.wire.wanted:
            names = ", ".join(dummy.uplinks)
            what = f"{names} did not join the solicited-node group of {vip.address}"
            yield Found(what, "systemctl restart keepalived-dummy.service", vip.where)
