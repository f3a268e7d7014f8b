#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Each hazard made real, and seen by `keepalived-dummy check`; on the healthy host nothing is found."""

from __future__ import annotations

import contextlib
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import checks
import host
from checks import check, edited, note
from host import ADDRESS, CABLE, CONFS, DUMMY, LAN, NETWORKD, SECOND, UPLINK, VIP, run

VIP6 = "2001:db8::10"
CONF, OTHER = CONFS / "keepalived.conf", CONFS / "second.conf"
KEEPALIVED = Path("/etc/keepalived/keepalived.conf")
PROGRAM = "/usr/lib/python3/dist-packages/keepalived_dummy"
TEXT = f"""\
global_defs {{
    vrrp_version 3
}}
vrrp_instance VI_1 {{
    interface {UPLINK}
    state BACKUP
    virtual_router_id 51
    priority 100
    advert_int 0.1
    mcast_src_ip {ADDRESS}
    virtual_ipaddress {{
        {VIP}/32 dev {DUMMY}
    }}
    virtual_ipaddress_excluded {{
        {VIP6}/128 dev {DUMMY}
    }}
}}
"""


def without(group: str, *functions: str) -> dict[str, str]:
    """The functions of the findings taken out."""
    path = f"{PROGRAM}/findings/{group}.py"
    heads = [f"def {name}(facts: Facts) -> Iterator[Found]:\n" for name in functions]
    change = f"import sys; t = open('{path}').read()\nfor h in sys.argv[1:]:\n  assert h in t, h; "
    change += f"t = t.replace(h, h + '    return\\n')\nopen('{path}', 'w').write(t)"
    words = " ".join(shlex.quote(head) for head in heads)
    out = f"cp {path} {path}.orig && python3 -c {shlex.quote(change)} {words}"
    return {"without": out, "back": f"mv {path}.orig {path}"}


Seen = dict[str, list[dict[str, Any]]]


def look(*options: str) -> Seen:
    """What is found, by name; the exit status says the worst of it."""
    command = ["keepalived-dummy", "check", "--json", *options]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=host.SLOW, check=False)
    assert not ran.stderr, ran.stderr
    said = json.loads(ran.stdout)
    severities = [1 + (one["severity"] == "critical") for one in said["findings"]]
    wanted = max(severities, default=3 if said["unseen"] else 0)
    assert ran.returncode == said["exit_status"] == wanted, ran.stdout
    assert not said["unseen"], said["unseen"]
    found: Seen = {}
    for one in said["findings"]:
        found.setdefault(one["name"], []).append(one)
    return found


def sees(name: str, severity: str, words: str, *options: str) -> Seen:
    """A hazard is found with this severity and these words."""
    found = look(*options)
    assert name in found, f"{name} is not among {sorted(found)}"
    for one in found[name]:
        note(f"{name}: {one['what']}")
    note(f"beside it: {', '.join(sorted(found.keys() - {name})) or 'nothing'}")
    meant = [one for one in found[name] if words in one["what"]]
    assert meant and meant[0]["severity"] == severity, found[name]
    return found


def alone(name: str, severity: str, words: str, *options: str) -> None:
    """The same, and nothing else is found."""
    found = sees(name, severity, words, *options)
    assert list(found) == [name], sorted(found)


def mended(name: str) -> None:
    """Its own command mends it: it is run as it stands."""
    command = look()[name][0]["mend"]
    run(command)
    host.wait_for(f"`{command}` mends {name}", lambda: name not in look(), 120)


def holds_both() -> bool:
    return host.holds(VIP) and f" {VIP6}/" in run(f"ip -6 -o address show dev {DUMMY}", check=False)


def begin() -> None:
    """The healthy host, whatever a failed check left."""
    host.cable_up()
    if host.is_active("firewalld.service"):
        run("systemctl disable --now firewalld")
    OTHER.unlink(missing_ok=True)
    CONF.unlink(missing_ok=True)
    CONF.write_text("# all defaults\n")
    same = KEEPALIVED.exists() and KEEPALIVED.read_text() == TEXT
    host.write(KEEPALIVED, TEXT)
    if not host.is_active("keepalived-dummy.service"):
        run("systemctl restart keepalived-dummy.service")
    run("keepalived-dummy apply")
    if not same or not host.is_active("keepalived.service"):
        run("systemctl reset-failed keepalived; systemctl restart keepalived")
    elif not holds_both():
        time.sleep(2)
        if not holds_both():
            run("systemctl restart keepalived")
    host.wait_for("the VIPs are there", holds_both)


def conf(old: str, new: str, reload: bool = True) -> None:
    """keepalived.conf with a change."""
    assert old in TEXT, old
    host.write(KEEPALIVED, TEXT.replace(old, new))
    if reload:
        run("systemctl reload keepalived")
        time.sleep(1)


