#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Every known way to hold a VIP on a host of networkd, through the same events.

usage: comparison.py --results FOLDER [--suite NAME] [--form NAME]... [--uplink dhcp|static]... [--event NAME]...
                     [--resume] [--seconds SECONDS]
                                         in a guest, as root, without the package
       comparison.py --list              anywhere: the cells that were asked for, one a line
       comparison.py --table JSON...     anywhere: the tables of results, as Markdown

A cell is one form through one event on one kind of uplink: a client pings both VIPs at 100/s, a second VRRP node waits
on the LAN, and it is seen who holds the VIPs and what stays behind on the uplink. FOLDER gets comparison.json anew after
each cell. With --resume the cells that are there stay as they are and are not run again; without, those that were asked
for are run again. After --seconds no further cell begins, and the exit status is 75 where some are still to be run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import changes
import guest
from changes import CHANGES, Change
from forms import FORMS, PACKAGE, Form
from guest import say
from row import AGENT, VIPS, Cell, Row
from testbed import Testbed
from verdicts import SINGLE

USUAL = ("netplan apply", "networkd restarted", "networkctl reconfigure")
SHOWN = 0.1  # seconds with two holders: a few hundredths are how keepalived hands over
MORE = os.EX_TEMPFAIL  # the exit status where cells are still to be run
Key = tuple[str, str, str]  # uplink, form, event


# Choose


def wanted_cells(args: argparse.Namespace) -> list[tuple[Form, str, Change]]:
    """The cells that were asked for, those of a form on one kind of uplink one after another."""
    names = args.event or [change.name for change in CHANGES]
    return [
        (form, how, change)
        for form in FORMS
        if form.name in (args.form or [form.name])
        for how in args.uplink or changes.BOTH
        for change in CHANGES
        if change.name in names and how in change.uplinks and not (form.agent and change.vrrp)
    ]


def key(cell: Cell) -> Key:
    """What a cell is of."""
    return cell["uplink"], cell["form"], cell["event"]


def merged(cells: Sequence[Cell], new: Cell) -> list[Cell]:
    """The cells with this one in the place of an older one of its kind, all in the order of forms and events."""
    forms = [form.name for form in FORMS]
    names = [change.name for change in CHANGES]
    found = {key(cell): cell for cell in [*cells, new]}
    order = {
        k: (changes.BOTH.index(k[0]), forms.index(k[1]), names.index(k[2]))
        for k in found
        if k[1] in forms and k[2] in names
    }
    return [found[k] for k in sorted(order, key=order.__getitem__)]


# Judge


def moved(cell: Cell) -> bool:
    """Whether either node changed its state."""
    return bool(cell["host"] or cell["peer"] or cell["keepalived restarted"])


def lost(cell: Cell) -> int:
    """Pings lost of both families."""
    return sum(cell[family]["lost"] for family in VIPS if family in cell)


def sent(cell: Cell) -> int:
    return sum(cell[family]["sent"] for family in VIPS if family in cell)


def wrong(cells: Sequence[Cell]) -> list[str]:
    """What is wrong; empty where all is as it should be."""
    found = []
    quiet = {change.name for change in CHANGES if change.quiet}
    for one in cells:
        where = f"{one['title']}, {one['uplink']}, {one['event']}"
        found += [f"{where}: {one['error']}"] if one["error"] else []
        if one["form"] == "package" and not one["error"]:
            if one["served"] != list(VIPS) or not one["back"]:
                held = f"held at the end {one['held']}"
                found.append(f"{where}: served {one['served']}, {held}, back {one['back']}")
            if one["event"] in quiet and moved(one):
                found.append(f"{where}: the nodes changed their states")
            if one["event"] in quiet and lost(one) > max(1, sent(one) * SINGLE):
                found.append(f"{where}: {lost(one)} of {sent(one)} pings lost")
    plain = [one for one in cells if one["form"] == "keepalived" and one["event"] in USUAL]
    for how in dict.fromkeys(one["uplink"] for one in plain):
        mine = [one for one in plain if one["uplink"] == how]
        if not any(one["error"] or moved(one) or lost(one) for one in mine):
            found.append(
                f"{how}: nothing failed with keepalived alone: the other forms prove nothing"
            )
    return found


# Show


def text(one: Cell) -> str:
    """Pings lost of both families, transitions of both nodes, and what else there is to say."""
    if one["error"] and "IPv4" not in one:
        return f"not measured: {' '.join(one['error'].split())[:80]}"
    if not one["served"]:
        return "not served, before any event"
    counts = [(one[family]["lost"], one[family]["sent"]) for family in VIPS]
    pings = ["all" if gone == whole > 0 else f"{gone} of {whole}" for gone, whole in counts]
    parts = [", ".join(pings), "/".join(one["host"]) or "none"]
    parts[1] += f", other node {'/'.join(one['peer'])}" if one["peer"] else ""
    if (two := _longest(one, "two holders")) >= SHOWN:
        parts.append(f"two holders for {two:.1f} s")
    if (until := _longest(one, "held on")) >= 1:
        parts.append(f"given up after {until:.1f} s")
    if one.get("left"):
        parts.append(f"left behind: {', '.join(one['left'])}")
    if one["held"] is not None and one["held"] != list(VIPS):
        parts.append(f"held at the end: {', '.join(one['held']) or 'none'}")
    if one["recovered"]:
        parts.append(f"VIPs set again {one['recovered']} times")
    if not one["back"]:
        parts.append("**not back by itself**")
    if one["error"]:
        parts.append(f"failed: {' '.join(one['error'].split())[:80]}")
    return "; ".join(parts)


