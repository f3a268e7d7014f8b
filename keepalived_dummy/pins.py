# SPDX-License-Identifier: MIT
"""The source address of VRRP, pinned: it keeps keepalived from FAULT while networkd has taken it. Pure.

keepalived goes to FAULT when the address that it chose itself goes, but not for one from the
configuration (VRRP_FLAG_SADDR_FROM_CONFIG in keepalived/core/keepalived_netlink.c). An IPv6 instance sends from the
link-local address, which networkd leaves alone. It is not pinned: without that address the kernel refuses to send its
adverts, so a pinned MASTER would stay MASTER unheard, beside a second one.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from keepalived_dummy.edits import Contents, Edit, lines
from keepalived_dummy.errors import Problem
from keepalived_dummy.keepalived import Document, Instance, Statement, Word
from keepalived_dummy.keepalived.model import endpoint
from keepalived_dummy.moves import alone, vips
from keepalived_dummy.targets import Facts, IPAddress

_FIXED = frozenset(("interface", "state", "virtual_router_id", "priority", "advert_int"))


_KEYWORDS = ("mcast_src_ip", "unicast_src_ip")


def pin(
    document: Document, contents: Contents, facts: Facts, served: Container[str]
) -> Iterator[Edit | Problem]:
    """Pin the source of each instance of `served` that has none, and renew one whose address is gone.

    `served`: the names of the instances that have VIPs on dummies. With none on one, an instance does not need it.
    """
    own = vips(document)
    present = {a.ip for interface in facts.values() for a in interface.addresses} - own
    wanted = [
        (one, _wanted(one, facts, own, present) if one.name.text in served else None)
        for one in document.model.instances
    ]
    there = _Files({path: lines(content) for path, content in contents.items()})
    wants = {id(instance.statement): want for instance, want in wanted}
    for statement in document.statements:
        there.read(statement, wants.get(id(statement)))
    for instance, want in wanted:
        if instance.name.text in served and (empty := _empty(instance)):
            message = f"{empty.text} has no value; write an address behind it, or take it out"
            yield Problem(empty.path, empty.line, message)
        elif want is None:
            continue
        elif want.pinned is None:
            yield _insert(instance, want, there)
        elif isinstance(want.source, str):
            continue  # it may come back
        else:
            yield _renew(want.pinned, want.source, there)


class _Want(NamedTuple):
    """What an instance needs: a source, or why none is known, in place of the one `pinned`, or as a new one."""

    keyword: str
    source: IPAddress | str
    pinned: Word | None


@dataclass(frozen=True)
class _Files:
    """The lines of the files, and what those want who read a setting: a file can be included twice."""

    lines: dict[str, list[bytes]]
    readers: dict[tuple[str, int, int], set[_Want | None]] = field(
        default_factory=lambda: defaultdict(set)
    )

    def read(self, block: Statement, want: _Want | None) -> None:
        """Take in who reads what is in a block."""
        todo = [(block, want)]
        while todo:
            inside, wanted = todo.pop()
            for child in inside.children:
                for word in child.words:
                    self.readers[word.path, word.line, word.column].add(wanted)
                todo.append((child, None))

    def serves_all(self, word: Word) -> bool:
        """Whether all who read a word want the same."""
        return len(self.readers[word.path, word.line, word.column]) == 1


def _wanted(
    instance: Instance, facts: Facts, own: frozenset[IPAddress], present: set[IPAddress]
) -> _Want | None:
    """None: nothing. `present`: the host's own addresses."""
    pinned = instance.unicast_src_ip or instance.mcast_src_ip
    if alone(instance) or (pinned and (not pinned.certain or _is_present(pinned.text, present))):
        return None
    if pinned is None and sends_from_link_local(instance):
        return None
    keyword = "unicast_src_ip" if instance.unicast_peer else "mcast_src_ip"
    return _Want(keyword, _source(instance, facts, own), pinned)


def _empty(instance: Instance) -> Word | None:
    """A keyword of a source that has no value. keepalived does not start with it."""
    every = (one for one in instance.statement.children if one.keyword in _KEYWORDS)
    return next((one.words[0] for one in every if len(one.words) == 1), None)


