# SPDX-License-Identifier: MIT
"""Cells of the matrix that are no event of an administrator: a node that waits, a dead server, a later change."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import guest
from events import shell
from guest import run, say
from pings import Pinger
from testbed import (
    ADDRESS4,
    ADDRESS6,
    LAN,
    LEASE,
    ROUTER4,
    ROUTER6,
    UPLINK,
    VIP4,
    Pieces,
    Testbed,
    holds,
    journal,
)

ALL = Pieces()
PROTOCOL = 75  # of the way out's routes


def ours() -> str:
    """The routes of the way out that are in place now."""
    return run(f"ip route show proto {PROTOCOL}; ip -6 route show proto {PROTOCOL}").strip()


def uplink_has(family: int) -> bool:
    return "scope global" in run(f"ip -{family} -o address show dev {UPLINK}")


def backup(bed: Testbed, way_out: bool) -> dict[str, Any]:
    """A fast BACKUP at rp_filter 2 whose uplink has no address for a second: it must go on hearing the master.

    fib_validate_source drops an advert that comes in on an interface with neither address nor reverse route.
    """
    fast = Testbed(bed.work, interval=0.05)
    try:
        fast.build("static")
        fast.peer_up(priority=250)
        guest.wait_for("the peer is master", lambda: "Entering MASTER" in peer_log(fast))
        fast.host_up(Pieces(way_out=way_out), priority=50)
        time.sleep(3)
        steps = {"nothing": shell("sleep 3")}
        for number in range(3):
            steps[f"no address for a second, {number + 1}"] = _without_address
        for command in ("netplan apply", f"networkctl reconfigure {UPLINK}"):
            steps[command] = shell(f"{command}; sleep 3")
        seen = {name: _entered_in(fast, step) for name, step in steps.items()}
    finally:
        fast.close()
    host, peer = ([state for both in seen.values() for state in both[n]] for n in (0, 1))
    bad = [name for name, both in seen.items() if any(both)]
    return {
        "cell": f"fast BACKUP, rp_filter 2, {'all pieces' if way_out else 'no way out'}",
        "host": host,
        "peer": peer,
        "wrong": wrong_if(
            bool(bad) == way_out, f"a second master at {', '.join(bad) or 'no step'}"
        ),
    }


def _without_address() -> None:
    run(f"ip address flush dev {UPLINK} scope global")
    time.sleep(1)
    run(f"ip address add {ADDRESS4}/24 dev {UPLINK}")
    time.sleep(1)


def _entered_in(bed: Testbed, step: Callable[[], object]) -> tuple[list[str], list[str]]:
    """The states that either node entered while the step ran."""
    cursor = bed.cursor()
    step()
    return bed.entered(cursor)


def peer_log(bed: Testbed) -> str:
    return (bed.work / "peer.log").read_text()


def wrong_if(bad: bool, text: str) -> str:
    return text if bad else ""


def dead_server(bed: Testbed, way_out: bool) -> dict[str, Any]:
    """The DHCP server dies and the lease runs out: the VIP stays reachable on the LAN, and the journal says so."""
    bed.build("dhcp")
    bed.host_up(Pieces(way_out=way_out))
    bed.settle()
    bed.peer_up()
    time.sleep(3)
    cursor = bed.cursor()
    client = Pinger(LAN, VIP4)
    bed.dhcp_down()
    try:
        guest.wait_for("the lease runs out", lambda: not uplink_has(4), LEASE + 30, 0.5)
        time.sleep(12)
    finally:
        pings = client.stop()
    host, peer = bed.entered(cursor)
    said = journal(cursor, "-u keepalived-dummy -p warning")
    told = journal(cursor, "-u keepalived-dummy -u systemd-networkd")
    bed.close()
    lost = len(pings.lost())
    warned = "DHCP server" in said
    good = not host and not peer and lost == 0 and warned
    return {
        "cell": f"lease runs out, server dead, {'all pieces' if way_out else 'no way out'}",
        "host": host,
        "peer": peer,
        "sent": pings.sent,
        "lost": lost,
        "warned": warned,
        "journal": (said or (told if way_out else "")).splitlines(),
        "wrong": wrong_if(good != way_out, f"{lost} of {pings.sent} pings lost, warned: {warned}"),
    }


def _no_address() -> str:
    """The uplink's IPv4 address taken away; the routes of the way out that are in place then."""
    run(f"ip -4 address flush dev {UPLINK} scope global")
    time.sleep(0.5)
    return ours()


