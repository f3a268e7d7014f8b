# SPDX-License-Identifier: MIT
"""The base chains of `nft --json list ruleset` (libnftables-json(5)). Pure."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator
from typing import Any

from keepalived_dummy.firewall import Chain, Rule

_Key = tuple[str, str, str]


def parse(text: str) -> tuple[Chain, ...]:
    """The chains of type filter, each with all chains of its table. ValueError where it is no ruleset."""
    try:
        items = json.loads(text)["nftables"]
        chains = [item["chain"] for item in items if "chain" in item]
        rules: dict[_Key, list[Rule]] = {_key(chain, "name"): [] for chain in chains}
        for item in items:
            if "rule" in item:
                key = _key(item["rule"], "chain")
                rules.setdefault(key, []).append(_statements(item["rule"].get("expr", ())))
        tables = [item["table"] for item in items if _is_owned(item)]
        owned = {(table["family"], table["name"]) for table in tables}
        return tuple(made for chain in chains for made in _base(chain, rules, owned))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no ruleset: {error!r}") from error


def _key(item: dict[str, Any], name: str) -> _Key:
    return item["family"], item["table"], item[name]


def _statements(found: Iterable[Any]) -> Rule:
    """A statement without JSON of its own stands there as its text: a chain without a name, before 1.0.6 one of xtables.

    It may end in anything, as a queue may.
    """
    return tuple({"queue": None} if isinstance(one, str) else one for one in found)


def _is_owned(item: dict[str, Any]) -> bool:
    """Whether it is a table with the flag, which nft before 1.1 does not show in JSON."""
    flags = item.get("table", {}).get("flags", ())
    return "owner" in ([flags] if isinstance(flags, str) else flags)


def _base(
    chain: dict[str, Any], rules: dict[_Key, list[Rule]], owned: Container[tuple[str, str]]
) -> Iterator[Chain]:
    """A base chain, once for each of its devices; nothing for a chain that only others lead to."""
    if chain.get("type") != "filter":
        return
    family, table, name = _key(chain, "name")
    others = {n: tuple(r) for (f, t, n), r in rules.items() if (f, t) == (family, table)}
    devices = chain.get("dev", "")
    for device in devices if isinstance(devices, list) else [devices]:
        yield Chain(
            family,
            table,
            name,
            chain["hook"],
            chain.get("policy", "accept"),
            others[name],
            others,
            device,
            owned=(family, table) in owned,
        )
