#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The wire over real NICs: a node and a client, two guests with virtio NICs on one network.

usage: wire_two_guests.py SUITE DEB       here: boots both, 0 where both found what they should
       wire_two_guests.py node DEB        in the guest that holds the VIPs
       wire_two_guests.py client          in the other

A veth passes every multicast frame; a virtio NIC passes what its driver asked for, as hardware does. So a
solicitation for an IPv6 VIP comes in only while the uplink is a member of its solicited-node group, which is
the daemon's work: the client asks while the daemon holds the memberships, and again when they are given up.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scapy.packet import Packet

HERE = Path(__file__).resolve()
TOP = HERE.parents[2]
sys.path.insert(0, str(TOP / "debian" / "tests"))

NIC, DUMMY = "nic0", "keepalived0"
NET4, NET6 = "198.18.3.", "2001:db8:3::"
VIP4, VIPS6 = f"{NET4}10", (f"{NET6}beef", "fe80::ab:cdef")
PORT = 4711
PHASES = ("held", "given up")


def nic_up(host: int) -> None:
    """The NIC with this host's addresses, as networkd would set it."""
    from wire_lan import batch

    batch(f"""
        link set dev {NIC} up
        address add {NET4}{host}/24 dev {NIC}
        address add {NET6}{host}/64 dev {NIC} nodad
        """)


def node(deb: str) -> int:
    """Hold the VIPs; at the client's word give the memberships up; end at its next."""
    from host import run, wait_for
    from wire_frame import solicited_node
    from wire_lan import conf, hold

    run(f"dpkg -i {deb}", timeout=300)
    nic_up(5)
    conf(DUMMY, f"Name={NIC}")
    run("systemctl restart keepalived-dummy")
    hold(DUMMY, VIP4, *VIPS6)

    def members() -> list[bool]:
        shown = run(f"ip maddress show dev {NIC}")
        return [solicited_node(vip) in shown for vip in VIPS6]

    wait_for("the uplink is a member of each VIP's group", lambda: all(members()), 60)
    ears = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ears.bind(("", PORT))
    ears.settimeout(400)
    for word in ("give up", "end"):
        heard, where = ears.recvfrom(64)
        while heard.decode() != word:
            heard, where = ears.recvfrom(64)
        if word == "give up":
            run("systemctl stop keepalived-dummy")
            wait_for("given up", lambda: not any(members()), 30)
        print(f"at the word: {word}\n{run(f'ip maddress show dev {NIC}')}", flush=True)
        ears.sendto(b"done", where)
    return 0


def tell(word: str) -> None:
    """Tell the node, again until it says that it is done."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
        mouth.settimeout(5)
        for _ in range(20):
            mouth.sendto(word.encode(), (f"{NET4}5", PORT))
            try:
                mouth.recv(64)
            except TimeoutError:
                continue
            return
    raise AssertionError(f"the node does not do: {word}")


def by_multicast(answer: Packet) -> bool:
    """Whether an advertisement answers a solicitation by multicast: it has to have the option then (RFC 4861 7.2.4).

    The client's own kernel probes by unicast, which needs no membership, whoever has asked for its address;
    and the node asks so from a link-local VIP.
    """
    from scapy.layers.inet6 import ICMPv6NDOptDstLLAddr

    return ICMPv6NDOptDstLLAddr in answer


def client() -> int:
    """Ask for the VIPs, see who joins; 0 where all is as it should be."""
    from host import run, status, wait_for
    from scapy.layers.inet6 import ICMPv6MLReport2
    from wire_frame import (
        Ask,
        arp_answers,
        judge_advertisement,
        judge_arp,
        nd_answers,
        reported,
        solicited_node,
    )
    from wire_lan import Tap

    nic_up(1)
    groups = {solicited_node(vip) for vip in VIPS6}
    with Tap("", NIC) as tap:

        def joined() -> set[str]:
            tap.watch(1)
            reports = [frame for frame in tap.seen if ICMPv6MLReport2 in frame]
            return groups & {group for frame in reports for group in reported(frame)}

        wait_for("an MLD report of each group", lambda: joined() == groups, 300)
        print(f"MLD reports seen for {sorted(groups)}", flush=True)
        wait_for("the node", lambda: status(f"ping -c 1 -W 1 {NET4}5") == 0, 60)
        mac = run(f"ip neighbour show {NET4}5 dev {NIC}").split()[2]
        for phase in PHASES:
            wanted = 1 if phase == "held" else 0
            for vip in VIPS6:
                answers = [a for a in nd_answers(tap, Ask(f"{NET6}1", vip), 5) if by_multicast(a)]
                print(f"memberships {phase}: {len(answers)} answers for {vip}", flush=True)
                assert len(answers) == wanted, [a.show(dump=True) for a in answers]
                for answer in answers:
                    judge_advertisement(answer, mac, vip, solicited=1)
            answers = arp_answers(tap, f"{NET4}1", VIP4, 5)
            assert len(answers) == 1, answers
            judge_arp(answers[0], mac, VIP4)
            if phase == "held":
                for vip in (VIP4, VIPS6[0]):
                    pings = run(f"ping -n -c 5 -i 0.2 -W 2 {vip}", check=False)
                    assert " 0% packet loss" in pings, pings
                tell("give up")
        # QEMU's multicast socket brings a guest its own frames too.
        sources = {frame.src for frame in tap.seen} - {tap.mac}
        assert sources == {mac}, f"only the uplink's MAC is seen: {sources}"
    tell("end")
    print("ok", flush=True)
    return 0


def both(suite: str, deb: Path) -> int:
    """Boot the two guests and wait for them."""
    run = TOP / "tests" / "guest" / "run"
    with tempfile.TemporaryDirectory(dir=TOP / "build") as folder:
        job = Path(folder) / "job"
        job.mkdir()
        shutil.copy(deb, job / "package.deb")
        for part in ("debian/tests", "tests/acceptance"):
            shutil.copytree(TOP / part, job / part)
        script = "python3 tests/acceptance/wire_two_guests.py"
        nic = "socket,mcast=230.0.0.75:19268,localaddr=127.0.0.1"
        roles = {"client": f"{script} client", "node": f"{script} node /job/package.deb"}
        guests = []
        for number, (role, command) in enumerate(roles.items()):
            words = ["--nic", nic, "--node", str(number), "--results", f"{folder}/{role}"]
            words += ["--timeout", "600", *(["--partner"] if number else [])]
            guests.append(subprocess.Popen([str(run), *words, suite, str(job), command]))
        return max(guest.wait() for guest in guests)


def main(words: list[str]) -> int:
    if words[:1] == ["client"]:
        return client()
    if words[:1] == ["node"]:
        return node(words[1])
    return both(words[0], Path(words[1]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
