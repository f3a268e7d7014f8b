# SPDX-License-Identifier: MIT
"""Edits taken back from a file that may have been edited since. Pure."""

from __future__ import annotations

import difflib
import functools
from collections import Counter
from collections.abc import Iterator

from keepalived_dummy.edits import lines
from keepalived_dummy.onlink import is_ours

_PINS = (b"mcast_src_ip", b"unicast_src_ip")


def undo(before: bytes, after: bytes, current: bytes) -> bytes:
    """`current` with what made `after` of `before` taken back, line by line.

    A line of ours that was changed or removed since is left: whether that is a conflict, the result tells.
    """
    return _take_back(before, after, current)[0]


def unsure(before: bytes, after: bytes, current: bytes) -> frozenset[bytes]:
    """The pins that `undo` leaves: lines changed places, and others have the same pin."""
    return _take_back(before, after, current)[1]


@functools.lru_cache(maxsize=1)  # matching takes its time
def _take_back(before: bytes, after: bytes, current: bytes) -> tuple[bytes, frozenset[bytes]]:
    if current == after:
        return before, frozenset()
    ours, there = lines(after), lines(current)
    now: list[bytes | None] = list(there)
    places = _match(ours, there)
    free = _free(there, set(places.values()))
    marks = list(_marks(lines(before), ours))
    moved = not free.keys().isdisjoint(set(_unmatched(ours, places)))
    whole, left = _pins(marks, ours, there)
    left = left if moved else frozenset()
    for index, old in marks:
        where = places.get(index)
        if old is None and ours[index] in left:
            continue
        if where is None and len(free.get(ours[index], ())) == 1:
            where = free.pop(ours[index])[0]
        if where is not None:
            now[where] = old
    kept = (line for line, was in zip(now, there, strict=True) if was not in whole)
    return b"".join(line for line in kept if line is not None), left


def _pins(
    marks: list[tuple[int, bytes | None]], ours: list[bytes], there: list[bytes]
) -> tuple[frozenset[bytes], frozenset[bytes]]:
    """The pins of which every one there is ours, and those that others have too: of one uplink all are the same bytes."""
    made = Counter(ours[index] for index, old in marks if old is None)
    written, found = Counter(ours), Counter(there)
    others = {pin for pin, number in made.items() if max(written[pin], found[pin]) > number}
    return frozenset(made.keys() - others), frozenset(others)


def _unmatched(ours: list[bytes], places: dict[int, int]) -> Iterator[bytes]:
    return (line for index, line in enumerate(ours) if index not in places)


def _marks(before: list[bytes], after: list[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """The lines of `after` that are ours, and what stood there; None: nothing."""
    at = 0
    for index, line in enumerate(after):
        old = before[at] if at < len(before) else b""
        if line == old:
            at += 1
        elif is_ours(line) or (_is_pin(line) and not _is_pin(old)):
            yield index, None
        else:
            yield index, old
            at += 1


def _is_pin(line: bytes) -> bool:
    return line.split()[:1] in ([pin] for pin in _PINS)


def _match(ours: list[bytes], now: list[bytes]) -> dict[int, int]:
    """Lines of `ours` to the same lines of `now`."""
    start = 0
    while start < min(len(ours), len(now)) and ours[start] == now[start]:
        start += 1
    end = 0
    while end < min(len(ours), len(now)) - start and ours[-1 - end] == now[-1 - end]:
        end += 1
    places = {index: index for index in range(start)}
    places |= {len(ours) - 1 - n: len(now) - 1 - n for n in range(end)}
    middle = difflib.SequenceMatcher(
        None, ours[start : len(ours) - end], now[start : len(now) - end]
    )
    for block in middle.get_matching_blocks():
        for n in range(block.size):
            places[start + block.a + n] = start + block.b + n
    return places


def _free(now: list[bytes], taken: set[int]) -> dict[bytes, list[int]]:
    found: dict[bytes, list[int]] = {}
    for index, line in enumerate(now):
        if index not in taken:
            found.setdefault(line, []).append(index)
    return found