@contextlib.contextmanager
def undone(*commands: str) -> Iterator[None]:
    """Run some commands afterwards, whatever happens."""
    try:
        yield
    finally:
        for command in commands:
            run(command, check=False)


@contextlib.contextmanager
def seen_by_ipv6() -> Iterator[None]:
    """The client on the LAN has an IPv6 address, and the host a route to it."""
    network = "2001:db8::/64"
    with undone(
        f"ip -6 route del {network} dev {UPLINK}",
        f"ip -n {LAN} address del 2001:db8::100/64 dev {CABLE}",
    ):
        run(f"ip -n {LAN} address add 2001:db8::100/64 dev {CABLE} nodad")
        run(f"ip -6 route replace {network} dev {UPLINK}")
        assert host.reachable(VIP6), "the VIP is not reached"
        yield


def unattended() -> contextlib.AbstractContextManager[None]:
    """Nobody puts right what is broken."""
    run("systemctl stop keepalived-dummy.service")
    return undone("systemctl start keepalived-dummy.service")


@contextlib.contextmanager
def file(path: Path, text: str, mode: int = 0o600) -> Iterator[None]:
    """A file of somebody else."""
    host.write(path, text, mode)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def taken_for_one() -> tuple[str, str]:
    """A finding that is there on every host."""
    path = f"{PROGRAM}/findings/units.py"
    change = f"sed -i 's/if not facts.seen.daemon.running and/if/' {path}"
    return f"cp {path} {path}.orig && {change}", f"mv {path}.orig {path}"


@check(*taken_for_one())
def nothing_on_a_healthy_host() -> None:
    """Not with a probe either."""
    assert look("--probe") == {}
    assert run("keepalived-dummy check") == "OK 2 VIPs, 1 dummy, no hazard found\n"


@check(
    without=f"cp {PROGRAM}/check.py {PROGRAM}/check.py.orig && sed -i 's/UNKNOWN if any(unseen)/0 if any(unseen)/'"
    f" {PROGRAM}/check.py",
    back=f"mv {PROGRAM}/check.py.orig {PROGRAM}/check.py",
)
def could_not_tell_without_privilege() -> None:
    """Who may not look is told so, and what can be seen is judged."""
    command = "runuser -u nobody -- /usr/sbin/keepalived-dummy check"
    assert host.status(command) == 3, run(command, check=False)
    said = run(command, check=False)
    assert "UNKNOWN the firewall could not be looked at: only root may see it" in said, said
    assert "CRITICAL" not in said and "WARNING" not in said, said


# The VIP


@check(**without("vip", "on_managed_interface"))
def vip_on_managed_interface() -> None:
    conf(f"{VIP}/32 dev {DUMMY}", f"{VIP}/32 dev {UPLINK}")
    sees("vip-on-managed-interface", "critical", f"{VIP} (VI_1) is on {UPLINK}")


@check(**without("vip", "prefix"))
def vip_prefix() -> None:
    conf(f"{VIP}/32", f"{VIP}/24")
    sees("vip-prefix", "warning", "/24")


@check(**without("vip", "broadcast_on_dummy"))
def vip_broadcast() -> None:
    """Its commands, one of them by hand, leave the kernel without the route."""
    broadcast = "192.0.2.255"
    conf(f"{VIP}/32 dev {DUMMY}", f"{VIP}/32 brd {broadcast} dev {DUMMY}", False)
    run("systemctl restart keepalived")
    host.wait_for("the VIPs are there", holds_both)
    alone("vip-broadcast", "warning", f"{VIP} (VI_1) on {DUMMY} has brd {broadcast}")
    show = f"ip route show table local dev {DUMMY} type broadcast"
    assert run(show), "the kernel has no such route"
    host.write(KEEPALIVED, TEXT)
    run("systemctl reload keepalived")
    run(f"ip route del broadcast {broadcast} dev {DUMMY} src {VIP} table local")
    assert not run(show)


@check(**without("vip", "not_tracked"))
def vip_not_tracked() -> None:
    conf(f"{VIP}/32 dev {DUMMY}", f"{VIP}/32 dev {DUMMY} no_track")
    alone("vip-not-tracked", "warning", f"{VIP} (VI_1) on {DUMMY} has no_track")


@check(**without("vip", "device_missing"))
def vip_device_missing() -> None:
    """keepalived would end, so it is not reloaded."""
    conf(
        f"dev {DUMMY}\n    }}\n    virtual_ipaddress_e",
        "dev absent0\n    }\n    virtual_ipaddress_e",
        False,
    )
    sees("vip-device-missing", "critical", "absent0, which is not there and no conf makes")


@check(**without("vip", "lost"))
def vip_lost() -> None:
    """Without IPv6 on its dummy keepalived is MASTER, and the kernel takes no IPv6 VIP."""
    with undone(f"sysctl -w net.ipv6.conf.{DUMMY}.disable_ipv6=0", "systemctl restart keepalived"):
        run(f"sysctl -w net.ipv6.conf.{DUMMY}.disable_ipv6=1")
        host.wait_for("keepalived is MASTER again", lambda: host.holds(VIP))
        sees("vip-lost", "critical", f"{VIP6} (VI_1) is not on {DUMMY}")


