# SPDX-License-Identifier: MIT
"""What the reader gives: words with their place, statements with their blocks, and their building."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from keepalived_dummy.errors import Problem


class Word(NamedTuple):
    """A word as keepalived reads it, and where it comes from.

    Bytes `column` to `end` (from 1, `end` not included) of the line hold it, quotes included.
    `certain`: this is surely what keepalived reads. `origin`: why it does not stand in the file
    just so ($NAME, ~SEQ, @id, ...); empty where it does, and an editor may replace these bytes. A
    word that is not `literal` has the place of the whole line it comes from. A tuple, not a
    dataclass, for the sake of files with a hundred thousand of them.
    """

    text: str
    path: str
    line: int
    column: int
    end: int
    certain: bool = True
    origin: str = ""

    @property
    def literal(self) -> bool:
        """Whether these bytes stand so in the file, under no condition."""
        return not self.origin

    @property
    def where(self) -> str:
        """FILE:LINE."""
        return f"{self.path}:{self.line}"


Condition = tuple[bool, bytes] | None  # negated, id


class Statement(NamedTuple):
    """A line's words, and the block that follows them, if one does.

    `opened` and `closed` are the braces; `closed` is None too where the file ends before.
    """

    words: tuple[Word, ...]
    children: tuple[Statement, ...] = ()
    opened: Word | None = None
    closed: Word | None = None
    condition: Condition = None

    @property
    def keyword(self) -> str:
        """The first word; empty for a block without one."""
        return self.words[0].text if self.words else ""

    @property
    def certain(self) -> bool:
        """Whether every word is surely what keepalived reads."""
        return all(word.certain for word in self.words)

    @property
    def literal(self) -> bool:
        """Whether every word stands so in the file, under no condition."""
        return all(word.literal for word in self.words)

    def find(self, keyword: str) -> Iterator[Statement]:
        """The statements of the block with this keyword."""
        return (child for child in self.children if child.words and child.words[0].text == keyword)


@dataclass
class _Block:
    """A block that is open. Several headers: lines of conditions that exclude each other."""

    headers: list[Statement]
    opened: Word | None = None
    conditions: list[Condition] = field(default_factory=list)
    children: list[Statement] = field(default_factory=list)
    doubt: str = ""


@dataclass
class Builder:
    """Puts words and braces together to a tree, in the order in which keepalived reads them."""

    problems: list[Problem]
    blocks: list[_Block] = field(default_factory=lambda: [_Block([])])
    closing: list[Condition] = field(default_factory=list)

    def words(self, words: tuple[Word, ...], condition: Condition) -> None:
        """A statement, so far without a block."""
        self.closing = []
        block = self.blocks[-1]
        if block.doubt:
            words = tuple(doubted(word, block.doubt) for word in words)
        block.children.append(Statement(words, condition=condition))

    def open(self, brace: Word, condition: Condition) -> None:
        """An opening brace: a block of the statement before it."""
        self.closing = []
        parent = self.blocks[-1]
        last = parent.children[-1] if parent.children else None
        if last is None or last.opened is not None:
            self.wrong(brace, "a block without a word before it; keepalived ignores this brace")
            self.blocks.append(_Block([], brace, [condition]))
            return
        parent.children.pop()
        if not parent.children and parent.opened and _excluded(condition, parent.conditions):
            parent.headers.append(last)  # the other half of @id NAME { and @^id NAME {
            parent.conditions.append(condition)
            return
        headers = [last]
        while condition is None and last.condition and parent.children:
            before = parent.children[-1]
            if before.opened or not _excluded(before.condition, [h.condition for h in headers]):
                break
            headers.insert(0, parent.children.pop())
        doubt = next((w.origin for h in headers for w in h.words if not w.certain), "")
        self.blocks.append(_Block(headers, brace, [condition], doubt=doubt))

    def close(self, brace: Word, condition: Condition) -> None:
        """A closing brace."""
        if self.closing and _excluded(condition, self.closing):
            self.closing.append(condition)
            return
        self.closing = [condition] if condition else []
        if len(self.blocks) == 1:
            self.wrong(brace, "a closing brace without an open one")
            return
        block = self.blocks[-1]
        if len(block.conditions) == 1 and block.conditions[0] != condition and block.opened:
            where = f"{block.opened.path}:{block.opened.line}"
            self.wrong(brace, f"this brace and the one at {where} are not under the same condition")
        self._end(brace)

    def finish(self) -> tuple[Statement, ...]:
        """The whole; what is still open is a problem at its brace."""
        for block in self.blocks[1:]:
            if block.opened:
                self.wrong(block.opened, "this brace is never closed")
        while len(self.blocks) > 1:
            self._end(None)
        return tuple(self.blocks[0].children)

    def wrong(self, word: Word, message: str) -> None:
        self.problems.append(Problem(word.path, word.line, message))

    def _end(self, brace: Word | None) -> None:
        block = self.blocks.pop()
        children = tuple(block.children)
        for header in block.headers or [Statement(())]:
            done = header._replace(children=children, opened=block.opened, closed=brace)
            self.blocks[-1].children.append(done)


def doubted(word: Word, doubt: str) -> Word:
    """The word, marked as one that keepalived may read otherwise or not at all."""
    if not word.certain:
        return word
    return word._replace(certain=False, origin=f"{word.origin}; {doubt}" if word.origin else doubt)


def _excluded(condition: Condition, others: list[Condition]) -> bool:
    """Whether a condition holds only where none of the others does."""
    return condition is not None and all(
        other is not None
        and (
            (condition[1] == other[1] and condition[0] != other[0])
            or (condition[1] != other[1] and not condition[0] and not other[0])
        )
        for other in others
    )
