# SPDX-License-Identifier: MIT
"""How fast the way out is, and what a client loses: python3 tests/bench/bench_way_out.py

In network namespaces of its own, on this machine's kernel: the real daemon with a plan given to it, a veth as uplink. The
address is deleted and set again, with 2, 50 and 500 routes. Measured is the time from RTM_DELADDR, as a bare listener
gets it, until that listener is told of the last route put back; and how many echo replies of a VIP a client beyond the
router loses that sends 1000 requests a second. It needs root, or user namespaces. Exit status 1 where the median of
the last route is beyond the bound, or nothing was put back.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import select
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from keepalived_dummy import interfaces, kernel, netlink, routes
from keepalived_dummy.netlink import AF_INET, attribute

TREE = Path(__file__).resolve().parents[2]
COUNTS = {2: 200, 50: 200, 500: 200}  # routes: how often
PINGED = 100  # times, while the client sends
BOUND = {2: 5.0, 50: 10.0, 500: 50.0}  # milliseconds for the last route
UPLINK, DUMMY, FAR = "up0", "keepalived0", "far0"
OWN, VIP, ROUTER, CLIENT = "192.0.2.5", "192.0.2.10", "192.0.2.1", "203.0.113.9"
PAUSE = 0.001  # of the client
TIMEOUT = 10
# An ifb stands for the dummy where the kernel has none.
DAEMON = f"""
import sys
sys.path.insert(0, {str(TREE)!r})
from keepalived_dummy import daemon, interfaces
if len(sys.argv) > 2:
    read = interfaces.link
    def link(body):
        found = read(body)
        return found._replace(kind="dummy", flags=found.flags & ~0x80) if found.kind == "ifb" else found
    interfaces.link = link
