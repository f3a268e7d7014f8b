# SPDX-License-Identifier: MIT
"""`revert`: what adopt did to keepalived.conf taken back, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from keepalived_dummy import edits, journal, keepalived, live, replace, service, transaction
from keepalived_dummy.adopt import DONE, REFUSED, ROOT, Voice, recovered, tell
from keepalived_dummy.errors import Problem, UserError
from keepalived_dummy.journal import Generation, Journal, Transaction
from keepalived_dummy.keepalived import Document
from keepalived_dummy.keepalived.disk import Disk
from keepalived_dummy.live import Live
from keepalived_dummy.rewrite import Overlay, Vip, normal
from keepalived_dummy.undo import undo, unsure

_Key = tuple[str, str]  # instance, address
_Places = dict[_Key, tuple[str, int, str]]  # file, line, device


@dataclass(frozen=True)
class Plan:
    """Files as they are, and as they are to be, None: removed; the VIPs; what stands against it; what is left.

    `adopted`: what was adopted with another --config, and stays. `read`: all files of the configuration.
    """

    before: dict[str, bytes | None]
    after: dict[str, bytes | None]
    vips: tuple[Vip, ...]
    conflicts: tuple[Problem, ...]
    notes: tuple[Problem, ...]
    adopted: tuple[Generation, ...]
    read: Mapping[str, bytes] = field(default_factory=dict)


def run(path: Path, reload: bool, voice: Voice) -> int:
    """The whole command. Exit status: 0 done or nothing to do, 1 refused or taken back."""
    live.must_be_root()
    ledger = Journal()
    with live.alone():
        running = service.find()
        live.reaches(path, running, reload)
        if reload:
            live.reads(path, running)
        if not recovered(ledger, path, voice):
            return REFUSED
        host = Live(path, voice.say)
        generations = ledger.adopted()
        if not generations:
            voice.say("nothing to do: nothing was adopted")
            return DONE
        mine, others = _with(path, generations)
        if not mine:
            known = " and ".join(_configs(others))
            voice.complain(f"nothing was adopted with --config {path}, but with {known}: say that")
            return REFUSED
        for one in _configs(others):
            voice.say(f"what was adopted with {one} stays")
        done = plan(path, generations, ledger)
        for problem in done.conflicts:
            voice.complain(str(problem))
        if done.conflicts:
            voice.complain("nothing is changed; mend these by hand, then run this again")
            return REFUSED
        for note in done.notes:
            voice.say(str(note))
        if reload and (untold := service.obstacle(host.service.pid)):
            voice.complain(untold)
        voice.say(_diff(done))
        if not voice.ask():
            voice.complain("nothing was changed")
            return REFUSED
        return _carry_out(done, host, ledger, reload, voice)


def _with(
    path: Path, generations: tuple[Generation, ...]
) -> tuple[tuple[Generation, ...], tuple[Generation, ...]]:
    """Those that were adopted with this --config, and the others."""
    mine = tuple(one for one in generations if one.config in ("", str(path)))
    return mine, tuple(one for one in generations if one not in mine)


def _configs(generations: tuple[Generation, ...]) -> list[str]:
    return [f"--config {config}" for config in sorted({one.config for one in generations})]


def _diff(done: Plan) -> str:
    before = {path: content or b"" for path, content in done.before.items()}
    after = {path: content or b"" for path, content in done.after.items()}
    return edits.diff(before, after, done.read)


def _carry_out(done: Plan, host: Live, ledger: Journal, reload: bool, voice: Voice) -> int:
    for path in done.after:
        replace.clean(Path(path).parent)
        replace.check(Path(path))
    changes = transaction.changes(ledger, done.before, done.after)
    running = reload and host.service.pid != 0
    what = Transaction(
        journal.REVERT, changes, done.vips, done.adopted, journal.FORWARD, running, str(host.config)
    )
    outcome = transaction.run(ledger, host, what)
    if outcome.done:
        voice.say("reverted" if running else "reverted; keepalived was not reloaded")
    return tell(voice, outcome)


def plan(path: Path, adopted: tuple[Generation, ...], ledger: Journal) -> Plan:
    """What is to be done: pure but for reading. Raises UserError where the ledger is damaged."""
    generations, others = _with(path, adopted)
    before = {c.path: replace.content(Path(c.path)) for one in generations for c in one.changes}
    after, left = _undone(generations, ledger, before)
    files = Disk(ROOT)
    document = keepalived.read_from(files, str(path))
    if not document.files:
        raise UserError("; ".join(map(str, document.problems)))
    changed = {name: content for name, content in after.items() if content is not None}
    then = keepalived.read_from(Overlay(files, changed), str(path))
    places, now = _places(then), _places(document)
    first = keepalived.read_from(Overlay(files, _first(generations, ledger)), str(path))
    conflicts = []
    for key, message in _conflicts(generations, places, _places(first)):
        where, line, _ = now.get(key, places[key])  # as the file is now
        conflicts.append(Problem(where, line, message))
    vips = tuple(Vip(*key, now[key][2], place[2]) for key, place in places.items() if key in now)
    used = {place[2] for place in places.values()}
    used |= {vip.after for one in others for vip in one.vips}
    kept = {
        change.path
        for one in generations
        for change in one.changes
        if change.old is None and used & {vip.after for vip in one.vips}
    }
    wanted = {name: content for name, content in after.items() if name not in kept}
    there = {name: before[name] for name in wanted}
    notes = tuple(_notes({**before, **after}, left))
    read = dict(document.files)
    return Plan(there, wanted, vips, tuple(sorted(conflicts)), notes, others, read)


def _undone(
    generations: tuple[Generation, ...], ledger: Journal, before: dict[str, bytes | None]
) -> tuple[dict[str, bytes | None], set[tuple[str, bytes]]]:
    """Every file with the edits taken back, the last ones first; those that change alone. And the pins left."""
    found = dict(before)
    left: set[tuple[str, bytes]] = set()
    for generation in reversed(generations):
        for change in generation.changes:
            now = found[change.path]
            old, new = ledger.content(change.old), ledger.content(change.new)
            if now is None:
                continue
            if old is None:
                found[change.path] = None if now == new else now  # a conf that nobody has changed
            elif new is not None:
                found[change.path] = undo(old, new, now)
                left |= {(change.path, pin) for pin in unsure(old, new, now)}
    return {path: content for path, content in found.items() if content != before[path]}, left


def _notes(files: dict[str, bytes | None], left: set[tuple[str, bytes]]) -> Iterator[Problem]:
    """Where the pins that are left will be."""
    for path, pin in sorted(left):
        for number, line in enumerate(edits.lines(files[path] or b""), 1):
            if line == pin:
                text = pin.decode(errors="replace").strip()
                message = f"{text} stays, for it may be yours; take it out if it is adopt's"
                yield Problem(path, number, message)


def _first(generations: tuple[Generation, ...], ledger: Journal) -> dict[str, bytes]:
    """The files as they were before the first adopt."""
    found = {}
    for generation in reversed(generations):
        for change in generation.changes:
            if (old := ledger.content(change.old)) is not None:
                found[change.path] = old
    return found


def _places(document: Document) -> _Places:
    """Instance and address to file, line and device, of all that is certain."""
    found = {}
    for instance in document.model.instances:
        for vip in instance.vips:
            device = vip.device or instance.interface
            if vip.valid and vip.certain and device is not None and device.certain:
                word = vip.statement.words[0]
                key = (instance.name.text, normal(vip))
                found[key] = (word.path, word.line, device.text)
    return found


def _conflicts(
    generations: tuple[Generation, ...], places: _Places, first: _Places
) -> Iterator[tuple[_Key, str]]:
    """What stays where adopt put VIPs, and was not there before: its line was changed or written since."""
    own = {(address, device) for (_, address), (_, _, device) in first.items()}
    vips = [vip for one in generations for vip in one.vips]
    moved = {(vip.address, vip.after): vip.before for vip in vips}
    for key, (_, _, device) in places.items():
        address = key[1]
        uplinks = sorted({vip.before for vip in vips if vip.after == device})
        if (address, device) in moved:
            yield (
                key,
                f"{address} is on {device} still, its line was changed since it was adopted;"
                f" write by hand what it should be: it was on {moved[address, device]}",
            )
        elif uplinks and (address, device) not in own:
            yield (
                key,
                f"{address} is on {device} still, its line was written since adopt put others there;"
                f" write by hand what it should be: those were on {' or '.join(uplinks)}",
            )
