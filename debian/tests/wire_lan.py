# SPDX-License-Identifier: MIT
"""LANs for the wire's tests: each a namespace joined to the host by a veth pair, and a tap that sees its frames.

The taps are packet sockets of this process, and frames are built and read by scapy, so the wire is
judged by a decoder that is none of ours.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import importlib
import os
import select
import socket
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from host import property_of, run, wait_for
from scapy.layers.l2 import Ether
from scapy.packet import Packet

for _name in ("argparse", "hashlib", "jinja2", "json", "pyroute2"):  # see applied()
    importlib.import_module(_name)

DUMMY = "keepalived0"
CONFS = Path("/etc/keepalived-dummy.d")
KEEPALIVED = Path("/etc/keepalived/keepalived.conf")

_CLONE_NEWNET = 0x40000000
_PACKET_OUTGOING = 4
_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _PACKET_MR_ALLMULTI = 263, 1, 2
_ETH_P_ALL = 3
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h


@dataclass(frozen=True)
class Lan:
    """A LAN in namespace `ns`, seen there at `dev`, with the host's `uplink` on it.

    `number` is the third byte of its IPv4 network, the third group of its IPv6 network.
    """

    ns: str
    dev: str
    uplink: str
    mac: str
    number: int

    def ip4(self, host: int) -> str:
        return f"198.18.{self.number}.{host}"

    def ip6(self, host: str) -> str:
        return f"2001:db8:{self.number}::{host}"

    @property
    def vip4(self) -> str:
        return self.ip4(10)

    @property
    def vip6(self) -> str:
        return self.ip6("10")


A = Lan("wire-a", "cl0", "up0", "02:4b:44:00:00:0a", 1)
B = Lan("wire-b", "cl1", "up1", "02:4b:44:00:00:0b", 2)
# Two NICs of the test guest with a cable between them. They pass what they were told to, as real ones do.
C = Lan("wire-c", "lan0", "ens3", "52:54:00:4b:44:0a", 3)


def batch(lines: str, ns: str = "", force: bool = False) -> None:
    """Run ip(8) commands, one a line, in one process, in a namespace; on past a failure where `force`."""
    text = "\n".join(line.strip() for line in lines.splitlines())
    words = f"{f'-n {ns}' if ns else ''} {'-force' if force else ''}"
    run(f"ip {words} -batch - <<'END'\n{text}\nEND\n", check=not force)


def addresses(lan: Lan, dev: str) -> str:
    """The ip commands that give the host its own addresses in the LAN."""
    return f"""
        link set dev {dev} up
        address add {lan.ip4(5)}/24 dev {dev}
        address add {lan.ip6("5")}/64 dev {dev} nodad
        """


def client(lan: Lan, dev: str) -> str:
    """The ip commands that give the LAN's client its addresses."""
    return f"""
        link set dev {dev} up
        address add {lan.ip4(1)}/24 dev {dev}
        address add {lan.ip6("1")}/64 dev {dev} nodad
        """


def plug(lan: Lan) -> None:
    """The LAN's cable: a veth pair, the host's end with the MAC it always has; carries no address yet."""
    if not Path(f"/run/netns/{lan.ns}").exists():
        batch(f"netns add {lan.ns}")
    cable = f"type veth peer name {lan.dev} netns {lan.ns}"
    batch(f"link add {lan.uplink} address {lan.mac} {cable}\nlink set dev {lan.uplink} up")
    batch(client(lan, lan.dev), lan.ns)


def plug_nics() -> str:
    """LAN C with the host's addresses; the driver of its NICs, which is veth on a machine that has no such NICs."""
    nic = Path(f"/sys/class/net/{C.uplink}/device/driver")
    if not nic.exists():
        plug(C)
    else:
        batch(f"netns add {C.ns}\nlink set dev {C.dev} netns {C.ns}")
        batch(client(C, C.dev), C.ns)
    batch(addresses(C, C.uplink))
    return nic.resolve().name if nic.exists() else "veth"


def unplug_nics() -> None:
    """No LAN C: its NICs are at home again, down and without addresses; of a veth pair nothing is left."""
    batch(f"address flush dev {C.uplink}\nlink set dev {C.uplink} down", force=True)
    if not Path(f"/sys/class/net/{C.uplink}/device").exists():
        batch(f"link delete {C.uplink}", force=True)
    batch(f"netns delete {C.ns}", force=True)


