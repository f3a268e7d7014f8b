# SPDX-License-Identifier: MIT
"""Definitions and what is made of them: $NAME, ${NAME}, ~SEQ(...), ~LST(...).

Pure; as replace_param(), add_seq() and add_lst() in keepalived's lib/parser.c do it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from keepalived_dummy.keepalived.tokens import LONGEST, VARIABLE

MAX_SUBSTITUTIONS = 1000

# What keepalived alone knows the value of.
UNKNOWN = {b"_PWD", b"_INSTANCE", b"_RANDOM", b"_ENV"}


@dataclass(frozen=True)
class Definition:
    """$NAME=value. Several lines where it is continued; `doubt` says why it may be another."""

    lines: tuple[bytes, ...]
    where: str
    doubt: str = ""
    multiline: bool = False


_NOTHING = re.compile(rb"[ \t]*(?:[#!]|@[^ \t]*\Z|\Z)")  # or a comment, or a condition of nothing
_ENDS_WORD = re.compile(rb"(?:\A|[ \t{}])\Z")
_BEGINS_WORD = re.compile(rb"\Z|[ \t{}]")

STANDARD = {
    b"_HASH": Definition((b"#",), "keepalived"),
    b"_BANG": Definition((b"!",), "keepalived"),
}


@dataclass(frozen=True)
class Expansion:
    """A line with its variables replaced.

    `more`: the names and the further lines of definitions of several, to be read next, the last one first.
    `origin` names the variables, `doubt` says why the text may be another, `problem` what went wrong.
    """

    text: bytes
    more: tuple[tuple[bytes, tuple[bytes, ...]], ...] = ()
    origin: str = ""
    doubt: str = ""
    problem: str = ""


def expand(text: bytes, definitions: Mapping[bytes, Definition]) -> Expansion:
    """Replace what is defined, again in what that gives, and leave the rest as it is."""
    more: list[tuple[bytes, tuple[bytes, ...]]] = []
    origins: dict[str, None] = {}
    doubts: dict[str, None] = {}
    original = text
    position = rounds = 0
    unsure = False
    while found := VARIABLE.search(text, position):
        name: bytes = found[1] or found[3]
        definition = _lookup(name, found[2], definitions, at_end=found.end() == len(text))
        if definition is None:
            shown = name.decode()
            known = name in UNKNOWN
            doubts[f"${shown} is {'known to keepalived alone' if known else 'not defined'}"] = None
            if known:  # without the braces, which would be read as a block's
                text = text[: found.start()] + _bare(found) + text[found.end() :]
                position = found.start() + 1 + len(name)
            else:
                position = found.start() + 1
            continue
        rounds += 1
        if definition.doubt:
            unsure = True
            doubts[f"${name.decode()} is {definition.doubt}"] = None
        value = definition.lines[0]
        position = found.start()
        if unsure and _NOTHING.match(value):
            value = _stand_in(text, found)
            position += len(value)
        longer = text[: found.start()] + value + text[found.end() :]
        if len(longer) >= LONGEST or rounds > MAX_SUBSTITUTIONS:
            wrong = f"${name.decode()} makes the line too long, or has itself in its value"
            return Expansion(VARIABLE.sub(_bare, original), (), _said(origins), wrong, wrong)
        text = longer
        origins[f"${name.decode()}, set at {definition.where}"] = None
        if len(definition.lines) > 1:
            more.append((name, definition.lines[1:]))
        if value.lstrip(b" \t").startswith(b"~"):
            break
    return Expansion(text, tuple(more), _said(origins), _said(doubts))


def _stand_in(text: bytes, found: re.Match[bytes]) -> bytes:
    """For a variable that is nothing here and may be more elsewhere: its name, where it is a word of its own.

    As the first of several words it is nothing: it may be there to make its line a comment.
    """
    before, after = text[: found.start()], text[found.end() :]
    if _ENDS_WORD.search(before) is None or _BEGINS_WORD.match(after) is None:
        return b""
    first = before.rstrip(b" \t")[-1:] in (b"", b"{", b"}")
    alone = after.lstrip(b" \t")[:1] in (b"", b"}")
    return b"" if first and not alone else _bare(found)


def _bare(found: re.Match[bytes]) -> bytes:
    """$NAME for ${NAME}, whose braces would be read as a block's."""
    return b"$" + (found[1] or found[3])


