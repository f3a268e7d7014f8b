# SPDX-License-Identifier: MIT
"""How the wire is put in place: what it does twice, beside filters of others, without a module, and taken away."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import host
import wire_lan
from checks import check, note
from host import run
from scapy.layers.l2 import ARP
from wire_frame import Ask, announced, arp_answers, judge_arp, nd_answers
from wire_lan import DUMMY, A, Tap, applied, apply, wired
from wire_mutate import BACK, change, edit

from keepalived_dummy import bpf

TOOLS = Path("/var/tmp/wire-tools")  # /run is noexec
TC = f"""#!/bin/sh
echo run >> {TOOLS}/runs
exec $(PATH=/usr/sbin:/sbin:/usr/bin:/bin command -v tc) "$@"
"""


def counted(words: str = "") -> tuple[int, str]:
    """How often a pass runs tc, and what it says."""
    TOOLS.mkdir(exist_ok=True)
    (TOOLS / "tc").write_text(TC)
    (TOOLS / "tc").chmod(0o755)
    (TOOLS / "runs").write_text("")
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{TOOLS}:{path}"
    try:
        said = apply(words)
    finally:
        os.environ["PATH"] = path
    return (TOOLS / "runs").read_text().count("run"), said


# What the kernel gives out as it comes; the parent of an ingress qdisc's filters it tells as it was last called.
NUMBERED = ("index", "ref", "bind", "fh", "key_ht", "parent")


def plain(value: Any) -> Any:
    """What tc shows, without the numbers that the kernel gives out."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in NUMBERED}
    return [plain(item) for item in value] if isinstance(value, list) else value


def filters(dev: str) -> dict[str, list[dict[str, Any]]]:
    """The filters of an interface in both directions."""
    shown = {way: run(f"tc -j filter show dev {dev} {way}") for way in ("ingress", "egress")}
    return {way: plain(json.loads(text)) for way, text in shown.items()}


def works() -> None:
    """The VIPs are answered, each once."""
    with Tap(A.ns, A.dev) as tap:
        assert len(arp_answers(tap, A.ip4(1), A.vip4)) == 1
        assert len(nd_answers(tap, Ask(A.ip6("1"), A.vip6))) == 1


@check(
    without=edit("wire.py", "s/cookie = MARK \\+ .*/cookie = MARK + __import__('os').urandom(12)/"),
    back=BACK,
)
def same_state_runs_no_tc() -> None:
    wired()
    works()
    runs, said = counted()
    assert (runs, said.strip()) == (0, "nothing to do"), f"{runs} runs: {said}"
    run(f"tc filter delete dev {A.uplink} ingress pref 19268")
    runs, _ = counted()
    assert runs == 1, "the counter counts"
    works()


@check(without=edit("tc.py", "s/^    absent = .*/    absent = []  # type: ignore/"), back=BACK)
def what_is_gone_comes_back() -> None:
    """Every filter of ours deleted by hand, one after the other, then the qdiscs; and one replaced."""
    wired()
    before = filters(A.uplink), filters(DUMMY)
    places = [
        f"filter delete dev {dev} {way} pref {item['pref']} protocol {item['protocol']}"
        for dev, ways in ((A.uplink, before[0]), (DUMMY, before[1]))
        for way, found in ways.items()
        for item in found
        if "options" in item
    ]
    run("tc -force -batch - <<'END'\n" + "\n".join(dict.fromkeys(places)) + "\nEND")
    assert apply() != "nothing to do\n"
    assert (filters(A.uplink), filters(DUMMY)) == before
    run(f"tc qdisc delete dev {A.uplink} clsact; tc qdisc delete dev {DUMMY} clsact")
    apply()
    assert (filters(A.uplink), filters(DUMMY)) == before
    works()
    shown = run(f"tc filter show dev {A.uplink} ingress pref 19268")
    handle = re.findall(r"fh (\w+::\w+) ", shown)[0]
    run(
        f"tc filter replace dev {A.uplink} ingress pref 19268 protocol ipv6 handle {handle} u32 skip_hw"
        " match u8 58 0xff at 6 match u8 135 0xff at 40 action continue"
    )
    apply()
    works()


