# SPDX-License-Identifier: MIT
"""One pass of making the host as configured: networkd's files, the links, the wire."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals

from keepalived_dummy import (
    config,
    deaf,
    files,
    foreign,
    hearing,
    keepalived,
    kernel,
    lastgood,
    links,
    pinned,
    plan,
    policy_rules,
    programs,
    routes,
    sysctls,
    tc,
    units,
    uplinks,
    vrfs,
    wire,
)
from keepalived_dummy.errors import Problem
from keepalived_dummy.netlink import AF_INET, AF_INET6

ROOT = Path("/")


@dataclass
class Result:
    """What a pass did and could not do, as lines for people, and what the daemon has to know."""

    changed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    rewired: list[str] = field(default_factory=list)
    script: str = ""
    plan: dict[str, object] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The exit status: 1 where something could not be done."""
        return 1 if self.problems or self.missing else 0

    def add_units(self, result: units.Result) -> None:
        self.changed += [f"/{units.FOLDER}/{name}: written" for name in result.written]
        self.changed += [f"/{units.FOLDER}/{name}: removed" for name in result.removed]
        self.problems += map(str, result.problems)

    def add_foreign(self, result: foreign.Result) -> None:
        self.changed += result.changed
        self.problems += map(str, result.problems)

    def add_links(self, result: links.Result) -> None:
        self.changed += result.changed
        self.notes += result.stays
        self.problems += map(str, result.problems)


def apply(generate: bool = True, *, signals: Collection[Signals] = ()) -> Result:
    """Make everything as configured. Concurrent runs wait for each other; see files.lock for that and `signals`.

    Without `generate`, which needs root, the files of networkd are left to the generator.
    """
    result = Result()
    with files.lock(ROOT, signals), closing(links.Changer()) as change:
        wanted = config.load(ROOT)
        result.problems += map(str, wanted.problems)
        settled = frozenset(dummy.stem for dummy in wanted.dummies)
        if generate:
            generated = units.generate(ROOT, wanted)
            result.add_units(generated)
            result.add_foreign(foreign.generate(ROOT, wanted))
            settled = frozenset(s for s in settled if units.names(s)[0] not in generated.written)
        generated_from, wanted = wanted, lastgood.keep(ROOT, wanted)
        result.problems += map(str, wanted.problems[len(generated_from.problems) :])
        document = keepalived.read()
        done = links.sync(change, wanted, settled, _deaf(wanted, document))
        result.add_links(done)
        if generate and done.changed:  # a link that went needs its .network no more
            result.add_units(units.generate(ROOT, generated_from))
        _wire(wanted, document, change, result)
    return result


def _deaf(wanted: config.Config, document: keepalived.Document) -> dict[str, str]:
    """Find the dummies of instances that can't hear their peers, and why."""
    host = links.read()
    found: dict[str, str] = {}
    for one, why in deaf.find(_sources(wanted, document, host), host):
        found |= dict.fromkeys(one.dummies, f"vrrp_instance {one.instance}: {why}")
    return found


def show() -> tuple[str, list[str]]:
    """The whole wire as a script, were there none yet, and what keeps a dummy from being wired."""
    host = links.read()
    wanted = config.load(ROOT)
    found = _resolve(wanted, keepalived.read(), host)
    made = wire.render(found.joints, sysctls.silent(found.every))
    return made.script, [*map(str, found.problems), *found.waiting]


def remove() -> Result:
    """Take away what this package made: wire, way out, generated files, dummies that hold no address."""
    result = Result()
    with files.lock(ROOT), closing(links.Changer()) as change:
        host = links.read()
        # A VIP that stays is served on: an interface drops packets while it loses its clsact.
        held = links.in_use(host)
        kept = frozenset(host.names) if held else frozenset[int]()
        taken = tc.sync(wire.Wire("", ()), host.names, kept)
        result.changed += taken.changed
        result.changed += programs.take(programs.Result(), host.names, everywhere=True)
        _remove_way_out(host, held, result)
        _release_sources(host, held, result)
        result.add_links(links.remove_all(change))
        result.add_units(units.remove(ROOT))
        result.add_foreign(foreign.remove(ROOT))
        for name in ("plan.json", "memory.json"):
            files.remove(ROOT / files.RUNTIME / name)
    return result


