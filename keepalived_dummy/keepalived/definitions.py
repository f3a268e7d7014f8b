# SPDX-License-Identifier: MIT
"""What lines define, and the lines that definitions, ~SEQ and ~LST make.

Those lines come before the next one of a file, the ones begun last first (read_line() in lib/parser.c).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from keepalived_dummy.errors import Problem
from keepalived_dummy.keepalived.expand import Definition, Repetition, expand, repetition
from keepalived_dummy.keepalived.line import KEPT, Line, shown, unescaped
from keepalived_dummy.keepalived.tokens import REPEAT, body, keeps_backslash
from keepalived_dummy.text import masked

MAX_REPEATED = 100_000
_REUSED = "a definition of several lines before"


@dataclass
class Definitions:
    """What is defined; `growing` is one of several lines whose end is still to come.

    `repeating`: lines that are being made, each with the definition they come from, if they do.
    """

    problems: list[Problem]
    known: dict[bytes, Definition] = field(default_factory=dict)
    growing: bytes | None = None
    repeating: list[tuple[bytes, Iterator[Line]]] = field(default_factory=list)
    repeated: int = 0

    def lines(self) -> Iterator[Line]:
        """What is to be read before the next line of a file; at most MAX_REPEATED in all."""
        while self.repeating:
            line = next(self.repeating[-1][1], None)
            if line is None:
                self.repeating.pop()
                continue
            self.repeated += 1
            if self.repeated > MAX_REPEATED:
                wrong = f"definitions make more than {MAX_REPEATED} lines; the rest is left out"
                self.problems.append(line.problem(wrong))
                self.repeating.clear()
                return
            yield line

    def define(self, name: bytes, line: Line) -> None:
        """$NAME= with the rest of its line as value."""
        value = line.text.lstrip(b" \t")
        self.known[name] = Definition((value,), line.where, line.doubt)
        self.growing = None
        if value.endswith(b"\\"):
            self.known[name] = Definition((), line.where, line.doubt, multiline=True)
            self.growing = name
            self.grow(line._replace(text=value))
            if line.condition:
                wrong = "a definition of several lines, with a condition before the first alone"
                self.problems.append(line.problem(wrong))

    def grow(self, line: Line) -> None:
        """A line of a definition of several."""
        assert self.growing is not None
        before = self.known[self.growing]
        goes_on = line.text.endswith(b"\\")
        value = line.text[:-1].rstrip(b" \t") if goes_on else line.text
        lines = before.lines + ((value,) if value else ())
        doubt = before.doubt or line.doubt
        multiline = goes_on or bool(before.lines)
        self.known[self.growing] = Definition(lines, before.where, doubt, multiline)
        if not goes_on:
            self.end()

    def end(self) -> None:
        """The definition of several lines is complete; without any it is an empty one."""
        if self.growing is not None and not self.known[self.growing].lines:
            made = self.known[self.growing]
            self.known[self.growing] = Definition((b"",), made.where, made.doubt)
        self.growing = None

    def keep_backslash(self, line: Line) -> Line:
        """The line with the backslash of its comment; where it is all that is left, a problem alone."""
        if line.text:
            return line._replace(text=line.text + b"\\", exact=False).noted("", KEPT)
        if self.growing is None:
            self.problems.append(line.problem(KEPT))
        return line

    def expand(self, line: Line) -> Line:
        """The line with its variables replaced; what more they stand for is to be read next."""
        done = expand(line.text, self.known)
        if done.problem:
            self.problems.append(line.problem(done.problem))
        changed = line._replace(top=False).noted(done.origin, done.doubt)
        if done.text != line.text:  # keepalived looks for comments again
            start, end = body(done.text)
            changed = changed._replace(text=done.text[start:end], exact=False)
            if keeps_backslash(done.text, end):
                changed = self.keep_backslash(changed)
            changed = unescaped(changed)
        inside = {name for name, _ in self.repeating}
        for name, lines in done.more:
            if name in inside:  # it would go on for ever
                wrong = f"${name.decode()} has itself in its value"
                self.problems.append(line.problem(wrong))
                changed = changed.noted("", wrong)
                continue
            self.repeating.append((name, _each(lines, changed)))
        return changed

    def repeat(self, line: Line) -> None:
        """A ~SEQ or ~LST: its lines are to be read next."""
        try:
            repeated, doubt = repetition(line.text, self.known)
        except ValueError as error:
            self.problems.append(line.problem(f"{masked(shown(line.text[:60]))}: {error}"))
            found = REPEAT.match(line.text)
            made = expand(found[0], self.known) if found else None
            if found and made and made.origin and made.doubt:  # it may do elsewhere
                rest = line.text[found.end() :].lstrip(b" \t")
                self.repeating.append((b"", _each((rest,), line.noted("", made.doubt))))
            return
        origin = f"made by {shown(line.text[:4])} at {line.where}"
        self.repeating.append((b"", self._rounds(repeated, line.noted(origin, doubt))))

    def _rounds(self, made: Repetition, line: Line) -> Iterator[Line]:
        """The text of a repetition, time by time, its variables set before each."""
        for values in made.rounds():
            for name, value in zip(made.names, values, strict=True):
                before = self.known.get(name)
                doubt = line.doubt
                if before and (before.multiline or before.doubt == _REUSED):
                    doubt = _REUSED  # keepalived goes on to take it for one of several lines
                self.known[name] = Definition((value,), line.where, doubt)
            yield line._replace(text=made.text, exact=False, condition=None, top=False)


def _each(texts: tuple[bytes, ...], line: Line) -> Iterator[Line]:
    for text in texts:
        yield line._replace(text=text, exact=False, condition=None)
