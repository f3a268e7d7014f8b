# SPDX-License-Identifier: MIT
"""adopt and revert as commands, after one that was killed: what they begin with, and when they go on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
from test_transaction import MOVED, Scene
from world import World

from keepalived_dummy import adopt, journal, live, replace, revert, service
from keepalived_dummy.adopt import Options, Voice
from keepalived_dummy.journal import Generation
from keepalived_dummy.live import Live
from keepalived_dummy.service import Service

Command = Callable[[Scene, Voice], int]


def adopt_(scene: Scene, voice: Voice) -> int:
    return adopt.run(Options(scene.main, reload=False), voice)


def revert_(scene: Scene, voice: Voice) -> int:
    return revert.run(scene.main, False, voice)


@pytest.fixture(autouse=True)
def chroot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this is built on, its network is not looked at."""
    monkeypatch.setattr(service, "find", lambda: Service(0, False))


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """What a killed adopt left, its files in place."""
    scene = Scene(tmp_path)
    monkeypatch.setattr(journal, "FOLDER", scene.journal.folder)
    monkeypatch.setattr(live, "must_be_root", lambda: None)
    for module in (adopt, revert):
        monkeypatch.setattr(module, "Live", lambda *_, **__: scene.world)
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
    assert "counts as adopted" in complained[-1], "it went on"
    assert not [line for line in said if "nothing to do" in line]
    assert len(scene.journal.adopted()) == 1


def test_with_the_config_it_was_begun_with(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is put to keepalived -t, and read for what is to be held."""
    left = scene.journal.under_way()
    assert left is not None
    scene.journal.begin(dataclasses.replace(left, config=str(tmp_path / "begun.conf")))
    paths: list[Path] = []

    def live_(path: Path, *_: object, **__: object) -> World:
        paths.append(path)
        return scene.world

    monkeypatch.setattr(adopt, "Live", live_)
    voice = Voice(print, print, lambda: False)
    adopt.run(Options(scene.main, reload=False), voice)
    assert paths == [tmp_path / "begun.conf", scene.main]
    assert scene.journal.under_way() is None


def noted(scene: Scene) -> Generation:
    left = scene.journal.under_way()
    assert left is not None
    return left.then[0]


def test_revert_with_another_config_is_refused(scene: Scene, tmp_path: Path) -> None:
    generation = noted(scene)
    scene.journal.end((dataclasses.replace(generation, config="/etc/other.conf"),))
    complained: list[str] = []
    voice = Voice(print, complained.append, lambda: pytest.fail("it went on"))
    assert revert.run(scene.main, False, voice) == adopt.REFUSED
    assert complained == [
        f"nothing was adopted with --config {scene.main}, but with --config /etc/other.conf: say that"
    ]
    assert scene.state() == "after"


def test_revert_leaves_what_was_adopted_with_another_config(scene: Scene) -> None:
    generation = noted(scene)
    mine = dataclasses.replace(generation, config=str(scene.main))
    other = Generation((), (), "/etc/other.conf")
    scene.journal.end((mine, other))
    said: list[str] = []
    assert revert.run(scene.main, False, Voice(said.append, print, lambda: True)) == adopt.DONE
    assert scene.state() == "before"
    assert scene.journal.adopted() == (other,)
    assert "what was adopted with --config /etc/other.conf stays" in said


def test_what_an_earlier_release_left_is_read(scene: Scene) -> None:
    """Without what was added since."""
    left = scene.journal.under_way()
    assert left is not None
    scene.journal._write("adopted.json", {"generations": [asdict(one) for one in left.then]})
    for name in ("transaction.json", "adopted.json"):
        path = scene.journal.folder / name
        made = json.loads(path.read_bytes(), object_hook=without_config)
        path.write_text(json.dumps(made))
    assert scene.journal.under_way() == left
    assert scene.journal.adopted() == left.then


@pytest.mark.parametrize("shown", [True, False])
def test_says_no_more_than_is_known(scene: Scene, shown: bool) -> None:
    host = Live(scene.main, print, Service(100, True))
    said = adopt._of_reload(Options(scene.main), host, shown)
    assert said.startswith("keepalived has it" if shown else "keepalived was reloaded")
    assert ("nothing shows whether it has taken this" in said) != shown


def without_config(made: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in made.items() if key != "config"}
