# SPDX-License-Identifier: MIT
"""keepalived.conf with its VIPs on dummies and its sources pinned: what changes, and what can't. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from keepalived_dummy import foreign, moves, pins, targets
from keepalived_dummy.config import DEFAULT_NAME, Config
from keepalived_dummy.edits import Clash, Edit, edit, lines
from keepalived_dummy.errors import Problem
from keepalived_dummy.keepalived import Address, Document, Instance, Statement, read_from
from keepalived_dummy.keepalived.includes import Files
from keepalived_dummy.keepalived.tokens import LONGEST
from keepalived_dummy.targets import Facts, Moving

MAX_CLASHES = 1000


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

    `vips`: all whose place is certain.
    """

    before: Mapping[str, bytes] = field(default_factory=dict)
    after: Mapping[str, bytes] = field(default_factory=dict)
    confs: Mapping[str, bytes] = field(default_factory=dict)
    vips: tuple[Vip, ...] = ()
    notes: tuple[str, ...] = ()
    refused: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Wish:
    """What was asked for: the one dummy to use, and whether sources are pinned."""

    dummy: str | None = None
    pin: bool = True


def rewrite(document: Document, files: Files, config: Config, facts: Facts, wish: Wish) -> Rewrite:
    """Plan the edits. Raises UserError where the dummy that was asked for does not do."""
    found = moves.find(document, config, facts)
    if wish.dummy is None:
        chosen = targets.choose(document, config, facts, found.moving)
    else:
        chosen = targets.named(document, config, facts, found.moving, wish.dummy)
    contents = dict(document.files)
    edits = list(moves.rewrite(contents, found.moving, chosen))
    name = next(iter(chosen.names.values()), wish.dummy or DEFAULT_NAME)
    refused = [
        replace(p, message=p.message.replace(f"dev {moves.DUMMY}", f"dev {name}"))
        for p in found.refused
    ]
    for one in pins.pin(document, contents, facts) if wish.pin else ():
        if isinstance(one, Problem):
            refused.append(one)
        else:
            edits.append(one)
    real = {path: files.real(path)[0] for path in contents}
    refused = [replace(problem, path=real[problem.path]) for problem in refused]
    edits = _without(edits, real, refused)
    there = {real[path]: content for path, content in contents.items()}
    after = _settle(there, edits, refused)
    left = {(problem.path, problem.line) for problem in refused}
    moving = [m for m in found.moving if _at(m, real) not in left]
    notes = [*map(str, document.problems), *found.notes, *_routes(moving)]
    notes += foreign.unseen(document, config)
    notes += foreign.of_scripts(document) if moving else ()
    vips = tuple(_places(document, moving, chosen.names))
    used = {chosen.names[device] for _, _, device in moving if device in chosen.names}
    confs = chosen.confs if used else {}
    before = {path: there[path] for path in after}
    return Rewrite(before, after, confs, vips, _once(notes), tuple(sorted(set(refused))))


def _without(edits: list[Edit], real: Mapping[str, str], refused: list[Problem]) -> list[Edit]:
    """The edits, but none of a line that is refused: a file that others include too has to fit all of them."""
    left = {(problem.path, problem.line, False) for problem in refused}
    placed = (one._replace(path=real[one.path]) for one in edits)
    return [one for one in placed if _line(one) not in left]


def _at(one: tuple[Instance, Address, str], real: Mapping[str, str]) -> tuple[str, int]:
    word = one[1].statement.words[0]
    return real[word.path], word.line


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
            address = source_of(route)
            if address in gone and ":" in address:
                where = route.words[0].where
                yield (
                    f"{where}: an older kernel takes `src {address}` off this route when the address"
                    " moves; it is back when the instance is next MASTER"
                )


def source_of(route: Statement) -> str:
    """The address in a route's `src`; empty where there is none."""
    texts = [word.text for word in route.words]
    return texts[texts.index("src") + 1] if "src" in texts[:-1] else ""


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
        if _rest(before) != _rest(after):
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
    """All of an instance but its addresses and its source."""
    skipped = ("virtual_ipaddress", "virtual_ipaddress_excluded", "mcast_src_ip", "unicast_src_ip")
    return [_plain(c) for c in instance.statement.children if c.keyword not in skipped]


def _may_become(before: Instance, after: Instance) -> bool:
    """Whether the source of an instance is as it was, pinned where it was not, or renewed."""
    old, new = _sources(before), _sources(after)
    if moves.alone(before):
        return old == new
    return len(new) == len(old) or (not old and all(one == new[0] for one in new))


def _sources(instance: Instance) -> list[object]:
    keywords = ("mcast_src_ip", "unicast_src_ip")
    return [_plain(c) for c in instance.statement.children if c.keyword in keywords]


def _plain(statement: Statement) -> object:
    texts = tuple(word.text for word in statement.words)
    return texts, [_plain(child) for child in statement.children]
