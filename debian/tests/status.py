#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What `status`, the message of the day, the metrics and the journal say of a host, and of one that is broken."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import checks
import host
from checks import check, edited, note
from host import ADDRESS, DUMMY, LAN, UPLINK, VIP, run, wait_for

VIP6 = "2001:db8::10"
LINE6 = f"}}\n    virtual_ipaddress_excluded {{\n        {VIP6}/128 dev {DUMMY}"
COLLECTOR = Path("/var/lib/prometheus/node-exporter")
METRICS = COLLECTOR / "keepalived-dummy.prom"
MOTD = "/etc/update-motd.d/60-keepalived-dummy"


def ready() -> None:
    """keepalived master of an IPv4 and an IPv6 VIP, on an uplink that has its address, and all of it idle."""
    host.cable_up()
    if not host.is_active("keepalived-dummy.service"):
        run("systemctl restart keepalived-dummy.service")
    if not (
        host.is_active("keepalived.service") and host.holds(VIP) and f" {VIP6}/" in addresses()
    ):
        host.keepalived_up(f"{VIP}/32 dev {DUMMY}", LINE6)
    wait_for("the client reaches the VIP", host.reachable)
    wait_for("the wire is whole", lambda: dummy()["wire"]["state"] == "whole")
    wait_for("the IPv6 VIP is a member", lambda: vip(VIP6)["member"])


def addresses() -> str:
    return run(f"ip -o address show dev {DUMMY}", check=False)


def status(prefix: str = "") -> Any:
    """What `status --json` says."""
    return json.loads(run(f"{prefix} keepalived-dummy status --json"))


def only(found: list[Any]) -> Any:
    """The one there is."""
    assert len(found) == 1, f"not one but {found}"
    return found[0]


def dummy() -> Any:
    return only([one for one in status()["dummies"] if one["name"] == DUMMY])


def uplink() -> Any:
    return only([one for one in status()["uplinks"] if one["name"] == UPLINK])


def vip(address: str = VIP) -> Any:
    return only([one for one in status()["vips"] if one["address"] == address])


def entries(words: str, start: str) -> list[dict[str, Any]]:
    """The daemon's journal entries since a cursor, for these journalctl words."""
    run("journalctl --sync")
    said = run(f"journalctl -q -o json --since='{start}' -u keepalived-dummy.service {words}")
    return [json.loads(line) for line in said.splitlines()]


@check(*edited("assembly.py", "(address, device) in held,", "False,"))
def a_master_is_shown_as_it_is() -> None:
    seen = status()
    assert (seen["version"], seen["unseen"], seen["problems"]) == (1, [], []), seen
    one = only(seen["dummies"])
    assert (one["up"], one["arp"], one["maker"], one["uplinks"]) == (
        True,
        True,
        "keepalived-dummy",
        [UPLINK],
    ), one
    assert one["network"]["state"] == "unmanaged", one
    vips = [(v["address"], v["held"], v["due"], v["member"]) for v in seen["vips"]]
    assert vips == [(VIP, True, True, None), (VIP6, True, True, True)], vips
    instance = only(seen["instances"])
    assert (instance["name"], instance["state"], instance["source"]) == ("VI_1", "MASTER", ADDRESS)
    link = only(seen["uplinks"])
    assert f"{ADDRESS}/24" in link["addresses"], link
    assert link["network"] == {
        "file": f"/run/systemd/network/10-netplan-{UPLINK}.network",
        "state": "configured",
    }, link
    assert "192.0.2.0/24" in [route["destination"] for route in link["routes"]], link
    ways = [way for way in link["ways"] if way["family"] == 4]
    assert [(way["known"] > 0, way["since"]) for way in ways] == [(True, None)], ways
    assert seen["daemon"]["running"]
    assert seen["keepalived"]["pid"] == int(host.property_of("keepalived.service", "MainPID"))


