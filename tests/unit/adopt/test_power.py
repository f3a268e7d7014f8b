# SPDX-License-Identifier: MIT
"""adopt, adopt taken back, and revert: power fails before any step, and the next run leaves all whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from power import MODELS, Disk, PowerLoss, rebuild
from test_transaction import Scene
from world import World

from keepalived_dummy import revert, transaction
from keepalived_dummy.journal import REVERT, Journal, Transaction

LEDGER = "var/keepalived-dummy"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROOF_SECONDS", "_SETTLED", "_LOOK", "_SECONDS_EACH"):
        monkeypatch.setattr(transaction, name, 0.0)


def scene_in(top: Path) -> Scene:
    """The ledger's folder is not there before the first adopt."""
    for name in ("etc", "var"):
        (top / name).mkdir(parents=True)
    scene = Scene(top / "etc")
    scene.journal = Journal(top / LEDGER)
    return scene


def adopt_(scene: Scene) -> None:
    scene.run()


def taken_back(scene: Scene) -> None:
    scene.world.reloads = ["ignored"]
    scene.run()


def revert_(scene: Scene) -> None:
    plan = revert.plan(scene.main, scene.journal.adopted(), scene.journal)
    changes = transaction.changes(scene.journal, plan.before, plan.after)
    what = Transaction(REVERT, changes, plan.vips, plan.adopted)
    transaction.run(scene.journal, scene.world, what)


COMMANDS: dict[str, tuple[Callable[[Scene], None], int]] = {
    "adopt": (adopt_, 40),
    "adopt taken back": (taken_back, 50),
    "revert": (revert_, 18),
}


def begun(top: Path, command: str) -> Scene:
    scene = scene_in(top)
    if command == "revert":
        assert scene.run().done
    return scene


def is_whole(scene: Scene) -> str:
    """What is wrong after the boot, and after the next run; empty where nothing is."""
    if not scene.can_start():
        return "keepalived can't start"
    outcome = transaction.recover(scene.journal, scene.world)
    if outcome is not None and outcome.wrong:
        return f"the next run: {outcome.wrong}"
    if scene.journal.under_way():
        return "it is under way still"
    wanted = {"before": 0, "after": 1}
    if (state := scene.state()) not in wanted:
        return f"the files are {state}"
    if len(scene.journal.adopted()) != wanted[state]:
        return f"the files are as {state}, and {len(scene.journal.adopted())} are adopted"
    return ""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_power_loss_at_any_step_leaves_it_whole(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, least = COMMANDS[command]
    wrong = []
    step = 0
    while True:
        step += 1
        scene = begun(tmp_path / f"{step}", command)
        top = scene.main.parent.parent
        with Disk(top) as disk, monkeypatch.context() as patch:
            disk.fail(patch, step)
            with contextlib.suppress(PowerLoss):
                run(scene)
            after = disk.after
        if not after:
            break
        for model in MODELS:
            rebuild(top, after[model])
            scene.world = World(scene.main)
            if said := is_whole(scene):
                wrong.append(f"step {step}, {model}: {said}")
    assert wrong == []
    assert step > least, "power failed at too few steps to tell"


def test_a_disk_loses_what_was_not_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The models themselves."""
    (tmp_path / "old").write_bytes(b"old")
    with Disk(tmp_path) as disk, monkeypatch.context() as patch:
        disk.fail(patch, 9)
        with pytest.raises(PowerLoss):
            lose(tmp_path)
        assert disk.after == {
            "all": {"old": b"new", "unsynced": b"x", "synced": b"y", "folder": None},
            "names and synced contents": {
                "old": b"",
                "unsynced": b"",
                "synced": b"y",
                "folder": None,
            },
            "only what was synced": {"old": b"old", "synced": b"y"},
        }


def lose(top: Path) -> None:
    for name, content in (("synced", b"y"), ("unsynced", b"x"), ("new", b"new")):
        descriptor = os.open(top / name, os.O_CREAT | os.O_WRONLY)  # steps 1, 4 and 5
        os.write(descriptor, content)
        if name == "synced":
            os.fsync(descriptor)  # 2
            folder = os.open(top, os.O_RDONLY)
            os.fsync(folder)  # 3
            os.close(folder)
        os.close(descriptor)
    os.rename(top / "new", top / "old")  # 6
    os.mkdir(top / "folder")  # 7
    with contextlib.suppress(FileNotFoundError):
        os.unlink(top / "nothing")  # 8
    os.rename(top / "old", top / "older")  # 9
