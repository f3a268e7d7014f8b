# SPDX-License-Identifier: MIT
"""Who holds a VIP, and when two do: the kernel's own account (`ip monitor address`) on both nodes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import guest
from guest import run
from testbed import PEER

Span = tuple[float, float]  # seconds of the guest's clock

_LINE = re.compile(r"^\[(\S+)\] (Deleted )?\d+: (\S+)\s+inet6? ([0-9a-f.:]+)/")


def spans(trace: str, vip: str, there: Iterable[str], start: float, end: float) -> list[Span]:
    """When a node held a VIP, on whatever device; `there` are the devices that had it at the start."""
    devices = set(there)
    since = start if devices else None
    found = []
    for line in trace.splitlines():
        match = _LINE.match(line)
        if not match or match[4] != vip:
            continue
        when = min(max(start, datetime.fromisoformat(match[1]).timestamp()), end)
        (devices.discard if match[2] else devices.add)(match[3])
        if devices and since is None:
            since = when
        elif not devices and since is not None:
            found.append((since, when))
            since = None
    return found + ([(since, end)] if since is not None else [])


def shared(one: list[Span], other: list[Span]) -> float:
    """The seconds in which both held it."""
    return sum(max(0.0, min(a[1], b[1]) - max(a[0], b[0])) for a in one for b in other)


class HolderTrace:
    """Both nodes watched, from now until `stop`."""

    def __init__(self, work: Path, vips: Iterable[str]) -> None:
        self._vips = list(vips)
        self._paths = {"": work / "holders-host", PEER: work / "holders-peer"}
        for path in self._paths.values():
            path.unlink(missing_ok=True)
        self._watchers = [
            guest.start(f"ip {_in(where)} -ts -o monitor address".split(), path)
            for where, path in self._paths.items()
        ]
        time.sleep(0.3)
        self._start = time.time()
        self._there = {where: run(f"ip {_in(where)} -o address show") for where in self._paths}

    def stop(self) -> dict[str, tuple[list[Span], list[Span]]]:
        """Of each VIP when the host held it, and when the other node did."""
        end = time.time()
        for watcher in self._watchers:
            guest.stop(watcher)
        return {vip: (self._of("", vip, end), self._of(PEER, vip, end)) for vip in self._vips}

    def _of(self, where: str, vip: str, end: float) -> list[Span]:
        lines = self._there[where].splitlines()
        there = [line.split()[1] for line in lines if f" {vip}/" in line]
        return spans(self._paths[where].read_text(), vip, there, self._start, end)


def _in(where: str) -> str:
    return f"-n {where}" if where else ""
