#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""1,000 VIPs: how long until all are announced, on a dummy and on the uplink; and 1,000 failovers that leave nothing.

Runs in a guest, as root, and leaves thousand.json in the folder --results.
"""

from __future__ import annotations

import argparse
import ipaddress
import re
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import failover
import guest
from guest import run, say, socket_in
from lab import Lab
from nodes import CLIENT, Node, Plan

LIMIT = 1.1
VIPS = 1000
FAILOVERS = 1000
ETH_P_ALL, ETH_P_ARP, ETH_P_IPV6 = 3, 0x0806, 0x86DD
SO_TIMESTAMPNS = 35  # asm-generic/socket.h
SO_RCVBUFFORCE = 33


class Sniffer(threading.Thread):
    """On the client's NIC: when each address was first announced, by the kernel's clock."""

    def __init__(self, vips: set[bytes]) -> None:
        super().__init__(daemon=True)
        self.first: dict[bytes, float] = {}
        self.frames = 0
        self._vips = vips
        self._sock = socket_in(CLIENT, socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self._sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._sock.settimeout(0.2)
        self._on = True

    def run(self) -> None:
        while self._on:
            try:
                data, more, _, _ = self._sock.recvmsg(256, 64)
            except TimeoutError:
                continue
            address = announced(data)
            if address in self._vips:
                self.frames += 1
                seconds, nano = struct.unpack("qq", more[0][2][:16])
                self.first.setdefault(address, seconds + nano / 1e9)
        self._sock.close()

    def stop(self) -> None:
        self._on = False
        self.join()


def announced(frame: bytes) -> bytes:
    """The address that a gratuitous ARP or an unsolicited advertisement is about; empty for other frames."""
    kind = int.from_bytes(frame[12:14], "big")
    if kind == ETH_P_ARP and frame[28:32] == frame[38:42]:
        return frame[28:32]
    if (
        kind == ETH_P_IPV6
        and len(frame) >= 78
        and frame[20] == 58
        and frame[54] == 136
        and frame[38] == 0xFF
    ):
        return frame[62:78]  # to a multicast group
    return b""


def announce(lab: Lab, form: str) -> dict[str, float]:
    """The master is reset; seconds until the other has announced its first VIP, and its last."""
    master, other = lab.master(form)
    four, six = master.vips()
    wanted = {ipaddress.ip_address(vip).packed for vip in (*four, *six)}
    sniffer = Sniffer(wanted)
    sniffer.start()
    lab.after_advert(master.vrid, 0.05)
    since = time.time()
    failover.reset(lab, master)
    sniffer.first.clear()  # what the master repeated
    try:
        guest.wait_for("all are announced", lambda: len(sniffer.first) == len(wanted), 60, 0.05)
        time.sleep(2)
    finally:
        sniffer.stop()
    times = sorted(sniffer.first.values())
    other.reaches("MASTER")
    failover.revive(lab, "node reset", master)
    time.sleep(2)
    return {
        "first": round(times[0] - since, 3),
        "all": round(times[-1] - since, 3),
        "spread": round(times[-1] - times[0], 3),
        "frames": sniffer.frames,
    }


def announcements(work: Path, rounds: int, vips: int) -> dict[str, Any]:
    """Both forms in turn; the medians of the time from the reset to the last announcement, and their ratio.

    Adverts are keepalived's default: an emulated one sends none while it sets and announces so many addresses.
    """
    lab = Lab(work, ("uplink", "dummy"), Plan(vips - vips // 2, vips // 2, interval=1))
    try:
        lab.build()
        tries: dict[str, list[dict[str, float]]] = {form: [] for form in lab.pairs}
        for number in range(rounds):
            for form, made in tries.items():
                made.append(announce(lab, form))
                say(f"round {number + 1}: {form}: {made[-1]}")
    finally:
        lab.close()
    medians = {form: statistics.median(x["all"] for x in made) for form, made in tries.items()}
    ratio = round(medians["dummy"] / medians["uplink"], 3)
    return {"vips": vips, "tries": tries, "medians, s": medians, "ratio": ratio}


def state(node: Node) -> dict[str, Any]:
    """What could grow: the daemon's memory and sockets, and what the kernel has for us."""
    assert node.daemon
    proc = Path(f"/proc/{node.daemon.pid}")
    rss = re.search(r"VmRSS:\s+(\d+)", (proc / "status").read_text())
    assert rss
    lines = {
        "filters": f"tc -n {node.name} filter show dev eth0 ingress;"
        f" tc -n {node.name} filter show dev keepalived0 egress",
        "memberships": f"ip -n {node.name} maddr show | grep -v users",
        "IPv6 memberships": f"ip netns exec {node.name} cat /proc/net/igmp6 | awk '{{print $2,$3}}'",
        "routes": f"ip -n {node.name} route show table all; ip -n {node.name} -6 route show table all",
        "addresses": f"ip -n {node.name} -o address show",
        "sockets": f"ip netns exec {node.name} cat /proc/net/sockstat6 /proc/net/netlink | grep -c .",
    }
    return {
        "daemon RSS, KiB": int(rss[1]),
        "daemon fds": len(list((proc / "fd").iterdir())),
        **{name: run(command, check=False).splitlines() for name, command in lines.items()},
    }


