# SPDX-License-Identifier: MIT
"""The keepalived processes of a host, whoever started them, as /proc shows them.

A snap, a container of the host's network, keepalived@x.service or a build of one's own hold VIPs too, and systemd knows
nothing of them under the name of keepalived.service.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from keepalived_dummy import execstart

PROC = Path("/proc")
NAME = "keepalived"
_CONFIG = "/etc/keepalived/keepalived.conf"
_LOCAL = "/usr/local"  # a build with the prefix of its own Makefile looks below it first
_CAP_NET_ADMIN = 12  # linux/capability.h
_UNIT = re.compile(r"/([^/]+\.(?:service|scope))(?:/|$)", re.MULTILINE)


@dataclass(frozen=True)
class Process:
    """A main process of keepalived. `unit`: the one of systemd that it is in, or empty. `words`: its command line.

    `here`: whether it, or a child of it, is in this process's network namespace, None: not told. `apart`: whether one
    of them is surely in another. `inside`: whether it has this process's root folder and mounts, None: not told.
    """

    pid: int
    unit: str = ""
    words: tuple[str, ...] = (NAME,)
    here: bool | None = True
    apart: bool = False
    inside: bool | None = True

    @property
    def config(self) -> str:
        """The file that its command line names, or keepalived's default, as the process itself sees it."""
        return execstart.config_of(list(self.words[1:])) or _CONFIG

    def __str__(self) -> str:
        unit = f" of {self.unit}" if self.unit else ""
        return f"process {self.pid}{unit}"


def find(proc: Path = PROC) -> tuple[Process, ...]:
    """The main processes, in the order of their numbers; each stands for its children."""
    parents = {pid: _parent(proc / str(pid)) for pid in _pids(proc) if _is_keepalived(proc, pid)}
    family: dict[int, list[int]] = defaultdict(list)
    for pid in parents:
        family[_eldest(pid, parents)].append(pid)
    return tuple(_process(proc, main, family[main]) for main in sorted(family))


def hidden(proc: Path = PROC) -> bool:
    """Whether processes of others are kept from this one (hidepid= in proc(5))."""
    return _read(proc / "1/comm") is None


def reads(process: Process, file: Path, proc: Path = PROC) -> bool | None:
    """Whether the process has this file for its configuration; None: not told."""
    if process.config == str(file) and process.inside:
        return True
    try:
        return any(os.path.samefile(path, file) for path in _configs(process, proc))
    except OSError:
        return True if process.config == str(file) and process.inside is None else None


def speaks(process: Process, proc: Path = PROC) -> bool:
    """Whether it takes the signals that this host's keepalived names: a container's may have another C library.

    A unit's PrivateTmp= and the like give it mounts of its own too.
    """
    program = shutil.which(NAME)
    try:
        alike = program and os.path.samefile(proc / str(process.pid) / "exe", program)
    except OSError:
        alike = False
    return process.inside is not False or bool(alike)


def choose(
    every: Iterable[Process], main: int, unit: str, file: Path, proc: Path = PROC
) -> tuple[Process | None, tuple[Process, ...]]:
    """The process that has this file, or that of the unit; and what else may hold an address here.

    `main`: the unit's main process, which may be a script or a container's client, 0: none.
    """
    every = tuple(every)
    mine = next((one for one in every if main and main == one.pid), None)
    mine = mine or next((one for one in every if main and one.unit == unit), None)
    near = [one for one in every if one.here is not False]
    if mine is None or reads(mine, file, proc) is False:
        mine = next((one for one in near if reads(one, file, proc)), mine)
    return mine, tuple(one for one in near if one is not mine)


def _configs(process: Process, proc: Path) -> Iterator[Path]:
    """The first of its configuration's places at which there is a file, seen from outside."""
    home = proc / str(process.pid)
    told = execstart.config_of(list(process.words[1:]))
    places = [told] if told else [f"{_LOCAL}{_CONFIG}", _CONFIG]
    if not told and not os.path.realpath(home / "exe").startswith(_LOCAL):
        places.reverse()
    roots = [home / "root" if place.startswith("/") else home / "cwd" for place in places]
    paths = [root / place.lstrip("/") for root, place in zip(roots, places, strict=True)]
    there = [path for path in paths if path.exists()]
    yield from (there or paths)[:1]


def _pids(proc: Path) -> Iterator[int]:
    try:
        names = os.listdir(proc)
    except OSError:
        return
    yield from (int(name) for name in names if name.isdigit())


def _is_keepalived(proc: Path, pid: int) -> bool:
    """Whether it runs keepalived, and could set an address: a user's process may have any name."""
    home = proc / str(pid)
    program = os.path.basename((_link(home / "exe") or "").removesuffix(" (deleted)"))
    names = {program, (_read(home / "comm") or b"").decode(errors="replace").strip()}
    if NAME not in names:
        first = (_read(home / "cmdline") or b"").partition(b"\0")[0]
        names.add(os.path.basename(os.fsdecode(first)))
    return NAME in names and _is_privileged(proc, home) and _runs(home)


def _is_privileged(proc: Path, home: Path) -> bool:
    values = dict(
        line.split(":\t", 1)
        for line in (_read(home / "status") or b"").decode(errors="replace").splitlines()
        if ":\t" in line
    )
    effective = values.get("Uid", "").split()[1:2]
    if effective == ["0"]:
        return True
    own, other = _link(proc / "self/ns/user"), _link(home / "ns/user")
    if own and other and own != other:
        return False  # its capabilities hold in a user namespace of its own only
    return bool(int(values.get("CapEff", "0"), 16) >> _CAP_NET_ADMIN & 1)


def _runs(home: Path) -> bool:
    return b") Z " not in (_read(home / "stat") or b") Z ")


def _parent(home: Path) -> int:
    rest = (_read(home / "stat") or b"").rpartition(b")")[2].split()
    return int(rest[1]) if len(rest) > 1 else 0


def _eldest(pid: int, parents: dict[int, int]) -> int:
    for _ in parents:
        if parents[pid] not in parents:
            break
        pid = parents[pid]
    return pid


def _process(proc: Path, pid: int, family: Iterable[int]) -> Process:
    home = proc / str(pid)
    command = (_read(home / "cmdline") or b"").removesuffix(b"\0")
    own = _link(proc / "self/ns/net")
    spaces = {_link(proc / str(one) / "ns/net") for one in family}
    here = True if own in spaces and own else None if None in spaces or not own else False
    return Process(
        pid,
        _unit(home),
        tuple(os.fsdecode(command).split("\0")),
        here,
        bool(own and spaces - {own, None}),
        _is_inside(proc, home),
    )


def _is_inside(proc: Path, home: Path) -> bool | None:
    mounts = _link(proc / "self/ns/mnt"), _link(home / "ns/mnt")
    roots = _link(proc / "self/root"), _link(home / "root")
    if None in (*mounts, *roots):
        return None
    return mounts[0] == mounts[1] and roots[0] == roots[1]


def _unit(home: Path) -> str:
    """The innermost unit of its control group, of systemd's own hierarchy (systemd's cg_pid_get_unit())."""
    lines = (_read(home / "cgroup") or b"").decode(errors="replace").splitlines()
    paths = [line.split(":", 2)[2] for line in lines if line.startswith(("0::", "1:name=systemd:"))]
    found = [name for path in paths for name in _UNIT.findall(path)]
    return found[-1] if found else ""


def _link(path: Path) -> str | None:
    try:
        return os.readlink(path)
    except OSError:
        return None


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
