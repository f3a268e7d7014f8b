# SPDX-License-Identifier: MIT
"""What is mounted where, as this process sees it (proc_pid_mountinfo(5))."""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")
_KERNELS = ("/proc/", "/sys/", "/dev/")


def parse(text: bytes) -> dict[str, str]:
    """Each mount point with the type of the file system that is on top there. Pure."""
    found = {}
    for line in text.splitlines():
        words = line.split(b" ")
        if b"-" not in words[6:-1]:
            continue
        kind = words[words.index(b"-", 6) + 1]
        point = re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8) & 0xFF]), words[4])
        found[os.fsdecode(point)] = os.fsdecode(kind)
    return found


def is_point(path: Path) -> bool:
    """Whether something is mounted on this very path, from the same file system too, which os.path.ismount misses."""
    name = os.path.join(os.path.realpath(path.parent), path.name)
    return name in _read() or os.path.ismount(path)


def automounts() -> frozenset[str]:
    """The automounts that are not mounted yet, where whoever looks waits; those of the kernel's own trees left out."""
    points = (point for point, kind in _read().items() if kind == "autofs")
    return frozenset(point for point in points if not point.startswith(_KERNELS))


def _read() -> dict[str, str]:
    try:
        return parse(MOUNTINFO.read_bytes())
    except OSError:  # no /proc
        return {}
