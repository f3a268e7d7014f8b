# SPDX-License-Identifier: MIT
"""Which dummy is wired to which uplinks: the confs and keepalived.conf against the host's interfaces. Pure."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from keepalived_dummy.config import MAX_UPLINKS, Config, Dummy, misnamed
from keepalived_dummy.errors import Problem
from keepalived_dummy.interfaces import Address, Link
from keepalived_dummy.keepalived import (
    CONFIG,
    Document,
    unsure_of,
    uplink_words,
    uplinks_of,
)
from keepalived_dummy.wire import ACTIONS, End, Joint

ARPHRD_ETHER = 1

Names = Mapping[str, tuple[str, ...]]  # dummy to uplinks
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Uplinks:
    """What was found: the names each dummy asks for, the joints that can be made, and what to say.

    `waiting`: lines on dummies that have no uplink yet, which is no error.
    """

    names: Names
    joints: tuple[Joint, ...]
    waiting: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def every(self) -> frozenset[str]:
        """All names, of whichever dummy."""
        return frozenset(name for names in self.names.values() for name in names)


def resolve(
    config: Config,
    document: Document,
    links: Mapping[str, Link],
    addresses: tuple[Address, ...],
    before: Names | None = None,
) -> Uplinks:
    """The uplinks of every dummy, and the joints of those with Wire=yes whose ends are there.

    `before`: those that were found the last time, for what a bad keepalived.conf does not tell: a brace that is
    missing in it is nothing to keepalived as long as that is not reloaded. One that is not there names none.
    """
    names = {
        dummy.name: dummy.uplinks or uplinks_of(document, dummy.name) for dummy in config.dummies
    }
    known = before if before and document.files and document.errors else {}
    kept = {name: known[name] for name in names if not names[name] and known.get(name)}
    names |= kept
    joints: list[Joint] = []
    waiting: list[str] = []
    problems: list[Problem] = []
    for name, found in kept.items():
        why = f"keepalived.conf names no uplink any more: {document.errors[0]}"
        waiting.append(f"{name}: {why}; until that is mended it stays {', '.join(found)}")
    for dummy in config.dummies:
        waiting += _waiting(dummy, names[dummy.name], document, links)
        if not dummy.wire or dummy.name not in links or links[dummy.name].kind != "dummy":
            continue
        uplinks = []
        words = {} if dummy.uplinks else {w.text: w for w in uplink_words(document, dummy.name)}
        for name in names[dummy.name]:
            if name not in links:
                continue
            if wrong := misnamed(name):
                place = words[name][1:3] if name in words else (dummy.path, 0)
                wrong = f"{dummy.name} can't be wired to {ascii(name)[1:-1]}: {wrong}; rename it"
                problems.append(Problem(*place, wrong))
            elif wrong := _unfit(links[name], names):
                problems.append(Problem(dummy.path, 0, f"{dummy.name} can't be wired: {wrong}"))
            else:
                uplinks.append(_end(links[name], addresses))
        if wrong := _overlap(uplinks, addresses):
            problems.append(Problem(dummy.path, 0, f"{dummy.name} can't be wired: {wrong}"))
        elif uplinks:
            joints.append(Joint(_end(links[dummy.name], ()), tuple(uplinks)))
    joints, beyond = _within(joints)
    paths = {dummy.name: dummy.path for dummy in config.dummies}
    problems += (Problem(paths[name], 0, wrong) for name, wrong in beyond)
    return Uplinks(names, tuple(joints), tuple(waiting), tuple(problems))


def _waiting(
    dummy: Dummy, names: tuple[str, ...], document: Document, links: Mapping[str, Link]
) -> Iterator[str]:
    for word in unsure_of(document, dummy.name) if not dummy.uplinks else ():
        yield (
            f"{dummy.name}: {word.where}: whether {word.text} is its uplink depends on {word.origin};"
            f" name it in {dummy.path}, [Uplink] Name="
        )
    if not names:
        yield (
            f"{dummy.name}: no uplink yet: no vrrp_instance in {CONFIG} has an address"
            f" with dev {dummy.name}"
        )
    for name in names:
        if name not in links:
            yield f"{dummy.name}: its uplink {name} is not there yet"


def _unfit(link: Link, dummies: Names) -> str:
    """Why a link can't be an uplink; empty where it can."""
    if link.name in dummies and link.kind == "dummy":
        return f"{link.name} is a dummy itself; name the interface that VRRP runs on in [Uplink]"
    if link.hardware != ARPHRD_ETHER or len(link.mac) != 6:
        return f"{link.name} is no Ethernet interface; set Wire=no, or name another in [Uplink]"
    return ""


def _overlap(uplinks: list[End], addresses: tuple[Address, ...]) -> str:
    """Two uplinks in one network would announce an address with two MACs; says so, or is empty."""
    seen: dict[Network, End] = {}
    for uplink in uplinks:
        for network in _networks(uplink, addresses):
            other = next((end for known, end in seen.items() if _meet(known, network)), uplink)
            if other is not uplink:
                return (
                    f"{other.name} and {uplink.name} are both in {network}, and its addresses would"
                    " be announced there with two MACs; give each uplink a dummy of its own"
                )
        seen.update(dict.fromkeys(_networks(uplink, addresses), uplink))
    return ""


def _within(joints: list[Joint]) -> tuple[list[Joint], list[tuple[str, str]]]:
    """The joints that the kernel has room for, and of which dummy what is left out and why.

    A filter with too many actions is refused whole, and those that are wired would lose theirs for the one that is
    not yet: so of an uplink's dummies the one made last stays out.
    """
    taken: Counter[str] = Counter()
    kept: dict[str, list[End]] = {}
    beyond: list[tuple[str, str]] = []
    for joint in sorted(joints, key=lambda joint: joint.dummy.index):
        ends = kept.setdefault(joint.dummy.name, [])
        for uplink in joint.uplinks:
            if wrong := _no_room(uplink.name, taken[uplink.name], len(ends)):
                name = joint.dummy.name
                beyond.append((name, f"{name} can't be wired to {uplink.name}: {wrong}"))
            else:
                ends.append(uplink)
                taken[uplink.name] += 1
    left = [Joint(joint.dummy, tuple(kept[joint.dummy.name])) for joint in joints]
    return [joint for joint in left if joint.uplinks], beyond


def _no_room(uplink: str, dummies: int, uplinks: int) -> str:
    """Why an uplink with so many dummies, of a dummy with so many uplinks, is one too many; empty where it is not."""
    if dummies == ACTIONS:
        return (
            f"that has {dummies} dummies, and the kernel takes no more; put its VIPs on another"
            " dummy, which can hold several"
        )
    if uplinks == MAX_UPLINKS:
        return (
            f"it has {uplinks} uplinks, and the kernel takes no more; give {uplink} a dummy of its"
            " own"
        )
    return ""


def _meet(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _networks(uplink: End, addresses: tuple[Address, ...]) -> Iterator[Network]:
    for item in addresses:
        if item.ifindex == uplink.index:
            address = ipaddress.ip_address(item.address)
            if not address.is_link_local and item.prefixlen < address.max_prefixlen:
                yield ipaddress.ip_network((item.address, item.prefixlen), strict=False)


def _end(link: Link, addresses: tuple[Address, ...]) -> End:
    local = (
        item.address.hex()
        for item in addresses
        if item.ifindex == link.ifindex and item.address[:2] == b"\xfe\x80"
    )
    return End(link.name, link.ifindex, link.mac.hex(":"), tuple(sorted(local)))