@contextlib.contextmanager
def inside(ns: str) -> Iterator[None]:
    """This process in a network namespace, where `ns` names one; os.setns() is only in Python 3.12 and later."""
    if not ns:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{ns}", os.O_RDONLY)
    try:
        assert libc.setns(there, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        try:
            yield
        finally:
            assert libc.setns(home, _CLONE_NEWNET) == 0
    finally:
        os.close(there)
        os.close(home)


class Tap:
    """What comes out of the host into a LAN, and a sender there; frames are kept from its opening on."""

    def __init__(self, ns: str, dev: str) -> None:
        with inside(ns):
            self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
        self._sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 32 << 20)
        self._sock.bind((dev, _ETH_P_ALL))
        index = struct.pack("iHH8s", self._index(ns, dev), _PACKET_MR_ALLMULTI, 0, b"")
        self._sock.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, index)
        self.mac = self._sock.getsockname()[4].hex(":")
        self.seen: list[Packet] = []

    @staticmethod
    def _index(ns: str, dev: str) -> int:
        with inside(ns):
            return socket.if_nametoindex(dev)

    def __enter__(self) -> Tap:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def send(self, frame: Packet) -> None:
        self._sock.send(bytes(frame))

    def watch(
        self, seconds: float, enough: Callable[[list[Packet]], bool] | None = None
    ) -> list[Packet]:
        """The frames of the next seconds, fewer where `enough` says so; all frames are in `seen`."""
        found: list[Packet] = []
        if not (enough and enough(found)):
            for data in self.raw(seconds):
                found.append(Ether(data))
                if enough and enough(found):
                    break
        self.seen += found
        return found

    def raw(self, seconds: float) -> Iterator[bytes]:
        """The frames of the next seconds as they are."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self._sock], [], [], left)[0]:
                try:
                    data, where = self._sock.recvfrom(1 << 16)
                except OSError as problem:
                    if problem.errno == errno.ENETDOWN:  # said once where the link was down
                        continue
                    raise
                if where[2] != _PACKET_OUTGOING:
                    yield data

    def drain(self) -> None:
        """Put what has come in so far into `seen`, all of it on a slow machine too: it answers nothing to come."""
        end = time.monotonic() + 5
        while select.select([self._sock], [], [], 0.02)[0] and time.monotonic() < end:
            self.watch(0.02)

    def ask(
        self, request: Packet, is_answer: Callable[[Packet], bool], wait: float = 3
    ) -> list[Packet]:
        """The answers to one request: the first within `wait` seconds, and those right after it."""
        self.drain()
        self.send(request)
        found = self.watch(wait, lambda frames: any(map(is_answer, frames)))
        found += self.watch(0.25)
        return [frame for frame in found if is_answer(frame)]


# The package under test


def link_local(ns: str, dev: str) -> str:
    """The link-local address of an interface, once no other has it; the host's own where `ns` is empty."""
    words = f"ip {f'-n {ns}' if ns else ''} -6 -o address show dev {dev} scope link -tentative"
    wait_for(f"{dev} has its link-local address", lambda: run(words), 10)
    return run(words).split()[3].split("/")[0]


def conf(dummy: str, *lines: str) -> None:
    """The conf of one dummy; each line goes into [Uplink]."""
    section = "".join(f"{line}\n" for line in lines)
    name = "keepalived" if dummy == DUMMY else dummy
    (CONFS / f"{name}.conf").write_text(f"[Interface]\nName={dummy}\n\n[Uplink]\n{section}")


