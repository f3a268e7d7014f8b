# SPDX-License-Identifier: MIT
"""The message catalogue explains just the events there are, and systemd takes it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from keepalived_dummy.events import KINDS, MOST, event, some
from keepalived_dummy.state import ERR, INFO

CATALOG = Path(__file__).resolve().parents[3] / "lib/systemd/catalog/keepalived-dummy.catalog"


def entries() -> dict[str, str]:
    """What the catalogue has, by message id."""
    parts = re.split(r"^-- (\w+)\n", CATALOG.read_text(), flags=re.MULTILINE)[1:]
    ids = parts[::2]
    assert len(set(ids)) == len(ids)
    return dict(zip(ids, parts[1::2], strict=True))


def test_it_has_each_kind_of_event_and_no_other() -> None:
    ids = [kind.id for kind in KINDS.values()]
    assert list(entries()) == ids
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)


@pytest.mark.parametrize("name", KINDS)
def test_an_entry_uses_fields_that_the_event_has(name: str) -> None:
    kind = KINDS[name]
    text = entries()[kind.id]
    assert set(re.findall("@(.*?)@", text)) <= set(kind.fields)
    head, _, body = text.partition("\n\n")
    keys = [line.split(": ")[0] for line in head.splitlines()]
    assert keys == ["Subject", "Defined-By", "Support", "Documentation"]
    assert all(len(line) <= 80 for line in body.splitlines())
    assert body.strip()
    assert ERR < kind.priority <= INFO
    assert all(re.fullmatch("[A-Z]+", field) for field in kind.fields)


def test_systemd_takes_it(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/systemd/catalog"
    folder.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    shutil.copy(CATALOG, folder)
    journalctl = ["journalctl", f"--root={tmp_path}"]
    done = subprocess.run(
        [*journalctl, "--update-catalog"], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    said = subprocess.run(
        [*journalctl, "--dump-catalog"], capture_output=True, text=True, check=True
    ).stdout
    for ident, text in entries().items():
        assert f"-- {ident}\n{text.strip()}\n" in said


def test_a_field_of_several_values() -> None:
    made = event("vip-held", "text", DUMMY="a", VIP=[str(n) for n in range(1000)])
    assert made.fields[:2] == (("DUMMY", "a"), ("VIP", "0"))
    assert len(made.fields) == 1 + MOST


def test_some_of_many() -> None:
    assert some(["a"]) == "a"
    assert some(list("abc"), 3) == "a, b, c"
    assert some(list("abcd"), 3) == "a, b, c and 1 more"
