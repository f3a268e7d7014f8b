# SPDX-License-Identifier: MIT
"""`keepalived-dummy check`: what endangers the VIPs of this host, for people and for monitoring."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from keepalived_dummy import evidence
from keepalived_dummy.facts import Facts
from keepalived_dummy.findings import Finding, Severity, judge
from keepalived_dummy.findings.ways import all_ways
from keepalived_dummy.observed import Unseen
from keepalived_dummy.table import count
from keepalived_dummy.text import masked, plain

VERSION = 1  # of the JSON: of one version, keys are added and none is changed or taken away
UNKNOWN = 3
_STATUS = ("ok", "warning", "critical", "unknown")
_AGAIN = 3.0  # seconds: a failover is over by then


def run(file: Path, as_json: bool, probe: bool) -> int:
    """Look, say what was found, and return the exit status of a monitoring plugin."""
    facts = evidence.gather(file, probe)
    found = judge(facts)
    if any(one.passing for one in found):
        time.sleep(_AGAIN)
        facts = evidence.gather(file, probe)
        found = lasting(found, judge(facts))
    if as_json:
        print(json.dumps(shown(found, facts), indent=2))
    else:
        print("\n".join(lines(found, facts)))
    return status(found, facts.unseen)


def lasting(before: Iterable[Finding], now: Iterable[Finding]) -> tuple[Finding, ...]:
    """What is found now; of what may be so for the moment of a failover, what was found before too."""
    names = {one.name for one in before}
    return tuple(one for one in now if not one.passing or one.name in names)


def status(found: Iterable[Finding], unseen: Iterable[Unseen]) -> int:
    """0 to 3, see keepalived-dummy(8): what is found counts more than what could not be told."""
    worst = max((one.severity for one in found), default=0)
    return worst or (UNKNOWN if any(unseen) else 0)


def lines(found: tuple[Finding, ...], facts: Facts) -> list[str]:
    """One line a finding, and one for each thing that could not be told."""
    said = [text(one) for one in found]
    said += [f"UNKNOWN {one.what} could not be looked at: {one.why}" for one in facts.unseen]
    if not said:
        vips, dummies = len(facts.seen.vips), len(facts.seen.dummies)
        said.append(
            f"OK {count(vips, 'VIP')}, {count(dummies, 'dummy', 'dummies')}, no hazard found"
        )
    said += [f"NOTE {what}; not covered: {lacks}" for what, lacks in kept(facts)]
    return [masked(plain(line)) for line in said]


def kept(facts: Facts) -> Iterator[tuple[str, str]]:
    """The VIPs that are kept in another way than on a dummy of ours, and what that way leaves uncovered."""
    for addresses, way in all_ways(facts):
        verb = "is" if len(addresses) == 1 else "are"
        yield f"{', '.join(addresses)} {verb} {way.what}", way.lacks


def text(one: Finding) -> str:
    """SEVERITY NAME WHERE: WHAT: WHY; mend: COMMAND."""
    where = f" {one.where}" if one.where else ""
    return f"{one.severity.name} {one.name}{where}: {one.what}: {one.why}; mend: {one.mend}"


def shown(found: tuple[Finding, ...], facts: Facts) -> dict[str, Any]:
    """What check.schema.json describes."""
    exit_status = status(found, facts.unseen)
    return {
        "version": VERSION,
        "status": _STATUS[exit_status],
        "exit_status": int(exit_status),
        "findings": [
            {
                "name": one.name,
                "severity": Severity(one.severity).name.lower(),
                "what": one.what,
                "where": one.where,
                "why": one.why,
                "mend": one.mend,
            }
            for one in found
        ],
        "unseen": [{"what": one.what, "why": one.why} for one in facts.unseen],
        "ways": [{"what": what, "lacks": lacks} for what, lacks in kept(facts)],
    }
