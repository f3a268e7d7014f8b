# SPDX-License-Identifier: MIT
"""keepalived.conf as tokens: joined, they give every byte of the file back.

The grammar is that of read_line(), decomment() and alloc_strvec() in keepalived's lib/parser.c. It
works by lines and by bytes, so this does too: a column is the number of a byte in its line, from 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

# keepalived reads a line with fgets() into a buffer of MAXBUF (lib/parser.h) bytes.
LONGEST = 1023

CONDITION = re.compile(rb"@(\^?)([^ \t]*)")
DEFINITION = re.compile(rb"\$([A-Za-z_][A-Za-z0-9_]*)=")
REPEAT = re.compile(rb"~(?:SEQ|LST)[^)]*\)?")
INCLUDE = re.compile(rb"include([rmwba]?)[ \t\f\v\r]+")
VARIABLE = re.compile(
    rb"\$\{([A-Za-z_][A-Za-z0-9_]*)(?:[ \t]+([A-Za-z0-9_]+(?:[ \t]+[A-Za-z0-9_]+)*))?\}"
    rb"|\$([A-Za-z_][A-Za-z0-9_]*)(?=[ \t,)]|\Z)"
)
WORDS = re.compile(rb'"[^"]*"|[{}]|[^ \t\f\v\r\n"{}]+|"')

_KEPT = re.compile(rb"[ \t]*[#!](?:[^\\]|\\.)*\\", re.DOTALL)

# Up to where a comment begins: a backslash hides the next byte, a quote hides ! and #.
_BODY = re.compile(rb'(?:[^"\\#!]+|\\.|\\\Z|"(?:[^"\\]|\\.)*(?:"|\\?\Z))*', re.DOTALL)
_BLANKS = rb'(?P<blank>[ \t\f\v\r\n]+)|(?P<quoted>"[^"]*")|(?P<unclosed>".*)'
_BARE = rb"|(?P<open>\{)|(?P<close>\})|(?P<word>[^ \t\f\v\r\n\"{}$]+|\$)"
_VARIABLES = rb"|(?P<variable>" + VARIABLE.pattern + rb")"
_PIECES = re.compile(_BLANKS + _VARIABLES + _BARE, re.DOTALL)
_UNEXPANDED = re.compile(_BLANKS + _BARE, re.DOTALL)


class Kind(Enum):
    """What a token is. A brace in a quote, in ${NAME} or in an include's pattern is no brace."""

    BLANK = "blank"
    NEWLINE = "newline"
    COMMENT = "comment"
    WORD = "word"
    QUOTED = "quoted"
    UNCLOSED = "unclosed"  # a quote that does not end in its line: keepalived drops the rest
    OPEN = "open"
    CLOSE = "close"
    VARIABLE = "variable"
    CONDITION = "condition"
    DEFINITION = "definition"
    VALUE = "value"
    CONTINUED = "continued"  # the backslash at the end of a line of a definition
    REPEAT = "repeat"
    INCLUDE = "include"
    PATTERN = "pattern"
    IGNORED = "ignored"  # a line with a NUL, which keepalived does not read


class Token(NamedTuple):
    """Some bytes of a file. A tuple, not a dataclass: a file has a quarter of a million of them."""

    kind: Kind
    raw: bytes
    path: str
    line: int
    column: int


class Chunk(NamedTuple):
    """What keepalived takes for a line: `text` begins at byte `offset` (from 0) of line `line`.

    `cut`: the line goes on in the next chunk. Up to 2.2 keepalived takes both for lines, later it
    drops the first.
    """

    text: bytes
    line: int
    offset: int
    cut: bool


def chunks(data: bytes) -> Iterator[Chunk]:
    """Lines as keepalived reads them, line end included; a long one comes in several chunks."""
    lines = data.split(b"\n")
    final = len(lines)
    for number, bare in enumerate(lines, 1):
        text = bare + b"\n" if number != final else bare
        if len(text) <= LONGEST:
            if text:
                yield Chunk(text, number, 0, False)
            continue
        for offset in range(0, len(text), LONGEST):
            part = text[offset : offset + LONGEST]
            yield Chunk(part, number, offset, len(text) > offset + LONGEST)


def body(text: bytes) -> tuple[int, int]:
    """Where in a line what keepalived reads begins and ends: no comment, no blanks around."""
    text = text.rstrip(b"\r\n")
    if b"#" in text or b"!" in text:
        found = _BODY.match(text)
        text = text[: found.end()] if found else text
    start = len(text) - len(text.lstrip(b" \t"))
    return start, max(start, len(text.rstrip(b" \t")))


