# SPDX-License-Identifier: MIT
"""Interfaces and their addresses as rtnetlink messages: read, and the few changes made to a dummy packed.

Numbers: include/uapi/linux/{if,if_link,if_addr,ip}.h.
"""

import struct
from typing import NamedTuple

from keepalived_dummy.netlink import (
    ACK,
    AF_INET,
    AF_INET6,
    CREATE,
    DUMP,
    EXCL,
    Malformed,
    Message,
    attribute,
    attributes,
    find,
    message,
    text,
    u32,
    unpack,
)

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22

IFF_UP, IFF_RUNNING, IFF_NOARP = 0x1, 0x40, 0x80
ADDR_GEN_EUI64, ADDR_GEN_NONE = 0, 1
IFAPROT_KERNEL_LL = 3  # if_addr.h: made by the kernel as the link-local address of the link

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINKINFO, _IFLA_AF_SPEC = 1, 3, 4, 18, 26
_IFLA_MASTER = 10
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _IFLA_VRF_TABLE = 1, 2, 1
_IFLA_INET_CONF = 1
_IFLA_INET6_ADDR_GEN_MODE = 8
_IPV4_DEVCONF_ARP_IGNORE, _IPV4_DEVCONF_ARP_NOTIFY = 19, 22  # include/uapi/linux/ip.h
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS, _IFA_PROTO = 1, 2, 8, 11

_FAMILIES = (bytes([AF_INET]), bytes([AF_INET6]))
_IFLA_IFALIAS = 20
_LINK = struct.Struct("=BxHiII")
_ADDRESS = struct.Struct("=BBBBi")
_U32 = struct.Struct("=I")


class Link(NamedTuple):
    """An interface; `mac` and `kind` are empty where it has none, `addr_gen_mode` is None where IPv6 is off."""

    ifindex: int
    flags: int
    name: str
    kind: str
    mac: bytes
    mtu: int
    addr_gen_mode: int | None
    alias: str = ""
    hardware: int = 0  # if_arp.h: ARPHRD_ETHER is 1
    master: int = 0  # the index of the VRF, bridge or bond that it is in
    table: int = 0  # of a VRF: the routing table of what is in it


class Address(NamedTuple):
    """An address of an interface; `proto` is 0 where the kernel (before 5.18) or the program sets none."""

    family: int
    ifindex: int
    prefixlen: int
    address: bytes
    flags: int
    proto: int


def link(body: bytes) -> Link:
    """The link of an RTM_NEWLINK or RTM_DELLINK."""
    _, hardware, index, flags, _ = unpack(_LINK, body)
    a = dict(attributes(body, _LINK.size))
    mode = find(a.get(_IFLA_AF_SPEC, b""), AF_INET6, _IFLA_INET6_ADDR_GEN_MODE)
    info = a.get(_IFLA_LINKINFO, b"")
    kind = text(find(info, _IFLA_INFO_KIND) or b"")
    table = find(info, _IFLA_INFO_DATA, _IFLA_VRF_TABLE) if kind == "vrf" else None
    return Link(
        index,
        flags,
        text(a.get(_IFLA_IFNAME, b"")),
        kind,
        a.get(_IFLA_ADDRESS, b""),
        u32(a[_IFLA_MTU]) if _IFLA_MTU in a else 0,
        mode[0] if mode else None,
        text(a.get(_IFLA_IFALIAS, b"")),
        hardware,
        u32(a[_IFLA_MASTER]) if _IFLA_MASTER in a else 0,
        u32(table) if table else 0,
    )


def link_of(m: Message) -> Link | None:
    """The link of a message; None where it is a bridge's word about a port, which has the link's number too."""
    if m.type not in (RTM_NEWLINK, RTM_DELLINK) or m.body[:1] != b"\0":
        return None
    return link(m.body)


def address(body: bytes) -> Address:
    """The address of an RTM_NEWADDR or RTM_DELADDR: of a point-to-point one the near end."""
    family, prefixlen, flags, _, index = unpack(_ADDRESS, body)
    a = dict(attributes(body, _ADDRESS.size))
    own = a.get(_IFA_LOCAL) or a.get(_IFA_ADDRESS, b"")
    if len(own) != {AF_INET: 4, AF_INET6: 16}.get(family, len(own)):
        raise Malformed(f"an address of {len(own)} bytes in family {family}")
    if _IFA_FLAGS in a:
        flags = u32(a[_IFA_FLAGS])
    proto = a.get(_IFA_PROTO) or b"\0"
    return Address(family, index, prefixlen, own, flags, proto[0])


