#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The job side by side, in a guest: four ways to hold a VIP, what happens to the uplink, and what clients see.

usage: demo.py RESULTS DEB        RESULTS gets demo.json
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "acceptance"))

from cell import Cell, Client, story, summary, table
from forms import RECIPE, RECIPE_TEXT
from guest import now, run, say, versions, wait_for, write
from pings import Pinger, Pings
from testbed import (
    DUMMY,
    LAN,
    UPLINK,
    VIP4,
    VIP6,
    Instance,
    Testbed,
    has_addresses,
    holds,
    journal,
    reachable,
)

RATE = 50  # pings a second from each client
# A master that went to FAULT is back after three adverts and a little, about 3.6 s.
CONSEQUENCES = 5.0


def recipe() -> None:
    """What the recipe says to do."""
    write(RECIPE, RECIPE_TEXT)
    run("systemctl restart systemd-networkd")
    wait_for(f"{DUMMY} is there", Path(f"/sys/class/net/{DUMMY}").exists)
    wait_for("the uplink has its addresses", has_addresses)


def recipe_up() -> None:
    """The recipe, and what it forgot."""
    recipe()
    run(f"ip link set {DUMMY} up")


def without_recipe() -> None:
    """Take the recipe away."""
    RECIPE.unlink(missing_ok=True)
    run(f"ip link delete {DUMMY}", check=False)


@dataclass(frozen=True)
class Approach:
    """A way to hold a VIP: what is done on the host, the VIP's `dev`, and whether it is adopted from there."""

    name: str
    prepare: Callable[[], None]
    device: str
    adopted: bool = False
    serves: bool = True


BEFORE = (
    Approach("on the real interface", without_recipe, UPLINK),
    Approach("the published recipe", recipe, DUMMY, serves=False),
    Approach("the recipe, link set up", recipe_up, DUMMY),
)
PACKAGE = Approach("this package", lambda: None, UPLINK, adopted=True)

ADOPT = "adopt, live"
EVENTS = {
    ADOPT: "keepalived-dummy adopt --yes",
    "netplan apply": "netplan apply",
    "networkd restart": "systemctl restart systemd-networkd",
    "networkctl renew": f"networkctl renew {UPLINK}",
}
UPLINKS = {
    "static": ("netplan apply", "networkd restart"),
    "dhcp": ("netplan apply", "networkd restart", "networkctl renew"),
}


def client(pings: Pings) -> Client:
    """A client's account."""
    return Client(pings.sent, len(pings.lost()), None if pings.dead() else round(pings.gap()))


def transitions(cursor: str) -> tuple[str, ...]:
    """The states keepalived says it entered since `cursor`."""
    run("journalctl -q --sync")
    said = journal(cursor, "-u keepalived")
    return tuple(re.findall(r"\(VI_1\) Entering (\w+) STATE", said))


def measure(bed: Testbed, approach: Approach, uplink: str, event: str, started: str) -> Cell:
    """One event, with a client of each family pinging from a second before it to its last consequence.

    `started` is where the journal ended when keepalived was started.
    """
    cursor = bed.cursor()
    clients = [Pinger(LAN, vip, RATE) for vip in (VIP4, VIP6)]
    time.sleep(1)
    run(EVENTS[event])
    wait_for("the uplink has its addresses", has_addresses)
    time.sleep(CONSEQUENCES)
    ipv4, ipv6 = (client(it.stop()) for it in clients)
    state = transitions(started)[-1:]
    cell = Cell(approach.name, uplink, event, ipv4, ipv6, transitions(cursor), "".join(state))
    states = " ".join(cell.transitions) or ", ".join(filter(None, ("none", cell.state)))
    say(f"    {event}: {ipv4.lost} of {ipv4.sent} lost, IPv6 {ipv6.lost}; transitions: {states}")
    return cell


def served() -> bool:
    """Whether the host holds its VIP and the client reaches it."""
    return holds(VIP4) and reachable(VIP4)


def try_approach(bed: Testbed, approach: Approach, uplink: str) -> list[Cell]:
    """An approach through all events of an uplink."""
    say(f"  {approach.name}")
    run("systemctl stop keepalived", check=False)
    approach.prepare()
    started = bed.cursor()
    bed.keepalived_up(Instance(UPLINK, 100, 1, approach.device))
    cells = []
    events = UPLINKS[uplink]
    for event in (ADOPT, *events) if approach.adopted else events:
        if approach.serves:
            wait_for("the VIP is served", served, 60)
        else:
            time.sleep(CONSEQUENCES)
        cells.append(measure(bed, approach, uplink, event, started))
    if approach.adopted:
        run("keepalived-dummy revert --yes")
    run("systemctl stop keepalived")
    return cells


def main(words: list[str]) -> int:
    """Measures, prints the table, leaves demo.json."""
    results, deb = Path(words[0]), Path(words[1])
    found = versions()
    say(", ".join(f"{name} {version}" for name, version in found.items()))
    bed = Testbed(results)
    cells: list[Cell] = []

    def through(uplink: str, approaches: tuple[Approach, ...]) -> None:
        say(f"{uplink} uplink")
        bed.build(uplink)
        for approach in approaches:
            cells.extend(try_approach(bed, approach, uplink))

    try:
        for uplink in UPLINKS:
            through(uplink, BEFORE)
        without_recipe()
        say("apt install this package")
        run(f"DEBIAN_FRONTEND=noninteractive apt-get -qq install {deb}")
        for uplink in UPLINKS:
            through(uplink, (PACKAGE,))
    finally:
        bed.close()
    data = {
        "made": now(),
        "versions": versions(),
        "pings per second": RATE,
        "cells": [dataclasses.asdict(cell) for cell in cells],
    }
    (results / "demo.json").write_text(json.dumps(data, indent=1) + "\n")
    print(f"\n{table(cells)}\n\n{summary(cells)}", flush=True)
    print(story(cells, "dhcp", "netplan apply"), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
