# SPDX-License-Identifier: MIT
"""Neighbour discovery: who asks is answered, and nothing but what is said of neighbours leaves a dummy."""

from __future__ import annotations

import contextlib
import socket
from collections import Counter

from checks import check, note
from host import run, status, wait_for
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6MLReport2,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw
from wire_frame import (
    BROADCAST,
    Ask,
    arp_request,
    checksum_is_right,
    is_advertisement,
    is_neighbourly,
    judge_advertisement,
    macs,
    nd_answers,
    solicitation,
)
from wire_lan import DUMMY, A, Tap, complaints, link_local, sysctl, wired
from wire_mutate import BACK, change, cut

LOCAL_VIP = "fe80::1:1"
PRIORITY = Dot1Q(vlan=0, prio=5)


def asked(tap: Tap, ask: Ask, wanted: int = 1) -> None:
    """So many answers to a solicitation, each judged."""
    answers = nd_answers(tap, ask, 3 if wanted else 1)
    note(f"{ask}: {len(answers)}")
    assert len(answers) == wanted, f"{ask}: {len(answers)} answers, not {wanted}"
    for answer in answers:
        has_option = ICMPv6NDOptDstLLAddr in answer
        assert has_option or ask.to, (
            "the answer to a multicast solicitation must have it (RFC 4861 7.2.4)"
        )
        judge_advertisement(answer, A.mac, ask.target, 0 if ask.sender == "::" else 1, has_option)


@check(without=cut("match u8 136 0xff at 40 match u16 24"), back=BACK)
def unicast_solicitations_are_answered() -> None:
    """Neighbour unreachability detection; the kernel answers it without a link-layer option."""
    wired(A.vip4, A.vip6, LOCAL_VIP)
    client, local = A.ip6("1"), link_local(A.ns, A.dev)
    with Tap(A.ns, A.dev) as tap:
        for target in (A.vip6, LOCAL_VIP):
            for sender in (client, local):
                asked(tap, Ask(sender, target, A.mac))
        asked(tap, Ask(A.ip6("99"), A.vip6, A.mac, option=False), 0)  # nobody knows where ::99 is
        asked(tap, Ask(client, A.vip6, A.mac, option=False))
        run(f"ip -n {A.ns} neighbour replace {A.vip6} lladdr {A.mac} nud probe dev {A.dev}")
        known = f"ip -n {A.ns} neighbour show {A.vip6} dev {A.dev}"
        wait_for("the client's own probe is answered", lambda: "REACHABLE" in run(known), 5)
        assert {f.src for f in tap.seen} == {A.mac}
    assert not complaints(), complaints()


@check(without=cut("match u8 136 0xff at 40 match u16 32"), back=BACK)
def multicast_solicitations_are_answered() -> None:
    wired(A.vip4, A.vip6, LOCAL_VIP)
    with Tap(A.ns, A.dev) as tap:
        for sender in (A.ip6("1"), link_local(A.ns, A.dev)):
            for target in (A.vip6, LOCAL_VIP):
                asked(tap, Ask(sender, target))
            asked(tap, Ask(sender, A.ip6("5")))
        for target in (A.ip6("11"), "fe80::1:2"):
            asked(tap, Ask(A.ip6("1"), target), 0)
        asked(tap, Ask("::", A.vip6))
        assert {f.src for f in tap.seen} == {A.mac}
    run(f"ip -n {A.ns} address add {A.vip6}/128 dev {A.dev}")
    shown = f"ip -n {A.ns} address show dev {A.dev}"
    wait_for(
        "who configures the VIP too sees that it is taken", lambda: "dadfailed" in run(shown), 5
    )
    assert not complaints(), complaints()


@check(without=cut("ingress pref .* at 24 match"), back=BACK)
def no_icmp_error_leaves() -> None:
    """An advertisement for the uplink's own addresses is mirrored into the dummy as any other, tagged or not."""
    wired()
    with Tap(A.ns, A.dev) as tap:
        for to in (link_local("", A.uplink), A.ip6("5"), A.vip6):
            ether = Ether(src=tap.mac, dst=A.mac)
            packet = IPv6(src=A.ip6("1"), dst=to, hlim=255)
            for solicited, tag in ((0, None), (1, None), (0, PRIORITY), (1, PRIORITY)):
                tap.send(
                    (ether / tag if tag else ether)
                    / packet
                    / ICMPv6ND_NA(tgt=A.ip6("1"), S=solicited, O=1, R=0)
                    / ICMPv6NDOptDstLLAddr(lladdr=tap.mac)
                )
        seen = tap.watch(1)
        errors = (ICMPv6DestUnreach, ICMPv6ParamProblem, ICMPv6TimeExceeded, ICMP)
        assert not [f for f in seen if any(error in f for error in errors)], [
            f.summary() for f in seen
        ]