def keeps_backslash(text: bytes, end: int) -> bool:
    """Whether keepalived keeps the backslash in which a comment ends; `end` as body() gives it.

    decomment() of 2.2 and later looks on behind the # and puts it after what is left.
    """
    comment = text[end:].rstrip(b"\r\n")
    return comment.endswith(b"\\") and _KEPT.fullmatch(comment) is not None


def tokenize(data: bytes, path: str = "") -> Iterator[Token]:
    """Every byte of a file, in order. Never fails: any bytes are some tokens."""
    defining = False
    for text, line, offset, _ in chunks(data):
        content = text.rstrip(b"\r\n")
        pieces: list[tuple[Kind, bytes]]
        if b"\0" in text:
            pieces = [(Kind.IGNORED, content)]
        elif defining:
            pieces, defining = _continuation(content)
        else:
            pieces, defining = _line(content)
        if len(content) != len(text):
            pieces.append((Kind.NEWLINE, text[len(content) :]))
        column = offset + 1
        for kind, raw in pieces:
            if raw:
                yield Token(kind, raw, path, line, column)
                column += len(raw)


def _line(text: bytes) -> tuple[list[tuple[Kind, bytes]], bool]:
    """The tokens of a line, and whether it begins a definition that goes on in the next."""
    start, end = body(text)
    pieces = [(Kind.BLANK, text[:start])]
    defining = False
    position = start
    conditional = False
    while position < end:
        rest = text[position:end]
        if rest[:1] == b"@" and not conditional and (found := CONDITION.match(rest)):
            pieces.append((Kind.CONDITION, found[0]))
            conditional = True
        elif found := DEFINITION.match(rest):
            pieces.append((Kind.DEFINITION, found[0]))
            values, defining = _value(rest[found.end() :])
            defining = defining or keeps_backslash(text, end)
            pieces += values
            position = end
            break
        elif found := REPEAT.match(rest):
            pieces.append((Kind.REPEAT, found[0]))
            conditional = False
        elif found := INCLUDE.match(rest):
            word = found[0].rstrip(b" \t\f\v\r")
            pieces += [(Kind.INCLUDE, word), (Kind.BLANK, found[0][len(word) :])]
            pieces.append((Kind.PATTERN, rest[found.end() :]))
            position = end
            break
        else:
            position = _statement(text, position, end, pieces)
            conditional = False
            continue
        position += found.end()
        blank = len(text[position:end]) - len(text[position:end].lstrip(b" \t"))
        pieces.append((Kind.BLANK, text[position : position + blank]))
        position += blank
    return pieces + _trailer(text[position:]), defining


def _statement(text: bytes, position: int, end: int, pieces: list[tuple[Kind, bytes]]) -> int:
    """The words up to a brace, the brace and the blanks after it; returns where they end."""
    # A ~ that repeats nothing is a word, and keepalived looks for no variable behind it.
    pattern = _UNEXPANDED if text[position : position + 1] == b"~" else _PIECES
    for found in pattern.finditer(text, position, end):
        kind = Kind(found.lastgroup)
        pieces.append((kind, found[0]))
        if kind in (Kind.OPEN, Kind.CLOSE):
            rest = text[found.end() : end]
            blanks = rest[: len(rest) - len(rest.lstrip(b" \t"))]
            pieces.append((Kind.BLANK, blanks))
            return found.end() + len(blanks)
    return end


def _continuation(text: bytes) -> tuple[list[tuple[Kind, bytes]], bool]:
    """The tokens of a line inside a definition of several lines, and whether that goes on.

    An empty line ends it; one with blanks or a comment alone does not.
    """
    start, end = body(text)
    if start == end:
        return [(Kind.BLANK, text[:start]), *_trailer(text[start:])], bool(text)
    values, defining = _value(text[start:end])
    defining = defining or keeps_backslash(text, end)
    return [(Kind.BLANK, text[:start]), *values, *_trailer(text[end:])], defining


def _value(text: bytes) -> tuple[list[tuple[Kind, bytes]], bool]:
    start = len(text) - len(text.lstrip(b" \t"))
    value = text[start:].removesuffix(b"\\")
    continued = len(value) != len(text) - start
    bare = value.rstrip(b" \t") if continued else value
    pieces = [(Kind.BLANK, text[:start]), (Kind.VALUE, bare), (Kind.BLANK, value[len(bare) :])]
    return pieces + [(Kind.CONTINUED, b"\\")] * continued, continued


def _trailer(text: bytes) -> list[tuple[Kind, bytes]]:
    """Blanks and a comment, as they end a line."""
    bare = text.lstrip(b" \t")
    return [(Kind.BLANK, text[: len(text) - len(bare)]), (Kind.COMMENT, bare)]
