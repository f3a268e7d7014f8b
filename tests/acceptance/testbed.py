# SPDX-License-Identifier: MIT
"""The host under test and its LAN.

The guest's root namespace is the host: netplan and networkd have its uplink. Behind the uplink's cable,
the namespace `lan` is the switch, the DHCP server and the client, and `peer` is the second VRRP node.
"""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import guest
from guest import run, start, stop, wait_for, wipe, write

# The guest's two NICs that are joined by a cable (tests/guest/qemu), or a veth pair where there are none.
HAS_CABLE = Path("/etc/systemd/network/10-cable-a.link").exists()
UPLINK, CABLE = ("ens3", "lan0") if HAS_CABLE else ("uplink0", "cable0")
DUMMY = "keepalived0"
LAN, PEER = "lan", "peer"
ADDRESS4, ADDRESS6 = "192.0.2.1", "2001:db8::1"
PEER4, PEER6 = "192.0.2.2", "2001:db8::2"
OTHER4, OTHER6 = "192.0.2.7", "2001:db8::7"  # what the uplink is given at a change
# The client is not the router: networkd gives a router a host route, which would serve its replies alone.
CLIENT4 = "192.0.2.101"
ROUTER4, ROUTER6 = "192.0.2.100", "2001:db8::100"
VIP4, VIP6 = "192.0.2.10", "2001:db8::10"
LEASE = 120  # seconds: dnsmasq gives no shorter one

NETPLAN = Path("/etc/netplan/10-uplink.yaml")
_PULL = Path("/dev/virtio-ports/cable")  # see tests/guest/cable.py
KEEPALIVED = Path("/etc/keepalived/keepalived.conf")
_CONF = Path("/etc/keepalived-dummy.d/keepalived.conf")
_STATE = re.compile(r"\(VI_1\) Entering (\w+) STATE")


def uplink_yaml(
    how: str, name: str = UPLINK, address4: str = ADDRESS4, address6: str = ADDRESS6
) -> str:
    """netplan's YAML of the uplink, static or by DHCP; `name` is its id there, `address4` is for a static one alone."""
    routes = [f"{{to: '::/0', via: '{ROUTER6}'}}"]
    lines = [f"addresses: ['{address6}/64']", "dhcp4: true", "dhcp-identifier: mac"]
    if how == "static":
        routes.append(f"{{to: 0.0.0.0/0, via: {ROUTER4}}}")
        lines = [f"addresses: [{address4}/24, '{address6}/64']"]
    lines += [f"match: {{name: {UPLINK}}}"] if name != UPLINK else []
    lines += [f"routes: [{', '.join(routes)}]", "accept-ra: false"]
    settings = "".join(f"      {line}\n" for line in lines)
    return f"network:\n  version: 2\n  ethernets:\n    {name}:\n{settings}"


@dataclass(frozen=True)
class Pieces:
    """What the host has of what a VIP needs; each may be taken out to see it missed.

    Written by hand, or `adopted`: as everybody has it at first, and the rest is for `adopt` to do. With `unicast` the
    nodes name each other.
    """

    way_out: bool = True
    pinned: bool = True
    on_dummy: bool = True
    adopted: bool = False
    unicast: bool = False

    @property
    def whole(self) -> bool:
        """Whether nothing is taken out."""
        return self.way_out and self.pinned and self.on_dummy

    def __str__(self) -> str:
        out = [
            name
            for name, there in (
                ("no way out", self.way_out),
                ("no pinned source", self.pinned),
                ("VIP on the uplink", self.on_dummy),
            )
            if not there
        ]
        out = out or ["adopted" if self.adopted else "all pieces"]
        return ", ".join(out + ["unicast"] * self.unicast)


@dataclass(frozen=True)
class Instance:
    """The vrrp_instance of either node.

    Without a device its VIPs are on the uplink, as if nobody had thought of it. `source` is the pinned one, or empty;
    `other` the other node's address where adverts are unicast. `interval` is in seconds. `lines` are further ones of
    the block.
    """

    uplink: str
    priority: int
    interval: float
    device: str = ""
    source: str = ""
    other: str = ""
    lines: tuple[str, ...] = ()


