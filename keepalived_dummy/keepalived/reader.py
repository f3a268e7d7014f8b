# SPDX-License-Identifier: MIT
"""Reads keepalived.conf and all it includes into statements; as read_line() in lib/parser.c does.

Lines come from the files, and before those from what is being repeated: the further lines of a
definition, the rounds of a ~SEQ or ~LST. Nothing raises: what is wrong becomes a Problem.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from keepalived_dummy.errors import Problem
from keepalived_dummy.keepalived.document import Builder, Condition, Statement, Word
from keepalived_dummy.keepalived.expand import Definition, Repetition, expand, repetition
from keepalived_dummy.keepalived.includes import Files, find, wild
from keepalived_dummy.keepalived.tokens import (
    CONDITION,
    DEFINITION,
    INCLUDE,
    LONGEST,
    REPEAT,
    WORDS,
    Chunk,
    body,
    chunks,
)

MAX_FILES = 4096
MAX_DEPTH = 64
MAX_REPEATED = 100_000  # lines made by definitions, ~SEQ and ~LST
MAX_PROBLEMS = 1000

# A line without any of these is words and braces alone.
_SPECIAL = re.compile(rb"[$@~\\\0]|include")
_BRACES = re.compile(rb'[{}]|"[^"]*"|"')
_ESCAPES = re.compile(rb'(\\[#!])|\\.|"(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.DOTALL)


class Line(NamedTuple):
    """A line, or the rest of one, on its way to words.

    `start` and `end` are its bytes (from 0) in the line of the file it comes from; `exact`: it
    stands there so, byte for byte.
    """

    text: bytes
    path: str
    number: int
    start: int
    end: int
    exact: bool = True
    doubt: str = ""
    origin: str = ""
    condition: Condition = None
    top: bool = True  # where keepalived looks for an include: at the beginning of a file's line


@dataclass
class _File:
    """A file that is being read, or to be read next."""

    path: str
    named: Line | None
    inside: tuple[str, ...]
    real: str = ""
    lines: Iterator[Chunk] | None = None

    @property
    def doubt(self) -> str:
        """Why keepalived may not read this file: as for the line that includes it."""
        return (self.named.doubt or self.named.origin) if self.named else ""


@dataclass
class Reader:
    """The state of reading: what is found so far, and where the next line comes from."""

    files: Files
    problems: list[Problem] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)
    looked: set[str] = field(default_factory=set)
    definitions: dict[bytes, Definition] = field(default_factory=dict)
    stack: list[_File] = field(default_factory=list)
    repeating: list[Iterator[Line]] = field(default_factory=list)
    defining: tuple[bytes, Definition] | None = None
    repeated: int = 0
    opened: int = 0

    def __post_init__(self) -> None:
        self.builder = Builder(self.problems)

    def run(self, path: str) -> tuple[Statement, ...]:
        """Read it all."""
        self.include(path, None, "/")
        while self.stack:
            file = self.stack[-1]
            if file.lines is None and not self.enter(file):
                self.stack.pop()
                continue
            chunk = next(file.lines, None) if file.lines else None
            if chunk is None:
                self.stack.pop()
                continue
            self.chunk(file, chunk)
            while self.repeating:
                line = next(self.repeating[-1], None)
                if line is None:
                    self.repeating.pop()
                elif self.may_repeat(line):
                    self.line(line)
        statements = self.builder.finish()
        if len(self.problems) > MAX_PROBLEMS:
            del self.problems[MAX_PROBLEMS:]
            self.problems.append(Problem(path, 0, "more is wrong than is shown here"))
        return statements

    def wrong(self, line: Line, message: str) -> None:
        self.problems.append(Problem(line.path, line.number, message))

    def may_repeat(self, line: Line) -> bool:
        self.repeated += 1
        if self.repeated > MAX_REPEATED:
            self.repeating.clear()
            if self.repeated == MAX_REPEATED + 1:
                self.wrong(line, f"definitions make more than {MAX_REPEATED} lines of it; left out")
        return self.repeated <= MAX_REPEATED

    # Files

    def include(self, pattern: str, named: Line | None, folder: str) -> None:
        """Put the files that a pattern names on the stack, the first one on top."""
        found = find(self.files, folder, pattern)
        self.looked |= found.looked
        path, number = (named.path, named.number) if named else (pattern, 0)
        for missing in found.missing:
            what = "no file matches" if wild(missing) else "there is no such file"
            self.problems.append(Problem(path, number, f"{ascii(missing)[1:-1]}: {what}"))
        inside = (*self.stack[-1].inside, self.stack[-1].real) if self.stack else ()
        self.stack += [_File(name, named, inside) for name in reversed(found.paths)]

    def enter(self, file: _File) -> bool:
        """Begin to read a file; False where it can't be read."""
        shown = file.named or Line(b"", file.path, 0, 0, 0)
        self.opened += 1
        try:
            file.real, links = self.files.real(file.path)
            self.looked |= {file.real, *links}
            if file.real in file.inside:
                self.wrong(shown, f"{file.path} includes itself")
                return False
            if len(file.inside) >= MAX_DEPTH or self.opened > MAX_FILES:
                if self.opened <= MAX_FILES + 1:
                    self.wrong(shown, f"{file.path}: more files than this reads")
                return False
            if file.path not in self.contents:
                self.contents[file.path] = self.files.read(file.path)
        except OSError as error:
            self.wrong(shown, f"{file.path} cannot be read: {error.strerror or error}")
            return False
        file.lines = chunks(self.contents[file.path])
        return True

    # Lines

    def chunk(self, file: _File, chunk: Chunk) -> None:
        """A line of a file, as it comes from there."""
        text = chunk.text
        start, end = body(text)
        if self.defining and not text.rstrip(b"\r\n"):
            self.defining = None
        if start == end and b"\0" not in text:
            return
        doubt = file.doubt
        if chunk.cut or chunk.offset or b"\0" in text or self.defining or _SPECIAL.search(text):
            offset = chunk.offset
            line = Line(
                text[start:end], file.path, chunk.line, offset + start, offset + end, doubt=doubt
            )
            self.odd(chunk, line)
            return
        self.plain(
            Line(text[start:end], file.path, chunk.line, start, end, doubt=doubt, origin=doubt)
        )

    def odd(self, chunk: Chunk, line: Line) -> None:
        """A line of a file with more to it than words and braces."""
        if b"\0" in chunk.text:
            self.wrong(line, "a line with a NUL, which keepalived does not read")
            return
        if chunk.cut or chunk.offset:
            doubt = f"a line of more than {LONGEST - 1} bytes, which keepalived takes for several"
            if not chunk.offset:
                self.wrong(line, doubt)
            line = line._replace(doubt=line.doubt or doubt)
        plain = _ESCAPES.sub(lambda m: m[1][1:] if m[1] else m[0], line.text)
        if plain != line.text:
            line = line._replace(text=plain, exact=False, origin="an escaped ! or #")
        if line.doubt:
            line = line._replace(origin=line.doubt)
        self.line(line)

    def line(self, line: Line) -> None:
        """A line from wherever: conditions, definitions, repetitions, variables, then words."""
        if self.defining:
            self.define_more(line)
            return
        rest: Line | None = line
        while rest is not None and rest.text:
            rest = self.directive(rest)

    def directive(self, line: Line) -> Line | None:
        """What stands at the beginning of a line; returns what is still to be read of it."""
        conditional = self.conditional(line)
        if conditional is None:
            return None
        line = conditional
        if found := DEFINITION.match(line.text):
            self.define(found[1], line._replace(text=line.text[found.end() :]))
            return None
        if REPEAT.match(line.text):
            self.repeat(line)
            return None
        if b"$" in line.text and not line.text.startswith(b"~"):
            expanded = self.expand(line)
            if not expanded.text:
                return None
            if expanded.text[:1] == b"@" and line.text[:1] != b"@":
                # up to 2.2 keepalived goes by such a condition, later it does not
                again = self.conditional(expanded)
                if again is None:
                    return None
                expanded = again
            line = expanded
        if found := INCLUDE.match(line.text):
            self.follow(line, line.text[found.end() :])
            return None
        return self.statement(line)

    def conditional(self, line: Line) -> Line | None:
        """The line without its @id; None where it has nothing else."""
        found = CONDITION.match(line.text)
        if not found:
            return line
        if found.end() == len(line.text):
            return None
        after = line.text[found.end() :].lstrip(b" \t")
        doubt = f"under the condition {_text(found[0])}"
        return line._replace(
            text=after,
            start=line.start + (len(line.text) - len(after)) * line.exact,
            doubt="; ".join(filter(None, (line.doubt, doubt))),
            origin="; ".join(filter(None, (line.origin, doubt))),
            condition=(bool(found[1]), found[2]),
            top=False,
        )

    # Definitions

    def define(self, name: bytes, line: Line) -> None:
        value = line.text.lstrip(b" \t")
        where = f"{line.path}:{line.number}"
        goes_on = value.endswith(b"\\")
        if goes_on:
            value = value[:-1].rstrip(b" \t")
        lines = (value,) if value or not goes_on else ()
        made = Definition(lines or (b"",), where, line.doubt, goes_on)
        self.definitions[name] = made
        if goes_on:
            self.defining = (name, Definition(lines, where, line.doubt, True))
            if line.condition:
                self.wrong(line, "a definition of several lines, with a condition before the first")

    def define_more(self, line: Line) -> None:
        """A further line of a definition of several."""
        assert self.defining is not None
        name, made = self.defining
        goes_on = line.text.endswith(b"\\")
        value = line.text[:-1].rstrip(b" \t") if goes_on else line.text
        lines = made.lines + ((value,) if value else ())
        made = Definition(lines, made.where, made.doubt or line.doubt, True)
        self.definitions[name] = Definition(lines or (b"",), made.where, made.doubt, bool(lines))
        self.defining = (name, made) if goes_on else None

    def expand(self, line: Line) -> Line:
        """The line with its variables replaced; what else they stand for is to be repeated."""
        done = expand(line.text, self.definitions)
        if done.problem:
            self.wrong(line, done.problem)
        text = done.text
        if done.origin or text != line.text:
            start, end = body(text)  # keepalived looks for comments again
            text = text[start:end]
        changed = line._replace(
            text=text,
            exact=line.exact and text == line.text,
            doubt="; ".join(filter(None, (line.doubt, done.doubt))),
            origin="; ".join(filter(None, (line.origin, done.origin, done.doubt))),
            top=False,
        )
        for lines in done.more:
            self.repeating.append(_lines(lines, changed._replace(exact=False)))
        return changed

    def repeat(self, line: Line) -> None:
        """A ~SEQ or ~LST."""
        try:
            made, doubt = repetition(line.text, self.definitions)
        except ValueError as error:
            self.wrong(line, f"{_text(line.text)[:40]}: {error}")
            return
        origin = f"made by {_text(line.text[:4])} at {line.path}:{line.number}"
        line = line._replace(
            exact=False,
            doubt="; ".join(filter(None, (line.doubt, doubt))),
            origin="; ".join(filter(None, (line.origin, origin, doubt))),
            top=False,
        )
        self.repeating.append(self.rounds(made, line))

    def rounds(self, made: Repetition, line: Line) -> Iterator[Line]:
        """The text of a repetition, time by time, its variables set before each."""
        where = f"{line.path}:{line.number}"
        for values in made.rounds():
            for name, value in zip(made.names, values, strict=True):
                self.definitions[name] = Definition((value,), where, line.doubt)
            yield line._replace(text=made.text, condition=None)

    # Includes

    def follow(self, line: Line, pattern: bytes) -> None:
        """An include."""
        if not line.top:
            wrong = (
                "keepalived follows no include with a condition, a variable or a brace before it"
            )
            self.wrong(line, wrong)
            line = line._replace(doubt=line.doubt or wrong)
        self.include(_text(pattern), line, posixpath.dirname(self.stack[-1].path))

    # Statements

    def statement(self, line: Line) -> Line | None:
        """The words up to the first brace, or the brace; returns what comes after."""
        text = line.text
        brace = next((m for m in _BRACES.finditer(text) if m[0] in (b"{", b"}", b'"')), None)
        at = brace.start() if brace and brace[0] != b'"' else len(text)
        if at == len(text) and (at - len(text.rstrip(b"\\"))) % 2:
            wrong = "a backslash at the end of a line that is no definition joins nothing"
            self.wrong(line, wrong)
            line = line._replace(doubt=line.doubt or wrong, origin=line.origin or wrong)
        if at:
            self.plain(line._replace(text=text[:at]))
            if text[at - 1 : at + 1] == b"${":
                self.wrong(line, "${ of what is not defined: keepalived reads { as a block's")
        elif at < len(text):
            self.plain(line._replace(text=text[:1]))
        else:
            return None
        rest = text[at or 1 :].lstrip(b" \t")
        if not rest:
            return None
        moved = (len(text) - len(rest)) * line.exact
        return line._replace(text=rest, start=line.start + moved, top=False)

    def plain(self, line: Line) -> None:
        """Words and braces."""
        text, path, number, start, end, exact, doubt, origin, condition, _ = line
        certain = not doubt
        words: list[Word] = []
        for found in WORDS.finditer(text):
            raw: bytes = found[0]
            if exact:
                first, last = found.span()
                span = (start + first + 1, start + last + 1)
            else:
                span = (start + 1, end + 1)
            if raw == b'"':
                self.wrong(line, "a quote that does not end in its line; the rest is not read")
                break
            if raw[0] == 34:
                raw = raw[1:-1]
            elif raw in (b"{", b"}"):
                if words:
                    self.builder.words(tuple(words), condition)
                    words = []
                brace = Word(raw.decode(), path, number, *span, certain, origin)
                if raw == b"{":
                    self.builder.open(brace, condition)
                else:
                    self.builder.close(brace, condition)
                continue
            words.append(Word(_text(raw), path, number, *span, certain, origin))
        if words:
            self.builder.words(tuple(words), condition)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _lines(texts: tuple[bytes, ...], line: Line) -> Iterator[Line]:
    for text in texts:
        yield line._replace(text=text, condition=None)
