# SPDX-License-Identifier: MIT
"""Hazards of our own files and service, and of files of others that name a dummy of ours."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator

from keepalived_dummy.config import TAKEN
from keepalived_dummy.facts import Facts
from keepalived_dummy.findings.hazard import Found, Severity, hazard
from keepalived_dummy.units import names

_SERVICE = "keepalived-dummy.service"


@hazard(
    "daemon-not-running",
    Severity.CRITICAL,
    "replies lose their route while the uplink has no address, what somebody breaks stays broken, and the groups of IPv6 VIPs are not joined",
)
def daemon(facts: Facts) -> Iterator[Found]:
    """What is in the kernel goes on without it."""
    if not facts.seen.daemon.running and facts.seen.dummies:
        yield Found(f"{_SERVICE} does not run", f"systemctl start {_SERVICE}", _SERVICE)


@hazard(
    "netdev-twice",
    Severity.WARNING,
    "networkd takes the first of two, with its kind, MAC and MTU; before 242 it ends at the second",
)
def netdev_twice(facts: Facts) -> Iterator[Found]:
    """A .netdev of somebody else with the Name= of a dummy of ours."""
    own = {(one.name, names(_stem(one.path))[0]) for one in facts.seen.dummies}
    written = {one.name for one in facts.netplan}
    for one in facts.netdevs:
        base = posixpath.basename(one.path)
        if one.name not in facts.ours or (one.name, base) in own:
            continue
        if one.name in written and base.startswith("10-netplan-"):
            continue  # dummy-in-netplan says so
        what = f"{one.path} has Name={one.name}, which is a dummy of this package"
        yield Found(what, f"rm {one.path}", one.where)


@hazard(
    "dummy-in-netplan",
    Severity.WARNING,
    "netplan writes a .netdev and a .network for it that manages it, and so has networkd drop its VIPs wherever ours is not the first",
)
def in_netplan(facts: Facts) -> Iterator[Found]:
    """netplan's YAML has an interface of this name."""
    yield from _of_others(facts, "netplan", "take it out of {where}, then netplan apply")


@hazard(
    "dummy-in-network-manager",
    Severity.WARNING,
    "NetworkManager sets it down, or drops its VIPs, when it activates its connection",
)
def in_network_manager(facts: Facts) -> Iterator[Found]:
    """NetworkManager has a connection for this name, or manages the interface."""
    yield from _of_others(facts, "NetworkManager", "remove {where}, then nmcli connection reload")


def _of_others(facts: Facts, who: str, mend: str) -> Iterator[Found]:
    for one in facts.netplan if who == "netplan" else facts.network_manager:
        if one.name in facts.ours:
            what = f"{one.name} is {who}'s too"
            yield Found(what, mend.format(where=one.where), one.where)


@hazard(
    "conf-twice",
    Severity.WARNING,
    "only the first of them is in force, and which one that is depends on its file name",
)
def conf_twice(facts: Facts) -> Iterator[Found]:
    """Two of our files for one name."""
    for one in facts.problems:
        if TAKEN in one.message:
            mend = f"rm {one.path}, or another Name= in it; then keepalived-dummy apply"
            yield Found(one.message, mend, one.where)


@hazard(
    "conf-wrong",
    Severity.WARNING,
    "it is as it last was, and after a boot not at all",
)
def conf_wrong(facts: Facts) -> Iterator[Found]:
    """A conf with an error."""
    for one in facts.problems:
        if TAKEN not in one.message:
            yield Found(one.message, f"mend {one.path}, then keepalived-dummy apply", one.where)


def _stem(path: str) -> str:
    return posixpath.basename(path).removesuffix(".conf")