def _daemon_pid() -> str:
    return run("systemctl show --value -p MainPID keepalived-dummy").strip()


def _left_after(seconds: float, but: str = "-") -> str:
    """What is left of our routes, those to `but` not counted, when they are all gone, or after so long."""
    end = time.monotonic() + seconds
    while (left := _others(but)) and time.monotonic() < end:
        time.sleep(0.1)
    return left


def _others(but: str) -> str:
    return "\n".join(line for line in ours().splitlines() if line.split()[0] != but)


def _cleaned(started: bool) -> str:
    """What is left of our routes 5 s after the daemon was started again, if it was."""
    if started:
        run("systemctl start keepalived-dummy")
    return _left_after(5)


def killed(bed: Testbed, started: bool) -> dict[str, Any]:
    """The daemon killed with -9 while the way out is in place. The next one takes the routes over while they are
    needed, and takes away those of an address that came back meanwhile, and of an uplink that is to have none.
    """
    dead = "systemctl kill -s KILL keepalived-dummy; systemctl stop keepalived-dummy"
    bed.build("static")
    bed.host_up(ALL)
    bed.settle()
    found = {}
    client = Pinger(LAN, VIP4)
    time.sleep(0.5)
    try:
        found["in place"], pid = _no_address(), _daemon_pid()
        run("systemctl kill -s KILL keepalived-dummy")
        guest.wait_for("another one runs", lambda: _daemon_pid() not in (pid, "0"))
        time.sleep(3)
        found["taken over"] = ours()
        run(dead)
        run(f"ip address add {ADDRESS4}/24 dev {UPLINK}; ip route replace default via {ROUTER4}")
        time.sleep(0.5)
    finally:
        lost = len(client.stop().lost())
    found["left behind"] = ours()
    found["address is back"] = _cleaned(started)
    run("systemctl start keepalived-dummy")
    time.sleep(1)
    found["in place again"] = _no_address()
    run(dead)
    bed.configure(Pieces(way_out=False))
    found["no way out any more"] = _cleaned(started)
    bed.close()
    gone = ("address is back", "no way out any more")
    bad = [f"{k}: {v or 'no route of ours'}" for k, v in found.items() if bool(v) == (k in gone)]
    bad += [f"{lost} pings lost"] if lost else []
    return {
        "cell": f"daemon kill -9, {'started again' if started else 'not started again'}",
        "seen": found,
        "lost": lost,
        "wrong": wrong_if(bool(bad) == started, "; ".join(bad) or "they went by themselves"),
    }


def admin(bed: Testbed, way_out: bool) -> dict[str, Any]:
    """What an administrator sets while the way out is in place, and after, wins at once and stays."""
    bed.build("static")
    bed.host_up(Pieces(way_out=way_out))
    bed.settle()
    found: dict[str, str] = {}
    run(f"ip -4 address flush dev {UPLINK} scope global")
    time.sleep(0.5)
    found["in place"] = ours()
    run(f"ip route replace 203.0.113.0/24 dev {UPLINK} scope link")
    run(f"ip route replace default dev {UPLINK} scope link")
    found["default by hand"] = run("ip -o route get 198.51.100.99")
    run(f"ip address add 198.51.100.1/24 dev {UPLINK}")
    found["new prefix"] = run("ip -o route get 198.51.100.7")
    # The peers of the pinned source are in its network.
    found["ours after another prefix"] = _left_after(5, "192.0.2.0/24")
    found["old prefix"] = run("ip route show 192.0.2.0/24")
    found["by hand, kept"] = run("ip route show 203.0.113.0/24")
    run("networkctl reconfigure " + UPLINK)
    time.sleep(4)
    run(f"ip route delete default dev {UPLINK}")  # in the admin's right mind or not
    time.sleep(4)
    found["default deleted"] = run(f"ip route show default dev {UPLINK}").strip()
    # What networkd took as foreign, the other prefix, does not come back: ours stay for ten seconds.
    found["ours at the end"] = _left_after(8)
    bed.close()
    wrong = [
        name
        for name, bad in (
            ("the way out was not in place", way_out and not found["in place"]),
            ("our default hides the one by hand", f"proto {PROTOCOL}" in found["default by hand"]),
            ("a new prefix does not win", "src 198.51.100.1" not in found["new prefix"]),
            ("ours stay beside another prefix", bool(found["ours after another prefix"])),
            ("a route by hand is gone", "203.0.113.0" not in found["by hand, kept"]),
            ("a deleted default came back", bool(found["default deleted"])),
            ("ours stay at the end", bool(found["ours at the end"])),
        )
        if bad
    ]
    return {
        "cell": f"a later change by hand, {'all pieces' if way_out else 'no way out'}",
        "seen": found,
        "wrong": "; ".join(wrong),
    }


