# SPDX-License-Identifier: MIT
"""Reads keepalived.conf and all it includes into statements; as read_line() in lib/parser.c does.

Nothing raises: what is wrong becomes a Problem.
"""

from __future__ import annotations

import re

from keepalived_dummy.errors import Problem
from keepalived_dummy.keepalived.definitions import Definitions
from keepalived_dummy.keepalived.document import Builder, Statement, Word
from keepalived_dummy.keepalived.includes import Files
from keepalived_dummy.keepalived.line import BACKSLASH, Line, decoded, shown, unescaped
from keepalived_dummy.keepalived.stack import OpenFile, Stack
from keepalived_dummy.keepalived.tokens import (
    CONDITION,
    DEFINITION,
    INCLUDE,
    LONGEST,
    REPEAT,
    WORDS,
    Chunk,
    body,
    keeps_backslash,
)

MAX_PROBLEMS = 1000

# A line without any of these is words and braces alone.
_SPECIAL = re.compile(rb"[$@~\\\0]|include")
_BRACES = re.compile(rb'[{}]|"[^"]*"|"')

_CUT = f"a line of more than {LONGEST - 1} bytes, which keepalived takes for several"
_NUL = "a line with a NUL, which keepalived does not read"


class Reader:
    """The state of reading: what is found so far, and where the next line comes from."""

    def __init__(self, files: Files) -> None:
        self.problems: list[Problem] = []
        self.stack = Stack(files, self.problems)
        self.definitions = Definitions(self.problems)
        self.builder = Builder(self.problems)

    def run(self, path: str) -> tuple[Statement, ...]:
        """Read it all."""
        self.stack.include(path, None)
        for file, chunk in self.stack.lines():
            self.chunk(file, chunk)
            for line in self.definitions.lines():
                self.line(line)
        statements = self.builder.finish()
        if len(self.problems) > MAX_PROBLEMS:
            del self.problems[MAX_PROBLEMS:]
            self.problems.append(Problem(path, 0, "more is wrong than is shown here"))
        return statements

    def chunk(self, file: OpenFile, chunk: Chunk) -> None:
        """A line of a file, as it comes from there."""
        text, number, offset, cut = chunk
        start, end = body(text)
        if self.definitions.growing and not text.rstrip(b"\r\n"):
            self.definitions.end()
        first, last = offset + start, offset + end
        doubt = file.doubt
        line = Line(text[start:end], file.path, number, first, last, True, doubt, doubt)
        if keeps_backslash(text, end):
            line = self.definitions.keep_backslash(line)
        if cut or offset or b"\0" in text:
            self.odd(line, chunk)
        elif start != end:
            if self.definitions.growing or _SPECIAL.search(line.text):
                self.line(unescaped(line))
            else:
                self.words(line)

    def odd(self, line: Line, chunk: Chunk) -> None:
        """A line that keepalived does not read as it stands, or not at all."""
        if chunk.cut and not chunk.offset:
            self.problems.append(line.problem(_CUT))
        if b"\0" in chunk.text:
            self.problems.append(line.problem(_NUL))
        elif line.text:
            self.line(unescaped(line.noted("", _CUT)._replace(top=False)))

    def line(self, line: Line) -> None:
        """A line from wherever, to its end."""
        if self.definitions.growing:
            self.definitions.grow(line)
            return
        rest: Line | None = line
        while rest is not None and rest.text:
            rest = self.directive(rest)

    def directive(self, line: Line) -> Line | None:
        """What stands at the beginning of a line; returns what is still to be read of it."""
        reached = _conditional(line)
        if reached is None:
            return None
        line = reached
        if found := DEFINITION.match(line.text):
            self.definitions.define(found[1], line._replace(text=line.text[found.end() :]))
            return None
        if REPEAT.match(line.text):
            self.definitions.repeat(line)
            return None
        if b"$" in line.text and not line.text.startswith(b"~"):
            line = self.definitions.expand(line)
            # up to 2.2 keepalived goes by a condition that comes from a variable, later it does not
            reached = _conditional(line)
            if reached is None or not reached.text:
                return None
            line = reached
        if found := INCLUDE.match(line.text):
            self.stack.include(decoded(line.text[found.end() :]), line)
            return None
        return self.statement(line)

    def statement(self, line: Line) -> Line | None:
        """The words up to the first brace, or the brace; returns what comes after."""
        text = line.text
        found = next((m for m in _BRACES.finditer(text) if m[0] in (b"{", b"}", b'"')), None)
        at = found.start() if found and found[0] != b'"' else len(text)
        if at == len(text) and (at - len(text.rstrip(b"\\"))) % 2:
            self.problems.append(line.problem(BACKSLASH))
            line = line.noted("", BACKSLASH)
        if text[max(at - 1, 0) : at + 1] == b"${":
            wrong = "the brace after a $ with no such definition: keepalived takes it for a block's"
            self.problems.append(line.problem(wrong))
        taken = at or 1
        self.words(line._replace(text=text[:taken]))
        rest = text[taken:].lstrip(b" \t")
        moved = (len(text) - len(rest)) * line.exact
        return line._replace(text=rest, start=line.start + moved, top=False)

    def words(self, line: Line) -> None:
        """Words and braces."""
        text, path, number, start, end, exact, doubt, origin, condition, _ = line
        certain = not doubt
        words: list[Word] = []
        for found in WORDS.finditer(text):
            raw: bytes = found[0]
            column, last = start + 1, end + 1
            if exact:
                column, last = start + found.start() + 1, start + found.end() + 1
            if raw == b'"':
                wrong = "a quote that does not end in its line; the rest is not read"
                self.problems.append(line.problem(wrong))
                break
            if raw in (b"{", b"}"):
                if words:
                    self.builder.words(tuple(words), condition)
                    words = []
                brace = Word(raw.decode(), path, number, column, last, certain, origin)
                (self.builder.open if raw == b"{" else self.builder.close)(brace, condition)
                continue
            if raw[0] == 34:
                raw = raw[1:-1]
            words.append(Word(decoded(raw), path, number, column, last, certain, origin))
        if words:
            self.builder.words(tuple(words), condition)


def _conditional(line: Line) -> Line | None:
    """The line without its @id; None where it has nothing else."""
    found = CONDITION.match(line.text)
    if not found:
        return line
    if found.end() == len(line.text):
        return None
    rest = line.text[found.end() :].lstrip(b" \t")
    moved = (len(line.text) - len(rest)) * line.exact
    line = line.noted("", f"under the condition {shown(found[0])}")
    condition = (bool(found[1]), found[2])
    return line._replace(text=rest, start=line.start + moved, condition=condition, top=False)
