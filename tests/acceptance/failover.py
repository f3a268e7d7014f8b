#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Failover as a client sees it: the longest time without an answer, for four forms in turn in one run.

Every failure of a round happens to each form at the same moment of its advert interval, since that moment alone makes
a tenth of a second. Runs in a guest, as root, and leaves failover.json in the folder --results.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import guest
from guest import run, say
from lab import Lab
from nodes import CLIENT, FORMS, Node, Plan
from pings import Pinger

BEFORE, AFTER = (
    0.6,
    1.6,
)  # seconds of pings; a form that is not back by then is not measured further
LIMIT = 1.05
FAMILIES = ("IPv4", "IPv6")
Tries = dict[str, dict[str, list[dict[str, Any]]]]  # of each kind and form, one a round


def stopped(lab: Lab, node: Node) -> None:
    node.down(signal.SIGTERM)


def killed(lab: Lab, node: Node) -> None:
    node.down(signal.SIGKILL)


def unplugged(lab: Lab, node: Node) -> None:
    lab.port(node, up=False)


def reset(lab: Lab, node: Node) -> None:
    """A machine that is reset: link and keepalived are gone in one moment, with no farewell."""
    lab.port(node, up=False)
    node.down(signal.SIGKILL)


KINDS: dict[str, Callable[[Lab, Node], None]] = {
    "keepalived stopped": stopped,
    "keepalived kill -9": killed,
    "switch port down": unplugged,
    "node reset": reset,
}


def revive(lab: Lab, kind: str, node: Node) -> None:
    """Bring the failed node back, as the new backup."""
    if kind != "switch port down":
        node.reap()
    if kind == "node reset":
        node.forget()
    entered = len(node.states())
    if kind in ("switch port down", "node reset"):
        lab.port(node, up=True)
    if kind != "switch port down":
        node.up()
    guest.wait_for(
        f"{node.name} is backup",
        lambda: (
            node.state() == "BACKUP" and (len(node.states()) > entered or not kind.startswith("k"))
        ),
    )


def one(lab: Lab, form: str, kind: str, phase: float) -> dict[str, Any]:
    """One failover; gaps in ms, None where the client was not answered again."""
    master, other = lab.master(form)
    four, six = master.vips()
    run(f"ip -n {CLIENT} neigh flush all", check=False)
    clients = {"IPv4": Pinger(CLIENT, four[0]), "IPv6": Pinger(CLIENT, six[0])}
    for client in clients.values():
        client.answered(1)
    time.sleep(BEFORE)
    lab.after_advert(master.vrid, phase)
    since = time.time()
    KINDS[kind](lab, master)
    time.sleep(AFTER)
    seen = {family: client.stop() for family, client in clients.items()}
    guest.wait_for(f"{other.name} is master", lambda: other.state() == "MASTER", 10)
    revive(lab, kind, master)
    found: dict[str, Any] = {"phase": phase}
    for family, pings in seen.items():
        primed = any(when < since for when in pings.answers.values())
        found[family] = {
            "gap": None if pings.dead() else round(pings.gap(since), 1),
            "lost": len(pings.lost()),
            "sent": pings.sent,
            "primed": primed,
        }
    return found


def measure(lab: Lab, kinds: list[str], rounds: int) -> Iterator[Tries]:
    """All kinds, all forms, in turn; all there is so far after each round."""
    made: Tries = {k: {f: [] for f in lab.pairs} for k in kinds}
    for number in range(rounds):
        phase = lab.plan.interval * (number + 0.5) / rounds
        for kind in kinds:
            for form in lab.pairs:
                made[kind][form].append(one(lab, form, kind, phase))
            gaps = {f: [made[kind][f][-1][x]["gap"] for x in FAMILIES] for f in lab.pairs}
            say(f"round {number + 1}: {kind}: {gaps}")
        yield made


def median(tries: list[dict[str, Any]], family: str) -> float | None:
    """The median gap in ms, where one that never ended is longer than all; None where that is the median."""
    gaps = [x[family]["gap"] for x in tries]
    value = statistics.median_high([float("inf") if g is None else g for g in gaps])
    return None if value == float("inf") else statistics.median(sorted(g or 9e9 for g in gaps))


def summary(made: Tries) -> list[dict[str, Any]]:
    """A line a kind and family: medians, and ours against keepalived's own."""
    lines = []
    for kind, forms in made.items():
        for family in FAMILIES:
            medians = {form: median(tries, family) for form, tries in forms.items()}
            never = {form: sum(x[family]["gap"] is None for x in t) for form, t in forms.items()}
            ours, own = medians["dummy"], medians["uplink"]
            ratio = round(ours / own, 3) if ours and own else None
            count = len(forms["dummy"])
            lines.append(
                {"kind": kind, "family": family, "n": count, "medians": medians}
                | {"not back": never, "ratio": ratio}
            )
    return lines


def slack(rounds: int, own: float) -> float:
    """What a median may be off, ms: one ping where it is short, and more where it is made of a few tries."""
    if rounds < 20:
        return 60
    return 0 if own > 200 else 10


def verdicts(lines: list[dict[str, Any]], rounds: int) -> list[str]:
    """What is wrong; empty where all is as it should be."""
    wrong = []
    for line in lines:
        where = f"{line['kind']}, {line['family']}"
        ours, own = line["medians"]["dummy"], line["medians"]["uplink"]
        if ours is None or own is None:
            wrong.append(f"{where}: no median")
            continue
        if ours > LIMIT * own + slack(rounds, own):
            wrong.append(f"{where}: {ours:.0f} ms against {own:.0f} ms on the uplink")
        if line["not back"]["dummy"]:
            wrong.append(f"{where}: {line['not back']['dummy']} times never back")
    if not any(line["not back"].get("recipe") for line in lines):
        wrong.append("the recipe without the wire came back every time: nothing is proved")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("/tmp/acceptance"))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--kind", action="append", choices=list(KINDS))
    parser.add_argument("--form", action="append", choices=FORMS)
    args = parser.parse_args()
    args.results.mkdir(parents=True, exist_ok=True)
    evidence = args.results / "failover.json"
    forms = tuple(args.form or FORMS)
    lab = Lab(args.results, forms, Plan())
    unfinished = "the run was ended before its end"
    result: dict[str, Any] = {"date": guest.now(), "rounds": args.rounds, "wrong": [unfinished]}
    try:
        lab.build()
        say(f"{len(lab.nodes())} nodes are up")
        for tries in measure(lab, args.kind or list(KINDS), args.rounds):
            result |= {"tries": tries, "summary": summary(tries)}
            guest.save(evidence, result)
        result["wrong"] = verdicts(result["summary"], args.rounds)
    except (RuntimeError, ValueError, OSError, subprocess.SubprocessError) as error:
        result["wrong"] = [str(error)]
        for node in lab.nodes():
            say(f"{node.name}: {node.states()[-10:]}")
    finally:
        lab.close()
    guest.save(evidence, result)
    for line in result.get("summary", []):
        say(f"{line}")
    for text in result["wrong"]:
        say(f"WRONG: {text}")
    return 1 if result["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
