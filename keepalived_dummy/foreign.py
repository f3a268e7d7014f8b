# SPDX-License-Identifier: MIT
"""networkd kept from the routes and rules that keepalived sets besides VIPs: a drop-in of networkd.conf under /run.

networkd drops what it has not set itself, from whatever table, and keepalived does not notice a lost rule
(keepalived #2479). It reads its own configuration at its start, before it drops anything, so the next restart
is harmless already. keepalived makes no nexthop objects, so ManageForeignNextHops= is not needed.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from keepalived_dummy import files, mounts
from keepalived_dummy.config import Config
from keepalived_dummy.errors import Problem

if TYPE_CHECKING:
    from keepalived_dummy.keepalived import Document, Statement
    from keepalived_dummy.keepalived.disk import Disk

PATH = "run/systemd/networkd.conf.d/90-keepalived-dummy.conf"
CONFIG = "etc/keepalived/keepalived.conf"

# Blocks of keepalived.conf, networkd's setting for them, and the release that brought it (systemd's NEWS).
SETTINGS = {
    "virtual_routes": ("ManageForeignRoutes", 246),
    "static_routes": ("ManageForeignRoutes", 246),
    "virtual_rules": ("ManageForeignRoutingPolicyRules", 249),
    "static_rules": ("ManageForeignRoutingPolicyRules", 249),
}
_SCRIPT = re.compile(r"notify(_(master|backup|fault|stop|deleted|master_rx_lower_pri))?")
# Without one of these in keepalived.conf there is nothing to look for, and the reader is not imported.
_HINT = re.compile(b"include|" + "|".join(SETTINGS).encode())


@dataclass
class Result:
    """What was done, as lines for people, and what could not be."""

    changed: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class DropIn:
    """Its content, and the blocks that ask for it as KEYWORD at FILE:LINE."""

    content: bytes
    reasons: tuple[str, ...]


def wanted(
    root: Path, config: Config, document: Document | None = None, disk: Disk | None = None
) -> DropIn | None:
    """What keepalived.conf asks for and no conf refuses. Raises OSError where keepalived.conf can't be read.

    `document`: keepalived.conf as it is to be, in place of the one that is there.
    """
    if not all(dummy.foreign_routes for dummy in config.dummies):
        return None
    if document is not None:
        return _drop_in(root, document)
    try:
        # keepalived reads no pipe, and waiting for its other end would hold up the boot.
        real = disk.real(f"/{CONFIG}")[0].lstrip("/") if disk else CONFIG
        with open(root / real, "rb", opener=files.at_once) as file:
            text = file.read() or b""
    except FileNotFoundError:
        return None
    if not _HINT.search(text):
        return None
    from keepalived_dummy import keepalived
    from keepalived_dummy.keepalived.disk import Disk

    return _drop_in(root, keepalived.read_from(disk or Disk(root), f"/{CONFIG}"))


def _drop_in(root: Path, document: Document) -> DropIn | None:
    asking = _asking(document)
    known = release(root)
    settings = {SETTINGS[block.keyword] for block in asking}
    names = sorted(name for name, since in settings if known is None or known >= since)
    if not names:
        return None
    return DropIn(render(names), tuple(dict.fromkeys(map(_reason, asking))))


def unseen(document: Document, config: Config) -> Iterator[str]:
    """What adopt says of another file than keepalived.conf: no drop-in is made for what that has. Pure."""
    asking = _asking(document)
    refused = not all(dummy.foreign_routes for dummy in config.dummies)
    if not asking or refused or document.path == f"/{CONFIG}":
        return
    reasons = ", ".join(dict.fromkeys(map(_reason, asking)))
    names = sorted({SETTINGS[block.keyword][0] for block in asking})
    yield (
        f"{reasons}: networkd drops these at its next start, and /{PATH} is made for /{CONFIG} alone;"
        f" write {' and '.join(f'{name}=no' for name in names)} under [Network] into a file of"
        " /etc/systemd/networkd.conf.d"
    )


def of_scripts(document: Document) -> Iterator[str]:
    """What adopt says where keepalived runs scripts at a transition. Pure."""
    blocks = [block for one in document.statements for block in (one, *one.children)]
    found = [block for block in blocks if _SCRIPT.fullmatch(block.keyword) and len(block.words) > 1]
    if found:
        reasons = ", ".join(dict.fromkeys(map(_reason, found)))
        yield (
            f"{reasons}: networkd drops what such a script adds, and keepalived runs it only at a transition; the"
            " daemon restores routes of an uplink and rules, but not addresses: those belong into"
            " virtual_ipaddress_excluded or netplan"
        )


def _asking(document: Document) -> list[Statement]:
    """The blocks of routes and rules that have something in them."""
    blocks = [block for one in document.statements for block in (one, *one.children)]
    return [block for block in blocks if block.keyword in SETTINGS and block.children]


def announced(drop_in: DropIn) -> str:
    """What adopt says of it."""
    return (
        f"{', '.join(drop_in.reasons)}: for these, networkd leaves the routes and rules of others alone from"
        f" its next start, by /{PATH}; [Uplink] ForeignRoutes=no in a file of /etc/keepalived-dummy.d refuses it"
    )


def render(settings: list[str]) -> bytes:
    """The drop-in. Pure."""
    lines = [
        f"{files.MARK.decode()} for the routes and rules of /{CONFIG}.",
        "# [Uplink] ForeignRoutes=no in a file of /etc/keepalived-dummy.d refuses it.",
        "[Network]",
        *(f"{name}=no" for name in settings),
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def release(root: Path) -> int | None:
    """systemd's release, by the name of the library that all of it shares; None: not known."""
    folders = (root / "usr/lib", root / "usr/lib/systemd")
    patterns = ("*/systemd/libsystemd-shared-*.so", "libsystemd-shared-*.so")
    names = (path.name for f, p in zip(folders, patterns, strict=True) for path in f.glob(p))
    found = (re.match(r"libsystemd-shared-(\d+)", name) for name in names)
    return max((int(one[1]) for one in found if one), default=None)