@check(*edited("service.py", "_stamp(path) not in (None, before) and", "before and"))
def keepalived_and_the_kernel_are_told_apart() -> None:
    """A VIP that somebody takes: keepalived is asked each time, and what it last wrote is not taken for new."""
    run("systemctl stop keepalived")
    wait_for("the VIP is gone", lambda: not host.holds(VIP))
    seen = vip()
    assert (seen["held"], seen["due"]) == (False, None), seen
    assert status()["keepalived"] == {
        "pid": 0,
        "config": "/etc/keepalived/keepalived.conf",
        "readable": True,
        "told": False,
    }
    run("systemctl start keepalived")
    wait_for("keepalived says that it holds the VIP", lambda: vip()["due"])
    pid = host.property_of("keepalived.service", "MainPID")
    run(f"kill -STOP {pid} $(pgrep -P {pid})")
    try:
        run(f"ip address del {VIP}/32 dev {DUMMY}")
        lost = status()
        assert [v["held"] for v in lost["vips"]] == [False, True], lost["vips"]
        assert [one["what"] for one in lost["unseen"]] == ["keepalived's state"], lost["unseen"]
    finally:
        run(f"kill -CONT {pid} $(pgrep -P {pid})")
    wait_for("the VIP is back", lambda: host.holds(VIP) and vip()["held"])


@check(
    *edited("netlink.py", "return unpack(_U64, more)[0] if more else frames, octets", "return 0, 0")
)
def frames_over_the_wire_are_counted() -> None:
    before = dummy()["wire"]
    run(f"ip netns exec {LAN} ndisc6 -q -1 -r 3 -w 2000 {VIP6} {host.CABLE}")
    run(f"ip link set dev {DUMMY} address $(cat /sys/class/net/{DUMMY}/address)")
    wait_for(
        "the announcement is counted", lambda: dummy()["wire"]["frames_out"] > before["frames_out"]
    )
    after = dummy()["wire"]
    note(f"{before} -> {after}")
    assert after["frames_in"] > before["frames_in"], after
    assert after["octets_in"] > before["octets_in"], after


@check(*edited("observed.py", 'return "broken" if self.lacking else "whole"', 'return "whole"'))
def a_broken_wire_is_shown() -> None:
    run("systemctl stop keepalived-dummy")  # it would mend it at once
    run(f"tc filter del dev {UPLINK} ingress pref 19268 protocol ipv6")
    seen = status()
    one = only(seen["dummies"])
    assert one["wire"]["state"] == "broken", one
    assert one["wire"]["lacking"] == [f"{UPLINK} ingress pref 19268"], one
    assert not seen["daemon"]["running"]
    text = run("keepalived-dummy status")
    assert f"{DUMMY}  wire broken" in text, text
    assert "keepalived-dummy.service  not running" in text, text
    run("systemctl start keepalived-dummy")
    wait_for("the wire is whole", lambda: dummy()["wire"]["state"] == "whole")


@check(
    without="systemctl stop keepalived-dummy",
    back="systemctl start keepalived-dummy; netplan apply",
)
def the_way_out_is_shown_while_in_use() -> None:
    def way() -> Any:
        return next(one for one in uplink()["ways"] if one["family"] == 4)

    start = host.cursor()
    times = way()["times"]
    run(f"ip address del {ADDRESS}/24 dev {UPLINK}")
    try:
        wait_for("the way out is shown", lambda: way()["since"] is not None, 20)
        ours = [route["destination"] for route in uplink()["routes"] if route["ours"]]
        assert "192.0.2.0/24" in ours, ours
        assert "way out in use" in run("keepalived-dummy status")
    finally:
        run(f"ip address add {ADDRESS}/24 dev {UPLINK}")
    wait_for("the way out is not in use", lambda: way()["since"] is None)
    assert way()["times"] == times + 1
    begun = entries(f"EVENT=way-out-begins UPLINK={UPLINK}", start)
    ended = entries(f"EVENT=way-out-ends UPLINK={UPLINK}", start)
    assert [one["FAMILY"] for one in begun + ended] == ["IPv4", "IPv4"], begun + ended


