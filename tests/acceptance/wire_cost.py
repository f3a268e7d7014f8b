#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What the wire costs: the uplink's throughput with and without its filters, and a flood of solicitations.

usage: wire_cost.py [--rounds N] [--seconds N] --results FOLDER      in a guest, as root, with the package installed
       wire_cost.py --table JSON                                     anywhere: the table of a result, as Markdown

Throughput: UDP packets of 16 bytes (iperf3 -l 16) from the LAN into the uplink as fast as they go, both families,
with the wire and without it in turn, the order turned round in every round. On a veth the sender's processor
receives too, so what a filter costs is missing from what is sent.

Flood: multicast solicitations from a ring of prepared frames (packet(7), PACKET_TX_RING), as fast as the kernel
takes them, for a VIP and for an address of the uplink itself, in turn. Meanwhile a client whose neighbour cache is
flushed before each ping pings the VIP.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import platform
import socket
import statistics
import struct
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "debian" / "tests"))

FAMILIES = ("IPv4", "IPv6")
MOST_OFF = 2.0  # per cent of the throughput
PORT = 5201
_SOL_PACKET, _PACKET_TX_RING, _PACKET_QDISC_BYPASS = 263, 13, 20
_FRAME, _FRAMES = 256, 1024
_HEADER, _SEND_REQUEST = struct.Struct("=LII"), 1  # tpacket_hdr's tp_status, tp_len, tp_snaplen


def packets(target: str, seconds: float) -> int:
    """How many packets a client in the LAN got sent into the uplink."""
    from wire_lan import A

    words = ["ip", "netns", "exec", A.ns, "iperf3", "-J", "-u", "-b", "0", "-l", "16"]
    ran = subprocess.run(
        [*words, "-t", str(seconds), "-c", target],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 60,
    )
    total: int = json.loads(ran.stdout)["end"]["sum"]["packets"]
    return total


def measure_throughput(rounds: int, seconds: float) -> dict[str, dict[str, list[int]]]:
    """Packets sent, by family and state, a number a round."""
    from host import run
    from wire_lan import DUMMY, A, apply, conf

    found: dict[str, dict[str, list[int]]] = {f: {"without": [], "with": []} for f in FAMILIES}
    server = subprocess.Popen(["iperf3", "-s", "-p", str(PORT)], stdout=subprocess.DEVNULL)
    try:
        time.sleep(1)
        for number in range(rounds):
            states = ("without", "with") if number % 2 else ("with", "without")
            for state in states:
                conf(DUMMY, f"Name={A.uplink}", f"Wire={'yes' if state == 'with' else 'no'}")
                apply()
                there = run(f"tc filter show dev {A.uplink} ingress").count("cookie 6b646d79")
                assert there == (2 if state == "with" else 0)
                for family, target in zip(FAMILIES, (A.ip4(5), A.ip6("5")), strict=True):
                    found[family][state].append(packets(target, seconds))
                    print(
                        f"round {number}: {family} {state}: {found[family][state][-1]}", flush=True
                    )
    finally:
        server.terminate()
        server.wait()
    return found


class Ring:
    """A sender of one frame over and over: the kernel takes a thousand of them at a call."""

    def __init__(self, ns: str, dev: str, frame: bytes) -> None:
        from wire_lan import inside

        with inside(ns):
            self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        self._sock.bind((dev, 0))
        self._sock.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
        size = _FRAME * _FRAMES
        request = struct.pack("=IIII", size, 1, _FRAME, _FRAMES)
        self._sock.setsockopt(_SOL_PACKET, _PACKET_TX_RING, request)
        self._ring = mmap.mmap(self._sock.fileno(), size)
        # tp_status and the two lengths; the frame follows the header of 32 bytes.
        one = _HEADER.pack(_SEND_REQUEST, len(frame), len(frame)).ljust(32, b"\0") + frame
        self._image = one.ljust(_FRAME, b"\0") * _FRAMES

    def send(self) -> int:
        """Send the ring once; how many frames that is."""
        self._ring[:] = self._image
        self._sock.send(b"")
        return _FRAMES

    def close(self) -> None:
        self._ring.close()
        self._sock.close()


