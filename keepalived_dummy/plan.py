# SPDX-License-Identifier: MIT
"""What `apply --daemon` tells the daemon: one JSON object, read into values."""

import json
from typing import Any, NamedTuple


class Dummy(NamedTuple):
    """A configured dummy; `mac` is empty and `mtu` 0 where the configuration asks for none."""

    name: str
    mtu: int
    mac: bytes
    wire: bool
    way_out: bool
    uplinks: tuple[str, ...]


class Plan(NamedTuple):
    """What to look after, and what the pass found."""

    dummies: tuple[Dummy, ...] = ()
    watch: tuple[str, ...] = ()
    sysctls: tuple[str, ...] = ()
    rewired: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


def read(text: bytes) -> Plan:
    """The plan in `text`. ValueError where it is none."""
    try:
        value = json.loads(text)
        lists = {name: _strings(value.get(name, [])) for name in Plan._fields if name != "dummies"}
        return Plan(tuple(map(_dummy, value["dummies"])), **lists)
    except (KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise ValueError(f"no plan: {problem!r}") from None


def _strings(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise TypeError(values)
    return tuple(values)


def _dummy(value: Any) -> Dummy:
    if not isinstance(value["name"], str):
        raise TypeError(value["name"])
    return Dummy(
        value["name"],
        int(value.get("mtu") or 0),
        bytes.fromhex((value.get("mac") or "").replace(":", "")),
        bool(value["wire"]),
        bool(value["way_out"]),
        _strings(value["uplinks"]),
    )
