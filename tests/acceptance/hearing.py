#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A node that has lost its own address: it is in FAULT, or hears its peers, and it comes back by itself.

usage: hearing.py [--results DIR] [--cell NAME]... [--control]

Each cell is one thing that takes the address of the host's uplink, for unicast or multicast VRRP and a value of
rp_filter. What counts: who holds the VIP, how many MACs answer for it, and that the host is BACKUP within five seconds of
its address. With --control the host has no pinned sources as far as this package knows, and the cell shows the fault.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import events
import guest
from guest import run, say, wait_for, write
from holders import Holders, answering
from testbed import (
    ADDRESS4,
    CLIENT4,
    KEEPALIVED,
    LAN,
    LEASE,
    PEER,
    PEER4,
    UPLINK,
    VIP4,
    Instance,
    Pieces,
    Testbed,
    journal,
    keepalived_conf,
)

HOST = "host"
DOWN_INTERVAL = 4.0  # seconds, at an advert_int of 1: three adverts, the skew, and a little for an emulated machine
BACK = 5.0  # seconds from the address to BACKUP
VIP_TOO = "192.0.2.11"  # of a second instance
OTHER, FAR = "192.0.2.77", "198.51.100.77"
_STATE = re.compile(r"\((VI_\d)\) entering (\w+) state", re.IGNORECASE)
_PACKAGE = Path("/usr/lib/python3/dist-packages/keepalived_dummy")
# What the control takes out: no source is known to be pinned.
PIECE = ("pinned.py", "found = tuple(one for one in read if one is not None)", "found = ()")
_MEMORY = "/run/keepalived-dummy/{plan,memory,state}.json"


@dataclass(frozen=True)
class Kind:
    """Unicast or multicast VRRP, and rp_filter."""

    unicast: bool
    rp_filter: int

    def __str__(self) -> str:
        return f"{'unicast' if self.unicast else 'multicast'}, rp_filter {self.rp_filter}"


UNICAST, MULTICAST = Kind(True, 2), Kind(False, 2)
LOOSE = (Kind(True, 0), Kind(False, 0))
STRICT = (Kind(True, 1), Kind(False, 1))
EVERY = (*LOOSE, *STRICT, UNICAST, MULTICAST)


@dataclass
class Scene:
    """The two nodes during a cell, and what was wrong so far."""

    bed: Testbed
    kind: Kind
    holders: Holders
    since: str
    wrong: list[str] = field(default_factory=list)
    steps: list[dict[str, Any]] = field(default_factory=list)

    def account(self) -> str:
        """What both nodes and the daemon said, for a cell that went wrong."""
        said = journal(self.since, "-u keepalived -u keepalived-dummy")
        return f"{said}\n-- peer\n{(self.bed.work / 'peer.log').read_text()}"

    def state(self, instance: str = "VI_1") -> str:
        """The state that the host's instance entered last."""
        run("journalctl -q --sync", check=False)
        said = _STATE.findall(journal(self.since, "-u keepalived"))
        return next((state.upper() for name, state in reversed(said) if name == instance), "")

    def expect(self, step: str, *holders: str) -> None:
        """Who holds the VIP after a step, and that one MAC answers for it."""
        macs = len(answering(LAN, "br0", VIP4, CLIENT4))
        seen = self.holders.now()
        self.steps.append(
            {"step": step, "holders": sorted(seen), "MACs": macs, "host": self.state()}
        )
        if seen != set(holders) or macs != 1:
            self.wrong.append(f"{step}: held by {sorted(seen)}, {macs} MACs answer")

    def was_no_master(self, step: str) -> None:
        """The host has not been MASTER since the cell began, not for a moment either."""
        run("journalctl -q --sync", check=False)
        entered = [
            state.upper() for _, state in _STATE.findall(journal(self.since, "-u keepalived"))
        ]
        if "MASTER" in entered:
            self.wrong.append(f"{step}: the host entered {', '.join(entered)}")

    def is_back(self, step: str, state: str = "BACKUP", seconds: float = BACK) -> None:
        """Wait for a state of the host."""
        try:
            took = wait_for(state, lambda: self.state() == state, seconds)
        except RuntimeError:
            self.wrong.append(
                f"{step}: {self.state() or 'no state'} after {seconds:.0f} s, not {state}"
            )
            took = seconds
        self.steps.append({"step": step, "seconds": round(took, 1), "host": self.state()})

    def address(self, there: bool) -> None:
        """Give the uplink its own address, or take it."""
        run(f"ip address {'replace' if there else 'del'} {ADDRESS4}/24 dev {UPLINK}")


