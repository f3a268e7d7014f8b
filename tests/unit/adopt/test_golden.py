# SPDX-License-Identifier: MIT
"""Golden trees: what adopt makes of tests/adopt/CASE/in is CASE/out, and what it says is CASE/said.

A new case is a new folder: `in` has a tree, `host` with the interfaces, and `arguments` where there are any.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import cases
import pytest

from keepalived_dummy.rewrite import verify
from keepalived_dummy.targets import Interface
from keepalived_dummy.undo import undo


@pytest.fixture(params=cases.NAMES)
def case(request: pytest.FixtureRequest) -> str:
    """One folder of tests/adopt."""
    return str(request.param)


@pytest.fixture
def root(case: str, tmp_path: Path) -> Path:
    """A root of its own, with the case's `in` in it."""
    root = shutil.copytree(cases.CASES / case / "in", tmp_path / "root", symlinks=True)
    for name in ("host", "arguments"):
        (root / name).unlink(missing_ok=True)
    return root


def test_golden(case: str, root: Path) -> None:
    done = cases.plan(root, cases.facts_of(case), cases.arguments(case))
    cases.carry_out(root, done)
    assert cases.tree(root) == cases.tree(cases.CASES / case / "out")
    assert cases.said(done) == (cases.CASES / case / "said").read_text()


def test_result_reads_as_wanted(case: str, root: Path) -> None:
    done = cases.plan(root, cases.facts_of(case), cases.arguments(case))
    assert verify(done.document, done.files, done.plan) == []


def test_second_time_changes_nothing(case: str, root: Path) -> None:
    facts, words = cases.facts_of(case), cases.arguments(case)
    first = cases.plan(root, facts, words)
    cases.carry_out(root, first)
    moved = [vip for vip in first.plan.vips if vip.before != vip.after]
    made = {vip.after: Interface("dummy", True, ()) for vip in moved}
    second = cases.plan(root, {**made, **facts}, words)
    if not first.plan.refused or first.partial:
        assert (second.plan.after, second.plan.confs) == ({}, {})
    said = [problem.message for problem in first.plan.refused]
    assert [problem.message for problem in second.plan.refused] == said


def test_undone_gives_the_same_bytes(case: str, root: Path) -> None:
    done = cases.plan(root, cases.facts_of(case), cases.arguments(case))
    for path, after in done.plan.after.items():
        before = (root / path.lstrip("/")).read_bytes()
        assert undo(before, after, after) == before
        marked = b"# an admin's line\n"
        assert undo(before, after, marked + after) == marked + before
        assert undo(before, after, after + b"\n" + marked) == before + b"\n" + marked


def test_one_line_is_one_change(case: str, root: Path) -> None:
    """Nothing but address lines, sources and added routes differs."""
    done = cases.plan(root, cases.facts_of(case), cases.arguments(case))
    for path, after in done.plan.after.items():
        before = (root / path.lstrip("/")).read_bytes()
        pins = [line for line in after.split(b"\n") if b"_src_ip " in line]
        old_pins = [line for line in before.split(b"\n") if b"_src_ip " in line]
        grown = len(after.split(b"\n")) - len(before.split(b"\n"))
        routes = [line for line in done.plan.routes if f" {line[1]}".encode() in after]
        assert grown == len(pins) - len(old_pins) + len(routes)
