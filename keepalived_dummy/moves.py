# SPDX-License-Identifier: MIT
"""Which address lines of keepalived.conf move to a dummy, and how each is rewritten. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from keepalived_dummy.config import Config, misnamed
from keepalived_dummy.edits import Contents, Edit, lines
from keepalived_dummy.errors import Problem, UserError
from keepalived_dummy.keepalived import Address, Document, Instance, Word
from keepalived_dummy.losses import Losses
from keepalived_dummy.onlink import Route
from keepalived_dummy.targets import Facts, IPAddress, Moving, Targets, Wish

_LOST = {
    "label": "stays, but the interface it speaks of no longer bears the address",
    "scope": "stays, and holds on the dummy now",
}
DUMMY = "DUMMY"  # in a refusal: to be replaced by the name of the dummy


@dataclass
class Found:
    """What was found: `moving` can be rewritten, with certainty; `refused` can not.

    `routes`: those that VIPs of `moving` need and that are to be written.
    """

    moving: Moving = field(default_factory=list)
    routes: list[Route] = field(default_factory=list)
    refused: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def alone(instance: Instance) -> Word | None:
    """The word for which an instance is left alone: it has an interface of its own."""
    return instance.use_vmac or instance.use_ipvlan


def vips(document: Document) -> frozenset[IPAddress]:
    """All addresses that are VIPs, wherever they are."""
    every = (vip for instance in document.model.instances for vip in instance.vips if vip.valid)
    return frozenset(ipaddress.ip_address(vip.address) for vip in every)


def find(document: Document, config: Config, facts: Facts, wish: Wish) -> Found:
    """The VIPs that are not on a dummy of ours, or on one with a prefix too short.

    Raises UserError where a VIP that is to be left is none.
    """
    found = Found()
    dummies = frozenset(d.name for d in config.dummies)
    every = vips(document)
    losses = Losses(document, facts, every, wish.routes)
    known = _Known(dummies, every, facts, wish, dict(_made(document)), losses)
    for address in sorted(map(str, wish.leave - known.vips)):
        raise UserError(f"--leave {address}: no vrrp_instance of {document.path} has this address")
    for instance in document.model.instances:
        if word := alone(instance):
            found.notes.append(
                f"{word.where}: vrrp_instance {instance.name.text} has {word.text}: left alone"
            )
            continue
        for vip in instance.vips:
            _consider(instance, vip, known, found)
    return found


def served(document: Document, config: Config, moving: Moving) -> frozenset[str]:
    """The names of the instances that have a VIP on a dummy of ours once those of `moving` have moved."""
    dummies = {dummy.name for dummy in config.dummies}
    moved = {instance.name.text for instance, _, _ in moving}
    there = {
        instance.name.text
        for instance in document.model.instances
        for vip in instance.vips
        if vip.device is not None and vip.device.text in dummies and (vip.valid or not vip.certain)
    }
    return frozenset(moved | there)


@dataclass(frozen=True)
class _Known:
    """What a line is judged by: the file, our dummies, all VIPs, the host, what was asked for, and _made()."""

    dummies: frozenset[str]
    vips: frozenset[IPAddress]
    facts: Facts
    wish: Wish
    made: Mapping[str, str]
    losses: Losses


def _made(document: Document) -> Iterator[tuple[str, str]]:
    """Names of interfaces that keepalived makes and removes, and the vrrp_instance that has each (create_vmac_name())."""
    given = document.model.vmac_prefix
    prefix = given.text if given is not None else "vrrp"
    for instance in document.model.instances:
        if alone(instance) is None:
            continue
        lines = (*instance.statement.find("use_vmac"), *instance.statement.find("use_ipvlan"))
        for word in (word for line in lines for word in line.words[1:]):
            yield word.text, instance.name.text
        if instance.virtual_router_id is not None:
            number = instance.virtual_router_id.text
            yield from ((f"{prefix}{n}.{number}", instance.name.text) for n in ("", "6"))


def _consider(instance: Instance, vip: Address, known: _Known, found: Found) -> None:
    device = vip.device or instance.interface
    if not vip.valid and vip.certain:
        found.notes.append(f"{vip.where}: {vip.skipped}: left alone")
    elif vip.valid and ipaddress.ip_address(vip.address) in known.wish.leave:
        found.notes.append(f"{vip.where}: {vip.address}: left alone, as --leave says")
    elif any(option.keyword.text == "use_vmac" for option in vip.options):
        found.notes.append(f"{vip.where}: {vip.address} has use_vmac: left alone")
    elif device is not None and device.certain and vip.certain and device.text in known.dummies:
        if vip.prefix not in (None, vip.longest) or broadcast(vip):
            if wrong := _unsure(vip, device):
                found.refused.append(Problem(*_place(vip), wrong))
            else:
                found.moving.append((instance, vip, device.text))
                found.notes += _left_over(vip, device.text)
                found.notes += _deprecated(vip)
    elif device is not None and device.certain and device.text in known.made:
        owner = known.made[device.text]
        found.notes.append(
            f"{vip.where}: {vip.address}: keepalived makes {device.text} for vrrp_instance {owner}:"
            " left alone"
        )
    elif device is not None and device.certain and _is_no_uplink(device.text, known.facts):
        what = "no uplink: a dummy of others, or no Ethernet interface"
        found.notes.append(f"{vip.where}: {vip.address}: {device.text} is {what}: left alone")
    elif wrong := _unsure(vip, device) or _unfit(instance, vip, device, known):
        found.refused.append(Problem(*_place(vip), wrong))
    elif device is not None:
        found.routes += known.losses.routes(instance, vip, device.text)
        found.moving.append((instance, vip, device.text))
        found.notes += _lost(instance, vip, device.text)
        found.notes += _deprecated(vip)


def _lost(instance: Instance, vip: Address, device: str) -> Iterator[str]:
    """What can't be kept."""
    for keyword, value in vip.options:
        said = f"{keyword.text} {value.text if value else ''}"
        if _is_broadcast(keyword, value):
            yield f"{vip.where}: {vip.address}: {said} is taken out: {_why_out(value)}"
        elif keyword.text in _LOST and said != "scope global":
            yield f"{vip.where}: {vip.address}: {said} {_LOST[keyword.text]}"
    tracked = {line.words[0].text for line in instance.track_interface}
    tracked |= {instance.interface.text} if instance.interface else set()
    silent = any(keyword.text in ("no_track", "dont_track") for keyword, _ in vip.options)
    if device not in tracked and not silent:
        yield (
            f"{vip.where}: {vip.address}: keepalived no longer goes to FAULT with {device}; where it"
            f" should, write {device} into track_interface"
        )


