# SPDX-License-Identifier: MIT
"""Puts the wire's program before those of others at an uplink's tcx hook, where there are any; its filters there give way.

Only root can. What it did stands in /run/keepalived-dummy for those who can't look: the daemon's passes, and who only
asks for the status.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from keepalived_dummy import bpf, files, tcx
from keepalived_dummy.bpf import TCX_INGRESS, Program
from keepalived_dummy.wire import End, Joint

_RECORD = "tcx-"


@dataclass
class Result:
    """`standing`: the uplinks, by index, whose filters give way to a program. `surplus`: programs that are to go then."""

    changed: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    standing: set[int] = field(default_factory=set)
    surplus: list[tuple[int, Program]] = field(default_factory=list)


def put(joints: tuple[Joint, ...], arp: frozenset[str]) -> Result:
    """A program before those of others on each uplink, with the copies that `arp` and the joints ask for."""
    result = Result()
    for uplink, dummies in _uplinks(joints):
        program = tcx.instructions(dummies, uplink.name in arp)
        name = tcx.name(program)
        there = _look(uplink.index)
        if there is None:
            known = _recorded(uplink.index)
            if known:
                result.standing.add(uplink.index)
            if known not in ("", name):
                what = "the wire's program at its tcx hook is of another time"
                result.missing.append(f"{uplink.name}: {what}; run keepalived-dummy apply as root")
            continue
        others = [one for one in there if not is_ours(one)]
        ours = [one for one in there if is_ours(one)]
        if others and there[0].name == name:
            ours = ours[1:]
        elif others:
            try:
                bpf.attach_first(uplink.index, TCX_INGRESS, program, name)
            except OSError as error:
                what = "the kernel takes no program of the wire at its tcx hook"
                result.missing.append(f"{uplink.name}: {what}: {error.strerror}")
                result.surplus += ((uplink.index, one) for one in ours)
                continue
            before = ", ".join(one.name or f"number {one.id}" for one in others)
            result.changed.append(f"{uplink.name}: wired by a program before {before}")
        result.surplus += ((uplink.index, one) for one in ours)
        if others:
            result.standing.add(uplink.index)
            files.write(_record(uplink.index), name.encode())
    return result


def take(put: Result, names: Mapping[int, str], everywhere: bool = False) -> list[str]:
    """Take away the programs that are too many, once the filters are there, and those recorded of others; returns lines.

    With `everywhere` those of any interface.
    """
    changed = []
    recorded = {path: _index(path) for path in _folder().glob(f"{_RECORD}*")}
    gone = {*recorded.values(), *(names if everywhere else ())} - put.standing
    surplus = list(put.surplus)
    for index in gone & names.keys():
        there = _look(index)
        if there is None:
            return []
        surplus += ((index, one) for one in there if is_ours(one) and (index, one) not in surplus)
    for index, one in surplus:
        with contextlib.suppress(OSError):  # it went meanwhile
            bpf.detach(index, TCX_INGRESS, one)
        if index not in put.standing:
            changed.append(f"{names.get(index, index)}: the wire's program taken away")
    for path, number in recorded.items():
        if number in gone:
            path.unlink(missing_ok=True)
    return list(dict.fromkeys(changed))


def standing(joints: tuple[Joint, ...]) -> set[int]:
    """The uplinks, by index, whose filters give way, for those who only look."""
    found = set()
    for uplink, _ in _uplinks(joints):
        there = _look(uplink.index) if _recorded(uplink.index) else ()
        if there is None or any(map(is_ours, there)):
            found.add(uplink.index)
    return found


def is_ours(program: Program) -> bool:
    """Whether it has a name of ours."""
    return (program.name or "").startswith(tcx.NAME)


def _look(index: int) -> tuple[Program, ...] | None:
    """The programs at an uplink's hook; None where they, or their names, may not be seen."""
    if os.geteuid() != 0:
        return None
    try:
        there = bpf.programs(index, TCX_INGRESS)
    except OSError:
        return None
    return None if any(one.name is None for one in there) else there


def _uplinks(joints: Iterable[Joint]) -> Iterator[tuple[End, list[tuple[int, bytes]]]]:
    """Each uplink and its dummies, by index and MAC."""
    found: dict[int, tuple[End, list[tuple[int, bytes]]]] = {}
    for joint in joints:
        for uplink in joint.uplinks:
            mac = bytes.fromhex(joint.dummy.mac.replace(":", ""))
            found.setdefault(uplink.index, (uplink, []))[1].append((joint.dummy.index, mac))
    yield from found.values()


def _folder() -> Path:
    return Path("/") / files.RUNTIME


def _record(index: int) -> Path:
    return _folder() / f"{_RECORD}{index}"


def _index(path: Path) -> int:
    number = path.name.removeprefix(_RECORD)
    return int(number) if number.isdecimal() else 0


def _recorded(index: int) -> str:
    """The name of the program that was put there; empty where none was."""
    try:
        fd = os.open(_record(index), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 15).decode("ascii", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)
