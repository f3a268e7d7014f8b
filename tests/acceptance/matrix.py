#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The matrix: what happens to the host, against what the client and both VRRP nodes see of it.

Runs in a guest, as root, and leaves matrix.json in the folder --results. Every row is a client that pings both
VIPs at 100/s from the first event to the last: each ping of it is accounted for.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cells
import events
import guest
import verdicts
from guest import run, say
from pings import Pinger, Pings
from testbed import DUMMY, LAN, VIP4, VIP6, Pieces, Testbed, holds, journal

ALL = Pieces()
ADOPTED = (Pieces(adopted=True), Pieces(adopted=True, unicast=True))
WITHOUT = (Pieces(way_out=False), Pieces(pinned=False), Pieces(on_dummy=False))

# After an event, the time in which its consequences show: a master that went to FAULT is back after
# three adverts and a little.
CONSEQUENCES = 5.0


@dataclass(frozen=True)
class Window:
    """An event of a row, as it went. Times are seconds of the guest's clock."""

    name: str
    start: float
    done: float
    end: float
    host: list[str]
    peer: list[str]
    restarted: bool
    error: str = ""


class Trace:
    """The kernel's own account of addresses, routes and links while a row runs (`ip monitor`)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        words = ["ip", "-ts", "monitor", "link", "address", "route"]
        self._process = guest.start(words, path)

    def stop(self) -> None:
        guest.stop(self._process)

    def around(self, moment: float, width: float = 0.4) -> list[str]:
        """Its lines within `width` seconds of a moment."""
        found = []
        for line in self._path.read_text().splitlines():
            match = re.match(r"\[(\d+-\d+-\d+T[\d:]+\.\d+)\] ", line)
            if match:
                stamp, _, fraction = match[1].partition(".")
                when = time.mktime(time.strptime(stamp, "%Y-%m-%dT%H:%M:%S")) + float(
                    f"0.{fraction}"
                )
                if abs(when - moment) <= width:
                    found.append(line)
        return found


def keepalived_pid() -> str:
    return run("systemctl show --value -p MainPID keepalived").strip()


def window(bed: Testbed, event: events.Event, over: Callable[[], None] = events.over) -> Window:
    """Let an event happen, and wait until it is `over`, and for its consequences."""
    cursor, pid = bed.cursor(), keepalived_pid()
    start, error = time.time(), ""
    try:
        event.run()
        over()
    except RuntimeError as problem:
        error = str(problem)
    done = time.time()
    time.sleep(CONSEQUENCES)
    host, peer = bed.entered(cursor)
    restarted = keepalived_pid() != pid
    return Window(event.name, start, done, time.time(), host, peer, restarted, error)


def account(pings: Pings, one: Window) -> dict[str, int]:
    """What of a row's pings falls into an event: sent (of the clock), lost, and the longest gap in ms."""
    lost = [n for n, when in pings.lost().items() if one.start <= when < one.end]
    inside = Pings(
        0,
        {n: when for n, when in pings.answers.items() if one.start <= when < one.end},
        one.start,
        one.end,
    )
    return {"sent": len(inside.answers) + len(lost), "lost": len(lost), "gap": round(inside.gap())}


def row(bed: Testbed, how: str, pieces: Pieces, chosen: list[events.Event]) -> dict[str, Any]:
    """One row of the matrix, from a fresh start."""
    say(f"row: {how}, {pieces}")
    if pieces.adopted:
        first, last = events.adoption(bed.work)
        chosen = [first, *chosen, last]
    bed.build(how)
    bed.host_up(pieces)
    bed.settle()
    bed.peer_up(unicast=pieces.unicast)
    time.sleep(2)
    trace = Trace(bed.work / f"trace-{how}-{pieces}".replace(" ", "-"))
    cursor = bed.cursor()
    clients = {"IPv4": Pinger(LAN, VIP4), "IPv6": Pinger(LAN, VIP6)}
    time.sleep(0.5)
    windows = []
    try:
        for event in chosen:
            windows.append(window(bed, event))
            one = windows[-1]
            states = f"host {'/'.join(one.host) or '-'}, peer {'/'.join(one.peer) or '-'}"
            say(f"  {one.name}: {one.done - one.start:.1f} s, {states} {one.error}")
            if not holds(VIP4):
                guest.wait_for("the host is master again", lambda: holds(VIP4), 30)
    finally:
        seen = {family: client.stop() for family, client in clients.items()}
        trace.stop()
        bed.close()
    made = [
        {
            "event": one.name,
            "host": one.host,
            "peer": one.peer,
            "keepalived restarted": one.restarted,
            "error": one.error,
            **{family: account(pings, one) for family, pings in seen.items()},
        }
        for one in windows
    ]
    for entry in made:
        say(f"  {entry['event']}: {entry['IPv4']} {entry['IPv6']}")
    why = explain(seen, trace, cursor) if pieces.whole else []
    return {
        "uplink": how,
        "pieces": str(pieces),
        "whole": pieces.whole,
        "events": made,
        "lost": why,
    }


