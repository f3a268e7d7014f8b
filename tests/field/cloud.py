# SPDX-License-Identifier: MIT
"""First boot by cloud-init with examples/cloud-init as user-data: one host, and a pair."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import client
from client import VIPS
from guest import Guest, wait_for
from report import Report

EXAMPLES = Path(__file__).resolve().parents[2] / "examples/cloud-init"
PLACEHOLDER = "archive-key.asc of your repository"


def user_data(example: str, key: str) -> str:
    """The example as an organisation would use it: with its own key, and not a byte else changed."""
    text = (EXAMPLES / example).read_text()
    head, _, tail = text.partition("        -----BEGIN PGP PUBLIC KEY BLOCK-----\n")
    placeholder, end, tail = tail.partition("        -----END PGP PUBLIC KEY BLOCK-----\n")
    assert PLACEHOLDER in placeholder and end, f"{example} has no place for the key"
    return head + "".join(f"        {line}".rstrip() + "\n" for line in key.splitlines()) + tail


def seed_files(example: str, key: str, name: str) -> dict[str, str]:
    """What NoCloud's disk has."""
    meta = f"instance-id: {name}-1\nlocal-hostname: {name}\n"
    return {"meta-data": meta, "user-data": user_data(example, key)}


def first_boot(guest: Guest) -> str:
    """cloud-init did all it was told, with no error."""
    guest.wait_for_agent()
    code, said = guest.status("cloud-init status --wait --long", timeout=900)
    log = "grep -E 'WARN|ERR|Traceback' /var/log/cloud-init.log; grep -vE '^[|+]' /var/log/cloud-init-output.log;"
    log += " head -v -n 30 /etc/apt/sources.list.d/*; apt-get update"
    assert code == 0 and "status: done" in said, f"{said}\n{guest.status(log)[1]}"
    result = json.loads(guest.run("cat /run/cloud-init/result.json"))["v1"]
    assert "NoCloud" in result["datasource"] and not result["errors"], result
    release = guest.run("cloud-init --version 2>&1").split()[-1]
    uptime = float(guest.run("cut -d' ' -f1 /proc/uptime"))
    return f"cloud-init {release}, done {uptime:.0f} s after the kernel started"


def uplink_by_netplan(guest: Guest) -> str:
    """The uplink is networkd's, by DHCP, as netplan rendered it from what cloud-init wrote."""
    netplan = guest.run("cat /etc/netplan/50-cloud-init.yaml")
    assert re.search(r"dhcp4: ?true", netplan), netplan
    files = guest.run("networkctl status --no-pager ens3")
    assert "/run/systemd/network/10-netplan-ens3.network" in files, files
    address = guest.run("ip -4 -o address show dev ens3 dynamic").split()[3]
    return f"ens3 {address} by DHCP"


def packages(guest: Guest) -> str:
    """From the organisation's repository, by its key, with the written conf kept."""
    policy = guest.run("apt-cache policy keepalived-dummy")
    assert "http://packages.example.org stable/main" in policy, policy
    conf = guest.run("cat /etc/keepalived-dummy.d/keepalived.conf")
    assert "Name=ens3" in conf, conf
    versions = "systemd netplan.io keepalived keepalived-dummy"
    found = guest.run(f"dpkg-query -W -f '${{Package}} ${{Version}}, ' {versions}")
    return found.rstrip(", ")


def adopted(guest: Guest) -> str:
    """adopt moved the VIPs to the dummy and pinned the source."""
    conf = guest.run("cat /etc/keepalived/keepalived.conf")
    for word in (
        "192.0.2.10/32 dev keepalived0",
        "2001:db8::10/128 dev keepalived0",
        "mcast_src_ip 192.0.2.",
    ):
        assert word in conf, conf + guest.run("tail -n 60 /var/log/cloud-init-output.log")
    return conf[conf.index("mcast_src_ip") :].splitlines()[0]


def held(guest: Guest) -> list[str]:
    """The VIPs on the guest's dummy."""
    shown = guest.run("ip -o address show dev keepalived0")
    return [vip for vip in VIPS if f" {vip}/" in shown]


def served(guest: Guest) -> str:
    """Both VIPs are on the dummy, on nothing else, and the client reaches them by the uplink's MAC."""
    took = wait_for("the guest holds the VIPs", lambda: len(held(guest)) == len(VIPS))
    uplink = guest.run("ip -o address show dev ens3")
    assert not [vip for vip in VIPS if f" {vip}/" in uplink], uplink
    took += wait_for("the client reaches both VIPs", lambda: client.all_answered(guest))
    mac = guest.run("cat /sys/class/net/ens3/address").strip()
    neighbours = guest.run(f"{client.IN_LAN} ip neighbour")
    for vip in VIPS:
        assert re.search(rf"^{vip} .*lladdr {mac}", neighbours, re.MULTILINE), neighbours
    return f"after {took:.1f} s" if took > 1 else "at once"


