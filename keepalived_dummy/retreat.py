# SPDX-License-Identifier: MIT
"""The files of a transaction put back as they were: those that can be, what is left, and who goes on with that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keepalived_dummy.journal import ADOPT, Change, Journal, Transaction
from keepalived_dummy.replace import content, put

_LATER = "what is in place is left to the next adopt or revert: run it once this is mended"


@dataclass
class Back:
    """Lines for people, what is not right apart.

    `restored`: a file was put back. `left`: one was edited, or keepalived not reloaded. `stuck`: one could not be written.
    """

    said: list[str]
    wrong: list[str]
    restored: bool = False
    left: bool = False
    stuck: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether all is as it was."""
        return not (self.left or self.stuck)


def put_back(journal: Journal, what: Transaction, back: Back) -> None:
    """Every file that was changed, those first that are gone: a conf whose dummy the others name."""
    for change in sorted(what.changes, key=lambda change: change.new is not None):
        now = content(Path(change.path))
        if change.old is None or now == journal.content(change.old):
            continue
        if now == journal.content(change.new):
            _put(change, journal.content(change.old), back)
        else:
            back.wrong.append(f"{change.path} was changed meanwhile: not put back")
            back.left = True


def remove_confs(journal: Journal, what: Transaction, back: Back) -> None:
    """Those that were made and not edited since."""
    for change in what.changes:
        if change.old is None and content(Path(change.path)) == journal.content(change.new):
            _put(change, None, back)


def _put(change: Change, old: bytes | None, back: Back) -> None:
    done = "removed" if old is None else "put back"
    try:
        put(Path(change.path), old)
    except OSError as error:
        back.wrong.append(f"{change.path}: not {done}: {error.strerror or error}")
        back.stuck = True
    else:
        back.said.append(f"{change.path}: {done}")
        back.restored = True


def end(journal: Journal, what: Transaction, back: Back) -> None:
    """Note how it ended, and say who goes on where that is not the end."""
    if back.stuck:
        back.wrong.append(_LATER)
        return
    left = back.left and what.kind == ADOPT
    if left:
        back.wrong.append(
            "what is left of it counts as adopted: keepalived-dummy revert takes it back, or names"
            " the lines to mend by hand; adopt goes on from it"
        )
    try:
        journal.end(what.then if left else None)
    except OSError as error:
        back.wrong += [text(error), _LATER]


def text(error: OSError) -> str:
    """What went wrong, and with which file, where that is known."""
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"
