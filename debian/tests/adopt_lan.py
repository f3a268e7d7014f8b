# SPDX-License-Identifier: MIT
"""Two VRRP nodes and a client on a LAN of veth pairs: this host, a namespace `peer`, a namespace `lan`."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import host
from host import DUMMY, run

UPLINK = "up0"
OWN4, OWN6, VIP4, VIP6 = "198.51.100.5", "2001:db8:5::5", "198.51.100.10", "2001:db8:5::10"
CONF = Path("/etc/keepalived/keepalived.conf")
PEER_CONF = Path("/run/peer-keepalived.conf")

INSTANCE = """\
! one of a pair
vrrp_instance PAIR {{
\tinterface {uplink}
\tstate BACKUP
\tvirtual_router_id 77
\tpriority {priority}
\tadvert_int 1
\t{pin}
\tvirtual_ipaddress {{
\t\t{vip4}\t# the service
\t}}
\tvirtual_ipaddress_excluded {{
\t\t{vip6}
\t}}
{more}}}
"""
ROUTES = f"""\
\tvirtual_routes {{
\t\tsrc {VIP4} to 203.0.113.0/24 via 198.51.100.1 dev {UPLINK}
\t\tsrc {VIP4} 203.0.114.0/24 dev {UPLINK}
\t}}
\tvirtual_rules {{
\t\tfrom {VIP4} lookup 100
\t}}
"""


def cable_up() -> None:
    """A bridge in `lan` with three cables: to this host, to `peer`, and the client's own end."""
    if host.flags(UPLINK):
        return
    run("modprobe -a veth bridge dummy")
    for space in ("lan", "peer"):
        run(f"ip netns del {space}; ip netns add {space}", check=False)
        run(f"ip -n {space} link set lo up")
    run("ip -n lan link add sw type bridge && ip -n lan link set sw up")
    run(
        "ip -n lan addr add 198.51.100.100/24 dev sw; ip -n lan addr add 2001:db8:5::64/64 dev sw nodad"
    )
    for name, space in ((UPLINK, ""), ("up0", "peer")):
        port = f"p-{space or 'host'}"
        there = f"netns {space}" if space else ""
        run(f"ip link add {port} netns lan type veth peer name {name} {there}")
        run(f"ip -n lan link set {port} master sw up")
    networkd = f"[Match]\nName={UPLINK}\n\n[Network]\nAddress={OWN4}/24\nAddress={OWN6}/64\nIPv6AcceptRA=no\n"
    host.write(Path("/etc/systemd/network/10-up0.network"), networkd)
    run("systemctl start systemd-networkd; networkctl reload; networkctl reconfigure up0")
    run("ip -n peer link set up0 up; ip -n peer addr add 198.51.100.6/24 dev up0")
    run("ip -n peer addr add 2001:db8:5::6/64 dev up0 nodad")
    host.wait_for("the uplink has its address", lambda: host.holds(OWN4, UPLINK))


def instance(priority: int = 150, more: str = "", uplink: str = UPLINK, pin: str = "") -> str:
    """A configuration as it is before adopt."""
    return INSTANCE.format(
        uplink=uplink, priority=priority, more=more, pin=pin, vip4=f"{VIP4}/24", vip6=f"{VIP6}/64"
    )


def start(text: str) -> None:
    """This host's keepalived with this configuration, and master."""
    CONF.unlink(missing_ok=True)
    host.write(CONF, text)
    run("systemctl reset-failed keepalived; systemctl restart keepalived")
    host.wait_for("the VIP is there", lambda: host.holds(VIP4, UPLINK) or host.holds(VIP4, DUMMY))


@contextlib.contextmanager
def peer(priority: int = 100) -> Iterator[Path]:
    """The second node; what its keepalived says is in the file."""
    log = Path("/run/peer.log")
    host.write(PEER_CONF, instance(priority, pin="mcast_src_ip 198.51.100.6"))
    words = f"-n -l -D -f {PEER_CONF} -p /run/peer.pid -r /run/peer-vrrp.pid"
    with log.open("w") as file:
        node = subprocess.Popen(
            ["ip", "netns", "exec", "peer", "keepalived", *words.split()], stdout=file, stderr=file
        )
    try:
        host.wait_for("the peer runs", lambda: "Entering BACKUP" in log.read_text())
        yield log
    finally:
        node.terminate()
        node.wait(30)


@dataclass
class Pings:
    """What the client saw of both VIPs, and the states this host's keepalived entered."""

    sent: int = 0
    lost: int = 0
    states: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.lost} of {self.sent} pings lost, states entered: {'/'.join(self.states) or 'none'}"


@contextlib.contextmanager
def pinging() -> Iterator[Pings]:
    """100 pings a second at each VIP while the body runs."""
    seen = Pings()
    cursor = host.cursor()
    clients = [
        subprocess.Popen(
            ["ip", "netns", "exec", "lan", "ping", "-n", "-i", "0.01", vip],
            stdout=subprocess.PIPE,
            text=True,
        )
        for vip in (VIP4, VIP6)
    ]
    try:
        yield seen
    finally:
        said = []
        for client in clients:
            client.send_signal(signal.SIGINT)
            said.append(client.communicate(timeout=60)[0])
    for text in said:
        answered = {int(number) for number in re.findall(r"icmp_seq=(\d+) ", text)}
        last = max(answered, default=0)  # what came after it may be answered yet
        seen.sent += last
        seen.lost += last - len(answered)
        assert last > 20, text
    entered = host.journal(f"-u keepalived --after-cursor='{cursor}'")
    seen.states = tuple(re.findall(r"Entering (\w+) STATE", entered))