@check(**without("vip", "left_behind"))
def vip_left_behind() -> None:
    """One that keepalived knows nothing of, and one whose keepalived was stopped by force."""
    with undone(f"ip address del 192.0.2.77/32 dev {DUMMY}"):
        run(f"ip address add 192.0.2.77/32 dev {DUMMY}")
        alone(
            "vip-left-behind", "critical", f"192.0.2.77 is on {DUMMY}, and no vrrp_instance has it"
        )
    assert look() == {}
    run(
        "systemctl kill --kill-whom=all -s STOP keepalived; systemctl kill -s KILL keepalived; sleep 0.2"
    )
    run("systemctl stop keepalived")
    run(f"ip address replace {VIP}/32 dev {DUMMY}")
    sees("vip-left-behind", "critical", f"{VIP} (VI_1) is on {DUMMY}, and keepalived does not run")


@check(*edited("processes.py", "return NAME in names and", "return False and NAME in names and"))
def another_keepalived_holds_it() -> None:
    """keepalived as a unit of its own, with a file of its own: it is asked, nothing is to be deleted, adopt refuses."""
    other = Path("/root/another.conf")
    start = f"systemd-run --unit=another-keepalived keepalived --dont-fork --use-file={other}"
    ends = ("systemctl stop another-keepalived", f"ip address del {VIP}/32 dev {DUMMY}")
    with file(other, TEXT), undone(*ends):
        run(f"systemctl stop keepalived; {start}")
        host.wait_for("the other keepalived holds the VIPs", holds_both)
        found = look()
        for name, words in (
            (
                "vip-left-behind",
                f"{VIP} (VI_1) is on {DUMMY}, and keepalived.service does not run; another",
            ),
            ("keepalived-not-running", "another keepalived runs"),
        ):
            assert all(one["severity"] == "warning" for one in found[name]), found[name]
            assert any(words in one["what"] for one in found[name]), found[name]
            mends = [one["mend"] for one in found[name]]
            assert mends == [f"keepalived-dummy check --config {other}"] * len(mends), mends
        # Asked, the other one says that it is MASTER, so nothing is left behind.
        seen = look("--config", str(other))
        assert list(seen) == ["keepalived-not-ordered"], seen
        assert "another-keepalived.service is not" in seen["keepalived-not-ordered"][0]["what"]
        ran = run(f"keepalived-dummy adopt --yes --config {other} 2>&1", check=False)
        assert "not as keepalived.service" in ran, ran
        # In another network namespace it holds nothing here, and adopt refuses for that.
        run("systemctl stop another-keepalived; ip netns add hazards")
        with undone("systemctl stop another-keepalived", "ip netns del hazards"):
            for name in (UPLINK, DUMMY):
                run(f"ip -n hazards link add {name} type dummy && ip -n hazards link set {name} up")
            run(f"ip -n hazards address add {ADDRESS}/24 dev {UPLINK}")
            run(start.replace("--unit", "-p NetworkNamespacePath=/run/netns/hazards --unit"))
            time.sleep(1)
            ran = run(f"keepalived-dummy adopt --yes --config {other} 2>&1", check=False)
            assert "runs in another network namespace" in ran, ran


@check(**without("vip", "elsewhere"))
def vip_elsewhere() -> None:
    """Another host of the LAN has both VIPs; only a probe tells."""
    mac = run(f"ip netns exec {LAN} cat /sys/class/net/{CABLE}/address").strip()
    ends = [
        f"ip -n {LAN} address del {VIP}/32 dev {CABLE}",
        f"ip -n {LAN} address del {VIP6}/128 dev {CABLE}",
    ]
    with undone(*ends):
        run(f"ip -n {LAN} address add {VIP}/32 dev {CABLE}")
        assert look() == {}
        sees(
            "vip-elsewhere",
            "critical",
            f"{VIP} on the LAN of {UPLINK} is answered by {mac}",
            "--probe",
        )
        run(ends[0])
        run(f"ip -n {LAN} address add {VIP6}/128 dev {CABLE} nodad")
        alone(
            "vip-elsewhere",
            "critical",
            f"{VIP6} on the LAN of {UPLINK} is answered by {mac}",
            "--probe",
        )


# The dummy


@check(**without("dummy", "missing"))
def dummy_missing() -> None:
    with unattended():
        run(f"ip link del {DUMMY}")
        sees("dummy-missing", "critical", f"{DUMMY} is not there")
        mended("dummy-missing")


@check(**without("dummy", "another_kind"))
def dummy_of_another_kind() -> None:
    with unattended(), undone(f"ip link del {DUMMY}"):
        run(f"ip link del {DUMMY} && ip link add {DUMMY} type bridge")
        sees("dummy-of-another-kind", "critical", "is no dummy (bridge)")


