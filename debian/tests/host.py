# SPDX-License-Identifier: MIT
"""The host under test: an uplink with a LAN behind it, keepalived with a VIP, and what can be seen of them."""

from __future__ import annotations

import contextlib
import itertools
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

UPLINK, CABLE, LAN = "uplink0", "cable0", "lan"
DUMMY, SECOND = "keepalived0", "second0"
ADDRESS, VIP, SECOND_VIP = "192.0.2.1", "192.0.2.10", "192.0.2.11"
CONFS = Path("/etc/keepalived-dummy.d")
GENERATED = Path("/run/systemd/network")
SYSTEM = Path("/etc/systemd/system")
NETWORKD = SYSTEM.parent / "network"

NETPLAN = f"""\
network:
  version: 2
  ethernets:
    {UPLINK}:
      addresses: [{ADDRESS}/24]
"""
# The uplink is one end of a veth pair, so the tests need nothing of the machine's own NICs. The other end
# is up from the start: the uplink has a carrier before the LAN's namespace is there.
VETH = f"[NetDev]\nName={UPLINK}\nKind=veth\n\n[Peer]\nName={CABLE}\n"
CABLE_UP = f"[Match]\nName={CABLE}\n\n[Link]\nActivationPolicy=up\nRequiredForOnline=no\n\n[Network]\nLinkLocalAddressing=no\n"

# The source is pinned: before networkd 257 the uplink's own address comes and goes (docs/limits.md).
KEEPALIVED = """\
global_defs {
    vrrp_version 3
}
vrrp_instance VI_1 {
    interface %(uplink)s
    state BACKUP
    virtual_router_id 51
    priority 100
    advert_int 0.1
    mcast_src_ip %(address)s
    virtual_ipaddress {
        %(vips)s
    }
}
"""


# Seconds after which something hangs; an emulated guest beside others is a hundred times slower than hardware.
SLOW = 600


def run(command: str, check: bool = True, timeout: float = SLOW) -> str:
    """Run a shell command and return what it printed, errors too."""
    ran = subprocess.run(
        command,
        shell=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        timeout=timeout,
        check=False,
    )
    assert not check or ran.returncode == 0, (
        f"`{command}` ended with {ran.returncode}:\n{ran.stdout}"
    )
    return ran.stdout


def status(command: str) -> int:
    """The exit status of a shell command."""
    return subprocess.run(
        command, shell=True, capture_output=True, stdin=subprocess.DEVNULL, check=False
    ).returncode


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Put a file in place with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def wait_for(what: str, test: Callable[[], object], seconds: float = 60) -> float:
    """Wait until `test` is true; returns the seconds it took."""
    start = time.monotonic()
    while not test():
        waited = time.monotonic() - start
        assert waited < seconds, f"after {waited:.1f} s still not: {what}"
        time.sleep(0.05)
    return time.monotonic() - start


def networkd_version() -> int:
    """The release of networkd: what it does to addresses changed at 257."""
    found = re.match(r"systemd (\d+)", run("networkctl --version"))
    assert found
    return int(found[1])


def property_of(unit: str, name: str) -> str:
    """One property of a unit, as systemctl show prints it."""
    return run(f"systemctl show --value -p {name} {unit}").strip()


def is_active(unit: str) -> bool:
    """Whether the unit is up."""
    return property_of(unit, "ActiveState") == "active"


def flags(link: str) -> set[str]:
    """The flags of a link; none where there is no such link."""
    found = re.search(r"<(.*?)>", run(f"ip link show dev {link}", check=False))
    return set(found[1].split(",")) if found else set()


def holds(vip: str, link: str = DUMMY) -> bool:
    """Whether the link has the address."""
    return f" {vip}/" in run(f"ip -4 -o address show dev {link}", check=False)


def generated() -> set[str]:
    """The names of the files of this package in /run/systemd/network."""
    return {
        path.name
        for path in GENERATED.glob("*")
        if path.name.startswith(("90-", "05-")) and path.suffix in (".netdev", ".network")
    }


def cable_up() -> None:
    """An uplink with an address from netplan, and the other end of its cable in a namespace."""
    write(Path("/etc/netplan/10-uplink.yaml"), NETPLAN, 0o600)
    write(NETWORKD / f"10-{UPLINK}.netdev", VETH)
    write(NETWORKD / f"10-{CABLE}.network", CABLE_UP)
    if not flags(UPLINK):
        run(f"ip link add {UPLINK} type veth peer name {CABLE}")
    if LAN not in run("ip netns list").split():
        run(f"ip netns add {LAN}")
    if flags(CABLE):
        run(f"ip link set {CABLE} netns {LAN}")
        run(f"ip -n {LAN} link set lo up")
        run(f"ip -n {LAN} link set {CABLE} up")
        run(f"ip -n {LAN} address add 192.0.2.100/24 dev {CABLE}")
    if not holds(ADDRESS, UPLINK):
        run("systemctl unmask systemd-networkd.service systemd-networkd.socket")
        run("systemctl enable --now systemd-networkd.socket systemd-networkd.service")
        run("netplan apply")
        wait_for("the uplink has its address", lambda: holds(ADDRESS, UPLINK))


def keepalived_conf(*vips: str) -> None:
    """Write keepalived.conf; each word is an address line, by default the VIP on the dummy."""
    lines = vips or (f"{VIP}/32 dev {DUMMY}",)
    values = {"uplink": UPLINK, "address": ADDRESS, "vips": "\n        ".join(lines)}
    write(Path("/etc/keepalived/keepalived.conf"), KEEPALIVED % values)


