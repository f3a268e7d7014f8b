# SPDX-License-Identifier: MIT
"""keepalived.conf with its VIPs on dummies and its sources pinned: what changes, and what can't. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from keepalived_dummy import foreign, moves, onlink, pins, targets
from keepalived_dummy.config import DEFAULT_NAME, Config
from keepalived_dummy.edits import Clash, Edit, edit, lines
from keepalived_dummy.errors import Problem, UserError
from keepalived_dummy.keepalived import Address, Document, Instance, Statement, Word, read_from
from keepalived_dummy.keepalived.includes import Files
from keepalived_dummy.keepalived.tokens import LONGEST
from keepalived_dummy.targets import Facts, Moving, Wish

MAX_CLASHES = 1000
_SOURCES = ("mcast_src_ip", "unicast_src_ip")


@dataclass(frozen=True)
class Vip:
    """An address of an instance in its normal form, and the device it is on before and after."""

    instance: str
    address: str
    before: str
    after: str


@dataclass(frozen=True)
class Rewrite:
    """What is to be done: files that change, from `before` to `after`, and confs to be made; path to content.

    `vips`: all whose place is certain. `routes`: instance and line of each route that is added to virtual_routes.
    `read`: all files of the configuration.
    """

    before: Mapping[str, bytes] = field(default_factory=dict)
    after: Mapping[str, bytes] = field(default_factory=dict)
    confs: Mapping[str, bytes] = field(default_factory=dict)
    vips: tuple[Vip, ...] = ()
    notes: tuple[str, ...] = ()
    refused: tuple[Problem, ...] = ()
    routes: tuple[tuple[str, str], ...] = ()
    read: Mapping[str, bytes] = field(default_factory=dict)


def rewrite(document: Document, files: Files, config: Config, facts: Facts, wish: Wish) -> Rewrite:
    """Plan the edits.

    Raises UserError where the dummy that was asked for does not do, or keepalived runs in another network namespace.
    """
    elsewhere = list(_elsewhere(document))
    found = moves.find(document, config, facts, wish)
    if wish.dummy is None:
        chosen = targets.choose(document, config, facts, found.moving)
    else:
        chosen = targets.named(document, config, facts, found.moving, wish.dummy)
    contents = dict(document.files)
    real = {path: files.real(path)[0] for path in contents}
    there = {real[path]: content for path, content in contents.items()}
    name = next(iter(chosen.names.values()), wish.dummy or DEFAULT_NAME)
    added = onlink.add(found.routes, document, contents)
    edits = [*moves.rewrite(contents, found.moving, chosen), *added.edits]
    refused = [
        replace(
            p, path=real[p.path], message=p.message.replace(f"dev {moves.DUMMY}", f"dev {name}")
        )
        for p in (*found.refused, *elsewhere, *added.problems)
    ]
    _settle(there, _without(edits, real, refused), refused)
    moving = _left(found.moving, real, refused)
    served = moves.served(document, config, moving)
    for one in pins.pin(document, contents, facts, served) if wish.pin else ():
        if isinstance(one, Problem):
            refused.append(replace(one, path=real[one.path]))
        else:
            edits.append(one)
    after = _settle(there, _without(edits, real, refused), refused)
    moving = _left(moving, real, refused)
    notes = [*map(str, document.problems), *found.notes, *_routes(moving)]
    notes += _pace(document, moving, chosen.names)
    routes = tuple((one.instance.name.text, one.line) for one in added.routes)
    result = read_from(Overlay(files, after), document.path) if routes else document
    notes += foreign.unseen(result, config)
    notes += foreign.of_scripts(document) if moving else ()
    vips = tuple(_places(document, moving, chosen.names))
    used = {chosen.names[device] for _, _, device in moving if device in chosen.names}
    confs = chosen.confs if used else {}
    before = {path: there[path] for path in after}
    found_wrong = tuple(sorted(set(refused)))
    return Rewrite(before, after, confs, vips, _once(notes), found_wrong, routes, contents)


def _elsewhere(document: Document) -> Iterator[Problem]:
    """A network namespace of keepalived's own that is not certain. Raises UserError where it is."""
    word = document.model.net_namespace
    if word is None:
        return
    if word.certain:
        raise UserError(
            f"{word.where}: keepalived runs in the network namespace {word.text}, where networkd does not"
            " configure interfaces and this package makes none",
            "take net_namespace out to have the VIPs on a dummy of this host",
        )
    yield Problem(
        word.path,
        word.line,
        f"keepalived may run in the network namespace {word.text} ({word.origin}), where this package"
        " makes no dummy",
    )


