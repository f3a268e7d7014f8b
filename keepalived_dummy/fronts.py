# SPDX-License-Identifier: MIT
"""tc filters of others that end the classification before the wire sees a packet. Pure.

What can be told of a filter is told: one that matches everything, or fixed bytes of an ARP request or of a neighbour
solicitation, and whose last action lets no filter after it see the packet. Numbers: include/uapi/linux/pkt_cls.h,
and tc_act/*.h of it.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from keepalived_dummy import netlink, tc
from keepalived_dummy.bpf import Program
from keepalived_dummy.facts import ARP, ND, Front
from keepalived_dummy.netlink import ACTIONS, attributes, find
from keepalived_dummy.tcx import NAME
from keepalived_dummy.wire import PREF

_TCA_OPTIONS, _TCA_ACT_KIND, _TCA_ACT_OPTIONS = 2, 1, 2
_TC_ACT_UNSPEC, _TC_ACT_PIPE = -1, 3
_ETH_P_ALL, _ETH_P_ARP, _ETH_P_IPV6 = 0x0003, 0x0806, 0x86DD
_U32_SEL = 5
_SELECTOR = struct.Struct("=BBBxHHhhI")  # tc_u32_sel up to its keys
_KEY = struct.Struct("=IIii")
# Of flower: class, actions, flags, count in hardware, which match nothing; then EtherType and IP protocol.
_FLOWER_NO_KEYS = frozenset((1, 3, 22, 86))
_FLOWER_ETHERTYPE, _FLOWER_PROTOCOL = 8, 9
# tc_gen in the parameters of an action: index, capab, action.
_GENERIC = struct.Struct("=IIi")
_PARAMETERS = {"csum": 1}  # the attribute that holds them, of most others 2

# What is surely in the packet, by offset from the network header: ARP for IPv4 on Ethernet, a request at an ingress,
# and a neighbour solicitation (at an egress an advertisement) without extension headers.
_IPV6_MASK = b"\xf0" + bytes(5) + b"\xff\xff" + bytes(32) + b"\xff\xff"
_IPV6_HEAD = b"\x60" + bytes(5) + b"\x3a\xff" + bytes(32)
_ARP_HEAD = b"\x00\x01\x08\x00\x06\x04"
_Known = dict[int, tuple[bytes, bytes]]  # by EtherType: bytes, and which bits of them
_KNOWN: dict[str, _Known] = {
    "ingress": {
        _ETH_P_ARP: (_ARP_HEAD + b"\x00\x01", b"\xff" * 8),
        _ETH_P_IPV6: (_IPV6_HEAD + b"\x87\x00", _IPV6_MASK),
    },
    "egress": {
        _ETH_P_ARP: (_ARP_HEAD, b"\xff" * 6),
        _ETH_P_IPV6: (_IPV6_HEAD + b"\x88\x00", _IPV6_MASK),
    },
}
_WORDS = {_ETH_P_ARP: ARP, _ETH_P_IPV6: ND}


def find_fronts(
    device: str, bodies: list[bytes], arp: bool, hook: str = "ingress"
) -> Iterator[Front]:
    """Those among the RTM_NEWTFILTERs of a hook, one for each protocol; `arp`: ARP has to reach the wire too."""
    for body in bodies:
        item = netlink.filter_of(body)
        if item.pref >= PREF or item.chain or not item.matches or tc.is_ours(item):
            continue
        for protocol in (_ETH_P_IPV6, *((_ETH_P_ARP,) if arp else ())):
            if item.protocol not in (_ETH_P_ALL, protocol):
                continue
            verdict = _takes(item, body, protocol, _KNOWN[hook])
            if verdict is not None:
                yield Front(device, item.pref, item.kind, _WORDS[protocol], verdict, hook)


def of_programs(
    device: str, programs: tuple[Program, ...], arp: bool, hook: str = "ingress", lasts: bool = True
) -> Iterator[Front]:
    """What the tcx programs of a hook may take before that of the wire; `lasts`: that comes first after a boot too."""
    names = [one.name or f"number {one.id}" for one in programs]
    first = next((n for n, name in enumerate(names) if name.startswith(NAME)), len(names))
    before, after = names[:first], [name for name in names[first:] if not name.startswith(NAME)]
    found = before or ([] if lasts else after)
    for what in (ND, *((ARP,) if arp else ())) if found else ():
        yield Front(device, 0, "tcx", what, False, hook, tuple(found), not before)


def _takes(item: netlink.Filter, body: bytes, protocol: int, known: _Known) -> bool | None:
    """True: it surely does; False: a program decides; None: it does not, or that can't be told."""
    if item.kind == "bpf":
        return False
    options = dict(attributes(find(body[20:], _TCA_OPTIONS) or b""))
    if item.kind not in ACTIONS or not _ends(options.get(ACTIONS[item.kind])):
        return None
    if item.kind == "u32":
        met = _u32(options, *known[protocol])
    else:
        met = item.kind == "matchall" or _flower(options, protocol)
    return True if met else None


def _ends(actions: bytes | None) -> bool:
    """Whether no filter after this one sees the packet: all verdicts but `continue` end it."""
    if not actions:
        return True  # a class alone
    for _, action in attributes(actions):
        kind = netlink.text(find(action, _TCA_ACT_KIND) or b"")
        parameters = find(action, _TCA_ACT_OPTIONS, _PARAMETERS.get(kind, 2)) or b""
        if kind == "police" or len(parameters) < _GENERIC.size:
            return False  # it depends on the rate, or is not known
        verdict = _GENERIC.unpack_from(parameters)[2]
        if verdict == _TC_ACT_UNSPEC or verdict >> 28:
            return False  # `continue`, or a jump and a chain that are not followed here
        if verdict != _TC_ACT_PIPE:
            return True
    return True


def _u32(options: dict[int, bytes], value: bytes, mask: bytes) -> bool:
    """Whether all keys surely match. Without a selector it is linked to a table, which is not followed."""
    selector = options.get(_U32_SEL, b"")
    if len(selector) < _SELECTOR.size or not selector[0] & 1:  # TC_U32_TERMINAL
        return False
    for number in range(selector[2]):
        offset = _SELECTOR.size + number * _KEY.size
        if len(selector) < offset + _KEY.size:
            return False
        key_mask, key, place, moving = _KEY.unpack_from(selector, offset)
        if key_mask == 0:
            continue
        if moving or not 0 <= place <= len(value) - 1:
            return False
        wanted, care = struct.pack("=I", key), struct.pack("=I", key_mask)
        known, have = value[place : place + 4].ljust(4, b"\0"), mask[place : place + 4]
        for w, c, k, h in zip(wanted, care, known, have.ljust(4, b"\0"), strict=True):
            if c & ~h or (w ^ k) & c:
                return False
    return True


def _flower(options: dict[int, bytes], protocol: int) -> bool:
    """Whether it matches by EtherType and IP protocol alone."""
    for key, value in options.items():
        if key == _FLOWER_ETHERTYPE:
            if value != struct.pack("=H", socket.htons(protocol)):
                return False
        elif key == _FLOWER_PROTOCOL:
            if protocol != _ETH_P_IPV6 or value != b"\x3a":
                return False
        elif key not in _FLOWER_NO_KEYS:
            return False
    return True
