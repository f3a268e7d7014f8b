# SPDX-License-Identifier: MIT
"""The wire's program at an uplink's tcx hook, in place of its filters there, as the bytes of its instructions. Pure.

A tcx program of somebody else that returns TCX_PASS ends the classification, and no filter of tc sees the packet. A
program before it does: it does what the filters at the ingress do, and lets every packet go its way (TCX_NEXT).

Instructions are struct bpf_insn, helpers enum bpf_func_id, of include/uapi/linux/bpf.h; the packet begins with its
Ethernet header here, and a VLAN tag stands beside it.
"""

from __future__ import annotations

import hashlib
import socket
import struct
import sys
from collections.abc import Iterable

NAME = "kdmy_"  # and a digest: a program has 15 characters to be known by
_ETH_P_ARP, _ETH_P_IPV6 = 0x0806, 0x86DD
_ETHERNET = 14
_OTHERHOST = 3  # PACKET_OTHERHOST in linux/if_packet.h
_VLAN = 0xFFF
_STORE, _CLONE, _LOAD = 9, 13, 26  # bpf_skb_store_bytes, bpf_clone_redirect, bpf_skb_load_bytes
_INGRESS = 1  # BPF_F_INGRESS
_NEXT = -1  # TCX_NEXT
# Of struct __sk_buff:
_PKT_TYPE, _PROTOCOL, _VLAN_TCI = 4, 16, 24
# On the stack:
_BYTES, _MAC, _DUMMY = -8, -16, -24

_Step = tuple[
    int, int, int, int, int, str
]  # opcode, destination, source, offset, immediate value, where to jump


def instructions(dummies: Iterable[tuple[int, bytes]], arp: bool) -> bytes:
    """The program that copies neighbour discovery into dummies, given by interface index and MAC; `arp`: ARP requests too.

    The kernel takes a copy for a dummy's own only where it is sent to the dummy's MAC (eth_type_trans()), so a
    unicast frame is given that for the copies, and its own afterwards.
    """
    made: list[_Step | str] = [
        _move(6, 1),
        _load(4, 7, 6, _PKT_TYPE),
        _jump(0x15, 7, _OTHERHOST, "next"),
        _load(4, 7, 6, _VLAN_TCI),
        (0x57, 7, 0, 0, _VLAN, ""),
        _jump(0x55, 7, 0, "next"),
        _load(4, 7, 6, _PROTOCOL),
        _jump(0x15, 7, socket.htons(_ETH_P_IPV6), "ipv6"),
        *([_jump(0x15, 7, socket.htons(_ETH_P_ARP), "arp")] if arp else []),
        _jump(0x05, 0, 0, "next"),
        "ipv6",
        *_packet(_ETHERNET + 6, _BYTES, 1),
        _load(1, 7, 10, _BYTES),
        _jump(0x55, 7, socket.IPPROTO_ICMPV6, "next"),
        *_packet(_ETHERNET + 40, _BYTES, 1),
        _load(1, 7, 10, _BYTES),
        _jump(0x15, 7, 135, "copy"),
        _jump(0x15, 7, 136, "copy"),
        _jump(0x05, 0, 0, "next"),
    ]
    if arp:
        made += [
            "arp",
            *_packet(_ETHERNET + 6, _BYTES, 2),
            _load(2, 7, 10, _BYTES),
            _jump(0x55, 7, socket.htons(1), "next"),
        ]
    made += ["copy", *_packet(0, _MAC, 6), _load(1, 8, 10, _MAC), (0x57, 8, 0, 0, 1, "")]
    for index, mac in dummies:
        made += [
            _jump(0x55, 8, 0, f"clone {index}"),
            (0x62, 10, 0, _DUMMY, struct.unpack("=i", mac[:4])[0], ""),
            (0x6A, 10, 0, _DUMMY + 4, struct.unpack("=H", mac[4:])[0], ""),
            *_store(_DUMMY),
            f"clone {index}",
            _move(1, 6),
            _set(2, index),
            _set(3, _INGRESS),
            _call(_CLONE),
        ]
    made += [
        _jump(0x55, 8, 0, "next"),
        *_store(_MAC),
        "next",
        _set(0, _NEXT),
        (0x95, 0, 0, 0, 0, ""),
    ]
    return _assembled(made)


def name(program: bytes) -> str:
    """What it is known by: ours, and of these instructions."""
    return NAME + hashlib.sha256(program).hexdigest()[: 15 - len(NAME)]


def _move(to: int, source: int) -> _Step:
    return 0xBF, to, source, 0, 0, ""


def _set(to: int, value: int) -> _Step:
    return 0xB7, to, 0, 0, value, ""


def _load(size: int, to: int, source: int, offset: int) -> _Step:
    return {1: 0x71, 2: 0x69, 4: 0x61}[size], to, source, offset, 0, ""


def _jump(code: int, register: int, value: int, label: str) -> _Step:
    return code, register, 0, 0, value, label


def _call(helper: int) -> _Step:
    return 0x85, 0, 0, 0, helper, ""


def _packet(offset: int, to: int, length: int) -> list[_Step]:
    """Bytes of the packet onto the stack; a packet that is shorter goes its way."""
    begin = [_move(1, 6), _set(2, offset), _move(3, 10), (0x07, 3, 0, 0, to, ""), _set(4, length)]
    return [*begin, _call(_LOAD), _jump(0x55, 0, 0, "next")]


def _store(source: int) -> list[_Step]:
    """Six bytes of the stack into the packet as its destination."""
    begin = [_move(1, 6), _set(2, 0), _move(3, 10), (0x07, 3, 0, 0, source, ""), _set(4, 6)]
    return [*begin, _set(5, 0), _call(_STORE)]


def _assembled(steps: list[_Step | str]) -> bytes:
    """The bytes, with each jump's distance in place of its label."""
    at: dict[str, int] = {}
    number = 0
    for step in steps:
        if isinstance(step, str):
            at[step] = number
        else:
            number += 1
    made = bytearray()
    for number, step in enumerate(step for step in steps if not isinstance(step, str)):
        code, to, source, offset, value, label = step
        registers = to | source << 4 if sys.byteorder == "little" else to << 4 | source
        distance = at[label] - number - 1 if label else offset
        made += struct.pack("=BBhi", code, registers, distance, value)
    return bytes(made)
