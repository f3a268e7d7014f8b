# SPDX-License-Identifier: MIT
"""What keepalived.conf says, for those who ask: instances, their addresses, groups, routes.

Read-only. Keywords as in keepalived/vrrp/vrrp_parser.c and vrrp_ipaddress.c. Every value is a Word
or a Statement, so it carries its place, and whether it is certain and stands there literally.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from keepalived_dummy.errors import Problem
from keepalived_dummy.keepalived.document import Statement, Word

# Address keywords with a value after them (alloc_ipaddress()).
_WITH_VALUE = frozenset(
    ("dev", "scope", "broadcast", "brd", "label", "peer", "preferred_lft", "track_group")
)
_BROADCAST = frozenset(("broadcast", "brd"))
_LONGEST_LABEL = 15  # IFNAMSIZ - 1
_DIGITS = re.compile(r"\+?([0-9]*)")
_SAYS_FAMILY = frozenset(
    ("native_ipv6", "mcast_src_ip", "unicast_src_ip", "mcast_dst_ip", "unicast_peer")
)


class Option(NamedTuple):
    """A keyword of an address line, and its value where it takes one."""

    keyword: Word
    value: Word | None


@dataclass(frozen=True)
class Address:
    """An address line. `prefix` None: none that keepalived takes, so /32 or /128.

    `other_family`: the line is in virtual_ipaddress, and the instance is surely of the other family.
    """

    statement: Statement
    address: str
    prefix: int | None
    options: tuple[Option, ...]
    excluded: bool = False
    other_family: bool = False

    @property
    def device(self) -> Word | None:
        """The value of `dev`; None: the interface of the instance."""
        return next((o.value for o in self.options if o.keyword.text == "dev"), None)

    @property
    def family(self) -> int:
        """4 or 6; keepalived goes by the colon."""
        return 6 if ":" in self.address else 4

    @property
    def longest(self) -> int:
        """The prefix length of a single address."""
        return 128 if self.family == 6 else 32

    @property
    def mistaken(self) -> bool:
        """Whether what stands after the / is not what keepalived makes of it."""
        _, slash, text = self.statement.words[0].text.partition("/")
        return bool(slash) and (self.prefix is None or not text.removeprefix("+").isdigit())

    @property
    def valid(self) -> bool:
        """Whether keepalived takes the address; it skips the line else."""
        return not self.skipped

    @property
    def skipped(self) -> str:
        """Why keepalived skips the line, as alloc_ipaddress() from 2.0 on does; empty where it takes the address."""
        if not _is_address(self.address, self.family):
            return f"{self.address!a} is no address"
        devices = sum(option.keyword.text == "dev" for option in self.options)
        wrong = (why for option in self.options if (why := _refused(option, self.family)))
        if (why := next(wrong, "")) or devices > 1:
            return f"{self.address}: keepalived skips {why or 'an address with more than one dev'}"
        if self.other_family:
            return (
                f"{self.address}: keepalived skips the line, because this vrrp_instance is for"
                f" IPv{10 - self.family}; virtual_ipaddress_excluded takes both families"
            )
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

    @property
    def family(self) -> int:
        """4 or 6: what VRRP itself runs over. keepalived goes by the first line that it takes and that says it."""
        found = (one for child in self.statement.children for one in _families(child))
        return next(found, 4)


@dataclass(frozen=True)
class SyncGroup:
    """A vrrp_sync_group and the names of its instances."""

    statement: Statement
    name: Word
    members: tuple[Word, ...]


@dataclass(frozen=True)
class Model:
    """All of a configuration that matters to a dummy.

    `net_namespace`: the name of the network namespace in which keepalived runs. Of several the first one counts.
    """

    instances: tuple[Instance, ...] = ()
    sync_groups: tuple[SyncGroup, ...] = ()
    static_addresses: tuple[Address, ...] = ()
    static_routes: tuple[Statement, ...] = ()
    static_rules: tuple[Statement, ...] = ()
    dynamic_interfaces: Word | None = None
    vrrp_version: Word | None = None
    net_namespace: Word | None = None
    vmac_prefix: Word | None = None
    garp_groups: tuple[Statement, ...] = ()


def _is_address(text: str, family: int) -> bool:
    try:
        socket.inet_pton(socket.AF_INET6 if family == 6 else socket.AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def _refused(option: Option, family: int) -> str:
    """What keepalived skips, and why, for an option of an address; empty where it takes the option."""
    keyword, value = option.keyword.text, option.value
    if keyword in _WITH_VALUE and value is None:
        return f"the line, because {keyword} has no value"
    if keyword in _BROADCAST and family == 6:
        return "an IPv6 address with a broadcast address"
    if value is None:
        return ""
    if keyword == "label" and len(_bytes(value.text)) > _LONGEST_LABEL:
        return (
            f"the line, because the label {value.text!a} has more than {_LONGEST_LABEL} characters"
        )
    if keyword in _BROADCAST and value.text not in ("+", "-") and not _is_address(value.text, 4):
        return f"the line, because {value.text!a} is not a broadcast address"
    return ""


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def endpoint(text: str) -> str:
    """The address in a source or a peer; empty where keepalived finds none and skips it.

    keepalived drops what follows a - or else a / (inet_stosockaddr() in lib/utils.c).
    """
    address = text.partition("-" if "-" in text else "/")[0]
    return address if _is_address(address, 6 if ":" in text else 4) else ""


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
        next((s.words[1] for s in root.find("net_namespace") if len(s.words) > 1), None),
        _last(_global_defs(root), "vmac_prefix", 1),
        tuple(root.find("garp_group")),
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
    """The address lines. In virtual_ipaddress keepalived takes only the family of the instance (alloc_vrrp_vip())."""
    family, certain = 0, True
    for block in statement.children:
        if block.keyword == "virtual_ipaddress":
            for vip in _addresses(block):
                if not family:
                    family = vip.family if vip.valid else 0
                    certain = certain and vip.certain
                other = certain and family not in (0, vip.family)
                yield replace(vip, other_family=True) if other else vip
        elif block.keyword == "virtual_ipaddress_excluded":
            yield from (replace(vip, excluded=True) for vip in _addresses(block))
        elif block.keyword in _SAYS_FAMILY and not family:
            family = next(_families(block), 0)
            certain = certain and all(line.certain for line in (block, *block.children))


def _addresses(block: Statement) -> Iterator[Address]:
    return (address(line) for line in block.children if line.words)


def _families(setting: Statement) -> Iterator[int]:
    """4 or 6, for each address of a setting by which keepalived goes; none for one that it skips."""
    if setting.keyword == "native_ipv6":
        yield 6
    elif setting.keyword == "virtual_ipaddress":
        yield from (vip.family for vip in _addresses(setting) if vip.valid)
    elif setting.keyword in _SAYS_FAMILY:
        words = [line.words[0] for line in setting.children if line.words] or setting.words[1:2]
        found = (endpoint(word.text) for word in words)
        yield from (6 if ":" in one else 4 for one in found if one)


def address(statement: Statement) -> Address:
    """Read an address line."""
    text, slash, prefix = statement.words[0].text.partition("/")
    options: list[Option] = []
    words = iter(statement.words[1:])
    for word in words:
        options.append(Option(word, next(words, None) if word.text in _WITH_VALUE else None))
    length = _length(prefix, 128 if ":" in text else 32) if slash else None
    return Address(statement, text, length, tuple(options))


def _length(text: str, longest: int) -> int | None:
    """A prefix length as keepalived makes it when it runs: of the digits at its beginning, so 0 where there are none.

    None where that is out of range, and the address is a single one (read_unsigned_func() in lib/parser.c).
    """
    found = _DIGITS.match(text)
    assert found is not None
    length = int(found[1] or 0)
    return None if text.startswith("-") or length > longest else length