@check(**without("dummy", "down"))
def dummy_down() -> None:
    with unattended():
        run(f"ip link set {DUMMY} down")
        sees("dummy-down", "critical", f"{DUMMY} is down")
        mended("dummy-down")


@check(**without("dummy", "noarp"))
def dummy_noarp() -> None:
    with unattended():
        run(f"ip link set {DUMMY} arp off")
        sees("dummy-noarp", "critical", "NOARP")
        mended("dummy-noarp")


@check(**without("dummy", "managed"))
def dummy_managed() -> None:
    """A catch-all, where our .network is masked."""
    mask = NETWORKD / "05-keepalived.network"
    ends = (f"rm -f {mask}", "networkctl reload", "systemctl start keepalived-dummy-generator.path")
    with undone(*ends), file(NETWORKD / "50-all.network", "[Match]\nName=*\n", 0o644):
        run(
            "systemctl stop keepalived-dummy-generator.path; rm -f /run/systemd/network/05-keepalived.network"
        )
        mask.symlink_to("/dev/null")
        run("networkctl reload; sleep 2")
        found = sees("dummy-managed", "critical", f"{DUMMY} is managed by networkd")
        assert found["dummy-managed"][0]["where"] == f"{NETWORKD}/50-all.network", found


@check(**without("dummy", "without_conf"))
def dummy_without_conf() -> None:
    with undone("ip link del hand0"):
        run("ip link add hand0 type dummy && ip link set hand0 up && udevadm settle")
        conf(f"{VIP}/32 dev {DUMMY}", f"{VIP}/32 dev hand0")
        sees("dummy-without-conf", "critical", "hand0 holds VIPs")
        run("ip link set hand0 arp on")
        sees("dummy-without-conf", "warning", "hand0 holds VIPs")


@check(**without("dummy", "ipv6_off"))
def ipv6_off() -> None:
    """On the uplink, by a setting; on the dummy, by its MTU."""
    with undone(f"sysctl -w net.ipv6.conf.{UPLINK}.disable_ipv6=0"):
        run(f"sysctl -w net.ipv6.conf.{UPLINK}.disable_ipv6=1")
        sees("ipv6-off", "critical", f"{UPLINK} has IPv6 switched off")
    with undone(
        f"ip link set {DUMMY} mtu 1500", f"ip link set {DUMMY} down; ip link set {DUMMY} up"
    ):
        run(f"ip link set {DUMMY} mtu 1000")
        sees("ipv6-off", "critical", f"{DUMMY} has no IPv6 with its MTU of 1000")


# keepalived


@check(**without("keepalived", "not_pinned"))
def source_not_pinned() -> None:
    conf(f"    mcast_src_ip {ADDRESS}\n", "")
    alone("source-not-pinned", "warning", "vrrp_instance VI_1 has no mcast_src_ip")


@check(**without("keepalived", "source_gone"))
def source_gone() -> None:
    conf(f"mcast_src_ip {ADDRESS}", "mcast_src_ip 192.0.2.99")
    alone("source-gone", "critical", "192.0.2.99, the source of VI_1, is no address of this host")


@check(**without("keepalived", "old"))
def keepalived_old() -> None:
    """No release has one that old any more: a program that says what 1.3.9 said."""
    path = Path("/usr/local/sbin/keepalived")
    said = "Keepalived v1.3.9 (10/21,2017)"
    text = f'#!/bin/sh\n[ "$1" = --version ] && {{ echo "{said}" >&2; exit; }}\nexec /usr/sbin/keepalived "$@"\n'
    with file(path, text, 0o755):
        alone("keepalived-old", "warning", "keepalived is 1.3.9")


@check(**without("keepalived", "not_ordered"))
def keepalived_not_ordered() -> None:
    """Both units say it; so both have to be out of the way."""
    folder = "/etc/systemd/system/keepalived.service.d"
    ends = (
        f"rm -r {folder}",
        "systemctl unmask --runtime keepalived-dummy.service",
        "systemctl daemon-reload",
    )
    with undone(*ends, "systemctl start keepalived-dummy.service"):
        run(f"mkdir -p {folder} && ln -s /dev/null {folder}/keepalived-dummy.conf")
        run("systemctl mask --runtime --now keepalived-dummy.service && systemctl daemon-reload")
        sees("keepalived-not-ordered", "warning", "is not ordered after keepalived-dummy.service")


@check(**without("keepalived", "in_namespace"))
def keepalived_in_namespace() -> None:
    """It goes by that at its next start, so it is not reloaded."""
    conf("global_defs {", "net_namespace lb\nglobal_defs {", False)
    alone("keepalived-in-namespace", "critical", "keepalived runs in the network namespace lb")


