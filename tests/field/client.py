# SPDX-License-Identifier: MIT
"""A client on a guest's LAN, by its second NIC in a namespace of its own, and what it saw of the VIPs."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from guest import Guest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "debian/tests"))
import host

VIPS = ("192.0.2.10", "2001:db8::10")
IN_LAN = "ip netns exec lan"
JOIN = """\
ip netns add lan && ip link set ens4 netns lan && ip -n lan link set lo up && ip -n lan link set ens4 up
ip -n lan addr add 192.0.2.100/24 dev ens4 && ip -n lan addr add 2001:db8::64/64 dev ens4 nodad
"""


def join(guest: Guest) -> None:
    """Put the client on the LAN."""
    guest.run(JOIN)


def answered(guest: Guest, vip: str) -> bool:
    """Whether the VIP answers the client."""
    return guest.status(f"{IN_LAN} ping -n -q -c 1 -W 1 {vip}")[0] == 0


def all_answered(guest: Guest) -> bool:
    """Whether both VIPs do."""
    return all(answered(guest, vip) for vip in VIPS)


@dataclass
class Seen:
    """What the client saw of each VIP, and the states keepalived entered in the guests watched."""

    vips: dict[str, host.Seen] = field(default_factory=dict)
    states: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        pings = ", ".join(
            f"{one.lost} of {one.sent} pings lost (gap {one.gap} ms)" for one in self.vips.values()
        )
        return f"IPv4 and IPv6 {pings}, transitions {'/'.join(self.states) or 'none'}"

    def lost(self) -> int:
        """Pings lost, of both families."""
        return sum(one.lost for one in self.vips.values())

    def gap(self) -> int:
        """The longest time without an answer, in ms."""
        return max(one.gap for one in self.vips.values())


@contextlib.contextmanager
def pinging(guest: Guest, *watched: Guest) -> Iterator[Seen]:
    """Fill a Seen while the body runs: the guest's client pings both VIPs 50 times a second."""
    seen = Seen()
    guests = watched or (guest,)
    cursors = [one.cursor() for one in guests]
    for number, vip in enumerate(VIPS):
        ping = f"{IN_LAN} ping -n -D -i {host.INTERVAL} {vip}"
        guest.run(
            f"systemd-run -q --unit=ping{number} -p KillSignal=SIGINT sh -c '{ping} > /run/ping{number} 2>&1'"
        )
    time.sleep(0.5)
    yield seen
    time.sleep(1)
    guest.run("systemctl stop ping0 ping1")
    for number, vip in enumerate(VIPS):
        seen.vips[vip] = host.Seen()
        host.count_pings(guest.run(f"cat /run/ping{number}"), seen.vips[vip])
    for one, cursor in zip(guests, cursors, strict=True):
        if one.process.poll() is None:
            log = one.run(f"journalctl -q --no-pager -u keepalived --since='{cursor}'")
            seen.states += re.findall(r"Entering (\w+) STATE", log)
