# SPDX-License-Identifier: MIT
"""rtnetlink messages as bytes: packed and read, nothing sent.

The kernel's own description is include/uapi/linux/{netlink,rtnetlink,if_link,if_addr,pkt_cls}.h; the numbers
below are its. All of it is in the host's byte order, but for what the network's own headers hold.
NamedTuples, not dataclasses: the resident process imports this, and dataclasses costs it a megabyte.
"""

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

# message types
NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 1, 2, 3, 4
RTM_NEWQDISC, RTM_DELQDISC = 36, 37
RTM_NEWTFILTER, RTM_DELTFILTER, RTM_GETTFILTER = 44, 45, 46

# message flags
REQUEST, ACK, DUMP = 0x1, 0x4, 0x300
DUMP_INTR = 0x10  # the dump changed under way: to be asked for again
EXCL, CREATE = 0x200, 0x400

# multicast groups, as the bits of a sockaddr_nl
GROUP_LINK, GROUP_TC = 1 << 0, 1 << 3
GROUP_IPV4_ADDRESS, GROUP_IPV4_ROUTE, GROUP_IPV4_RULE = 1 << 4, 1 << 6, 1 << 7
GROUP_IPV6_ADDRESS, GROUP_IPV6_ROUTE, GROUP_IPV6_RULE = 1 << 8, 1 << 10, 1 << 18

AF_INET, AF_INET6 = 2, 10

CLSACT_INGRESS, CLSACT_EGRESS = 0xFFFFFFF2, 0xFFFFFFF3

_TCA_KIND, _TCA_OPTIONS, _TCA_CHAIN = 1, 2, 11
_TCA_ACT_STATS, _TCA_ACT_COOKIE = 4, 6
_TCA_STATS_BASIC, _TCA_STATS_PKT64 = 1, 8  # linux/gen_stats.h
_U32_NODE = 0xFFF  # a u32 handle without these bits is a hash table (linux/pkt_cls.h)
ACTIONS = {
    "u32": 7,
    "flower": 3,
    "matchall": 2,
}  # the attribute of a filter's options that holds its actions

_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_TC = struct.Struct("=BxxxiIII")
_U32 = struct.Struct("=I")
_U64 = struct.Struct("=Q")
_BASIC = struct.Struct("=QI")  # struct gnet_stats_basic


class Malformed(ValueError):
    """Bytes that are no netlink message, or end in the middle of one."""


class Message(NamedTuple):
    """One message without its header; `pid` is the port of the socket that asked for it, 0 the kernel itself."""

    type: int
    flags: int
    seq: int
    pid: int
    body: bytes


class Filter(NamedTuple):
    """A tc filter; `protocol` is an EtherType, `cookies` are those of its actions that have one, in order.

    `frames` and `octets` went through the last action, and so through all of them.
    A dump also holds an entry for each pref (handle 0) and for u32's hash tables, which have no action.
    """

    ifindex: int
    parent: int
    handle: int
    pref: int
    protocol: int
    kind: str
    chain: int
    cookies: tuple[bytes, ...]
    frames: int = 0
    octets: int = 0

    @property
    def matches(self) -> bool:
        """Whether it is a filter itself, not the head of its preference nor a hash table."""
        return bool(self.handle & _U32_NODE if self.kind == "u32" else self.handle)


# Reading


def messages(data: bytes) -> Iterator[Message]:
    """The messages of one datagram. Malformed where a length lies."""
    offset, end = 0, len(data)
    while offset < end:
        if end - offset < _HEADER.size:
            raise Malformed(f"{end - offset} bytes where a message header should be")
        length, kind, flags, seq, pid = _HEADER.unpack_from(data, offset)
        if not _HEADER.size <= length <= end - offset:
            raise Malformed(f"a message of {length} bytes in the {end - offset} that are left")
        yield Message(kind, flags, seq, pid, data[offset + _HEADER.size : offset + length])
        offset += length + 3 & ~3