@check(**without("keepalived", "not_running"))
def keepalived_not_running() -> None:
    run("systemctl stop keepalived")
    alone("keepalived-not-running", "critical", "keepalived.service does not run")
    mended("keepalived-not-running")


@check(**without("keepalived", "in_fault"))
def instance_in_fault() -> None:
    """The cable is out."""
    ends = (f"ip -n {LAN} link set {CABLE} up", f"networkctl reconfigure {UPLINK}", "sleep 2")
    with undone(*ends):
        run(f"ip -n {LAN} link set {CABLE} down")
        time.sleep(1)
        sees("instance-in-fault", "critical", "vrrp_instance VI_1 is in FAULT")


@check(**without("dummy", "another_vrf"))
def dummy_in_another_vrf() -> None:
    """The uplink goes to a VRF while no daemon runs; the dummy, which holds VIPs, does not."""
    move = f"ip link add blue type vrf table 1007 && ip link set blue up && ip link set {UPLINK} master blue"
    back = f"ip link delete blue; sleep 1; networkctl reconfigure {UPLINK}"
    with undone(f"ip -n {LAN} address del 2001:db8::100/64 dev {CABLE}", back):
        run(f"ip -n {LAN} address add 2001:db8::100/64 dev {CABLE} nodad")
        run(f"systemctl stop keepalived-dummy && {move}")
        time.sleep(3)  # for keepalived the uplink is down for a moment
        host.wait_for("the VIPs are there", holds_both)
        run(f"ip -6 route replace 2001:db8::/64 dev {UPLINK} table 1007")
        assert not host.reachable(VIP6), "the VIP is reached from another VRF"
        what = f"{DUMMY} is in no VRF, and its uplink {UPLINK} in VRF blue"
        sees("dummy-in-another-vrf", "critical", what)
        mended("dummy-in-another-vrf")
        host.wait_for("both VIPs are reached", lambda: all(map(host.reachable, (VIP, VIP6))))


# The uplink


@check(**without("uplink", "missing"))
def uplink_missing() -> None:
    CONF.write_text("[Uplink]\nName=absent0\n")
    sees("uplink-missing", "critical", f"absent0, the uplink of {DUMMY}, is not there")


def way_out() -> dict[str, Any]:
    """What status says of the uplink's IPv4 way out; with a conf that has just changed the daemon reads it anew."""
    said = json.loads(run("keepalived-dummy status --json"))
    ways = [way for link in said["uplinks"] if link["name"] == UPLINK for way in link["ways"]]
    return next((way for way in ways if way["family"] == 4), {"known": 0})


@check(**without("uplink", "without_address"))
def uplink_without_address() -> None:
    """The way out is in use, and where there is none it is worse."""
    ends = (f"ip address replace {ADDRESS}/24 dev {UPLINK}", f"networkctl reconfigure {UPLINK}")
    host.wait_for("the daemon knows the way out", lambda: way_out()["known"])
    with undone(*ends):
        run(f"ip -4 address flush dev {UPLINK}")
        time.sleep(1)
        alone("uplink-without-address", "warning", "the way out is in use since 20")
        CONF.write_text("[Uplink]\nWayOut=no\n")
        run("keepalived-dummy apply; systemctl reload keepalived-dummy; sleep 3")
        found = sees("uplink-without-address", "critical", "the way out is not in use")
        assert sorted(found) == ["instance-cannot-hear", "uplink-without-address"]


@check(**without("keepalived", "cannot_hear"))
def instance_cannot_hear() -> None:
    """Without a route it holds its VIPs until keepalived starts anew; then it is in FAULT, and back with its address."""
    ends = (f"ip address replace {ADDRESS}/24 dev {UPLINK}", f"networkctl reconfigure {UPLINK}")
    CONF.write_text("[Uplink]\nWayOut=no\n")
    run("keepalived-dummy apply; systemctl reload keepalived-dummy; sleep 3")
    with undone(*ends):
        run(f"ip -4 address flush dev {UPLINK}; sleep 1")
        sees(
            "instance-cannot-hear", "critical", f"VI_1 can't hear its peers: {UPLINK} does not have"
        )
        assert holds_both()
        run("systemctl restart keepalived; sleep 4")
        found = sees("instance-cannot-hear", "critical", "can't hear its peers")
        assert "instance-in-fault" in found, sorted(found)
        assert "dummy-down" not in found, sorted(found)
        assert not holds_both()
    host.wait_for("the VIPs are back", holds_both, 20)
    assert "instance-cannot-hear" not in look()


@check(**without("uplink", "without_link_local"))
def uplink_without_link_local() -> None:
    """The VIP is answered for, over the wire, but its replies find no neighbour."""
    found = run(f"ip -6 -o address show dev {UPLINK} scope link").split()[3]
    back = f"ip address replace {found} dev {UPLINK} nodad; ip neighbour flush dev {UPLINK}"
    with seen_by_ipv6(), undone(back):
        run(f"ip address del {found} dev {UPLINK}; ip neighbour flush dev {UPLINK}; sleep 1")
        assert not host.reachable(VIP6), "the VIP is reached without a link-local address"
        alone("uplink-without-link-local", "critical", f"{UPLINK} has no IPv6 link-local address")
        run(back)
        host.wait_for("the VIP is reached again", lambda: host.reachable(VIP6))
        assert look() == {}


