# SPDX-License-Identifier: MIT
"""What the drop-in has keepalived wait for: the command itself, in a tree of its own."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[3]
DROP_IN = TREE / "lib/systemd/system/keepalived.service.d/keepalived-dummy.conf"
PLAN, CONF = "run/keepalived-dummy/plan.json", "etc/keepalived/keepalived.conf"


def command() -> str:
    lines = DROP_IN.read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("ExecStartPre="))
    return line.partition("=")[2]


def touch(path: Path, age: int) -> None:
    """Make a file that is so many seconds old."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (1_800_000_000 - age,) * 2)


def start(root: Path, active: bool) -> subprocess.Popen[bytes]:
    """The command with the files of this tree, and a systemctl that says whether the daemon runs."""
    words = command().removeprefix("-")
    for name in (PLAN, CONF):
        assert words.count(f"/{name}") == 1
        words = words.replace(f"/{name}", str(root / name))
    systemctl = root / "bin/systemctl"
    systemctl.parent.mkdir()
    status = 0 if active else 3
    systemctl.write_text(
        f'#!/bin/sh\n[ "$*" = "-q is-active keepalived-dummy" ] || exit 99\nexit {status}\n'
    )
    systemctl.chmod(0o755)
    path = f"{systemctl.parent}:{os.environ['PATH']}"
    return subprocess.Popen(shlex.split(words), env={**os.environ, "PATH": path})


@pytest.mark.parametrize(
    ("ages", "active"),
    [({PLAN: 10, CONF: 60}, True), ({PLAN: 60, CONF: 10}, False), ({CONF: 10}, False)],
    ids=["the plan is newer", "no daemon", "no daemon and no plan"],
)
def test_nothing_to_wait_for(tmp_path: Path, ages: dict[str, int], active: bool) -> None:
    for name, age in ages.items():
        touch(tmp_path / name, age)
    assert start(tmp_path, active).wait(3) == 0


@pytest.mark.parametrize("before", [60, None], ids=["an older plan", "no plan yet"])
def test_a_pass_is_waited_for(tmp_path: Path, before: int | None) -> None:
    touch(tmp_path / CONF, 10)
    if before is not None:
        touch(tmp_path / PLAN, before)
    waiting = start(tmp_path, True)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(0.5)
    touch(tmp_path / PLAN, 5)
    assert waiting.wait(3) == 0


def test_nothing_keeps_keepalived_from_starting() -> None:
    """systemd ignores that the command fails, and it ends long before the start's own limit of 90 seconds."""
    words = shlex.split(command())
    assert words[0] == "-/usr/bin/timeout"
    assert int(words[1]) <= 10
