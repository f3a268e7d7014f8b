# SPDX-License-Identifier: MIT
"""Transactions: done whole, taken back whole, and finished by the next run wherever one was killed."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import signal
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import pytest
from world import World

from keepalived_dummy import guard, hold, proof, replace, retreat, revert, transaction
from keepalived_dummy.errors import UserError
from keepalived_dummy.hold import Held
from keepalived_dummy.journal import BACK, Generation, Journal, Transaction
from keepalived_dummy.keepalived import read_from
from keepalived_dummy.keepalived.disk import Disk
from keepalived_dummy.proof import Picture
from keepalived_dummy.rewrite import Vip
from keepalived_dummy.service import BACKUP, MASTER

BEFORE = b"vrrp_instance V {\n interface e0\n include vips\n}\n"
AFTER = b"vrrp_instance V {\n interface e0\n mcast_src_ip 192.0.2.5\n include vips\n}\n"
VIPS = b"virtual_ipaddress {\n 192.0.2.10/24\n}\n"
MOVED = b"virtual_ipaddress {\n 192.0.2.10/32 dev k0\n}\n"
VIP = Vip("V", "192.0.2.10", "e0", "k0")
WHERE_IT_WAS = "keepalived has the former configuration again, every VIP is where it was"


class Killed(BaseException):
    """kill -9: nothing of the process's own runs any more."""


def raised(error: BaseException) -> None:
    """For a lambda."""
    raise error


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting: nothing here takes time."""
    monkeypatch.setattr(transaction, "PROOF_SECONDS", 0.0)
    monkeypatch.setattr(transaction, "_SETTLED", 0.0)
    monkeypatch.setattr(transaction, "_LOOK", 0.0)
    monkeypatch.setattr(transaction, "_SECONDS_EACH", 0.0)


class Scene:
    """Two files of a configuration, a conf to be made, a journal, a host."""

    def __init__(self, folder: Path) -> None:
        self.main, self.vips, self.conf = folder / "main.conf", folder / "vips", folder / "k.conf"
        self.main.write_bytes(BEFORE)
        self.vips.write_bytes(VIPS)
        self.journal = Journal(folder / "state")
        self.world = World(self.main)
        self.after = {str(self.conf): b"conf\n", str(self.main): AFTER, str(self.vips): MOVED}

    def begin(self) -> Transaction:
        before = {path: replace.content(Path(path)) for path in self.after}
        changes = transaction.changes(self.journal, before, self.after)
        then = (Generation(changes, (VIP,)),)
        return Transaction("adopt", changes, (VIP,), then)

    def run(self) -> transaction.Outcome:
        return transaction.run(self.journal, self.world, self.begin())

    def state(self) -> str:
        now = (self.main.read_bytes(), self.vips.read_bytes(), self.conf.exists())
        return {(BEFORE, VIPS, False): "before", (AFTER, MOVED, True): "after"}.get(now, "mixed")

    def can_start(self) -> bool:
        """Whatever is there, keepalived reads it: one instance, its VIP on a device that is there."""
        world = World(self.main)
        device = {where for _, where in world.places}
        made = {"e0"} | ({"k0"} if self.conf.exists() else set())
        return bool(device) and device <= made


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_done(scene: Scene) -> None:
    outcome = scene.run()
    assert (outcome.done, outcome.wrong) == (True, [])
    assert scene.state() == "after"
    assert scene.world.log == ["apply", "test", "apply", "reload"]
    assert scene.world.places == {("192.0.2.10", "k0")}
    assert scene.journal.under_way() is None
    assert [vip for one in scene.journal.adopted() for vip in one.vips] == [VIP]


@pytest.mark.parametrize(
    ("reloads", "text"),
    [
        (["ignored"], "192.0.2.10 is not on k0"),
        (["dies"], "keepalived does not run any more"),
        (["backup", "master"], "was MASTER and is BACKUP"),
        (["flaps"], "was not MASTER for a moment"),
        (["refused"], "can't be reloaded"),
    ],
)
def test_put_back_when_not_proven(scene: Scene, reloads: list[str], text: str) -> None:
    scene.world.reloads = reloads
    outcome = scene.run()
    assert not outcome.done
    assert text in outcome.wrong[0]
    assert scene.state() == "before"
    assert scene.world.places == {("192.0.2.10", "e0")}
    assert outcome.said[-2] == WHERE_IT_WAS
    assert scene.journal.under_way() is None
    assert scene.journal.adopted() == ()


def test_keepalived_that_refuses_the_result(scene: Scene) -> None:
    scene.world.refuses = ["Unknown keyword"]
    outcome = scene.run()
    assert not outcome.done
    assert "Unknown keyword" in outcome.wrong[0]
    assert scene.state() == "before"
    assert "reload" not in scene.world.log


@pytest.mark.parametrize("undone", [["broken"], ["", "broken"]])
def test_dummies_that_cannot_be_made(scene: Scene, undone: list[str]) -> None:
    scene.world.undone = undone
    outcome = scene.run()
    assert not outcome.done
    assert scene.state() == "before"


def test_file_changed_meanwhile_is_not_overwritten(scene: Scene) -> None:
    what = scene.begin()
    scene.vips.write_bytes(VIPS + b"# edited\n")
    outcome = transaction.run(scene.journal, scene.world, what)
    assert not outcome.done
    assert "changed meanwhile" in outcome.wrong[0]
    assert scene.vips.read_bytes() == VIPS + b"# edited\n"
    assert scene.main.read_bytes() == BEFORE


def test_backup_node_and_no_keepalived(scene: Scene) -> None:
    scene.world.state = 1
    scene.world._take()
    assert scene.run().done
    assert scene.state() == "after"


@pytest.mark.parametrize("tells", [True, False])
def test_a_backup_that_takes_nothing_is_seen_where_it_tells(scene: Scene, tells: bool) -> None:
    scene.world.state, scene.world.tells = BACKUP, tells
    scene.world._take()
    scene.world.reloads = ["ignored"]
    outcome = scene.run()
    assert (outcome.done, outcome.shown) == (not tells, False)
    said = "after the reload: keepalived has not taken that 192.0.2.10 is to be on k0"
    assert outcome.wrong == ([said] if tells else [])


@pytest.mark.parametrize(
    ("state", "tells", "shown"),
    [(BACKUP, True, True), (BACKUP, False, False), (MASTER, False, True)],
)
def test_what_shows_that_it_was_taken(scene: Scene, state: int, tells: bool, shown: bool) -> None:
    scene.world.state, scene.world.tells = state, tells
    scene.world._take()
    outcome = scene.run()
    assert (outcome.done, outcome.shown) == (True, shown)


def test_no_reload(scene: Scene) -> None:
    what = dataclasses.replace(scene.begin(), reload=False)
    assert transaction.run(scene.journal, scene.world, what).done
    assert "reload" not in scene.world.log
    assert scene.state() == "after"


def failing(
    function: str, number: int, error: BaseException
) -> Callable[[pytest.MonkeyPatch], None]:
    """Patch one function of os to raise at its n-th call, and ever after where it is a full disk."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        real, calls = getattr(os, function), iter(range(10**6))

        def double(*words: object, **names: object) -> object:
            if next(calls) == number:
                raise error
            return real(*words, **names)

        monkeypatch.setattr(os, function, double)

    return patch


