# SPDX-License-Identifier: MIT
"""Files put in place on a running keepalived: all of them and proven, or none.

Each step is noted before it is taken, and can be taken again: a run that was killed is finished, or
taken back, by the next one. Whatever is in place in between, keepalived can start with it, since an
address line is right by itself and the dummies are made first.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from keepalived_dummy import guard, hold, proof, retreat
from keepalived_dummy.errors import UserError
from keepalived_dummy.hold import Held
from keepalived_dummy.journal import ADOPT, BACK, REVERT, Change, Journal, Transaction
from keepalived_dummy.proof import Picture
from keepalived_dummy.replace import clean, content, put
from keepalived_dummy.retreat import Back
from keepalived_dummy.rewrite import Vip

PROOF_SECONDS = 20.0
_SECONDS_EACH = 0.02
_LOOK = 0.1
_SETTLED = 1.0

Signals = Collection[signal.Signals]


class Host(Protocol):
    """The world as a transaction needs it."""

    def picture(self, states: bool = True) -> Picture:
        """Where addresses are, and (`states`) what keepalived says."""

    def reload(self, running: bool) -> str:
        """Reload keepalived, or start it; what went wrong."""

    def apply(self, signals: Signals = ()) -> list[str]:
        """Make and wire the dummies as configured, and return what went wrong.

        It may wait for another run that does so; `signals` end that, though they are ignored.
        """

    def test(self, contents: Mapping[str, bytes]) -> list[str]:
        """What keepalived has against these contents of files and not against those in place."""

    def holds(self, vips: tuple[Vip, ...], before: Picture) -> list[Held]:
        """What is to be held during the move to what the files say now."""


@dataclass
class Outcome:
    """Lines for people, and whether it was done. `shown`: that keepalived has taken it."""

    done: bool = True
    said: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    shown: bool = False


def changes(
    journal: Journal, before: Mapping[str, bytes | None], after: Mapping[str, bytes | None]
) -> tuple[Change, ...]:
    """What changes, its contents kept. Raises OSError where they can't be."""
    made = (
        Change(path, journal.keep(before.get(path)), journal.keep(new))
        for path, new in after.items()
    )
    return tuple(made)


def run(journal: Journal, host: Host, transaction: Transaction) -> Outcome:
    """Take the transaction forward; back where that fails. A file that is not as it was planned from is left at once."""
    changed = [
        change.path
        for change in transaction.changes
        if content(Path(change.path)) != journal.content(change.old)
    ]
    if changed:
        again = "was changed meanwhile; nothing is changed, run this again"
        return Outcome(False, wrong=[f"{path} {again}" for path in changed])
    return _run(journal, host, transaction)


def _run(journal: Journal, host: Host, transaction: Transaction) -> Outcome:
    outcome = Outcome()
    with _interruptible() as deafen, contextlib.ExitStack() as guarded:
        move = _Move(guarded)
        try:
            journal.begin(transaction)
            before = move.before = host.picture() if transaction.reload else None
            if before is not None and before.pid and before.states is None:
                outcome.said.append(
                    "keepalived does not tell its state: proven by the addresses alone"
                )
            outcome.said += _forward(journal, host, transaction, move)
            deafen()
            if move.before is not None:
                outcome.shown = proof.shows(move.before, transaction.vips)
        except (UserError, OSError, KeyboardInterrupt) as error:
            move.ignored = deafen()
            outcome.wrong.append(_text(error))
            _give_up(host, transaction, move)
            given_up = _back(journal, host, transaction, move, outcome)
            _let_go(host, transaction, move, given_up, outcome)
        else:
            try:
                journal.end(transaction.then)
            except OSError as error:
                outcome.done = False
                again = "all is in place, but not noted: run this again"
                outcome.wrong.append(f"{_text(error)}; {again}")
    return outcome


@contextlib.contextmanager
def _interruptible() -> Iterator[Callable[[], Signals]]:
    """A signal that would end this process interrupts it instead, once; yields what has them all ignored.

    That returns which they are. One that is ignored already stays so, as under nohup(1).
    """
    deaf = False

    def interrupt(*_: object) -> None:
        nonlocal deaf
        if not deaf:
            deaf = True
            raise KeyboardInterrupt

    def deafen() -> Signals:
        nonlocal deaf
        deaf = True
        for number in former:
            signal.signal(number, signal.SIG_IGN)  # for what is run from here on as well
        return tuple(former)

    found = {number: signal.getsignal(number) for number in guard.SIGNALS}
    former = {number: how for number, how in found.items() if how not in (signal.SIG_IGN, None)}
    for number in former:
        signal.signal(number, interrupt)
    try:
        yield deafen
    finally:
        for number, how in former.items():
            signal.signal(number, how)


