# SPDX-License-Identifier: MIT
"""The wire's program at a tcx hook, run by an interpreter of the instructions that it has."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass, field

import pytest

from keepalived_dummy import tcx

HOST, MULTICAST, OTHERHOST = 0, 2, 3  # linux/if_packet.h
NEXT = -1
UPLINK, PEER, OTHER = bytes.fromhex("525400123456"), bytes.fromhex("020000000099"), bytes(6)
DUMMIES = ((7, bytes.fromhex("0200000000a7")), (9, bytes.fromhex("0200000000a9")))


@dataclass
class Machine:
    """A packet at the hook, with the metadata that the program reads; `copies` are those it made, by interface."""

    frame: bytearray
    packet_type: int = MULTICAST
    tci: int = 0
    copies: list[tuple[int, bytes]] = field(default_factory=list)
    stack: bytearray = field(default_factory=lambda: bytearray(512))

    def run(self, program: bytes) -> int:
        """The program's verdict."""
        regs: list[int] = [0] * 10 + [len(self.stack)]
        steps = list(struct.iter_unpack("=BBhi", program))
        at = 0
        for _ in range(10_000):
            code, registers, offset, value = steps[at]
            to, source = registers & 15, registers >> 4
            if sys.byteorder == "big":
                to, source = source, to
            at += 1
            if code == 0x95:
                return regs[0]
            if code == 0xBF:
                regs[to] = regs[source]
            elif code == 0xB7:
                regs[to] = value
            elif code == 0x07:
                regs[to] += value
            elif code == 0x57:
                regs[to] &= value
            elif code in (0x61, 0x69, 0x71):
                regs[to] = self.read(
                    {0x61: 4, 0x69: 2, 0x71: 1}[code], source, regs[source] + offset
                )
            elif code in (0x62, 0x6A):
                kind, begin = ("=I", "=H")[code == 0x6A], regs[to] + offset
                mask = 0xFFFF if code == 0x6A else 0xFFFFFFFF
                struct.pack_into(kind, self.stack, begin, value & mask)
            elif code == 0x85:
                regs[0] = self.call(value, *regs[2:6])
                regs[1:6] = [-(1 << 40)] * 5  # the kernel takes no program that reads them now
            elif code == 0x05 or (regs[to] == value) is (code == 0x15):
                assert code in (0x05, 0x15, 0x55)
                at += offset
        raise AssertionError("it does not end")

    def read(self, size: int, source: int, at: int) -> int:
        if source == 10:
            return int.from_bytes(self.stack[at : at + size], sys.byteorder)
        assert (source, size) == (6, 4), "of the context, which is in register 6"
        protocol = int.from_bytes(self.frame[12:14], sys.byteorder)
        return {4: self.packet_type, 16: protocol, 24: self.tci}[at]

    def call(self, helper: int, second: int, third: int, fourth: int, fifth: int) -> int:
        if helper == 26:
            if second + fourth > len(self.frame):
                return -14
            self.stack[third : third + fourth] = self.frame[second : second + fourth]
        elif helper == 9:
            self.frame[second : second + fourth] = self.stack[third : third + fourth]
            assert fifth == 0
        else:
            assert (helper, third) == (13, 1), "a copy into the ingress"
            self.copies.append((second, bytes(self.frame)))
        return 0


def ipv6(kind: int, to: bytes = b"\x33\x33\xff\x00\x00\x10", following: int = 58) -> bytes:
    head = struct.pack("!IHBB32x", 6 << 28, 32, following, 255)
    return to + PEER + b"\x86\xdd" + head + bytes([kind, 0]) + bytes(30)


def arp(operation: int) -> bytes:
    return b"\xff" * 6 + PEER + b"\x08\x06" + struct.pack("!HHBBH20x", 1, 0x0800, 6, 4, operation)


FRAMES = {
    "solicitation": (Machine(bytearray(ipv6(135))), True),
    "advertisement": (Machine(bytearray(ipv6(136))), True),
    "unicast solicitation": (Machine(bytearray(ipv6(135, UPLINK)), HOST), True),
    "priority tag": (Machine(bytearray(ipv6(135)), tci=5 << 13), True),
    "ARP request": (Machine(bytearray(arp(1))), None),
    "ARP request with a priority tag": (Machine(bytearray(arp(1)), tci=1 << 13), None),
    "ARP answer": (Machine(bytearray(arp(2))), False),
    "ARP, cut off": (Machine(bytearray(arp(1)[:20])), False),
    "another VLAN": (Machine(bytearray(ipv6(135)), tci=10), False),
    "ARP request in another VLAN": (Machine(bytearray(arp(1)), tci=5 << 13 | 10), False),
    "for another host": (Machine(bytearray(ipv6(135, OTHER)), OTHERHOST), False),
    "router solicitation": (Machine(bytearray(ipv6(133))), False),
    "echo": (Machine(bytearray(ipv6(128))), False),
    "TCP": (Machine(bytearray(ipv6(135, following=6))), False),
    "IPv6, cut off": (Machine(bytearray(ipv6(135)[:54])), False),
    "IPv4": (Machine(bytearray(UPLINK + PEER + b"\x08\x00" + ipv6(135)[14:]), HOST), False),
}


@pytest.mark.parametrize("with_arp", [False, True])
@pytest.mark.parametrize(("machine", "copied"), FRAMES.values(), ids=FRAMES)
def test_what_is_copied(machine: Machine, copied: bool | None, with_arp: bool) -> None:
    """None: where ARP goes over the wire. Every frame goes on as it came."""
    before = bytes(machine.frame)
    machine.copies.clear()
    assert machine.run(tcx.instructions(DUMMIES, with_arp)) == NEXT
    assert bytes(machine.frame) == before
    wanted = with_arp if copied is None else copied
    assert [index for index, _ in machine.copies] == ([7, 9] if wanted else [])
    for index, frame in machine.copies:
        assert frame[6:] == before[6:]
        to = dict(DUMMIES)[index] if machine.packet_type == HOST else before[:6]
        assert frame[:6] == to, "the kernel would take a copy to another MAC for another host's"


def test_a_program_is_known_by_its_name() -> None:
    programs = [
        tcx.instructions(DUMMIES, True),
        tcx.instructions(DUMMIES, False),
        tcx.instructions(DUMMIES[:1], True),
        tcx.instructions((DUMMIES[0], (9, UPLINK)), True),
    ]
    names = {tcx.name(program) for program in programs}
    assert len(names) == len(programs)
    assert all(name.startswith("kdmy_") and len(name) == 15 for name in names)
    assert tcx.name(tcx.instructions(DUMMIES, True)) == tcx.name(programs[0])


def test_as_many_dummies_as_an_uplink_may_have() -> None:
    """The kernel takes 4096 instructions of a program without CAP_BPF's larger limit."""
    many = [(n, bytes([2, 0, 0, 0, 0, n])) for n in range(1, 33)]
    program = tcx.instructions(many, True)
    machine = Machine(bytearray(ipv6(135, UPLINK)), HOST)
    assert machine.run(program) == NEXT
    assert [index for index, _ in machine.copies] == list(range(1, 33))
    assert len(program) // 8 < 1000
