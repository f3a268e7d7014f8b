# SPDX-License-Identifier: MIT
"""VIPs held on their new device while keepalived moves them, so that there is no moment without them.

At a reload keepalived takes all that it drops off before it adds what is new. Until then a VIP is nowhere,
and the kernel removes the routes that have it as `src` (fib_sync_down_addr() in net/ipv4/fib_semantics.c),
for which keepalived gives up MASTER. An address that is on the new device already it takes as it is
(EEXIST in keepalived/core/keepalived_netlink.c). Until the move is proven it has a lifetime, so that none
is left behind where this is killed before the reload; after it, `guard` makes it last.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from keepalived_dummy.keepalived import Address, Document
from keepalived_dummy.proof import Picture
from keepalived_dummy.rewrite import Vip, normal
from keepalived_dummy.service import BACKUP, FAULT, MASTER

SECONDS = 60
_SECONDS_EACH = 0.05
_WITH_VALUE = frozenset(("scope", "broadcast", "brd", "label"))  # the same word for ip(8)
_FLAGS = frozenset(("home", "mngtmpaddr", "noprefixroute", "autojoin"))


@dataclass(frozen=True)
class Held:
    """An address with its prefix length on a device, with ip-address(8)'s words for what keepalived gives it.

    `preferred`: its lifetime as keepalived has it. `added`: by us, it is not on this device yet.
    """

    address: str
    device: str
    options: tuple[str, ...]
    preferred: str
    added: bool


def needed(document: Document, vips: Iterable[Vip], before: Picture) -> list[Held]:
    """Those that move and are held, and those that a run which was killed has moved."""
    wanted = {(vip.instance, vip.address): vip for vip in vips if vip.before != vip.after}
    held = []
    for instance in document.model.instances:
        for vip in instance.vips:
            place = wanted.get((instance.name.text, normal(vip)))
            if place is None:
                continue
            moves = (place.address, place.before) in before.places
            if moves or (place.address, place.after) in before.places:
                held.append(_held(vip, place.after, moves))
    return held


def _held(vip: Address, device: str, added: bool) -> Held:
    prefix = vip.prefix if vip.prefix is not None else vip.longest
    given = [o.value.text for o in vip.options if o.keyword.text == "preferred_lft" and o.value]
    # a single IPv6 address is deprecated from the start (vrrp_ipaddress.c)
    preferred = given[-1] if given else "0" if prefix == 128 else "forever"
    return Held(f"{normal(vip)}/{prefix}", device, tuple(_options(vip)), preferred, added)


def _options(vip: Address) -> Iterator[str]:
    for keyword, value in vip.options:
        if keyword.text in _WITH_VALUE and value:
            yield from (keyword.text, value.text)
        elif keyword.text in _FLAGS:
            yield keyword.text
    if vip.family == 6:
        yield "nodad"


def script(command: str, held: Iterable[Held], seconds: int | None = None) -> str:
    """For ip -batch: each of them with this lifetime, None: for ever."""
    lines = []
    for one in held:
        words = ["address", command, one.address, "dev", one.device]
        if command != "del":
            preferred = one.preferred
            if seconds is not None and preferred != "0":
                preferred = str(seconds)
            valid = "forever" if seconds is None else str(seconds)
            words += [*one.options, "valid_lft", valid, "preferred_lft", preferred]
        lines.append(" ".join(words) + "\n")
    return "".join(lines)


def add(held: list[Held]) -> None:
    """Hold those that keepalived has still to move, for SECONDS and as long as so many may take."""
    _run(script("replace", (one for one in held if one.added), lifetime(held)))


def lifetime(held: list[Held]) -> int:
    """How long they are held, s."""
    return SECONDS + round(len(held) * _SECONDS_EACH)


def taken(held: Iterable[Held], vips: Iterable[Vip], before: Picture, now: Picture) -> list[Held]:
    """Those that keepalived has moved: it is MASTER, where it tells, and off the former device.

    Before the reload a MASTER has them there, and a BACKUP has no use for what is held.
    """
    if not now.pid or (before.states is not None and now.states is None):
        return []
    places = {(vip.address, vip.after) for vip in vips if _is_moved(vip, now)}
    return [one for one in held if (one.address.partition("/")[0], one.device) in places]


def _is_moved(vip: Vip, now: Picture) -> bool:
    if now.states is not None:
        state = now.states.get(vip.instance)
        if state is None or state.state != MASTER:
            return False
    return (vip.address, vip.after) in now.places and (vip.address, vip.before) not in now.places


def lost(held: Iterable[Held], vips: Iterable[Vip], now: Picture) -> list[Held]:
    """Those that are another node's by now: keepalived says that it is no MASTER of them, or has ended."""
    if not now.pid:
        return list(held)
    states = now.states or {}
    others = {name for name, state in states.items() if state.state in (BACKUP, FAULT)}
    places = {(vip.address, vip.after) for vip in vips if vip.instance in others}
    return [one for one in held if (one.address.partition("/")[0], one.device) in places]


def keep(held: Iterable[Held]) -> None:
    """keepalived has taken them: for ever, as it adds them itself."""
    _run(script("change", held))


def drop(held: Iterable[Held]) -> None:
    """keepalived has not taken them."""
    _run(script("del", (one for one in held if one.added)))


def _run(batch: str) -> None:
    """What fails, the proof finds."""
    if batch:
        words = ["ip", "-force", "-batch", "-"]
        subprocess.run(words, input=os.fsencode(batch), capture_output=True, check=False)
