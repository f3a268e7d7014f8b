# SPDX-License-Identifier: MIT
"""Whether every VIP that was held is held where it should be, and every MASTER still is one. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from keepalived_dummy.rewrite import Vip
from keepalived_dummy.service import BACKUP, FAULT, MASTER, States

Place = tuple[str, str]  # address in the kernel's form, interface

_NAMES = {0: "INIT", 1: "BACKUP", 2: "MASTER", 3: "FAULT"}


@dataclass(frozen=True)
class Picture:
    """One moment: the main process, what keepalived says (None: it does not), where addresses are."""

    pid: int
    states: States | None
    places: frozenset[Place]


def missing(before: Picture, now: Picture, vips: Collection[Vip]) -> list[str]:
    """What is not as it should be; empty: proven."""
    return [
        *_of_process(before, now),
        *_of_states(before, now),
        *_of_places(before, now, vips),
        *_of_configuration(before, now, vips),
    ]


def is_lost(before: Picture, now: Picture) -> bool:
    """Whether waiting can't help: keepalived is not the same process, or an instance was no MASTER meanwhile."""
    if now.pid != before.pid:
        return True
    for name, old in (before.states or {}).items():
        new = (now.states or {}).get(name)
        if (
            new is not None
            and old.state == MASTER
            and (new.state in (BACKUP, FAULT) or new.masters != old.masters)
        ):
            return True
    return False


def _of_process(before: Picture, now: Picture) -> Iterator[str]:
    if now.pid == 0:
        yield "keepalived does not run any more"
    elif now.pid != before.pid:
        yield "keepalived was started anew"


def _of_states(before: Picture, now: Picture) -> Iterator[str]:
    if before.states is None:
        return
    if now.states is None:
        yield "keepalived does not tell its state any more"
        return
    for name, old in before.states.items():
        new = now.states.get(name)
        if new is None:
            yield f"vrrp_instance {name} is gone"
        elif old.state == MASTER and new.state != MASTER:
            yield f"vrrp_instance {name} was MASTER and is {_NAMES.get(new.state, new.state)}"
        elif old.state == MASTER and new.masters != old.masters:
            yield f"vrrp_instance {name} was not MASTER for a moment"
        elif old.state == 1 and new.state not in (1, MASTER):
            yield f"vrrp_instance {name} was BACKUP and is {_NAMES.get(new.state, new.state)}"


def _of_places(before: Picture, now: Picture, vips: Iterable[Vip]) -> Iterator[str]:
    for vip in vips:
        old, new = (vip.address, vip.before), (vip.address, vip.after)
        if old not in before.places and new not in before.places:
            continue  # a BACKUP does not hold it
        if before.states is not None:
            state = before.states.get(vip.instance)
            if state is None or state.state != MASTER:
                continue
        if new not in now.places:
            yield f"{vip.address} is not on {vip.after}"
        elif old != new and old in now.places:
            yield f"{vip.address} is on {vip.before} too"


def _of_configuration(before: Picture, now: Picture, vips: Iterable[Vip]) -> Iterator[str]:
    """What keepalived itself says of where its VIPs are to be: all that a BACKUP shows of a reload."""
    for vip in vips:
        new = (now.states or {}).get(vip.instance)
        if new is not None and _is_told(before, vip) and (vip.address, vip.after) not in new.vips:
            yield f"keepalived has not taken that {vip.address} is to be on {vip.after}"


def _is_told(before: Picture, vip: Vip) -> bool:
    """Whether keepalived told that it has a VIP that moves on its former device."""
    old = (before.states or {}).get(vip.instance)
    return old is not None and vip.before != vip.after and (vip.address, vip.before) in old.vips


def shows(before: Picture, vips: Iterable[Vip]) -> bool:
    """Whether anything that moves will show that keepalived has taken its files: one that is held, or told."""
    return any(
        vip.before != vip.after
        and (_is_told(before, vip) or (vip.address, vip.before) in before.places)
        for vip in vips
    )


def unmoved(before: Picture, vips: Iterable[Vip]) -> tuple[Vip, ...]:
    """The VIPs that are held, as ones that stay where they are."""
    return tuple(
        Vip(vip.instance, vip.address, device, device)
        for vip in vips
        for device in (vip.before, vip.after)
        if (vip.address, device) in before.places
    )


def returned(before: Picture, now: Picture, vips: Iterable[Vip]) -> list[str]:
    """What is not where it was before the move; `before` may be a look after it, as of a run that recovers.

    keepalived may be another process, and have been no MASTER for a moment.
    """
    homes = [
        Vip(vip.instance, vip.address, vip.before, vip.before)
        for vip in vips
        if unmoved(before, [vip])
    ]
    places = frozenset((vip.address, vip.before) for vip in homes)
    return missing(Picture(now.pid, None, places), now, homes)


def back(vips: Iterable[Vip]) -> tuple[Vip, ...]:
    """The same VIPs on their way back."""
    return tuple(Vip(vip.instance, vip.address, vip.after, vip.before) for vip in vips)
