# SPDX-License-Identifier: MIT
"""The chains of iptables-save and ip6tables-save, in the terms of nft. Pure."""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from keepalived_dummy.firewall import Chain, Rule

# The hooks at which a packet for this host may be dropped, by table and chain.
_HOOKS = {
    "PREROUTING": "prerouting",
    "INPUT": "input",
}
_TABLES = ("raw", "mangle", "filter", "security")
_TARGETS = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "reject", "RETURN": "return"}
_NEUTRAL = frozenset(("LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "TCPMSS"))
# Of these what is matched is an option of its own; of others `-m NAME` alone may match.
_MODULES = frozenset(("icmp6", "conntrack", "state", "comment", "tcp", "udp", "addrtype"))
# A comment may go over several lines.
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass
class _Table:
    policies: dict[str, str] = field(default_factory=dict)
    rules: dict[str, list[Rule]] = field(default_factory=dict)


def parse(text: str, family: str, tool: str) -> tuple[Chain, ...]:
    """The chains that see a packet for this host; `family` is ip or ip6, `tool` what changes them."""
    tables: dict[str, _Table] = {}
    table = _Table()
    for line in _QUOTED.sub(lambda quoted: quoted[0].replace("\n", " "), text).split("\n"):
        if line.startswith("*"):
            table = tables.setdefault(line[1:].strip(), _Table())
        elif line.startswith(":"):
            name, policy, *_ = line[1:].split()
            table.policies[name] = policy
            table.rules[name] = []
        elif line.startswith("-A "):
            words = shlex.split(line)
            table.rules.setdefault(words[1], []).append(_rule(words[2:], family))
    return tuple(
        Chain(
            family,
            name,
            chain,
            hook,
            made.policies.get(chain, "ACCEPT").lower(),
            tuple(made.rules.get(chain, ())),
            {other: tuple(rules) for other, rules in made.rules.items()},
            tool=tool,
        )
        for name in _TABLES
        if (made := tables.get(name))
        for chain, hook in _HOOKS.items()
        if chain in made.policies
    )


def _rule(words: list[str], family: str) -> Rule:
    """A rule; an option that is not known is a match that is not understood."""
    words = _without_comments(words)
    target = next((n for n, word in enumerate(words) if word in ("-j", "-g")), len(words))
    end = [_target(words[target + 1], words[target])] if words[target:] else []
    rest, made = _of_route(words[:target])  # what comes after it is the target's own
    for option, negated, values in _options(rest):
        made += _match(option, "!=" if negated else "==", values, family)
    return (*made, *end)


def _without_comments(words: list[str]) -> list[str]:
    """A comment may look like an option."""
    rest = iter(words)
    return [word for word in rest if word != "--comment" or next(rest, None) is None]


def _of_route(words: list[str]) -> tuple[list[str], list[dict[str, Any]]]:
    """Matches of several options that look at routes, as nft's; the rest of the words.

    `-m rpfilter --invert` is met where the route to the sender leads out of another interface, `--limit-iface-in` asks
    what an address is on the one that the packet came in on (iptables-extensions(8)).
    """
    made: list[dict[str, Any]] = []
    if "rpfilter" in words and "--invert" in words:  # with --loose that stays, not understood
        left = {"fib": {"result": "oif", "flags": ["saddr", "iif"]}}
        made.append({"match": {"op": "==", "left": left, "right": False}})
        ours = ("rpfilter", "--invert", "--validmark", "--accept-local")
        at = words.index("rpfilter")
        words = words[: at - 1] + [w for w in words[at:] if w not in ours]
    if "--dst-type" in words:
        at = words.index("--dst-type")
        flags = ["daddr", "iif"] if "--limit-iface-in" in words else ["daddr"]
        negated = at > 0 and words[at - 1] == "!"
        types = words[at + 1].lower().split(",") if at + 1 < len(words) else []
        left = {"fib": {"result": "type", "flags": flags}}
        made.append({"match": {"op": "!=" if negated else "==", "left": left, "right": types}})
        words = words[: at - negated] + words[at + 2 :]
        words = [w for w in words if w != "--limit-iface-in"]
    return words, made


def _options(words: list[str]) -> Iterator[tuple[str, bool, list[str]]]:
    """Each option with whether a ! stands before it, and its values."""
    negated, rest = False, list(words)
    while rest:
        word = rest.pop(0)
        if word == "!":
            negated = True
            continue
        values: list[str] = []
        while rest and rest[0] != "!" and not rest[0].startswith("-"):
            values.append(rest.pop(0))
        yield word, negated, values
        negated = False


def _target(name: str, option: str) -> dict[str, Any]:
    if name in _TARGETS:
        return {_TARGETS[name]: None}
    if name in _NEUTRAL:
        return {"counter": None}
    if name in ("CT", "NOTRACK"):
        return {"notrack": None}
    if name in ("NFQUEUE", "QUEUE", "TPROXY", "SYNPROXY", "TEE"):
        return {"queue": None}
    return {"goto" if option == "-g" else "jump": {"target": name}}


def _match(option: str, operator: str, values: list[str], family: str) -> Iterator[dict[str, Any]]:
    value = values[0] if values else ""
    left: dict[str, Any] | None = None
    right: Any = int(value) if value.isdigit() else value
    if option == "-m" and value in _MODULES:
        return
    if option == "-i":
        left, right = {"meta": {"key": "iifname"}}, _wildcard(value)
    elif option == "-p" and value in ("all", "0"):
        return
    elif option == "-p":
        left = {"meta": {"key": "l4proto"}}
    elif option == "--icmpv6-type" and value.isdigit():
        left = {"payload": {"protocol": "icmpv6", "field": "type"}}
    elif option in ("--ctstate", "--state"):
        left, right = {"ct": {"key": "state"}}, value.lower().split(",")
    elif option in ("-s", "-d"):
        field_ = "saddr" if option == "-s" else "daddr"
        left, right = {"payload": {"protocol": family, "field": field_}}, _prefix(value)
    if left is None or right is None:
        yield {"unknown": option}
    else:
        yield {"match": {"op": operator, "left": left, "right": right}}


def _wildcard(name: str) -> str:
    """iptables ends a beginning with a plus, nft with a star."""
    return f"{name[:-1]}*" if name.endswith("+") else name


def _prefix(text: str) -> dict[str, Any] | None:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    return {"prefix": {"addr": str(network.network_address), "len": network.prefixlen}}