def _without(edits: list[Edit], real: Mapping[str, str], refused: list[Problem]) -> list[Edit]:
    """The edits, but none of a line that is refused: a file that others include too has to fit all of them."""
    left = {(problem.path, problem.line, False) for problem in refused}
    placed = (one._replace(path=real[one.path]) for one in edits)
    return [one for one in placed if _line(one) not in left]


def _left(moving: Moving, real: Mapping[str, str], refused: list[Problem]) -> Moving:
    """The VIPs whose lines are not refused."""
    lines_ = {(problem.path, problem.line) for problem in refused}
    places = ((one, one[1].statement.words[0]) for one in moving)
    return [one for one, word in places if (real[word.path], word.line) not in lines_]


def _once(notes: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(notes))


def _settle(
    contents: Mapping[str, bytes], edits: list[Edit], refused: list[Problem]
) -> dict[str, bytes]:
    """The edits made; lines where they contradict each other, or get too long, are left and refused."""
    for _ in range(MAX_CLASHES):
        try:
            after = edit(contents, edits)
        except Clash as clash:
            one, other = clash.one, clash.other
            wrong = (
                f"it is included more than once, and would be both {_show(one)} and {_show(other)}"
            )
        else:
            found = _too_long(contents, edits)
            if found is None:
                return after
            one, wrong = found, f"it would be longer than the {LONGEST - 1} bytes keepalived reads"
        refused.append(Problem(one.path, one.line, f"{wrong}; write it by hand"))
        edits = [e for e in edits if _line(e) != _line(one)]
    return {}


def _line(one: Edit) -> tuple[str, int, bool]:
    """The line that is edited, or before which one is put."""
    return one.path, one.line, one.text.endswith(b"\n")


def _show(one: Edit) -> str:
    return ascii(one.text.decode("utf-8", "replace").strip())


def _too_long(contents: Mapping[str, bytes], edits: list[Edit]) -> Edit | None:
    split = {path: lines(content) for path, content in contents.items()}
    grown: Counter[tuple[str, int]] = Counter()
    for one in set(edits):
        if not one.text.endswith(b"\n"):
            grown[one.path, one.line] += len(one.text) - one.end + one.start
            text = split[one.path][one.line - 1]
            if len(text) + grown[one.path, one.line] > LONGEST:
                return one
    return None


def _places(document: Document, moving: Moving, names: Mapping[str, str]) -> Iterator[Vip]:
    moved = {id(vip): names.get(device, device) for _, vip, device in moving}
    for instance in document.model.instances:
        for vip in instance.vips:
            device = vip.device or instance.interface
            if vip.valid and vip.certain and device and device.certain:
                before = device.text
                if id(vip) not in moved and moves.alone(instance):
                    continue  # it is on an interface that keepalived makes
                yield Vip(instance.name.text, normal(vip), before, moved.get(id(vip), before))


def _routes(moving: Moving) -> Iterator[str]:
    """IPv6 routes that can lose their `src` in the moment of the move (fib6_remove_prefsrc())."""
    gone = {vip.address for _, vip, _ in moving}
    for instance, _, _ in moving:
        for route in instance.virtual_routes:
            address = onlink.source(route)
            if address in gone and ":" in address:
                where = route.words[0].where
                yield (
                    f"{where}: an older kernel takes `src {address}` off this route when the address"
                    " moves; it is back when the instance is next MASTER"
                )


def _pace(document: Document, moving: Moving, names: Mapping[str, str]) -> Iterator[str]:
    """Groups that paced the announcements of VIPs that move: keepalived goes by the interface of each VIP (vrrp_arp.c)."""
    groups = [list(_paced(group)) for group in document.model.garp_groups]
    known = {word.text for words in groups for word in words}
    for device in dict.fromkeys(device for _, _, device in moving if device in names):
        dummy = names[device]
        for word in (word for words in groups for word in words if word.text == device):
            if dummy not in known:
                yield (
                    f"{word.where}: garp_group: keepalived paces by the interface that a VIP is on, so it no"
                    f" longer paces those that move; write {dummy} beside {device}"
                )