FAR = "203.0.113.9"  # a client beyond the router
SECOND, SECOND_LAN = "second0", "second"
SECOND_YAML = Path("/etc/netplan/20-second.yaml")
UPLINK_YAML = Path("/etc/netplan/10-uplink.yaml")
TABLE = 101


def _far_client() -> None:
    """A client beyond the router: its replies need a default route through the uplink."""
    run(f"ip -n {LAN} address replace {FAR}/32 dev lo")


def _taken_by(address: str) -> str:
    """The interface that a reply of the VIP to this address leaves by."""
    words = run(f"ip -o route get {address} from {VIP4}", check=False).split()
    return words[words.index("dev") + 1] if "dev" in words else ""


def two_uplinks(bed: Testbed, way_out: bool) -> dict[str, Any]:
    """A second uplink has a default route with a larger metric, into a network that drops the VIP's replies.

    The first one loses its address for three seconds: the replies go on leaving by it.
    """
    bed.build("static")
    run(f"""set -e
        ip netns add {SECOND_LAN}
        ip link add {SECOND} type veth peer name second1 netns {SECOND_LAN}
        ip -n {SECOND_LAN} link set second1 up
        ip -n {SECOND_LAN} address add 198.51.100.1/24 dev second1""")
    yaml = f"""network: {{version: 2, ethernets: {{{SECOND}: {{addresses: [198.51.100.5/24],
        routes: [{{to: 0.0.0.0/0, via: 198.51.100.1, metric: 200}}]}}}}}}\n"""
    found: dict[str, str] = {}
    try:
        guest.write(SECOND_YAML, yaml, 0o600)
        run("netplan apply")
        guest.wait_for("both have a default", lambda: run("ip route show default").count("\n") == 2)
        _far_client()
        bed.host_up(Pieces(way_out=way_out))
        bed.settle()
        client = Pinger(LAN, f"-I {FAR} {VIP4}")
        client.answered(5)
        found["before"] = _taken_by(FAR)
        run(f"ip -4 address flush dev {UPLINK} scope global")
        time.sleep(0.5)
        found["address away"], found["default routes"] = (
            _taken_by(FAR),
            run("ip route show default"),
        )
        time.sleep(2.5)
        run(f"networkctl reconfigure {UPLINK}")
        time.sleep(4)
        found["address back"], found["ours at the end"] = _taken_by(FAR), _left_after(15)
        lost = len(client.stop().lost())
    finally:
        SECOND_YAML.unlink(missing_ok=True)
        run(f"ip link delete {SECOND}; ip netns delete {SECOND_LAN}", check=False)
        bed.close()
    ways = [found["before"], found["address away"], found["address back"]]
    good = ways == [UPLINK] * 3 and lost <= 10 and not found["ours at the end"]
    return {
        "cell": f"two uplinks with a default each, {'all pieces' if way_out else 'no way out'}",
        "seen": found,
        "lost": lost,
        "wrong": wrong_if(good != way_out, f"replies left by {', '.join(ways)}; {lost} pings lost"),
    }


def _rules() -> list[str]:
    """The rules that lead to the table, without their priorities."""
    lines = run(f"ip rule show table {TABLE}").splitlines()
    return sorted(line.partition(":")[2].strip() for line in lines)