def busy() -> float:
    """Seconds of processor time the guest has spent on anything, since boot."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return (sum(map(int, words[:8])) - int(words[3]) - int(words[4])) / os.sysconf("SC_CLK_TCK")


def counter(name: str) -> int:
    """One counter of the uplink's ICMPv6, or of the dummy's, as the kernel keeps them by interface."""
    from wire_lan import DUMMY, A

    dev, key = name.split(".")
    path = f"/proc/net/dev_snmp6/{A.uplink if dev == 'uplink' else DUMMY}"
    return int(
        next(
            line.split()[1]
            for line in Path(path).read_text().splitlines()
            if line.split()[0] == key
        )
    )


def flood(target: str, seconds: float) -> dict[str, float]:
    """One flood: frames sent and processor time, and how the VIP answered meanwhile."""
    from wire_frame import Ask, solicitation
    from wire_lan import A

    frame = bytes(solicitation("02:4b:44:00:00:f0", Ask(A.ip6("f0"), target)))
    script = (
        f"for i in $(seq 100000); do ip -n {A.ns} neighbour flush dev {A.dev};"
        f" ip netns exec {A.ns} ping -n -c 1 -W 2 {A.vip6} | grep -c time=; done"
    )
    ring = Ring(A.ns, A.dev, frame)
    client = subprocess.Popen(
        ["sh", "-c", script], stdout=subprocess.PIPE, text=True, process_group=0
    )
    sent, start, before = 0, time.monotonic(), busy()
    answers = [counter("uplink.Icmp6OutMsgs"), counter("dummy.Icmp6OutMsgs")]
    while time.monotonic() - start < seconds:
        sent += ring.send()
    took, spent = time.monotonic() - start, busy() - before
    ring.close()
    os.killpg(client.pid, 15)
    pings = (client.communicate()[0] or "").split()
    return {
        "sent": sent,
        "per_second": round(sent / took),
        "answered_per_second": round(
            (counter("uplink.Icmp6OutMsgs") + counter("dummy.Icmp6OutMsgs") - sum(answers)) / took
        ),
        "processor_us_each": round(1e6 * spent / sent, 2),
        "pings": len(pings),
        "pings_answered": pings.count("1"),
    }


def measure_flood(rounds: int, seconds: float) -> dict[str, list[dict[str, float]]]:
    """Floods at the VIP, at the uplink's own address, and at that without the wire, in turn."""
    from wire_lan import DUMMY, A, apply, conf

    found: dict[str, list[dict[str, float]]] = {"VIP": [], "own": [], "own, no wire": []}
    for number in range(rounds):
        order = list(found) if number % 2 else list(found)[::-1]
        for what in order:
            conf(DUMMY, f"Name={A.uplink}", f"Wire={'no' if 'no wire' in what else 'yes'}")
            apply()
            found[what].append(flood(A.vip6 if what == "VIP" else A.ip6("5"), seconds))
            print(f"round {number}: flood at {what}: {found[what][-1]}", flush=True)
    return found


def versions() -> dict[str, str]:
    from host import run

    return {
        "suite": run(". /etc/os-release; echo $VERSION_CODENAME").strip(),
        "kernel": platform.release(),
        "iproute2": run("tc -V").strip(),
        "iperf3": run("iperf3 -v").split("\n", 1)[0],
        "processors": str(os.cpu_count()),
    }


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """Everything, in one run."""
    from host import run
    from wire_lan import A, leave, one_lan, wired

    try:
        one_lan()
        wired()
        result = {
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "versions": versions(),
            "seconds": seconds,
            "throughput": measure_throughput(rounds, seconds),
            "flood": measure_flood(rounds, seconds),
        }
        assert " 0% packet loss" in run(f"ip netns exec {A.ns} ping -c 3 -i 0.2 {A.vip6}")
    finally:
        leave()
    return result


def off(values: dict[str, list[int]]) -> float:
    """By how many per cent the wire lessens the packets: the median of the rounds' own ratios."""
    ratios = [w / o for w, o in zip(values["with"], values["without"], strict=True)]
    return 100 * (1 - statistics.median(ratios))


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    about = result["versions"]
    seconds = result["seconds"]
    rounds = len(result["throughput"]["IPv4"]["with"])
    lines = [
        "# What the wire costs",
        "",
        f"{result['date']}, {about['suite']}, kernel {about['kernel']}, {about['processors']} emulated"
        f" processors; {rounds} rounds in turn, medians. Made by tests/acceptance/wire_cost.py.",
        "",
        f"UDP packets of 16 bytes into the uplink in {seconds:g} s:",
        "",
        "| family | without the wire | with it | off (median of paired rounds) |",
        "|---|---|---|---|",
    ]
    for family, values in result["throughput"].items():
        without, there = (round(statistics.median(values[key])) for key in ("without", "with"))
        lines.append(f"| {family} | {without:,} | {there:,} | {off(values):.1f}% |")
    lines += [
        "",
        f"A flood of multicast neighbour solicitations for {seconds:g} s, as fast as the guest sends:",
        "",
        "| asked for | solicitations/s | answers/s | processor time each | VIP's pings meanwhile |",
        "|---|---|---|---|---|",
    ]
    names = {
        "VIP": "a VIP on the dummy",
        "own": "the uplink's own address",
        "own, no wire": "the same, no wire",
    }
    for what, values in result["flood"].items():
        middle = {key: statistics.median(v[key] for v in values) for key in values[0]}
        pings = f"{sum(v['pings_answered'] for v in values)} of {sum(v['pings'] for v in values)}"
        lines.append(
            f"| {names[what]} | {middle['per_second']:,.0f} | {middle['answered_per_second']:,.0f} |"
            f" {middle['processor_us_each']:.1f} µs | {pings if what != 'own, no wire' else 'not there'} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="What the wire costs.")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=3)
    do = parser.add_mutually_exclusive_group(required=True)
    do.add_argument("--results", type=Path, metavar="FOLDER")
    do.add_argument("--table", type=Path, metavar="JSON")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.table.read_text())), end="")
        return 0
    result = measure(options.rounds, options.seconds)
    (options.results / "wire_cost.json").write_text(json.dumps(result, indent=1) + "\n")
    print(table(result), end="")
    answered = result["flood"]["VIP"] + result["flood"]["own"]
    lost = sum(v["pings"] - v["pings_answered"] for v in answered)
    cheap = all(off(values) <= MOST_OFF for values in result["throughput"].values())
    return 0 if cheap and all(v["pings"] for v in answered) and lost == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
