# SPDX-License-Identifier: MIT
"""keepalived itself on the wire: its announcements as its settings say, and its use_vmac beside us."""

from __future__ import annotations

import ipaddress

import wire_lan
from checks import check, note
from host import run, wait_for
from scapy.layers.inet6 import ICMPv6ND_NA, IPv6
from scapy.layers.l2 import ARP, Ether
from wire_frame import (
    BROADCAST,
    arp_answers,
    is_advertisement,
    judge_advertisement,
    judge_arp,
    macs,
)
from wire_lan import DUMMY, KEEPALIVED, A, Lan, Tap, apply, hold
from wire_mutate import BACK, change, cut, edit

KEEPALIVED_CONF = """
global_defs {
    vrrp_version 3
    vrrp_garp_master_refresh 0
}
vrrp_instance VI_1 {
    interface %(uplink)s
    state MASTER
    virtual_router_id 51
    priority 100
    advert_int 0.2
    garp_master_delay 1
    garp_master_repeat 3
    virtual_ipaddress {
        %(vip4)s/32 dev keepalived0
    }
    virtual_ipaddress_excluded {
        %(vip6)s/128 dev keepalived0
    }
}
"""
VMAC = """
vrrp_instance VI_2 {
    interface %(uplink)s
    state MASTER
    virtual_router_id 52
    priority 100
    advert_int 0.2
    use_vmac
    virtual_ipaddress {
        %(vip4)s/32
    }
}
"""


def keepalived(text: str) -> None:
    """keepalived started with this conf."""
    KEEPALIVED.parent.mkdir(exist_ok=True)
    KEEPALIVED.write_text(text)
    run("systemctl reset-failed keepalived 2>/dev/null; systemctl start keepalived")


def holds(address: str) -> bool:
    return f" {address}/" in run("ip -o address")


@check(
    without=edit("sysctls.py", "s/^    every = .*/    return frozenset()/"),
    back=BACK,
)
def one_arp_answer_beside_use_vmac() -> None:
    """An instance with use_vmac sets arp_ignore of the uplink to 1, and leaves it so when it stops."""
    values = {"uplink": A.uplink, "vip4": A.vip4, "vip6": A.vip6}
    other = {"uplink": A.uplink, "vip4": A.ip4(20)}
    KEEPALIVED.write_text(KEEPALIVED_CONF % values)
    apply()
    keepalived(KEEPALIVED_CONF % values + VMAC % other)
    wait_for("both instances are master", lambda: holds(A.vip4) and holds(A.ip4(20)))
    ignore = f"cat /proc/sys/net/ipv4/conf/{A.uplink}/arp_ignore"
    wait_for("arp_ignore is 1", lambda: run(ignore).strip() == "1")
    apply()
    with Tap(A.ns, A.dev) as tap:
        answers = arp_answers(tap, A.ip4(1), A.vip4)
        assert len(answers) == 1, answers
        judge_arp(answers[0], A.mac, A.vip4)
        assert len(arp_answers(tap, A.ip4(1), A.ip4(20))) == 1, "the other instance's own VIP"
        run("systemctl stop keepalived")
        assert run(ignore).strip() == "1", "keepalived leaves it"
        hold(DUMMY, A.vip4)
        assert len(arp_answers(tap, A.ip4(1), A.vip4)) == 1


def only_the_uplink_allowed(lan: Lan) -> None:
    """The LAN drops every frame from another MAC than the uplink's, as a cloud's port security does."""
    run(
        f"tc -n {lan.ns} qdisc add dev {lan.dev} clsact;"
        f" tc -n {lan.ns} filter add dev {lan.dev} ingress pref 1 protocol all flower src_mac {lan.mac} action ok;"
        f" tc -n {lan.ns} filter add dev {lan.dev} ingress pref 2 protocol all matchall action drop"
    )


def dropped(lan: Lan) -> str:
    return run(f"tc -n {lan.ns} -s filter show dev {lan.dev} ingress pref 2 | grep Sent").strip()


