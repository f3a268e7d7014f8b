# SPDX-License-Identifier: MIT
"""Hosts whose network is not networkd's: ifupdown and NetworkManager."""

from __future__ import annotations

import client
from apt import SOURCES
from client import VIPS
from cloud import held, served
from guest import Guest, wait_for
from life import KEEPALIVED
from report import Report

INTERFACES = """\
auto lo
iface lo inet loopback

auto ens3
iface ens3 inet static
    address 192.0.2.5/24
iface ens3 inet6 static
    address 2001:db8::5/64
    dad-attempts 0
"""
MANAGER = """\
network:
  version: 2
  renderer: NetworkManager
  ethernets:
    ens3:
      addresses: [192.0.2.5/24, "2001:db8::5/64"]
"""
# The client's NIC is no connection of NetworkManager's.
NOT_OURS = "[keyfile]\nunmanaged-devices=interface-name:ens4\n"
OWN = "192.0.2.5"
ADDRESSES = r"ip -o address show dev ens3 scope global | sed 's/valid_lft.*//'"  # they count down


def install(guest: Guest) -> str:
    """From the archive, harmless: the uplink's own address stays, no service of the network is restarted."""
    services = "systemctl show -p InvocationID networking NetworkManager systemd-networkd"
    before = guest.run(services), guest.run(ADDRESSES)
    guest.run("apt-get -y install keepalived-dummy")
    after = guest.run(services), guest.run(ADDRESSES)
    assert after == before, f"{before} became {after}"
    link = guest.run("ip -br link show dev keepalived0")
    assert ",UP," in link, link
    return "keepalived0 is up, the uplink is as before"


def adopt(guest: Guest) -> str:
    """The VIPs go to the dummy, and are served there."""
    with client.pinging(guest) as seen:
        guest.run("keepalived-dummy adopt --yes")
    served(guest)
    assert not seen.states, seen
    return str(seen)


def outlives(guest: Guest, command: str) -> str:
    """Whatever the command does to the uplink, the VIPs are served from the dummy afterwards."""
    index = guest.run("cat /sys/class/net/keepalived0/ifindex")
    with client.pinging(guest) as seen:
        guest.run(command)
        wait_for(
            "the uplink has its address", lambda: f" {OWN}/" in guest.run("ip -o -4 a show ens3")
        )
        wait_for("both VIPs are held", lambda: len(held(guest)) == len(VIPS))
        wait_for("the client reaches both VIPs", lambda: client.all_answered(guest))
    served(guest)
    assert guest.run("cat /sys/class/net/keepalived0/ifindex") == index, "the dummy was made anew"
    return str(seen)


def reboot(guest: Guest) -> str:
    """Served after it."""
    took = guest.reboot()
    guest.booted()
    client.join(guest)
    return f"the agent was back after {took:.0f} s; served {served(guest)}"


def keepalived(guest: Guest) -> str:
    """keepalived as everybody installs it, its VIPs on the uplink, reachable."""
    wait_for("the uplink has its address", lambda: f" {OWN}/" in guest.run("ip -o -4 a show ens3"))
    guest.run("apt-get -y install keepalived")
    client.join(guest)
    guest.write("/etc/keepalived/keepalived.conf", KEEPALIVED)
    guest.run("systemctl restart keepalived")
    wait_for("the client reaches both VIPs", lambda: client.all_answered(guest))
    return guest.run("dpkg-query -W -f '${Package} ${Version} ' keepalived").strip()


def sources(guest: Guest, key: str) -> None:
    """The repository, as docs/repository.md says."""
    guest.write("/etc/apt/keyrings/keepalived-dummy.asc", key)
    guest.write("/etc/apt/sources.list.d/keepalived-dummy.sources", SOURCES)
    guest.run("apt-get update")


def installed(guest: Guest, key: str, report: Report) -> None:
    """keepalived serves its VIPs, and the package comes from the repository."""
    report.step("keepalived", lambda: keepalived(guest))
    sources(guest, key)
    report.step("install", lambda: install(guest))


def ifupdown(guest: Guest, key: str, report: Report) -> None:
    """A host without netplan and networkd."""
    guest.wait_for_agent()
    guest.booted()
    guest.write("/etc/network/interfaces", INTERFACES)
    guest.run("apt-get update && apt-get -y --no-install-recommends install ifupdown")
    guest.write("/etc/network/interfaces", INTERFACES)
    guest.run(
        "apt-get -y purge netplan.io; systemctl mask systemd-networkd.service systemd-networkd.socket"
    )
    guest.run("systemctl enable networking.service")
    guest.reboot()
    guest.booted()
    assert guest.status("systemctl is-active systemd-networkd")[0], "networkd runs"
    installed(guest, key, report)
    report.step("adopt", lambda: adopt(guest))
    report.step(
        "systemctl restart networking", lambda: outlives(guest, "systemctl restart networking")
    )
    report.step("ifdown and ifup", lambda: outlives(guest, "ifdown ens3; ifup ens3"))
    report.step("after a reboot", lambda: reboot(guest))


def unmanaged(guest: Guest) -> str:
    """NetworkManager leaves the dummy alone, and says so."""
    shown = guest.run("nmcli -t -f DEVICE,TYPE,STATE device")
    assert "keepalived0:dummy:unmanaged" in shown, shown
    assert "ens3:ethernet:connected" in shown, shown
    return "keepalived0:dummy:unmanaged"


def manager(guest: Guest, key: str, report: Report) -> None:
    """A host with netplan's renderer NetworkManager."""
    guest.wait_for_agent()
    guest.booted()
    guest.write("/etc/NetworkManager/conf.d/client.conf", NOT_OURS)
    guest.run("apt-get update && apt-get -y --no-install-recommends install network-manager")
    guest.write("/etc/netplan/10-uplink.yaml", MANAGER)
    guest.run("chmod 600 /etc/netplan/10-uplink.yaml && systemctl disable systemd-networkd")
    guest.reboot()
    guest.booted()
    installed(guest, key, report)
    report.step("unmanaged", lambda: unmanaged(guest))
    report.step("adopt", lambda: adopt(guest))
    report.step("netplan apply", lambda: outlives(guest, "netplan apply"))
    restart = "systemctl restart NetworkManager"
    report.step(restart, lambda: outlives(guest, restart))
    again = "nmcli connection up netplan-ens3"
    report.step(again, lambda: outlives(guest, again))
    report.step("after a reboot", lambda: reboot(guest))
    report.step("unmanaged after it", lambda: unmanaged(guest))