@check(*edited("teller.py", "self._native and journald.send(fields)", "False"))
def what_is_put_right_is_in_the_journal_and_explained() -> None:
    start = host.cursor()
    before = status()["daemon"]["heals"].get("down", 0)
    run(f"ip link set {DUMMY} down")
    wait_for("it is counted", lambda: status()["daemon"]["heals"].get("down", 0) == before + 1)
    one = only(entries("EVENT=healed", start))
    assert (one["DUMMY"], one["WHAT"], one["PRIORITY"]) == (DUMMY, "down", "4"), one
    assert one["SYSLOG_IDENTIFIER"] == "keepalived-dummy", one
    said = run(f"journalctl -q -x --no-pager --since='{start}' MESSAGE_ID={one['MESSAGE_ID']}")
    assert f"The dummy {DUMMY} was broken and has been put right" in said, said
    assert "found down, and that was undone at once" in said, said
    assert status()["daemon"]["last"]


@check(*edited("host.py", "self._tell_vips()", "pass"))
def a_vip_that_comes_and_goes_is_in_the_journal() -> None:
    start = host.cursor()
    run("systemctl stop keepalived")
    wait_for("the VIP is gone", lambda: not host.holds(VIP))
    run("systemctl start keepalived")
    wait_for("the VIP is there", lambda: host.holds(VIP))
    for event in ("vip-gone", "vip-held"):
        wait_for(
            f"{event} is told", lambda event=event: entries(f"EVENT={event} VIP={VIP}", start), 10
        )
        assert entries(f"EVENT={event} VIP={VIP6}", start), event


@check(*edited("observe.py", "wanted = _with_uplinks(wanted, before)", "pass"))
def anybody_may_look() -> None:
    """What only root may see is named, all else is the same."""
    conf = Path("/etc/keepalived/keepalived.conf")
    conf.chmod(0o600)
    try:
        root, seen = status(), status("runuser -u nobody --")
        assert [one["what"] for one in seen["unseen"]] == [str(conf), "keepalived's state"], seen
        assert seen["uplinks"] == root["uplinks"]
        assert seen["dummies"][0]["uplinks"] == [UPLINK]
        assert seen["dummies"][0]["wire"]["state"] == "whole", seen["dummies"]
        assert {(v["address"], v["held"], v["due"]) for v in seen["vips"]} == {
            (VIP, True, None),
            (VIP6, True, None),
        }
        text = run("runuser -u nobody -- keepalived-dummy status")
        assert f"Not seen: {conf} (only root may read it)" in text, text
    finally:
        conf.chmod(0o644)


def on_a_terminal(command: list[str], environment: dict[str, str]) -> str:
    """What a command prints where standard output is a terminal."""
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=secondary,
        env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", **environment},
    )
    os.close(secondary)
    said = b""
    try:
        while data := os.read(primary, 65536):
            said += data
    except OSError:  # EIO: the other end is closed
        pass
    os.close(primary)
    assert process.wait(host.SLOW) == 0
    return said.decode().replace("\r\n", "\n")


@check(*edited("status.py", "where.isatty() and not plain", "True"))
def a_table_of_80_columns_with_colours_on_a_terminal_alone() -> None:
    plain = run("LC_ALL=C.UTF-8 keepalived-dummy status")
    note(plain)
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 80, plain
    coloured = on_a_terminal(["keepalived-dummy", "status"], {})
    assert "\x1b[32m●\x1b[0m" in coloured, coloured
    ages = r"\d+ (s|min) ago"
    assert re.sub(ages, "", re.sub(r"\x1b\[\d+m", "", coloured)) == re.sub(ages, "", plain)
    assert "\x1b" not in on_a_terminal(["keepalived-dummy", "status"], {"NO_COLOR": "1"})
    lines = run("keepalived-dummy status --brief").splitlines()
    assert [line.split() for line in lines] == [
        [f"{VIP}/32", DUMMY, "held", "VI_1", "MASTER"],
        [f"{VIP6}/128", DUMMY, "held", "VI_1", "MASTER"],
    ], lines