def _deprecated(vip: Address) -> Iterator[str]:
    """A default of keepalived by the prefix length (alloc_ipaddress())."""
    said = any(keyword.text == "preferred_lft" for keyword, _ in vip.options)
    if vip.family == 6 and vip.prefix not in (None, vip.longest) and not said:
        yield (
            f"{vip.where}: {vip.address}: with /128 keepalived gives it preferred_lft 0 (deprecated: no"
            " source of this host's own connections), unless the line says preferred_lft forever"
        )


def _is_broadcast(keyword: Word, value: Word | None) -> bool:
    return keyword.text in ("brd", "broadcast") and value is not None


def broadcast(vip: Address) -> str:
    """The broadcast address that a line gives; empty where it gives none, or one by the prefix length (+ and -).

    Of that keepalived makes none with /32 (alloc_ipaddress()).
    """
    found = (o.value.text for o in vip.options if _is_broadcast(*o) and o.value is not None)
    return next((text for text in found if text not in ("+", "-")), "") if vip.family == 4 else ""


def _why_out(value: Word | None) -> str:
    if value is not None and value.text in ("+", "-"):
        return "with /32 there is no broadcast address"
    return "on the dummy it would take what this host broadcasts there"


def clearing(vip: Address, device: str) -> str:
    """The command that removes the kernel's route to the broadcast address of a VIP that is on its device already.

    keepalived leaves a VIP that it holds as it is when only this changes.
    """
    return f"ip route del broadcast {broadcast(vip)} dev {device} src {vip.address} table local"


