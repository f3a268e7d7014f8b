# SPDX-License-Identifier: MIT
"""The neighbour wire: tc filters that join a dummy to its uplinks for ARP and neighbour discovery.

Every filter of ours bears a cookie (tc-actions(8)) on its last action, made of a mark of ours and a
digest of the filter's text and of the interface indexes in it. So the filters in the kernel tell by
themselves whether they are ours and whether they are right, and no state is kept.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

PREF = 19268  # "KD"; ours are at this preference and the next few
MARK = b"kdmy"
ACTIONS = 32  # the kernel takes no more in one filter (TCA_ACT_MAX_PRIO, linux/pkt_cls.h)


@dataclass(frozen=True)
class End:
    """An interface at one end of a wire; `mac` as six hexadecimal pairs with colons.

    `local` holds an uplink's own IPv6 link-local addresses, in 32 hexadecimal digits each.
    """

    name: str
    index: int
    mac: str
    local: tuple[str, ...] = ()


@dataclass(frozen=True)
class Joint:
    """A dummy and the uplinks it is wired to."""

    dummy: End
    uplinks: tuple[End, ...]


@dataclass(frozen=True)
class Filter:
    """One filter as the template has it; `line` is the tc command with its cookie, `handle` that of its node (u32)."""

    index: int
    dev: str
    direction: str
    pref: int
    protocol: str
    handle: int
    kind: str
    cookie: bytes
    line: str

    @property
    def place(self) -> tuple[int, str, int, bytes]:
        """Where it sits: interface index, ingress or egress, preference; the cookie tells it from others there."""
        return self.index, self.direction, self.pref, self.cookie

    @property
    def modules(self) -> tuple[str, ...]:
        """The kernel modules of its classifier and its actions, as net/sched names them."""
        actions = dict.fromkeys(re.findall(r" action (\w+)", self.line))
        kinds = ("gact" if action == "drop" else action for action in actions)
        return (f"cls_{self.kind}", *(f"act_{kind}" for kind in kinds))


@dataclass(frozen=True)
class Wire:
    """The whole wire of a host: the script for a reader, and its filters one by one.

    `by_program`: the interfaces where a program does what the filters at the ingress would.
    """

    script: str
    filters: tuple[Filter, ...]
    by_program: frozenset[int] = frozenset()

    @property
    def ends(self) -> dict[int, str]:
        """The interfaces that need a clsact qdisc: index to name."""
        return {item.index: item.dev for item in self.filters}


def render(
    joints: tuple[Joint, ...], arp: frozenset[str], by_program: Collection[int] = ()
) -> Wire:
    """The wire of these joints. Pure.

    `arp` names the uplinks on which ARP requests have to go over the wire too. Those of `by_program`, by index, have
    no filters.
    """
    if not joints:
        return Wire("", ())
    from keepalived_dummy.render import template

    uplinks: dict[str, list[str]] = {}
    for joint in joints:
        for uplink in (one for one in joint.uplinks if one.index not in by_program):
            uplinks.setdefault(uplink.name, []).append(joint.dummy.name)
    script = template("wire.tc.j2").render(
        pref=PREF,
        dummies=[
            {
                "name": joint.dummy.name,
                "uplinks": joint.uplinks,
                "locals": sorted({local for uplink in joint.uplinks for local in uplink.local}),
            }
            for joint in joints
        ],
        uplinks=[
            {"name": name, "dummies": dummies, "arp": name in arp}
            for name, dummies in uplinks.items()
        ],
    )
    ends = {end.name: end.index for joint in joints for end in (joint.dummy, *joint.uplinks)}
    lines = [_filter(line, ends) if _FILTER.match(line) else line for line in script.splitlines()]
    return Wire(
        "".join(f"{item.line if isinstance(item, Filter) else item}\n" for item in lines),
        tuple(item for item in lines if isinstance(item, Filter)),
        frozenset(by_program),
    )


_FILTER = re.compile(
    r"filter add dev (\S+) (ingress|egress) pref (\d+) protocol (\S+) handle ::(\w+) (\S+) "
)
_DEV = re.compile(r" dev (\S+)")


def _filter(line: str, ends: Mapping[str, int]) -> Filter:
    match = _FILTER.match(line)
    assert match is not None
    indexes = ",".join(str(ends[name]) for name in _DEV.findall(line))
    digest = hashlib.sha256(f"{line} {indexes}".encode()).digest()
    cookie = MARK + digest[: 16 - len(MARK)]
    return Filter(
        index=ends[match[1]],
        dev=match[1],
        direction=match[2],
        pref=int(match[3]),
        protocol=match[4],
        handle=int(match[5], 16),
        kind=match[6],
        cookie=cookie,
        line=f"{line} cookie {cookie.hex()}",
    )