@check(without=change("ingress pref .* 8 .* protocol ipv6", "pref \\+ 8", "pref + 1"), back=BACK)
def same_state_of_two_link_local_addresses_runs_no_tc() -> None:
    """What keeps them from the dummy is at its ingress, where the kernel may list filters of its egress too."""
    wire_lan.batch(f"address add fe80::5/64 dev {A.uplink} nodad")
    wired()
    works()
    runs, said = counted()
    assert (runs, said.strip()) == (0, "nothing to do"), f"{runs} runs: {said}"


@check(
    without=edit(
        "wire.py",
        "s/line=f.[{]line[}] cookie/line=re.sub(' handle ::[0-9a-f]+', '', line) + f\" cookie/",
    ),
    back=BACK,
)
def put_back_twice_at_once_is_there_once() -> None:
    """The daemon's put-back and an apply by hand, at the same moment."""
    wired()
    before = filters(A.uplink), filters(DUMMY)
    script = Path("/run/wire-script")
    script.write_text(run("keepalived-dummy wire --dry-run"))
    for _ in range(10):
        run(f"tc qdisc delete dev {A.uplink} clsact; tc qdisc delete dev {DUMMY} clsact")
        run(
            f"tc -force -batch {script} >/dev/null 2>&1 & keepalived-dummy apply; wait", check=False
        )
        assert (filters(A.uplink), filters(DUMMY)) == before
    works()


FOREIGN = f"""
tc qdisc add dev {A.uplink} clsact
tc filter add dev {A.uplink} ingress pref 10 protocol ipv6 matchall action continue
tc filter add dev {A.uplink} ingress pref 19268 protocol ipv6 u32 match u8 58 0xff at 6 action continue
tc filter add dev {A.uplink} ingress pref 65000 protocol all matchall action ok
tc filter add dev {A.uplink} egress pref 19268 protocol all matchall action ok
"""


def matched(dev: str, pref: int) -> int:
    """How many packets the actions at this preference have seen."""
    shown = run(f"tc -s filter show dev {dev} ingress pref {pref}")
    return sum(int(number) for number in re.findall(r"Sent \d+ bytes (\d+) pkt", shown))


@check(
    without=edit("templates/wire.tc.j2", 's/" continue" if loop.last/" drop" if loop.last/'),
    back=BACK,
)
def filters_of_others_stay_and_match() -> None:
    """At a preference before ours, at ours and after ours; the clsact that they came with stays too."""
    run(FOREIGN)
    before = filters(A.uplink)
    wired()
    with Tap(A.ns, A.dev) as tap:
        counts = [matched(A.uplink, pref) for pref in (10, 65000)]
        assert len(nd_answers(tap, Ask(A.ip6("1"), A.vip6))) == 1
        assert len(nd_answers(tap, Ask(A.ip6("1"), A.ip6("5")))) == 1, "the uplink's own address"
    after = [matched(A.uplink, pref) for pref in (10, 65000)]
    assert all(late > early for early, late in zip(counts, after, strict=True)), (counts, after)
    assert counted()[0] == 0
    run(f"tc filter delete dev {DUMMY} egress")
    apply()
    works()
    apply("--remove")
    assert filters(A.uplink) == before


@check(without=edit("tc.py", "s/^    shared = .*/    shared: set[object] = set()/"), back=BACK)
def filter_of_another_at_our_preference_outlives_ours() -> None:
    run(FOREIGN)
    before = filters(A.uplink)
    wired()
    works()
    apply("--remove")
    assert filters(A.uplink) == before


@check(
    without=edit(
        "tc.py", "s/^    if lacking and said:/    lacking, lines = [], []\\n    if False:/"
    ),
    back=BACK,
)
def taken_place_is_said() -> None:
    """Another kind of filter at our preference leaves no place for ours there: said, and the rest is there."""
    run(f"tc qdisc add dev {A.uplink} clsact")
    run(f"tc filter add dev {A.uplink} ingress pref 19268 protocol ip matchall action continue")
    before = filters(A.uplink)
    wire_lan.conf(DUMMY, f"Name={A.uplink}")
    status, said = applied()
    assert status == 1 and f"{A.uplink}: " in said and "pref 19268" in said, said
    assert [f for f in filters(A.uplink)["ingress"] if f in before["ingress"]] == before["ingress"]