def generate(root: Path, config: Config, at_boot: bool = False) -> Result:
    """Put the drop-in in place, or take it away; call it with files.lock held.

    With `at_boot` nothing is read from an automount that is not mounted: the network that it may need comes up
    only after this. Then a drop-in that is there stays.
    """
    result = Result()
    path = root / PATH
    try:
        disk = _at_boot(root) if at_boot else None
        try:
            drop_in = wanted(root, config, disk=disk)
        except BlockingIOError:
            drop_in = None
        if disk and disk.skipped:
            result.notes.append(
                f"{', '.join(sorted(disk.skipped))}: not mounted yet, so what keepalived.conf has there is not known;"
                f" if it has routes or rules, run keepalived-dummy apply to make /{PATH}"
            )
            if path.exists():
                return result
        if drop_in is None:
            result.changed += remove(root).changed
            return result
        if files.same(path, drop_in.content):
            return result
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        files.write(path, drop_in.content)
        result.changed.append(f"/{PATH}: written")
    except OSError as error:
        where = error.filename or path
        shown = (
            "/" + str(Path(where).relative_to(root)) if str(where).startswith(str(root)) else where
        )
        result.problems.append(Problem(str(shown), 0, str(error.strerror)))
    return result


def _at_boot(root: Path) -> Disk | None:
    """A disk on which no automount is set off; None where there is none, so that the reader is not imported."""
    points = mounts.automounts()
    base = os.path.realpath(root).rstrip("/")
    inside = frozenset(point[len(base) :] for point in points if point.startswith(f"{base}/"))
    if not inside:
        return None
    from keepalived_dummy.keepalived.disk import Disk

    return Disk(root, inside)


def remove(root: Path) -> Result:
    """Take the drop-in away, if it is ours; call it with files.lock held."""
    result = Result()
    path = root / PATH
    if files.is_ours(path):
        path.unlink()
        result.changed.append(f"/{PATH}: removed")
        with contextlib.suppress(OSError):
            path.parent.rmdir()
    return result


def _reason(block: Statement) -> str:
    word = block.words[0]
    return f"{word.text} at {word.where}"
