# SPDX-License-Identifier: MIT
"""What keepalived.conf says, for those who ask: instances, their addresses, groups, routes.

Read-only. Keywords as in keepalived/vrrp/vrrp_parser.c and vrrp_ipaddress.c. Every value is a Word
or a Statement, so it carries its place, and whether it is certain and stands there literally.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from keepalived_dummy.errors import Problem
from keepalived_dummy.keepalived.document import Statement, Word

# Address keywords with a value after them (alloc_ipaddress()).
_WITH_VALUE = frozenset(
    ("dev", "scope", "broadcast", "brd", "label", "peer", "preferred_lft", "track_group")
)


class Option(NamedTuple):
    """A keyword of an address line, and its value where it takes one."""

    keyword: Word
    value: Word | None


@dataclass(frozen=True)
class Address:
    """An address line. `prefix` None: none given, so /32 or /128."""

    statement: Statement
    address: str
    prefix: int | None
    options: tuple[Option, ...]
    excluded: bool = False

    @property
    def device(self) -> Word | None:
        """The value of `dev`; None: the interface of the instance."""
        return next((o.value for o in self.options if o.keyword.text == "dev"), None)

    @property
    def family(self) -> int:
        """4 or 6; keepalived goes by the colon."""
        return 6 if ":" in self.address else 4

    @property
    def valid(self) -> bool:
        """Whether keepalived takes the address; it skips the line else."""
        return not self.skipped

    @property
    def skipped(self) -> str:
        """Why keepalived skips the line, as alloc_ipaddress() from 2.0 on does; empty where it takes the address."""
        if not _is_address(self.address, self.family):
            return f"{self.address!a} is no address"
        devices = 0
        for keyword, value in self.options:
            devices += keyword.text == "dev"
            if keyword.text in _WITH_VALUE and value is None:
                return f"{self.address}: {keyword.text} has no value, so keepalived skips the line"
            if keyword.text in ("broadcast", "brd") and self.family == 6:
                return f"{self.address}: keepalived skips an IPv6 address with a broadcast address"
        if devices > 1:
            return f"{self.address}: keepalived skips an address with more than one dev"
        return ""

    @property
    def certain(self) -> bool:
        """Whether the whole line is surely what keepalived reads."""
        return self.statement.certain

    @property
    def literal(self) -> bool:
        """Whether the whole line stands so in the file, and may be rewritten."""
        return self.statement.literal

    @property
    def where(self) -> str:
        """FILE:LINE."""
        return self.statement.words[0].where


@dataclass(frozen=True)
class Instance:
    """A vrrp_instance; a flag is the word that sets it.

    Of a setting given twice the last one counts (but keepalived stays with a MASTER before BACKUP).
    """

    statement: Statement
    name: Word
    interface: Word | None = None
    state: Word | None = None
    virtual_router_id: Word | None = None
    mcast_src_ip: Word | None = None
    unicast_src_ip: Word | None = None
    use_vmac: Word | None = None
    use_ipvlan: Word | None = None
    native_ipv6: Word | None = None
    unicast_peer: Word | None = None
    unicast_peers: tuple[Word, ...] = ()
    vips: tuple[Address, ...] = ()
    virtual_routes: tuple[Statement, ...] = ()
    virtual_rules: tuple[Statement, ...] = ()
    track_interface: tuple[Statement, ...] = ()


@dataclass(frozen=True)
class SyncGroup:
    """A vrrp_sync_group and the names of its instances."""

    statement: Statement
    name: Word
    members: tuple[Word, ...]


@dataclass(frozen=True)
class Model:
    """All of a configuration that matters to a dummy."""

    instances: tuple[Instance, ...] = ()
    sync_groups: tuple[SyncGroup, ...] = ()
    static_addresses: tuple[Address, ...] = ()
    static_routes: tuple[Statement, ...] = ()
    static_rules: tuple[Statement, ...] = ()
    dynamic_interfaces: Word | None = None
    vrrp_version: Word | None = None


def _is_address(text: str, family: int) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6 if family == 6 else socket.AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def model(statements: tuple[Statement, ...], problems: list[Problem]) -> Model:
    """The model of what was read. An instance or group that keepalived skips is a problem."""
    root = Statement((), statements)
    return Model(
        tuple(_instance(s) for s in _named(root, "vrrp_instance", problems)),
        tuple(_sync_group(s) for s in _named(root, "vrrp_sync_group", problems)),
        tuple(address(s) for s in _lines(root, "static_ipaddress")),
        tuple(_lines(root, "static_routes")),
        tuple(_lines(root, "static_rules")),
        _last(_global_defs(root), "dynamic_interfaces", 0),
        _last(_global_defs(root), "vrrp_version", 1),
    )


def _named(root: Statement, keyword: str, problems: list[Problem]) -> Iterator[Statement]:
    """Blocks with a name; keepalived skips one without, and the second of one name."""
    seen: dict[str, Word] = {}
    for statement in root.find(keyword):
        first = statement.words[0]
        if len(statement.words) != 2:
            problems.append(Problem(first.path, first.line, f"wanted: one name after {keyword}"))
            continue
        name = statement.words[1]
        if name.text in seen and name.certain and seen[name.text].certain:
            message = f"{keyword} {name.text!a} again, {seen[name.text].where} has it already"
            problems.append(Problem(name.path, name.line, message))
            continue
        seen.setdefault(name.text, name)
        yield statement


def _instance(statement: Statement) -> Instance:
    return Instance(
        statement,
        statement.words[1],
        interface=_last(statement, "interface", 1),
        state=_last(statement, "state", 1),
        virtual_router_id=_last(statement, "virtual_router_id", 1),
        mcast_src_ip=_last(statement, "mcast_src_ip", 1),
        unicast_src_ip=_last(statement, "unicast_src_ip", 1),
        use_vmac=_last(statement, "use_vmac", 0),
        use_ipvlan=_last(statement, "use_ipvlan", 0),
        native_ipv6=_last(statement, "native_ipv6", 0),
        unicast_peer=_last(statement, "unicast_peer", 0),
        unicast_peers=tuple(s.words[0] for s in _lines(statement, "unicast_peer")),
        vips=tuple(_vips(statement)),
        virtual_routes=tuple(_lines(statement, "virtual_routes")),
        virtual_rules=tuple(_lines(statement, "virtual_rules")),
        track_interface=tuple(_lines(statement, "track_interface")),
    )


def _sync_group(statement: Statement) -> SyncGroup:
    members = (word for line in _lines(statement, "group") for word in line.words)
    return SyncGroup(statement, statement.words[1], tuple(members))


def _global_defs(root: Statement) -> Statement:
    return Statement((), tuple(c for s in root.find("global_defs") for c in s.children))


def _last(statement: Statement, keyword: str, index: int) -> Word | None:
    """The value that counts, or the keyword of a flag (index 0)."""
    words = [s.words[index] for s in statement.find(keyword) if len(s.words) > index]
    sure = [word for word in words if word.certain] if index == 0 else []
    found = sure or words
    return found[-1] if found else None


def _lines(statement: Statement, keyword: str) -> Iterator[Statement]:
    """The lines of all blocks with this keyword."""
    for block in statement.find(keyword):
        yield from (child for child in block.children if child.words)


def _vips(statement: Statement) -> Iterator[Address]:
    for block in statement.children:
        if block.keyword in ("virtual_ipaddress", "virtual_ipaddress_excluded"):
            excluded = block.keyword == "virtual_ipaddress_excluded"
            yield from (address(line, excluded) for line in block.children if line.words)


def address(statement: Statement, excluded: bool = False) -> Address:
    """Read an address line."""
    text, slash, prefix = statement.words[0].text.partition("/")
    longest = 128 if ":" in text else 32
    plain = slash and prefix.isascii() and prefix.isdigit() and len(prefix) < 4
    options: list[Option] = []
    words = iter(statement.words[1:])
    for word in words:
        options.append(Option(word, next(words, None) if word.text in _WITH_VALUE else None))
    length = int(prefix) if plain and int(prefix) <= longest else None
    return Address(statement, text, length, tuple(options), excluded)
