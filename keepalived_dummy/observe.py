# SPDX-License-Identifier: MIT
"""Looks at the host and changes nothing: what `status` and `check` know of it.

Anybody may look. What only root may read (keepalived.conf, mostly; keepalived's state) is then named as unseen, and
the uplinks are those the daemon knows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from keepalived_dummy import (
    assembly,
    config,
    files,
    keepalived,
    kernel,
    lastgood,
    links,
    processes,
    programs,
    routes,
    runtime,
    service,
    sysctls,
    tc,
    uplinks,
    wayout,
    wire,
)
from keepalived_dummy.assembly import Sources
from keepalived_dummy.interfaces import ADDR_GEN_NONE, IFF_RUNNING, IFF_UP, Link
from keepalived_dummy.netlink import AF_INET, AF_INET6
from keepalived_dummy.observed import Keepalived, Network, Observation, Running, Unseen
from keepalived_dummy.processes import Process
from keepalived_dummy.state import VERSION

ROOT = Path("/")
_LINKS = Path("run/systemd/netif/links")  # networkd's, by interface index
_IGMP6 = Path("/proc/net/igmp6")
_DENIED = os.strerror(13)
_PID_MAX = 1 << 22  # PID_MAX_LIMIT in linux/threads.h
_NUMBER = (int, float)
_REPORT: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("version", "pid", "memberships", "memberships_failed"), (int,)),
    **dict.fromkeys(("heals", "events"), (dict,)),
    **dict.fromkeys(("way_out", "missing", "problems"), (list,)),
    "last": (str,),
    "last_event": _NUMBER,
}
_WAY: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("uplink", "family"), (str,)),
    **dict.fromkeys(("known", "in_use", "times"), (int,)),
    "since": (*_NUMBER, type(None)),
    "seconds": _NUMBER,
}


@dataclasses.dataclass(frozen=True)
class Intent:
    """keepalived.conf and the confs as they are to be, in place of those that are there."""

    document: keepalived.Document
    config: config.Config


def read(file: Path = keepalived.CONFIG) -> Observation:
    """The host as it is now; `file` is keepalived's configuration."""
    return assembly.assemble(sources(file))


def sources(
    file: Path = keepalived.CONFIG, ask: bool = True, intent: Intent | None = None
) -> Sources:
    """All that is read of the host, as it is read. Without `ask` keepalived is not asked for its state.

    With `intent` the dummies that are not there yet are seen as they will be, and keepalived, which has its former
    configuration, is not asked.
    """
    unseen: list[Unseen] = []
    document = intent.document if intent else keepalived.read(file)
    readable = not any(_DENIED in problem.message for problem in document.problems)
    wanted = lastgood.known(ROOT, intent.config if intent else config.load(ROOT))
    before = lastgood.uplinks(ROOT)
    if not readable:
        unseen.append(Unseen(str(file), "only root may read it"))
        wanted = _with_uplinks(wanted, before)
    unseen += unread(document)
    host = links.read_patiently()
    new: frozenset[str] = frozenset()
    if intent:
        new = frozenset(dummy.name for dummy in wanted.dummies) - host.links.keys()
        host = _with_dummies(host, sorted(new))
    found = uplinks.resolve(wanted, document, host.links, host.addresses, before)
    there = sorted(found.every & host.links.keys())
    report = _report()
    running, process = _running(file, readable)
    states, why = _states(running.pid, process, file) if ask and not intent else (None, "")
    if why:
        unseen.append(Unseen("keepalived's state", why))
    return Sources(
        time=time.time(),
        config=wanted,
        document=document,
        host=host,
        found=found,
        wire=wire.render(
            found.joints, sysctls.silent(found.every), programs.standing(found.joints)
        ),
        filters=tc.read().filters,
        routes=_routes((host.links[name].ifindex for name in there), unseen),
        networks=dict(_networks(host, found)),
        networkd={name: links.made_by_networkd(name) for name in found.names},
        members=_members(),
        report=report,
        daemon=_is_daemon(report.get("pid", 0)),
        keepalived=running,
        states=states,
        unseen=tuple(unseen),
        new=new,
    )


def _running(file: Path, readable: bool) -> tuple[Keepalived, Process | None]:
    """The keepalived that reads the file, or that of keepalived.service, and its process where that is known."""
    main = service.find().pid
    mine, others = processes.choose(processes.find(), main, service.UNIT, file)
    others_ = tuple(
        Running(one.pid, one.unit, one.config, processes.reads(one, Path(one.config)) is True)
        for one in others
    )
    pid, unit = (mine.pid, mine.unit) if mine else (main, service.UNIT)
    return Keepalived(pid, str(file), readable, False, unit, others_, processes.hidden()), mine


def _states(pid: int, mine: Process | None, file: Path) -> tuple[service.States | None, str]:
    """What keepalived says, or why it says nothing; neither where it does not run."""
    if not pid:
        return None, ""
    if mine and mine.here is False:
        return None, f"{mine} is in another network namespace"
    if mine and processes.reads(mine, file) is False:
        return None, f"{mine} reads {mine.config} and not {file}"
    if os.geteuid() != 0:
        return None, "only root may ask it"
    if mine and mine.unit != service.UNIT and not processes.speaks(mine):
        return None, f"{mine} is another program than this host's, as in a container"
    states = service.states(pid)
    return states, "" if states is not None else service.obstacle(pid) or "it does not tell"


