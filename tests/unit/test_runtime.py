# SPDX-License-Identifier: MIT
"""Whatever the daemon's user leaves in /run/keepalived-dummy, no command of root hangs or ends by it."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from idle import IDLE

from keepalived_dummy import (
    apply,
    config,
    files,
    foreign,
    kernel,
    lastgood,
    links,
    observe,
    plan,
    report,
    runtime,
    state,
    tc,
    units,
)
from keepalived_dummy.config import Config, Dummy
from keepalived_dummy.host import Host
from keepalived_dummy.teller import Teller

NAMES = ("plan.json", "state.json", lastgood.NAME)


class Hangs(BaseException):
    """No OSError: those are caught."""


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    def end(*_: object) -> None:
        raise Hangs

    former = signal.signal(signal.SIGALRM, end)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, former)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / files.RUNTIME).mkdir(parents=True)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / files.RUNTIME))
    monkeypatch.setattr(observe, "ROOT", tmp_path)
    return tmp_path


def valid(name: str) -> Any:
    """What the daemon, or a pass, writes there."""
    way = {"uplink": "e0", "family": "inet", "known": 2, "in_use": 0, "since": None}
    host = Host(IDLE)
    said = json.loads(report.report(host, Teller(), 1.0))
    said["way_out"] = [{**way, "times": 1, "seconds": 0.5}]
    said["heals"], said["events"] = {"mac": 1}, {"wired": 2}
    dummy = Dummy("one", "/etc/keepalived-dummy.d/one.conf", "one0", 1400, "02:00:00:00:00:01")
    return {
        "plan.json": {
            "dummies": [
                {"name": "one0", "alias": "", "wire": True, "way_out": True, "uplinks": ["e0"]}
            ]
        },
        "state.json": said,
        lastgood.NAME: [dataclasses.asdict(dummy)],
    }[name]


def seen(root: Path) -> tuple[object, ...]:
    """All that root reads there."""
    return (
        lastgood.uplinks(root),
        observe._report(),
        lastgood.known(root, Config(bad=frozenset({"one"}))).dummies,
        state.read("plan.json"),
    )


def test_what_is_valid_is_taken(root: Path) -> None:
    for name in NAMES:
        (root / files.RUNTIME / name).write_text(json.dumps(valid(name)))
    uplinks, said, dummies, text = seen(root)
    assert uplinks == {"one0": ("e0",)}
    assert said == valid("state.json") | {"pid": os.getpid(), "last_event": 0.0}
    assert dummies == (Dummy(**{**valid(lastgood.NAME)[0], "uplinks": ()}),)
    assert plan.read(text if isinstance(text, bytes) else b"").dummies[0].name == "one0"


def grow(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


PLACES: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "folder": Path.mkdir,
    "link to an endless file": lambda path: path.symlink_to("/dev/zero"),
    "link to a file of root": lambda path: path.symlink_to("/etc/passwd"),
    "link to itself": lambda path: path.symlink_to(path),
    "socket": lambda path: socket.socket(socket.AF_UNIX).bind(os.fspath(path)),
    "too much": grow,
    "nested": lambda path: path.write_text('{"version":1,"dummies":' + "[" * 200_000),
    "a number of any length": lambda path: path.write_text('[{"mtu":' + "9" * 100_000 + "}]"),
    "no UTF-8": lambda path: path.write_bytes(b'"\xff\xfe'),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_file_of_ours_is_as_if_it_were_missing(
    place: str, name: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = seen(root)
    monkeypatch.chdir(root / files.RUNTIME)  # a socket's path is short
    PLACES[place](Path(name))
    state_text = seen(root)[3]
    assert seen(root)[:3] == missing[:3]
    with pytest.raises(ValueError):  # of json, or of plan
        plan.read(state_text if isinstance(state_text, bytes) else b"")


ODD: tuple[Any, ...] = (
    None, True, -1, 1e400, 10**20, "x", "\x1b[31m", "../../etc", [], [None], ["\udcff"], [[]],
    {}, {"a": None}, {"a": "b"}, float("nan"), "a b", "e#0",
)  # fmt: skip


def variants(value: Any) -> Iterator[Any]:
    """The value with one thing in it replaced by something odd, or taken away."""
    yield from ODD
    if isinstance(value, dict):
        for key in value:
            yield {k: v for k, v in value.items() if k != key}
            for one in variants(value[key]):
                yield {**value, key: one}
        yield {**value, "more": 1}
    elif isinstance(value, list):
        for number, old in enumerate(value):
            for one in variants(old):
                yield [*value[:number], one, *value[number + 1 :]]


def test_a_report_of_any_other_form_harms_nobody(root: Path) -> None:
    """What is accepted is shown; nothing raises."""
    from keepalived_dummy import assembly, metrics, table

    path = root / files.RUNTIME / "state.json"
    sources = observe.sources(root / "none.conf", ask=False)
    tried = 0
    for made in variants(valid("state.json")):
        path.write_text(json.dumps(made))
        there = dataclasses.replace(
            sources, report=observe._report(), daemon=observe._is_daemon(12)
        )
        observe._is_daemon(there.report.get("pid", 0))
        shown = assembly.assemble(there)
        assert table.table(shown)
        assert metrics.text(shown)
        tried += 1
    assert tried > 300


@pytest.mark.parametrize("name", ["plan.json", lastgood.NAME])
def test_plans_and_confs_of_any_other_form_harm_nobody(name: str, root: Path) -> None:
    for made in variants(valid(name)):
        (root / files.RUNTIME / name).write_text(json.dumps(made))
        for uplinks in lastgood.uplinks(root).values():
            assert all(isinstance(one, str) for one in uplinks)
        for dummy in lastgood.known(root, Config(bad=frozenset({"one"}))).dummies:
            assert config.parse_interface(dummy.name) == dummy.name
            assert dummy.path.isprintable()
            assert all(config.parse_interface(one) for one in dummy.uplinks)
            assert dummy.mtu is None or isinstance(dummy.mtu, int)


def test_a_folder_at_the_temporary_name_is_moved_aside(root: Path) -> None:
    path = root / files.RUNTIME / lastgood.NAME
    temporary = path.parent / f"{files._TEMPORARY}{os.getpid()}.tmp"
    (temporary / "something").mkdir(parents=True)
    assert lastgood.keep(root, Config((Dummy("one", "/etc/one.conf", "one0"),))).problems == ()
    assert path.is_file()


@pytest.mark.parametrize("kind", ["folder", "full folder"])
def test_confs_that_cannot_be_noted_are_a_problem_and_no_end(kind: str, root: Path) -> None:
    path = root / files.RUNTIME / lastgood.NAME
    (path if kind == "folder" else path / "something").mkdir(parents=True)
    wanted = Config((Dummy("one", "/etc/one.conf", "one0"),))
    kept = lastgood.keep(root, wanted)
    assert kept.dummies == wanted.dummies
    (problem,) = kept.problems
    assert str(problem).startswith(f"/{files.RUNTIME}/{lastgood.NAME}: cannot be written: ")


@pytest.mark.parametrize("name", ["clsact-x", "clsact-", "clsact-٣", "clsact-" + "9" * 20])
def test_only_numbers_note_a_clsact(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "RUNTIME", str(tmp_path)[1:])
    ran: list[list[str]] = []
    monkeypatch.setattr(tc, "_run", ran.append)
    (tmp_path / name).touch()
    (tmp_path / "clsact-7").mkdir()
    (tmp_path / "clsact-8" / "something").mkdir(parents=True)
    (tmp_path / "clsact-9").touch()
    tc._remove_clsact(tc.State({9: "clsact"}, ()), {9: "e0"}, ())
    assert ran == [["qdisc del dev e0 clsact"]]
    aside = [path for path in tmp_path.iterdir() if path.name != name]
    assert len(aside) == 2, "clsact-7 and clsact-8"
    assert all(path.suffix == ".aside" for path in aside)


def test_all_is_taken_away_beside_a_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """apply --remove, as prerm runs it."""
    (root / files.RUNTIME / "plan.json" / "something").mkdir(parents=True)
    monkeypatch.setattr(apply, "ROOT", root)
    for name in ("_remove_way_out", "_release_sources"):
        monkeypatch.setattr(apply, name, lambda *_: None)
    monkeypatch.setattr(links, "read", lambda: links.Host({}, ()))
    monkeypatch.setattr(tc, "sync", lambda *_: tc.Result())
    monkeypatch.setattr(foreign, "remove", lambda _: foreign.Result())
    monkeypatch.setattr(units, "remove", lambda _: units.Result())
    monkeypatch.setattr(kernel, "open_socket", lambda *_: nullcontext())
    assert apply.remove().status == 0


def test_the_limit_is_a_limit(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x" * runtime.MAX_BYTES)
    assert len(runtime.read(path)) == runtime.MAX_BYTES
    path.write_bytes(b"x" * (runtime.MAX_BYTES + 1))
    with pytest.raises(OSError, match="more than"):
        runtime.read(path)
