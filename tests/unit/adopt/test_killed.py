# SPDX-License-Identifier: MIT
"""A run that gets a signal while VIPs are held: what becomes of them. A process of its own, really killed."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import signal
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest
from test_transaction import Scene

from keepalived_dummy import files, guard, hold, service
from keepalived_dummy.hold import Held
from keepalived_dummy.proof import Picture
from keepalived_dummy.rewrite import Vip

KEPT = "address change 192.0.2.10/32 dev k0 valid_lft forever preferred_lft forever"
SECONDS = 60


def await_(what: str, true: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.02)


class Run:
    """A scene in a process of its own. It stops to be signalled where `stop` says: before, or after, the reload."""

    def __init__(self, folder: Path, stop: str) -> None:
        self.scene = Scene(folder)
        self.batches, self.reloaded, self.guard = folder / "ip", folder / "reloaded", folder / "pid"
        self.at = folder / "at"
        self.batches.touch()
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.lock = folder / "lock"
        self.out, out = os.pipe()
        self.pid = os.fork()
        if not self.pid:
            try:
                os.dup2(out, 1)
                os.close(out)
                self._run(stop)
            finally:
                os._exit(0)
        os.close(lock)
        os.close(out)
        await_("it gets there", self.at.exists)

    def _run(self, stop: str) -> None:
        world = self.scene.world
        picture, reload, start = world.picture, world.reload, guard.start

        def look(states: bool = True) -> Picture:
            if self.reloaded.exists():
                world._take()
            return picture(states)

        def reload_(running: bool) -> str:
            said = ""
            if stop == "before" and not self.at.exists():
                self._stay()
            said = reload(running)
            self.reloaded.touch()
            if stop == "after" and not self.at.exists():
                self._stay()
            return said

        def noted(finish: Callable[[], bool], seconds: int) -> guard.Guard:
            made = start(finish, seconds)
            self.guard.write_text(str(made.pid))
            return made

        def batch(text: str) -> None:
            with self.batches.open("a") as file:
                file.write(text)

        held = Held("192.0.2.10/32", "k0", (), "forever", True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world, "picture", look)
            patch.setattr(world, "reload", reload_)
            patch.setattr(world, "holds", lambda *_: [held])
            patch.setattr(guard, "start", noted)
            patch.setattr(hold, "_run", batch)
            self.scene.run()

    def _stay(self) -> None:
        self.at.touch()
        time.sleep(SECONDS)

    def signal(self, *numbers: signal.Signals) -> int:
        for number in numbers:
            os.kill(self.pid, number)
        return os.waitpid(self.pid, 0)[1]

    def is_guarded(self) -> bool:
        return service.runs(int(self.guard.read_text()))


@pytest.fixture(autouse=True)
def hangup() -> Iterator[None]:
    """As it is without a nohup(1) over the tests."""
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, former)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[[str], Run]]:
    runs: list[Run] = []

    def make(stop: str) -> Run:
        runs.append(Run(tmp_path, stop))
        return runs[-1]

    yield make
    for one in runs:
        os.close(one.out)
        pid = int(one.guard.read_text())
        with contextlib.suppress(OSError):
            if os.getsid(pid) == pid:
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("stop", ["before", "after"])
@pytest.mark.parametrize(
    "numbers", [[signal.SIGHUP], [signal.SIGTERM], [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]]
)
def test_a_signal_takes_all_back(
    begin: Callable[[str], Run], numbers: list[signal.Signals], stop: str
) -> None:
    run = begin(stop)
    assert run.signal(*numbers) == 0
    assert run.scene.state() == "before"
    assert run.scene.journal.under_way() is None
    assert run.batches.read_text().endswith("address del 192.0.2.10/32 dev k0\n")
    assert not run.is_guarded()


def test_signals_that_were_ignored_stay_so(begin: Callable[[str], Run]) -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run = begin("after")
    finally:
        signal.signal(signal.SIGHUP, former)
    os.kill(run.pid, signal.SIGHUP)
    time.sleep(0.2)
    assert service.runs(run.pid)
    assert run.signal(signal.SIGTERM) == 0


def test_killed_after_the_reload_the_vip_is_kept(begin: Callable[[str], Run]) -> None:
    run = begin("after")
    assert run.signal(signal.SIGKILL) == signal.SIGKILL
    await_("it is made to last", lambda: KEPT in run.batches.read_text())
    await_("the guard has ended", lambda: not run.is_guarded())
    assert run.batches.read_text().count("change") == 1
    assert run.scene.journal.under_way() is not None


def test_killed_before_the_reload_the_address_is_left_to_its_lifetime(
    begin: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hold, "SECONDS", 2)
    run = begin("before")
    run.signal(signal.SIGKILL)
    await_("the guard has ended", lambda: not run.is_guarded())
    assert "change" not in run.batches.read_text()


def test_a_reload_that_goes_on_is_waited_for(begin: Callable[[str], Run]) -> None:
    run = begin("before")
    run.signal(signal.SIGKILL)
    time.sleep(0.2)
    assert "change" not in run.batches.read_text()
    run.reloaded.touch()
    await_("it is made to last", lambda: KEPT in run.batches.read_text())


def is_free(lock: Path) -> bool:
    with lock.open("r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_the_guard_has_neither_lock_nor_terminal(begin: Callable[[str], Run]) -> None:
    run = begin("before")
    run.signal(signal.SIGKILL)
    assert os.read(run.out, 1) == b""
    await_(
        "the lock is free", lambda: is_free(run.lock)
    )  # the kernel closes it after standard output
    pid = int(run.guard.read_text())
    assert os.getsid(pid) == pid
    for number in guard.SIGNALS:
        os.kill(pid, number)
    time.sleep(0.1)
    assert run.is_guarded()


def test_a_guard_that_is_told_does_nothing(tmp_path: Path) -> None:
    done = tmp_path / "done"
    with guard.start(lambda: done.write_text("") == 0, 60) as one:
        assert service.runs(one.pid)
    assert not Path(f"/proc/{one.pid}").exists()
    assert not done.exists()


def test_an_exception_is_as_a_kill(tmp_path: Path) -> None:
    done = tmp_path / "done"
    with (
        pytest.raises(OSError, match="full"),
        guard.start(lambda: done.write_text("") == 0, 60) as one,
    ):
        raise OSError("full")
    os.waitpid(one.pid, 0)
    assert done.exists()


@pytest.mark.parametrize("told", [True, False])
def test_a_guard_ends_in_its_time(told: bool) -> None:
    with contextlib.suppress(ValueError), guard.start(lambda: False, 1) as one:
        if told:
            time.sleep(1.2)
        else:
            raise ValueError
    if not told:
        assert os.WTERMSIG(os.waitpid(one.pid, 0)[1]) == signal.SIGALRM


@pytest.mark.parametrize(
    ("state", "places", "wanted"),
    [
        (2, {"k0"}, True),
        (2, {"e0", "k0"}, False),  # not reloaded yet
        (1, {"k0"}, False),  # BACKUP: it knows nothing of what is held
        (3, {"k0"}, False),
        (2, {"e0"}, False),
        (None, {"k0"}, False),
    ],
)
def test_what_keepalived_has_taken(state: int | None, places: set[str], wanted: bool) -> None:
    held = Held("192.0.2.10/32", "k0", (), "forever", True)
    vips = (Vip("V", "192.0.2.10", "e0", "k0"), Vip("W", "192.0.2.11", "e0", "k0"))
    before = Picture(7, {"V": service.InstanceState(2)}, frozenset())
    says = None if state is None else {"V": service.InstanceState(state)}
    now = Picture(7, says, frozenset(("192.0.2.10", place) for place in places))
    assert hold.taken([held], vips, before, now) == ([held] if wanted else [])
    silent = Picture(7, None, frozenset())
    if state is None:  # one that never told is judged by the addresses
        assert hold.taken([held], vips, silent, now) == [held]
    assert hold.taken([held], vips, silent, Picture(0, None, now.places)) == []


def test_signals_end_an_adopt_that_waits_for_another_run(tmp_path: Path) -> None:
    """The first one ends the wait of the way forward, the next one that of the way back, where signals are ignored."""
    scene = Scene(tmp_path)
    waits = tmp_path / "waits"
    with files.lock(tmp_path):
        pid = os.fork()
        if not pid:
            try:
                wait_and_run(scene, tmp_path, waits)
            finally:
                os._exit(7)
        for dots, sent in ((".", signal.SIGINT), ("..", signal.SIGTERM)):
            await_("it waits", functools.partial(is_content, waits, dots))
            time.sleep(0.2)
            assert service.runs(pid)
            os.kill(pid, sent)
        end = time.monotonic() + SECONDS / 2
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert time.monotonic() < end, "only the time limit has ended it"
    assert scene.state() == "before"
    assert scene.journal.under_way() is None


def is_content(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


def wait_and_run(scene: Scene, root: Path, waits: Path) -> None:
    """adopt, whose apply needs the lock that this process's parent has."""

    def apply(ignored: Collection[signal.Signals] = ()) -> list[str]:
        with waits.open("a") as file:
            file.write(".")
        with files.lock(root, ignored):
            return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "LOCK_SECONDS", SECONDS)
        patch.setattr(scene.world, "apply", apply)
        outcome = scene.run()
    said = any("interrupted while" in line for line in outcome.wrong)
    os._exit(0 if said and not outcome.done else 1)