sys.exit(daemon.run(["cat", sys.argv[1]]))
"""


def ip(words: str) -> None:
    """ip(8)."""
    subprocess.run(["ip", *words.split()], check=True, stdout=subprocess.DEVNULL)


def own_routes(count: int) -> list[bytes]:
    """The default route and some more, as messages that add them; the kernel sets the network's itself."""
    index, via = socket.if_nametoindex(UPLINK), socket.inet_aton(ROUTER)
    prefixes = [(bytes(4), 0)]
    prefixes += [(bytes([10, n // 256, n % 256, 0]), 24) for n in range(count - 2)]
    made = []
    for destination, length in prefixes:
        key = routes.Key(254, destination, length, 0)
        route = routes.Route(AF_INET, key, 16, 0, 100, index, b"", via, attribute(5, via))
        made.append(routes.restore(route))
    return made


class Events:
    """A bare listener to addresses and routes."""

    def __init__(self) -> None:
        groups = netlink.GROUP_IPV4_ADDRESS | netlink.GROUP_IPV4_ROUTE
        self._socket = kernel.open_socket(groups, 8 << 20)
        self._socket.settimeout(TIMEOUT)

    def address_gone(self) -> float:
        """Wait until the address goes; return when it did."""
        while True:
            data = self._socket.recv(1 << 17)
            now = time.perf_counter()
            if any(m.type == interfaces.RTM_DELADDR for m in netlink.messages(data)):
                return now

    def ours(self, kind: int, count: int) -> list[float]:
        """Wait until so many of our routes were added or deleted; return when each was."""
        times: list[float] = []
        while len(times) < count:
            data = self._socket.recv(1 << 17)
            now = time.perf_counter()
            found = (m for m in netlink.messages(data) if m.type == kind)
            times += [now for m in found if routes.protocol(m.body) == routes.PROTOCOL]
        return times

    def drop(self) -> None:
        """Drop what has been told."""
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._socket.recv(1 << 17)
        self._socket.settimeout(TIMEOUT)


def lose(count: int, times: int) -> list[tuple[float, float]]:
    """Take the address and set it again; milliseconds from the event to the first and to the last route, each time."""
    index = socket.if_nametoindex(UPLINK)
    own = interfaces.Address(AF_INET, index, 24, socket.inet_aton(OWN), 0, 0)
    events, send, made = Events(), kernel.open_socket(buffer=8 << 20), own_routes(count)
    taken = []
    for _ in range(times):
        events.drop()
        send.send(interfaces.delete_address(own))
        begin = events.address_gone()
        there = events.ours(routes.RTM_NEWROUTE, count)
        taken.append((1000 * (there[0] - begin), 1000 * (there[-1] - begin)))
        ip(f"address add {OWN}/24 dev {UPLINK}")
        for message in made:
            send.send(message)
        events.ours(routes.RTM_DELROUTE, count)
        time.sleep(0.03)
    return taken


def client(pid: int) -> Iterator[subprocess.Popen[str]]:
    """This program as the client in the namespace of process `pid`; closing its input ends it."""
    words = ["nsenter", "-t", str(pid), "-n", sys.executable, __file__, "--client"]
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process


def ping() -> int:
    """Send echo requests to the VIP until the input is closed; print how many were sent and lost."""
    with socket.socket(AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        sock.bind((CLIENT, 0))
        sock.setblocking(False)
        sent, got, due = 0, set(), time.perf_counter()
        until = float("inf")
        while time.perf_counter() < until:
            if until == float("inf"):
                number = sent & 0xFFFF
                body = struct.pack("!HH", 4711, number)
                total = 0x0800 + 4711 + number
                total = (total & 0xFFFF) + (total >> 16)
                with contextlib.suppress(OSError):
                    sock.sendto(struct.pack("!BBH", 8, 0, ~total & 0xFFFF) + body, (VIP, 0))
                sent += 1
            due += PAUSE
            while True:
                left = max(0.0, due - time.perf_counter())
                ready, _, _ = select.select([sock, sys.stdin], [], [], left)
                if sock in ready:
                    data = sock.recv(2048)
                    if data[20] == 0:
                        got.add(struct.unpack_from("!H", data, 26)[0])
                if sys.stdin in ready and until == float("inf"):
                    until = time.perf_counter() + 0.5
                if not ready or until != float("inf"):
                    break
    print(f"{sent} {sent - len(got)}")
    return 0


def build(far: int) -> bool:
    """The uplink, the router behind it, and the dummy with its VIP; whether an ifb stands for that."""
    ip("link set lo up")
    ip(f"link add {UPLINK} type veth peer name {FAR} netns {far}")
    enter = ["nsenter", "-t", str(far), "-n", "ip"]
    for words in (
        "link set lo up",
        f"link set {FAR} up",
        f"address add {ROUTER}/24 dev {FAR}",
        f"address add {CLIENT}/32 dev lo",
    ):
        subprocess.run([*enter, *words.split()], check=True)
    ip(f"link set {UPLINK} up")
    ip(f"address add {OWN}/24 dev {UPLINK}")
    dummy = ["ip", "link", "add", DUMMY, "type", "dummy"]
    ifb = subprocess.run(dummy, check=False, stderr=subprocess.DEVNULL).returncode != 0
    if ifb:
        ip(f"link add {DUMMY} type ifb")
    ip(f"link set {DUMMY} addrgenmode none up")
    ip(f"address add {VIP}/32 dev {DUMMY}")
    return ifb


@contextlib.contextmanager
def daemon(folder: str, ifb: bool) -> Iterator[None]:
    """The real daemon, at the priority that its unit gives it, once it knows the routes."""
    dummy: dict[str, object] = {"name": DUMMY, "alias": "keepalived-dummy:bench"}
    dummy |= {"mtu": None, "mac": None}
    dummy |= {"wire": False, "way_out": True, "uplinks": [UPLINK]}
    plan = Path(folder, "plan")
    plan.write_text(json.dumps({"dummies": [dummy], "watch": [], "sysctls": [], "filters": []}))
    words = [sys.executable, "-c", DAEMON, str(plan), *(["ifb"] if ifb else [])]
    environment = {**os.environ, "RUNTIME_DIRECTORY": folder}
    with (
        open(f"{folder}/log", "wb") as log,
        subprocess.Popen(words, env=environment, stderr=log) as process,
    ):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(process.pid, os.SCHED_RR, os.sched_param(1))
        try:
            time.sleep(3)
            yield
        finally:
            process.terminate()


def measure() -> int:
    """Print the figures; 1 where a median is beyond its bound."""
    bad = 0
    with subprocess.Popen(["unshare", "--net", "sleep", "600"]) as far:
        try:
            time.sleep(0.5)
            ifb = build(far.pid)
            for count, times in COUNTS.items():
                send = kernel.open_socket(buffer=8 << 20)
                for message in own_routes(count):
                    send.send(message)
                with tempfile.TemporaryDirectory() as folder, daemon(folder, ifb):
                    bad += _show(count, lose(count, times))
                    if count == 50:
                        _ping(far.pid, count)
                ip(f"route flush dev {UPLINK} proto dhcp")
        finally:
            far.terminate()
    return 1 if bad else 0


def _show(count: int, taken: list[tuple[float, float]]) -> bool:
    first, last = ([pair[n] for pair in taken] for n in (0, 1))
    median = statistics.median(last)
    exceeded = median > BOUND[count]
    print(
        f"{count} routes, {len(taken)} times: the first {statistics.median(first):.3f} ms after a bare listener has"
        f" RTM_DELADDR, the last {median:.3f} ms (at the most {max(last):.3f} ms){', TOO LONG' if exceeded else ''}"
    )
    return exceeded


def _ping(far: int, count: int) -> None:
    for process in client(far):
        time.sleep(1)
        lose(count, PINGED)
        said, _ = process.communicate(timeout=60)
        sent, lost = map(int, said.split())
        print(
            f"a client at {1 / PAUSE:.0f} packets a second: {lost} of {sent} replies lost while the address went"
            f" {PINGED} times"
        )


def main() -> int:
    """Run in a network namespace of its own."""
    if "--client" in sys.argv:
        return ping()
    if "--inside" in sys.argv:
        return measure()
    model = next(
        (
            line.partition(": ")[2]
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    print(f"Linux {platform.release()}, {model}")
    sys.stdout.flush()
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    words = ["unshare", *user, "--net", sys.executable, __file__, "--inside"]
    return subprocess.run(words, check=False, timeout=600).returncode


if __name__ == "__main__":
    sys.exit(main())