@check(
    without=change("macro eth", "action pedit ex munge eth src set \\{\\{ mac \\}\\}", "action ok"),
    back=BACK,
)
def keepalived_announces_by_its_settings() -> None:
    """garp_master_repeat 3, garp_master_delay 1: three at once and three a second later, of each family."""
    only_the_uplink_allowed(A)
    text = KEEPALIVED_CONF % {"uplink": A.uplink, "vip4": A.vip4, "vip6": A.vip6}
    KEEPALIVED.write_text(text)
    apply()  # the uplink is known by keepalived.conf alone
    with Tap(A.ns, A.dev) as tap:
        keepalived(text)
        wait_for("keepalived is master", lambda: holds(A.vip4) and holds(A.vip6))
        tap.watch(3.5)
        arps = [f for f in tap.seen if ARP in f and f[ARP].psrc == f[ARP].pdst == A.vip4]
        advertisements = [f for f in tap.seen if is_advertisement(f, A.vip6)]
        for frame in arps:
            judge_arp(frame, A.mac, A.vip4)
            assert (frame.dst, frame[ARP].op) == (BROADCAST, 1), frame.show(dump=True)
        for frame in advertisements:
            judge_advertisement(frame, A.mac, A.vip6, solicited=0)
            assert (frame.dst, frame[IPv6].dst) == ("33:33:00:00:00:01", "ff02::1")
            assert frame[ICMPv6ND_NA].O == 1, "a stale neighbour has to take the new MAC"
        note(f"{len(arps)} gratuitous ARPs, {len(advertisements)} unsolicited advertisements")
        assert (len(arps), len(advertisements)) == (6, 6)
        told = {f[ICMPv6ND_NA].tgt for f in tap.seen if ICMPv6ND_NA in f}
        assert told == {A.vip6}, told
        assert {mac for f in tap.seen for mac in macs(f)} == {A.mac}
        for vip in (A.vip4, A.vip6):
            wire_lan.ping(A, vip)
    assert " 0 bytes 0 pkt" in dropped(A), dropped(A)


# Many

MANY = 1000
MANY_CONF = """
global_defs {
    vrrp_version 3
}
vrrp_instance VI_1 {
    interface %(uplink)s
    state MASTER
    virtual_router_id 51
    priority 100
    advert_int 0.2
    garp_master_repeat 1
    virtual_ipaddress {
        %(first)s dev keepalived0
    }
    virtual_ipaddress_excluded {
        %(others)s
    }
}
"""


def announced_address(frame: bytes) -> bytes:
    """What a gratuitous ARP or an unsolicited advertisement is about, at fixed offsets; empty for other frames."""
    kind, ip6 = int.from_bytes(frame[12:14], "big"), 14
    if kind == 0x0806 and frame[28:32] == frame[38:42]:
        return frame[28:32]
    if kind == 0x86DD and frame[ip6 + 6] == 58 and frame[ip6 + 40] == 136:
        return frame[62:78]
    return b""


@check(without=cut("match u8 136 0xff at 40 match u16 32"), back=BACK)
def thousand_vips_are_announced() -> None:
    """keepalived becomes master of 500 of each family: each is on the LAN, one in fifty read field by field."""
    half = MANY // 2
    vips4 = [f"198.18.{2 + n // 250}.{1 + n % 250}" for n in range(half)]
    vips6 = [A.ip6(f"2:{n:x}") for n in range(half)]
    lines = [f"{vip}/{32 if ':' not in vip else 128}" for vip in (*vips4, *vips6)]
    others = "\n        ".join(f"{line} dev keepalived0" for line in lines[1:])
    values = {"uplink": A.uplink, "first": lines[0], "others": others}
    KEEPALIVED.write_text(MANY_CONF % values)
    apply()
    wanted = {ipaddress.ip_address(vip).packed: vip for vip in (*vips4, *vips6)}
    found: dict[bytes, bytes] = {}
    with Tap(A.ns, A.dev) as tap:
        keepalived(KEEPALIVED.read_text())
        for frame in tap.raw(60):
            about = announced_address(frame)
            if about in wanted:
                found.setdefault(about, frame)
            if len(found) == len(wanted):
                break
    missing = [vip for packed, vip in wanted.items() if packed not in found]
    assert not missing, f"{len(missing)} of {MANY} not announced: {missing[0]}, ..."
    note(f"{len(found)} VIPs announced")
    for packed, vip in list(wanted.items())[::50]:
        frame = Ether(found[packed])
        if ":" in vip:
            judge_advertisement(frame, A.mac, vip, solicited=0)
        else:
            judge_arp(frame, A.mac, vip)
