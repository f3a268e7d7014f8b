# SPDX-License-Identifier: MIT
"""The table and the brief form of every host, compared whole.

UPDATE=1 in the environment writes what is there: to be read before it is committed.
"""

from __future__ import annotations

import dataclasses
import io
import os
from pathlib import Path

import hosts
import pytest
from hosts import HOSTS, Made

from keepalived_dummy import status, table
from keepalived_dummy.assembly import assemble
from keepalived_dummy.table import Style

EXPECTED = Path(__file__).parent / "expected"


def compare(name: str, found: str) -> None:
    """With the file of this name, which UPDATE=1 writes."""
    path = EXPECTED / name
    if os.environ.get("UPDATE"):
        path.write_bytes(found.encode("utf-8", "surrogateescape"))
    assert found == path.read_bytes().decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(("name", "made"), HOSTS.items(), ids=HOSTS)
def test_forms(name: str, made: Made) -> None:
    seen = assemble(hosts.sources(made))
    compare(f"{name}.table", table.table(seen, Style(bullet="●")))
    compare(f"{name}.brief", table.brief(seen))


def test_nothing_that_was_read_steers_the_terminal() -> None:
    """The daemon writes what it says of itself, and is not root; a name may be any bytes."""
    evil = "\x1b]0;x\x07\x9b31m\u202e"
    seen = assemble(hosts.sources(HOSTS["master"]))
    seen = dataclasses.replace(
        seen,
        daemon=dataclasses.replace(seen.daemon, last=evil, heals={evil: 1}, problems=(evil,)),
        dummies=tuple(dataclasses.replace(one, name=evil, path=evil) for one in seen.dummies),
        vips=tuple(dataclasses.replace(one, device=evil, instance=evil) for one in seen.vips),
        instances=tuple(dataclasses.replace(one, name=evil) for one in seen.instances),
        uplinks=tuple(dataclasses.replace(one, name=evil) for one in seen.uplinks),
    )
    for text in (table.table(seen), table.brief(seen)):
        assert text.replace("\n", "").isprintable()
        assert r"\x1b]0;x\x07\x9b31m\u202e" in text


@pytest.mark.parametrize(("name", "made"), HOSTS.items(), ids=HOSTS)
def test_lines_are_of_80_columns_and_colours_change_no_word(name: str, made: Made) -> None:
    seen = assemble(hosts.sources(made))
    for form in (table.table, table.brief):
        plain, coloured = form(seen, Style()), form(seen, Style(colour=True))
        for line in plain.splitlines():
            assert len(line) <= 80 or form is table.brief, line
            assert line == line.rstrip()
        words = coloured
        for colour in ("32", "33", "31", "0"):
            words = words.replace(f"\x1b[{colour}m", "")
        assert words == plain
        assert words != coloured or form is table.brief


@pytest.mark.parametrize(
    ("terminal", "encoding", "environment", "expected"),
    [
        (True, "utf-8", {}, Style(True, "●")),
        (True, "UTF8", {"NO_COLOR": ""}, Style(True, "●")),
        (True, "utf-8", {"NO_COLOR": "1"}, Style(False, "●")),
        (True, "utf-8", {"TERM": "dumb"}, Style(False, "●")),
        (True, "ascii", {}, Style(True, "*")),
        (False, "utf-8", {}, Style(False, "●")),
    ],
)
def test_style(terminal: bool, encoding: str, environment: dict[str, str], expected: Style) -> None:
    class Stream(io.TextIOWrapper):
        def isatty(self) -> bool:
            return terminal

    assert status.style(Stream(io.BytesIO(), encoding), environment) == expected


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59, "59 s"), (60, "1 min"), (7199, "1 h"), (-3, "0 s"), (200000, "2 d")],
)
def test_ages(seconds: float, words: str) -> None:
    made = dataclasses.replace(HOSTS["master"], report=hosts.report(last_event=hosts.NOW - seconds))
    lines = table.table(assemble(hosts.sources(made))).splitlines()
    assert f"    last event {words} ago, keepalived0: was down; put right" in lines
