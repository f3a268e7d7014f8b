#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The results of the acceptance runs as Markdown: docs/evidence/NAME-SUITE.json into docs/evidence/NAME.md."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import comparison as comparison_part
import foreign as foreign_part
import wire_cost as wire_cost_part

SUITES = ("bookworm", "noble", "trixie", "sid")
FAMILIES = ("IPv4", "IPv6")
FORMS = {
    "uplink": "VIP on the uplink",
    "vmac": "use_vmac",
    "recipe": "dummy, no wire",
    "dummy": "this package",
}
Result = dict[str, Any]


def header(cells: list[str]) -> Iterator[str]:
    yield line(cells)
    yield "|" + "---|" * len(cells)


def line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def stack(suite: str, result: Result) -> Iterator[str]:
    """The heading of a suite, with what it ran on and what is wrong."""
    have = result["versions"]
    names = ("systemd", "netplan.io", "keepalived", "keepalived-dummy")
    words = ", ".join(f"{name} {have[name]}" for name in names if have.get(name))
    yield f"## {suite}"
    yield ""
    yield f"{result['date']}; {have['system']}, Linux {have['kernel']}, {words}."
    yield ""
    for text in result["wrong"]:
        yield f"- **Not as it should be**: {text}"
    if result["wrong"]:
        yield ""


def cell(event: Result | None) -> str:
    """Transitions of both nodes, and pings lost of both families; or a dash."""
    if event is None:
        return ""
    moves = "/".join(event["host"]) or "none"
    if event["peer"]:
        moves += f", other node {'/'.join(event['peer'])}"
    lost = [f"{event[f]['lost']}" if f in event else "-" for f in FAMILIES]
    return f"{moves}; {lost[0]}, {lost[1]}"


def matrix(results: dict[str, Result]) -> Iterator[str]:
    yield "# What the host's network stack does, and what a client sees of it"
    yield ""
    yield "In each cell: the states that the VRRP instance entered, then the IPv4 and IPv6 pings lost, of a client at"
    yield "100 pings/s on each VIP from before the first event to after the last. A second VRRP node waits on the"
    yield "LAN; advert_int is 1. The rows with a piece taken out show that the piece is needed."
    yield ""
    for suite, result in results.items():
        yield from stack(suite, result)
        for row in result["rows"]:
            if row["pieces"] == "installed live":
                event = row["events"][0]
                lost = f"{event['IPv4']['lost']} of {event['IPv4']['sent']} IPv4 pings lost"
                moves = "/".join(event["host"] + event["peer"]) or "none"
                yield f"Installed while VIPs were live on a dummy made by hand: transitions {moves}; {lost}."
                yield ""
        for how in ("static", "dhcp"):
            rows = [
                r for r in result["rows"] if r["uplink"] == how and r["pieces"] != "installed live"
            ]
            if rows:
                yield from one_uplink(how, rows)
        yield from cells_of(result)


def one_uplink(how: str, rows: list[Result]) -> Iterator[str]:
    yield from header([f"uplink {how}", *(row["pieces"] for row in rows)])
    for number, event in enumerate(rows[0]["events"]):
        found = [
            next((e for e in row["events"] if e["event"] == event["event"]), None) for row in rows
        ]
        yield line([f"{number}. {event['event']}" if number else event["event"], *map(cell, found)])
    totals = []
    for row in rows:
        sums = [
            f"{sum(e[f]['lost'] for e in row['events'])} of {sum(e[f]['sent'] for e in row['events']):,}"
            for f in FAMILIES
        ]
        totals.append(", ".join(sums))
    yield line(["pings lost, IPv4, IPv6", *totals])
    yield ""


