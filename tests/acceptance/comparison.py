#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Every known way to hold a VIP on a host of networkd, through the same events.

usage: comparison.py --results FOLDER [--form NAME]... [--uplink dhcp|static]... [--event NAME]...
                                         in a guest, as root, without the package
       comparison.py --table JSON...     anywhere: the table of results, as Markdown

A client pings both VIPs at 100/s from before the first event to after the last, and a second VRRP node waits on the
LAN. A form that fails says so in its row, and the next goes on. FOLDER gets comparison.json, anew after each form.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import events
import guest
import matrix
from forms import FORMS, PACKAGE, Form, put_up, take_down
from guest import run, say, wait_for
from ocf import Agent
from pings import Pinger
from testbed import LAN, VIP4, VIP6, Testbed, devices_of, holds, reachable
from verdicts import SINGLE

VIPS = {"IPv4": VIP4, "IPv6": VIP6}
EVENTS = {
    "netplan apply": events.Event(
        "netplan apply", lambda: say(run("netplan apply") or "  applied")
    ),
    **{event.name: event for event in events.EVENTS if event.name in events.SHORT[1:]},
}
USUAL = ("netplan apply", "networkd restarted", "networkctl reconfigure")
AGENT = Path("/job/resource-agents")
ERRORS = (RuntimeError, ValueError, OSError, subprocess.SubprocessError)
# Seconds for a VIP that is gone to be back: a cluster looks every 10 s; keepalived needs three adverts and a little.
BACK = 15.0


# Measure


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


def one_event(bed: Testbed, form: Form, event: events.Event) -> tuple[matrix.Window, bool]:
    """An event, and whether the VIPs came back by themselves; where not, keepalived is started anew for the next."""
    there = [vip for vip in VIPS.values() if holds(vip)]
    window = matrix.window(bed, event)
    back = all_within(BACK, holds, there)
    window = dataclasses.replace(window, end=time.time())
    if not back and not form.agent:
        run("systemctl reset-failed keepalived; systemctl restart keepalived", check=False)
        all_within(BACK, holds, there)
    states = f"host {'/'.join(window.host) or '-'}, peer {'/'.join(window.peer) or '-'}"
    say(f"  {event.name}: {window.done - window.start:.1f} s, {states}, back {back} {window.error}")
    return window, back


def through(bed: Testbed, form: Form, chosen: Sequence[events.Event]) -> list[dict[str, Any]]:
    """All events, with a client of each family pinging meanwhile; what each did."""
    clients = {family: Pinger(LAN, vip) for family, vip in VIPS.items()}
    time.sleep(0.5)
    windows = []
    try:
        for event in chosen:
            windows.append(one_event(bed, form, event))
    finally:
        seen = {family: client.stop() for family, client in clients.items()}
    return [
        {
            "event": one.name,
            "host": one.host,
            "peer": one.peer,
            "keepalived restarted": one.restarted,
            "back": back,
            "error": one.error,
            **{family: matrix.account(pings, one) for family, pings in seen.items()},
        }
        for one, back in windows
    ]


def measure(bed: Testbed, form: Form, how: str, chosen: Sequence[events.Event]) -> dict[str, Any]:
    """The row of one form on one kind of uplink."""
    say(f"{how}: {form.title}")
    row: dict[str, Any] = {"form": form.name, "title": form.title, "uplink": how}
    row |= {"served": [], "on": [], "events": [], "held": [], "recovered": None, "error": ""}
    agent = None
    try:
        put_up(bed, form, how)
        if form.agent:
            agent = Agent(AGENT, bed.work / "IPaddr2.log")
            agent.up()
        row["served"] = served(form)
        row["on"] = [", ".join(devices_of(vip)) for vip in VIPS.values()]
        if not form.agent:
            bed.peer_up()
        time.sleep(2)
        if row["served"]:
            row["events"] = through(bed, form, chosen)
        row["held"] = [family for family, vip in VIPS.items() if holds(vip)]
        row["recovered"] = agent.recovered if agent else None
    except ERRORS as error:
        row["error"] = str(error)
        say(f"  {error}\n{run('ip address; ip route; networkctl list', check=False)}")
    for entry in row["events"]:
        say(f"  {entry['event']}: {entry['IPv4']} {entry['IPv6']}")
    try:
        if agent:
            agent.down()
        take_down(bed, form)
    except ERRORS as error:
        row["error"] = f"{row['error']} taking it down: {error}".strip()
    return row


# Judge


def moved(row: dict[str, Any]) -> bool:
    """Whether either node changed its state."""
    return any(e["host"] or e["peer"] or e["keepalived restarted"] for e in row["events"])