def recover(journal: Journal, host: Host) -> Outcome | None:
    """Finish, or take back, what a run that was killed left; None where there is nothing."""
    left = journal.under_way()
    if left is None:
        return None
    for path in {Path(change.path).parent for change in left.changes}:
        clean(path)
    if left.direction == BACK:
        outcome = Outcome(said=[f"an interrupted {left.kind} is taken back"])
        with _interruptible() as deafen, contextlib.ExitStack() as guarded:
            move = _Move(guarded, ignored=deafen())
            move.before = host.picture(False) if left.reload else None
            _back(journal, host, left, move, outcome)
        outcome.done = not outcome.wrong
        return outcome
    outcome = _run(
        journal, host, replace(left, reload=left.reload and host.picture(False).pid != 0)
    )
    outcome.said.insert(0, f"an interrupted {left.kind} is finished first")
    return outcome


def _text(error: UserError | OSError | KeyboardInterrupt) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return retreat.text(error) if isinstance(error, OSError) else str(error)


@dataclass
class _Move:
    """What is held while keepalived moves it, and who is to be told when that is over.

    `before`: the host, looked at last right before the reload. `asked`: keepalived was to reload, so it may have
    taken what is held. `ignored`: the signals that are, once all is taken back.
    """

    guarded: contextlib.ExitStack
    before: Picture | None = None
    held: list[Held] = field(default_factory=list)
    asked: bool = False
    ignored: Signals = ()


def _forward(journal: Journal, host: Host, what: Transaction, move: _Move) -> list[str]:
    """All steps; returns what is worth knowing. Raises UserError or OSError where one fails."""
    for change in what.changes:
        if change.old is None:
            _put(journal, change)
    if what.kind == ADOPT:
        _apply(host)  # keepalived ends where a device is not there
    changed = [change for change in what.changes if None not in (change.old, change.new)]
    if wrong := host.test({change.path: journal.content(change.new) or b"" for change in changed}):
        raise UserError("keepalived -t refuses the result: " + "; ".join(wrong[:5]))
    for change in changed:
        _put(journal, change)
    if what.kind == ADOPT:
        _apply(host)  # the uplinks of a dummy are known from keepalived.conf
    if move.before is not None and move.before.pid:
        before = _look_again(host, what.vips, move, move.before)
        held = move.held = host.holds(what.vips, before)
        if held:
            move.guarded.enter_context(_guard(host, what.vips, before, held))
        hold.add(held)
        move.asked = True
        if failed := host.reload(True):
            raise UserError(f"keepalived can't be reloaded: {failed}")
        _prove(host, before, what.vips, held)
    for change in what.changes:
        if change.new is None:
            _put(journal, change)
    return [] if what.kind == ADOPT else host.apply()


def _look_again(host: Host, vips: tuple[Vip, ...], move: _Move, before: Picture) -> Picture:
    """The host seconds later: what was a MASTER's VIP may be another node's. Raises UserError where it is not as it was."""
    now = move.before = host.picture(before.states is not None)
    if wrong := proof.missing(before, now, proof.unmoved(before, vips)):
        raise UserError("before the reload: " + "; ".join(wrong[:5]))
    return now


def _guard(host: Host, vips: tuple[Vip, ...], before: Picture, held: list[Held]) -> guard.Guard:
    """Who keeps what keepalived has taken where we are killed; the rest goes by its lifetime."""

    left = set(held)

    def finish() -> bool:
        taken = hold.taken(left, vips, before, host.picture(before.states is not None))
        hold.keep(taken)
        left.difference_update(taken)
        return not left

    return guard.start(finish, hold.lifetime(held))


def _give_up(host: Host, what: Transaction, move: _Move) -> None:
    """Drop at once what another node holds by now: the way back may take long, and two nodes would answer."""
    if move.held and move.before is not None:
        now = _seen(host, move.before.states is not None)
        if now is None:  # what is held has a lifetime
            return
        lost = hold.lost(move.held, what.vips, now)
        hold.drop(lost)
        move.held = [one for one in move.held if one not in lost]


def _let_go(host: Host, what: Transaction, move: _Move, given_up: bool, outcome: Outcome) -> None:
    """Keep what keepalived has taken, unless it has given all that up; drop the rest."""
    taken: list[Held] = []
    before = move.before
    if before is not None and move.asked and not given_up and move.held:
        now = _seen(host, before.states is not None)
        if (
            now is None
        ):  # keepalived may have it: it stays for its lifetime, and none is taken from keepalived
            places = ", ".join(f"{one.address} on {one.device}" for one in move.held)
            outcome.wrong.append(f"it could not be seen whether keepalived has {places}")
            return
        taken = hold.taken(move.held, what.vips, before, now)
        hold.keep(taken)
    hold.drop(one for one in move.held if one not in taken)


