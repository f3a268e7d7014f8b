# SPDX-License-Identifier: MIT
"""Two VRRP nodes and a client on a LAN of veth pairs: this host, a namespace `peer`, a namespace `lan`."""

from __future__ import annotations

import contextlib
import itertools
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import host
from host import DUMMY, run

UPLINK, SECOND = "up0", "up1"
OWN4, OWN6, VIP4, VIP6 = "198.51.100.5", "2001:db8:5::5", "198.51.100.10", "2001:db8:5::10"
SECOND_OWN, SECOND_VIP = "203.0.113.5", "203.0.113.10"
PEER4 = "198.51.100.6"
CONF = Path("/etc/keepalived/keepalived.conf")
PEER_CONF = Path("/run/peer-keepalived.conf")
STATE = Path("/var/lib/keepalived-dummy")
DROP_IN = Path("/run/systemd/system/keepalived.service.d/50-test.conf")

INSTANCE = """\
! one of a pair
vrrp_instance PAIR {{
\tinterface {uplink}
\tstate BACKUP
\tvirtual_router_id 77
\tpriority {priority}
\tadvert_int 1
{more}\tvirtual_ipaddress {{
\t\t{vip4}\t# the service
\t}}
\tvirtual_ipaddress_excluded {{
\t\t{vip6}
\t}}
}}
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


def networkd(link: str, *addresses: str) -> None:
    """Have networkd configure a link."""
    lines = "".join(f"Address={address}\n" for address in addresses)
    text = f"[Match]\nName={link}\n\n[Network]\n{lines}IPv6AcceptRA=no\n"
    host.write(Path(f"/etc/systemd/network/10-{link}.network"), text)
    run(f"systemctl start systemd-networkd; networkctl reload; networkctl reconfigure {link}")


def cable_up() -> None:
    """A bridge in `lan` with three cables: to this host, to `peer`, and the client's own end."""
    if host.flags(UPLINK):
        return
    run("modprobe -a veth bridge dummy")
    for space in ("lan", "peer"):
        run(f"ip netns del {space}", check=False)
        run(f"ip netns add {space}; ip -n {space} link set lo up")
    run("ip -n lan link add sw type bridge && ip -n lan link set sw up")
    run("ip -n lan addr add 198.51.100.100/24 dev sw")
    run("ip -n lan addr add 2001:db8:5::64/64 dev sw nodad")
    for name, space in ((UPLINK, ""), ("up0", "peer")):
        port = f"p-{space or 'host'}"
        there = f"netns {space}" if space else ""
        run(f"ip link add {port} netns lan type veth peer name {name} {there}")
        run(f"ip -n lan link set {port} master sw up")
    run(f"ip -n peer link set up0 up; ip -n peer addr add {PEER4}/24 dev up0")
    run("ip -n peer addr add 2001:db8:5::6/64 dev up0 nodad")
    networkd(UPLINK, f"{OWN4}/24", f"{OWN6}/64")
    host.wait_for("the uplink has its address", lambda: host.holds(OWN4, UPLINK))


@contextlib.contextmanager
def second_uplink() -> Iterator[None]:
    """Another network on another cable, as long as the body runs."""
    run(f"ip link add p-second netns lan type veth peer name {SECOND}")
    run("ip -n lan link set p-second up; ip -n lan addr add 203.0.113.100/24 dev p-second")
    networkd(SECOND, f"{SECOND_OWN}/24")
    host.wait_for("it has its address", lambda: host.holds(SECOND_OWN, SECOND))
    try:
        yield
    finally:
        Path(f"/etc/systemd/network/10-{SECOND}.network").unlink()
        run(f"networkctl reload; ip link del {SECOND}", check=False)


def instance(
    priority: int = 150, more: str = "", vip4: str = f"{VIP4}/24", vip6: str = f"{VIP6}/64"
) -> str:
    """A configuration as it is before adopt."""
    return INSTANCE.format(uplink=UPLINK, priority=priority, more=more, vip4=vip4, vip6=vip6)


REAL4, REAL6 = "10.9.0.2", "2001:db8:9::2"
DIRECTOR = """\
virtual_server {vip} 80 {{
\tdelay_loop 5
\tlvs_sched rr
\tlvs_method NAT
\tprotocol TCP
\treal_server {real} 80 {{
\t\tTCP_CHECK {{
\t\t\tconnect_timeout 3
\t\t}}
\t}}
}}
"""
ASK = """
import socket, sys, time
while True:
    for vip in sys.argv[1:]:
        try:
            with socket.create_connection((vip, 80), 1) as s:
                s.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
                said = s.makefile("rb").readline().decode()
        except OSError as error:
            said = str(error)
        print(vip, said.strip(), flush=True)
    time.sleep(0.05)
"""


def director() -> str:
    """The virtual servers of a director of LVS, for both VIPs."""
    pairs = ((VIP4, REAL4), (VIP6, REAL6))
    return "".join(DIRECTOR.format(vip=vip, real=real) for vip, real in pairs)


@contextlib.contextmanager
def real_server() -> Iterator[None]:
    """A web server behind this host, in a namespace of its own; this host forwards meanwhile."""
    forwarding = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
    run("ip netns add real && ip link add real0 type veth peer name up0 netns real")
    run("ip address add 10.9.0.1/24 dev real0; ip address add 2001:db8:9::1/64 dev real0 nodad")
    run(f"ip link set real0 up; ip -n real address add {REAL4}/24 dev up0")
    run(f"ip -n real address add {REAL6}/64 dev up0 nodad; ip -n real link set up0 up")
    run("ip -n real route add default via 10.9.0.1; ip -n real route add default via 2001:db8:9::1")
    words = ["ip", "netns", "exec", "real", "python3", "-m", "http.server", "--bind", "::", "80"]
    with subprocess.Popen(words, cwd="/run/netns", stderr=subprocess.DEVNULL) as server:
        try:
            run(f"sysctl -qw {'=1 '.join(forwarding)}=1")
            yield
        finally:
            run(f"sysctl -qw {'=0 '.join(forwarding)}=0", check=False)
            server.terminate()
    run("ip netns del real")