def policy(bed: Testbed, way_out: bool) -> dict[str, Any]:
    """Replies of the VIP have a table of their own, by netplan's routing-policy and by a rule of a script.

    Up to systemd 256 networkd takes the first one at a reconfigure, and all releases the second one at a restart.
    """
    bed.build("static")
    guest.write(
        UPLINK_YAML,
        f"""network: {{version: 2, ethernets: {{{UPLINK}: {{addresses: [{ADDRESS4}/24, '{ADDRESS6}/64'],
        routes: [{{to: 0.0.0.0/0, via: {ROUTER4}, table: {TABLE}}}, {{to: '::/0', via: '{ROUTER6}'}}],
        routing-policy: [{{from: {VIP4}, table: {TABLE}, priority: 300}}], accept-ra: false}}}}}}\n""",
        0o600,
    )
    found: dict[str, Any] = {}
    try:
        run("netplan apply")
        guest.wait_for("the rule is there", _rules)
        _far_client()
        bed.host_up(Pieces(way_out=way_out))
        bed.settle()
        run(f"ip rule add from {VIP4} to {FAR} lookup {TABLE} pref 500")
        found["before"] = _rules()
        client = Pinger(LAN, f"-I {FAR} {VIP4}")
        client.answered(5)
        for command in ("systemctl restart systemd-networkd", f"networkctl reconfigure {UPLINK}"):
            run(command)
            time.sleep(3)
            found[command] = run(f"ip rule show table {TABLE}").splitlines()
        lost = len(client.stop().lost())
        time.sleep(15)  # what a script had set is restored when nobody else has
        found["at the end"] = _rules()
    finally:
        run(f"ip rule delete pref 500 table {TABLE}", check=False)
        bed.close()
    kept = found["at the end"] == found["before"] and len(found["before"]) == 2
    return {
        "cell": f"a table for the VIP's replies, {'all pieces' if way_out else 'no way out'}",
        "seen": found,
        "lost": lost,
        "wrong": wrong_if(
            (kept and lost <= 10) != way_out,
            f"rules at the end: {found['at the end']}; {lost} pings lost",
        ),
    }


KILL = Path("/sys/fs/cgroup/system.slice/keepalived.service/cgroup.kill")


def crashed(bed: Testbed, restarted: bool) -> dict[str, Any]:
    """keepalived killed with -9 leaves its VIPs, which go on answering beside the new master's: until it is
    started again, which takes them away. The package's drop-in has systemd do that.

    Both its processes die at once, by the control group: one that sees its parent die first takes the VIPs along.
    """
    drop_in = "/run/systemd/system/keepalived.service.d/zz-harness.conf"
    bed.build("static")
    if not restarted:
        run(
            f"mkdir -p {drop_in.rpartition('/')[0]}; printf '[Service]\\nRestart=no\\n' > {drop_in}"
        )
        run("systemctl daemon-reload")
    try:
        bed.host_up(ALL)
        bed.settle()
        bed.peer_up()
        time.sleep(3)
        begin = time.monotonic()
        KILL.write_text("1")
        while holds(VIP4) and time.monotonic() - begin < 20:
            time.sleep(0.02)
        took = time.monotonic() - begin
        time.sleep(5)
    finally:
        run(f"rm -f {drop_in}; systemctl daemon-reload")
        bed.close()
    gone = took < 20
    return {
        "cell": f"keepalived kill -9, {'restarted by systemd' if restarted else 'no Restart='}",
        "VIP left behind for, s": round(took, 2) if gone else None,
        "wrong": wrong_if(
            gone != restarted, "the killed node's VIP stays" if not gone else "it went"
        ),
    }


CELLS: tuple[tuple[Callable[[Testbed, bool], dict[str, Any]], bool], ...] = (
    (backup, True),
    (backup, False),
    (admin, True),
    (two_uplinks, True),
    (two_uplinks, False),
    (policy, True),
    (policy, False),
    (killed, True),
    (killed, False),
    (crashed, True),
    (crashed, False),
    (dead_server, True),
    (dead_server, False),
)


def run_all(bed: Testbed, only: Collection[str] | None = None) -> Iterator[dict[str, Any]]:
    """All cells, or those of these names, one by one; one that can't be run says why in `wrong`."""
    for cell, whole in CELLS:
        if only and cell.__name__ not in only:
            continue
        say(f"cell: {cell.__name__}, {'whole' if whole else 'a piece out'}")
        try:
            made = cell(bed, whole)
        except (RuntimeError, ValueError, OSError) as error:
            made = {"cell": cell.__name__, "wrong": str(error)}
            bed.close()
        say(f"  {made}")
        yield made