def address_of(m: Message) -> Address | None:
    """The address of a message; None where it is not an IPv4 or IPv6 address, as MCTP's of one byte, or no address."""
    if m.type not in (RTM_NEWADDR, RTM_DELADDR) or m.body[:1] not in _FAMILIES:
        return None
    return address(m.body)


def is_link_local(a: Address) -> bool:
    """fe80::/10."""
    return a.family == AF_INET6 and a.address[0] == 0xFE and a.address[1] & 0xC0 == 0x80


def dump_links() -> bytes:
    """Asks for every link."""
    return message(RTM_GETLINK, DUMP, _LINK.pack(0, 0, 0, 0, 0))


def dump_addresses() -> bytes:
    """Asks for every address of both families."""
    return message(RTM_GETADDR, DUMP, _ADDRESS.pack(0, 0, 0, 0, 0))


def create_dummy(name: str, mac: bytes, mtu: int, master: int = 0) -> bytes:
    """Makes a dummy, down, in the VRF of index `master`; an empty `mac` and `mtu` 0 leave the choice to the kernel."""
    parts = [attribute(_IFLA_IFNAME, name.encode() + b"\0")]
    if mac:
        parts.append(attribute(_IFLA_ADDRESS, mac))
    if mtu:
        parts.append(attribute(_IFLA_MTU, _U32.pack(mtu)))
    if master:
        parts.append(attribute(_IFLA_MASTER, _U32.pack(master)))
    parts.append(attribute(_IFLA_LINKINFO, attribute(_IFLA_INFO_KIND, b"dummy\0")))
    return message(RTM_NEWLINK, CREATE | EXCL, _LINK.pack(0, 0, 0, 0, 0) + b"".join(parts))


def set_dummy(name: str, up: bool = True) -> bytes:
    """Makes a link what a dummy of ours is: arp_ignore and arp_notify 1, no link-local address, ARP on, and up if asked.

    Three messages, in this order, since one for a family that the kernel lacks fails as a whole, and a link that
    goes up gets its link-local address.
    """
    label = attribute(_IFLA_IFNAME, name.encode() + b"\0")
    same = _LINK.pack(0, 0, 0, 0, 0) + label
    one = _U32.pack(1)
    inet = attribute(
        _IFLA_INET_CONF,
        attribute(_IPV4_DEVCONF_ARP_IGNORE, one) + attribute(_IPV4_DEVCONF_ARP_NOTIFY, one),
    )
    inet6 = attribute(_IFLA_INET6_ADDR_GEN_MODE, bytes([ADDR_GEN_NONE]))
    return (
        message(RTM_NEWLINK, 0, same + attribute(_IFLA_AF_SPEC, attribute(AF_INET, inet)))
        + message(RTM_NEWLINK, 0, same + attribute(_IFLA_AF_SPEC, attribute(AF_INET6, inet6)))
        + message(
            RTM_NEWLINK, 0, _LINK.pack(0, 0, 0, IFF_UP, IFF_NOARP | (IFF_UP if up else 0)) + label
        )
    )


def set_down(index: int) -> bytes:
    """Set a link down."""
    return message(RTM_NEWLINK, 0, _LINK.pack(0, 0, index, 0, IFF_UP))


def set_alias(name: str, alias: str) -> bytes:
    """Sets a link's alias, which the kernel passes over in the message that makes the link (rtnl_create_link())."""
    label = attribute(_IFLA_IFNAME, name.encode() + b"\0")
    body = _LINK.pack(0, 0, 0, 0, 0) + label + attribute(_IFLA_IFALIAS, alias.encode())
    return message(RTM_NEWLINK, 0, body)


def set_mac(index: int, mac: bytes) -> bytes:
    """Sets a link's MAC; to the one it has, it makes the kernel announce the link's addresses (arp_notify)."""
    return message(RTM_NEWLINK, 0, _LINK.pack(0, 0, index, 0, 0) + attribute(_IFLA_ADDRESS, mac))


def delete_link(index: int) -> bytes:
    """Removes a link; the kernel answers."""
    return message(RTM_DELLINK, ACK, _LINK.pack(0, 0, index, 0, 0))


def delete_address(a: Address) -> bytes:
    """Takes an address away."""
    body = _ADDRESS.pack(a.family, a.prefixlen, 0, 0, a.ifindex) + attribute(_IFA_LOCAL, a.address)
    return message(RTM_DELADDR, 0, body)
