# SPDX-License-Identifier: MIT
"""What the daemon does when the host moves: the wire follows its uplink, and the VIPs are announced again."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable

import host
import wire_lan
from checks import check, note
from host import run, wait_for
from wire_frame import Ask, arp_answers, judge_announcement, nd_answers
from wire_lan import DUMMY, KEEPALIVED, A, Tap, hold, sysctl
from wire_mutate import BACK, edit

OTHER_MAC = "02:4b:44:00:00:99"
DEAF = edit("host.py", "s/^    def _uplink\\(.*/&\\n        return/")


def pass_time() -> float:
    """How long one pass of apply that has nothing to do takes here and now."""
    start = time.monotonic()
    run("keepalived-dummy apply")
    return time.monotonic() - start


def noticed(what: str, test: Callable[[], object]) -> tuple[float, float]:
    """How long it takes, and how long one pass of apply takes then."""
    took = wait_for(what, test, 30)
    one = pass_time()
    note(f"{what}: {took:.2f} s (one pass takes {one:.2f} s here)")
    return took, one


def in_time(what: str, test: Callable[[], object]) -> None:
    """Within the second that is promised; where an emulated machine is slow, within two passes of apply."""
    took, one = noticed(what, test)
    assert took <= max(1.0, 2 * one), f"{what}: {took:.2f} s"


def watched(*lines: str) -> None:
    """The daemon runs, the wire is there where its uplink is, and the dummy holds the VIPs."""
    wire_lan.conf(DUMMY, *(lines or (f"Name={A.uplink}",)))
    run("systemctl start keepalived-dummy")
    hold(DUMMY, A.vip4, A.vip6)


def count(dev: str, way: str = "ingress") -> int:
    """How many filters of ours are there: each bears our mark."""
    return run(f"tc filter show dev {dev} {way}", check=False).count("cookie 6b646d79")


def announces(tap: Tap, event: str, mac: str) -> None:
    """After the event both VIPs are announced with this MAC, and then answered with it."""
    tap.watch(0.05)
    start = time.monotonic()
    run(event)
    seen = tap.watch(20, lambda found: judge_announcement(found, A.vip4, A.vip6, mac))
    took = time.monotonic() - start
    assert judge_announcement(seen, A.vip4, A.vip6, mac), f"{event}: {[f.summary() for f in seen]}"
    note(f"{event}: announced after {took:.2f} s")
    answers = arp_answers(tap, A.ip4(1), A.vip4) + nd_answers(tap, Ask(A.ip6("1"), A.vip6))
    assert [frame.src for frame in answers] == [mac] * 2, [frame.summary() for frame in answers]


@check(without=edit("host.py", "s/^    def tc\\(.*/&\\n        return/"), back=BACK)
def deleted_filters_are_back() -> None:
    watched()
    there = count(A.uplink), count(DUMMY, "egress")
    assert there[0] == 4
    for what in (
        f"tc filter delete dev {A.uplink} ingress pref 19268",
        f"tc qdisc delete dev {A.uplink} clsact",
        f"tc filter delete dev {DUMMY} egress",
    ):
        run(what)
        in_time(
            f"all is back after {what}", lambda: (count(A.uplink), count(DUMMY, "egress")) == there
        )


@check(without=edit("filter_losses.py", "s/^GAP = .*/GAP = 0.0/"), back=BACK)
def shaper_with_an_ingress_qdisc_may_restart() -> None:
    """It deletes its qdisc and adds it again; the wire's filters go into the new one."""
    run(f"tc qdisc add dev {A.uplink} handle ffff: ingress")
    watched()
    assert count(A.uplink) == 4
    wait_for("the daemon is at rest", wire_lan.idle)
    delete = f"tc qdisc del dev {A.uplink} ingress"
    run(f"{delete} && sleep 0.3 && tc qdisc add dev {A.uplink} handle ffff: ingress")
    in_time("the filters are in the new one", lambda: count(A.uplink) == 4)
    assert "clsact" not in run(f"tc qdisc show dev {A.uplink}")
    run(delete)  # and for good
    wait_for("the wire has a qdisc of its own", lambda: count(A.uplink) == 4, 10)
    assert "clsact" in run(f"tc qdisc show dev {A.uplink}")


