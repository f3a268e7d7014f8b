# SPDX-License-Identifier: MIT
"""Which VRF each dummy belongs to: that of its uplinks. Pure.

What comes in on an interface of a VRF is for the addresses of that VRF alone, and its replies take the routes of its
table (Documentation/networking/vrf.rst in the kernel): a VIP on a dummy elsewhere is reached by nobody, or by half.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from keepalived_dummy.interfaces import Link

Links = Mapping[str, Link]
_NONE = "none"


@dataclass(frozen=True)
class Move:
    """A dummy that is to go to the VRF that this uplink is in; empty: out of the one it is in itself."""

    dummy: str
    vrf: str
    uplink: str


def vrf_of(name: str, links: Links) -> str:
    """The VRF of an interface; empty where it is in none, or not there."""
    master = links[name].master if name in links else 0
    return next((one.name for one in links.values() if one.ifindex == master and is_vrf(one)), "")


def is_vrf(link: Link) -> bool:
    """As the kernel names the kind."""
    return link.kind == "vrf"


def moves(names: Mapping[str, tuple[str, ...]], links: Links) -> Iterator[Move]:
    """Of the dummies (to their uplinks) that are there, those that are not where their uplinks are."""
    for dummy, uplinks in names.items():
        if dummy not in links or links[dummy].kind != "dummy":
            continue
        places = {vrf_of(name, links): name for name in uplinks if name in links}
        here = vrf_of(dummy, links)
        if links[dummy].master and not here:
            continue  # a port of somebody's bridge
        if len(places) == 1 and here not in places:
            ((vrf, uplink),) = places.items()
            yield Move(dummy, vrf, uplink)


def divided(names: Mapping[str, tuple[str, ...]], links: Links) -> Iterator[tuple[str, str]]:
    """The dummies whose uplinks are not all in one VRF, and what is wrong with that."""
    for dummy, uplinks in names.items():
        places = {name: vrf_of(name, links) or _NONE for name in uplinks if name in links}
        if len(set(places.values())) > 1:
            where = ", ".join(f"{name} in {vrf}" for name, vrf in places.items())
            yield (
                dummy,
                f"{dummy} can be in one VRF alone: {where}; give each uplink a dummy of its own",
            )