def cells_of(result: Result) -> Iterator[str]:
    if not result["cells"]:
        return
    yield from header(["cell", "seen", "as it should be"])
    for one in result["cells"]:
        seen = ", ".join(
            f"{name}: {value if not isinstance(value, list) else '/'.join(value) or 'none'}"
            for name, value in one.items()
            if name not in ("cell", "wrong", "journal", "seen")
        )
        yield line(
            [one["cell"], seen or "see the JSON", f"no: {one['wrong']}" if one["wrong"] else "yes"]
        )
    yield ""


def number(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f}"


def failover(results: dict[str, Result]) -> Iterator[str]:
    yield "# Failover, as a client sees it"
    yield ""
    yield "Medians of the longest time without an answer in ms, of a client at 100 pings/s with primed neighbour"
    yield "caches; VRRPv3, advert_int 0.1; all forms in turn in one run, each hit at the same moments of its advert"
    yield 'interval. "never": not back within 1.6 s. The ratio is this package against the VIP on the uplink.'
    yield ""
    for suite, result in results.items():
        yield from stack(suite, result)
        if "summary" not in result:
            continue
        forms = list(result["summary"][0]["medians"])
        yield from header(["failure", "n", *(FORMS[form] for form in forms), "ratio"])
        for one in result["summary"]:
            cells = []
            for form in forms:
                lost = one["not back"][form]
                cells.append(number(one["medians"][form]) + (f" ({lost} never)" if lost else ""))
            yield line(
                [f"{one['kind']}, {one['family']}", str(one["n"]), *cells, str(one["ratio"])]
            )
        yield ""


def thousand(results: dict[str, Result]) -> Iterator[str]:
    yield "# 1,000 VIPs, 1,000 failovers"
    yield ""
    for suite, result in results.items():
        yield from stack(suite, result)
        if made := result.get("announcements"):
            yield f"{made['vips']} VIPs, half of each family; the master is reset; seconds until the other has"
            yield "announced all of them on the LAN, in turn:"
            yield ""
            yield from header(["form", "median", "tries", "first announced", "frames"])
            for form, tries in made["tries"].items():
                times = ", ".join(f"{one['all']:.2f}" for one in tries)
                firsts = ", ".join(f"{one['first']:.2f}" for one in tries)
                frames = ", ".join(f"{one['frames']:.0f}" for one in tries)
                median = f"{made['medians, s'][form]:.2f}"
                yield line([FORMS[form], median, times, firsts, frames])
            yield ""
            yield f"Ratio {made['ratio']}."
            yield ""
        if made := result.get("failovers"):
            yield f"{made['failovers']} failovers in {made['seconds']} s, of 10 VIPs:"
            yield ""
            yield from header(["node", "what", "before", "after"])
            for node, before in made["before"].items():
                for name, value in before.items():
                    yield line([node, name, str(value), str(made["after"][node][name])])
            yield ""


def foreign(results: dict[str, Result]) -> Iterator[str]:
    yield "# What networkd does to the routes and rules of keepalived"
    yield ""
    yield "In each cell what vanished, with a star where it was back three seconds later, and the states that the"
    yield "vrrp_instance entered. The drop-in is what `generate` writes: written while networkd runs, and read by it."
    yield "Of a flush with the uplink's address nothing is seen deleted; what is named then was not there at the end."
    yield ""
    yield foreign_part.table(list(results.values()))


def wire_cost(results: dict[str, Result]) -> Iterator[str]:
    for result in results.values():
        yield wire_cost_part.table(result)


def comparison(results: dict[str, Result]) -> Iterator[str]:
    yield "# Ways to hold a VIP, through the same events"
    yield ""
    yield "In each cell: the IPv4 and IPv6 pings lost, of a client at 100 pings/s on each VIP; then the states that the"
    yield "vrrp_instance entered, and those of the second node on the LAN. Where there is something to say of it: the"
    yield "seconds in which both nodes held a VIP, those until this node gave its VIPs up, and what stayed behind that nobody"
    yield "wants any more. IPaddr2 has no second node: it is only the agent, called every 10 s, so what it loses depends on how"
    yield "long before that the event was."
    yield ""
    for suite, result in results.items():
        yield from stack(suite, result)
        if result["agent"]:
            yield f"IPaddr2 of Debian's resource-agents {result['agent']}."
            yield ""
        yield from comparison_part.table(result)


