# SPDX-License-Identifier: MIT
"""The solicited-node groups of IPv6 VIPs: reported on the LAN, needed where a NIC filters, and enough of them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import wire_lan
from checks import check, note
from host import property_of, run, wait_for
from scapy.layers.inet6 import ICMPv6MLReport2
from wire_frame import Ask, nd_answers, reported, solicited_node
from wire_lan import DUMMY, C, Tap, batch, hold
from wire_mutate import BACK, edit

VIP = C.ip6("ab:cdef")
JOIN_OUT = edit("host.py", "s/^    def join\\(.*/&\\n        return/")
OPTMEM = Path("/proc/sys/net/core/optmem_max")
SMALLEST = 20480  # of the kernels in support: the default up to 6.6
MANY = 500


def members() -> set[str]:
    """The groups that the uplink is in."""
    return set(re.findall(r"inet6 (\S+)", run(f"ip maddress show dev {C.uplink}")))


def on_nics(run_: Callable[[str], None]) -> None:
    """LAN C with the daemon at work on it; `run_` is told the driver of its NICs."""
    try:
        driver = wire_lan.plug_nics()
        note(f"the uplink's driver: {driver}")
        wire_lan.conf(DUMMY, f"Name={C.uplink}")
        run("systemctl start keepalived-dummy")
        run_(driver)
    finally:
        run("systemctl stop keepalived-dummy")
        wire_lan.unplug_nics()


@check(without=JOIN_OUT, back=BACK)
def answered_through_a_multicast_filter() -> None:
    """The solicitation for a VIP comes in only where the uplink is a member, which MLD reports tell the switch."""
    on_nics(lambda _: _answered())


def _answered() -> None:
    group = solicited_node(VIP)
    assert group not in members()
    with Tap(C.ns, C.dev) as tap:
        hold(DUMMY, VIP)
        seen = tap.watch(5, lambda found: any(group in reported(f) for f in found))
        told = [f for f in seen if ICMPv6MLReport2 in f and group in reported(f)]
        answers = nd_answers(tap, Ask(C.ip6("1"), VIP))
        note(f"{len(told)} MLD report of {group}, {len(answers)} answer to a solicitation")
        assert len(answers) == 1, "a solicitation is not answered"
        assert answers[0].src == C.mac
        assert told and told[0].src == C.mac, [f.summary() for f in seen]
    assert group in members()


@check(without=edit("daemon.py", "s/notify.notify\\(f.FDSTORE=1.*/return/"), back=BACK)
def groups_outlive_the_daemon() -> None:
    """Held over its restart after a kill, and left with the VIP by the one that comes after."""
    on_nics(lambda _: _outlive())


def _outlive() -> None:
    group = solicited_node(VIP)
    hold(DUMMY, VIP)
    wait_for("joined", lambda: group in members(), 20)
    before = property_of("keepalived-dummy", "MainPID")
    run("systemctl kill -s KILL keepalived-dummy")
    looks, start = 0, time.monotonic()
    while time.monotonic() - start < 3:
        assert group in members(), "given up while the daemon was away"
        looks += 1
    note(f"there at each of {looks} looks")
    wait_for("another one runs", lambda: property_of("keepalived-dummy", "MainPID") != before, 20)
    run(f"ip address delete {VIP}/128 dev {DUMMY}")
    wait_for("left", lambda: group not in members(), 20)


@check(without=edit("groups.py", "s/^_MOST = .*/_MOST = 1/"), back=BACK)
def many_groups_at_the_smallest_optmem() -> None:
    """As many as 500 IPv6 VIPs need; one socket has room for fewer."""
    before = OPTMEM.read_text()
    OPTMEM.write_text(f"{SMALLEST}\n")
    try:
        on_nics(lambda _: _many())
    finally:
        OPTMEM.write_text(before)


def _many() -> None:
    vips = [C.ip6(f"2:{number:x}") for number in range(MANY)]
    wanted = {solicited_node(vip) for vip in vips}
    start = time.monotonic()
    batch("\n".join(f"address add {vip}/128 dev {DUMMY} nodad" for vip in vips))
    wait_for("all groups are joined", lambda: wanted <= members(), 10)
    note(f"{MANY} VIPs added, all groups joined {time.monotonic() - start:.1f} s after the first")
    pid = property_of("keepalived-dummy", "MainPID")
    rss = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert rss
    note(f"the daemon's memory: {int(rss[1]) / 1024:.1f} MB")
    assert int(rss[1]) <= 20 * 1024, f"{rss[1]} KB"
    batch("\n".join(f"address delete {vip}/128 dev {DUMMY}" for vip in vips))
    wait_for("all are left", lambda: not wanted & members(), 10)