def _longest(one: Cell, what: str) -> float:
    """The seconds of the family that has more of them."""
    return max((seconds or 0.0 for seconds in one.get(what, {}).values()), default=0.0)


def table(result: dict[str, Any]) -> Iterator[str]:
    """The tables of one suite: forms down, events across, one for each kind of uplink and group of events."""
    cells: list[Cell] = result["cells"]
    groups = dict.fromkeys(change.group for change in CHANGES)
    for how in dict.fromkeys(one["uplink"] for one in cells):
        for group in groups:
            names = [change.name for change in CHANGES if change.group == group]
            mine = [one for one in cells if one["uplink"] == how and one["event"] in names]
            there = [name for name in names if any(one["event"] == name for one in mine)]
            if there:
                yield f"| {' | '.join([f'uplink {how}', 'VIPs on', *there])} |"
                yield "|" + "---|" * (len(there) + 2)
                for form in dict.fromkeys(one["form"] for one in mine):
                    yield line([one for one in mine if one["form"] == form], there)
                yield ""


def line(cells: Sequence[Cell], names: Sequence[str]) -> str:
    """A form's line of a table, under these events; a cell that is still to be run is empty."""
    found = {one["event"]: text(one) for one in cells}
    on = dict.fromkeys(name or "none" for one in cells for name in one["on"])
    words = [cells[0]["title"], ", ".join(on) or "none", *(found.get(name, "") for name in names)]
    return f"| {' | '.join(words)} |"


# Run


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=Path("/tmp/acceptance"))
    parser.add_argument("--suite", default="")
    parser.add_argument("--form", action="append", choices=[form.name for form in FORMS])
    parser.add_argument("--uplink", action="append", choices=changes.BOTH)
    names = [change.name for change in CHANGES]
    parser.add_argument("--event", action="append", choices=names, metavar="NAME")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--table", type=Path, nargs="+", metavar="JSON")
    return parser.parse_args()


def load(path: Path, suite: str) -> dict[str, Any]:
    """The results so far; ValueError where they are another suite's."""
    new: dict[str, Any] = {"date": guest.now(), "suite": suite, "cells": [], "wrong": []}
    if not path.exists():
        return new
    found: dict[str, Any] = json.loads(path.read_text())
    if found["suite"] != suite:
        raise ValueError(f"{path} is of {found['suite']}, not of {suite}")
    return found


def pending(
    chosen: Sequence[tuple[Form, str, Change]], cells: Sequence[Cell], resume: bool
) -> list[tuple[Form, str, Change]]:
    """What is still to be run: all that was chosen, or what of it is not there."""
    there = {key(cell) for cell in cells} if resume else set()
    return [one for one in chosen if (one[1], one[0].name, one[2].name) not in there]


def run_all(args: argparse.Namespace) -> tuple[dict[str, Any], bool]:
    """Every cell that is to be run, saved one by one; and whether all were."""
    if PACKAGE.exists():
        raise RuntimeError("the package is installed: the other forms would be measured with it")
    path = args.results / "comparison.json"
    result = load(path, args.suite)
    agent = AGENT / "version"
    result["agent"] = agent.read_text().strip() if agent.exists() else result.get("agent", "")
    bed = Testbed(args.results)
    (args.results / "peer.log").touch()
    todo = pending(wanted_cells(args), result["cells"], args.resume)
    end = time.monotonic() + args.seconds
    row: Row | None = None
    where: tuple[Form, str] | None = None
    for number, (form, how, change) in enumerate(todo):
        if time.monotonic() > end:
            say(f"{len(todo) - number} cells are still to be run")
            return result, False
        if where != (form, how):
            if row:
                row.down()
            row, where = Row(bed, form, how), (form, how)
        assert row
        cell = row.cell(change) | {"suite": args.suite}
        result["cells"] = merged(result["cells"], cell)
        result |= {"wrong": wrong(result["cells"]), "date": guest.now()}
        guest.save(path, result)
    if row:
        row.down()
    return result, True


def main() -> int:
    args = parse()
    if args.table:
        for path in args.table:
            print("\n".join(table(json.loads(path.read_text()))))
        return 0
    if args.list:
        for form, how, change in wanted_cells(args):
            print(f"{how}\t{form.name}\t{change.name}")
        return 0
    args.results.mkdir(parents=True, exist_ok=True)
    os.environ["LC_ALL"] = "C.UTF-8"
    result, done = run_all(args)
    print("\n".join(table(result)))
    for said in result["wrong"]:
        say(f"WRONG: {said}")
    return (1 if result["wrong"] else 0) if done else MORE


if __name__ == "__main__":
    sys.exit(main())
