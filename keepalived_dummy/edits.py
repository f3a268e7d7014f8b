# SPDX-License-Identifier: MIT
"""Edits of files by the byte: what is not changed stays as it is. Pure."""

from __future__ import annotations

import difflib
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from keepalived_dummy import passwords
from keepalived_dummy.passwords import Passwords
from keepalived_dummy.text import plain

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


@dataclass(frozen=True)
class _File:
    """The lines of a file, and each as it can be shown."""

    lines: list[bytes]
    shown: list[str]


def diff(before: Contents, after: Contents, others: Contents = MappingProxyType({})) -> str:
    """A unified diff for a terminal or a log: without control characters, and without passwords.

    `others`: files that are read with them, and may say which definition is a password.
    """
    hidden = passwords.find([*before.values(), *after.values(), *others.values()])
    made: list[str] = []
    for path, content in after.items():
        old, new = _file(before.get(path, b""), hidden), _file(content, hidden)
        if hunks := list(_hunks(old, new)):
            name = f"a{path}" if path in before else "/dev/null"
            made += [f"--- {plain(name)}", f"+++ {plain(f'b{path}')}", *hunks]
    return "".join(f"{line}\n" for line in made)


def _file(data: bytes, hidden: Passwords) -> _File:
    text = data.decode("utf-8", "backslashreplace").removesuffix("\n").split("\n")
    safe = ["\t".join(map(plain, line.split("\t"))) for line in hidden.hide(text)]
    if not data.endswith(b"\n"):
        safe[-1] += "\n\\ No newline at end of file"
    return _File([line for line in lines(data) if line], safe)


def _hunks(old: _File, new: _File) -> Iterator[str]:
    """As difflib.unified_diff(), which compares what it shows."""
    for group in difflib.SequenceMatcher(None, old.lines, new.lines).get_grouped_opcodes():
        (_, start, _, new_start, _), (_, _, end, _, new_end) = group[0], group[-1]
        yield f"@@ -{_span(start, end)} +{_span(new_start, new_end)} @@"
        for kind, first, last, new_first, new_last in group:
            if kind != "equal":
                yield from (f"-{line}" for line in old.shown[first:last])
            sign = " " if kind == "equal" else "+"
            yield from (sign + line for line in new.shown[new_first:new_last])


def _span(start: int, end: int) -> str:
    """Lines from `start` (from 0) up to `end` (not included), as a unified diff has them."""
    if end - start == 1:
        return str(start + 1)
    return f"{start + 1 if end > start else start},{end - start}"
