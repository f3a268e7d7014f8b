# SPDX-License-Identifier: MIT
"""The switch, the client, and pairs of nodes of several forms, side by side on one LAN."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import time
from pathlib import Path

from guest import run, socket_in, stop, wait_for, wipe
from nodes import CLIENT, SWITCH, UPLINK, Node, Plan

VRRP_PROTOCOL = 112


class Lab:
    """The switch, the client, and a pair of nodes for each form."""

    def __init__(self, work: Path, forms: tuple[str, ...], plan: Plan) -> None:
        self.work = work
        self.plan = plan
        self.pairs = {
            form: (Node(form, 1, 10 + 10 * n, plan, work), Node(form, 2, 10 + 10 * n, plan, work))
            for n, form in enumerate(forms)
        }
        self._adverts: socket.socket | None = None
        self._ioctl: socket.socket | None = None

    def nodes(self) -> list[Node]:
        return [node for pair in self.pairs.values() for node in pair]

    def build(self) -> None:
        """All of it, with the first node of each pair master."""
        wipe_all()
        run(f"""set -e
            ip netns add {SWITCH}; ip netns add {CLIENT}
            ip -n {SWITCH} link add br0 type bridge mcast_snooping 0
            ip -n {SWITCH} link set br0 addrgenmode none up
            ip -n {SWITCH} link add client type veth peer name {UPLINK} netns {CLIENT}
            ip -n {SWITCH} link set client master br0 up
            ip -n {CLIENT} link set {UPLINK} addrgenmode none up
            ip -n {CLIENT} address add 10.9.0.9/16 dev {UPLINK}
            ip -n {CLIENT} address add fd09::9/64 dev {UPLINK} nodad""")
        for node in self.nodes():
            node.log.unlink(missing_ok=True)
            node.build()
        for first, _ in self.pairs.values():
            first.up()
        for first, second in self.pairs.values():
            first.reaches("MASTER")
            second.up()
        for _, second in self.pairs.values():
            second.reaches("BACKUP")
        time.sleep(2)
        self._adverts = socket_in(SWITCH, socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
        self._adverts.settimeout(5)
        self._ioctl = socket_in(SWITCH, socket.AF_INET, socket.SOCK_DGRAM)

    def close(self) -> None:
        """End all of it."""
        for node in self.nodes():
            stop(node.keepalived)
            stop(node.daemon)
        for sock in (self._adverts, self._ioctl):
            if sock:
                sock.close()
        wipe_all()

    def master(self, form: str) -> tuple[Node, Node]:
        """The pair, the master first, once there is one master."""
        pair = self.pairs[form]
        settled = ["BACKUP", "MASTER"]
        wait_for(f"{form}: one master", lambda: sorted(n.state() for n in pair) == settled)
        first, second = pair
        return (first, second) if first.state() == "MASTER" else (second, first)

    def after_advert(self, vrid: int, phase: float) -> None:
        """Return `phase` seconds after an advert of this VRID, so that every form is hit at the same moments."""
        assert self._adverts
        self._adverts.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._adverts.recv(2048)
        self._adverts.settimeout(5)
        while True:
            packet = self._adverts.recv(2048)
            header = 4 * (packet[0] & 15)
            if packet[9] == VRRP_PROTOCOL and packet[header + 1] == vrid:
                break
        time.sleep(phase)

    def port(self, node: Node, up: bool) -> None:
        """Set a port of the switch up or down: one ioctl, for a process takes its time to start (netdevice(7))."""
        assert self._ioctl
        request = struct.pack("16sh14x", node.port.encode(), 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(self._ioctl, 0x8913, request))[
            1
        ]  # SIOCGIFFLAGS
        flags = flags | 1 if up else flags & ~1
        fcntl.ioctl(self._ioctl, 0x8914, struct.pack("16sh14x", node.port.encode(), flags))


def wipe_all() -> None:
    """Delete every namespace of the lab."""
    names = [name for name in run("ip netns list", check=False).split() if name.startswith("kd-")]
    wipe(names)
    run("rm -rf /etc/netns/kd-*")