@check(**without("uplink", "noarp"))
def uplink_noarp() -> None:
    with undone(f"ip link set {UPLINK} arp on"):
        run(f"ip link set {UPLINK} arp off")
        sees("uplink-noarp", "critical", f"{UPLINK} has ARP off")
        mended("uplink-noarp")


@check(**without("uplink", "arp_ignore"))
def arp_ignore() -> None:
    """Nobody answers then; and with the wire it does not matter on the uplink."""
    setting = "net.ipv4.conf.{}.{}={}".format
    ends = [f"sysctl -w {setting(n, 'arp_ignore', 0)}" for n in ("all", UPLINK)]
    asked = f"ip netns exec {LAN} arping -q -c 2 -w 3 -I {CABLE} {VIP}"
    with undone(*ends, f"sysctl -w {setting('all', 'arp_filter', 0)}"):
        assert host.status(asked) == 0, "the VIP is not answered"
        run(f"sysctl -w {setting('all', 'arp_ignore', 2)}; sleep 2")
        assert host.status(asked) != 0, "the VIP is answered with arp_ignore 2 on all"
        alone("arp-ignore", "critical", "net.ipv4.conf.all.arp_ignore keeps VIPs")
        run(
            f"{ends[0]}; sysctl -w {setting(UPLINK, 'arp_ignore', 1)}; keepalived-dummy apply; sleep 2"
        )
        assert host.status(asked) == 0, "the VIP is not answered over the wire"
        assert look() == {}
        run(f"sysctl -w {setting('all', 'arp_filter', 1)}")
        assert host.status(asked) != 0, "the VIP is answered with arp_filter"
        alone("arp-ignore", "critical", "net.ipv4.conf.all.arp_filter keeps VIPs")
        run(f"sysctl -w {setting('all', 'arp_filter', 0)}")
        CONF.write_text("[Uplink]\nWire=no\n")
        run("keepalived-dummy apply; sleep 2")
        assert host.status(asked) != 0, "the VIP is answered without a wire"
        sees("arp-ignore", "critical", f"net.ipv4.conf.{UPLINK}.arp_ignore keeps VIPs")


@check(**without("uplink", "rp_filter"))
def rp_filter() -> None:
    """Strict, and the default route on another interface."""
    was = run(f"sysctl -n net.ipv4.conf.all.rp_filter net.ipv4.conf.{UPLINK}.rp_filter").split()
    ends = (
        f"sysctl -w net.ipv4.conf.all.rp_filter={was[0]} net.ipv4.conf.{UPLINK}.rp_filter={was[1]}",
        "ip link del away0",
    )
    with undone(*ends):
        run(
            "ip link add away0 type dummy && ip address add 198.51.100.1/24 dev away0 && ip link set away0 up"
        )
        run("ip route add default via 198.51.100.2 dev away0 metric 1")
        assert look() == {}
        run(f"sysctl -w net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.{UPLINK}.rp_filter=1")
        alone(
            "rp-filter",
            "warning",
            f"{UPLINK} has a strict rp_filter, and the default route is on away0",
        )


# Routing rules


@check(**without("routing", "main_rule_missing"))
def main_rule_missing() -> None:
    """All addresses and routes are there, and nobody is answered."""
    back = "ip rule show | grep -q '^32766:' || ip rule add pref 32766 lookup main"
    with undone(back):
        run("ip rule del pref 32766")
        assert not host.reachable(VIP), "the VIP is reached without a rule for the main table"
        sees("main-rule-missing", "critical", "no IPv4 rule that a packet gets to")
        mended("main-rule-missing")
        host.wait_for("the VIP is reached again", lambda: host.reachable(VIP))


# The wire


@check(**without("wire", "broken"))
def wire_broken() -> None:
    with unattended():
        run(f"tc filter del dev {UPLINK} ingress")
        sees("wire-broken", "critical", f"the wire of {DUMMY} lacks ")
        run(f"tc qdisc del dev {UPLINK} clsact; tc qdisc del dev {DUMMY} clsact")
        sees("wire-broken", "critical", f"the wire of {DUMMY} is missing")
        mended("wire-broken")


@check(**without("wire", "lacks_modules"))
def kernel_lacks_modules() -> None:
    """Its file is away, as with a kernel package of which half was installed."""
    path = run("modinfo -n act_pedit").strip()
    with unattended(), undone(f"mv {path}.away {path}"):
        run(f"tc qdisc del dev {UPLINK} clsact; tc qdisc del dev {DUMMY} clsact; sleep 1")
        run(f"modprobe -r act_pedit && mv {path} {path}.away")
        sees("kernel-lacks-modules", "critical", "this kernel has no act_pedit")