def keepalived_up(*vips: str) -> None:
    """keepalived with these address lines, started anew, and master."""
    keepalived_conf(*vips)
    run("systemctl reset-failed keepalived; systemctl restart keepalived")
    wait_for("the VIP is there", lambda: holds(VIP, DUMMY) or holds(VIP, UPLINK))


def live() -> None:
    """The state most checks begin from: package as installed, keepalived master, VIP on the dummy."""
    cable_up()
    if not is_active("keepalived-dummy.service"):
        run("systemctl restart keepalived-dummy.service")
    if not (is_active("keepalived.service") and holds(VIP)):
        keepalived_up()
    # The first clsact of an uplink can cost a ping (docs/limits.md), so not within a check.
    wait_for("the uplink is wired", wired)
    wait_for("the client reaches the VIP", reachable)


def wired() -> bool:
    """Whether the uplink has filters of ours: each bears our mark."""
    return "cookie 6b646d79" in run(f"tc filter show dev {UPLINK} ingress", check=False)


def reachable(vip: str = VIP) -> bool:
    """Whether the client on the LAN gets an answer."""
    return status(f"ip netns exec {LAN} ping -n -q -c 1 -W 1 {vip}") == 0


def apply() -> tuple[int, str]:
    """`keepalived-dummy apply`: its exit status, and what it said."""
    ran = subprocess.run(
        ["keepalived-dummy", "apply"], capture_output=True, text=True, timeout=SLOW, check=False
    )
    return ran.returncode, ran.stdout + ran.stderr


def cursor() -> str:
    """Where the journal ends now, for --since=.

    Up to systemd 253 --after-cursor= drops the first entry of those that its other words ask for.
    """
    run("journalctl -q --sync")
    return f"@{time.time():.6f}"


def journal(words: str) -> str:
    """What the journal has for these journalctl words."""
    return run(f"journalctl --no-pager -q -o short-precise {words}", check=False)


@dataclass
class Seen:
    """What a client and a watcher of the kernel saw while something was done to the host.

    `sent` and `lost` are pings, `gap` the longest time without an answer in ms, `transitions` the states
    keepalived entered, `kernel` what `ip monitor` said of the dummy.
    """

    sent: int = 0
    lost: int = 0
    gap: int = 0
    transitions: list[str] = field(default_factory=list)
    kernel: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        states = "/".join(self.transitions) or "none"
        return f"{self.lost} of {self.sent} pings lost, gap {self.gap} ms, transitions {states}"

    def untouched(self) -> bool:
        """Whether nobody noticed anything."""
        return self.sent > 0 and not self.lost and not self.transitions and not self.kernel


INTERVAL = 0.02


@contextlib.contextmanager
def watching(target: str = VIP) -> Iterator[Seen]:
    """Fill a Seen while the body runs: 50 pings/s from the LAN, keepalived's states, the dummy's events."""
    seen = Seen()
    start = cursor()
    monitor = subprocess.Popen(
        ["ip", "-o", "monitor", "link", "address"], stdout=subprocess.PIPE, text=True
    )
    ping = subprocess.Popen(
        ["ip", "netns", "exec", LAN, "ping", "-n", "-D", "-i", str(INTERVAL), target],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        time.sleep(0.5)
        yield seen
        time.sleep(1)
    finally:
        ping.send_signal(signal.SIGINT)
        pings = ping.communicate(timeout=SLOW)[0]
        monitor.terminate()
        events = monitor.communicate(timeout=SLOW)[0]
    count_pings(pings, seen)
    seen.kernel += [line.strip() for line in events.splitlines() if is_touch(line)]
    entered = journal(f"-u keepalived --since='{start}'")
    seen.transitions += re.findall(r"Entering (\w+) STATE", entered)


def is_touch(event: str) -> bool:
    """Whether a line of `ip -o monitor` says that the dummy was changed.

    A link as it should be is no change: its MAC was set, by us to have the addresses announced, or by
    networkd (from 257), whose stable one a dummy made by `apply` does not bear yet.
    """
    well = f"{DUMMY}: <BROADCAST,UP,LOWER_UP> " in event and not event.startswith("Deleted")
    return DUMMY in event and not well


def count_pings(output: str, seen: Seen) -> None:
    """Fill `seen` from ping's output.

    What was sent after the last answer may be answered yet, so it is not counted, unless that was a
    second or more: then nobody answers any more.
    """
    found = re.search(r"(\d+) packets transmitted", output)
    assert found, output
    answers = re.findall(r"^\[([\d.]+)\] .*icmp_seq=(\d+) .*time=", output, re.MULTILINE)
    answered = {int(number) for _, number in answers}
    seen.sent, last = int(found[1]), max(answered, default=0)
    if (seen.sent - last) * INTERVAL < 1:
        seen.sent = last
    seen.lost = seen.sent - len(answered)
    times = [float(stamp) for stamp, _ in answers]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    seen.gap = round(1000 * max(gaps, default=0))


def state() -> str:
    """All that may explain a failed check."""
    commands = [
        "ip -d address",
        f"ip -n {LAN} address; ip -n {LAN} neighbour",
        "ip route show table all | grep -v ff00",
        "networkctl --no-pager list",
        f"ls -l {CONFS} {GENERATED}; grep -H . {GENERATED}/*keepalived* {GENERATED}/*second*",
        "cat /etc/keepalived/keepalived.conf",
        "systemctl --no-pager list-units --all 'keepalived*' 'systemd-networkd*'",
        "systemctl --no-pager list-unit-files 'keepalived*' 'systemd-networkd*'",
        "journalctl --no-pager -q -o short-precise -n 80 -u keepalived -u 'keepalived-dummy*'"
        " -u systemd-networkd",
    ]
    return "\n".join(f"$ {command}\n{run(command, check=False)}" for command in commands)
