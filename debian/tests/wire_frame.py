# SPDX-License-Identifier: MIT
"""Frames of ARP and neighbour discovery, built, sent as requests, and judged field by field, with scapy alone."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from scapy.layers.inet6 import (
    ICMPv6MLDMultAddrRec,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    in6_chksum,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw
from wire_lan import Lan, Tap, announce

BROADCAST, ZERO = "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"


class Ask(NamedTuple):
    """A solicitation for `target`: multicast, or unicast to the MAC `to`; with its sender's MAC in it, or not."""

    sender: str
    target: str
    to: str = ""
    option: bool = True

    def __str__(self) -> str:
        kind = "unicast" if self.to else "multicast"
        return f"{kind} for {self.target} from {self.sender}{'' if self.option else ', no option'}"


def arp_request(mac: str, sender: str, target: str) -> Packet:
    return Ether(src=mac, dst=BROADCAST) / ARP(
        op=1, hwsrc=mac, psrc=sender, hwdst=ZERO, pdst=target
    )


def solicited_node(address: str) -> str:
    """The solicited-node group of an address (RFC 4291 2.7.1)."""
    packed = ipaddress.ip_address(address).packed
    return str(ipaddress.ip_address(b"\xff\x02" + bytes(9) + b"\x01\xff" + packed[-3:]))


def reported(frame: Packet) -> set[str]:
    """The groups that an MLDv2 report joins (RFC 3810 5.2.12: modes 2 and 4 with no source)."""
    found = set()
    record = frame.getlayer(ICMPv6MLDMultAddrRec)
    while record is not None:
        if record.rtype in (2, 4):
            found.add(record.dst)
        record = record.payload.getlayer(ICMPv6MLDMultAddrRec)
    return found


def solicitation(mac: str, ask: Ask) -> Packet:
    """The frame; from :: it is duplicate address detection and has no option."""
    group = solicited_node(ask.target)
    last = ipaddress.ip_address(ask.target).packed[-3:]
    ether = Ether(src=mac, dst=ask.to or "33:33:ff:" + last.hex(":"))
    frame = ether / IPv6(src=ask.sender, dst=ask.target if ask.to else group, hlim=255)
    frame /= ICMPv6ND_NS(tgt=ask.target)
    return frame / ICMPv6NDOptSrcLLAddr(lladdr=mac) if ask.option and ask.sender != "::" else frame


def arp_answers(tap: Tap, sender: str, target: str, wait: float = 3) -> list[Packet]:
    """The answers to one ARP request for the target."""
    request = arp_request(tap.mac, sender, target)
    return tap.ask(request, lambda f: ARP in f and f[ARP].op == 2 and f[ARP].psrc == target, wait)


def nd_answers(tap: Tap, ask: Ask, wait: float = 3) -> list[Packet]:
    """The advertisements that answer one solicitation."""
    return tap.ask(solicitation(tap.mac, ask), lambda f: is_advertisement(f, ask.target), wait)


def is_advertisement(frame: Packet, target: str) -> bool:
    return ICMPv6ND_NA in frame and frame[ICMPv6ND_NA].tgt == target


def is_neighbourly(frame: Packet) -> bool:
    """ARP, a neighbour solicitation or an advertisement."""
    return ARP in frame or ICMPv6ND_NS in frame or ICMPv6ND_NA in frame


def macs(frame: Packet) -> set[str]:
    """Every MAC the sender of a frame names as its own."""
    found = {frame.src}
    if ARP in frame:
        found.add(frame[ARP].hwsrc)
    for option in (ICMPv6NDOptSrcLLAddr, ICMPv6NDOptDstLLAddr):
        if option in frame:
            found.add(frame[option].lladdr)
    return found


def checksum_is_right(frame: Packet) -> bool:
    """Whether ICMPv6's checksum is the one that scapy makes of the frame (RFC 4443 2.3)."""
    packet = frame[IPv6]
    payload = bytes(packet.payload)[: packet.plen]
    return bool(in6_chksum(58, packet, payload) == 0)


def judge_arp(frame: Packet, mac: str, vip: str) -> None:
    """A gratuitous ARP or an answer as the uplink itself would send it, field by field."""
    arp = frame[ARP]
    assert macs(frame) == {mac}, frame.show(dump=True)
    assert (arp.hwtype, arp.ptype, arp.hwlen, arp.plen) == (1, 0x0800, 6, 4), frame.show(dump=True)
    assert arp.psrc == vip, frame.show(dump=True)


def judge_advertisement(
    frame: Packet, mac: str, vip: str, solicited: int, option: bool = True
) -> None:
    """An advertisement as RFC 4861 4.4 and 7.2.4 to 7.2.6 want it, field by field."""
    shown = frame.show(dump=True)
    advertisement = frame[ICMPv6ND_NA]
    assert macs(frame) == {mac}, shown
    assert frame[IPv6].hlim == 255, shown
    assert frame[IPv6].src == vip, shown
    assert frame[IPv6].plen == (32 if option else 24), shown
    assert (advertisement.S, advertisement.tgt) == (solicited, vip), shown
    assert (ICMPv6NDOptDstLLAddr in frame) == option, shown
    assert Raw not in frame, shown
    assert checksum_is_right(frame), shown


def judge_announcement(found: list[Packet], vip4: str, vip6: str, mac: str) -> bool:
    """Whether both VIPs are announced in these frames; each announcement has this MAC and no other."""
    arps = [f for f in found if ARP in f and f[ARP].psrc == vip4]
    advertisements = [f for f in found if is_advertisement(f, vip6)]
    for frame in arps:
        judge_arp(frame, mac, vip4)
    for frame in advertisements:
        judge_advertisement(frame, mac, vip6, solicited=0)
    return bool(arps and advertisements)


def announced(tap: Tap, dummy: str, vip4: str, vip6: str, mac: str) -> None:
    """The kernel's own announcement of what the dummy holds."""
    tap.watch(0.05)
    announce(dummy)
    seen = tap.watch(4, lambda found: judge_announcement(found, vip4, vip6, mac))
    assert judge_announcement(seen, vip4, vip6, mac), [frame.summary() for frame in seen]


def answered(tap: Tap, lan: Lan, vip4: str, vip6: str, mac: str) -> None:
    """One answer to each request, with this MAC."""
    answers = arp_answers(tap, lan.ip4(1), vip4)
    assert len(answers) == 1, answers
    judge_arp(answers[0], mac, vip4)
    answers = nd_answers(tap, Ask(lan.ip6("1"), vip6))
    assert len(answers) == 1, answers
    judge_advertisement(answers[0], mac, vip6, solicited=1)