def survives(guest: Guest, command: str) -> str:
    """The client notices nothing."""
    with client.pinging(guest) as seen:
        guest.run(command)
        guest.run("timeout 60 /lib/systemd/systemd-networkd-wait-online -i ens3")
    assert seen.lost() == 0 and not seen.states, seen
    assert len(held(guest)) == len(VIPS)
    return str(seen)


def reboot(guest: Guest) -> str:
    """The same after a reboot, with no step of cloud-init's repeated."""
    conf = guest.run("sha256sum /etc/keepalived/keepalived.conf")
    took = guest.reboot()
    guest.booted()
    client.join(guest)
    served(guest)
    assert guest.run("sha256sum /etc/keepalived/keepalived.conf") == conf
    return f"the agent was back after {took:.0f} s"


def control(guest: Guest) -> str:
    """After `revert` the same command does harm: so the steps above can fail."""
    guest.run("keepalived-dummy revert --yes")
    wait_for("the client reaches both VIPs", lambda: client.all_answered(guest))
    with client.pinging(guest) as seen:
        guest.run("netplan apply")
        guest.run("sleep 5")
    assert seen.lost() or seen.states, f"{seen}: the steps before it show nothing"
    return str(seen)


def one_host(guest: Guest, report: Report) -> None:
    """The example for one host."""
    report.step("first boot", lambda: first_boot(guest))
    report.step("uplink by netplan", lambda: uplink_by_netplan(guest))
    report.step("packages from the repository", lambda: packages(guest))
    report.step("adopt in runcmd", lambda: adopted(guest))
    client.join(guest)
    report.step("served on IPv4 and IPv6", lambda: served(guest))
    report.step("netplan apply", lambda: survives(guest, "netplan apply"))
    report.step("after a reboot", lambda: reboot(guest))
    report.step("netplan apply after it", lambda: survives(guest, "netplan apply"))
    report.step("control: VIPs back on the uplink", lambda: control(guest))


def one_master(nodes: list[Guest]) -> tuple[Guest, Guest]:
    """The node that holds the VIPs, and the other, which holds none."""
    wait_for(
        "one node holds both VIPs",
        lambda: sorted(len(held(node)) for node in nodes) == [0, len(VIPS)],
    )
    return (nodes[0], nodes[1]) if held(nodes[0]) else (nodes[1], nodes[0])


def failover_to(nodes: list[Guest], watcher: Guest) -> str:
    """keepalived is stopped on the master: the other takes over, and announces it."""
    master, backup = one_master(nodes)
    with client.pinging(watcher, backup) as seen:
        master.run("systemctl stop keepalived")
        wait_for("the other node holds the VIPs", lambda: len(held(backup)) == len(VIPS))
    master.run("systemctl start keepalived")
    assert one_master(nodes)[0] is backup, "the VIPs went back to the node that was stopped"
    assert seen.gap() < 5000, seen
    return str(seen)


def death(nodes: list[Guest], watcher: Guest) -> str:
    """The master's power is cut."""
    master, backup = one_master(nodes)
    assert master is not watcher, "the client would be gone with it"
    with client.pinging(watcher, backup) as seen:
        master.process.kill()
        wait_for("the other node holds the VIPs", lambda: len(held(backup)) == len(VIPS))
        watcher.run("sleep 1")
    assert "MASTER" in seen.states, seen
    assert seen.gap() < 10000, seen
    return str(seen)


def master_survives(nodes: list[Guest], watcher: Guest) -> str:
    """netplan apply on both nodes at once."""
    _, backup = one_master(nodes)
    with client.pinging(watcher, *nodes) as seen:
        for node in nodes:
            node.run("systemd-run -q netplan apply")
        watcher.run("sleep 8")
    assert seen.lost() == 0 and not seen.states, seen
    assert not held(backup)
    return str(seen)


def pair(nodes: list[Guest], report: Report) -> None:
    """The example for a pair; the client is with the first node, behind whose uplink the router is."""
    watcher = nodes[0]
    for number, node in enumerate(nodes, 1):
        report.step(f"first boot of node {number}", partial(first_boot, node))
        report.step(f"adopt in its runcmd, node {number}", partial(adopted, node))
    client.join(watcher)
    report.step("one master", lambda: f"{one_master(nodes)[0].run('hostname').strip()}")
    wait_for("the client reaches both VIPs", lambda: client.all_answered(watcher))
    report.step("netplan apply on both nodes", lambda: master_survives(nodes, watcher))
    if one_master(nodes)[0] is not watcher:
        report.step("keepalived stopped on the master", lambda: failover_to(nodes, watcher))
    report.step(
        "keepalived stopped on the master, the other one", lambda: failover_to(nodes, watcher)
    )
    report.step("the master's power cut", lambda: death(nodes, watcher))
