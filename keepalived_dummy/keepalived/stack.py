# SPDX-License-Identifier: MIT
"""The files that are being read: keepalived.conf, and on top of it what it includes."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field

from keepalived_dummy.errors import Problem
from keepalived_dummy.keepalived.includes import Files, find, wild
from keepalived_dummy.keepalived.line import Line, joined, shown
from keepalived_dummy.keepalived.tokens import Chunk, chunks

MAX_FILES = 4096
MAX_DEPTH = 64


@dataclass
class OpenFile:
    """A file that is being read, or to be read next; `named` is the line that includes it."""

    path: str
    named: Line | None
    inside: tuple[str, ...]
    real: str = ""
    lines: Iterator[Chunk] | None = None

    @property
    def doubt(self) -> str:
        """Why keepalived may not read this file."""
        return self.named.doubt if self.named else ""

    def problem(self, message: str) -> Problem:
        """What keeps it from being read, at the line that includes it."""
        if self.named is None:
            return Problem(self.path, 0, message)
        return self.named.problem(f"{shown(self.path)}: {message}")


NO_MATCH = "no file matches"  # of a pattern, which is no error to keepalived


@dataclass
class Stack:
    """Where the next line comes from; `contents` and `looked` are what is known so far."""

    files: Files
    problems: list[Problem]
    contents: dict[str, bytes] = field(default_factory=dict)
    looked: set[str] = field(default_factory=set)
    open: list[OpenFile] = field(default_factory=list)
    opened: int = 0

    def include(self, pattern: str, named: Line | None) -> None:
        """Put the files that a pattern names on the stack, the first one on top."""
        folder = posixpath.dirname(self.open[-1].path) if self.open else "/"
        found = find(self.files, folder, pattern)
        self.looked |= found.looked
        for missing in found.missing:
            message = NO_MATCH if wild(missing) else "there is no such file"
            self.problems.append(OpenFile(missing, named, ()).problem(message))
        inside = (*self.open[-1].inside, self.open[-1].real) if self.open else ()
        if named and not named.top:
            wrong = "keepalived supports no include after a condition, a variable or a brace"
            self.problems.append(named.problem(wrong))
            named = named._replace(doubt=joined(named.doubt, wrong))
        self.open += [OpenFile(name, named, inside) for name in reversed(found.paths)]

    def lines(self) -> Iterator[tuple[OpenFile, Chunk]]:
        """The lines of all files, in the order in which keepalived reads them."""
        while self.open:
            file = self.open[-1]
            if file.lines is None:
                file.lines = self.enter(file)
            chunk = next(file.lines, None)
            if chunk is None:
                self.open.pop()
            else:
                yield file, chunk

    def enter(self, file: OpenFile) -> Iterator[Chunk]:
        """The lines of a file; none where it can't be read."""
        self.opened += 1
        wrong = ""
        try:
            file.real, links = self.files.real(file.path)
            self.looked |= {file.real, posixpath.dirname(file.real), *links}
            if file.real in file.inside:
                wrong = "it includes itself"
            elif len(file.inside) >= MAX_DEPTH:
                wrong = f"it is included more than {MAX_DEPTH} deep; left out"
            elif self.opened > MAX_FILES:
                wrong = f"more than {MAX_FILES} files are included; left out"
            elif file.path not in self.contents:
                self.contents[file.path] = self.files.read(file.path)
        except OSError as error:
            wrong = f"it cannot be read: {error.strerror or error}"
        if wrong:
            self.problems.append(file.problem(wrong))
            return iter(())
        return chunks(self.contents[file.path])