@contextlib.contextmanager
def scene(bed: Testbed, kind: Kind, host: int, peer: int, how: str = "static") -> Iterator[Scene]:
    """Both nodes running with these priorities, the better one MASTER."""
    bed.build(how)
    for name in ("all", "default", UPLINK):
        run(f"sysctl -q net.ipv4.conf.{name}.rp_filter={kind.rp_filter}")
    since = guest.cursor()
    watch = Holders({HOST: "", PEER: PEER}, VIP4)
    made = Scene(bed, kind, watch, since)
    try:
        bed.peer_up(peer, kind.unicast)
        bed.host_up(Pieces(unicast=kind.unicast), host)
        better = HOST if host > peer else PEER
        wait_for(f"{better} is the only MASTER", lambda: watch.now() == {better}, 30)
        wait_for("the host has a state", made.state, 30)
        time.sleep(1)
        yield made
    finally:
        watch.close()
        run("systemctl stop keepalived", check=False)
        bed.close()


def away(bed: Testbed, kind: Kind) -> Scene:
    """A BACKUP loses its address for 20 s."""
    with scene(bed, kind, 100, 150) as it:
        it.address(False)
        time.sleep(20)
        it.expect("20 s without its address", PEER)
        it.was_no_master("20 s without its address")
        it.address(True)
        it.is_back("address")
        it.expect("address", PEER)
    return it


def never(bed: Testbed, kind: Kind) -> Scene:
    """A node boots before its DHCP server answers: no address since the boot, and nothing known of the last one."""
    with scene(bed, kind, 100, 150) as it:
        run("systemctl stop keepalived keepalived-dummy")
        it.address(False)
        run(f"bash -c 'rm -f {_MEMORY}'; ip link set keepalived0 down")
        run("ip route flush proto 75; ip route flush table local proto 75", check=False)
        it.since = guest.cursor()
        run("systemctl start keepalived-dummy keepalived")
        time.sleep(12)
        it.expect("started without its address", PEER)
        it.was_no_master("started without its address")
        it.address(True)
        it.is_back("address")
        it.expect("address", PEER)
        guest.stop(it.bed._peer)
        it.is_back("the peer is gone", "MASTER", 10)
        it.expect("the peer is gone", HOST)
    return it


def reload(bed: Testbed, kind: Kind) -> Scene:
    """A MASTER's keepalived is reloaded, then restarted, while its address is away; then a better node comes."""
    with scene(bed, kind, 200, 50) as it:
        it.address(False)
        time.sleep(2)
        run("systemctl reload keepalived")
        time.sleep(5)
        it.expect("reloaded", HOST)
        run("systemctl restart keepalived")
        time.sleep(2 * DOWN_INTERVAL + 2)
        it.expect("restarted", HOST)
        it.bed.peer_up(250, kind.unicast)
        time.sleep(2 * DOWN_INTERVAL)
        it.expect("a better node", PEER)
        it.address(True)
        it.is_back("address")
        it.expect("address", PEER)
    return it


def changed(bed: Testbed, kind: Kind) -> Scene:
    """A BACKUP gets another address of its network, then one of another network, then its own."""
    with scene(bed, kind, 100, 150) as it:
        run(f"ip address add {OTHER}/24 dev {UPLINK}")
        it.address(False)
        time.sleep(8)
        it.expect("another address", PEER)
        run(f"ip address add {FAR}/24 dev {UPLINK}; ip address del {OTHER}/24 dev {UPLINK}")
        time.sleep(14)
        it.expect("another network", PEER)
        it.was_no_master("another network")
        it.address(True)
        run(f"ip address del {FAR}/24 dev {UPLINK}")
        it.is_back("address")
        it.expect("address", PEER)
    return it


