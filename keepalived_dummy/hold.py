# SPDX-License-Identifier: MIT
"""VIPs that a route names as its source, held on their new device while keepalived moves them.

With the last one of an address the kernel removes the routes that have it as `src` (fib_sync_down_addr()
in net/ipv4/fib_semantics.c), and keepalived, which sees a virtual route go, gives up MASTER for it. An
address that is on the new device already is not the last one, and keepalived takes it as it is. Until
the move is proven it has a lifetime, so that none is left behind where this is killed.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from keepalived_dummy.keepalived import Document
from keepalived_dummy.moves import longest
from keepalived_dummy.proof import Picture
from keepalived_dummy.rewrite import Vip, normal, source_of

SECONDS = 60


@dataclass(frozen=True)
class Held:
    """An address with its prefix length on a device; `preferred`: as keepalived would have it."""

    address: str
    device: str
    preferred: str

    def run(self, command: str, *lifetimes: str) -> None:
        """ip address add, change or del; what fails, the proof finds."""
        words = ["ip", "address", command, self.address, "dev", self.device, *lifetimes]
        if command == "add" and ":" in self.address:
            words.append("nodad")
        subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, check=False)


def needed(document: Document, vips: Iterable[Vip], before: Picture) -> list[Held]:
    """Those that move, are held, and that a virtual route of any instance names."""
    named = {source_of(r) for i in document.model.instances for r in i.virtual_routes}
    wanted = {
        (vip.instance, vip.address): vip
        for vip in vips
        if vip.before != vip.after and (vip.address, vip.before) in before.places
    }
    held = []
    for instance in document.model.instances:
        for vip in instance.vips:
            place = wanted.get((instance.name.text, normal(vip)))
            if place and {vip.address, normal(vip)} & named:
                prefix = vip.prefix if vip.prefix is not None else longest(vip)
                single = prefix == 128  # keepalived adds it deprecated (vrrp_ipaddress.c)
                preferred = "0" if single else "forever"
                held.append(Held(f"{normal(vip)}/{prefix}", place.after, preferred))
    return held


def add(held: Iterable[Held]) -> None:
    """Hold them for SECONDS."""
    for one in held:
        preferred = "0" if one.preferred == "0" else str(SECONDS)
        one.run("add", "valid_lft", str(SECONDS), "preferred_lft", preferred)


def keep(held: Iterable[Held]) -> None:
    """keepalived has taken them: for ever, as it adds them itself."""
    for one in held:
        one.run("change", "valid_lft", "forever", "preferred_lft", one.preferred)


def drop(held: Iterable[Held]) -> None:
    """keepalived has not taken them."""
    for one in held:
        one.run("del")
