# SPDX-License-Identifier: MIT
"""Uplinks of every kind, several dummies and several uplinks, and every arp_ignore."""

from __future__ import annotations

import wire_lan
from checks import check, note
from host import run
from scapy.layers.l2 import ARP
from wire_frame import announced, answered, arp_answers
from wire_lan import (
    DUMMY,
    A,
    B,
    Tap,
    applied,
    apply,
    batch,
    conf,
    hold,
    ping,
    second_lan,
    sysctl,
    wired,
)
from wire_mutate import BACK, edit

SECOND = "second0"

KINDS = {
    "veth": ("", "up0", A.dev),
    "VLAN": (
        "link add link up0 name up0.7 address 02:4b:44:00:00:77 type vlan id 7",
        "up0.7",
        f"{A.dev}.7",
    ),
    "bond": (
        "link add bond7 type bond mode active-backup\nlink set up0 down\nlink set up0 master bond7",
        "bond7",
        A.dev,
    ),
    "bridge": (
        "link add br7 address 02:4b:44:00:00:78 type bridge\nlink set up0 master br7",
        "br7",
        A.dev,
    ),
}


@check(without=edit("uplinks.py", "s/link.mac.hex\\(/b'\\\\2KKKKK'.hex(/"), back=BACK)
def every_kind_of_uplink() -> None:
    for kind, (make, uplink, seen_at) in KINDS.items():
        wire_lan.one_lan()
        if make:
            batch(f"address flush dev up0\n{make}\n{wire_lan.addresses(A, uplink)}")
        if seen_at != A.dev:
            vlan = f"link add link {A.dev} name {seen_at} type vlan id 7"
            batch(f"{vlan}\n{wire_lan.client(A, seen_at)}", A.ns)
        wired(uplink=uplink)
        mac = run(f"cat /sys/class/net/{uplink}/address").strip()
        note(f"{kind}: {uplink}, {mac}")
        with Tap(A.ns, seen_at) as tap:
            announced(tap, DUMMY, A.vip4, A.vip6, mac)
            answered(tap, A, A.vip4, A.vip6, mac)


@check(without=edit("apply.py", "s/^    _move\\(wanted.*/    pass/"), back=BACK)
def a_dummy_follows_its_uplink_into_a_vrf_and_out() -> None:
    """Beside it IPv6 is answered and goes nowhere; one that holds a VIP is left, for the kernel would take that."""
    batch("link add blue7 type vrf table 1007\nlink set blue7 up")
    for master, where in (("master blue7", "in VRF blue7"), ("nomaster", "in no VRF")):
        batch(f"address flush dev {A.uplink}\nlink set {A.uplink} {master}")
        batch(wire_lan.addresses(A, A.uplink))
        if master == "nomaster":
            status, said = applied()
            assert status == 1, said
            assert f"{DUMMY} has to be {where} as {A.uplink} is, and holds" in said, said
            batch(f"address flush dev {DUMMY}")
        wired()
        with Tap(A.ns, A.dev) as tap:
            announced(tap, DUMMY, A.vip4, A.vip6, A.mac)
            answered(tap, A, A.vip4, A.vip6, A.mac)
        for vip in (A.vip4, A.vip6):
            ping(A, vip)
        note(f"{where}: {run(f'ip -br link show dev {DUMMY}').strip()}")


@check(
    without=edit("templates/wire.tc.j2", 's/" continue" if loop.last else " pipe "/" stolen "/'),
    back=BACK,
)
def two_dummies_on_one_uplink() -> None:
    conf(SECOND, f"Name={A.uplink}")
    wired()
    hold(SECOND, A.ip4(11), A.ip6("11"))
    with Tap(A.ns, A.dev) as tap:
        for dummy, vip4, vip6 in ((DUMMY, A.vip4, A.vip6), (SECOND, A.ip4(11), A.ip6("11"))):
            announced(tap, dummy, vip4, vip6, A.mac)
            answered(tap, A, vip4, vip6, A.mac)


@check(
    without=edit("templates/wire.tc.j2", 's/"redirect" if loop.last else "mirror"/"redirect"/'),
    back=BACK,
)
def one_dummy_for_two_uplinks() -> None:
    """Each LAN is told the MAC of its own uplink."""
    second_lan()
    conf(DUMMY, f"Name={A.uplink} {B.uplink}")
    apply()
    hold(DUMMY, A.vip4, A.vip6, B.vip4, B.vip6)
    for lan in (A, B):
        with Tap(lan.ns, lan.dev) as tap:
            announced(tap, DUMMY, lan.vip4, lan.vip6, lan.mac)
            answered(tap, lan, lan.vip4, lan.vip6, lan.mac)


@check(
    without=edit("uplinks.py", "s/^        if wrong := _overlap.*/        if wrong := '':/"),
    back=BACK,
)
def two_uplinks_in_one_network_are_refused() -> None:
    second_lan()
    run(f"ip address add {A.ip4(6)}/24 dev {B.uplink}")
    conf(DUMMY, f"Name={A.uplink} {B.uplink}")
    status, said = applied()
    assert status == 1, said
    assert f"{A.uplink} and {B.uplink} are both in {A.ip4(0)}/24" in said, said
    assert "give each uplink a dummy of its own" in said, said


# arp_ignore

# (`all`, the uplink's own): answers to a request for the VIP, and for the uplink's own address, which is what the
# kernel gives without us. From 2 on, `all` silences an address without a subnet everywhere.
ARP_IGNORE = {
    (0, 0): (1, 1),
    (0, 1): (1, 1),
    (0, 2): (1, 1),
    (0, 8): (1, 0),
    (1, 0): (1, 1),
    (2, 0): (0, 1),
    (0, 0, "again"): (1, 1),
}


@check(
    without=edit("sysctls.py", "s/^    every = .*/    return frozenset()/"),
    back=BACK,
)
def one_arp_answer_at_every_arp_ignore() -> None:
    wired()
    with Tap(A.ns, A.dev) as tap:
        for state, (vip, own) in ARP_IGNORE.items():
            sysctl(all__arp_ignore=int(state[0]), up0__arp_ignore=int(state[1]))
            apply()
            got = [
                len(arp_answers(tap, A.ip4(1), target, wait=3 if wanted else 1))
                for target, wanted in ((A.vip4, vip), (A.ip4(5), own))
            ]
            note(
                f"all {state[0]}, {A.uplink} {state[1]}: {got[0]} for the VIP, {got[1]} for its own"
            )
            assert got == [vip, own], f"{state}: {got}, not {[vip, own]}"
        assert not [f for f in tap.seen if ARP in f and f.src != A.mac]


@check(without=edit("links.py", 's/, "rp_filter": "2"//'), back=BACK)
def one_arp_answer_at_every_rp_filter() -> None:
    """Where requests come in over the wire, from where the dummy has no route."""
    before = wire_lan.setting("all", "rp_filter")
    sysctl(up0__arp_ignore=1)
    wired()
    try:
        with Tap(A.ns, A.dev) as tap:
            for value in (0, 1, 2):
                sysctl(all__rp_filter=value, up0__rp_filter=value)
                answers = arp_answers(tap, A.ip4(1), A.vip4)
                note(f"rp_filter {value}: {len(answers)}")
                assert len(answers) == 1, f"rp_filter {value}: {len(answers)} answers"
    finally:
        sysctl(all__rp_filter=before)
