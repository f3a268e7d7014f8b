#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What the wire costs: the uplink's throughput with and without its filters, and a flood of solicitations.

usage: wire_cost.py [--rounds N] [--pairs N] [--seconds N] --results FOLDER      in a guest, as root, with the package installed
       wire_cost.py --table JSON                                     anywhere: the table of a result, as Markdown

Throughput: a stream by iperf3 from the LAN into the uplink as fast as it goes, TCP and UDP packets of 16 bytes, both
families, while the uplink's filters go and come every 0.3 s; the order turned round in every pair. What counts is
the median of the pairs' ratios: a machine that is busy with other things moves both halves of a pair alike. The
bound is on the throughput, so on TCP; for packets of 16 bytes it is told by how much fewer there are, which behind a
veth pair, with no NIC to wait for, is the most that a classifier can cost. (Between the guest's virtio NICs a median
of 40 pairs scattered by 20%: most of the time is the emulation's.)

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
SLICE = 0.3  # seconds
STREAMS = {"TCP": (), "UDP packets of 16 bytes": ("-u", "-b", "0", "-l", "16")}
PORT = 5201
_SOL_PACKET, _PACKET_TX_RING, _PACKET_QDISC_BYPASS = 263, 13, 20
_FRAME, _FRAMES = 256, 1024
_HEADER, _SEND_REQUEST = struct.Struct("=LII"), 1  # tpacket_hdr's tp_status, tp_len, tp_snaplen


def received() -> tuple[float, int]:
    """The time, and the bytes that the uplink has received."""
    from wire_lan import A

    return time.monotonic(), int(Path(f"/sys/class/net/{A.uplink}/statistics/rx_bytes").read_text())


def rate(seconds: float) -> int:
    """Bytes a second into the uplink."""
    start, before = received()
    time.sleep(seconds)
    end, after = received()
    return round((after - before) / (end - start))


def filters() -> tuple[list[str], list[str]]:
    """Batches for tc that put the uplink's filters there, and that take them away."""
    from host import run
    from wire_lan import A

    mark = f"filter add dev {A.uplink} ingress pref "
    put = [line for line in run("keepalived-dummy wire").splitlines() if line.startswith(mark)]
    assert len(put) == 4, put
    prefs = dict.fromkeys(line[len(mark) :].split()[0] for line in put)
    return put, [f"filter delete dev {A.uplink} ingress pref {pref}" for pref in prefs]


def set_to(batch: list[str], there: int) -> None:
    """Run a batch, and see that as many filters of ours are there then."""
    from host import run
    from wire_lan import A

    subprocess.run(["tc", "-batch", "-"], input="\n".join(batch) + "\n", text=True, check=True)
    found = run(f"tc filter show dev {A.uplink} ingress").count("cookie 6b646d79")
    assert found == there, found


def measure_throughput(rounds: int, seconds: float) -> dict[str, dict[str, list[int]]]:
    """Bytes a second by stream and state, a number a round: one stream runs through all rounds."""
    from wire_lan import A

    put, take = filters()
    found: dict[str, dict[str, list[int]]] = {}
    server = subprocess.Popen(["iperf3", "-s", "-p", str(PORT)], stdout=subprocess.DEVNULL)
    try:
        time.sleep(1)
        for family, target in zip(FAMILIES, (A.ip4(5), A.ip6("5")), strict=True):
            for kind, words in STREAMS.items():
                values = found.setdefault(f"{family}, {kind}", {"without": [], "with": []})
                client = subprocess.Popen(
                    ["ip", "netns", "exec", A.ns, "iperf3", "-t", "3600", *words, "-c", target],
                    stdout=subprocess.DEVNULL,
                )
                try:
                    time.sleep(2)
                    for number in range(rounds):
                        for state in sorted(values, reverse=number % 2 == 1):
                            if state != "with":
                                set_to(take, 0)
                            values[state].append(rate(seconds))
                            if state != "with":
                                set_to(put, len(put))
                    assert client.poll() is None, "the stream ended before its time"
                finally:
                    client.terminate()
                    client.wait()
                print(f"{family}, {kind}: {off(values):.2f}% off in {rounds} rounds", flush=True)
                time.sleep(1)
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
    conf(DUMMY, f"Name={A.uplink}")  # whatever was last
    apply()
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


def measure(rounds: int, pairs: int, seconds: float) -> dict[str, Any]:
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
            "throughput": measure_throughput(pairs, SLICE),
            "flood": measure_flood(rounds, seconds),
        }
        assert " 0% packet loss" in run(f"ip netns exec {A.ns} ping -c 3 -i 0.2 {A.vip6}")
    finally:
        leave()
    return result


def off(values: dict[str, list[int]]) -> float:
    """By how many per cent the wire lessens the packets: the median of the rounds' own ratios."""
    return statistics.median(each_off(values))


def each_off(values: dict[str, list[int]]) -> list[float]:
    """The same by rounds, in order of size."""
    pairs = zip(values["with"], values["without"], strict=True)
    return sorted(100 * (1 - there / without) for there, without in pairs)


def interval(values: dict[str, list[int]]) -> tuple[float, float]:
    """Where the median lies with 95% confidence: between two of the rounds (binomial, by its normal limit)."""
    found = each_off(values)
    middle, half, last = len(found) / 2, 0.98 * len(found) ** 0.5, len(found) - 1
    return found[max(0, int(middle - half))], found[min(last, int(middle + half))]


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    about = result["versions"]
    seconds = result["seconds"]
    rounds = len(result["flood"]["VIP"])
    pairs = len(result["throughput"]["IPv4, TCP"]["with"])
    lines = [
        "# What the wire costs",
        "",
        f"{result['date']}, {about['suite']}, kernel {about['kernel']}, {about['processors']} emulated"
        f" processors; {pairs} pairs of throughput, {rounds} rounds of floods in turn, medians. Made by tests/acceptance/wire_cost.py.",
        "",
        "Into the uplink, bytes a second as the NIC counts them:",
        "",
        "| stream | without the filters | with them | off (median of the pairs) | where that lies (95%) |",
        "|---|---|---|---|---|",
    ]
    for family, values in result["throughput"].items():
        without, there = (round(statistics.median(values[key])) for key in ("without", "with"))
        low, high = interval(values)
        lines.append(
            f"| {family} | {without:,} | {there:,} | {off(values):.1f}% | {low:.1f} to {high:.1f}% |"
        )
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
    parser.add_argument("--pairs", type=int, default=150)
    parser.add_argument("--seconds", type=float, default=3)
    do = parser.add_mutually_exclusive_group(required=True)
    do.add_argument("--results", type=Path, metavar="FOLDER")
    do.add_argument("--table", type=Path, metavar="JSON")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.table.read_text())), end="")
        return 0
    result = measure(options.rounds, options.pairs, options.seconds)
    (options.results / "wire_cost.json").write_text(json.dumps(result, indent=1) + "\n")
    print(table(result), end="")
    answered = result["flood"]["VIP"] + result["flood"]["own"]
    lost = sum(v["pings"] - v["pings_answered"] for v in answered)
    cheap = all(
        off(values) <= MOST_OFF
        for name, values in result["throughput"].items()
        if name.endswith(", TCP")
    )
    return 0 if cheap and all(v["pings"] for v in answered) and lost == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