def _address(text: str) -> IPAddress | None:
    """None: none, so keepalived skips it."""
    address = endpoint(text)
    return ipaddress.ip_address(address) if address else None


def _is_present(text: str, present: set[IPAddress]) -> bool:
    """Whether an address is one of the host; what is no address is keepalived's to complain of."""
    address = _address(text)
    return address is None or address in present


def _source(instance: Instance, facts: Facts, own: frozenset[IPAddress]) -> IPAddress | str:
    """The address that keepalived takes by itself, or why that is not known."""
    if instance.interface is None:
        return "it has no interface"
    if not instance.interface.certain:
        return f"its interface is not certain ({instance.interface.origin})"
    name = instance.interface.text
    if name not in facts:
        return f"{name} is not there"
    six = instance.family == 6
    if six and any(not _is_link_local(peer.text) for peer in instance.unicast_peers):
        return "which IPv6 address its unicast peers expect is not known"
    for address in facts[name].addresses:
        # over IPv6, VRRP comes from a link-local address (RFC 5798 5.1.2.1)
        fit = address.ip.is_link_local if six else True
        if fit and address.ip not in own and (address.version == 6) == six:
            return address.ip
    return f"{name} has no {'IPv6 link-local' if six else 'IPv4'} address of its own now"


def sources(document: Document, facts: Facts) -> dict[str, str]:
    """By instance, the address that keepalived takes by itself, where that is known."""
    own = vips(document)
    found = ((one.name.text, _source(one, facts, own)) for one in document.model.instances)
    return {name: str(source) for name, source in found if not isinstance(source, str)}


def sends_from_link_local(instance: Instance) -> bool:
    """Tell whether keepalived takes the uplink's IPv6 link-local address as source (RFC 5798 5.1.2.1)."""
    peers = all(_is_link_local(peer.text) for peer in instance.unicast_peers)
    return instance.family == 6 and peers


def _is_link_local(text: str) -> bool:
    address = _address(text)
    return address is not None and address.is_link_local


def _insert(instance: Instance, want: _Want, there: _Files) -> Edit | Problem:
    keyword, source, _ = want
    name = instance.name
    if isinstance(source, str):
        hint = f"write {keyword} by hand, or leave it out with --no-pin-source"
        message = f"vrrp_instance {name.text}: its source can't be pinned: {source}; {hint}"
        return Problem(name.path, name.line, message)
    anchor = _anchor(instance, there)
    if anchor is None:
        message = f"vrrp_instance {name.text}: write by hand: {keyword} {source}"
        return Problem(name.path, name.line, message)
    line = there.lines[anchor.path][anchor.line - 1]
    bare = line.lstrip(b" \t")
    indent = line[: len(line) - len(bare)]
    if anchor.column - 1 != len(indent):  # something stands before it, the instance's head
        indent += b"    "
    end = b"\r\n" if line.endswith(b"\r\n") else b"\n"
    text = indent + f"{keyword} {source}".encode() + end
    return Edit(anchor.path, anchor.line + 1, 0, 0, text)


def _anchor(instance: Instance, there: _Files) -> Word | None:
    """The word in whose next line the instance surely goes on: `interface`, or another setting."""
    fit = [child for child in instance.statement.children if _is_fit(child, there.lines)]
    fit = [child for child in fit if there.serves_all(child.words[0])]
    fit.sort(key=lambda child: child.keyword != "interface")
    return fit[0].words[0] if fit else None


def _is_fit(statement: Statement, split: dict[str, list[bytes]]) -> bool:
    if statement.keyword not in _FIXED or not statement.literal or statement.opened:
        return False
    last = statement.words[-1]
    line = split[last.path][last.line - 1]
    rest = line[last.end - 1 :]
    return line.endswith(b"\n") and b"{" not in rest and b"}" not in rest


def _renew(pinned: Word, source: IPAddress, there: _Files) -> Edit | Problem:
    wrong = ""
    if not there.serves_all(pinned):
        wrong = ", and an instance that needs another source reads this line too"
    if wrong or not pinned.literal:
        message = f"{pinned.text} is no address of this host{wrong}; write by hand: {source}"
        return Problem(pinned.path, pinned.line, message)
    text = str(source).encode()
    return Edit(pinned.path, pinned.line, pinned.column - 1, pinned.end - 1, text)