BEGIN, END = "<!-- comparison -->", "<!-- end of comparison -->"


def hearing(results: dict[str, Result]) -> Iterator[str]:
    yield "# A node that has lost its own address"
    yield ""
    yield "After each step: who holds the VIP, how many MACs answer ARP requests for it, and the state of the host, or the"
    yield "seconds from its address to that state. The controls run without the piece (no source is known to be pinned)."
    yield ""
    for suite, result in results.items():
        yield from stack(suite, result)
        yield from header(["cell", "steps", "verdict"])
        for one in result["cells"]:
            steps = "; ".join(map(_step, one["steps"]))
            name = f"{one['cell']}{', **control**' if one['control'] else ''}"
            good = "fails, as it should" if one["control"] else "as it should be"
            yield line([name, steps, "; ".join(one["wrong"]) or good])
        yield ""


def _step(step: Result) -> str:
    if "found" in step:
        return f"**{'; '.join(step['found'])}**"
    if "seconds" in step:
        return f"{step['step']}: {step['host']} after {step['seconds']} s"
    who = " and ".join(step["holders"]) or "nobody"
    return f"{step['step']}: {who}, {step['MACs']} MAC{'' if step['MACs'] == 1 else 's'}, {step['host']}"


def walks(results: dict[str, Result]) -> Iterator[str]:
    yield "# Random walks of a pair"
    yield ""
    yield "Both nodes have the package. Each step takes, kills, reloads or gives back something at random; after every ten"
    yield "all is given back, and exactly one node has to hold the VIP. The longest time with two holders may be one down"
    yield "interval. `tests/acceptance/walks.py --seed` takes the same steps again."
    yield ""
    for suite, result in results.items():
        yield from stack(suite, result)
        yield from header(["walk", "seed", "steps", "quiet periods", "longest with two holders, s"])
        for one in result["walks"]:
            quiet = sum(step["step"].startswith("quiet") for step in one["steps"])
            longest = max((step["both, s"] for step in one["steps"]), default=0)
            name = f"{'unicast' if one['unicast'] else 'multicast'}, rp_filter {one['rp_filter']}"
            steps = str(len(one["steps"]) - quiet)
            yield line([name, str(result["seed"]), steps, str(quiet), str(longest)])
        yield ""


def filled(doc: str, text: str) -> str:
    """The document with this table between its marks, its title left out and its headings one level down.

    ValueError where the marks are not there.
    """
    before, begin, rest = doc.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"no {BEGIN} and {END}")
    body = text.partition("\n\n")[2].replace("## ", "### ")
    return f"{before}{BEGIN}\n{body}{END}{after}"


TABLES = {
    "matrix": matrix,
    "failover": failover,
    "thousand": thousand,
    "foreign": foreign,
    "hearing": hearing,
    "walks": walks,
    "wire_cost": wire_cost,
    "comparison": comparison,
}


def made(name: str, folder: Path) -> str:
    """A table of what is there of its results; empty where there are none."""
    paths = {suite: folder / f"{name}-{suite}.json" for suite in SUITES}
    results = {s: json.loads(p.read_text()) for s, p in paths.items() if p.exists()}
    return "\n".join(TABLES[name](results)).rstrip("\n") + "\n" if results else ""


def main(folder: Path) -> None:
    """Write every table whose results are there, and that of the comparison into its document too."""
    texts = {name: text for name in TABLES if (text := made(name, folder))}
    for name, text in texts.items():
        (folder / f"{name}.md").write_text(text)
    doc = folder.parent / "comparison.md"
    if "comparison" in texts and doc.exists():
        doc.write_text(filled(doc.read_text(), texts["comparison"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
