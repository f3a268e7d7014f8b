# SPDX-License-Identifier: MIT
"""Golden trees: `generate --root` on tests/generate/CASE/in gives CASE/out and CASE/stderr.

A new case is a new folder. `out` is the whole of /run/systemd afterwards; `stderr` is what
the run complains of, without the program's name, and where it is there the exit status is 1.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from keepalived_dummy.cli import main

CASES = Path(__file__).parents[1] / "generate"
SYSTEMD = Path("run/systemd")
NETWORK = SYSTEMD / "network"


def tree(top: Path) -> dict[str, str]:
    """Every file under a folder: its path, and its content or where it points to."""
    found = {}
    for path in sorted(top.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(top))] = f"-> {os.readlink(path)}"
        elif not path.is_dir():
            found[str(path.relative_to(top))] = path.read_bytes().decode(
                "utf-8", "backslashreplace"
            )
    return found


def stamps(top: Path) -> dict[str, tuple[int, int]]:
    """What a write would move: the inode and the time of every path, the folder's own too."""
    return {
        str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns)
        for path in [top, *top.rglob("*")]
    }


@pytest.fixture(params=sorted(path.name for path in CASES.iterdir()))
def case(request: pytest.FixtureRequest) -> Path:
    """One folder of tests/generate."""
    return CASES / str(request.param)


@pytest.fixture
def root(case: Path, tmp_path: Path) -> Path:
    """A root of its own, with the case's `in` in it."""
    return shutil.copytree(case / "in", tmp_path / "root", symlinks=True)


def generate(root: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, list[str]]:
    """Exit status, standard output and the complaints of a run."""
    status = main(["generate", "--root", str(root)])
    out, err = capsys.readouterr()
    return status, out, [line.removeprefix("keepalived-dummy: ") for line in err.splitlines()]


def test_golden(case: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = case / "stderr"
    confs = {folder: tree(root / folder) for folder in ("etc", "usr")}
    status, _, complaints = generate(root, capsys)
    assert tree(root / SYSTEMD) == tree(case / "out" / SYSTEMD)
    assert complaints == (expected.read_text().splitlines() if expected.exists() else [])
    assert status == int(expected.exists())
    assert {folder: tree(root / folder) for folder in ("etc", "usr")} == confs
    assert sorted(path.name for path in (root / "run/keepalived-dummy").iterdir()) == ["lock"]


def test_second_run_writes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, _, complaints = generate(root, capsys)
    before = stamps(root / SYSTEMD)
    assert generate(root, capsys) == (first, "", complaints)
    assert stamps(root / SYSTEMD) == before


def test_says_what_it_changed(case: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(root / SYSTEMD)
    _, out, _ = generate(root, capsys)
    after = tree(root / SYSTEMD)
    written = {name for name in after if after[name] != before.get(name)}
    removed = {name for name in before.keys() - after.keys() if not name.endswith(".tmp")}
    expected = [f"/{SYSTEMD}/{name}: written" for name in written]
    expected += [f"/{SYSTEMD}/{name}: removed" for name in removed]
    assert sorted(out.splitlines()) == sorted(expected)


def test_networkd_can_read_all(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = set()
    previous = os.umask(0o077)
    try:
        _, out, _ = generate(root, capsys)
        written = {root / line.split(": ")[0][1:] for line in out.splitlines() if "written" in line}
    finally:
        os.umask(previous)
    for path in written:
        assert path.is_symlink() or path.stat().st_mode & 0o777 == 0o644, path
    assert (root / NETWORK).stat().st_mode & 0o555 == 0o555