def _remove_way_out(host: links.Host, held: bool, result: Result) -> None:
    """Take away the routes that the daemon left for its next start; those that a VIP's replies may need stay."""
    with kernel.open_socket() as sock:
        for number, family in ((4, AF_INET), (6, AF_INET6)):
            try:
                found = list(_way_out(family))
            except OSError as error:
                what = f"the IPv{number} routes of the way out could not be read: {error.strerror or error}"
                result.problems.append(f"{what}; run this again")
                continue
            for name in dict.fromkeys(host.names.get(route.ifindex, "?") for route in found):
                what = f"{name}: IPv{number} routes of the way out"
                if held:
                    command = f"ip -{number} route flush table all proto {routes.PROTOCOL}"
                    result.notes.append(f"{what} stay, a VIP is held; to remove them: {command}")
                else:
                    result.changed.append(f"{what} removed")
            for route in found if not held else ():
                sock.send(routes.take(route))
            _remove_rules(sock, number, family, held, result)


def _remove_rules(
    sock: socket.socket, number: int, family: int, held: bool, result: Result
) -> None:
    """Take away the rules that stand for networkd's; where a VIP is held its replies may need them."""
    with kernel.open_dump_socket() as dumps, contextlib.suppress(OSError):  # no IPv6
        read = [policy_rules.rule(m.body) for m in kernel.dump(dumps, policy_rules.dump(family))]
        for one in read:
            if one is None or one.protocol != routes.PROTOCOL:
                continue
            what = f"IPv{number} rule {one.priority} of the way out"
            if held:
                command = f"ip -{number} rule delete pref {one.priority} proto {routes.PROTOCOL}"
                result.notes.append(f"{what} stays, a VIP is held; to remove it: {command}")
            else:
                sock.send(policy_rules.take(one))
                result.changed.append(f"{what} removed")


def _release_sources(host: links.Host, held: bool, result: Result) -> None:
    """Take away the local routes of pinned sources; one that is away stays while a VIP is held."""
    own = {item.address for item in host.addresses}
    with kernel.open_dump_socket() as sock:
        found = [routes.held(m.body) for m in kernel.dump(sock, routes.dump_held())]
    with kernel.open_socket() as sock:
        for one in found:
            if one is None:
                continue
            source = f"{hearing.text(one.address)}: the local route of the pinned source"
            if held and one.address not in own:
                command = f"ip route flush table all type local proto {routes.PROTOCOL}"
                result.notes.append(f"{source} stays, a VIP is held; to remove it: {command}")
            else:
                sock.send(routes.release(one))
                result.changed.append(f"{source} removed")


def _way_out(family: int) -> Iterator[routes.Route]:
    """The routes of the way out, wherever they are."""
    with kernel.open_dump_socket() as sock, contextlib.suppress(kernel.Refused):  # no IPv6
        for message in kernel.dump(sock, routes.dump_routes(family, 0)):
            if message.type == routes.RTM_NEWROUTE:
                route = routes.of_way_out(message.body)
                if route and route.family == family:
                    yield route


def _sources(
    wanted: config.Config, document: keepalived.Document, host: links.Host
) -> tuple[plan.PinnedSource, ...]:
    """The pinned sources as they are now, and as the last pass knew them where keepalived.conf is bad."""
    return pinned.sources(wanted, document, host.links, lastgood.sources(ROOT))


def _resolve(
    wanted: config.Config, document: keepalived.Document, host: links.Host
) -> uplinks.Uplinks:
    """The uplinks as they are now, and as the last pass knew them where keepalived.conf is bad."""
    before = lastgood.uplinks(ROOT)
    return uplinks.resolve(wanted, document, host.links, host.addresses, before)


