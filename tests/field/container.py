# SPDX-License-Identifier: MIT
"""The image of an image build, booted as a container by systemd-nspawn on a host with no package of ours."""

from __future__ import annotations

import shlex

import client
from client import VIPS
from cloud import held
from guest import Guest, wait_for
from life import KEEPALIVED
from report import Report

TREE = "/var/lib/machines/box"
NETPLAN = """\
network:
  version: 2
  ethernets:
    host0:
      addresses: [192.0.2.5/24, "2001:db8::5/64"]
      accept-ra: false
"""
# networkd of the host would take the container's cable for its own: it goes to where the client is.
LAN = "ip netns add lan && ip -n lan link set lo up"
JOIN = """\
ip link set ve-box netns lan && ip -n lan link set ve-box up &&
ip -n lan addr add 192.0.2.100/24 dev ve-box && ip -n lan addr add 2001:db8::64/64 dev ve-box nodad
"""
COMMANDS = (
    "netplan generate && networkctl reload",
    "systemctl restart systemd-networkd",
    "networkctl reconfigure host0",
)
POSTINST = "/var/lib/dpkg/info/keepalived-dummy.postinst configure"


class Box(Guest):
    """The container on a guest."""

    def status(self, command: str, timeout: float = 600, stdin: str = "") -> tuple[int, str]:
        """Run a shell command in the container: its exit status, and what it printed, errors too."""
        words = f"systemd-run -q --wait --pipe -M box /bin/bash -c {shlex.quote('exec 2>&1; ' + command)}"
        return super().status(words, timeout, stdin)


def boot(guest: Guest, box: Box, more: str = "") -> None:
    """Boot the container, `more` said to nspawn."""
    nspawn = f"systemd-nspawn -q -M box -D {TREE} --network-veth --link-journal=no --boot {more}"
    guest.run(
        f"systemd-run -q --unit=box -p KillMode=mixed -p Type=notify -p TimeoutStartSec=300 {nspawn} --notify-ready=yes"
    )
    guest.run(JOIN)


def running(box: Box) -> None:
    """Wait for the daemon in the container."""
    wait_for("the daemon runs", lambda: box.status("systemctl is-active keepalived-dummy")[0] == 0)


def power_off(guest: Guest) -> None:
    """End the container."""
    guest.run("machinectl poweroff box")
    wait_for("the container is down", lambda: guest.status("machinectl show box")[0])


def starts(guest: Guest, box: Box) -> str:
    """The container boots, makes its dummy, and the daemon keeps it."""
    guest.run("apt-get update && apt-get -y --no-install-recommends install systemd-container")
    guest.run(
        f"mkdir -p {TREE} && mount /dev/vdb {TREE} && cat > {TREE}/etc/netplan/10-uplink.yaml",
        stdin=NETPLAN,
    )
    guest.run(f"chmod 600 {TREE}/etc/netplan/10-uplink.yaml")
    guest.run(LAN)
    boot(guest, box)
    running(box)
    link = box.run("ip -br link show dev keepalived0")
    assert ",UP," in link, link
    failed = box.run(
        "systemctl list-units --failed --no-legend --plain 'keepalived-dummy*'"
    ).strip()
    assert not failed, failed
    return box.run("systemd-detect-virt").strip()


def serves(guest: Guest, box: Box) -> str:
    """keepalived in the container, its VIPs on the dummy and reachable from outside it."""
    wait_for(
        "the uplink has its address",
        lambda: " 192.0.2.5/" in box.run("ip -o -4 address show host0"),
    )
    box.write("/etc/keepalived/keepalived.conf", KEEPALIVED.replace("ens3", "host0"))
    box.run("systemctl restart keepalived")
    wait_for("the client reaches both VIPs", lambda: client.all_answered(guest))
    with client.pinging(guest, box) as seen:
        box.run("keepalived-dummy adopt --yes")
    assert held(box) == list(VIPS), box.run("ip -o address")
    wait_for("the client reaches both VIPs", lambda: client.all_answered(guest))
    assert not seen.states, seen
    return str(seen)


def survives(guest: Guest, box: Box, command: str) -> str:
    """The client notices nothing of it."""
    with client.pinging(guest, box) as seen:
        box.run(command)
        wait_for(
            "the uplink has its address",
            lambda: " 192.0.2.5/" in box.run("ip -o -4 address show host0"),
        )
    assert seen.lost() == 0 and not seen.states, seen
    assert held(box) == list(VIPS)
    return str(seen)


def without_privilege(guest: Guest) -> str:
    """Where the container may not touch its links the package still installs, and says what it could not do."""
    power_off(guest)
    nspawn = (
        f"systemd-nspawn -q -M bare -D {TREE} --private-network --drop-capability=CAP_NET_ADMIN"
    )
    guest.run(f"{nspawn} /bin/bash -c {shlex.quote(POSTINST)}")
    status, said = guest.status(f"{nspawn} keepalived-dummy apply")
    assert status == 1 and "keepalived0" in said, f"{status}: {said}"
    return next(line for line in said.splitlines() if "keepalived0" in line)[:120]


def in_user_namespace(guest: Guest, box: Box) -> str:
    """Unprivileged, the usual one of LXC and Incus: the kernel refuses realtime scheduling, and all else is as ever.

    Without the package's systemd.generator(7) the daemon does not start there: so this can fail.
    """
    users = "--private-users=pick --private-users-ownership=auto"
    generators = f"{TREE}/etc/systemd/system-generators"
    guest.run(f"mkdir -p {generators} && ln -s /dev/null {generators}/keepalived-dummy")
    boot(guest, box, users)
    wait_for("systemd refuses to start the daemon", lambda: refused(box))
    power_off(guest)
    guest.run(f"rm {generators}/keepalived-dummy")
    boot(guest, box, users)
    running(box)
    assert box.status("systemd-detect-virt --private-users")[0] == 0
    wait_for("the client reaches both VIPs", lambda: client.all_answered(guest))
    shown = box.run(
        "systemctl show --value -p NRestarts -p CPUSchedulingPolicy keepalived-dummy"
    ).split()
    assert shown == ["0", "0"], f"policy and restarts: {shown}"
    return survives(guest, box, "systemctl restart systemd-networkd")


def refused(box: Box) -> bool:
    """Whether the daemon's unit ended for its scheduling policy, EXIT_SETSCHEDULER in systemd.exec(5)."""
    shown = box.run("journalctl -q --no-pager -b -u keepalived-dummy.service")
    return "status=214/SETSCHEDULER" in shown


def test(guest: Guest, report: Report) -> None:
    """A host that knows nothing of us, and the container."""
    guest.wait_for_agent()
    guest.booted()
    box = Box(guest.folder, guest.process, guest.agent)
    report.step("the container boots", lambda: starts(guest, box))
    report.step("adopt", lambda: serves(guest, box))
    # netplan apply wants a udev to reload, and none runs in a container.
    for command in COMMANDS:
        report.step(command, lambda command=command: survives(guest, box, command))  # type: ignore[misc]
    report.step("a container with no CAP_NET_ADMIN", lambda: without_privilege(guest))
    report.step("a container with users of its own", lambda: in_user_namespace(guest, box))
