# SPDX-License-Identifier: MIT
"""A bad conf is taken as it last was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from keepalived_dummy import files, lastgood
from keepalived_dummy.config import Config, Dummy

ONE = Dummy("one", "/etc/keepalived-dummy.d/one.conf", "one0", 1400, None, ("ens3",), True, False)
TWO = Dummy("two", "/etc/keepalived-dummy.d/two.conf", "two0")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / files.RUNTIME).mkdir(parents=True)
    return tmp_path


def test_a_bad_conf_is_as_it_last_was(root: Path) -> None:
    assert lastgood.keep(root, Config((ONE, TWO))).dummies == (ONE, TWO)
    bad = Config((TWO,), bad=frozenset({"one"}))
    for _ in range(2):
        assert lastgood.keep(root, bad).dummies == (TWO, ONE)


def test_a_conf_that_is_gone_is_forgotten(root: Path) -> None:
    lastgood.keep(root, Config((ONE, TWO)))
    assert lastgood.keep(root, Config((TWO,))).dummies == (TWO,)
    assert lastgood.keep(root, Config((TWO,), bad=frozenset({"one"}))).dummies == (TWO,)


def test_a_name_that_another_conf_has_now_is_not_taken_from_it(root: Path) -> None:
    lastgood.keep(root, Config((ONE,)))
    thief = Dummy("thief", "/etc/keepalived-dummy.d/thief.conf", "one0")
    assert lastgood.keep(root, Config((thief,), bad=frozenset({"one"}))).dummies == (thief,)


@pytest.mark.parametrize("text", ["", "nonsense", "[3]", '[{"stem": "one"}]', "{}"])
def test_nothing_known_is_nothing_kept(root: Path, text: str) -> None:
    (root / files.RUNTIME / lastgood.NAME).write_text(text)
    assert lastgood.keep(root, Config((), bad=frozenset({"one"}))).dummies == ()


def test_nothing_is_written_where_nothing_changed(root: Path) -> None:
    lastgood.keep(root, Config((ONE,)))
    before = (root / files.RUNTIME / lastgood.NAME).stat()
    lastgood.keep(root, Config((ONE,)))
    after = (root / files.RUNTIME / lastgood.NAME).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_default_conf_bad_since_the_boot_is_as_if_it_were_empty(root: Path) -> None:
    (kept,) = lastgood.keep(root, Config((), bad=frozenset({"keepalived"}))).dummies
    assert (kept.name, kept.uplinks, kept.wire, kept.way_out) == ("keepalived0", (), True, True)


@pytest.mark.parametrize("text", [None, "", "nonsense", "{}"])
def test_no_uplinks_are_known_without_a_plan(root: Path, text: str | None) -> None:
    if text is not None:
        (root / files.RUNTIME / "plan.json").write_text(text)
    assert lastgood.uplinks(root) == {}


def test_the_uplinks_of_the_daemons_last_pass(root: Path) -> None:
    one = {"name": "one0", "alias": "", "wire": True, "way_out": True, "uplinks": ["ens3", "ens4"]}
    (root / files.RUNTIME / "plan.json").write_text(json.dumps({"dummies": [one]}))
    assert lastgood.uplinks(root) == {"one0": ("ens3", "ens4")}
