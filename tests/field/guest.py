# SPDX-License-Identifier: MIT
"""A host in the field: a cloud image in QEMU, with a DHCP server and an archive behind its uplink, and our hand in it.

Its NICs are ens3, the uplink, and ens4, where the test plays a client: both on one LAN, 192.0.2.0/24 and
2001:db8::/64, whose router gives leases and lets nothing out. packages.example.org is there: `archive`, on a folder here.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent.parent / "build"
ROUTER = "net=192.0.2.0/24,host=192.0.2.2,dhcpstart=192.0.2.15,ipv6-prefix=2001:db8::,ipv6-host=2001:db8::2"
KERNEL = "root=/dev/vda rw console=ttyS0 mitigations=off no_timer_check quiet fsck.mode=skip"
# As in tests/guest/qemu.
KERNEL += " tsc=reliable panic=-1"
# An emulated guest waits for its devices as long as it takes.
KERNEL += " systemd.default_timeout_start_sec=300 systemd.default_device_timeout_sec=300"


class Lost(Exception):
    """The guest does not answer, or a command in it failed."""


@contextlib.contextmanager
def one_test_at_a_time() -> Iterator[None]:
    """Guests of two tests at a time make each slow and time worthless."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / "guest.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for another guest to end", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def image_of(suite: str) -> Path:
    """The folder of the suite's image, built where it is not there."""
    built = subprocess.run([HERE / "image", suite], stdout=subprocess.PIPE, text=True, check=True)
    return Path(built.stdout.strip())


def seed(target: Path, files: dict[str, str]) -> Path:
    """A disk for cloud-init's NoCloud datasource."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        for name, text in files.items():
            Path(folder, name).write_text(text)
        words = ["genisoimage", "-quiet", "-V", "cidata", "-J", "-r", "-o", str(target), folder]
        subprocess.run(words, check=True)
    return target


def lan_words(archive: Path | None, cable: str) -> list[str]:
    """-netdev for the LAN behind hub 1: the router with the archive where `archive` is, else the cable alone."""
    words = []
    if archive:
        serve = f"/usr/bin/python3 -I {HERE / 'archive'} {archive}"
        words += [
            "-netdev",
            f"user,id=router,{ROUTER},restrict=on,guestfwd=tcp:192.0.2.80:80-cmd:{serve}",
        ]
        words += ["-netdev", "hubport,id=router-port,hubid=1,netdev=router"]
    if cable:
        words += ["-netdev", f"{cable},id=cable"]
        words += ["-netdev", "hubport,id=cable-port,hubid=1,netdev=cable"]
    return words


@dataclass
class Guest:
    """A running guest."""

    folder: Path
    process: subprocess.Popen[bytes]
    agent: socket.socket
    unread: bytes = field(default=b"", repr=False)

    def ask(self, command: str, **arguments: Any) -> Any:
        """One command of the guest agent; Lost where it is refused or not answered."""
        request = {"execute": command, "arguments": arguments}
        self.say(json.dumps(request).encode() + b"\n")
        answer = json.loads(self.line(ANSWER))
        if "error" in answer:
            raise Lost(f"{command}: {answer['error']}")
        return answer["return"]

    def say(self, request: bytes) -> None:
        """Send to the agent; Lost where QEMU does not take it, as while a guest beside others is slow to boot."""
        self.agent.settimeout(ANSWER)
        try:
            self.agent.sendall(request)
        except TimeoutError:
            raise Lost(f"the guest takes no request for {ANSWER:.0f} s") from None

    def line(self, timeout: float) -> bytes:
        """The next line of the agent's."""
        end = time.monotonic() + timeout
        while b"\n" not in self.unread:
            if self.process.poll() is not None:
                raise Lost(f"the guest's QEMU ended with {self.process.returncode}")
            self.agent.settimeout(max(0.1, end - time.monotonic()))
            try:
                more = self.agent.recv(65536)
            except TimeoutError:
                more = b""
            if not more and time.monotonic() >= end:
                raise Lost(f"no answer from the guest in {timeout:.0f} s")
            self.unread += more
        line, _, self.unread = self.unread.partition(b"\n")
        return line

    def wait_for_agent(self, timeout: float = 300) -> None:
        """Until the agent of a guest that boots answers; what an earlier one left unread is thrown away."""
        end = time.monotonic() + timeout
        number = time.monotonic_ns() % 1_000_000_000
        while True:
            number += 1
            request = {"execute": "guest-sync", "arguments": {"id": number}}
            with contextlib.suppress(Lost, ValueError):
                self.say(b"\xff" + json.dumps(request).encode() + b"\n")
                for _ in range(50):
                    if json.loads(self.line(3).lstrip(b"\xff")).get("return") == number:
                        return
            if time.monotonic() > end:
                raise Lost(
                    f"no agent in the guest after {timeout:.0f} s; see {self.folder}/console"
                )

    def status(self, command: str, timeout: float = 600, stdin: str = "") -> tuple[int, str]:
        """Run a shell command in the guest: its exit status, and what it printed, errors too."""
        pid = self.ask(
            "guest-exec",
            path="/bin/bash",
            arg=["-c", f"exec 2>&1; cd; {command}"],
            env=["HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", PATH],
            **{"input-data": base64.b64encode(stdin.encode()).decode(), "capture-output": True},
        )["pid"]
        end, pause = time.monotonic() + timeout, 0.05
        while time.monotonic() < end:
            seen = self.ask("guest-exec-status", pid=pid)
            if seen["exited"]:
                said = base64.b64decode(seen.get("out-data", "")).decode(errors="replace")
                return int(seen.get("exitcode", 128 + seen.get("signal", 0))), said
            time.sleep(pause)
            pause = min(1.0, pause * 1.5)
        raise Lost(f"`{command}` did not end in {timeout:.0f} s")

    def run(self, command: str, timeout: float = 600, stdin: str = "") -> str:
        """What a shell command in the guest printed; Lost where it failed."""
        status, said = self.status(command, timeout, stdin)
        if status:
            raise Lost(f"`{command}` ended with {status}:\n{said}")
        return said

    def cursor(self) -> str:
        """Where the journal ends now, for --since=.

        Up to systemd 253 --after-cursor= drops the first entry of those that its other words ask for.
        """
        return self.run("journalctl -q --sync && date +@%s.%6N").strip()

    def write(self, path: str, text: str) -> None:
        """Put a file in the guest."""
        self.run(f"mkdir -p $(dirname {path}) && cat > {path}", stdin=text)

    def boot_id(self) -> str:
        """Which boot this is."""
        return self.run("cat /proc/sys/kernel/random/boot_id").strip()

    def reboot(self) -> float:
        """Reboot; returns the seconds until the agent answers again."""
        before, start = self.boot_id(), time.monotonic()
        self.run("systemd-run -q --on-active=1 systemctl reboot")
        end = start + 400
        while time.monotonic() < end:
            with contextlib.suppress(Lost):
                self.wait_for_agent(60)
                if self.boot_id() != before:
                    return time.monotonic() - start
            time.sleep(1)
        raise Lost("the guest did not reboot")

    def booted(self, timeout: float = 400) -> str:
        """Wait until the boot is over; what systemd says of it."""
        return self.status(
            f"timeout {timeout:.0f} systemctl is-system-running --wait", timeout + 30
        )[1].strip()