@check(without=edit("filter_losses.py", "s/^FOUGHT = .*/FOUGHT = 1000/"), back=BACK)
def who_keeps_taking_filters_is_told() -> None:
    """Once; and each time they are back."""
    watched()
    start = host.cursor()
    for _ in range(6):
        wait_for("the daemon is at rest", wire_lan.idle)
        run(f"tc filter delete dev {A.uplink} ingress")
        wait_for("all is back", lambda: count(A.uplink) == 4, 10)
        time.sleep(0.5)
    run("journalctl -q --sync")
    said = host.journal(f"EVENT=wire-fought --since='{start}'")
    told = [line for line in said.splitlines() if f"{A.uplink}: somebody keeps taking" in line]
    assert len(told) == 1, said


@check(without=DEAF, back=BACK)
def uplink_with_another_mac() -> None:
    watched()
    with Tap(A.ns, A.dev) as tap:
        announces(tap, f"ip link set dev {A.uplink} address {OTHER_MAC}", OTHER_MAC)


@check(without=DEAF, back=BACK)
def uplink_without_carrier_for_a_while() -> None:
    watched()
    run(f"ip -n {A.ns} link set dev {A.dev} down")
    wait_for("carrier lost", lambda: "NO-CARRIER" in host.flags(A.uplink))
    time.sleep(0.5)
    with Tap(A.ns, A.dev) as tap:
        announces(tap, f"ip -n {A.ns} link set dev {A.dev} up", A.mac)


@check(without=DEAF, back=BACK)
def uplink_renamed_and_back() -> None:
    """Under another name it is not what the conf names: it is left as it was found. Then it comes back."""
    watched()
    run(f"ip link set dev {A.uplink} down; ip link set dev {A.uplink} name up9; ip link set up9 up")
    wait_for("the wire left the interface", lambda: not count("up9"), 20)
    wait_for("its clsact too", lambda: "clsact" not in run("tc qdisc show dev up9"), 10)
    with Tap(A.ns, A.dev) as tap:
        down, up = (
            f"ip link set dev up9 down; ip link set dev up9 name {A.uplink}",
            "ip link set dev",
        )
        announces(tap, f"{down}; {up} {A.uplink} up", A.mac)
        assert count(A.uplink) == 4


def link_local_is_kept_out() -> bool:
    """A filter on the dummy drops what is for the uplink's link-local address of now."""
    last = ipaddress.ip_address(wire_lan.link_local("", A.uplink)).packed.hex()[-8:]
    return last in run(f"tc filter show dev {DUMMY} ingress")


@check(without=DEAF, back=BACK)
def uplink_unplugged_and_plugged() -> None:
    """It appears later than the daemon, and again with another index: the same thing to us."""
    wire_lan.batch(f"link delete {A.uplink}")
    watched()
    for time_of in ("first", "second"):
        wire_lan.plug(A)
        wait_for(f"wired for the {time_of} time", lambda: count(A.uplink) == 4, 20)
        wire_lan.batch(wire_lan.addresses(A, A.uplink))
        wait_for(
            "the VIP answers", lambda: not host.status(f"ip netns exec {A.ns} ping -c 1 {A.vip6}")
        )
        wait_for("its link-local address is kept out", link_local_is_kept_out, 20)
        with Tap(A.ns, A.dev) as tap:
            assert len(arp_answers(tap, A.ip4(1), A.vip4)) == 1
            assert len(nd_answers(tap, Ask(A.ip6("1"), A.vip6))) == 1
        run(f"ip link delete {A.uplink}")
        wait_for("noticed", lambda: not count(DUMMY, "egress"), 20)


@check(
    without=edit("apply.py", 's/^    return .*for name in ."all".*/    return set()/'), back=BACK
)
def arp_ignore_changed_at_run_time() -> None:
    watched()
    with Tap(A.ns, A.dev) as tap:
        for value, filters in ((1, 6), (0, 4)):
            sysctl(up0__arp_ignore=value)
            noticed(f"arp_ignore {value} is noticed", lambda n=filters: count(A.uplink) == n)  # type: ignore[misc]
            assert len(arp_answers(tap, A.ip4(1), A.vip4)) == 1


@check(
    without=edit("apply.py", "s/^    for path in keepalived.sources.*/    for path in ():/"),
    back=BACK,
)
def keepalived_conf_names_the_uplink_later() -> None:
    watched("# Name=auto is the default")
    assert not count(A.uplink)
    wire_lan.rest()
    KEEPALIVED.parent.mkdir(exist_ok=True)
    vip = f"virtual_ipaddress {{\n{A.vip4}/32 dev {DUMMY}\n}}"
    KEEPALIVED.write_text(f"vrrp_instance VI_1 {{\ninterface {A.uplink}\n{vip}\n}}\n")
    noticed("wired", lambda: count(A.uplink) == 4)