def applied(words: str = "") -> tuple[int, str]:
    """Exit status and output of `keepalived-dummy apply`.

    In a fork of this process, which has loaded what apply imports: under emulation, starting Python with Jinja
    takes ten times as long as all that apply does then. The package itself is imported by the fork.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 70
        try:
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            sys.stdout = sys.stderr = open(1, "w", closefd=False)  # noqa: SIM115
            cli = importlib.import_module("keepalived_dummy.cli")
            status = cli.main(["apply", *words.split()])
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    os.close(writing)
    with open(reading) as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def apply(words: str = "") -> str:
    """One pass by hand that does all there is to do."""
    status, said = applied(words)
    assert status == 0, f"apply {words}: status {status}: {said}"
    return said


def hold(dummy: str, *vips: str) -> None:
    """Addresses on a dummy, as keepalived sets them: no duplicate address detection."""
    batch("\n".join(_hold(dummy, vip) for vip in vips))


def _hold(dummy: str, vip: str) -> str:
    six = ":" in vip
    return f"address add {vip}/{128 if six else 32} dev {dummy}" + (" nodad" if six else "")


def announce(dummy: str) -> None:
    """Have the kernel announce what the dummy holds: its MAC set to what it is."""
    run(f"ip link set dev {dummy} address $(cat /sys/class/net/{dummy}/address)")


def wired(*vips: str, lan: Lan = A, uplink: str = "") -> None:
    """keepalived0 wired to the LAN's uplink, or to one on it, and holding addresses."""
    conf(DUMMY, f"Name={uplink or lan.uplink}")
    apply()
    hold(DUMMY, *(vips or (lan.vip4, lan.vip6)))


def sysctl(**values: int) -> None:
    """ipv4 settings by `interface__name`."""
    for key, value in values.items():
        path = f"/proc/sys/net/ipv4/conf/{key.replace('__', '/')}"
        Path(path).write_text(f"{value}\n")


def setting(interface: str, key: str) -> int:
    """An ipv4 setting of an interface, or of `all`."""
    return int(Path(f"/proc/sys/net/ipv4/conf/{interface}/{key}").read_text())


@functools.cache
def kernel_log() -> int:
    """The length of the kernel's log when first asked."""
    return len(run("dmesg").splitlines())


def complaints() -> list[str]:
    """What pedit has complained of since kernel_log() was first asked."""
    return [line for line in run("dmesg").splitlines()[kernel_log() :] if "tc action" in line]


def clean() -> None:
    """No cable, no dummy, no conf, neither daemon nor keepalived."""
    run("systemctl stop keepalived.service keepalived-dummy.service", check=False)
    made = (A.uplink, B.uplink, "up9", "up0.7", "bond7", "br7", "blue7", "keepalived0", "second0")
    batch("\n".join(f"link delete {name}" for name in made), force=True)
    for path in (*CONFS.glob("second*.conf"), KEEPALIVED):
        path.unlink(missing_ok=True)
    (CONFS / "keepalived.conf").write_text("# all by default\n")
    sysctl(all__arp_ignore=0, default__arp_ignore=0)


def one_lan() -> None:
    """The state each check begins from: `clean`, LAN A, and the host's addresses there on up0."""
    clean()
    plug(A)
    batch(addresses(A, A.uplink))


def second_lan() -> None:
    """LAN B beside it."""
    plug(B)
    batch(addresses(B, B.uplink))


def ping(lan: Lan, target: str, count: int = 3) -> None:
    """The LAN's client reaches an address, with what it knows of its neighbours forgotten."""
    run(f"ip -n {lan.ns} neighbour flush dev {lan.dev}")
    wait_for(
        f"{target} answers",
        lambda: (
            " 0% packet loss"
            in run(f"ip netns exec {lan.ns} ping -n -c {count} -i 0.1 -W 2 {target}", check=False)
        ),
        10,
    )


def idle() -> bool:
    """The daemon has no pass of apply under way."""
    pid = property_of("keepalived-dummy", "MainPID")
    return not Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()


def rest() -> None:
    """Wait until it has had none for two seconds: what is asked for together is done in one a moment later."""
    end = time.monotonic() + 60
    since = time.monotonic()
    while time.monotonic() - since < 2:
        assert time.monotonic() < end, "the daemon does not come to rest"
        if not idle():
            since = time.monotonic()
        time.sleep(0.05)


def enter() -> None:
    """No unit of the package but those under test: the files of networkd matter to no check here, and cost time."""
    run("systemctl stop keepalived-dummy-generator.path")
    kernel_log()


def leave() -> None:
    """The host as it was before the first check."""
    clean()
    run("systemctl start keepalived-dummy-generator.path")
    batch(f"netns delete {A.ns}\nnetns delete {B.ns}", force=True)