def explain(seen: dict[str, Pings], trace: Trace, cursor: str) -> list[dict[str, Any]]:
    """For each loss: the kernel's events and the daemon's words around it."""
    found: list[dict[str, Any]] = []
    last = 0.0
    for family, pings in seen.items():
        for number, when in pings.lost().items():
            if when - last > 1 and len(found) < 20:
                last = when
                clock = time.strftime("%H:%M:%S", time.localtime(when))
                said = [
                    x for x in journal(cursor, "-u keepalived-dummy").splitlines() if clock in x
                ]
                kernel = trace.around(when)
                found.append(
                    {"family": family, "ping": number, "at": when, "kernel": kernel, "daemon": said}
                )
    return found


def install(bed: Testbed) -> dict[str, Any]:
    """The package installed on a host that has its VIPs live on a dummy made by hand.

    IPv6 is not answered there before, as the recipe has it.
    """
    say("install, over a dummy made by hand")
    bed.build("static")
    run(f"ip link add {DUMMY} type dummy && ip link set {DUMMY} up")
    bed.host_up(ALL)
    guest.wait_for("the host holds the VIP", lambda: holds(VIP4))
    bed.peer_up()
    time.sleep(3)
    trace = Trace(bed.work / "trace-install")
    cursor = bed.cursor()
    clients = {"IPv4": Pinger(LAN, VIP4), "IPv6": Pinger(LAN, VIP6)}
    time.sleep(0.5)
    try:
        one = window(bed, events.Event("installed", _install))
    finally:
        seen = {family: client.stop() for family, client in clients.items()}
        trace.stop()
        bed.close()
    first = min((t for t in seen["IPv6"].answers.values()), default=None)
    entry = {
        "event": one.name,
        "host": one.host,
        "peer": one.peer,
        "keepalived restarted": one.restarted,
        "error": one.error,
        "IPv4": account(seen["IPv4"], one),
        "IPv6 answered after, s": None if first is None else round(first - one.start, 1),
    }
    say(f"  {entry}")
    why = explain({"IPv4": seen["IPv4"]}, trace, cursor)
    return {
        "uplink": "static",
        "pieces": "installed live",
        "whole": True,
        "events": [entry],
        "lost": why,
    }


def _install() -> None:
    run(f"DEBIAN_FRONTEND=noninteractive dpkg -i {events.package()}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("/tmp/acceptance"))
    parser.add_argument("--short", action="store_true", help="four events, by DHCP, and no cells")
    parser.add_argument("--decisive", action="store_true", help="of these the least that proves it")
    parser.add_argument("--adopted", action="store_true", help="no rows with a piece taken out")
    parser.add_argument("--cells", action="store_true", help="the cells alone")
    names = sorted({cell.__name__ for cell, _ in cells.CELLS})
    parser.add_argument("--cell", choices=names, action="append", help="these cells alone")
    parser.add_argument("--uplink", choices=["static", "dhcp"], action="append")
    parser.add_argument("--event", action="append", help="these events alone")
    return parser.parse_args()


def rows(bed: Testbed, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """All rows that were asked for."""
    if not Path("/usr/sbin/keepalived-dummy").exists():
        yield install(bed)
    names = args.event or [event.name for event in events.EVENTS]
    if args.short or args.decisive:
        names = events.SHORT if args.short else events.DECISIVE
    for how in args.uplink or (["static", "dhcp"] if len(names) > len(events.SHORT) else ["dhcp"]):
        wanted = [
            e for e in events.EVENTS if e.name in names and (how == "dhcp" or not e.dhcp_only)
        ]
        for pieces in ADOPTED[:1] if args.short or args.decisive else ADOPTED:
            yield row(bed, how, pieces, wanted)
        few = events.DECISIVE if args.short else events.SHORT if how == "static" else names
        quick = [e for e in wanted if e.quick and e.name in few]
        without = () if args.adopted else WITHOUT[:1] if args.decisive else WITHOUT
        for pieces in without:
            yield row(bed, how, pieces, quick)


def save(folder: Path, result: dict[str, Any]) -> None:
    """Judge what is there so far, and leave it."""
    result["wrong"] = verdicts.of(result["rows"])
    result["wrong"] += [f"{c['cell']}: {c['wrong']}" for c in result["cells"] if c["wrong"]]
    result["wrong"] += [result["error"]] if result["error"] else []
    guest.save(folder / "matrix.json", result)


def main() -> int:
    args = parse()
    args.results.mkdir(parents=True, exist_ok=True)
    os.environ["LC_ALL"] = "C.UTF-8"
    unfinished = "the run was ended before its end"
    result: dict[str, Any] = {"date": guest.now(), "rows": [], "cells": [], "error": unfinished}
    bed = Testbed(args.results)
    try:
        if args.cells or args.cell:
            _install()
        else:
            for made in rows(bed, args):
                result["rows"].append(made)
                save(args.results, result)
        if not (args.short or args.decisive):
            for cell in cells.run_all(bed, args.cell):
                result["cells"].append(cell)
                save(args.results, result)
        result["error"] = ""
    except (RuntimeError, ValueError, OSError, subprocess.SubprocessError) as error:
        result["error"] = str(error)
        print(
            f"{error}\n{run('ip address; ip route; networkctl list', check=False)}", file=sys.stderr
        )
    finally:
        bed.close()
    save(args.results, result)
    for line in result["wrong"]:
        say(f"WRONG: {line}")
    return 1 if result["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