def keepalived_conf(one: Instance) -> str:
    """keepalived.conf of a node."""
    pinned = (
        f"    {'unicast_src_ip' if one.other else 'mcast_src_ip'} {one.source}\n"
        if one.source
        else ""
    )
    pinned += f"    unicast_peer {{\n        {one.other}\n    }}\n" if one.other else ""
    pinned += "".join(f"    {line}\n" for line in one.lines)
    # Adverts that are 50 ms apart ask for a keepalived that waits for nobody; it says so itself (max_auto_priority). It
    # would be killed after 10 ms without a pause (RLIMIT_RTTIME), which an emulated one needs now and then.
    urgent = (
        "    vrrp_rt_priority 50\n    vrrp_rlimit_rttime 10000000\n" if one.interval < 0.1 else ""
    )
    vip4 = f"{VIP4}/32 dev {one.device}" if one.device else f"{VIP4}/24"
    vip6 = f"{VIP6}/128 dev {one.device}" if one.device else f"{VIP6}/64"
    return f"""\
global_defs {{
    vrrp_version 3
{urgent}}}
vrrp_instance VI_1 {{
    interface {one.uplink}
    state BACKUP
    virtual_router_id 51
    priority {one.priority}
    advert_int {one.interval}
{pinned}    virtual_ipaddress {{
        {vip4}
    }}
    virtual_ipaddress_excluded {{
        {vip6}
    }}
}}
"""


class Testbed:
    """The LAN, and what runs in it."""

    def __init__(self, work: Path, interval: float = 1) -> None:
        self.work = work
        self.interval = interval
        self._dhcp: subprocess.Popen[bytes] | None = None
        self._peer: subprocess.Popen[bytes] | None = None
        self._peer_log = work / "peer.log"
        self._peer_read = 0

    # The LAN

    def build(self, how: str) -> None:
        """An uplink configured by netplan, static or by DHCP, and the LAN behind it."""
        run("systemctl stop keepalived", check=False)
        self.close()
        wipe([LAN, PEER])
        if not Path(f"/sys/class/net/{UPLINK}").exists():
            run(f"ip link add {UPLINK} type veth peer name {CABLE}")
        for name in (LAN, PEER):
            run(f"ip netns add {name}; ip -n {name} link set lo up")
        wait_for("the cable's end is home", Path(f"/sys/class/net/{CABLE}").exists)
        run(f"""set -e
            ip link set {CABLE} netns {LAN}
            ip -n {LAN} link add br0 type bridge
            ip -n {LAN} link add to-peer type veth peer name peer0 netns {PEER}
            for port in {CABLE} to-peer; do
                ip -n {LAN} link set $port master br0 up
            done
            ip -n {LAN} link set br0 addrgenmode none up
            ip -n {LAN} address add {CLIENT4}/24 dev br0
            ip -n {LAN} address add {ROUTER4}/24 dev br0
            ip -n {LAN} address add {ROUTER6}/64 dev br0 nodad
            ip -n {PEER} link set peer0 up
            ip -n {PEER} address add {PEER4}/24 dev peer0
            ip -n {PEER} address add {PEER6}/64 dev peer0 nodad""")
        if how == "dhcp":
            self.dhcp_up()
        write(NETPLAN, uplink_yaml(how), 0o600)
        for name in ("all", "default", UPLINK):  # as Ubuntu has it
            run(f"sysctl -q net.ipv4.conf.{name}.rp_filter=2")
        run("systemctl reset-failed systemd-networkd", check=False)
        run("netplan apply")
        wait_for("the uplink has its addresses", has_addresses)

    def dhcp_up(self, address: str = ADDRESS4) -> None:
        """The DHCP server, which gives the uplink this address: the one that is pinned, where no other is said."""
        mac = Path(f"/sys/class/net/{UPLINK}/address").read_text().strip()
        words = f"""ip netns exec {LAN} dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0
            --interface=br0 --bind-interfaces --dhcp-authoritative --dhcp-leasefile=/dev/null --log-dhcp
            --dhcp-range={address},{address},255.255.255.0,{LEASE} --dhcp-host={mac},{address}
            --dhcp-option=option:router,{ROUTER4} --log-facility=- --pid-file="""
        self._dhcp = start(words.split(), self.work / "dnsmasq.log")

    def dhcp_down(self) -> None:
        """The DHCP server is dead."""
        stop(self._dhcp)
        self._dhcp = None

    def cable(self, plugged: bool) -> None:
        """The uplink's carrier, as of a cable that is pulled or plugged."""
        word = "up" if plugged else "down"
        if not HAS_CABLE:
            run(f"ip -n {LAN} link set {CABLE} {word}")
            return
        if not _PULL.exists():
            raise RuntimeError(
                f"no {_PULL}: the guest is not of tests/guest/run, which pulls the cable"
            )
        with _PULL.open("r+b", buffering=0) as port:
            port.write(f"{word}\n".encode())
            said = port.read(100)
        if said != b"done\n":
            raise RuntimeError(f"the cable is not {word}: {said!r}")

    def close(self) -> None:
        """End what was started."""
        self.dhcp_down()
        stop(self._peer)
        self._peer = None

    # The nodes

    def configure(self, pieces: Pieces) -> None:
        """The conf of the package, where it is installed."""
        if _CONF.parent.exists():
            write(_CONF, f"[Uplink]\nWayOut={'yes' if pieces.way_out else 'no'}\n")

    def host_up(self, pieces: Pieces, priority: int = 200) -> None:
        """keepalived on the host, with these pieces."""
        self.configure(pieces)
        if _CONF.parent.exists():
            run("systemctl reset-failed keepalived-dummy", check=False)
            run("systemctl restart keepalived-dummy")
        device = "" if pieces.adopted else DUMMY if pieces.on_dummy else UPLINK
        source = ADDRESS4 if pieces.pinned and not pieces.adopted else ""
        other = PEER4 if pieces.unicast else ""
        self.keepalived_up(Instance(UPLINK, priority, self.interval, device, source, other))

    def keepalived_up(self, instance: Instance) -> None:
        """keepalived on the host, with this instance."""
        write(KEEPALIVED, keepalived_conf(instance))
        run("systemctl reset-failed keepalived; systemctl restart keepalived", check=False)

    def peer_up(
        self,
        priority: int = 50,
        unicast: bool = False,
        more: str = "",
        unicast_to: str = ADDRESS4,
    ) -> None:
        """keepalived on the second node; `more` follows in its configuration, `unicast_to` is where the host's adverts come from."""
        stop(self._peer)
        conf = self.work / "peer.conf"
        source, other = (PEER4, unicast_to) if unicast else ("", "")
        instance = Instance("peer0", priority, self.interval, "", source, other)
        conf.write_text(keepalived_conf(instance) + more)
        words = f"""ip netns exec {PEER} keepalived -n -l -f {conf}
            -p /run/peer-keepalived.pid -r /run/peer-vrrp.pid -c /run/peer-checkers.pid"""
        self._peer = start(words.split(), self._peer_log)

    def settle(self) -> None:
        """Wait until the host is master and the client reaches both VIPs, or as near as it gets."""
        wait_for("the host holds the VIP", lambda: holds(VIP4), 30)
        wait_for("the client reaches the VIP", lambda: reachable(VIP4), 20)
        wait_for("the client reaches the IPv6 VIP", lambda: reachable(VIP6), 20)
        time.sleep(1)

    # What they say

    def cursor(self) -> str:
        """Where the journal ends now, for --since=; what the peer said before is read."""
        self._peer_read = self._peer_log.stat().st_size if self._peer_log.exists() else 0
        return guest.cursor()

    def entered(self, cursor: str) -> tuple[list[str], list[str]]:
        """The states that the host and the peer entered since `cursor`."""
        run("journalctl -q --sync", check=False)
        said = journal(cursor, "-u keepalived")
        with self._peer_log.open() as log:
            log.seek(self._peer_read)
            peer = log.read()
        return _STATE.findall(said), _STATE.findall(peer)