def killed(bed: Testbed, kind: Kind) -> Scene:
    """The daemon is killed, stopped and upgraded while a BACKUP's address is away, and its routes are taken."""
    with scene(bed, kind, 100, 150) as it:
        it.address(False)
        time.sleep(1)
        run("systemctl kill -s KILL keepalived-dummy; ip route flush proto 75")
        time.sleep(8)
        it.expect("killed", PEER)
        run("systemctl stop keepalived-dummy")
        time.sleep(6)
        it.expect("stopped", PEER)
        run("systemctl start keepalived-dummy")
        run(f"DEBIAN_FRONTEND=noninteractive dpkg -i {events.package()}")
        time.sleep(6)
        it.expect("upgraded", PEER)
        it.was_no_master("upgraded")
        it.address(True)
        it.is_back("address")
        it.expect("address", PEER)
    return it


def both(bed: Testbed, kind: Kind) -> Scene:
    """Two instances on one uplink and one dummy, the host MASTER of one and BACKUP of the other."""
    with scene(bed, kind, 200, 100) as it:
        host = Instance(UPLINK, 200, 1, "keepalived0", ADDRESS4, PEER4 if kind.unicast else "")
        peer = Instance(
            "peer0", 100, 1, "", PEER4 if kind.unicast else "", ADDRESS4 if kind.unicast else ""
        )
        write(KEEPALIVED, keepalived_conf(host) + _second(host, 50))
        it.bed.peer_up(100, kind.unicast, _second(peer, 150))
        run("systemctl restart keepalived")
        second = Holders({HOST: "", PEER: PEER}, VIP_TOO)
        try:
            wait_for("each node is MASTER of one", lambda: _are(it, second), 30)
            for step, command, seconds in (
                ("away", f"ip address del {ADDRESS4}/24 dev {UPLINK}", 12),
                ("reloaded", "systemctl reload keepalived", 8),
                ("restarted", "systemctl restart keepalived", 12),
                ("uplink down", f"ip link set {UPLINK} down", 1),
                ("uplink up", f"ip link set {UPLINK} up", 14),
                ("address", f"ip address replace {ADDRESS4}/24 dev {UPLINK}", 6),
            ):
                run(command)
                time.sleep(seconds)
                if step != "uplink down":
                    it.expect(step, HOST)
                    if second.now() != {PEER}:
                        it.wrong.append(f"{step}: the second VIP is held by {sorted(second.now())}")
        finally:
            second.close()
    return it


def _are(it: Scene, second: Holders) -> bool:
    return it.holders.now() == {HOST} and second.now() == {PEER}


def _second(one: Instance, priority: int) -> str:
    """The block of a second instance beside `one`."""
    text = keepalived_conf(one)
    text = text[text.index("vrrp_instance") :]
    text = re.sub(r"    virtual_ipaddress_excluded \{.*?\n    \}\n", "", text, flags=re.DOTALL)
    text = text.replace("VI_1", "VI_2").replace("virtual_router_id 51", "virtual_router_id 52")
    text = re.sub(r"priority \d+", f"priority {priority}", text)
    return text.replace(f"{VIP4}/", f"{VIP_TOO}/")


def lease(bed: Testbed, kind: Kind) -> Scene:
    """The DHCP server dies and a BACKUP's lease ends."""
    with scene(bed, kind, 100, 150, "dhcp") as it:
        it.bed.dhcp_down()
        wait_for("the lease ends", lambda: ADDRESS4 not in _addresses(), LEASE + 30, 0.5)
        time.sleep(15)
        it.expect("15 s after the lease", PEER)
        it.was_no_master("15 s after the lease")
        it.bed.dhcp_up()
        wait_for("an address", lambda: ADDRESS4 in _addresses(), 90, 0.2)
        it.is_back("address")
        it.expect("address", PEER)
    return it