# With a priority tag


def tagged(frame: Packet, tag: Packet) -> Packet:
    """The frame with a VLAN tag."""
    return Ether(src=frame.src, dst=frame.dst) / tag / frame.payload


@check(without=cut("protocol 802.1Q"), back=BACK)
def priority_tags_change_nothing() -> None:
    """VLAN 0 is no VLAN: solicitations and, over the wire, ARP requests with such a tag are answered; VLAN 10 is another."""
    sysctl(up0__arp_ignore=1)
    wired(A.vip4, A.vip6)
    with Tap(A.ns, A.dev) as tap:
        for tag, wanted in ((Dot1Q(vlan=0, prio=5), 1), (Dot1Q(vlan=0), 1), (Dot1Q(vlan=10), 0)):
            ask = solicitation(tap.mac, Ask(A.ip6("1"), A.vip6))
            answers = tap.ask(tagged(ask, tag), lambda f: is_advertisement(f, A.vip6))
            assert len(answers) == wanted, f"{tag!r}: {len(answers)} advertisements"
            for answer in answers:
                judge_advertisement(answer, A.mac, A.vip6, solicited=1)
            arp = arp_request(tap.mac, A.ip4(1), A.vip4)
            answers = tap.ask(tagged(arp, tag), lambda f: ARP in f and f[ARP].psrc == A.vip4)
            assert len(answers) == wanted, f"{tag!r}: {len(answers)} answers to ARP"
        assert not [f for f in tap.seen if Dot1Q in f], "the answer has a tag"


# Nothing else

MARK = b"only what is said of neighbours leaves"


def strays(mac: str) -> list[Packet]:
    """What a dummy may be given to send and must keep; each bears the mark."""
    four = Ether(src=mac, dst=BROADCAST) / IP(src=A.vip4, dst=A.ip4(255))
    six = Ether(src=mac, dst="33:33:00:00:00:01") / IPv6(src=A.vip6, dst="ff02::1", hlim=255)
    found: list[Packet] = [four / UDP(dport=9), four / ICMP(), six / UDP(dport=9)]
    found += [
        six / ICMPv6EchoRequest(),
        six / ICMPv6ND_RS(),
        six / ICMPv6ND_RA(),
        six / ICMPv6MLReport2(),
    ]
    found += [Ether(src=mac, dst=BROADCAST) / Dot1Q(vlan=7) / IP(src=A.vip4) / UDP(dport=9)]
    found += [Ether(src=mac, dst=BROADCAST, type=0x88B5)]
    return [frame / Raw(MARK) for frame in found]


@check(
    without=change(
        "match u16 24 0xffff at 4", "match u8 58.*match u16 24 0xffff at 4", "match u32 0 0 at 0"
    ),
    back=BACK,
)
def nothing_but_neighbour_traffic_leaves() -> None:
    wired()
    mac = run(f"cat /sys/class/net/{DUMMY}/address").strip()
    with Tap(A.ns, A.dev) as tap, socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as out:
        out.bind((DUMMY, 0))
        frames = strays(mac)
        for frame in frames:
            out.send(bytes(frame))
        with contextlib.suppress(OSError):  # ENOBUFS is how a sender sees that the wire drops it
            out.send(bytes(solicitation(mac, Ask("::", A.vip6))))
        target = A.ip6("77")
        out.send(bytes(solicitation(mac, Ask(A.vip6, target))))  # and this one has to leave
        status(f"ping -n -c 2 -i 0.2 -W 1 -I {DUMMY} {A.ip4(255)} -b")
        status(f"ping -n -c 2 -i 0.2 -W 1 ff02::1%{DUMMY}")
        seen = tap.watch(2)
        assert not [f.summary() for f in seen if MARK in bytes(f)]
        mine = [f for f in seen if IPv6 in f and f[IPv6].src in (A.vip6, "::")]
        kinds = Counter(f.lastlayer().name for f in mine if is_neighbourly(f))
        note(f"{len(frames)} kinds given to the dummy, left: {dict(kinds)}")
        assert all(is_neighbourly(f) for f in mine), [f.summary() for f in mine]
        assert "::" not in {f[IPv6].src for f in mine}, "address detection left the dummy"
        left = [f for f in mine if f[IPv6].src == A.vip6]
        assert len(left) == 1, [f.summary() for f in left]
        assert left[0][ICMPv6ND_NS].tgt == target
        assert macs(left[0]) == {A.mac} and checksum_is_right(left[0])
        assert {f.src for f in seen} == {A.mac}