@contextlib.contextmanager
def asking() -> Iterator[list[str]]:
    """A client of the virtual servers; at the end, what it got for each request."""
    words = ["ip", "netns", "exec", "lan", "python3", "-c", ASK, VIP4, VIP6]
    said: list[str] = []
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as client:
        try:
            yield said
        finally:
            client.terminate()
            assert client.stdout is not None
            said += client.stdout.read().splitlines()


def unicast(own: str, other: str) -> str:
    """For an instance: adverts to the other node alone. `own` may be empty."""
    source = f"\tunicast_src_ip {own}\n" if own else ""
    return f"{source}\tunicast_peer {{\n\t\t{other}\n\t}}\n"


def start(text: str) -> None:
    """This host's keepalived with this configuration alone, master, and the client reaches both VIPs."""
    CONF.unlink(missing_ok=True)
    host.write(CONF, text)
    run("systemctl reset-failed keepalived; systemctl restart keepalived")
    host.wait_for("both VIPs are on the uplink", lambda: on(UPLINK))
    host.wait_for("the client reaches both VIPs", reached)


def begin() -> None:
    """Nothing adopted, and this host master with its VIPs on the uplink."""
    cable_up()
    if DROP_IN.exists():
        DROP_IN.unlink()
        run("systemctl daemon-reload")
    shutil.rmtree(STATE, ignore_errors=True)
    settled = not CONF.is_symlink() and CONF.exists() and CONF.read_text() == instance()
    if settled and host.is_active("keepalived") and on(UPLINK) and reached():
        return
    run("systemctl stop keepalived")
    run(f"tc qdisc add dev {UPLINK} clsact", check=False)  # but for first_wire_of_an_uplink()
    for path in Path("/etc/keepalived").glob("*.conf"):
        path.unlink()
    start(instance())


def reached() -> bool:
    """Whether the client reaches both VIPs."""
    return host.reachable(VIP4) and host.reachable(VIP6)


def on(device: str) -> bool:
    """Whether both VIPs are on the device, and nowhere else."""
    other = UPLINK if device == DUMMY else DUMMY
    both = run(f"ip -o address show dev {device}", check=False)
    none = run(f"ip -o address show dev {other}", check=False)
    return all(f" {vip}/" in both and f" {vip}/" not in none for vip in (VIP4, VIP6))


def command(words: str) -> tuple[int, str]:
    """Run keepalived-dummy; exit status, and what it said."""
    ran = subprocess.run(
        ["keepalived-dummy", *words.split()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    return ran.returncode, ran.stdout


def done(words: str) -> str:
    """Run a command that must be done."""
    status, said = command(words)
    assert status == 0, f"{words} ended with {status}:\n{said}"
    return said


def last(said: str) -> str:
    """The last line that says something."""
    return [line for line in said.splitlines() if line.strip()][-1]


def instead_of_reload(what: str) -> None:
    """Have `systemctl reload keepalived` do something else."""
    host.write(DROP_IN, f"[Service]\nExecReload=\nExecReload={what}\n")
    run("systemctl daemon-reload")


@contextlib.contextmanager
def peer(priority: int = 100, more: str = f"\tmcast_src_ip {PEER4}\n") -> Iterator[Path]:
    """The second node, in the form before adopt; what its keepalived says is in the file."""
    log = Path("/run/peer.log")
    host.write(PEER_CONF, instance(priority, more))
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
    """What the client saw of the VIPs, and the states this host's keepalived entered.

    `gap`: the longest time without an answer from one of them, ms.
    """

    sent: int = 0
    lost: int = 0
    gap: int = 0
    states: tuple[str, ...] = ()

    def __str__(self) -> str:
        states = "/".join(self.states) or "none"
        return f"{self.lost} of {self.sent} pings lost, gap {self.gap} ms, states entered: {states}"


@contextlib.contextmanager
def pinging(*more: str) -> Iterator[Pings]:
    """100 pings a second at each VIP while the body runs."""
    seen = Pings()
    cursor = host.cursor()
    clients = [
        subprocess.Popen(
            ["ip", "netns", "exec", "lan", "ping", "-n", "-D", "-i", "0.01", vip],
            stdout=subprocess.PIPE,
            text=True,
        )
        for vip in (VIP4, VIP6, *more)
    ]
    try:
        yield seen
    finally:
        said = []
        for client in clients:
            client.send_signal(signal.SIGINT)
            said.append(client.communicate(timeout=60)[0])
    for text in said:
        answers = re.findall(r"^\[([\d.]+)\] .*icmp_seq=(\d+) .*time=", text, re.MULTILINE)
        answered = {int(number) for _, number in answers}
        last = max(answered, default=0)  # what came after it may be answered yet
        seen.sent += last
        seen.lost += last - len(answered)
        times = [float(stamp) for stamp, _ in answers]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        seen.gap = max(seen.gap, round(1000 * max(gaps, default=0)))
        assert last > 20, text
    entered = host.journal(f"-u keepalived --since='{cursor}'")
    seen.states = tuple(re.findall(r"Entering (\w+) STATE", entered))
