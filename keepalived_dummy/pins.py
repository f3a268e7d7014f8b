# SPDX-License-Identifier: MIT
"""The source address of VRRP, pinned: it keeps keepalived from FAULT while networkd has taken it. Pure.

keepalived goes to FAULT when the address that it chose itself goes, but not for one from the
configuration (VRRP_FLAG_SADDR_FROM_CONFIG in keepalived/core/keepalived_netlink.c).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from keepalived_dummy.edits import Contents, Edit, lines
from keepalived_dummy.errors import Problem
from keepalived_dummy.keepalived import Document, Instance, Statement, Word
from keepalived_dummy.moves import alone, vips
from keepalived_dummy.targets import Facts, IPAddress

_FIXED = frozenset(("interface", "state", "virtual_router_id", "priority", "advert_int"))


def pin(document: Document, contents: Contents, facts: Facts) -> Iterator[Edit | Problem]:
    """The source pinned in each instance that has none, and renewed where its address is gone."""
    own = vips(document)
    present = {a.ip for interface in facts.values() for a in interface.addresses} - own
    split = {path: lines(content) for path, content in contents.items()}
    for instance in document.model.instances:
        if alone(instance):
            continue
        pinned = instance.unicast_src_ip or instance.mcast_src_ip
        if pinned is None:
            yield _insert(instance, split, facts, own)
        elif pinned.certain and not _is_present(pinned.text, present):
            yield from _renew(instance, pinned, facts, own)


def family(instance: Instance) -> int:
    """4 or 6: what VRRP itself runs over, as keepalived decides it."""
    if instance.native_ipv6:
        return 6
    for word in (instance.mcast_src_ip, instance.unicast_src_ip, *instance.unicast_peers):
        if word is not None:
            return 6 if ":" in word.text else 4
    return next((vip.family for vip in instance.vips if not vip.excluded), 4)


def _is_present(text: str, present: set[IPAddress]) -> bool:
    """Whether an address is one of the host; what is no address is keepalived's to complain of."""
    try:
        return ipaddress.ip_address(text) in present
    except ValueError:
        return True


def _source(instance: Instance, facts: Facts, own: frozenset[IPAddress]) -> IPAddress | str:
    """The address that keepalived takes by itself, or why that is not known."""
    if instance.interface is None:
        return "it has no interface"
    if not instance.interface.certain:
        return f"its interface depends on {instance.interface.origin}"
    name = instance.interface.text
    if name not in facts:
        return f"{name} is not there"
    six = family(instance) == 6
    if six and any(not _is_link_local(peer.text) for peer in instance.unicast_peers):
        return "which IPv6 address its unicast peers expect is not known"
    for address in facts[name].addresses:
        # over IPv6, VRRP comes from a link-local address (RFC 5798 5.1.2.1)
        fit = address.ip.is_link_local if six else True
        if fit and address.ip not in own and (address.version == 6) == six:
            return address.ip
    return f"{name} has no {'IPv6 link-local' if six else 'IPv4'} address of its own now"


def _is_link_local(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_link_local
    except ValueError:
        return False


def _insert(
    instance: Instance,
    split: dict[str, list[bytes]],
    facts: Facts,
    own: frozenset[IPAddress],
) -> Edit | Problem:
    keyword = "unicast_src_ip" if instance.unicast_peer else "mcast_src_ip"
    source = _source(instance, facts, own)
    name = instance.name
    if isinstance(source, str):
        hint = f"write {keyword} by hand, or leave it out with --no-pin-source"
        message = f"vrrp_instance {name.text}: its source can't be pinned: {source}; {hint}"
        return Problem(name.path, name.line, message)
    anchor = _anchor(instance, split)
    if anchor is None:
        message = f"vrrp_instance {name.text}: write by hand: {keyword} {source}"
        return Problem(name.path, name.line, message)
    line = split[anchor.path][anchor.line - 1]
    bare = line.lstrip(b" \t")
    indent = line[: len(line) - len(bare)]
    if anchor.column - 1 != len(indent):  # something stands before it, the instance's head
        indent += b"    "
    end = b"\r\n" if line.endswith(b"\r\n") else b"\n"
    text = indent + f"{keyword} {source}".encode() + end
    return Edit(anchor.path, anchor.line + 1, 0, 0, text)


def _anchor(instance: Instance, split: dict[str, list[bytes]]) -> Word | None:
    """The word in whose next line the instance surely goes on: `interface`, or another setting."""
    fit = [child for child in instance.statement.children if _is_fit(child, split)]
    fit.sort(key=lambda child: child.keyword != "interface")
    return fit[0].words[0] if fit else None


def _is_fit(statement: Statement, split: dict[str, list[bytes]]) -> bool:
    if statement.keyword not in _FIXED or not statement.literal or statement.opened:
        return False
    last = statement.words[-1]
    line = split[last.path][last.line - 1]
    rest = line[last.end - 1 :]
    return line.endswith(b"\n") and b"{" not in rest and b"}" not in rest


def _renew(
    instance: Instance, pinned: Word, facts: Facts, own: frozenset[IPAddress]
) -> Iterator[Edit | Problem]:
    source = _source(instance, facts, own)
    if isinstance(source, str):
        return  # it may come back
    if not pinned.literal:
        message = f"{pinned.text} is no address of this host; write by hand: {source}"
        yield Problem(pinned.path, pinned.line, message)
        return
    text = str(source).encode()
    yield Edit(pinned.path, pinned.line, pinned.column - 1, pinned.end - 1, text)
