# SPDX-License-Identifier: MIT
"""The networks that keepalived.conf routes over an interface without a gateway, and the lines that do so. Pure.

A VIP with a prefix length gives its interface such a route. Where it is the only address in its network, that goes
with it, unless virtual_routes has the network: keepalived sets those routes at each reload and when it gets MASTER.
It does not set static_routes again, and the kernel drops every IPv4 route of an interface with the last IPv4 address
(fib_disable_ip() in net/ipv4/fib_frontend.c).
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from keepalived_dummy.edits import Contents, Edit, lines
from keepalived_dummy.errors import Problem
from keepalived_dummy.keepalived import Address, Document, Instance, Statement, Word

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Words of alloc_route() in keepalived/vrrp/vrrp_iproute.c: those with which a route is not on the link, or not a
# plain one of the main table; those that stand before the destination; and those with one value after them.
_ELSEWHERE = frozenset(
    (
        "via",
        "gw",
        "or",
        "nexthop",
        "encap",
        "blackhole",
        "unreachable",
        "prohibit",
        "throw",
        "local",
        "nat",
        "anycast",
        "broadcast",
        "multicast",
    )
)
_BEFORE = frozenset(("unicast", "inet", "inet6", "to"))
_WITH_VALUE = frozenset(
    (
        "src",
        "from",
        "tos",
        "dsfield",
        "table",
        "protocol",
        "scope",
        "metric",
        "priority",
        "preference",
        "dev",
        "oif",
        "mtu",
        "hoplimit",
        "advmss",
    )
)
_BLOCK = "virtual_routes"
_METRIC = 256  # IP6_RT_PRIO_ADDRCONF, of a route that comes with an address
_MAIN = frozenset(("main", "254"))
_EVERYTHING = frozenset(("default", "any", "all", "default6"))
_OURS = re.compile(
    rb"[ \t]*(virtual_routes \{ )?[0-9a-f.:]+/[0-9]+ dev [^ ]+ (scope link src [0-9.]+|metric [0-9]+)( \})?\r?\n"
)


class Route(NamedTuple):
    """A route that an instance, the one of this `number`, needs when a VIP has left `device`."""

    instance: Instance
    vip: Address
    network: Network
    device: str
    number: int

    @property
    def line(self) -> str:
        """As it stands in virtual_routes: no other instance has the same, so that none takes another's away.

        IPv4 routes differ by their source, and IPv6 routes by their metric, which begins at the kernel's own. An
        IPv6 route with a source is not set before that address is (ip6_route_info_create() in net/ipv6/route.c).
        """
        plain = f"{self.network} dev {self.device}"
        if self.network.version == 6:
            return f"{plain} metric {_METRIC + self.number}"
        return f"{plain} scope link src {self.vip.address}"


def is_ours(line: bytes) -> bool:
    """Whether a line of a file looks as add() writes them. No address line does."""
    return _OURS.fullmatch(line) is not None


def is_routed(instance: Instance, device: str, network: Network) -> bool:
    """Whether virtual_routes of the instance has a network, or one around it, on the link of a device."""
    return any(covers(_network(route, device), network) for route in instance.virtual_routes)


def on_links(instance: Instance) -> Iterator[tuple[str, Network]]:
    """Device and network of each IPv4 route of virtual_routes that is on a link, and has no `src`."""
    for route in instance.virtual_routes:
        for device in () if source(route) else _devices(route):
            network = _network(route, device)
            if network is not None and network.version == 4:
                yield device, network


def static_route(document: Document, device: str, network: Network) -> Statement | None:
    """The line of static_routes that has the network on the link of a device."""
    every = document.model.static_routes
    return next((route for route in every if covers(_network(route, device), network)), None)


def covers(around: Network | None, network: Network) -> bool:
    """Whether a network is within the other."""
    if isinstance(around, ipaddress.IPv4Network):
        return isinstance(network, ipaddress.IPv4Network) and network.subnet_of(around)
    if isinstance(around, ipaddress.IPv6Network):
        return isinstance(network, ipaddress.IPv6Network) and network.subnet_of(around)
    return False


def source(route: Statement) -> str:
    """The address in a route's `src`; empty where there is none."""
    texts = [word.text for word in route.words]
    return texts[texts.index("src") + 1] if "src" in texts[:-1] else ""


