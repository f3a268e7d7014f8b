# SPDX-License-Identifier: MIT
"""Unicast routes through one interface as rtnetlink messages: read, and put back by the way out.

Numbers: include/uapi/linux/rtnetlink.h.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from keepalived_dummy.netlink import (
    AF_INET,
    AF_INET6,
    CREATE,
    DUMP,
    EXCL,
    Malformed,
    attribute,
    attributes,
    find,
    message,
    u32,
    unpack,
)

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26

PROTOCOL = 75  # a route of the way out, free in rtnetlink.h and in iproute2's rt_protos
BOOT = 3  # RTPROT_BOOT (linux/rtnetlink.h): what `ip route add` writes, by hand or in a script
KEEPALIVED = 18  # RTPROT_KEEPALIVED (linux/rtnetlink.h): of virtual_routes and static_routes
METRIC = 60000  # worse than any route of networkd, NetworkManager or the kernel
_WORST = 0xFFFFFFFF

RT_TABLE_LOCAL = 255
BROADCAST = b"\xff\xff\xff\xff"
LOOPBACK = 1  # lo's index in every network namespace (LOOPBACK_IFINDEX, linux/netdevice.h)
_RTN_UNICAST, _RTN_LOCAL, _RTNH_F_ONLINK = 1, 2, 4
_RT_SCOPE_HOST = 254
_RTM_F_FIB_MATCH = 0x2000  # answer with the entry of the table instead of the resolved route
_RTA_DST, _RTA_SRC, _RTA_IIF, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC = range(1, 8)
_RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA, _RTA_ENCAP_TYPE, _RTA_ENCAP = 9, 15, 18, 21, 22
_RTA_CACHEINFO, _RTA_NH_ID = 12, 30  # counters, and a nexthop object beside what it stands for
# source prefix, metrics (mtu and so on), router preference: kept as they are
_KEPT = (_RTA_SRC, 8, 20)
_HOP = (_RTA_GATEWAY, _RTA_VIA, _RTA_ENCAP_TYPE, _RTA_ENCAP)

_ROUTE = struct.Struct("=BBBBBBBBI")
_NEXTHOP = struct.Struct("=HBBi")
_U32 = struct.Struct("=I")


class Key(NamedTuple):
    """What a packet is matched with: two routes of one key differ by metric or next hop.

    `source` is the prefix of a source-specific route (IPv6), not the source that the kernel chooses.
    """

    table: int
    destination: bytes
    length: int
    tos: int
    source: bytes = b""
    source_length: int = 0


class Route(NamedTuple):
    """A route through `ifindex`, of a multipath one the hop through it; `extra` are attributes to keep, packed.

    `whole`: the body of its message, of a route that only its owner sets again (`is_restored`).
    """

    family: int
    key: Key
    protocol: int
    scope: int
    metric: int
    ifindex: int
    source: bytes
    gateway: bytes
    extra: bytes
    whole: bytes = b""


def protocol(body: bytes) -> int:
    """The protocol number of a route's message."""
    return unpack(_ROUTE, body)[5]


def interface(body: bytes) -> int:
    """The interface of a route's message, 0 where it has none or several."""
    oif = find(body[_ROUTE.size :], _RTA_OIF)
    return u32(oif) if oif else 0


def route(body: bytes, ifindex: int) -> Route | None:
    """The route of an RTM_NEWROUTE or RTM_DELROUTE, None where it is none that a VIP's reply can take there.

    That is: not unicast, not through `ifindex`, of the local table, link-local or a cached one.
    """
    family, length, src_length, tos, table, proto, scope, kind, flags = unpack(_ROUTE, body)
    if kind != _RTN_UNICAST or family not in (AF_INET, AF_INET6) or flags & 0x200:  # RTM_F_CLONED
        return None
    a = dict(attributes(body, _ROUTE.size))
    if _RTA_TABLE in a:
        table = u32(a[_RTA_TABLE])
    hop = _hop(a, ifindex)
    size = 4 if family == AF_INET else 16
    destination = a.get(_RTA_DST, b"").ljust(size, b"\0")
    if table == RT_TABLE_LOCAL or hop is None or _link_local(family, destination, length):
        return None
    return Route(
        family,
        Key(table, destination, length, tos, a.get(_RTA_SRC, b""), src_length),
        proto,
        scope,
        u32(a[_RTA_PRIORITY]) if _RTA_PRIORITY in a else 0,
        ifindex,
        a.get(_RTA_PREFSRC, b""),
        hop.get(_RTA_GATEWAY) or hop.get(_RTA_VIA, b""),
        b"".join(
            attribute(kind, data)
            for kind, data in sorted(({k: a[k] for k in _KEPT if k in a} | hop).items())
        ),
        _whole(body) if is_restored(proto) else b"",
    )


