#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Random walks of a pair that both have the package: never two holders of a VIP, and exactly one after a quiet period.

usage: walks.py [--results DIR] [--steps N] [--seed N] [--unicast | --multicast]

The host is the guest itself, with netplan and networkd; the other node is a namespace with a daemon and a keepalived of its
own. A step takes or gives an address, kills or restarts the daemon, reloads, restarts, stops or starts keepalived, takes a
link down or up, or runs netplan apply. After every few steps all is given back, and both have time to settle. The seed is
printed: a walk with the same seed takes the same steps.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import guest
from guest import run, say, start, stop, wait_for, write
from holders import Holders, answering
from testbed import (
    ADDRESS4,
    CLIENT4,
    DUMMY,
    KEEPALIVED,
    LAN,
    PEER,
    PEER4,
    UPLINK,
    VIP4,
    Instance,
    Testbed,
    holds,
    keepalived_conf,
)

INTERVAL = 0.5  # seconds between adverts
DOWN_INTERVAL = 3 * INTERVAL + INTERVAL  # with the skew at its largest
SLACK = 1.5  # for what an emulated machine takes longer
LINK = "peer0"
_ETC = Path("/etc/netns") / PEER
# The other node has a /run for itself: ip netns exec lays only /etc over.
_PRIVATE = "mount -t tmpfs tmpfs /run && mkdir -p /run/keepalived /run/keepalived-dummy /run/systemd/network"


