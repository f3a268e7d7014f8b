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


class PinnedSource(NamedTuple):
    """The source address that keepalived.conf pins for one vrrp_instance with VIPs on `dummies`.

    `peers` are those of a unicast instance; empty: it speaks multicast. `hold`: packets to the address stay
    deliverable while no interface has it, by a local route in `table` through the interface of index `device`.
    """

    instance: str
    uplink: str
    address: bytes
    peers: tuple[bytes, ...]
    dummies: tuple[str, ...]
    hold: bool
    table: int
    device: int


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
    sources: tuple[PinnedSource, ...] = ()


def read(text: bytes) -> Plan:
    """The plan in `text`. ValueError where it is none."""
    try:
        value = runtime.parse(text)
        names = [name for name in Plan._fields if name not in ("dummies", "filters", "sources")]
        lists = {name: _strings(value.get(name, [])) for name in names}
        filters = tuple(_filter(*found) for found in value.get("filters", []))
        sources = tuple(map(_source, value.get("sources", [])))
        dummies = tuple(map(_dummy, value["dummies"]))
        return Plan(dummies, **lists, filters=filters, sources=sources)
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


def source(value: PinnedSource) -> dict[str, object]:
    """A pinned source as `read` takes it."""
    packed = {"address": value.address.hex(), "peers": [peer.hex() for peer in value.peers]}
    return {**value._asdict(), **packed}


def _source(value: Any) -> PinnedSource:
    instance, uplink, address = _strings([value["instance"], value["uplink"], value["address"]])
    return PinnedSource(
        instance,
        uplink,
        bytes.fromhex(address),
        tuple(map(bytes.fromhex, _strings(value["peers"]))),
        _strings(value["dummies"]),
        bool(value["hold"]),
        int(value["table"]),
        int(value["device"]),
    )