@check(*edited("watch.py", "[sock.fileno(), watches.fd]", "[]"))
def it_is_shown_again_at_an_event() -> None:
    """Sooner than by the clock, which shows it every ten seconds anyway."""
    watching = subprocess.Popen(
        ["keepalived-dummy", "status", "--brief", "--watch"], stdout=subprocess.PIPE, text=False
    )
    assert watching.stdout

    def shown(seconds: float) -> str:
        said, end = "", time.monotonic() + seconds
        while time.monotonic() < end and said.count(f"{VIP6}/128") < 1:
            if select.select([watching.stdout], [], [], 0.1)[0]:
                said += os.read(watching.stdout.fileno(), 65536).decode()
        return said

    try:
        assert "held" in shown(60)
        start = time.monotonic()
        run("systemctl stop keepalived")
        stopped = time.monotonic() - start
        said = ""
        while "not held" not in said and time.monotonic() < start + stopped + 8:
            said = shown(8)
        note(f"shown {time.monotonic() - start - stopped:.1f} s after keepalived was stopped")
        assert "not held" in said, said
    finally:
        watching.terminate()
        watching.wait(host.SLOW)


@check(
    without="systemctl mask --runtime keepalived-dummy-metrics.service",
    back="systemctl unmask --runtime keepalived-dummy-metrics.service",
)
def metrics_are_written_for_prometheus() -> None:
    timer = "keepalived-dummy-metrics.timer"
    assert run(f"systemctl is-enabled {timer}", check=False).strip() == "disabled"
    COLLECTOR.mkdir(parents=True, exist_ok=True)
    run(f"chown nobody {COLLECTOR.parent}")  # of the user prometheus, as in Debian
    METRICS.unlink(missing_ok=True)
    try:
        run(f"systemctl start {timer}")
        wait_for("they are there", METRICS.exists, 60)
    finally:
        run(f"systemctl stop {timer}")
    text = METRICS.read_text()
    note(text)
    labels = f'address="{VIP}",device="{DUMMY}",vrrp_instance="VI_1"'
    for line in (
        f"keepalived_dummy_vip_held{{{labels}}} 1.0",
        f"keepalived_dummy_vip_due{{{labels}}} 1.0",
        'keepalived_dummy_instance_state{state="MASTER",vrrp_instance="VI_1"} 1.0',
        f'keepalived_dummy_wire_whole{{dummy="{DUMMY}"}} 1.0',
        "keepalived_dummy_daemon_running 1.0",
    ):
        assert line in text.splitlines(), f"{line} is not in\n{text}"
    assert METRICS.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in COLLECTOR.iterdir()] == [METRICS.name]


@check(
    without=f"ip link set dev {DUMMY} alias another",
    back=f"ip link set dev {DUMMY} alias keepalived-dummy:keepalived",
)
def a_login_says_which_vips_are_held() -> None:
    assert MOTD in run("run-parts --test /etc/update-motd.d").split()
    bare, snippet = took("/usr/bin/python3 -IS -c pass"), took(MOTD)
    note(f"{snippet:.0f} ms, a bare interpreter {bare:.0f} ms")
    assert snippet < 150 / 8 * bare  # which is 8 ms on quiet hardware, and the bound 150 ms
    said = run(MOTD)
    assert said.splitlines()[1:] == [f"  {VIP}/32 on {DUMMY}", f"  {VIP6}/128 on {DUMMY}"], said


def took(command: str) -> float:
    """The median of five runs, in ms."""
    times = []
    for _ in range(5):
        start = time.monotonic()
        run(command)
        times.append(time.monotonic() - start)
    return 1000 * sorted(times)[2]


if __name__ == "__main__":
    sys.exit(checks.main(ready))