def _left_over(vip: Address, device: str) -> Iterator[str]:
    if text := broadcast(vip):
        yield (
            f"{vip.where}: {vip.address}: brd {text} is taken out: {_why_out(None)}; where the VIP is held"
            f" now, the kernel keeps it until the next failover, or: {clearing(vip, device)}"
        )


def _is_no_uplink(device: str, facts: Facts) -> bool:
    known = facts.get(device)
    return known is not None and (known.kind == "dummy" or not known.ethernet)


def _place(vip: Address) -> tuple[str, int]:
    word = vip.statement.words[0]
    return word.path, word.line


def _unsure(vip: Address, device: Word | None) -> str:
    """Why it is not certain what a line says; empty where it is."""
    by_hand = f"write by hand: {vip.address}/{vip.longest} dev {DUMMY}"
    if device is None:
        return f"{vip.address}: its vrrp_instance has no interface; give it one"
    for word in (*vip.statement.words, device):
        if not word.certain:
            return f"{vip.address}: not certain ({word.origin}); {by_hand}"
    if not vip.literal:
        origin = next(word.origin for word in vip.statement.words if word.origin)
        return f"{vip.address}: the line does not stand there so ({origin}); {by_hand}"
    if vip.mistaken:
        made = vip.longest if vip.prefix is None else vip.prefix
        return f"keepalived makes /{made} of {vip.statement.words[0].text!a}; {by_hand}"
    return ""


def _unfit(instance: Instance, vip: Address, device: Word | None, known: _Known) -> str:
    """Why a VIP can't be moved; empty where it can."""
    assert device is not None
    if any(option.keyword.text == "peer" for option in vip.options):
        return f"{vip.address} has a peer, to which the dummy is no way; take that off by hand"
    address = ipaddress.ip_address(vip.address)
    if address.version == 6 and address.is_link_local:
        return (
            f"{vip.address} is a link-local address, which works on its own link alone, so it has"
            f" to stay on {device.text}; take it off, or leave it there with --leave {vip.address}"
        )
    if wrong := misnamed(device.text):
        return f"{vip.address} can't move from {device.text}: {wrong}; rename it"
    if device.text not in known.facts:
        return f"{vip.address}: {device.text} is not there, so what it needs is not known"
    if address.version == 6 and not _asks_for_neighbours(device.text, known):
        return (
            f"{vip.address}: {device.text} has no IPv6 link-local address, and without one the kernel asks"
            f" for no neighbour of a VIP that is elsewhere; give it one (netplan: link-local: [ipv6])"
        )
    return known.losses.refusal(instance, vip, device.text)


def _asks_for_neighbours(device: str, known: _Known) -> bool:
    """Whether solicitations for replies of a VIP on another interface have a source (ndisc_send_ns(), net/ipv6/ndisc.c)."""
    addresses = (address.ip for address in known.facts[device].addresses)
    return any(ip.version == 6 and ip.is_link_local and ip not in known.vips for ip in addresses)


def rewrite(contents: Contents, moving: Moving, targets: Targets) -> Iterator[Edit]:
    """The edits of the address lines: the prefix, and the device."""
    split = {path: lines(content) for path, content in contents.items()}
    for _, vip, device in moving:
        words = vip.statement.words
        first, last = words[0], words[-1]
        raw = split[first.path][first.line - 1][first.column - 1 : first.end - 1]
        whole = f"{vip.address}/{vip.longest}".encode()
        yield _replace(first, b'"%s"' % whole if raw.startswith(b'"') else whole)
        name = targets.names.get(device, device).encode()
        for keyword, value in vip.options:
            if value is not None and _is_broadcast(keyword, value):
                yield _take_out(words, keyword, value)
        if vip.device is not None:
            yield _replace(vip.device, name)
        else:
            yield Edit(last.path, last.line, last.end - 1, last.end - 1, b" dev " + name)


def _take_out(words: tuple[Word, ...], keyword: Word, value: Word) -> Edit:
    """An option with the blanks before it."""
    before = words[words.index(keyword) - 1]
    return Edit(value.path, value.line, before.end - 1, value.end - 1, b"")


def _replace(word: Word, text: bytes) -> Edit:
    return Edit(word.path, word.line, word.column - 1, word.end - 1, text)
