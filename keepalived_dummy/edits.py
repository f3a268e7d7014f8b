# SPDX-License-Identifier: MIT
"""Edits of files by the byte: what is not changed stays as it is. Pure."""

from __future__ import annotations

import difflib
import itertools
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

_PASSWORD = re.compile(r"""(\bauth_pass[^\S\n]+)(?:"[^"\n]*"?|[^ \t\n}]+)""")

Contents = Mapping[str, bytes]  # path to content


class Edit(NamedTuple):
    """Bytes `start` to `end` (from 0, `end` not included) of `line` (from 1) become `text`."""

    path: str
    line: int
    start: int
    end: int
    text: bytes


class Clash(Exception):
    """Two edits of the same bytes, as where a file is included twice and has to differ."""

    def __init__(self, one: Edit, other: Edit) -> None:
        super().__init__(one, other)
        self.one, self.other = one, other


def lines(data: bytes) -> list[bytes]:
    """The lines of a file with their ends; joined they are the file."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + parts[-1:]


def edit(contents: Contents, edits: Iterable[Edit]) -> dict[str, bytes]:
    """The files that change, with the edits made; one given twice is made once. Raises Clash."""
    of_file: dict[str, set[Edit]] = defaultdict(set)
    for one in edits:
        of_file[one.path].add(one)
    changed = {}
    for path, wanted in of_file.items():
        before = lines(contents[path])
        ordered = sorted(wanted)
        for one, other in itertools.pairwise(ordered):
            same_place = (one.start, one.end) == (other.start, other.end)
            if one.line == other.line and (other.start < one.end or same_place):
                raise Clash(one, other)
        for one in reversed(ordered):
            text = before[one.line - 1]
            before[one.line - 1] = text[: one.start] + one.text + text[one.end :]
        content = b"".join(before)
        if content != contents[path]:
            changed[path] = content
    return changed


def diff(before: Contents, after: Contents) -> str:
    """A unified diff to be looked at; bytes that are no UTF-8 are shown escaped, passwords not at all."""
    shown = []
    for path, content in after.items():
        old = _shown(before.get(path, b""))
        name = f"a{path}" if path in before else "/dev/null"
        for line in difflib.unified_diff(old, _shown(content), name, f"b{path}"):
            safe = _PASSWORD.sub(r"\1***", line)  # it is for a terminal, or ends up in a log
            shown.append(safe if safe.endswith("\n") else f"{safe}\n\\ No newline at end of file\n")
    return "".join(shown)


def _shown(data: bytes) -> list[str]:
    text = data.decode("utf-8", "backslashreplace").replace("\r\n", "\\r\n")
    return [line + "\n" for line in text.split("\n")[:-1]] + [
        line for line in text.split("\n")[-1:] if line
    ]
