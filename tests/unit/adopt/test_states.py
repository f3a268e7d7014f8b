# SPDX-License-Identifier: MIT
"""keepalived's state asked for where another user has put something in the place of its file."""

from __future__ import annotations

import functools
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keepalived_dummy import adopt, foresight, observe, service
from keepalived_dummy.adopt import Options, Voice
from keepalived_dummy.errors import UserError
from keepalived_dummy.hold import Held
from keepalived_dummy.live import Live
from keepalived_dummy.proof import Picture
from keepalived_dummy.rewrite import Rewrite
from keepalived_dummy.service import InstanceState, Service

# As keepalived: a file of its own, put in the place of whatever is there by rename(2).
KEEPALIVED = """
import os, signal, sys
path = sys.argv[1]
def tell(*_):
    try:
        with open(path + ".new", "w") as file:
            file.write('[{"data": {"iname": "V", "state": 2}}]')
        os.rename(path + ".new", path)
    except OSError:
        pass
signal.signal(signal.SIGUSR1, tell)
print("runs", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def pid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(service, "_signal", lambda: signal.SIGUSR1)
    for name in ("_load", "_in_the_way"):  # a package is built, and so tested, by any user
        one = functools.partial(getattr(service, name), owner=os.getuid())
        monkeypatch.setattr(service, name, one)
    command = [sys.executable, "-c", KEEPALIVED, str(tmp_path / "keepalived.json")]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def grow(path: Path) -> None:
    path.mkdir()
    (path / "something").touch()


IN_THE_WAY: dict[str, Callable[[Path], object]] = {
    "a directory": Path.mkdir,
    "a directory with something": grow,
}
HARMLESS: dict[str, Callable[[Path], object]] = {
    "a link": lambda path: path.symlink_to("/etc/passwd"),
    "a FIFO": os.mkfifo,
    "a socket": lambda path: socket.socket(socket.AF_UNIX).bind(path.name),
    "a file": lambda path: path.write_text("[]"),
    "nothing": lambda path: None,
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_keepalived_replaces_is_no_obstacle(
    kind: str, pid: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    HARMLESS[kind](tmp_path / "keepalived.json")
    assert service.states(pid) == {"V": InstanceState(2)}
    assert service.obstacle(pid) == ""


@pytest.mark.parametrize("kind", IN_THE_WAY)
def test_what_keepalived_cannot_replace_is_named_at_once(
    kind: str, pid: int, tmp_path: Path
) -> None:
    path = tmp_path / "keepalived.json"
    IN_THE_WAY[kind](path)
    began = time.monotonic()
    assert service.states(pid) is None
    assert time.monotonic() - began < 0.5, "check takes ten seconds else, and monitoring waits ten"
    said = service.obstacle(pid)
    owner = path.owner()
    assert (
        said == f"{path} is a directory of {owner}, so keepalived can't tell its state; remove it"
    )


def test_what_stays_in_the_way_is_not_waited_for(pid: int, tmp_path: Path) -> None:
    """A keepalived that does not replace it, whatever it is."""
    path = tmp_path / "keepalived.json"
    path.symlink_to("/nothing")
    (tmp_path / "keepalived.json.new").mkdir()  # so it can't write
    began = time.monotonic()
    assert service.states(pid) is None
    assert time.monotonic() - began < 5
    assert f"{path} is a link of {pwd.getpwuid(os.getuid()).pw_name}, " in service.obstacle(pid)


@pytest.mark.parametrize("gone", [0, 1 << 22])
def test_without_a_keepalived_there_is_no_obstacle(gone: int, tmp_path: Path) -> None:
    assert service.obstacle(gone) == ""


def test_a_keepalived_without_json_has_no_obstacle(
    pid: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keepalived.json").mkdir()
    monkeypatch.setattr(service, "_signal", lambda: 0)
    assert service.obstacle(pid) == ""
    assert service.states(pid) is None


def test_the_path_of_a_private_tmp_is_the_one_to_remove(tmp_path: Path) -> None:
    """PrivateTmp= is another folder than ours of that name."""
    (tmp_path / "tmp").mkdir()
    private = Path("/proc/self/root", *tmp_path.parts[1:], "tmp/keepalived.json")
    assert service._seen_from_here(private) == tmp_path / "tmp/keepalived.json"
    assert service._seen_from_here(Path("/proc/7/root/nowhere/x")) == Path("/proc/7/root/nowhere/x")


def test_status_and_check_name_it(
    pid: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keepalived.json").mkdir()
    monkeypatch.setattr(service, "find", lambda: Service(pid, True))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    unseen = {one.what: one.why for one in observe.sources(tmp_path / "none.conf").unseen}
    assert " is a directory of " in unseen["keepalived's state"]


@pytest.fixture
def endangered(pid: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "keepalived.json"
    path.mkdir()
    monkeypatch.setattr(service, "find", lambda: Service(pid, True))
    monkeypatch.setattr(foresight, "look", lambda *_: ((), ()))
    return path


def test_adopt_refuses_what_it_could_not_prove(endangered: Path) -> None:
    said: list[str] = []
    voice = Voice(said.append, said.append, lambda: pytest.fail("it went on"))
    assert adopt._endangers(Options(), voice, Rewrite())
    assert f"{endangered} is a directory of " in said[0]
    assert "--no-check" in said[-1]
    assert not adopt._endangers(Options(reload=False), voice, Rewrite()), "nothing is to be proven"
    endangered.rmdir()
    assert not adopt._endangers(Options(), voice, Rewrite())


def test_what_is_put_there_meanwhile_stops_adopt_before_the_reload(
    pid: int, endangered: Path
) -> None:
    untold, running = Picture(pid, None, frozenset()), Service(pid, True)
    with pytest.raises(UserError, match="is a directory of"):
        Live(Path("/none"), print, running, needs_states=True).holds((), untold)
    held: list[Held] = Live(Path("/none"), print, running).holds((), untold)  # --no-check, revert
    assert held == []
