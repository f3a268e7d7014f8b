# SPDX-License-Identifier: MIT
"""Puts the wire in place: reads the filters that are there over netlink, and runs tc for the difference."""

from __future__ import annotations

import re
import socket
import struct
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from keepalived_dummy import files, kernel, modules, netlink
from keepalived_dummy.config import misnamed
from keepalived_dummy.wire import MARK, Filter, Wire

_RTM_GETQDISC = 38
_TC_H_CLSACT = 0xFFFFFFF1  # the parent of both clsact and ingress (linux/pkt_sched.h)
_DIRECTIONS = {netlink.CLSACT_INGRESS: "ingress", netlink.CLSACT_EGRESS: "egress"}
_U32_NODE = 0xFFF  # of a handle
_PROTOCOLS = {0x0806: "arp", 0x86DD: "ipv6", 0x0800: "ip", 0x0003: "all", 0x8100: "802.1Q"}

Place = tuple[int, str, int, bytes]  # of a filter: see Filter.place of the wire


@dataclass
class Result:
    """What a pass over the filters did: lines for people, the interfaces touched, what the kernel lacks."""

    changed: list[str] = field(default_factory=list)
    rewired: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class State:
    """The host's tc at the hooks the wire uses: qdisc kind by interface index, and the filters."""

    qdiscs: Mapping[int, str]
    filters: tuple[netlink.Filter, ...]


def read() -> State:
    """The present state, from the kernel; runs no tc.

    Of an ingress qdisc the kernel gives the same filters for either parent asked for, and as their parent whatever
    the last one to change them called it. So they are filed under what was asked for.
    """
    with kernel.open_dump_socket() as sock:
        qdiscs = _qdiscs(sock)
        found = [
            netlink.filter_of(message.body)._replace(parent=parent)
            for index, kind in qdiscs.items()
            for parent in _DIRECTIONS
            if kind == "clsact" or parent == netlink.CLSACT_INGRESS
            for message in _filters(sock, index, parent)
        ]
    return State(qdiscs, tuple(item for item in found if item.matches))


def sync(wire: Wire, names: Mapping[int, str], kept: frozenset[int] = frozenset()) -> Result:
    """Make the filters of ours those of `wire`, and touch nobody else's.

    `names` gives every interface of the host by its index; those `kept` keep their clsact without the wire.
    The same state twice runs no tc.
    """
    result = Result()
    state = read()
    spelled = {index: _spelled(index, name) for index, name in names.items()}
    wanted = {item.place: item for item in wire.filters}
    stale = _stale(state, wire)
    there = {place(item) for item in state.filters}
    absent = [item for place, item in wanted.items() if place not in there]
    added = [index for index in {item.index for item in absent} if index not in state.qdiscs]
    shared = {_head(item) for item in state.filters if item not in stale}
    script = list(
        dict.fromkeys(
            _delete(item, spelled[item.ifindex], _head(item) in shared)
            for item in stale
            if item.ifindex in names
        )
    )
    script += [f"qdisc add dev {spelled[index]} clsact" for index in sorted(added)]
    script += [item.line for item in absent]
    said = _run(script)
    for index in added:
        _remember(index)
    if script:
        state = read()
    result.missing = _missing(wire, absent, state, said)
    have = {place(item) for item in state.filters}
    left = {(place(item), item.handle) for item in state.filters}
    made = [item for item in absent if item.place in have]
    result.rewired = {item.dev for item in made}
    touched = {item.index for item in made}
    touched |= {item.ifindex for item in stale if (place(item), item.handle) not in left}
    for index in sorted(touched & set(names)):
        done = "wired" if index in wire.ends else "wire taken away"
        if index in wire.by_program:
            done = "the wire's filters give way to its program"
        result.changed.append(f"{names[index]}: {done}")
    _remove_clsact(state, spelled, kept | wire.by_program | set(wire.ends))
    return result


def _spelled(index: int, name: str) -> str:
    """The word for an interface in a script: its name, or, where tc can't be told that, ifINDEX (ll_idx_a2n() in iproute2).

    Such an interface is not wired; one that was wired may have been renamed.
    """
    return f"if{index}" if misnamed(name) else name


def _stale(state: State, wire: Wire) -> list[netlink.Filter]:
    """Those of ours that are not wanted, and all but the first at one place: each would answer once more.

    One at the handle of a wanted one is ours too: somebody changed it, and with that took its cookie.
    """
    wanted = {item.place for item in wire.filters}
    nodes = {(*item.place[:3], item.protocol, item.handle) for item in wire.filters}
    stale = []
    seen = set()
    for item in state.filters:
        where = place(item)
        node = (*where[:3], _PROTOCOLS.get(item.protocol), item.handle & _U32_NODE)
        if not is_ours(item):
            if item.kind == "u32" and node in nodes:
                stale.append(item)
        elif where not in wanted or where in seen:
            stale.append(item)
        else:
            seen.add(where)
    return stale