def journal(cursor: str, words: str) -> str:
    """What the journal has since `cursor` for these journalctl words."""
    return run(f"journalctl --no-pager -q -o short-precise --since='{cursor}' {words}", check=False)


def holds(vip: str) -> bool:
    """Whether the host has the address, on whatever interface."""
    return bool(devices_of(vip))


def devices_of(vip: str) -> list[str]:
    """The host's interfaces that have the address."""
    shown = run("ip -o address show", check=False).splitlines()
    return [line.split()[1] for line in shown if f" {vip}/" in line]


def own_addresses() -> set[str]:
    """The uplink's addresses, but for link-local ones and VIPs."""
    shown = run(f"ip -o address show dev {UPLINK} scope global", check=False).splitlines()
    return {line.split()[3].split("/")[0] for line in shown} - {VIP4, VIP6}


def has_addresses() -> bool:
    """Whether the uplink has its own addresses of both families, IPv6 past its duplicate detection."""
    shown = run(f"ip -o address show dev {UPLINK}", check=False)
    there = all(f" {address}/" in shown for address in (ADDRESS4, ADDRESS6))
    return there and "tentative" not in shown


def reachable(vip: str) -> bool:
    """Whether the client gets an answer."""
    return "1 received" in run(f"ip netns exec {LAN} ping -n -q -c 1 -W 1 {vip}", check=False)