def lost(row: dict[str, Any]) -> int:
    """Pings lost of both families."""
    return sum(e[family]["lost"] for e in row["events"] for family in VIPS)


def sent(row: dict[str, Any]) -> int:
    return sum(e[family]["sent"] for e in row["events"] for family in VIPS)


def wrong(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What is wrong; empty where all is as it should be."""
    found = []
    for row in rows:
        where = f"{row['title']}, {row['uplink']}"
        found += [f"{where}: {row['error']}"] if row["error"] else []
        found += [f"{where}: {e['event']}: {e['error']}" for e in row["events"] if e["error"]]
        if row["form"] == "package":
            if row["served"] != list(VIPS) or row["held"] != list(VIPS):
                found.append(f"{where}: served {row['served']}, held at the end {row['held']}")
            if moved(row):
                found.append(f"{where}: the nodes changed their states")
            if lost(row) > sent(row) * SINGLE:
                found.append(f"{where}: {lost(row)} of {sent(row)} pings lost")
        if row["form"] == "keepalived" and not row["error"] and not moved(row) and not lost(row):
            found.append(f"{where}: nothing failed, so the other rows prove nothing")
    return found


# Show


def cell(entry: dict[str, Any]) -> str:
    """Pings lost of both families, transitions of both nodes, and a VIP that had to be set again by hand."""
    counts = [(entry[family]["lost"], entry[family]["sent"]) for family in VIPS]
    parts = ["all" if gone == whole > 0 else f"{gone} of {whole}" for gone, whole in counts]
    text = f"{', '.join(parts)}; {'/'.join(entry['host']) or 'none'}"
    text += f", other node {'/'.join(entry['peer'])}" if entry["peer"] else ""
    return text + ("" if entry["back"] else "; **not back by itself**")


def line(row: dict[str, Any], names: Sequence[str]) -> str:
    """A form's line of the table, under these events."""
    found = {entry["event"]: cell(entry) for entry in row["events"]}
    why = "not served, before any event"
    if row["error"]:
        why = f"not measured: {' '.join(row['error'].split())[:80]}"
    title: str = row["title"]
    if row["recovered"] is not None:
        title += f" (VIPs set again {row['recovered']} times)"
    held = "both" if row["held"] == list(VIPS) else ", ".join(row["held"]) or "none"
    devices = ", ".join(dict.fromkeys(name or "none" for name in row["on"]))
    return f"| {' | '.join([title, devices, *(found.get(name, why) for name in names), held])} |"


def table(result: dict[str, Any]) -> Iterator[str]:
    """The table of one run: forms down, events across, a block for each kind of uplink."""
    rows: list[dict[str, Any]] = result["rows"]
    for how in dict.fromkeys(row["uplink"] for row in rows):
        mine = [row for row in rows if row["uplink"] == how]
        names = list(dict.fromkeys(entry["event"] for row in mine for entry in row["events"]))
        yield f"| {' | '.join([f'uplink {how}', 'VIPs on', *names, 'held at the end'])} |"
        yield "|" + "---|" * (len(names) + 3)
        yield from (line(row, names) for row in mine)
        yield ""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=Path("/tmp/acceptance"))
    parser.add_argument("--form", action="append", choices=[form.name for form in FORMS])
    parser.add_argument("--uplink", action="append", choices=["dhcp", "static"])
    parser.add_argument("--event", action="append", choices=list(EVENTS))
    parser.add_argument("--table", type=Path, nargs="+", metavar="JSON")
    return parser.parse_args()


def run_all(args: argparse.Namespace) -> dict[str, Any]:
    """Every form asked for, saved one by one."""
    if PACKAGE.exists():
        raise RuntimeError("the package is installed: the other forms would be measured with it")
    bed = Testbed(args.results)
    (args.results / "peer.log").touch()
    chosen = [EVENTS[name] for name in args.event or USUAL]
    agent = AGENT / "version"
    result: dict[str, Any] = {"date": guest.now(), "rows": [], "wrong": []}
    result["agent"] = agent.read_text().strip() if agent.exists() else ""
    for form in FORMS:
        for how in args.uplink or ["dhcp"]:
            if form.name in (args.form or [form.name]):
                result["rows"].append(measure(bed, form, how, chosen))
                result["wrong"] = wrong(result["rows"])
                guest.save(args.results / "comparison.json", result)
    return result


def main() -> int:
    args = parse()
    if args.table:
        for path in args.table:
            print("\n".join(table(json.loads(path.read_text()))))
        return 0
    args.results.mkdir(parents=True, exist_ok=True)
    os.environ["LC_ALL"] = "C.UTF-8"
    result = run_all(args)
    print("\n".join(table(result)))
    for text in result["wrong"]:
        say(f"WRONG: {text}")
    return 1 if result["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