@check(without=edit("tc.py", "s/\\._replace\\(parent=parent\\)//"), back=BACK)
def ingress_qdisc_of_another_serves() -> None:
    """Its owner's filters stay, also those added later, by the parent's other name."""
    run(f"tc qdisc add dev {A.uplink} ingress")
    add = f"tc filter add dev {A.uplink} parent ffff: protocol ipv6"
    run(f"{add} pref 10 matchall action continue")
    before = run(f"tc qdisc show dev {A.uplink}"), filters(A.uplink)["ingress"]
    wired()
    works()
    assert counted()[0] == 0
    run(f"{add} pref 11 matchall action continue")
    runs, said = counted()
    assert runs == 0, said
    run(f"tc filter delete dev {A.uplink} parent ffff: pref 11")
    apply("--remove")
    assert (run(f"tc qdisc show dev {A.uplink}"), filters(A.uplink)["ingress"]) == before


# A program of another at the hook tcx (Linux 6.6 and later)

TCX_PASS = bytes.fromhex(
    "b7000000000000009500000000000000"
)  # return 0: no filter of tc sees the packet
HAS_TCX = tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 6)


def in_front() -> list[str]:
    """What `check` says of filters and programs before the wire."""
    said = run("keepalived-dummy check --json 2>/dev/null", check=False)
    return [one["what"] for one in json.loads(said)["findings"] if one["name"] == "filter-in-front"]


@check(
    without=edit("programs.py", "s/^    for uplink, dummies in .*/    for uplink, dummies in ():/"),
    back=BACK,
)
def behind_a_program_of_another_all_works() -> None:
    """As Cilium has one: the wire's own program is put before it, and goes with it."""
    wired()
    works()
    index = socket.if_nametoindex(A.uplink)
    there = partial(bpf.programs, index, bpf.TCX_INGRESS)
    if not HAS_TCX:
        note("a kernel without tcx")
        assert (there(), in_front()) == ((), [])
        return
    bpf.attach_first(index, bpf.TCX_INGRESS, TCX_PASS, "stranger")
    with Tap(A.ns, A.dev) as tap:
        assert not nd_answers(tap, Ask(A.ip6("1"), A.vip6), wait=1), "the program takes nothing"
    assert "stranger may take" in " ".join(in_front())
    apply()
    assert [one.name[:5] for one in there()] == ["kdmy_", "stran"], there()
    works()
    with Tap(
        A.ns, A.dev
    ) as tap:  # one answer to a solicitation by the uplink's MAC, and by another's none
        assert len(nd_answers(tap, Ask(A.ip6("1"), A.vip6, A.mac))) == 1
        assert not nd_answers(tap, Ask(A.ip6("1"), A.vip6, "02:4b:44:00:00:77"), wait=1)
        assert len(nd_answers(tap, Ask(A.ip6("1"), A.ip6("5"), A.mac))) == 1
    assert counted()[0] == 0
    run("systemctl start keepalived-dummy")  # its passes may not look
    wire_lan.rest()
    assert [one.name[:5] for one in there()] == ["kdmy_", "stran"], there()
    assert "u32" not in run(f"tc filter show dev {A.uplink} ingress")
    works()
    wire_lan.sysctl(up0__arp_ignore=1)
    apply()
    works()
    run("systemctl stop keepalived-dummy")
    bpf.detach(index, bpf.TCX_INGRESS, there()[1])
    apply()
    assert there() == ()
    works()
    bpf.attach_first(index, bpf.TCX_INGRESS, TCX_PASS, "stranger")
    run(
        "systemctl start keepalived-dummy-tcx.service"
    )  # what its timer does, with all that it may not
    assert [one.name[:5] for one in there()] == ["kdmy_", "stran"], there()
    works()
    run(f"ip address flush dev {DUMMY}")
    apply("--remove")
    assert [one.name for one in there()] == ["stranger"], there()


# Taken away