def is_restored(proto: int) -> bool:
    """Tell whether a route of this protocol is restored as it was: networkd sets none of these."""
    return proto in (KEEPALIVED, BOOT)


def _whole(body: bytes) -> bytes:
    """Return a route's message body as it can be sent: the kernel refuses flags of a hop's state."""
    *head, flags = unpack(_ROUTE, body)
    new: bytes = _ROUTE.pack(*head, flags & _RTNH_F_ONLINK)
    for kind, data in attributes(body, _ROUTE.size):
        if kind == _RTA_MULTIPATH:
            new += attribute(kind, b"".join(map(_sendable, _hops(data))))
        elif kind not in (_RTA_CACHEINFO, _RTA_NH_ID):
            new += attribute(kind, data)
    return new


def _sendable(hop: bytes) -> bytes:
    length, flags, weight, index = _NEXTHOP.unpack_from(hop)
    head: bytes = _NEXTHOP.pack(length, flags & _RTNH_F_ONLINK, weight, index)
    return b"".join((head, hop[_NEXTHOP.size :], b"\0" * (-length % 4)))


class Held(NamedTuple):
    """A local route that keeps packets to an IPv4 address delivered while no interface has that address.

    `table` is the local table, or that of the VRF whose device has the index `device`; else `device` is lo.
    """

    address: bytes
    table: int = RT_TABLE_LOCAL
    device: int = LOOPBACK


def hold(held: Held) -> bytes:
    """Add a local route, unless it is there. The kernel's own entry (metric 0) wins while an interface has the address."""
    return message(RTM_NEWROUTE, CREATE | EXCL, _held_body(held))


def release(held: Held) -> bytes:
    """Remove a local route of ours, and no other."""
    return message(RTM_DELROUTE, 0, _held_body(held))


def _held_body(held: Held) -> bytes:
    table = held.table if held.table < 256 else 0
    return (
        _ROUTE.pack(AF_INET, 32, 0, 0, table, PROTOCOL, _RT_SCOPE_HOST, _RTN_LOCAL, 0)
        + attribute(_RTA_DST, held.address)
        + attribute(_RTA_OIF, _U32.pack(held.device))
        + attribute(_RTA_PRIORITY, _U32.pack(METRIC))
        + attribute(_RTA_TABLE, _U32.pack(held.table))
    )


def held(body: bytes) -> Held | None:
    """Return the held address of a route's message; None where it is another route, or not ours."""
    family, _, _, _, table, proto, _, kind, _ = unpack(_ROUTE, body)
    if kind != _RTN_LOCAL or proto != PROTOCOL or family != AF_INET:
        return None
    a = dict(attributes(body, _ROUTE.size))
    table = u32(a[_RTA_TABLE]) if _RTA_TABLE in a else table
    return Held(a.get(_RTA_DST, b""), table, interface(body))


def dump_held() -> bytes:
    """Ask for the local routes of ours, in whatever table."""
    body = _ROUTE.pack(AF_INET, 0, 0, 0, 0, PROTOCOL, 0, _RTN_LOCAL, 0)
    return message(RTM_GETROUTE, DUMP, body)


def ask_input(source: bytes, destination: bytes, ifindex: int) -> bytes:
    """Ask what the kernel does with an IPv4 packet that comes in on an interface.

    The kernel answers with the route of the packet, or with an error where it would drop it: ip_route_input() with
    its check of the source (fib_validate_source(), net/ipv4/fib_frontend.c), so rp_filter and all rules are in it.
    The broadcast address as destination asks for the check of the source only.
    """
    # A broadcast has no entry in a table (inet_rtm_getroute(), net/ipv4/route.c).
    flags = 0 if destination == BROADCAST else _RTM_F_FIB_MATCH
    body = _ROUTE.pack(AF_INET, 32, 32, 0, 0, 0, 0, 0, flags)
    body += attribute(_RTA_DST, destination) + attribute(_RTA_SRC, source)
    return message(RTM_GETROUTE, 0, body + attribute(_RTA_IIF, _U32.pack(ifindex)))


def ask_output(destination: bytes, ifindex: int) -> bytes:
    """Ask for the entry of a table by which the kernel sends an IPv4 packet out of an interface.

    The kernel refuses where there is none, though a socket bound to the interface sends without one.
    """
    body = _ROUTE.pack(AF_INET, 32, 0, 0, 0, 0, 0, 0, _RTM_F_FIB_MATCH)
    body += attribute(_RTA_DST, destination) + attribute(_RTA_OIF, _U32.pack(ifindex))
    return message(RTM_GETROUTE, 0, body)


def is_local(body: bytes) -> bool:
    """Tell whether the route of a message delivers to this host."""
    return unpack(_ROUTE, body)[7] == _RTN_LOCAL


