# SPDX-License-Identifier: MIT
"""Whether a ruleset surely drops a packet. Pure.

Logic of three values: a match that is not understood is neither met nor missed. A packet is dropped only where
every way through the rules drops it, so what is found is so, and not all that is so is found. Terms are those of
libnftables-json(5), in which rules of ip6tables are put too (iptables.py).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Expression = Mapping[str, Any]
Rule = tuple[Expression, ...]

# Statements that neither match nor end anything.
_NEUTRAL = frozenset(("counter", "log", "comment", "mangle", "notrack", "last"))
_VERDICTS = frozenset(("accept", "drop", "reject", "return", "continue", "jump", "goto"))
# What ends in nobody knows what.
_ELSEWHERE = frozenset(
    ("queue", "fwd", "tproxy", "synproxy", "dnat", "snat", "masquerade", "redirect")
)
_PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "ipv6-icmp": 58, "icmpv6": 58, "vrrp": 112}
_NEIGHBOUR = {
    "nd-router-solicit": 133,
    "nd-router-advert": 134,
    "nd-neighbor-solicit": 135,
    "nd-neighbor-advert": 136,
    "nd-redirect": 137,
}
# Layers above IP, of which a packet may have any where `th` stands for them.
_TRANSPORTS = frozenset(
    ("ah", "comp", "dccp", "esp", "icmp", "icmpv6", "igmp", "sctp", "tcp", "udp", "udplite")
)
_ETHER = {"ip": 0x0800, "arp": 0x0806, "ip6": 0x86DD}
_SYMBOLS = {**_PROTOCOLS, **_NEIGHBOUR}
_DEPTH = 16  # the kernel's own limit of jumps (NFT_JUMP_STACK_SIZE)


@dataclass(frozen=True)
class Packet:
    """A packet by what is known of it. `hooks`: family and hook it goes through, and `layers` its protocols.

    `fields`: what is looked at to value; of a layer of its own what is not here is unknown. With `th` among the layers
    the one above IP is any.
    """

    iif: str
    hooks: frozenset[tuple[str, str]]
    layers: frozenset[str]
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Chain:
    """A base chain with the chains that it may jump to. `device`: of a netdev chain, empty where it is not told.

    `owned`: only the process that made its table may change it.
    """

    family: str
    table: str
    name: str
    hook: str
    policy: str
    rules: tuple[Rule, ...]
    others: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    device: str = ""
    tool: str = "nft"
    owned: bool = False


def dropping(chains: Iterable[Chain], packet: Packet) -> Chain | None:
    """The first base chain that surely drops the packet."""
    for chain in chains:
        if (chain.family, chain.hook) not in packet.hooks:
            continue
        if chain.hook == "ingress" and chain.device != packet.iif:
            continue
        if _verdict(chain, packet) == "drop":
            return chain
    return None


def solicitation(dummy: str) -> Packet:
    """A neighbour solicitation that comes in from a dummy. Conntrack does not track it (nf_conntrack_proto_icmpv6.c)."""
    hooks = {(family, hook) for family in ("ip6", "inet") for hook in ("prerouting", "input")}
    return Packet(
        dummy,
        frozenset({("netdev", "ingress"), ("inet", "ingress"), *hooks}),
        frozenset(("ether", "ip6", "icmpv6")),
        {
            "meta l4proto": 58,
            "meta nfproto": "ipv6",
            "meta protocol": "ip6",
            "ether type": "ip6",
            "ip6 nexthdr": 58,
            "ip6 hoplimit": 255,
            "icmpv6 type": 135,
            "ct state": "untracked",
            # No route leads out of a dummy to who asks (nft_fib6_eval() in net/ipv6/netfilter/nft_fib_ipv6.c).
            "fib oif iif,saddr": False,
            "fib oif iif,mark,saddr": False,
        },
    )


def opening(uplink: str, vip: str, is_there: bool = False) -> Packet:
    """The first packet of a client's, of whichever protocol, to a VIP; `is_there`: were that on the uplink itself.

    With `iif` an address is local where it is on the interface that the packet came in on (nft_fib4_eval_type() in
    net/ipv4/netfilter/nft_fib_ipv4.c, match_type() in net/netfilter/xt_addrtype.c).
    """
    layer, name = ("ip6", "ipv6") if ":" in vip else ("ip", "ipv4")
    hooks = {(family, hook) for family in (layer, "inet") for hook in ("prerouting", "input")}
    return Packet(
        uplink,
        frozenset({("netdev", "ingress"), ("inet", "ingress"), *hooks}),
        frozenset(("ether", layer, "th")),
        {
            "meta nfproto": name,
            "meta protocol": layer,
            "ether type": layer,
            "ct state": "new",
            f"{layer} daddr": vip,
            "fib type daddr": "local",
            "fib type daddr,iif": "local" if is_there else "unicast",
        },
    )


def looks_at_interfaces(chains: Iterable[Chain]) -> bool:
    """Whether any rule asks what an address is on the interface that the packet came in on."""
    every = (rules for chain in chains for rules in (chain.rules, *chain.others.values()))
    return any(
        (_look(expression["match"]["left"]) or "").startswith("fib type")
        for rules in every
        for rule in rules
        for expression in rule
        if "match" in expression
    )


def advertisement(uplink: str, family: int, unicast: bool) -> Packet:
    """A VRRP advertisement of another node that comes in on the uplink; to 224.0.0.18 or ff02::12 unless unicast."""
    layer, name = ("ip", "ipv4") if family == 4 else ("ip6", "ipv6")
    hooks = {(fam, hook) for fam in (layer, "inet") for hook in ("prerouting", "input")}
    fields: dict[str, Any] = {
        "meta l4proto": 112,
        "meta nfproto": name,
        "meta protocol": layer,
        "ether type": layer,
        f"{layer} {'protocol' if family == 4 else 'nexthdr'}": 112,
        f"{layer} {'ttl' if family == 4 else 'hoplimit'}": 255,
    }
    if not unicast:
        # A group never answers, so of such a flow no packet is ever one of the other direction.
        fields["ct state"] = "new"
        fields["meta pkttype"] = "multicast"
        fields[f"{layer} daddr"] = "224.0.0.18" if family == 4 else "ff02::12"
    return Packet(
        uplink,
        frozenset({("netdev", "ingress"), ("inet", "ingress"), *hooks}),
        frozenset(("ether", layer)),
        fields,
    )


def request(uplink: str) -> Packet:
    """An ARP request that comes in on the uplink."""
    return Packet(
        uplink,
        frozenset({("netdev", "ingress"), ("inet", "ingress"), ("arp", "input")}),
        frozenset(("ether", "arp")),
        {
            "meta protocol": "arp",
            "ether type": "arp",
            "arp operation": "request",
        },
    )


def _verdict(chain: Chain, packet: Packet) -> str:
    """drop, accept, or unknown."""
    end = _walk(chain, chain.rules, packet, 0)
    return chain.policy if end in ("next", "return") else end


def _walk(chain: Chain, rules: tuple[Rule, ...], packet: Packet, depth: int) -> str:
    """drop, accept, unknown, return, or next: it went through all of them."""
    for rule in rules:
        end = _rule(chain, rule, packet, depth)
        if end != "next":
            return end
    return "next"


def _rule(chain: Chain, rule: Rule, packet: Packet, depth: int) -> str:
    sure = True
    for expression in rule:
        kind, value = next(iter(expression.items()))
        if kind in _NEUTRAL:
            continue
        met: bool | None = None
        if kind == "match":
            met = _matches(value, packet)
        elif kind == "vmap":
            met, (kind, value) = _mapped(value, packet)
        elif kind in _VERDICTS:
            met = True
        if met is False:
            return "next"
        sure = sure and met is True
        if kind in _ELSEWHERE or (kind == "xt" and value.get("type") != "match"):
            return "unknown"
        if kind in _VERDICTS:
            end = _end(chain, kind, value, packet, depth)
            # Whether a drop is reached or not may be unknown: where the rules after it drop too, it is no matter.
            return end if sure or end == "next" else ("next" if end == "drop" else "unknown")
    return "next"


def _end(chain: Chain, kind: str, value: Any, packet: Packet, depth: int) -> str:
    """What a statement leads to."""
    if kind in ("drop", "reject"):
        return "drop"
    if kind in ("accept", "return"):
        return kind
    if kind == "continue":
        return "next"
    target = str(value["target"])
    if target not in chain.others or depth >= _DEPTH:
        return "unknown"
    end = _walk(chain, chain.others[target], packet, depth + 1)
    if end not in ("next", "return"):
        return end
    return "next" if kind == "jump" else "return"


def _mapped(value: Any, packet: Packet) -> tuple[bool | None, tuple[str, Any]]:
    """Whether a verdict map has the packet's key, and the verdict; one that is not known is as good as a queue."""
    data = value["data"]
    pairs = data.get("set") if isinstance(data, Mapping) else None
    if pairs is None:
        return None, ("queue", None)
    unsure = False
    for right, verdict in pairs:
        met = _matches({"op": "==", "left": value["key"], "right": right}, packet)
        if met:
            return True, next(iter(verdict.items()))
        unsure = unsure or met is None
    return None if unsure else False, ("queue", None)


