# SPDX-License-Identifier: MIT
"""A line on its way from a file, or from a definition, to words."""

from __future__ import annotations

import re
from typing import NamedTuple

from keepalived_dummy.errors import Problem
from keepalived_dummy.keepalived.document import Condition

BACKSLASH = "a backslash at the end of a line that is no definition joins nothing"
KEPT = "a backslash ends the comment, and keepalived keeps it for the line: take it off"
_ESCAPES = re.compile(rb'(\\[#!])|\\.|"(?:[^"\\]|\\.)*(?:"|\\?\Z)', re.DOTALL)


class Line(NamedTuple):
    """A line, or the rest of one.

    `start` and `end` are its bytes (from 0) in the line of the file it comes from; `exact`: it
    stands there so, byte for byte. `doubt`: why keepalived may read it otherwise or not at all;
    `origin`: that, and why it does not stand so in the file. `top`: it is the beginning of a file's
    line, where keepalived supports an include.
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
    top: bool = True

    @property
    def where(self) -> str:
        """FILE:LINE."""
        return f"{self.path}:{self.number}"

    def problem(self, message: str) -> Problem:
        """What is wrong with the line."""
        return Problem(self.path, self.number, message)

    def noted(self, origin: str, doubt: str) -> Line:
        """The line with more to say about where it comes from."""
        return self._replace(
            doubt=joined(self.doubt, doubt), origin=joined(self.origin, origin, doubt)
        )


def joined(*texts: str) -> str:
    """Reasons as one text, each once."""
    return "; ".join(dict.fromkeys(part for text in texts for part in text.split("; ") if part))


def decoded(raw: bytes) -> str:
    """Bytes of a file as text, from which the same bytes can be had again."""
    return raw.decode("utf-8", "surrogateescape")


def shown(text: str | bytes) -> str:
    """Text of a file as a message can hold it."""
    return ascii(decoded(text) if isinstance(text, bytes) else text)[1:-1]


def unescaped(line: Line) -> Line:
    r"""The line with \# and \! outside of quotes as # and !, as decomment() leaves it."""
    text = line.text
    if b"\\" in text:
        text = _ESCAPES.sub(lambda found: found[1][1:] if found[1] else found[0], text)
    if text != line.text:
        line = line._replace(text=text, exact=False).noted("an escaped ! or #", "")
    bare = text.rstrip(b"\\")
    if (len(text) - len(bare)) % 2:  # the blanks before it go
        text = text[:-1].rstrip(b" \t") + b"\\"
    if text == line.text:
        return line
    return line._replace(text=text, exact=False).noted(BACKSLASH, "")
