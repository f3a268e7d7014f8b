# SPDX-License-Identifier: MIT
"""A form of the comparison on one kind of uplink: put up, taken through one event after another, and what each did."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cells
import events
import guest
import matrix
from changes import Change, Stage
from forms import Form, put_up, take_down
from guest import run, say, wait_for
from ocf import Agent
from pings import Pinger
from spans import HolderTrace, Span, shared
from testbed import (
    LAN,
    PEER,
    UPLINK,
    VIP4,
    VIP6,
    Testbed,
    devices_of,
    holds,
    own_addresses,
    reachable,
)

Cell = dict[str, Any]
VIPS = {"IPv4": VIP4, "IPv6": VIP6}
AGENT = Path("/job/resource-agents")
ERRORS = (RuntimeError, ValueError, OSError, subprocess.SubprocessError)
# Seconds for a VIP that is gone to be back: a cluster looks every 10 s; keepalived needs three adverts and a little.
BACK = 15.0
ROUTES = 12.0  # seconds for routes that were put back to go, ten after the address is back (GRACE in wayout.py)


def all_within(seconds: float, test: Callable[[str], bool], vips: Sequence[str]) -> bool:
    """Whether the test is true of all these VIPs within so many seconds."""
    try:
        wait_for("", lambda: all(test(vip) for vip in vips), seconds, 0.2)
    except RuntimeError:
        return False
    return True


def served(form: Form) -> list[str]:
    """The families whose VIP the client reaches, once there has been time for it."""
    all_within(30, holds, list(VIPS.values()))
    return [
        family
        for family, vip in VIPS.items()
        if holds(vip) and all_within(8 if form.dummy else 20, reachable, [vip])
    ]


class Row:
    """A form that is put up on one kind of uplink, and goes through one event after another."""

    def __init__(self, bed: Testbed, form: Form, how: str) -> None:
        self._stage = Stage(bed, form, how)
        self._up = False
        self._agent: Agent | None = None
        self._served: list[str] = []
        self._start: list[object] = []

    def cell(self, change: Change) -> Cell:
        """One event, from a form that is as it was put up; what went wrong is in the cell's error."""
        stage = self._stage
        say(f"{stage.how}: {stage.form.title}: {change.name}")
        cell: Cell = {"uplink": stage.how, "form": stage.form.name, "title": stage.form.title}
        cell |= {"event": change.name, "date": guest.now(), "served": [], "on": []}
        cell |= {"host": [], "peer": [], "keepalived restarted": False, "back": True}
        cell |= {"left": [], "held": [], "recovered": None, "error": ""}
        try:
            if change.unicast:
                self.down()
            if not self._up:
                self._put_up(change.unicast)
            cell |= {
                "served": self._served,
                "on": [", ".join(devices_of(v)) for v in VIPS.values()],
            }
            if self._served:
                cell |= self._through(change)
                if change.spoils or cell["error"] or self._state() != self._start:
                    self.down()
        except ERRORS as error:
            cell["error"] = str(error)
            say(f"  {error}\n{run('ip address; ip route; networkctl list', check=False)}")
            self.down()
        say(f"  {cell}")
        return cell

    def _put_up(self, unicast: bool) -> None:
        stage = self._stage
        self._up = True  # to be taken down, also where it fails half way
        put_up(stage.bed, stage.form, stage.how, unicast)
        if stage.form.agent:
            self._agent = Agent(AGENT, stage.bed.work / "IPaddr2.log")
            self._agent.up()
        self._served = served(stage.form)
        if not stage.form.agent:
            stage.bed.peer_up(unicast=unicast, unicast_to=stage.form.advertises)
        time.sleep(
            4
        )  # a second node that hears nobody claims the VIPs after three adverts and a little
        self._start = self._state()

    def _state(self) -> list[object]:
        """What the next event finds: the VIPs' devices, the uplink's own addresses, and who is master."""
        peer = run(f"ip -n {PEER} -o address show", check=False)
        return [
            {vip: devices_of(vip) for vip in VIPS.values()},
            own_addresses(),
            [vip for vip in VIPS.values() if f" {vip}/" in peer],
            _keepalived_is_active(),
        ]

    def _through(self, change: Change) -> Cell:
        """The event itself, with a client of each family pinging meanwhile."""
        bed, agent = self._stage.bed, self._agent
        there = [vip for vip in VIPS.values() if holds(vip)]
        wanted: list[set[str] | None] = [own_addresses()]
        before = agent.recovered if agent else 0

        def happen() -> None:
            wanted.append(change.run(self._stage))

        watch = HolderTrace(bed.work, VIPS.values())
        clients = {family: Pinger(LAN, vip) for family, vip in VIPS.items()}
        time.sleep(0.5)
        try:
            event = events.Event(change.name, happen)
            window = matrix.window(bed, event, lambda: None)
            back = all_within(BACK, _is_served_here if not agent else holds, there)
            end = time.time()
        finally:
            seen = {family: client.stop() for family, client in clients.items()}
            held = watch.stop()
        own = wanted[-1] if wanted[-1] is not None else wanted[0]
        return {
            "host": window.host,
            "peer": window.peer,
            "keepalived restarted": window.restarted,
            "back": back,
            "error": window.error,
            "took": round(window.done - window.start, 1),
            **{f: matrix.account(p, dataclasses.replace(window, end=end)) for f, p in seen.items()},
            "two holders": {f: round(shared(*held[vip]), 2) for f, vip in VIPS.items()},
            "held on": {f: held_on(held[vip][0], window.start, end) for f, vip in VIPS.items()},
            "left": left(own or set(), agent is not None),
            "held": [family for family, vip in VIPS.items() if holds(vip)],
            "recovered": agent.recovered - before if agent else None,
        }

    def down(self) -> None:
        """Take it down, where it is up."""
        if not self._up:
            return
        self._up = False
        if self._agent:
            self._agent.down()
            self._agent = None
        take_down(self._stage.bed, self._stage.form)


def _keepalived_is_active() -> bool:
    return run("systemctl is-active keepalived", check=False).strip() == "active"


def _is_served_here(vip: str) -> bool:
    """Whether a running keepalived of the host has the VIP."""
    return holds(vip) and _keepalived_is_active()


def held_on(mine: Sequence[Span], start: float, end: float) -> float | None:
    """The seconds from the event's start until the host first held the VIP no more; None where it always did."""
    for since, until in mine:
        if since <= start < until < end:
            return round(until - start, 2)
    return None


def left(own: set[str], agent: bool) -> list[str]:
    """What nobody wants any more.

    Addresses of the uplink beside its own, VIPs that no keepalived holds, and routes that this package put back and that
    networkd has again.
    """
    there = own_addresses()
    found = sorted(there - own)
    if not agent and not _keepalived_is_active():
        found += [f"{vip} on {device}" for vip in VIPS.values() for device in devices_of(vip)]
    if any("." in address for address in there):
        all_within(ROUTES, lambda _: not cells.ours(), [UPLINK])
        found += [f"route {' '.join(line.split())}" for line in cells.ours().splitlines()]
    return found
