# SPDX-License-Identifier: MIT
"""Policy routing rules as ip-rule(8) shows them, and whether a routing table with routes is looked up at all. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

_MAIN = frozenset(("main", "254"))
_WITHOUT_ROUTES = frozenset(
    ("local", "255", "default", "253")
)  # of the network: RT_TABLE_* in linux/rtnetlink.h
_ENDS = frozenset(("unreachable", "prohibit", "blackhole"))
# What does not select: any other key makes a rule one for some packets only.
_UNSELECTIVE = frozenset(("priority", "src", "table", "action", "goto", "protocol", "flags"))
_SUPPRESSING = frozenset(("suppress_prefixlen", "suppress_prefixlength", "suppress_ifgroup"))


@dataclass(frozen=True)
class Rule:
    """A rule; `every`: it matches each packet. `table`: empty where it looks none up. `whole`: all routes there count.

    `ends`: no route, and no further rule. `goto`: the priority of the rule to go on with, 0: the next.
    """

    priority: int
    table: str = ""
    every: bool = True
    whole: bool = True
    ends: bool = False
    goto: int = 0


def parse(text: str) -> tuple[Rule, ...]:
    """The rules that `ip -json rule` shows, in the kernel's order. ValueError where the text is something else."""
    try:
        return tuple(_rule(one) for one in json.loads(text))
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not the rules of ip: {error!r}") from None


def _rule(made: dict[str, Any]) -> Rule:
    every = made.get("src", "all") == "all" and not made.keys() - _UNSELECTIVE - _SUPPRESSING
    goto = made.get("goto", 0)
    return Rule(
        int(made["priority"]),
        str(made.get("table", "")),
        every,
        not made.keys() & _SUPPRESSING,
        made.get("action") in _ENDS,
        goto if isinstance(goto, int) else 0,
    )


def looks_up_routes(rules: tuple[Rule, ...]) -> bool:
    """Whether a packet can get to the main table, or to another that every packet is looked up in.

    A rule for some packets that looks up main is enough: which packets these are is the admin's.
    """
    least = 0
    for rule in rules:
        if rule.priority < least:
            continue
        if rule.whole and rule.table in _MAIN:
            return True
        if rule.whole and rule.every and rule.table and rule.table not in _WITHOUT_ROUTES:
            return True
        if rule.every and rule.ends:
            return False
        if rule.every and rule.goto:
            least = rule.goto
    return False
