# SPDX-License-Identifier: MIT
"""The demo's table and its line, from numbers to text."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "demo"))
cell: Any = importlib.import_module("cell")  # a script's neighbour, in no package
Cell, Client, summary, table = cell.Cell, cell.Client, cell.summary, cell.table

CELLS = [
    Cell(
        "plain",
        "static",
        "apply",
        Client(300, 150, 3120),
        Client(300, 0, 20),
        ("FAULT", "MASTER"),
        "MASTER",
    ),
    Cell("plain", "static", "restart", Client(300, 300, None), Client(300, 300, None), (), "FAULT"),
    Cell("ours", "static", "apply", Client(301, 0, 21), Client(299, 1, 40), (), "MASTER"),
]


def test_approaches_stand_side_by_side_for_each_event() -> None:
    assert table(CELLS).splitlines() == [
        "approach  uplink  event     IPv4 lost     outage   IPv6 lost     outage  transitions",
        "--------  ------  -------  ----------  ---------  ----------  ---------  ------------",
        "plain     static  apply    150 of 300    3120 ms    0 of 300      20 ms  FAULT MASTER",
        "ours      static  apply      0 of 301      21 ms    1 of 299      40 ms  none, MASTER",
        "",
        "plain     static  restart  300 of 300  no answer  300 of 300  no answer  none, FAULT",
    ]


def test_summary_adds_up_both_families() -> None:
    assert summary(CELLS) == (
        "Over all events: plain: 750 of 1200 pings lost, 2 transitions; ours: 1 of 600 pings lost, 0 transitions."
    )


def test_story_goes_from_the_first_approach_to_the_last() -> None:
    assert cell.story(CELLS, "static", "apply") == (
        "static uplink, apply. plain: 150 of 300 and 0 of 300 pings lost, FAULT MASTER;"
        " ours: 0 of 301 and 1 of 299 pings lost, no transition."
    )