@check(**without("wire", "in_front"))
def filter_in_front() -> None:
    """Each kind that is understood; and one that passes on what it saw is none."""
    add = f"tc filter add dev {UPLINK} ingress pref 10"
    off = f"tc filter del dev {UPLINK} ingress pref 10"
    taking = (
        "protocol ipv6 flower ip_proto icmpv6 action pass",
        "protocol all matchall action pass",
        "protocol ipv6 u32 match u8 135 0xff at 40 action drop",
    )
    passing = (
        "protocol ipv6 flower ip_proto icmpv6 action continue",
        "protocol ipv6 flower ip_proto tcp action pass",
        "protocol ipv6 u32 match u8 128 0xff at 40 action drop",
        "protocol ip matchall action pass",
    )
    answered = f"ip netns exec {LAN} ndisc6 -q -1 -r 2 -w 1500 {VIP6} {CABLE}"
    with undone(off):
        for words in taking:
            run(f"{add} {words}")
            assert host.status(answered) != 0, f"{words}: the VIP is answered"
            alone(
                "filter-in-front", "critical", f"filter at ingress pref 10 of {UPLINK} takes IPv6"
            )
            mended("filter-in-front") if words == taking[0] else run(off)
        for words in passing:
            run(f"{add} {words}")
            assert host.status(answered) == 0, f"{words}: the VIP is not answered"
            assert look() == {}, words
            run(off)


@check(**without("wire", "unfit"))
def uplink_unfit() -> None:
    CONF.write_text("[Uplink]\nName=lo\n")
    sees("uplink-unfit", "critical", "lo is no Ethernet interface")


@check(**without("wire", "unknown"))
def uplink_unknown() -> None:
    OTHER.write_text(f"[Interface]\nName={SECOND}\n")
    with undone(f"ip link del {SECOND}"):
        run(f"keepalived-dummy apply && ip address add 192.0.2.11/32 dev {SECOND}")
        sees("uplink-unknown", "warning", f"{SECOND}: no uplink yet")


@check(**without("wire", "not_joined"))
def group_not_joined() -> None:
    """With the daemon its sockets go, and what they joined."""
    with unattended():
        sees(
            "group-not-joined",
            "warning",
            f"{UPLINK} did not join the solicited-node group of {VIP6}",
        )
        mended("group-not-joined")


# The firewall


@contextlib.contextmanager
def ruleset(text: str) -> Iterator[None]:
    """A ruleset of nft."""
    with (
        file(Path("/run/hazards.nft"), text),
        undone("nft delete table inet t", "nft delete table arp t"),
    ):
        run("nft -f /run/hazards.nft")
        yield


ON_UPLINK_ALONE = f"""table inet t {{
    chain input {{
        type filter hook input priority 0; policy drop;
        ct state vmap {{ established : accept, related : accept, invalid : drop }}
        iifname "lo" accept
        meta l4proto icmp accept
        meta l4proto vrrp accept
        tcp dport 22 accept
        iifname "{UPLINK}" icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
    }}
}}
"""


def answers_nd() -> bool:
    return host.status(f"ip netns exec {LAN} ndisc6 -q -1 -r 2 -w 1500 {VIP6} {CABLE}") == 0


@check(**without("firewall", "neighbour_discovery"))
def firewall_drops_neighbour_discovery() -> None:
    """Accepted on the uplink alone; the command it gives makes the VIP answered."""
    assert answers_nd(), "the VIP is not answered"
    with ruleset(ON_UPLINK_ALONE):
        assert not answers_nd(), "the VIP is answered"
        name = "firewall-drops-neighbour-discovery"
        alone(name, "critical", f"nft: inet t input drops neighbour solicitations from {DUMMY}")
        mended(name)
        assert answers_nd(), "the VIP is not answered yet"


@check(**without("firewall", "vrrp"))
def firewall_drops_vrrp() -> None:
    with ruleset(
        ON_UPLINK_ALONE.replace("meta l4proto vrrp", "udp dport 112").replace(
            f'iifname "{UPLINK}"', ""
        )
    ):
        alone("firewall-drops-vrrp", "critical", f"drops VRRP that comes in on {UPLINK}")
        mended("firewall-drops-vrrp")


@check(**without("firewall", "arp"))
def firewall_drops_arp() -> None:
    asked = f"ip netns exec {LAN} arping -q -c 2 -w 3 -I {CABLE} {VIP}"
    rules = "table arp t {\n chain i {\n  type filter hook input priority 0; policy drop;\n }\n}\n"
    assert host.status(asked) == 0, "the VIP is not answered"
    with ruleset(rules):
        assert host.status(asked) != 0, "the VIP is answered"
        alone(
            "firewall-drops-arp",
            "critical",
            f"nft: arp t i drops ARP requests that come in on {UPLINK}",
        )
        mended("firewall-drops-arp")
        assert host.status(asked) == 0, "the VIP is not answered yet"


