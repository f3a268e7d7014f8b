# SPDX-License-Identifier: MIT
"""Where keepalived.conf has passwords, so that what is shown of it has none. Pure.

A password stands after a keyword, or in a definition ($NAME=...) that is used there, perhaps in another file.
It is rather looked for too often than missed: no reader of keepalived's grammar decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from keepalived_dummy.text import HIDDEN, KEYWORDS, VALUE

_DEFINITION = re.compile(r"(\s*(?:@\S+\s+)?\$(\w+)=[^\S\n]*)(.*)", re.DOTALL)
_VARIABLE = re.compile(r"\$\{?(\w+)")
_LIST = re.compile(r"(~LST\()([^)]*)")  # its first argument names what it defines


class _Definition(NamedTuple):
    """A definition: its lines from `first` (from 0) up to `last`, and its value."""

    name: str
    first: int
    last: int
    value: str


@dataclass(frozen=True)
class Passwords:
    """The words that a password follows, and the definitions that have one."""

    keywords: frozenset[str]
    names: frozenset[str]

    def hide(self, lines: list[str]) -> list[str]:
        """The lines of a file without the passwords in them."""
        shown = [self._line(line) for line in lines]
        for made in _definitions(lines):
            if made.name not in self.names:
                continue
            for number in range(made.first, made.last + 1):
                shown[number] = _value_hidden(lines[number], number == made.first)
        return shown

    def _line(self, line: str) -> str:
        line = _after(self.keywords).sub(rf"\1{HIDDEN}", line)
        return _LIST.sub(lambda found: found[1] + self._arguments(found[2]), line)

    def _arguments(self, text: str) -> str:
        return HIDDEN if self.names.intersection(re.findall(r"\w+", text)) else text


def find(contents: Iterable[bytes]) -> Passwords:
    """What to hide of files that are read together."""
    texts = [content.decode("utf-8", "backslashreplace") for content in contents]
    made = [one for text in texts for one in _definitions(text.split("\n"))]
    known = {one.name: one.value for one in made}
    # $K=auth_pass, then $K s3cret
    aliases = {name for name, value in known.items() if value.strip(' \t"') in KEYWORDS}
    keywords = frozenset(KEYWORDS) | {word for name in aliases for word in _spelled(name)}
    after = _after(keywords)
    values = [found[2] for text in texts for found in after.finditer(text)]
    names: set[str] = set()
    while values:
        named = set(_VARIABLE.findall(values.pop())) - names
        names |= named
        values += (one.value for one in made if one.name in named)
    return Passwords(keywords, frozenset(names))


def _spelled(name: str) -> tuple[str, str]:
    return f"${name}", f"${{{name}}}"


def _after(keywords: Iterable[str]) -> re.Pattern[str]:
    """A keyword with the blanks after it, and the password."""
    words = "|".join(re.escape(word) for word in sorted(keywords, key=len, reverse=True))
    return re.compile(rf"""((?<![\w$])"?(?:{words})"?[^\S\n]+)({VALUE})""")


def _definitions(lines: list[str]) -> Iterator[_Definition]:
    number = 0
    while number < len(lines):
        first = number
        if found := _DEFINITION.match(lines[number]):
            parts = [found[3]]
            while parts[-1].rstrip("\r").endswith("\\") and number + 1 < len(lines):
                number += 1
                parts.append(lines[number])
            yield _Definition(found[2], first, number, "\n".join(parts))
        number += 1


def _value_hidden(line: str, first: bool) -> str:
    """A line of a definition with its value hidden, and the backslash at its end kept."""
    found = _DEFINITION.match(line) if first else None
    head = found[1] if found else line[: len(line) - len(line.lstrip())]
    value = line[len(head) :].rstrip()
    if value in ("", "\\"):
        return line
    return f"{head}{HIDDEN}{' ' + chr(92) if value.endswith(chr(92)) else ''}"