def _wire(
    wanted: config.Config, document: keepalived.Document, change: links.Changer, result: Result
) -> None:
    """Wire the dummies, each in the VRF of its uplinks, and have those that were rewired announced again."""
    host = links.read()
    found = _resolve(wanted, document, host)
    _move(wanted, change, host, found.names, result)
    result.notes += found.waiting
    result.problems += map(str, found.problems)
    silent = sysctls.silent(found.every)
    first = programs.put(found.joints, silent)
    made = wire.render(found.joints, silent, first.standing)
    done = tc.sync(made, host.names, _candidates(wanted, document, host))
    result.changed += (*first.changed, *done.changed, *programs.take(first, host.names))
    result.missing += (*first.missing, *done.missing)
    for joint in found.joints:
        if joint.dummy.name in done.rewired:
            result.rewired.append(joint.dummy.name)
            links.announce(host.links[joint.dummy.name])
    result.script = made.script
    result.plan = {
        "dummies": [
            {
                "name": dummy.name,
                "alias": links.ALIAS + dummy.stem,
                "mtu": dummy.mtu,
                "mac": dummy.mac,
                "wire": dummy.wire,
                "way_out": dummy.way_out,
                "uplinks": list(found.names[dummy.name]),
            }
            for dummy in wanted.dummies
            if dummy.name not in host.links or host.links[dummy.name].kind == "dummy"
        ],
        "watch": sorted(set(_watch(document))),
        "sysctls": sorted(_sysctls(found)),
        "filters": [
            [item.index, item.direction, item.pref, item.cookie.hex(), item.line]
            for item in made.filters
        ],
        "sources": list(map(plan.source, _sources(wanted, document, host))),
    }


def _move(
    wanted: config.Config,
    change: links.Changer,
    host: links.Host,
    names: uplinks.Names,
    result: Result,
) -> None:
    """Put dummies into the VRFs of their uplinks; none that holds a VIP, which the kernel would take."""
    paths = {dummy.name: dummy.path for dummy in wanted.dummies}
    wrong = dict(vrfs.divided(names, host.links))
    for one in vrfs.moves(names, host.links):
        dummy, vrf = host.links[one.dummy], host.links.get(one.vrf)
        where = f"in VRF {one.vrf}" if vrf else "in no VRF"
        if held := host.held(dummy):
            wrong[one.dummy] = (
                f"{one.dummy} has to be {where} as {one.uplink} is, and holds {', '.join(held)}:"
                " stop keepalived, run this again, and start it"
            )
            continue
        try:
            links.move(change, dummy, vrf)
        except OSError as error:
            wrong[one.dummy] = f"the kernel does not put {one.dummy} {where}: {error.strerror}"
        else:
            result.changed.append(f"{one.dummy}: {where}, as {one.uplink} is")
    result.problems += (str(Problem(paths[name], 0, text)) for name, text in wrong.items())


def _candidates(
    wanted: config.Config, document: keepalived.Document, host: links.Host
) -> frozenset[int]:
    """The interfaces of keepalived.conf, to which a dummy without Name= of an uplink may be wired again."""
    if not any(dummy.wire and not dummy.uplinks for dummy in wanted.dummies):
        return frozenset()
    words = (instance.interface for instance in document.model.instances)
    names = {word.text for word in words if word is not None and word.certain}
    return frozenset(index for index, name in host.names.items() if name in names)


def _watch(document: keepalived.Document) -> Iterator[str]:
    """The folders in which a change asks for a new pass."""
    yield from (f"/{folder}" for folder in config.FOLDERS)
    for path in keepalived.sources(document):
        yield str(path if path.is_dir() else path.parent)


def _sysctls(found: uplinks.Uplinks) -> set[str]:
    return {sysctls.path("ipv4", name, "arp_ignore") for name in ("all", *found.every)}
