# SPDX-License-Identifier: MIT
"""What `apply --daemon` tells the daemon: one JSON object, read into values."""

from typing import Any, NamedTuple

from keepalived_dummy import runtime


class Dummy(NamedTuple):
    """A configured dummy; `mac` is empty and `mtu` 0 where the configuration asks for none.

    `alias` is that of a link which this package made.
    """

    name: str
    mtu: int
    mac: bytes
    wire: bool
    way_out: bool
    uplinks: tuple[str, ...]
    alias: str


class Filter(NamedTuple):
    """A filter of the wire: where it sits, what it is known by, and the tc command that puts it there."""

    ifindex: int
    direction: str
    cookie: bytes
    line: str


class Plan(NamedTuple):
    """What to look after, and what the pass found."""

    dummies: tuple[Dummy, ...] = ()
    watch: tuple[str, ...] = ()
    sysctls: tuple[str, ...] = ()
    rewired: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    filters: tuple[Filter, ...] = ()


def read(text: bytes) -> Plan:
    """The plan in `text`. ValueError where it is none."""
    try:
        value = runtime.parse(text)
        names = [name for name in Plan._fields if name not in ("dummies", "filters")]
        lists = {name: _strings(value.get(name, [])) for name in names}
        filters = tuple(_filter(*found) for found in value.get("filters", []))
        return Plan(tuple(map(_dummy, value["dummies"])), **lists, filters=filters)
    except (KeyError, TypeError, AttributeError, OverflowError) as problem:
        raise ValueError(f"no plan: {problem!r}") from None


def _strings(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise TypeError(values)
    return tuple(values)


def _dummy(value: Any) -> Dummy:
    name, alias = _strings([value["name"], value["alias"]])
    return Dummy(
        name,
        int(value.get("mtu") or 0),
        bytes.fromhex((value.get("mac") or "").replace(":", "")),
        bool(value["wire"]),
        bool(value["way_out"]),
        _strings(value["uplinks"]),
        alias,
    )


def _filter(index: Any, direction: Any, _: Any, cookie: Any, line: Any) -> Filter:
    words = _strings([direction, line])
    return Filter(int(index), words[0], bytes.fromhex(cookie), words[1])