def _matches(match: Any, packet: Packet) -> bool | None:
    """Whether a match is met; None: not told."""
    look = _look(match["left"])
    if look is None:
        return None
    layer = look.split()[0]
    if layer not in ("meta", "ct", "fib") and layer not in packet.layers:
        any_of_them = "th" in packet.layers and layer in _TRANSPORTS
        return None if any_of_them or layer in ("th", "@") else False
    value = packet.iif if look in ("meta iifname", "meta iif") else packet.fields.get(look)
    if value is None:
        return None
    met = _among(value, match["right"], _of_route if layer == "fib" else _SAME.get(look, _same))
    if match["op"] in ("==", "in"):
        return met
    return None if met is None or match["op"] != "!=" else not met


def _look(left: Any) -> str | None:
    """What a match looks at, as `meta l4proto` or `ip6 hoplimit`."""
    kind, value = next(iter(left.items())) if isinstance(left, Mapping) else ("", None)
    if kind in ("meta", "ct") and isinstance(value, Mapping) and "dir" not in value:
        return f"{kind} {value.get('key')}"
    if kind == "payload" and isinstance(value, Mapping):
        return f"{value.get('protocol', '@')} {value.get('field')}"
    if kind == "fib" and isinstance(value, Mapping):
        flags = value.get("flags", ())
        flags = [flags] if isinstance(flags, str) else flags
        return f"fib {value.get('result')} {','.join(sorted(flags))}"
    return None