def as_found(dev: str) -> str:
    """All there is to see of an interface but counters, addresses' lifetimes and timers."""
    parts = [
        run(f"tc qdisc show dev {dev}"),
        *(run(f"tc filter show dev {dev} {way}") for way in ("ingress", "egress")),
        run(f"ip -d link show dev {dev}"),
        run(f"ip address show dev {dev}"),
        run(f"ip maddress show dev {dev}"),
        run("ip route show table all; ip -6 route show table all; ip rule; ip -6 rule"),
        run(f"sysctl -a 2>/dev/null | grep -E '\\.({re.escape(dev)}|all|default)\\.'", check=False),
    ]
    parts[5] = re.sub(r"expires \d+sec", "", parts[5])
    text = "\n".join(parts)
    return "\n".join(line for line in text.splitlines() if DUMMY not in line)


def stays_as_found(take_away: Callable[[], object]) -> None:
    wire_lan.link_local("", A.uplink)
    before = as_found(A.uplink)
    wired()
    works()
    assert as_found(A.uplink) != before, "the wire is seen"
    run(f"ip address flush dev {DUMMY}")
    take_away()
    assert as_found(A.uplink) == before, f"before:\n{before}\n\nafter:\n{as_found(A.uplink)}"


@check(without=edit("tc.py", "s/^    _remove_clsact\\(.*/    pass/"), back=BACK)
def removal_leaves_the_uplink_as_found() -> None:
    """What the package's removal runs, daemon first, then the rest."""
    stays_as_found(lambda: run("sh /var/lib/dpkg/info/keepalived-dummy.prerm remove"))


@check(without=edit("uplinks.py", "s/if not dummy.wire or /if /"), back=BACK)
def wire_no_leaves_the_uplink_as_found() -> None:
    def take_away() -> None:
        wire_lan.conf(DUMMY, f"Name={A.uplink}", "Wire=no")
        apply()

    stays_as_found(take_away)
    wire_lan.hold(DUMMY, A.vip6)
    with Tap(A.ns, A.dev) as tap:
        assert not nd_answers(tap, Ask(A.ip6("1"), A.vip6), wait=1)


# A kernel without a module

BLACKLIST = Path("/etc/modprobe.d/wire-test.conf")


@check(without=edit("tc.py", 's/"-force", //'), back=BACK)
def without_a_module_the_rest_works() -> None:
    """No act_csum: neighbour discovery of IPv6 cannot be rewritten, ARP can."""
    apply("--remove")
    run("modprobe -r act_csum")
    BLACKLIST.write_text("install act_csum /bin/false\n")
    try:
        wire_lan.conf(DUMMY, f"Name={A.uplink}")
        status, said = applied()
        note(said.strip().replace("\n", "; "))
        assert status == 1, said
        assert (
            len(re.findall(rf"{DUMMY}: the wire's filter at egress pref \d+ is not there", said))
            == 2
        )
        assert "not loaded: act_csum\n" in said, said
        wire_lan.hold(DUMMY, A.vip4)
        with Tap(A.ns, A.dev) as tap:
            wire_lan.announce(DUMMY)
            seen = tap.watch(3, lambda found: any(ARP in f and f.psrc == A.vip4 for f in found))
            judge_arp(seen[-1], A.mac, A.vip4)
    finally:
        BLACKLIST.unlink()
    assert "is not there" not in apply()


@check(
    without=change(
        "protocol arp handle", "handle ::1 u32 skip_hw match u32 0 0 at 0", "matchall skip_hw"
    ),
    back=BACK,
)
def without_matchall_and_flower_all_works() -> None:
    """As with the kernels of Raspberry Pi OS, which have u32."""
    apply("--remove")
    others = ("cls_matchall", "cls_flower", "cls_basic", "cls_bpf")
    run(f"modprobe -r {' '.join(others)}", check=False)
    BLACKLIST.write_text("".join(f"install {name} /bin/false\n" for name in others))
    try:
        assert host.status(
            f"tc qdisc add dev {A.uplink} clsact && tc filter add dev {A.uplink} ingress matchall"
        )
        run(f"tc qdisc delete dev {A.uplink} clsact")
        wired()
        works()
        with Tap(A.ns, A.dev) as tap:
            announced(tap, DUMMY, A.vip4, A.vip6, A.mac)
    finally:
        BLACKLIST.unlink()