def unread(document: keepalived.Document) -> Iterator[Unseen]:
    """What of keepalived.conf could not be read, or not for what it says. That there is none is no matter."""
    for one in document.errors:
        if one.line and _DENIED not in one.message:
            yield Unseen(one.where, one.message)


def _with_dummies(host: links.Host, new: list[str]) -> links.Host:
    """The host with the dummies that it will have."""
    first = max((link.ifindex for link in host.links.values()), default=0) + 1
    made = {
        name: Link(index, IFF_UP | IFF_RUNNING, name, "dummy", b"", 1500, ADDR_GEN_NONE, hardware=1)
        for index, name in enumerate(new, first)
    }
    return links.Host({**host.links, **made}, host.addresses)


def _with_uplinks(wanted: config.Config, names: uplinks.Names) -> config.Config:
    """The dummies that name no uplink with those of `names`."""
    return dataclasses.replace(
        wanted,
        dummies=tuple(
            dataclasses.replace(dummy, uplinks=dummy.uplinks or names.get(dummy.name, ()))
            for dummy in wanted.dummies
        ),
    )


def _report() -> Mapping[str, Any]:
    """The daemon's state.json; empty where there is none, or another version's."""
    try:
        made = runtime.load(ROOT / files.RUNTIME / "state.json")
    except (OSError, ValueError):
        return {}
    return made if _is_report(made) else {}


def _is_report(made: Any) -> bool:
    """Whether it is what report.report writes: the file's folder is another user's."""
    return (
        _has(made, _REPORT)
        and made["version"] == VERSION
        and 0 <= made["pid"] <= _PID_MAX
        and all(_has(one, _WAY) for one in made["way_out"])
        and all(isinstance(one, str) for one in (*made["missing"], *made["problems"]))
        and all(type(one) is int for name in ("heals", "events") for one in made[name].values())
    )


def _has(made: Any, fields: Mapping[str, tuple[type, ...]]) -> bool:
    """Whether it is an object with these fields, each of one of these types."""
    return (
        isinstance(made, dict)
        and all(type(made.get(name)) in types for name, types in fields.items())
        and all(math.isfinite(one) for one in made.values() if isinstance(one, float))
    )


def _is_daemon(pid: int) -> bool:
    """Whether the process that wrote state.json still runs, and is that one."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return _is_hidden(pid)
    return words[-2:-1] == [b"daemon"] and any(b"keepalived" in word for word in words)


def _is_hidden(pid: int) -> bool:
    """Whether a process is there that /proc does not show (hidepid= in proc(5)); then it is taken for what it was."""
    try:
        os.kill(pid or os.getpid(), 0)
    except PermissionError:
        return True
    except OSError:
        pass
    return False


def _routes(indices: Iterable[int], unseen: list[Unseen]) -> tuple[routes.Route, ...]:
    try:
        return tuple(routes_through(indices))
    except OSError as error:
        unseen.append(Unseen("the routes of the uplinks", error.strerror or str(error)))
        return ()


def routes_through(indices: Iterable[int]) -> Iterator[routes.Route]:
    """The routes of these links; of a router's full table those alone that a way out would keep. Raises OSError."""
    with kernel.open_dump_socket() as sock:
        for index, family in itertools.product(indices, (AF_INET, AF_INET6)):
            thin = functools.partial(wayout.preferred, ifindex=index)
            with contextlib.suppress(kernel.Refused):  # no IPv6, or the link is gone
                for message in kernel.dump(sock, routes.dump_routes(family, index), thin):
                    if message.type == routes.RTM_NEWROUTE:
                        route = routes.route(message.body, index)
                        yield from [route] if route else []


def _networks(host: links.Host, found: uplinks.Uplinks) -> Iterator[tuple[int, Network]]:
    """networkd's word on dummies and uplinks; nothing where it does not run."""
    for name in sorted((found.every | found.names.keys()) & host.links.keys()):
        index = host.links[name].ifindex
        if (said := networkd(index)) is not None:
            yield index, said[0]


def networkd(index: int) -> tuple[Network, list[Path]] | None:
    """Its word on a link, and the files it goes by; None where it does not run or does not know the link."""
    try:
        lines = (ROOT / _LINKS / str(index)).read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    values = dict(line.split("=", 1) for line in lines if "=" in line)
    file = values.get("NETWORK_FILE", "")
    # In quotes, and with colons between them (networkd-state-file.c).
    paths = [file, *values.get("NETWORK_FILE_DROPINS", "").strip('"').split(":")]
    return Network(file, values.get("ADMIN_STATE", "")), [Path(path) for path in paths if path]


def _members() -> frozenset[tuple[int, bytes]]:
    """Who is a member of which IPv6 group: interface index and group."""
    try:
        lines = _IGMP6.read_bytes().split(b"\n")
    except OSError:
        return frozenset()
    # Of bytes: str.split() also splits where a name has a blank that the kernel takes for none, as U+2003.
    words = (line.split() for line in lines)
    return frozenset((int(w[0]), bytes.fromhex(w[2].decode())) for w in words if len(w) > 2)