# Seconds after which a guest hangs; an emulated one beside others is slow.
ANSWER = 90.0
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Machine:
    """What a guest is made of: files here, and its place in the LAN.

    `number` tells the guests of one LAN apart; `archive` is the folder behind packages.example.org, and with it comes
    the router; `cable` is what follows -netdev, to another guest's LAN; `disk` is one more, a seed or a tree.
    """

    image: Path
    folder: Path
    number: int = 0
    disk: Path | None = None
    archive: Path | None = None
    cable: str = ""

    def words(self, agent: str) -> list[str]:
        """The command line of QEMU."""
        words = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "Nehalem", "-smp", "2"]
        words += ["-m", "1024", "-nodefaults", "-display", "none", "-snapshot"]
        words += ["-kernel", f"{self.image}/kernel", "-initrd", f"{self.image}/initrd"]
        words += ["-append", KERNEL, "-device", "virtio-rng-pci"]
        for disk in (self.image / "disk.img", self.disk):
            words += ["-drive", f"file={disk},format=raw,if=virtio"] if disk else []
        words += ["-serial", f"file:{self.folder}/console", *lan_words(self.archive, self.cable)]
        for nic, slot in (("ens3", 3), ("ens4", 4)):
            mac = f"52:54:00:4b:{self.number:02x}:{slot:02x}"
            words += ["-netdev", f"hubport,id={nic},hubid=1"]
            words += ["-device", f"virtio-net-pci,netdev={nic},mac={mac},addr={slot}"]
        words += ["-chardev", f"socket,path={agent},server=on,wait=off,id=agent"]
        port = "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"
        return [*words, "-device", "virtio-serial", "-device", port]


@contextlib.contextmanager
def guest(machine: Machine) -> Iterator[Guest]:
    """A guest that boots; it is killed at the end. Its console is in the machine's folder."""
    machine.folder.mkdir(parents=True, exist_ok=True)
    # A path of a socket has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="field") as short:
        path = Path(short, "agent")
        environment = dict(os.environ, TMPDIR=str(BUILD))
        process = subprocess.Popen(
            machine.words(str(path)), stdin=subprocess.DEVNULL, env=environment
        )
        try:
            with connected(path, process) as agent:
                yield Guest(machine.folder, process, agent)
        finally:
            process.kill()
            process.wait()


def connected(path: Path, process: subprocess.Popen[bytes]) -> socket.socket:
    """A connection to the port of the agent, once QEMU listens there."""
    agent = socket.socket(socket.AF_UNIX)
    for _ in range(100):
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError):
            agent.connect(str(path))
            return agent
        time.sleep(0.1)
    agent.close()
    raise Lost("QEMU does not start")


def wait_for(what: str, test: Callable[[], object], seconds: float = 120) -> float:
    """Wait until `test` is true; returns the seconds it took."""
    start = time.monotonic()
    while not test():
        waited = time.monotonic() - start
        assert waited < seconds, f"after {waited:.0f} s still not: {what}"
        time.sleep(0.5)
    return time.monotonic() - start