def attributes(data: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """The attributes from `offset` on, each with its type (without the two flag bits) and its bytes."""
    end = len(data)
    if offset > end:
        raise Malformed(f"{end} bytes where a header of {offset} should be")
    while end - offset >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if not _ATTRIBUTE.size <= length <= end - offset:
            raise Malformed(f"an attribute of {length} bytes in the {end - offset} that are left")
        yield kind & 0x3FFF, data[offset + _ATTRIBUTE.size : offset + length]
        offset += length + 3 & ~3


def find(data: bytes, *path: int) -> bytes | None:
    """The bytes of a nested attribute by the types that lead to it, or None."""
    found: bytes | None = data
    for kind in path:
        if found is None:
            return None
        found = next((value for k, value in attributes(found) if k == kind), None)
    return found


def unpack(form: struct.Struct, data: bytes) -> tuple[int, ...]:
    """`form.unpack_from`, with Malformed for its struct.error."""
    if len(data) < form.size:
        raise Malformed(f"{len(data)} bytes where {form.size} should be")
    return form.unpack_from(data)


def u32(data: bytes) -> int:
    """A 32-bit attribute."""
    return unpack(_U32, data)[0]


def text(data: bytes) -> str:
    """A string attribute; any bytes, since an interface may be named so."""
    return data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def error(body: bytes) -> int:
    """The errno of an NLMSG_ERROR, or of the NLMSG_DONE of a dump that failed; 0 is an acknowledgement."""
    return -unpack(struct.Struct("=i"), body)[0] if len(body) >= 4 else 0


def tc(body: bytes) -> tuple[int, int, int, str]:
    """Interface, parent, preference (0 of a qdisc, or of all filters) and kind of a tc message."""
    _, ifindex, _, parent, info = unpack(_TC, body)
    return ifindex, parent, info >> 16, text(find(body[_TC.size :], _TCA_KIND) or b"")


def filters(data: bytes) -> Iterator[Filter]:
    """The filters in a datagram of RTM_NEWTFILTERs, as `dump_filters` is answered."""
    for message in messages(data):
        if message.type == RTM_NEWTFILTER:
            yield filter_of(message.body)


def filter_of(body: bytes) -> Filter:
    """The filter of one RTM_NEWTFILTER."""
    _, ifindex, handle, parent, info = unpack(_TC, body)
    a = dict(attributes(body, _TC.size))
    kind = text(a.get(_TCA_KIND, b""))
    chain = u32(a[_TCA_CHAIN]) if _TCA_CHAIN in a else 0
    found = find(a.get(_TCA_OPTIONS, b""), ACTIONS[kind]) if kind in ACTIONS else None
    actions = [action for _, action in attributes(found or b"")]
    cookies = (find(action, _TCA_ACT_COOKIE) for action in actions)
    return Filter(
        ifindex,
        parent,
        handle,
        info >> 16,
        socket.ntohs(info & 0xFFFF),
        kind,
        chain,
        tuple(cookie for cookie in cookies if cookie is not None),
        *(_counted(actions[-1]) if actions else (0, 0)),
    )


def _counted(action: bytes) -> tuple[int, int]:
    """Frames and octets that an action has seen."""
    basic = find(action, _TCA_ACT_STATS, _TCA_STATS_BASIC)
    if basic is None:
        return 0, 0
    octets, frames = unpack(_BASIC, basic)
    more = find(action, _TCA_ACT_STATS, _TCA_STATS_PKT64)
    return unpack(_U64, more)[0] if more else frames, octets


# Packing


def message(kind: int, flags: int, body: bytes, seq: int = 0) -> bytes:
    """A message with its header, REQUEST set."""
    padding = b"\0" * (-len(body) % 4)
    return _HEADER.pack(_HEADER.size + len(body), kind, flags | REQUEST, seq, 0) + body + padding


def numbered(request: bytes, seq: int) -> bytes:
    """A request with another sequence number, which its answers bear too."""
    length, kind, flags, _, pid = _HEADER.unpack_from(request)
    return _HEADER.pack(length, kind, flags, seq, pid) + request[_HEADER.size :]


def attribute(kind: int, data: bytes) -> bytes:
    """One attribute, padded to four bytes; several of them joined are the data of a nested one."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind) + data + b"\0" * (-len(data) % 4)


def dump_filters(ifindex: int, parent: int) -> bytes:
    """Asks for the filters at CLSACT_INGRESS or CLSACT_EGRESS of a link."""
    return message(RTM_GETTFILTER, DUMP, _TC.pack(0, ifindex, 0, parent, 0))