def _paced(group: Statement) -> Iterator[Word]:
    for setting in group.children:
        if setting.keyword == "interface":
            yield from setting.words[1:2]
        elif setting.keyword == "interfaces":
            yield from (word for line in setting.children for word in line.words)


@dataclass(frozen=True)
class Overlay:
    """Files with others in place of some, by their real path."""

    below: Files
    contents: Mapping[str, bytes]

    def read(self, path: str) -> bytes:
        """See Files."""
        content = self.contents.get(self.below.real(path)[0])
        return self.below.read(path) if content is None else content

    def names(self, folder: str) -> list[str]:
        """See Files."""
        return self.below.names(folder)

    def real(self, path: str) -> tuple[str, frozenset[str]]:
        """See Files."""
        return self.below.real(path)


def verify(document: Document, files: Files, done: Rewrite) -> list[str]:
    """Read the result back: what differs from what was wanted. Empty where nothing does."""
    again = read_from(Overlay(files, done.after), document.path)
    old, new = document.model.instances, again.model.instances
    wrong = []
    if [_pairs(one) for one in old] != [_pairs(one) for one in new]:
        return ["the result has other addresses"]
    if _messages(again) - _messages(document):
        wrong.append("the result has more problems: " + "; ".join(map(str, again.problems)))
    wanted: dict[tuple[str, str], set[str]] = defaultdict(set)
    for vip in done.vips:
        wanted[vip.instance, vip.address].add(vip.after)
    for before, after in zip(old, new, strict=True):
        added = [line for name, line in done.routes if name == before.name.text]
        if _rest(before) != _rest(after) or not _is_added(before, after, added):
            wrong.append(f"vrrp_instance {before.name.text} differs in more than addresses")
        if not _may_become(before, after):
            wrong.append(f"vrrp_instance {before.name.text} has another source")
        for line in (vip for vip in after.vips if vip.valid and vip.certain):
            device = line.device or after.interface
            places = wanted.get((after.name.text, normal(line)))
            if places and (device is None or device.text not in places):
                wrong.append(f"{line.where}: {line.address} is not on {' or '.join(places)}")
    return wrong


def _messages(document: Document) -> Counter[str]:
    """The problems without their lines, which an inserted line moves."""
    return Counter(re.sub(r":\d+", "", problem.message) for problem in document.problems)


def normal(vip: Address) -> str:
    """An address as the kernel's dump is shown; as it is where it is none."""
    try:
        return str(ipaddress.ip_address(vip.address))
    except ValueError:
        return vip.address


def _pairs(instance: Instance) -> tuple[str, list[tuple[str, bool]]]:
    return instance.name.text, [(vip.address, vip.excluded) for vip in instance.vips]


def _rest(instance: Instance) -> list[object]:
    """All of an instance but its addresses, its source and its routes."""
    skipped = (*_SOURCES, "virtual_ipaddress", "virtual_ipaddress_excluded", "virtual_routes")
    return [_plain(c) for c in instance.statement.children if c.keyword not in skipped]


def _is_added(before: Instance, after: Instance, routes: list[str]) -> bool:
    """Whether virtual_routes has what it had, and these routes besides."""
    old = [_plain(route) for route in before.virtual_routes]
    new = [_plain(route) for route in after.virtual_routes]
    for route in routes:
        line: object = (tuple(route.split()), [])
        if line not in new:
            return False
        new.remove(line)
    return new == old


def _may_become(before: Instance, after: Instance) -> bool:
    """Whether the source of an instance is as it was, pinned where it was not, or renewed."""
    old, new = _sources(before), _sources(after)
    if moves.alone(before):
        return old == new
    return len(new) == len(old) or (not old and all(one == new[0] for one in new))


def _sources(instance: Instance) -> list[object]:
    return [_plain(c) for c in instance.statement.children if c.keyword in _SOURCES]


def _plain(statement: Statement) -> object:
    texts = tuple(word.text for word in statement.words)
    return texts, [_plain(child) for child in statement.children]
