# SPDX-License-Identifier: MIT
"""Policy routing rules as `ip -json rule` of iproute2 6.1 showed them, and whether the main table is looked up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from keepalived_dummy import evidence, rules
from keepalived_dummy.facts import Gateway

LOCAL: dict[str, Any] = {"priority": 0, "src": "all", "table": "local"}
MAIN: dict[str, Any] = {"priority": 32766, "src": "all", "table": "main"}
DEFAULT: dict[str, Any] = {"priority": 32767, "src": "all", "table": "default"}
SUPPRESSED = {"priority": 98, "src": "all", "table": "main", "suppress_prefixlen": 0}
MARKED = {"priority": 99, "not": None, "src": "all", "fwmark": "0x51", "table": "51820"}
FROM = {"priority": 100, "src": "10.0.0.0", "srclen": 8, "table": "main"}
VRFS = {"priority": 1000, "src": "all", "l3mdev": None}
UNREACHABLE = {"priority": 1001, "src": "all", "action": "unreachable"}
OTHER = {"priority": 200, "src": "all", "table": "100"}


def goto(priority: int, target: int, **more: Any) -> dict[str, Any]:
    return {"priority": priority, "src": "all", "goto": target, **more}


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ([LOCAL, MAIN, DEFAULT], True),
        ([LOCAL, MAIN], True),  # IPv6
        ([LOCAL, {**MAIN, "table": "254"}], True),
        ([LOCAL, {**MAIN, "protocol": "kernel"}], True),
        ([LOCAL, SUPPRESSED, MARKED, MAIN, DEFAULT], True),  # wg-quick(8)
        ([LOCAL, VRFS, MAIN, DEFAULT], True),
        ([LOCAL, FROM, DEFAULT], True),  # for some packets: that is the admin's
        ([LOCAL, OTHER, DEFAULT], True),  # as well
        ([LOCAL, {**UNREACHABLE, "iif": "e0"}, MAIN], True),
        ([LOCAL, goto(5, 32766), MAIN, DEFAULT], True),
        ([LOCAL, goto(5, 32767, fwmark="0x1"), MAIN, DEFAULT], True),
        ([LOCAL, goto(5, 40000, unresolved=None), MAIN, DEFAULT], True),
        ([LOCAL, {"priority": 5, "src": "all", "nop": None}, MAIN], True),
        ([], False),
        ([LOCAL], False),
        ([LOCAL, DEFAULT], False),
        ([LOCAL, VRFS, DEFAULT], False),
        ([LOCAL, SUPPRESSED, MARKED, DEFAULT], False),
        ([LOCAL, UNREACHABLE, MAIN, DEFAULT], False),
        ([LOCAL, {**UNREACHABLE, "action": "blackhole"}, MAIN], False),
        ([LOCAL, goto(5, 32767), MAIN, DEFAULT], False),
    ],
)
def test_whether_routes_are_looked_up(given: list[dict[str, Any]], found: bool) -> None:
    assert rules.looks_up_routes(rules.parse(json.dumps(given))) == found


@pytest.mark.parametrize(
    "text", ["", "[", "{}x", "[3]", '[{"src": "all"}]', '[{"priority": "x"}]', "7"]
)
def test_what_is_no_rules(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        rules.parse(text)


@pytest.mark.parametrize(
    ("said", "families", "gateways"),
    [
        ([LOCAL, MAIN, DEFAULT], {4, 6}, (Gateway("e0", 100),)),
        ([LOCAL, DEFAULT], {4, 6}, (Gateway("e0", 100),)),
        ([LOCAL, FROM, MAIN], {4, 6}, None),
        (None, set(), None),
    ],
)
def test_what_ip_says(
    said: list[dict[str, Any]] | None,
    families: set[int],
    gateways: tuple[Gateway, ...] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ip(*words: str) -> str | None:
        if said is None:
            return None
        routes = [{"dst": "default", "dev": "e0", "metric": 100}]
        return json.dumps(said if words[-1] == "rule" else routes)

    monkeypatch.setattr(evidence, "_said", ip)
    found = dict(evidence._rules())
    assert found.keys() == families
    assert evidence._gateways(found.get(4)) == gateways