GROWS = 1024  # KiB that a Python process may gain in 1,000 failovers without growing with them


def compare(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is not as it was."""
    wrong = []
    for name, old in before.items():
        new = after[name]
        if name.startswith("daemon RSS"):
            if new > old + GROWS:
                wrong.append(f"{name}: {old} -> {new}")
        elif sorted(old) != sorted(new) if isinstance(old, list) else old != new:
            wrong.append(f"{name}: {old} -> {new}")
    return wrong


def short(found: dict[str, Any]) -> dict[str, int]:
    """A state in numbers."""
    return {name: len(x) if isinstance(x, list) else x for name, x in found.items()}


def failovers(work: Path, count: int, limit: float) -> dict[str, Any]:
    """Failovers by priority, as fast as keepalived makes them, for at most `limit` seconds."""
    tracked = work / "tracked"
    tracked.write_text("0\n")
    lab = Lab(work, ("dummy",), Plan(5, 5, interval=0.02, nopreempt=False))
    for node in lab.nodes():
        node.tracked = tracked
    first, second = lab.pairs["dummy"]
    made = 0
    try:
        lab.build()

        def swap() -> None:
            """One failover: the other node's priority is now the higher."""
            nonlocal made
            up = second if made % 2 == 0 else first
            tracked.write_text("20\n" if up is second else "0\n")
            guest.wait_for(f"{up.name} is master", lambda: up.state() == "MASTER", 10, 0.005)
            made += 1

        for _ in range(20):  # a Python process has its final size after a few
            swap()
        time.sleep(3)
        before = {node.name: state(node) for node in lab.nodes()}
        began, made = time.monotonic(), 0
        while made < count and time.monotonic() - began < limit:
            swap()
            if made % 100 == 0:
                say(f"{made} failovers, {time.monotonic() - began:.0f} s")
        took = time.monotonic() - began
        if made % 2:
            swap()
        time.sleep(12)  # the way out, if it ever opened, is closed after ten seconds
        after = {node.name: state(node) for node in lab.nodes()}
    finally:
        lab.close()
    wrong = [
        f"{name}: {text}" for name, old in before.items() for text in compare(old, after[name])
    ]
    if made < count:
        wrong.append(f"{made} failovers in {took:.0f} s, not {count}")
    return {
        "failovers": made,
        "seconds": round(took),
        "before": {name: short(found) for name, found in before.items()},
        "after": {name: short(found) for name, found in after.items()},
        "wrong": wrong,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("/tmp/acceptance"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vips", type=int, default=VIPS)
    parser.add_argument("--failovers", type=int, default=FAILOVERS)
    args = parser.parse_args()
    args.results.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"date": guest.now(), "wrong": []}
    try:
        if args.failovers:
            result["failovers"] = failovers(args.results, args.failovers, 900)
            result["wrong"] += result["failovers"]["wrong"]
            say(f"{result['failovers']}")
        if args.rounds:
            made = announcements(args.results, args.rounds, args.vips)
            result["announcements"] = made
            if made["ratio"] > LIMIT:
                result["wrong"].append(f"{made['medians, s']}: ratio {made['ratio']}")
    except (RuntimeError, ValueError, OSError, subprocess.SubprocessError) as error:
        result["wrong"].append(str(error))
    guest.save(args.results / "thousand.json", result)
    for text in result["wrong"]:
        say(f"WRONG: {text}")
    return 1 if result["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