FORWARD = {"rename": 5, "fsync": 11, "unlink": 4, "open": 13, "fchmod": 5}  # calls in a run
AND_BACK = {"rename": 7, "fsync": 16, "unlink": 7}


def steps(calls: dict[str, int]) -> Iterator[tuple[str, int]]:
    """Each call of each function in turn."""
    for name, count in calls.items():
        for number in range(count):
            yield name, number


def kills() -> Iterator[tuple[str, int, list[str]]]:
    """Where to kill, in a run that succeeds and in one that takes it all back."""
    yield from ((*step, []) for step in steps(FORWARD))
    yield from ((*step, ["ignored"]) for step in steps(AND_BACK))


@pytest.mark.parametrize(("function", "number", "reloads"), kills())
def test_killed_anywhere_the_next_run_finishes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, function: str, number: int, reloads: list[str]
) -> None:
    scene.world.reloads = list(reloads)
    what = scene.begin()
    with monkeypatch.context() as patch:
        failing(function, number, Killed())(patch)
        with pytest.raises(Killed):
            transaction.run(scene.journal, scene.world, what)
    assert scene.can_start()
    scene.world.reloads = []
    recovered = transaction.recover(scene.journal, scene.world)
    if recovered is None and scene.state() == "before":
        assert scene.journal.adopted() == ()
        assert scene.run().done or reloads
    assert scene.state() in ("before", "after")
    assert scene.world.places == {("192.0.2.10", "k0" if scene.state() == "after" else "e0")}
    assert bool(scene.journal.adopted()) == (scene.state() == "after")
    assert scene.journal.under_way() is None
    assert transaction.recover(scene.journal, scene.world) is None
    assert not list(scene.main.parent.glob(".*"))