def of_way_out(body: bytes) -> Route | None:
    """The route of an RTM_NEWROUTE where it is one of the way out, through whatever interface."""
    found = route(body, interface(body))
    return found if found and found.protocol == PROTOCOL else None


def _link_local(family: int, destination: bytes, length: int) -> bool:
    return (
        family == AF_INET6
        and length >= 8
        and (destination[0] == 0xFF or (destination[0] == 0xFE and destination[1] & 0xC0 == 0x80))
    )


def _hop(a: dict[int, bytes], ifindex: int) -> dict[int, bytes] | None:
    """The attributes of the (first) next hop through `ifindex`."""
    if _RTA_MULTIPATH in a:
        for hop in _hops(a[_RTA_MULTIPATH]):
            if _NEXTHOP.unpack_from(hop)[3] == ifindex:
                found = dict(attributes(hop, _NEXTHOP.size))
                return {k: found[k] for k in _HOP if k in found}
        return None
    if _RTA_OIF not in a or u32(a[_RTA_OIF]) != ifindex:
        return None
    return {k: a[k] for k in _HOP if k in a}


def _hops(data: bytes) -> Iterator[bytes]:
    """Yield the next hops of a multipath route, each with its header."""
    offset = 0
    while len(data) - offset >= _NEXTHOP.size:
        length = _NEXTHOP.unpack_from(data, offset)[0]
        if not _NEXTHOP.size <= length <= len(data) - offset:
            raise Malformed(f"a next hop of {length} bytes in the {len(data) - offset} left")
        yield data[offset : offset + length]
        offset += length + 3 & ~3


def prefix(address: bytes, length: int) -> bytes:
    """The network an address lies in."""
    bits = 8 * len(address)
    mask = (1 << bits) - (1 << max(0, bits - length))
    return (int.from_bytes(address, "big") & mask).to_bytes(len(address), "big")


def copy(r: Route, metric: int) -> Route:
    """Return the route of ours that stands for `r`, without its source, which is the address that is gone."""
    return r._replace(protocol=PROTOCOL, metric=metric, source=b"", whole=b"")


def beside(metric: int, tries: int = 0) -> int:
    """Return a metric with which a route comes right after one with `metric`.

    `tries`: how often another route had the metric returned before. Then the metric right before is tried once: the
    other one may be of another uplink, and come after.
    """
    if metric > 1 and tries:
        return metric - 1 if tries == 1 else min(metric + tries, _WORST)
    return min(metric + 1 + tries, _WORST)


def put(r: Route, seq: int = 0) -> bytes:
    """Add a route of ours, made by `copy`; its gateway is on link whatever the addresses are.

    IPv4 has it before others of the same key and metric (fib_table_insert(), net/ipv4/fib_trie.c). IPv6 would make
    one multipath route of it and the other, so there the kernel is to refuse it (EEXIST).
    """
    return message(RTM_NEWROUTE, CREATE | (EXCL if r.family == AF_INET6 else 0), _body(r), seq)


def take(r: Route) -> bytes:
    """Remove a route of ours, and no other."""
    return message(RTM_DELROUTE, 0, _body(r))


def restore(r: Route, seq: int = 0) -> bytes:
    """Add `r` itself, as its owner had it, unless it is there."""
    return message(RTM_NEWROUTE, CREATE | EXCL, r.whole or _body(r), seq)


def _body(r: Route) -> bytes:
    ours = r.protocol == PROTOCOL
    flags = _RTNH_F_ONLINK if ours and r.gateway else 0
    key = r.key
    body = _ROUTE.pack(
        r.family,
        key.length,
        key.source_length,
        key.tos,
        key.table if key.table < 256 else 0,
        r.protocol,
        r.scope,
        _RTN_UNICAST,
        flags,
    )
    if key.length:
        body += attribute(_RTA_DST, key.destination)
    for kind, number in (
        (_RTA_OIF, r.ifindex),
        (_RTA_PRIORITY, r.metric),
        (_RTA_TABLE, key.table),
    ):
        body += attribute(kind, _U32.pack(number))
    if not ours and r.source:
        body += attribute(_RTA_PREFSRC, r.source)
    return body + r.extra


def dump_routes(family: int, ifindex: int) -> bytes:
    """Asks for the unicast routes through a link (the kernel may send others too, where it filters none).

    `ifindex` 0: for the routes of the way out, wherever they are.
    """
    proto = 0 if ifindex else PROTOCOL
    body = _ROUTE.pack(family, 0, 0, 0, 0, proto, 0, _RTN_UNICAST, 0)
    if ifindex:
        body += attribute(_RTA_OIF, _U32.pack(ifindex))
    return message(RTM_GETROUTE, DUMP, body)