def down(bed: Testbed, kind: Kind) -> Scene:
    """The uplink is down for five seconds, and the DHCP server does not answer when it is up again."""
    with scene(bed, kind, 100, 150, "dhcp") as it:
        it.bed.dhcp_down()
        run(f"ip link set {UPLINK} down")
        wait_for("networkd takes the address", lambda: ADDRESS4 not in _addresses(), 30, 0.2)
        time.sleep(5)
        run(f"ip link set {UPLINK} up")
        time.sleep(12)
        it.expect("up again, no address", PEER)
        it.was_no_master("up again, no address")
        it.bed.dhcp_up()
        wait_for("an address", lambda: ADDRESS4 in _addresses(), 90, 0.2)
        it.is_back("address")
        it.expect("address", PEER)
    return it


def _addresses() -> str:
    return run(f"ip -4 -o address show dev {UPLINK}")


Cell = Callable[[Testbed, Kind], Scene]

CELLS: tuple[tuple[Cell, tuple[Kind, ...]], ...] = (
    (away, EVERY),
    (never, EVERY),
    (reload, (*LOOSE, UNICAST, MULTICAST)),
    (changed, (*LOOSE, UNICAST, MULTICAST)),
    (killed, (UNICAST, MULTICAST)),
    (both, (UNICAST, MULTICAST)),
    (lease, (UNICAST, MULTICAST)),
    (down, (UNICAST, MULTICAST)),
)
# What the fault was measured with: each of these has to fail without the piece.
CONTROLS: tuple[tuple[Cell, Kind], ...] = (
    (away, LOOSE[0]),
    (away, MULTICAST),
    (never, LOOSE[0]),
    (never, MULTICAST),
    (reload, LOOSE[0]),
    (lease, MULTICAST),
)


@contextlib.contextmanager
def without_the_piece() -> Iterator[None]:
    """The installed program without what this is about."""
    module, old, new = PIECE
    path = _PACKAGE / module
    text = path.read_text()
    if old not in text:
        raise RuntimeError(f"{path} has no '{old}'")
    path.write_text(text.replace(old, new))
    try:
        yield
    finally:
        path.write_text(text)


def measured(bed: Testbed, cell: Cell, kind: Kind, control: bool) -> dict[str, Any]:
    """A cell, and what is wrong with it."""
    say(f"cell: {cell.__name__}, {kind}{', control' if control else ''}")
    try:
        it = cell(bed, kind)
        wrong, steps = it.wrong, it.steps
        if wrong and not control:
            (bed.work / f"{cell.__name__}.log").write_text(it.account())
    except (RuntimeError, ValueError, OSError, subprocess.SubprocessError) as error:
        bed.close()
        wrong, steps = [f"cannot be run: {error}"], []
        control = False
    if control:
        found, wrong = wrong, [] if wrong else ["nothing failed without the piece"]
        steps.append({"step": "without the piece", "found": found})
    made = {"cell": f"{cell.__name__}, {kind}", "control": control, "steps": steps, "wrong": wrong}
    for step in steps:
        say(f"  {step}")
    for line in wrong:
        say(f"  WRONG: {line}")
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("/tmp/acceptance"))
    parser.add_argument("--cell", action="append", choices=[cell.__name__ for cell, _ in CELLS])
    parser.add_argument(
        "--short", action="store_true", help="unicast and multicast at rp_filter 2 only"
    )
    parser.add_argument("--control", action="store_true", help="only what fails without the piece")
    args = parser.parse_args()
    args.results.mkdir(parents=True, exist_ok=True)
    os.environ["LC_ALL"] = "C.UTF-8"
    result: dict[str, Any] = {"date": guest.now(), "cells": []}
    bed = Testbed(args.results)
    todo = [(cell, kind, False) for cell, kinds in CELLS for kind in kinds]
    if args.short:
        todo = [one for one in todo if one[1].rp_filter == 2]
    todo = [] if args.control else todo
    todo += [(cell, kind, True) for cell, kind in CONTROLS]
    for cell, kind, control in todo:
        if args.cell and cell.__name__ not in args.cell:
            continue
        with without_the_piece() if control else contextlib.nullcontext():
            result["cells"].append(measured(bed, cell, kind, control))
        result["wrong"] = [f"{c['cell']}: {w}" for c in result["cells"] for w in c["wrong"]]
        guest.save(args.results / "hearing.json", result)
    say(f"{len(result['cells'])} cells, {len(result['wrong'])} wrong")
    return 1 if result["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