@pytest.mark.parametrize(("function", "number"), steps(FORWARD))
def test_an_error_anywhere_leaves_it_whole(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, function: str, number: int
) -> None:
    code = (errno.ENOSPC, errno.EROFS, errno.EPERM)[number % 3]
    what = scene.begin()
    with monkeypatch.context() as patch:
        failing(function, number, OSError(code, os.strerror(code)))(patch)
        with contextlib.suppress(OSError):
            transaction.run(scene.journal, scene.world, what)
    assert scene.can_start()
    transaction.recover(scene.journal, scene.world)
    assert scene.state() in ("before", "after")
    assert scene.world.places == {("192.0.2.10", "k0" if scene.state() == "after" else "e0")}


def test_killed_while_taken_back(scene: Scene) -> None:
    what = scene.begin()
    scene.main.write_bytes(AFTER)
    scene.conf.write_bytes(b"conf\n")
    scene.journal.begin(dataclasses.replace(what, direction=BACK))
    recovered = transaction.recover(scene.journal, scene.world)
    assert recovered is not None
    assert (recovered.done, recovered.wrong) == (True, [])
    assert scene.state() == "before"
    assert WHERE_IT_WAS in recovered.said


def full(scene: Scene, patch: pytest.MonkeyPatch, everywhere: bool) -> None:
    """A disk that is full from the second file on: the journal's, or that of keepalived.conf too."""
    put, write, found = replace.put, Journal._write, [False]

    def put_(path: Path, data: bytes | None) -> None:
        found[0] |= path == scene.vips
        if data is not None and (path == scene.vips or (everywhere and found[0])):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        put(path, data)

    def write_(journal: Journal, name: str, what: dict[str, object]) -> None:
        if found[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(journal, name, what)

    for module in (transaction, retreat):
        patch.setattr(module, "put", put_)
    patch.setattr(Journal, "_write", write_)


def test_no_room_to_note_that_it_is_taken_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    full(scene, monkeypatch, False)
    outcome = scene.run()
    assert outcome.wrong == [f"{scene.vips}: No space left on device"]
    assert f"{scene.main}: put back" in outcome.said
    assert scene.state() == "before"
    assert scene.journal.under_way() is None


def test_no_room_to_put_anything_back(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        full(scene, patch, True)
        outcome = scene.run()
    assert not outcome.done
    assert outcome.wrong == [
        f"{scene.vips}: No space left on device",
        f"{scene.main}: not put back: No space left on device",
        "what is in place is left to the next adopt or revert: run it once this is mended",
    ]
    assert scene.state() == "mixed"
    assert scene.can_start()
    recovered = transaction.recover(scene.journal, scene.world)
    assert recovered is not None
    assert recovered.done
    assert scene.state() == "after"
    assert len(scene.journal.adopted()) == 1


def test_no_room_to_note_that_it_is_done(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "end", lambda *_: raised(OSError(errno.ENOSPC, "no room")))
        outcome = scene.run()
    assert not outcome.done
    assert outcome.wrong == ["no room; all is in place, but not noted: run this again"]
    assert scene.state() == "after"
    assert transaction.recover(scene.journal, scene.world) is not None
    assert len(scene.journal.adopted()) == 1


def test_a_revert_taken_back_makes_the_dummy_first(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted at its end, when conf and dummy are gone: keepalived ends where a device is not there."""
    scene.run()
    scene.world.log.clear()
    there = {path: replace.content(Path(path)) for path in scene.after}
    former = {str(scene.conf): None, str(scene.main): BEFORE, str(scene.vips): VIPS}
    changes = transaction.changes(scene.journal, there, former)
    apply, puts = scene.world.apply, list[Path]()

    def interrupted(_: object = ()) -> list[str]:
        if "apply" not in scene.world.log:
            scene.world.log.append("apply")
            raise KeyboardInterrupt
        return apply()

    def put(path: Path, data: bytes | None) -> None:
        puts.append(path)
        replace.put(path, data)

    monkeypatch.setattr(scene.world, "apply", interrupted)
    monkeypatch.setattr(retreat, "put", put)
    what = Transaction("revert", changes, proof.back([VIP]), ())
    assert not transaction.run(scene.journal, scene.world, what).done
    assert scene.state() == "after"
    assert puts[0] == scene.conf
    assert scene.world.log == ["test", "reload", "apply", "apply", "reload", "apply"]
    assert len(scene.journal.adopted()) == 1


@pytest.fixture
def half_back(scene: Scene) -> Scene:
    """Killed on its way back: its files are put back, keepalived has the VIP on the dummy still."""
    what = scene.begin()
    for path, content in scene.after.items():
        replace.put(Path(path), content)
    scene.world._take()
    scene.main.write_bytes(BEFORE)
    scene.vips.write_bytes(VIPS)
    scene.journal.begin(dataclasses.replace(what, direction=BACK))
    return scene


def test_killed_before_the_reload_back(half_back: Scene) -> None:
    recovered = transaction.recover(half_back.journal, half_back.world)
    assert recovered is not None
    assert (recovered.done, recovered.wrong) == (True, [])
    assert WHERE_IT_WAS in recovered.said
    assert half_back.world.places == {("192.0.2.10", "e0")}
    assert half_back.state() == "before"


def test_killed_before_the_reload_back_which_does_nothing(half_back: Scene) -> None:
    half_back.world.reloads = ["ignored"]
    recovered = transaction.recover(half_back.journal, half_back.world)
    assert recovered is not None
    assert recovered.wrong == ["after putting back: 192.0.2.10 is not on e0"]
    assert not recovered.done


def test_a_keepalived_stopped_since_is_not_started(half_back: Scene) -> None:
    half_back.world.pid = 0
    assert transaction.recover(half_back.journal, half_back.world) is not None
    assert half_back.world.log == ["apply"]
    assert half_back.state() == "before"


def test_taken_back_after_it_was_killed_is_seen_to_be(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed_at_the_end(scene, monkeypatch)
    scene.world.reloads = ["flaps", "ignored"]
    recovered = transaction.recover(scene.journal, scene.world)
    assert recovered is not None
    assert "after putting back: 192.0.2.10 is not on e0" in recovered.wrong
    assert WHERE_IT_WAS not in recovered.said


def killed_at_the_end(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of which keepalived has taken all, killed before that was noted."""
    what = scene.begin()
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "end", lambda *_: raised(Killed()))
        with pytest.raises(Killed):
            transaction.run(scene.journal, scene.world, what)
    assert scene.state() == "after"


@pytest.mark.parametrize("edited", ["main", "vips"])
def test_edited_since_it_was_killed_stays_adopted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, edited: str
) -> None:
    killed_at_the_end(scene, monkeypatch)
    path = {"main": scene.main, "vips": scene.vips}[edited]
    now = path.read_bytes() + b"# edited\n"
    path.write_bytes(now)
    recovered = transaction.recover(scene.journal, scene.world)
    assert recovered is not None
    assert not recovered.done
    assert f"{path} was changed meanwhile: not put back" in recovered.wrong
    assert "keepalived-dummy revert" in recovered.wrong[-1]
    assert WHERE_IT_WAS not in recovered.said
    assert path.read_bytes() == now
    assert scene.conf.exists()
    assert scene.can_start()
    assert scene.journal.under_way() is None
    (generation,) = scene.journal.adopted()
    assert generation.vips == (VIP,)
    done = revert.plan(scene.main, (generation,), scene.journal)
    assert done.conflicts == ()
    for name, content in done.after.items():
        replace.put(Path(name), content)
    assert path.read_bytes() == {"main": BEFORE, "vips": VIPS}[edited] + b"# edited\n"
    assert not scene.conf.exists()


HELD = Held("192.0.2.10/32", "k0", (), "forever", True)
ADDED = hold.script("replace", [HELD], 60)
DROPPED = hold.script("del", [HELD])


@pytest.fixture
def batches(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What ip(8) is told, the VIP held during the move."""
    said: list[str] = []
    monkeypatch.setattr(hold, "_run", lambda batch: said.append(batch) if batch else None)
    monkeypatch.setattr(guard, "start", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(scene.world, "holds", lambda *_: [HELD])
    return said


def test_what_keepalived_has_taken_back_is_dropped(scene: Scene, batches: list[str]) -> None:
    scene.world.reloads = ["ignored"]
    assert not scene.run().done
    assert batches == [ADDED, DROPPED]


@pytest.mark.parametrize(
    ("how", "order"),
    [
        ("backup", ["reload", DROPPED, "reload"]),
        ("dies", ["reload", DROPPED, "restart"]),
        ("flaps", ["reload", "reload", DROPPED]),
        ("ignored", ["reload", "reload", DROPPED]),
    ],
)
def test_what_another_node_has_taken_over_is_dropped_before_the_way_back(
    scene: Scene,
    batches: list[str],
    monkeypatch: pytest.MonkeyPatch,
    how: str,
    order: list[str],
) -> None:
    log = scene.world.log
    monkeypatch.setattr(hold, "_run", lambda batch: log.append(batch) if batch else None)
    scene.world.reloads = [how]
    assert not scene.run().done
    assert [what for what in log if what not in ("apply", "test", ADDED)] == order


@pytest.mark.parametrize(("how", "waits"), [("backup", False), ("flaps", False), ("ignored", True)])
def test_a_mastership_that_is_lost_is_not_waited_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, how: str, waits: bool
) -> None:
    """As long as another node answers for the VIPs, so does what is held here."""
    seconds = iter(range(10**6))
    monkeypatch.setattr(transaction, "PROOF_SECONDS", 50.0)
    monkeypatch.setattr("time.monotonic", lambda: float(next(seconds)))
    looks, picture = list[bool](), scene.world.picture

    def counted(states: bool = True) -> Picture:
        looks.append(states)
        return picture(states)

    monkeypatch.setattr(scene.world, "picture", counted)
    scene.world.reloads = [how]
    assert not scene.run().done
    before_and_after = 2 + 1
    assert (looks.count(True) > before_and_after + 40) is waits, looks.count(True)


def test_what_keepalived_keeps_is_not_dropped(
    scene: Scene, batches: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files written over adopt's own during the proof, as by config management: keepalived keeps the VIP."""
    reload = scene.world.reload

    def overwritten(running: bool) -> str:
        said = reload(running)
        for path in (scene.main, scene.vips):
            path.write_bytes(path.read_bytes() + b"# managed\n")
        return said

    monkeypatch.setattr(scene.world, "reload", overwritten)
    scene.world.reloads = ["flaps"]
    outcome = scene.run()
    assert not outcome.done
    assert scene.world.places == {("192.0.2.10", "k0")}
    assert batches == [ADDED, hold.script("change", [HELD])]
    assert scene.can_start()


def test_reload_that_fails_on_the_way_back(scene: Scene, batches: list[str]) -> None:
    """keepalived goes on with the VIP on the dummy, which so stays; revert tries again."""
    scene.world.reloads = ["flaps", "refused"]
    outcome = scene.run()
    assert not outcome.done
    assert batches == [ADDED, hold.script("change", [HELD])]
    assert "keepalived can't be reloaded: Job failed" in outcome.wrong
    assert "keepalived-dummy revert" in outcome.wrong[-1]
    assert (scene.main.read_bytes(), scene.vips.read_bytes()) == (BEFORE, VIPS)
    assert scene.conf.exists()
    done = revert.plan(scene.main, scene.journal.adopted(), scene.journal)
    assert done.after == {str(scene.conf): None}


def test_not_asked_to_reload_it_has_taken_nothing(
    scene: Scene, batches: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where keepalived tells no state, a BACKUP that was MASTER looks as if it had taken what is held."""
    held = frozenset([("192.0.2.10", "k0")])
    silent = iter([Picture(100, None, scene.world.places)])
    monkeypatch.setattr(
        scene.world, "picture", lambda _=True: next(silent, Picture(100, None, held))
    )
    monkeypatch.setattr(guard, "start", lambda *_: raised(OSError(errno.EAGAIN, "no process")))
    scene.world.reloads = ["refused"]
    assert not scene.run().done
    assert hold.script("change", [HELD]) not in batches


def elected(scene: Scene, state: int) -> Callable[[Mapping[str, bytes]], list[str]]:
    """keepalived -t, during which the other node fails, or comes back."""

    def test(_: Mapping[str, bytes]) -> list[str]:
        scene.world.state = state
        scene.world.places = frozenset([("192.0.2.10", "e0")] if state == MASTER else [])
        return []

    return test


@pytest.fixture
def holding(scene: Scene, batches: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What ip(8) is told, with what is held found as on a host."""

    def holds(vips: tuple[Vip, ...], before: Picture) -> list[Held]:
        return hold.needed(read_from(Disk(Path("/")), str(scene.main)), vips, before)

    monkeypatch.setattr(scene.world, "holds", holds)
    return batches


def test_a_node_that_is_no_master_any_more_holds_nothing(
    scene: Scene, holding: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new MASTER has the VIPs."""
    monkeypatch.setattr(scene.world, "test", elected(scene, BACKUP))
    outcome = scene.run()
    assert not outcome.done
    assert outcome.wrong[0].startswith(
        "before the reload: vrrp_instance V was MASTER and is BACKUP"
    )
    assert len(outcome.wrong) == 1
    assert holding == []
    assert scene.state() == "before"


def test_a_node_that_has_become_master_holds_its_vips(
    scene: Scene, holding: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene.world.state = BACKUP
    scene.world._take()
    monkeypatch.setattr(scene.world, "test", elected(scene, MASTER))
    assert scene.run().done
    assert holding == [ADDED, hold.script("change", [HELD])]


def test_changed_while_it_asked(scene: Scene) -> None:
    what = scene.begin()
    scene.vips.write_bytes(VIPS + b"# edited\n")
    outcome = transaction.run(scene.journal, scene.world, what)
    assert outcome.wrong == [
        f"{scene.vips} was changed meanwhile; nothing is changed, run this again"
    ]
    assert scene.world.log == []
    assert scene.journal.under_way() is None
    assert scene.journal.adopted() == ()


def test_changed_while_it_is_put_in_place(scene: Scene) -> None:
    test = scene.world.test

    def edit(contents: Mapping[str, bytes]) -> list[str]:
        scene.vips.write_bytes(VIPS + b"# edited\n")
        return test(contents)

    scene.world.test = edit  # type: ignore[method-assign]
    assert not scene.run().done
    assert scene.main.read_bytes() == BEFORE
    assert scene.vips.read_bytes() == VIPS + b"# edited\n"
    assert scene.can_start()


def test_damaged_journal_is_said(scene: Scene) -> None:
    scene.journal.begin(scene.begin())
    (scene.journal.folder / "transaction.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        transaction.recover(scene.journal, scene.world)


def test_damaged_backup_is_not_put_in_place(scene: Scene) -> None:
    what = scene.begin()
    for path in (scene.journal.folder / "backup").iterdir():
        path.write_bytes(b"\0")
    with pytest.raises(UserError, match="is damaged"):
        transaction.run(scene.journal, scene.world, what)
    assert scene.state() == "before"


def test_attributes_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o640)
    os.setxattr(path, "user.note", b"kept")
    # A package is built, and so tested, by a user who may give nothing away.
    owner = (1, 2) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(path, *owner)
    replace.put(path, b"new")
    status = path.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (*owner, 0o640)
    assert os.getxattr(path, "user.note") == b"kept"
    assert path.read_bytes() == b"new"


def test_no_temporary_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    failing("rename", 0, OSError(errno.EPERM, "Operation not permitted"))(monkeypatch)
    with pytest.raises(OSError, match="not permitted"):
        replace.put(path, b"new")
    assert [one.name for one in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


def test_check_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    replace.check(path)
    failing("open", 0, OSError(errno.EROFS, os.strerror(errno.EROFS)))(monkeypatch)
    with pytest.raises(UserError, match="Read-only file system"):
        replace.check(path)


def test_a_lock_that_is_not_had_keeps_nothing_from_being_taken_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run holds it, so neither the way forward nor the way back can have the dummies made."""
    signals: list[tuple[object, ...]] = []

    def apply(ignored: Collection[signal.Signals] = ()) -> list[str]:
        signals.append(tuple(ignored))
        raise UserError("it is locked by process 7")

    monkeypatch.setattr(scene.world, "apply", apply)
    outcome = scene.run()
    assert not outcome.done
    assert scene.state() == "before"
    assert scene.journal.under_way() is None
    assert "it is locked by process 7" in outcome.wrong
    assert signals[0] == (), "a handler ends the wait"


def test_signals_end_the_wait_of_the_way_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are ignored there, so the lock has to be told of them."""
    scene.world.reloads = ["ignored"]
    signals: list[set[signal.Signals]] = []
    apply = scene.world.apply

    def noted(ignored: Collection[signal.Signals] = ()) -> list[str]:
        signals.append(set(ignored))
        return apply()

    monkeypatch.setattr(scene.world, "apply", noted)
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup(1)
    try:
        assert not scene.run().done
    finally:
        signal.signal(signal.SIGHUP, former)
    assert signals == [set(), set(), {signal.SIGINT, signal.SIGTERM}]


def modes(folder: Path) -> set[tuple[str, int]]:
    return {
        (path.parent.name, path.stat().st_mode & 0o777)
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_only_root_can_read_the_ledger(scene: Scene) -> None:
    """It has digests of keepalived.conf, mostly mode 0600; with one a password in it is guessed."""
    former = os.umask(0)
    try:
        scene.journal.begin(scene.begin())
        assert modes(scene.journal.folder) == {("state", 0o600), ("backup", 0o600)}
        scene.run()
    finally:
        os.umask(former)
    assert scene.journal.adopted()
    assert modes(scene.journal.folder) == {("state", 0o600), ("backup", 0o600)}


def test_a_ledger_of_an_earlier_release_is_closed_when_it_is_read(scene: Scene) -> None:
    scene.run()
    scene.journal.begin(scene.begin())
    for path in scene.journal.folder.glob("*.json"):
        path.chmod(0o644)
    assert scene.journal.adopted()
    assert scene.journal.under_way()
    assert modes(scene.journal.folder) == {("state", 0o600), ("backup", 0o600)}


def test_who_may_not_read_the_ledger_is_told_so(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """adopt --dry-run is for anybody."""
    path = scene.journal.folder / "transaction.json"

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr("builtins.open", refuse)
    message = rf"only root can read {path} \(run this as root\)"
    with pytest.raises(UserError, match=message):
        scene.journal.under_way()


def test_the_entry_of_the_ledgers_folder_is_synced_before_anything_changes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, bool]] = []
    sync = os.fsync

    def noted(descriptor: int) -> None:
        there = (scene.journal.folder / "transaction.json").exists()
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), there))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    scene.journal.begin(scene.begin())
    assert (str(scene.journal.folder.parent), True) in synced


@pytest.fixture
def held(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A VIP is held in the move; what ip(8) is told."""
    batches: list[str] = []
    monkeypatch.setattr(hold, "_run", batches.append)
    one = Held("192.0.2.10/32", "k0", (), "forever", True)
    monkeypatch.setattr(scene.world, "holds", lambda *_: [one])
    monkeypatch.setattr(guard, "start", lambda *_: contextlib.nullcontext())
    return batches


def in_a_storm(scene: Scene, monkeypatch: pytest.MonkeyPatch, from_: int) -> transaction.Outcome:
    """A run in which no look succeeds from this one on."""
    picture, looks = scene.world.picture, [0]

    def look(states: bool = True) -> Picture:
        looks[0] += 1
        if looks[0] >= from_:
            raise InterruptedError(errno.EINTR, "what the kernel listed changed under way")
        return picture(states)

    monkeypatch.setattr(scene.world, "picture", look)
    return scene.run()


@pytest.mark.parametrize(
    ("from_", "done"),
    [(1, []), (2, []), (3, ["replace", "del"]), (4, ["replace", "change", "del"])],
)
def test_a_host_that_cannot_be_read_keeps_nothing_from_being_taken_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, held: list[str], from_: int, done: list[str]
) -> None:
    outcome = in_a_storm(scene, monkeypatch, from_)
    assert not outcome.done
    assert scene.state() == "before"
    assert scene.journal.under_way() is None
    assert any("changed under way" in line for line in outcome.wrong)
    assert [line.split()[1] for line in held if line] == done


def test_what_keepalived_may_have_taken_is_not_dropped_unseen(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, held: list[str]
) -> None:
    """keepalived is MASTER with it, perhaps, and does not take the former configuration back."""
    scene.world.reloads = ["", "refused"]
    outcome = in_a_storm(scene, monkeypatch, 3)
    assert not outcome.done
    said = "it could not be seen whether keepalived has 192.0.2.10/32 on k0"
    assert said in outcome.wrong
    assert [line.split()[1] for line in held if line] == ["replace"]


def test_a_look_that_fails_once_is_taken_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "PROOF_SECONDS", 10.0)
    picture, looks = scene.world.picture, [0]

    def look(states: bool = True) -> Picture:
        looks[0] += 1
        if looks[0] == 3:
            raise InterruptedError(errno.EINTR, "what the kernel listed changed under way")
        return picture(states)

    monkeypatch.setattr(scene.world, "picture", look)
    assert scene.run().done
    assert scene.state() == "after"
