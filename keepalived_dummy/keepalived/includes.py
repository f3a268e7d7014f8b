# SPDX-License-Identifier: MIT
"""Which files an include names: glob(3) with GLOB_BRACE, as keepalived's parser calls it.

Pure: what is on the disk comes in as a `Files`. All names are as keepalived on that host sees them.
"""

from __future__ import annotations

import errno
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

MAX_ALTERNATIVES = 256
MAX_MATCHES = 4096

_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "digit": "0-9",
    "lower": "a-z",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


class Files(Protocol):
    """What reading needs of a disk. All three raise OSError where there is no such thing."""

    def read(self, path: str) -> bytes:
        """The bytes of a regular file that is not executable: keepalived skips all others."""

    def names(self, folder: str) -> list[str]:
        """What is in a folder."""

    def real(self, path: str) -> tuple[str, frozenset[str]]:
        """The path without symbolic links, and the folders in which the links on the way are."""


@dataclass(frozen=True)
class Memory:
    """Files in memory; an OSError as content is what reading them raises."""

    content: Mapping[str, bytes | OSError] = field(default_factory=dict)

    def read(self, path: str) -> bytes:
        path = posixpath.normpath(path)
        if path not in self.content:
            self.names(path)
            raise OSError(errno.EISDIR, "it is a directory")
        found = self.content[path]
        if isinstance(found, OSError):
            raise found
        return found

    def names(self, folder: str) -> list[str]:
        prefix = posixpath.normpath(folder).rstrip("/") + "/"
        below = {p[len(prefix) :].split("/")[0] for p in self.content if p.startswith(prefix)}
        if not below:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return list(below)

    def real(self, path: str) -> tuple[str, frozenset[str]]:
        path = posixpath.normpath(path)
        if path not in self.content:
            self.names(path)
        return path, frozenset()


@dataclass(frozen=True)
class Found:
    """The files a pattern names, in keepalived's order; what it names in vain; where it looked."""

    paths: tuple[str, ...]
    missing: tuple[str, ...]
    looked: frozenset[str]


def find(files: Files, folder: str, pattern: str) -> Found:
    """Files named by `pattern`, relative to `folder`.

    `looked` holds each file with its folder, since editors replace files, each folder that was
    listed, and for what is not there the nearest folder above it that is, all for inotify.
    """
    paths: list[str] = []
    missing: list[str] = []
    looked: set[str] = set()
    for alternative in braces(pattern):
        hits = sorted(_match(files, folder, alternative, looked))[:MAX_MATCHES]
        paths += hits
        if not hits:
            missing.append(alternative)
    return Found(tuple(paths[:MAX_MATCHES]), tuple(missing), frozenset(looked))


def wild(pattern: str) -> bool:
    """Whether a pattern, or a part of one, has something to expand but braces."""
    return re.search(r"(?<!\\)[*?\[]", pattern) is not None


def braces(pattern: str) -> list[str]:
    """A pattern as the patterns without {a,b} it stands for, in order, MAX_ALTERNATIVES at most."""
    done: list[str] = []
    todo = [pattern]
    while todo and len(done) < MAX_ALTERNATIVES:
        text = todo.pop()
        spans = _brace(text)
        if spans is None:
            done.append(text)
            continue
        start, parts, end = spans
        if len(todo) + len(parts) > MAX_ALTERNATIVES:
            parts = parts[:1]
        todo += [text[:start] + part + text[end:] for part in reversed(parts)]
    return done


def _brace(text: str) -> tuple[int, list[str], int] | None:
    """The first {a,b} of a pattern: where it begins, its parts, where it ends."""
    depth = start = comma = 0
    parts: list[str] = []
    for found in re.finditer(r"\\.|[{},]", text, re.DOTALL):
        char, at = found[0], found.start()
        if char == "{":
            depth += 1
            if depth == 1:
                start, comma, parts = at, at + 1, []
        elif char in ",}" and depth == 1:
            parts.append(text[comma:at])
            comma = at + 1
        if char == "}" and depth:
            depth -= 1
            if not depth:
                return start, parts, at + 1
    return None


def _match(files: Files, folder: str, pattern: str, looked: set[str]) -> Iterator[str]:
    """Paths that a pattern without braces names, in no order."""
    start = "/" if pattern.startswith("/") else ""
    paths = [start]
    *folders, last = [part for part in pattern.split("/") if part] or [""]
    for number, part in enumerate([*folders, last]):
        found: list[str] = []
        for path in paths:
            found += _step(files, folder, path, part, looked)
        paths = found[:MAX_MATCHES]
        if number < len(folders):
            paths = [path + "/" for path in paths]
    for path in paths:
        where = posixpath.join(folder, path)
        if path and pattern and _exists(files, where, posixpath.dirname(where), looked):
            yield where


def _step(files: Files, folder: str, path: str, part: str, looked: set[str]) -> list[str]:
    if not wild(part):
        return [path + re.sub(r"\\(.)", r"\1", part)]
    where = posixpath.join(folder, path)
    try:
        names = files.names(where) if _exists(files, where, where, looked) else []
    except OSError:  # a file where a folder is wanted, or one that may not be read
        names = []
    rule = translate(part)
    hidden = part.startswith(".")
    return [path + n for n in names if (hidden or n[:1] != ".") and rule.fullmatch(n)]


def _exists(files: Files, path: str, folder: str, looked: set[str]) -> bool:
    """Whether a path is there; what tells that it no longer is, or is another, goes to `looked`."""
    looked |= {path.rstrip("/") or "/", folder.rstrip("/") or "/"}
    try:
        real, links = files.real(path)
    except OSError:
        _look_above(files, path, looked)
        return False
    looked |= {real, *links}
    return True


def _look_above(files: Files, path: str, looked: set[str]) -> None:
    """Note the nearest folder that is there, where what is missing can begin to appear."""
    above = path.rstrip("/")
    while above not in ("", "/"):
        above = posixpath.dirname(above)
        try:
            files.names(above)
        except OSError:
            continue
        break
    looked.add(above or "/")


def translate(part: str) -> re.Pattern[str]:
    """One name's pattern, as fnmatch(3) reads it in the C locale, as a regular expression."""
    rule = ""
    for found in re.finditer(
        r"\\(.)|(\[[!^]?\]?(?:\[:\w+:\]|[^\]])*\])|(\*+)|(.)", part, re.DOTALL
    ):
        if found[1]:
            rule += re.escape(found[1])
        elif found[2]:
            rule += _bracket(found[2])
        elif found[3]:
            rule += ".*"
        else:
            rule += "." if found[4] == "?" else re.escape(found[4])
    try:
        return re.compile(rule, re.DOTALL)
    except re.error:  # a range that ends before it begins matches nothing
        return re.compile(r"(?!)")


def _bracket(text: str) -> str:
    inner = text[1:-1]
    negated = inner[:1] in ("!", "^")
    inner = inner[1:] if negated else inner
    parts = re.split(r"\[:(\w+):\]", inner)
    rule = "".join(
        _CLASSES.get(part, "") if index % 2 else re.sub(r"([\\\[\]^&~|])", r"\\\1", part)
        for index, part in enumerate(parts)
    )
    return f"[{'^' if negated else ''}{rule}]"