def _network(route: Statement, device: str) -> Network | None:
    """The destination of a route on the link of a device; None where it is another kind of route, or not certain."""
    texts = [word.text for word in route.words]
    values = dict(itertools.pairwise(texts))
    if not route.certain or device not in _devices(route):
        return None
    if not _ELSEWHERE.isdisjoint(texts) or values.get("table", "main") not in _MAIN:
        return None
    destination = _destination(texts)
    if destination in _EVERYTHING:
        six = "inet6" in texts or destination == "default6"
        return ipaddress.ip_network("::/0" if six else "0.0.0.0/0")
    try:
        return ipaddress.ip_network(destination, strict=False)
    except ValueError:
        return None


def _devices(route: Statement) -> list[str]:
    texts = [word.text for word in route.words]
    return [value for key, value in itertools.pairwise(texts) if key in ("dev", "oif")]


def _destination(texts: Sequence[str]) -> str:
    words = iter(texts)
    for text in words:
        if text in _WITH_VALUE:
            next(words, None)
        elif text not in _BEFORE:
            return text
    return ""


class Added(NamedTuple):
    """The routes that are written, the edits that do so, and where a VIP's route has to be written by hand."""

    routes: list[Route]
    edits: list[Edit]
    problems: list[Problem]


def add(routes: Sequence[Route], document: Document, contents: Contents) -> Added:
    """The routes written into virtual_routes of their instances. Of several VIPs that need one the first counts.

    They come before the other routes, whose gateways may be in these networks.
    """
    split = {path: lines(content) for path, content in contents.items()}
    readers = Counter(
        _at(child.words[0])
        for instance in document.model.instances
        for child in instance.statement.children
        if child.words
    )
    wanted: dict[tuple[str, Network, str], Route] = {}
    texts: dict[tuple[str, int], bytes] = {}
    problems = []
    for one in routes:
        block = _block(one)
        key = (one.instance.name.text, one.network, one.device)
        if not _is_fit(block, split) or readers[_at(block.words[0])] > 1:
            word = one.vip.statement.words[0]
            where = f"vrrp_instance {one.instance.name.text}"
            message = (
                f"{one.vip.address}: write by hand into {where}: virtual_routes {{ {one.line} }}"
            )
            problems.append(Problem(word.path, word.line, message))
        elif key not in wanted:
            wanted[key] = one
            place, text = _insertion(block, one.line, split)
            texts[place] = texts.get(place, b"") + text
    edits = [Edit(path, line, 0, 0, text) for (path, line), text in texts.items()]
    return Added(list(wanted.values()), edits, problems)


def _block(one: Route) -> Statement:
    """The first virtual_routes of the instance, or else the block of the VIP."""
    blocks = one.instance.statement.children
    routes = (block for block in blocks if block.keyword == _BLOCK)
    return next(routes, None) or next(
        block for block in blocks if any(line is one.vip.statement for line in block.children)
    )


def _brace(block: Statement) -> Word | None:
    """The brace behind which a line is written: what opens virtual_routes, what closes another block."""
    return block.opened if block.keyword == _BLOCK else block.closed


def _is_fit(block: Statement, split: dict[str, list[bytes]]) -> bool:
    """Whether the next line surely is in virtual_routes, or in the instance behind another block."""
    brace = _brace(block)
    if brace is None or not brace.literal or not block.literal:
        return False
    text = split[brace.path][brace.line - 1]
    rest = text[brace.end - 1 :].strip(b" \t\r\n")
    return text.endswith(b"\n") and (not rest or rest[:1] in b"#!")


def _insertion(
    block: Statement, route: str, split: dict[str, list[bytes]]
) -> tuple[tuple[str, int], bytes]:
    """The file and line before which a route is written, and the text."""
    brace = _brace(block)
    assert brace is not None
    text = split[brace.path][brace.line - 1]
    indent = text[: len(text) - len(text.lstrip(b" \t"))]
    if block.keyword != _BLOCK:
        route = f"{_BLOCK} {{ {route} }}"
    elif block.children and block.children[0].words:
        word = block.children[0].words[0]
        before = split[word.path][word.line - 1][: word.column - 1]
        indent = before if not before.strip(b" \t") and word.literal else indent + b"    "
    else:
        indent += b"    "
    end = b"\r\n" if text.endswith(b"\r\n") else b"\n"
    return (brace.path, brace.line + 1), indent + route.encode() + end


def _at(word: Word) -> tuple[str, int, int]:
    return word.path, word.line, word.column