def _seen(host: Host, states: bool) -> Picture | None:
    """The host now; None where it could not be read, which must not keep anything from being put back."""
    try:
        return host.picture(states)
    except OSError:
        return None


def _apply(host: Host) -> None:
    if problems := host.apply():
        raise UserError("; ".join(problems))


def _put(journal: Journal, change: Change) -> None:
    """From old to new; a file that is neither was changed meanwhile."""
    path = Path(change.path)
    now, new = content(path), journal.content(change.new)
    if now == new:
        return
    if now != journal.content(change.old):
        raise UserError(f"{path} was changed meanwhile")
    try:
        put(path, new)
    except OSError as error:  # a write's does not name the file
        raise UserError(f"{path}: {error.strerror or error}") from error


def _prove(host: Host, before: Picture, vips: tuple[Vip, ...], held: list[Held]) -> None:
    """Wait until all is as it should be, and see it so again a second later. Raises UserError."""

    def look() -> tuple[list[str], bool]:
        now = host.picture()
        return proof.missing(before, now, vips), proof.is_lost(before, now)

    wrong = _await(look, len(vips))
    if not wrong:
        hold.keep(held)
        time.sleep(_SETTLED)
        wrong = proof.missing(before, host.picture(), vips)
    if wrong:
        raise UserError("after the reload: " + "; ".join(wrong[:5]))


def _await(look: Callable[[], tuple[list[str], bool]], addresses: int) -> list[str]:
    """What is still wrong after PROOF_SECONDS, and as much as this many addresses may take; at once where it will stay so."""
    end = time.monotonic() + PROOF_SECONDS + addresses * _SECONDS_EACH
    while True:
        try:
            wrong, stays = look()
        except OSError as error:  # it may be read the next time
            wrong, stays = [f"it could not be seen: {_text(error)}"], False
        if not wrong or stays or time.monotonic() > end:
            return wrong
        time.sleep(_LOOK)


def _back(journal: Journal, host: Host, what: Transaction, move: _Move, outcome: Outcome) -> bool:
    """Put back what was put in place, have keepalived take it, and say what became of it; whether that was all.

    A file that was edited since, and a keepalived that does not reload, may still name a dummy of an adopt:
    then its conf stays, for keepalived ends where a device is not there, and what is left counts as adopted,
    for revert to take back. Signals are ignored, but for one thing: they end the wait for another run of apply.
    """
    outcome.done = False
    before = move.before
    with contextlib.suppress(OSError):  # no room: the next run tries forward first
        journal.begin(replace(what, direction=BACK))
    back = Back(outcome.said, outcome.wrong)
    retreat.put_back(journal, what, back)
    if what.direction == BACK and before is not None and before.pid:
        back.restored = True  # by the run that was killed, before it could reload
    if back.restored and what.kind == REVERT:
        outcome.wrong += _made(host, move.ignored)
    if back.restored and what.reload:
        reloaded = _return(host, what, before if back.is_whole else None, outcome)
        back.left |= not reloaded
    if back.is_whole:
        retreat.remove_confs(journal, what, back)
    if back.restored:
        outcome.wrong += _made(host, move.ignored)
    retreat.end(journal, what, back)
    return back.is_whole


def _made(host: Host, ignored: Signals) -> list[str]:
    try:
        return host.apply(ignored)
    except (UserError, OSError) as error:  # another run holds the lock, or the terminal is gone
        return [_text(error)]


def _return(host: Host, what: Transaction, before: Picture | None, outcome: Outcome) -> bool:
    """Have keepalived take what was put back, and see it where `before` is given; whether it was reloaded."""
    now = _seen(host, False)
    if wrong := host.reload(now is None or now.pid != 0):
        outcome.wrong.append(f"keepalived can't be reloaded: {wrong}")
        return False
    if before is None:
        outcome.said.append("keepalived was reloaded")
        return True
    vips = what.vips

    def look() -> tuple[list[str], bool]:
        return proof.returned(before, host.picture(False), vips), False

    if wrong_places := _await(look, len(vips)):
        outcome.wrong += [f"after putting back: {line}" for line in wrong_places]
    else:
        outcome.said.append(
            "keepalived has the former configuration again, every VIP is where it was"
        )
    return True