@check(**without("firewall", "vips"))
def firewall_drops_vips() -> None:
    """The example of nft(8) for the fib expression: what is not addressed to an address of the incoming interface."""
    rules = """table inet t {
    chain prerouting {
        type filter hook prerouting priority -300;
        fib daddr . iif type != { local, broadcast, multicast } drop
    }
}
"""
    with seen_by_ipv6(), ruleset(rules):
        assert not host.reachable(VIP) and not host.reachable(VIP6), "a VIP is reached"
        assert host.reachable(ADDRESS), "the uplink's own address is not"
        what = f"nft: inet t prerouting drops what comes in on {UPLINK} for {VIP}"
        found = sees("firewall-drops-vips", "critical", what)
        assert list(found) == ["firewall-drops-vips"], sorted(found)
        for one in found["firewall-drops-vips"]:
            run(one["mend"])
        assert look() == {}
        assert host.reachable(VIP) and host.reachable(VIP6), "a VIP is not reached yet"


@check(*edited("findings/permit.py", 'chain.table == "firewalld"', "False"))
def firewalld_changes_its_own_table() -> None:
    """From firewalld 2.2 on nobody else can; before, what others put there is gone at its next reload."""
    ends = ("firewall-cmd --permanent --zone=public --remove-protocol=vrrp",)
    with undone(*ends, "systemctl stop firewalld"):
        run("systemctl start firewalld")
        run(f"firewall-cmd --zone=public --change-interface={UPLINK}")
        sees("firewall-drops-vrrp", "critical", "nft: inet firewalld")
        command = look()["firewall-drops-vrrp"][0]["mend"]
        run(command)
        run(f"firewall-cmd --reload; firewall-cmd --zone=public --change-interface={UPLINK}")
        assert "firewall-drops-vrrp" not in look(), command
        with seen_by_ipv6():
            assert host.reachable(VIP) and host.reachable(VIP6), "a VIP is not reached"


@check(**without("firewall", "neighbour_discovery"))
def firewall_drops_neighbour_discovery_by_its_route() -> None:
    """A strict reverse path for IPv6, as the kernel itself has for IPv4 alone."""
    rules = """table inet t {
    chain prerouting {
        type filter hook prerouting priority -300;
        meta nfproto ipv6 fib saddr . iif oif missing drop
    }
}
"""
    with ruleset(rules):
        assert not answers_nd(), "the VIP is answered"
        name = "firewall-drops-neighbour-discovery"
        alone(
            name, "critical", f"nft: inet t prerouting drops neighbour solicitations from {DUMMY}"
        )
        mended(name)
        assert answers_nd(), "the VIP is not answered yet"


# Files and units


@check(**without("units", "daemon"))
def daemon_not_running() -> None:
    with unattended():
        sees("daemon-not-running", "critical", "keepalived-dummy.service does not run")
        mended("daemon-not-running")


@check(**without("units", "netdev_twice"))
def netdev_twice() -> None:
    path = NETWORKD / "80-mine.netdev"
    with file(path, f"[NetDev]\nName={DUMMY}\nKind=dummy\n", 0o644):
        alone("netdev-twice", "warning", f"{path} has Name={DUMMY}")
        mended("netdev-twice")


@check(**without("units", "in_netplan"))
def dummy_in_netplan() -> None:
    text = f"network:\n  version: 2\n  dummy-devices:\n    {DUMMY}:\n      addresses: [198.51.100.9/32]\n"
    with file(Path("/etc/netplan/90-mine.yaml"), text):
        alone("dummy-in-netplan", "warning", f"{DUMMY} is netplan's too")


@check(**without("units", "in_network_manager"))
def dummy_in_network_manager() -> None:
    text = f"[connection]\nid=mine\ntype=dummy\ninterface-name={DUMMY}\n"
    with file(Path("/etc/NetworkManager/system-connections/mine.nmconnection"), text):
        alone("dummy-in-network-manager", "warning", f"{DUMMY} is NetworkManager's too")


@check(**without("units", "conf_twice"))
def conf_twice() -> None:
    OTHER.write_text(f"[Interface]\nName={DUMMY}\n")
    alone("conf-twice", "warning", f"Name={DUMMY} found, which {CONF} has already")


@check(**without("units", "conf_wrong"))
def conf_wrong() -> None:
    OTHER.write_text("[Interface]\nNmae=x\n")
    alone("conf-wrong", "warning", "unknown key 'Nmae'")


@check(*taken_for_one())
def nothing_after_all_of_it() -> None:
    """What was undone is seen no more."""
    host.wait_for("nothing is found any more", lambda: look() == {}, 60)


if __name__ == "__main__":
    sys.exit(checks.main(begin))