def _among(
    value: Any, right: Any, same: Callable[[Any, Any], bool | None] | None = None
) -> bool | None:
    """Whether a value is the right side, or one of its elements."""
    same = same or _same
    if isinstance(right, Mapping) and "set" in right:
        right = right["set"]
    if not isinstance(right, list):
        return same(value, right)
    found = [_among(value, one, same) for one in right]
    return True if True in found else None if None in found else False


def _same(value: Any, right: Any) -> bool | None:
    if isinstance(right, Mapping):
        return _within(value, right)
    if isinstance(right, str) and right.startswith("@"):
        return None  # a set with a name, filled by somebody at any time
    left, other = _number(value), _number(right)
    if isinstance(left, int) and not isinstance(other, int):
        return False if isinstance(other, str) else None
    return bool(left == other)


def _number(value: Any) -> Any:
    return _SYMBOLS.get(value, value) if isinstance(value, str) else value


def _within(value: Any, right: Mapping[str, Any]) -> bool | None:
    """Of a range or a prefix."""
    if "range" in right:
        low, high = (_number(one) for one in right["range"])
        number = _number(value)
        if all(isinstance(one, int) for one in (low, high, number)):
            return bool(low <= number <= high)
        return _between(value, *right["range"])
    if "prefix" in right:
        try:
            prefix = right["prefix"]
            network = ipaddress.ip_network((prefix["addr"], prefix["len"]), strict=False)
            return ipaddress.ip_address(value) in network
        except (ValueError, KeyError, TypeError):
            return None
    return None


def _between(value: Any, low: Any, high: Any) -> bool | None:
    try:
        address, first, last = (ipaddress.ip_address(one) for one in (value, low, high))
        return bool(first <= address <= last)  # type: ignore[operator]
    except (ValueError, TypeError):
        return None


def _name(value: Any, right: Any) -> bool | None:
    """An interface's name; a star at the end stands for any rest."""
    if not isinstance(right, str) or right.startswith("@"):
        return None
    if right.endswith("*") and not right.endswith("\\*"):
        return bool(value.startswith(right[:-1]))
    return bool(value == right)


def _of_route(value: Any, right: Any) -> bool | None:
    """The type of an address, or whether there is a route (missing is false, and was 0)."""
    if isinstance(value, bool):
        return None if isinstance(right, str) else bool(right) == value
    known = isinstance(right, str) and not right.startswith("@")
    return bool(value == right) if known else None


def _ether(value: Any, right: Any) -> bool | None:
    left, other = _ETHER.get(value, value), _ETHER.get(str(right), right)
    return bool(left == other) if isinstance(other, int) else None


_SAME: Mapping[str, Callable[[Any, Any], bool | None]] = {
    "meta iifname": _name,
    "meta iif": _name,
    "meta protocol": _ether,
    "ether type": _ether,
}