def _qdiscs(sock: socket.socket) -> dict[int, str]:
    request = netlink.message(_RTM_GETQDISC, netlink.DUMP, struct.pack("=BxxxiIII", 0, 0, 0, 0, 0))
    found = {}
    for message in kernel.dump(sock, request):
        index, parent, _, kind = netlink.tc(message.body)
        if parent == _TC_H_CLSACT:
            found[index] = kind
    return found


def _filters(sock: socket.socket, index: int, parent: int) -> list[netlink.Message]:
    try:
        return kernel.dump(sock, netlink.dump_filters(index, parent))
    except kernel.Refused:  # the link or its qdisc went meanwhile
        return []


def is_ours(item: netlink.Filter) -> bool:
    """Whether it bears our mark."""
    return any(cookie.startswith(MARK) for cookie in item.cookies)


def place(item: netlink.Filter) -> Place:
    """Where a filter sits, as Filter.place of the wire; the cookie of ours is the last action's."""
    return item.ifindex, _DIRECTIONS[item.parent], item.pref, (item.cookies or (b"",))[-1]


def _head(item: netlink.Filter) -> tuple[int, int, int, int]:
    """The filters of one interface, hook, preference and protocol, which the kernel keeps together."""
    return item.ifindex, item.parent, item.pref, item.protocol


def _delete(item: netlink.Filter, dev: str, shared: bool) -> str:
    """By handle where another filter shares the preference; else all of it, as u32 leaves a table else."""
    protocol = _PROTOCOLS.get(item.protocol, f"{item.protocol:#06x}")
    place = f"{_DIRECTIONS[item.parent]} pref {item.pref} protocol {protocol}"
    if not shared:
        return f"filter del dev {dev} {place}"
    handle = f"{item.handle:#x}"
    if item.kind == "u32":
        handle = f"{item.handle >> 20:x}:{item.handle >> 12 & 0xFF:x}:{item.handle & 0xFFF:x}"
    return f"filter del dev {dev} {place} handle {handle} {item.kind}"


def _run(script: list[str]) -> str:
    """Run the lines in one tc, going on past one that fails; returns what it complained of."""
    if not script:
        return ""
    text = "".join(f"{line}\n" for line in script)
    try:
        done = subprocess.run(
            ["tc", "-force", "-batch", "-"],
            check=False,
            input=text,
            text=True,
            errors="replace",
            capture_output=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"tc: {error}"
    return done.stderr


def _missing(wire: Wire, absent: Iterable[Filter], state: State, said: str) -> list[str]:
    """A line for each filter that is still not there, then the modules it may be for, and what tc said of it."""
    have = {place(item) for item in state.filters}
    lacking = [item for item in absent if item.place not in have]
    lines = list(
        dict.fromkeys(
            f"{item.dev}: the wire's filter at {item.direction} pref {item.pref} is not there"
            for item in lacking
        )
    )
    lines += _modules(wire, lacking, state)
    complaints = dict.fromkeys(line for line in said.splitlines() if line.startswith("Error: "))
    if lacking and said:
        lines.append("tc said: " + "; ".join(complaints or said.split("\n")[:3]))
    return lines


def _modules(wire: Wire, lacking: list[Filter], state: State) -> Iterator[str]:
    """What is said of the modules of the lacking filters that no filter in place needs.

    The kernel's own message does not say which one it has not got.
    """
    used = {name for item in wire.filters if item not in lacking for name in item.modules}
    used |= {f"cls_{item.kind}" for item in state.filters}
    needed = [name for item in lacking for name in item.modules]
    if any(item.index not in state.qdiscs for item in lacking):
        needed.insert(0, "sch_ingress")
    names = [name for name in dict.fromkeys(needed) if name not in used]
    if none := modules.lacking(names):
        yield f"this kernel has no {', '.join(none)}"
    if unloaded := modules.unloaded(names):
        yield f"kernel modules that the wire needs and that are not loaded: {', '.join(unloaded)}"


def _record(index: int) -> Path:
    return Path("/") / files.RUNTIME / f"clsact-{index}"


def _remember(index: int) -> None:
    """Note that the clsact of an interface is ours, since a qdisc itself can't bear a mark."""
    files.touch(_record(index))


def _remove_clsact(state: State, names: Mapping[int, str], kept: Collection[int]) -> None:
    """Take away each clsact that we added, once neither we nor anybody else has a filter there.

    An interface drops what it sends in the moment in which it gets or loses one (dev_deactivate() in
    qdisc_graft(), net/sched/sch_api.c), so one that may soon be wired again keeps it.
    """
    used = {item.ifindex for item in state.filters} | set(kept)
    script = []
    for record in (Path("/") / files.RUNTIME).glob("clsact-*"):
        number = record.name.removeprefix("clsact-")
        if not re.fullmatch("[0-9]{1,10}", number):
            continue  # not ours
        index = int(number)
        if index in used and state.qdiscs.get(index) != "ingress":  # else another's is in its place
            continue
        if index in names and state.qdiscs.get(index) == "clsact":
            script.append(f"qdisc del dev {names[index]} clsact")
        files.remove(record)
    _run(script)