@dataclass
class Walk:
    """A pair, and what was done to it."""

    bed: Testbed
    seed: int
    unicast: bool
    rp_filter: int
    log: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    daemon: subprocess.Popen[bytes] | None = None
    keepalived: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    # The pair

    def build(self) -> None:
        """Both nodes running."""
        self.bed.build("static")
        for where, names in (("", ("all", "default", UPLINK)), (PEER, ("all", "default", LINK))):
            inside = f"ip netns exec {where} " if where else ""
            for name in names:
                run(f"{inside}sysctl -q net.ipv4.conf.{name}.rp_filter={self.rp_filter}")
        write(Path("/etc/keepalived-dummy.d/keepalived.conf"), "# all defaults\n")
        host = Instance(UPLINK, 150, INTERVAL, DUMMY, ADDRESS4, PEER4 if self.unicast else "")
        write(KEEPALIVED, keepalived_conf(host))
        peer = Instance(LINK, 100, INTERVAL, DUMMY, PEER4, ADDRESS4 if self.unicast else "")
        write(_ETC / "keepalived" / "keepalived.conf", keepalived_conf(peer))
        write(_ETC / "keepalived-dummy.d" / "keepalived.conf", "# all defaults\n")
        for path in Path("/etc/keepalived").glob("*.config-opts"):  # 2.3 does not start without it
            (_ETC / "keepalived" / path.name).write_bytes(path.read_bytes())
        run("systemctl restart keepalived-dummy keepalived")
        self._inside = self._namespace()
        self.peer_daemon_up()
        self.peer_keepalived_up()

    def _namespace(self) -> str:
        """A mount namespace that stays: both of the peer's programs share its /run."""
        keeper = start(
            [
                "ip",
                "netns",
                "exec",
                PEER,
                "unshare",
                "--mount",
                "sh",
                "-c",
                f"{_PRIVATE} && exec sleep 36000",
            ],
            self.bed.work / "keeper.log",
        )
        self._keeper = keeper
        found = f"nsenter --net=/run/netns/{PEER} --mount=/proc/{keeper.pid}/ns/mnt"
        wait_for(
            "the peer's /run", lambda: "tmpfs" in run(f"{found} stat -f -c %T /run", check=False)
        )
        return found

    def close(self) -> None:
        """End both nodes."""
        for process in (self.keepalived, self.daemon, getattr(self, "_keeper", None)):
            stop(process)
        run("systemctl stop keepalived", check=False)
        run(f"rm -rf {_ETC}", check=False)
        self.bed.close()

    def peer_daemon_up(self) -> None:
        if self.daemon is None or self.daemon.poll() is not None:
            words = [*self._inside.split(), "keepalived-dummy", "daemon"]
            self.daemon = start(words, self.bed.work / "peer-daemon.log")
            wait_for("the peer's dummy", self._peer_dummy, 60)

    def _peer_dummy(self) -> bool:
        return DUMMY in run(f"ip -n {PEER} -br link", check=False)

    def peer_keepalived_up(self) -> None:
        if self.keepalived is None or self.keepalived.poll() is not None:
            words = [*self._inside.split(), "keepalived", "-n", "-l", "--vrrp"]
            self.keepalived = start(words, self.bed.work / "peer-keepalived.log")

    # Steps

    def steps(self) -> dict[str, Callable[[], object]]:
        """All that can be done to the pair, by name."""
        host, peer = f"dev {UPLINK}", f"-n {PEER}"
        return {
            "host: address away": lambda: run(f"ip address del {ADDRESS4}/24 {host}", check=False),
            "host: address back": lambda: run(f"ip address replace {ADDRESS4}/24 {host}"),
            "host: another address": lambda: run(f"ip address replace 192.0.2.77/24 {host}"),
            "host: daemon killed": lambda: run(
                "systemctl kill -s KILL keepalived-dummy", check=False
            ),
            "host: daemon restarted": lambda: run("systemctl restart keepalived-dummy"),
            "host: keepalived reloaded": lambda: run("systemctl reload keepalived", check=False),
            "host: keepalived restarted": lambda: run("systemctl restart keepalived"),
            "host: keepalived stopped": lambda: run("systemctl stop keepalived"),
            "host: keepalived started": lambda: run("systemctl start keepalived"),
            "host: netplan apply": lambda: run("netplan apply"),
            "host: networkd restarted": lambda: run("systemctl restart systemd-networkd"),
            "host: link down": lambda: run(f"ip link set {UPLINK} down"),
            "host: link up": lambda: run(f"ip link set {UPLINK} up"),
            "peer: address away": lambda: run(
                f"ip {peer} address del {PEER4}/24 dev {LINK}", check=False
            ),
            "peer: address back": lambda: run(f"ip {peer} address replace {PEER4}/24 dev {LINK}"),
            "peer: daemon killed": self._peer_daemon_killed,
            "peer: keepalived reloaded": lambda: self._to_peer(signal.SIGHUP),
            "peer: keepalived stopped": lambda: stop(self.keepalived),
            "peer: keepalived started": self.peer_keepalived_up,
            "peer: link down": lambda: run(f"ip {peer} link set {LINK} down"),
            "peer: link up": lambda: run(f"ip {peer} link set {LINK} up"),
        }

    def _peer_daemon_killed(self) -> None:
        """As systemd has it: another one runs a tenth of a second later."""
        stop(self.daemon, signal.SIGKILL)
        time.sleep(0.1)
        self.peer_daemon_up()

    def _to_peer(self, number: int) -> None:
        if self.keepalived and self.keepalived.poll() is None:
            self.keepalived.send_signal(number)

    def give_back(self) -> None:
        """All that a step may have taken."""
        run(f"ip link set {UPLINK} up; ip -n {PEER} link set {LINK} up")
        run(
            f"ip address replace {ADDRESS4}/24 dev {UPLINK}; ip -n {PEER} address replace {PEER4}/24 dev {LINK}"
        )
        run(f"ip address del 192.0.2.77/24 dev {UPLINK}", check=False)
        run(
            "systemctl reset-failed keepalived keepalived-dummy; systemctl start keepalived-dummy keepalived"
        )
        self.peer_daemon_up()
        self.peer_keepalived_up()

    # The walk

    def walk(self, count: int, quiet: int) -> None:
        """So many steps, a quiet period after each `quiet` of them."""
        watch = Holders({"host": "", "peer": PEER}, VIP4)
        names = list(self.steps())
        try:
            wait_for("one holder", lambda: len(watch.now()) == 1, 60)
            for number in range(1, count + 1):
                name = self.random.choice(names)
                pause = self.random.uniform(0.2, 4.0)
                began = time.monotonic()
                with contextlib.suppress(RuntimeError):  # what can't be done now is no step
                    self.steps()[name]()
                time.sleep(pause)
                self._judge(watch, began, f"step {number}, {name}")
                if number % quiet == 0:
                    self._settle(watch, number)
        finally:
            watch.close()

    def _judge(self, watch: Holders, since: float, step: str) -> None:
        both = watch.overlap(since - DOWN_INTERVAL - SLACK)
        entry = {"step": step, "holders": sorted(watch.now()), "both, s": round(both, 2)}
        self.log.append(entry)
        say(f"  {entry}")
        if both > DOWN_INTERVAL + SLACK:
            self.wrong.append(f"{step}: two holders for {both:.1f} s (seed {self.seed})")

    def _settle(self, watch: Holders, number: int) -> None:
        """Nothing is done any more: exactly one node holds the VIP, and one MAC answers."""
        self.give_back()
        began = time.monotonic()
        time.sleep(5 + 2 * DOWN_INTERVAL)
        macs = len(answering(LAN, "br0", VIP4, CLIENT4))
        self._judge(watch, began + DOWN_INTERVAL + SLACK, f"quiet after {number}")
        if len(watch.now()) != 1 or macs != 1 or holds(VIP4) != ("host" in watch.now()):
            shown = run(
                f"ip -br address; ip -n {PEER} -br address; keepalived-dummy status", check=False
            )
            self.wrong.append(
                f"quiet after {number}: {sorted(watch.now())}, {macs} MACs (seed {self.seed})\n{shown}"
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("/tmp/acceptance"))
    parser.add_argument("--steps", type=int, default=100, help="of each walk")
    parser.add_argument("--quiet", type=int, default=10, help="steps before a quiet period")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--unicast", action="store_true", help="this walk only")
    parser.add_argument("--multicast", action="store_true", help="this walk only")
    args = parser.parse_args()
    args.results.mkdir(parents=True, exist_ok=True)
    os.environ["LC_ALL"] = "C.UTF-8"
    result: dict[str, Any] = {"date": guest.now(), "seed": args.seed, "walks": [], "wrong": []}
    kinds = [(True, 0), (False, 2)]
    if args.unicast != args.multicast:
        kinds = [one for one in kinds if one[0] == args.unicast]
    for unicast, rp_filter in kinds:
        say(
            f"walk: {'unicast' if unicast else 'multicast'}, rp_filter {rp_filter}, seed {args.seed}"
        )
        walk = Walk(Testbed(args.results, INTERVAL), args.seed, unicast, rp_filter)
        try:
            walk.build()
            walk.walk(args.steps, args.quiet)
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            walk.wrong.append(f"cannot be run: {error}")
        finally:
            walk.close()
        result["walks"].append({"unicast": unicast, "rp_filter": rp_filter, "steps": walk.log})
        result["wrong"] += walk.wrong
        guest.save(args.results / "walks.json", result)
    for line in result["wrong"]:
        say(f"WRONG: {line}")
    done = sum(len(one["steps"]) for one in result["walks"])
    say(f"{done} steps and quiet periods, {len(result['wrong'])} wrong, seed {args.seed}")
    return 1 if result["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
