# SPDX-License-Identifier: MIT
"""adopt and revert as commands, after one that was killed: what they begin with, and when they go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from test_transaction import MOVED, Scene

from keepalived_dummy import adopt, journal, live, replace, revert
from keepalived_dummy.adopt import Options, Voice

Command = Callable[[Scene, Voice], int]


def adopt_(scene: Scene, voice: Voice) -> int:
    return adopt.run(Options(scene.main, reload=False), voice)


def revert_(scene: Scene, voice: Voice) -> int:
    return revert.run(scene.main, False, voice)


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """What a killed adopt left, its files in place."""
    scene = Scene(tmp_path)
    monkeypatch.setattr(journal, "FOLDER", scene.journal.folder)
    monkeypatch.setattr(live, "must_be_root", lambda: None)
    for module in (adopt, revert):
        monkeypatch.setattr(module, "Live", lambda *_: scene.world)
    scene.journal.begin(scene.begin())
    for path, content in scene.after.items():
        replace.put(Path(path), content)
    scene.world._take()
    return scene


@pytest.mark.parametrize("command", [adopt_, revert_])
def test_goes_no_further_where_that_fails(scene: Scene, command: Command) -> None:
    scene.vips.write_bytes(MOVED + b"# edited\n")
    said: list[str] = []
    complained: list[str] = []
    voice = Voice(said.append, complained.append, lambda: pytest.fail("it went on"))
    assert command(scene, voice) == adopt.REFUSED
    assert f"{scene.vips} was changed meanwhile" in complained
    assert not [line for line in said if "nothing to do" in line]
    assert len(scene.journal.adopted()) == 1