def _lookup(
    name: bytes, parameters: bytes | None, definitions: Mapping[bytes, Definition], at_end: bool
) -> Definition | None:
    """The definition in force; one of several lines counts at the end of a line alone."""
    definition = definitions.get(name) or STANDARD.get(name)
    if definition is None or parameters or (definition.multiline and not at_end):
        return None
    return definition


def _said(texts: Mapping[str, None]) -> str:
    return "; ".join(texts)


@dataclass(frozen=True)
class Repetition:
    """A ~SEQ or ~LST: the variables it sets, their values time by time, and the text it repeats."""

    names: tuple[bytes, ...]
    values: range | tuple[tuple[bytes, ...], ...]
    hexadecimal: bool
    text: bytes

    def rounds(self) -> Iterator[tuple[bytes, ...]]:
        """The values of the variables, time by time."""
        if isinstance(self.values, range):
            for number in self.values:
                yield (b"%x" % number if self.hexadecimal else b"%d" % number,)
        else:
            yield from self.values


_SEQ = re.compile(rb"~SEQ(x?)[ \t]*\([ \t]*([^ \t,(){}]+)[ \t]*,([^)]*)\)[ \t]*")
_NUMBER = re.compile(rb"[ \t]*([+-]?(?:0[xX][0-9A-Fa-f]+|[0-9]+))[ \t]*\Z")
_LST = re.compile(rb"~LST[ \t]*\([ \t]*(\{[^{}()]*\}|[^ \t,(){}]+)[ \t]*,([^()]*)\)[ \t]*")
_VALUES = re.compile(rb"[ \t]*(?:\{([^{}]*)\}|([^ \t,{}]*))[ \t]*(,|\Z)")


def repetition(text: bytes, definitions: Mapping[bytes, Definition]) -> tuple[Repetition, str]:
    """Read a line that begins with ~SEQ or ~LST, and say why the numbers may be others.

    Raises ValueError where keepalived calls it invalid.
    """
    if found := _SEQ.match(text):
        expansion = expand(found[3], definitions)
        numbers = [_number(part) for part in expansion.text.split(b",")]
        values = _range(numbers)
        if found[1] and min(values[0], values[-1]) < 0:
            raise ValueError("~SEQx has numbers from 0 up only")
        made = Repetition((found[2],), values, bool(found[1]), text[found.end() :])
        return made, expansion.doubt
    if found := _LST.match(text):
        names = tuple(part.strip(b" \t") for part in found[1].strip(b"{}").split(b","))
        sets = tuple(_values(found[2], len(names)))
        return Repetition(names, sets, False, text[found.end() :]), ""
    raise ValueError("wanted: ~SEQ(NAME, NUMBERS) or ~LST(NAMES, VALUES), and what to repeat")


def _number(text: bytes) -> int:
    found = _NUMBER.match(text)
    if not found or len(found[1]) > 20:
        raise ValueError("wanted: one to three numbers in ~SEQ")
    digits = found[1].lower()
    if b"x" in digits:
        return int(digits, 16)
    octal = digits.lstrip(b"+-").startswith(b"0")  # strtol(3) with base 0
    try:
        return int(digits, 8 if octal else 10)
    except ValueError:
        raise ValueError("a number that begins with 0 is octal") from None


def _range(numbers: list[int]) -> range:
    """~SEQ(n, end), (n, start, end) or (n, start, step, end), the end included."""
    if len(numbers) == 1:
        end = numbers[0]
        start, step = (-1 if end < 0 else 1), (-1 if end < 1 else 1)
    elif len(numbers) == 2:
        start, end = numbers
        step = 1 if start <= end else -1
    elif len(numbers) == 3:
        start, step, end = numbers
        if not step or (start < end and step < 0) or (start > end and step > 0):
            raise ValueError("the step of this ~SEQ never gets to its end")
    else:
        raise ValueError("wanted: one to three numbers in ~SEQ")
    return range(start, end + (1 if step > 0 else -1), step)


def _values(text: bytes, wanted: int) -> Iterator[tuple[bytes, ...]]:
    """The value sets of ~LST; values left out are empty."""
    position = 0
    while True:
        found = _VALUES.match(text, position)
        if not found:
            raise ValueError("wanted: values or {VALUES} with commas between in ~LST")
        inner = found[2] if found[1] is None else found[1]
        values = tuple(part.strip(b" \t") for part in inner.split(b","))
        if len(values) > wanted:
            raise ValueError("more values than names in ~LST")
        yield values + (b"",) * (wanted - len(values))
        position = found.end()
        if not found[3]:
            return
