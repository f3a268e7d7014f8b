# SPDX-License-Identifier: MIT
"""The LAN of a fleet: a namespace of this host with a bridge, and guests with a cable each to it.

The bridge's own address is the client's, and where ansible-playbook runs. So what the client sees and how long
a playbook takes is of this host's clock and speed; the guests are emulated.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = TOP / "build"
SPACE = "fleet"
CLIENT4, CLIENT6 = "198.51.100.100", "2001:db8:5::64"
VIP4, VIP6 = "198.51.100.10", "2001:db8:5::10"
REPOSITORY = f"http://{CLIENT4}:8000/"
# The first is MASTER, and the first in the inventory.
PRIORITIES = {1: 150, 2: 100, 3: 50}
BEGAN = time.monotonic()


def say(text: str) -> None:
    """A line of progress, with the time since the beginning."""
    print(f"[{time.monotonic() - BEGAN:4.0f} s] {text}", flush=True)


def run(*words: str | Path, check: bool = True) -> str:
    """Run a command; its output, errors too."""
    ran = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert not check or ran.returncode == 0, f"{words} ended with {ran.returncode}:\n{ran.stdout}"
    return ran.stdout


def inside(*words: str | Path) -> list[str | Path]:
    """The command, run in the LAN's namespace."""
    return ["ip", "netns", "exec", SPACE, *words]


def wait_for(what: str, test: Callable[[], object], seconds: float = 900) -> None:
    """Wait until `test` is true."""
    start = time.monotonic()
    while not test():
        assert time.monotonic() - start < seconds, f"after {seconds:.0f} s still not: {what}"
        time.sleep(0.2)


@dataclass
class Lab:
    """Where things lie, and how to reach a node."""

    folder: Path
    nodes: Sequence[int] = tuple(PRIORITIES)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def key(self) -> Path:
        return self.folder / "key"

    def results(self, node: int) -> Path:
        return self.folder / f"node{node}"

    def on(self, node: int, command: str, check: bool = True) -> str:
        """Run a shell command on a node, as root."""
        options = (
            "BatchMode=yes StrictHostKeyChecking=no UserKnownHostsFile=/dev/null LogLevel=ERROR"
        )
        words = [word for option in options.split() for word in ("-o", option)]
        target = f"root@198.51.100.1{node}"
        return run(*inside("ssh", "-i", self.key, *words, target, command), check=check)


@contextlib.contextmanager
def lan(nodes: Sequence[int]) -> Iterator[None]:
    """The namespace with the bridge and a tap for each node."""
    run("ip", "netns", "add", SPACE)
    try:
        ip = ("ip", "-n", SPACE)
        run(*ip, "link", "set", "lo", "up")
        run(*ip, "link", "add", "lan0", "type", "bridge")
        run(*ip, "link", "set", "lan0", "up")
        run(*ip, "address", "add", f"{CLIENT4}/24", "dev", "lan0")
        run(*ip, "address", "add", f"{CLIENT6}/64", "dev", "lan0", "nodad")
        for node in nodes:
            run(*inside("ip", "tuntap", "add", f"tap{node}", "mode", "tap"))
            run(*ip, "link", "set", f"tap{node}", "master", "lan0", "up")
        yield
    finally:
        run("ip", "netns", "del", SPACE)


@contextlib.contextmanager
def process(words: Sequence[str | Path], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs meanwhile; ended at the end."""
    with log.open("wb") as file:
        started = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        yield started
    finally:
        if started.poll() is None:
            started.terminate()
        started.wait(60)


@contextlib.contextmanager
def the_lock() -> Iterator[None]:
    """Guests one test at a time, as tests/guest/run has it."""
    with (BUILD / "guest.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another guest to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def repository(folder: Path, deb: Path) -> None:
    """An apt repository of one package."""
    folder.mkdir()
    shutil.copy(deb, folder)
    with (folder / "Packages").open("w") as file:
        subprocess.run(
            ["dpkg-scanpackages", "-m", "."],
            cwd=folder,
            stdout=file,
            stderr=subprocess.DEVNULL,
            check=True,
        )


def job(lab: Lab, suite: str) -> Path:
    """The folder that the nodes are made from."""
    folder = lab.folder / "job"
    folder.mkdir()
    run(TOP / "tests/fleet/packages", suite, folder / "debs", "openssh-server", "python3-apt")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", lab.key)
    shutil.copy(lab.key.with_suffix(".pub"), folder)
    shutil.copy(TOP / "tests/fleet/node", folder)
    return folder


def guest(lab: Lab, suite: str, folder: Path, node: int) -> list[str | Path]:
    """The command that boots a node."""
    words = f"--partner --cpus 1 --ram 640 --timeout 3000 --node {node} --results".split()
    nic = ["--nic", f"tap,ifname=tap{node},script=no,downscript=no"]
    command = f"./node {node} {PRIORITIES[node]}"
    return inside(TOP / "tests/guest/run", *words, lab.results(node), *nic, suite, folder, command)


@contextlib.contextmanager
def lab(suite: str, deb: Path, folder: Path) -> Iterator[Lab]:
    """Three nodes up, and the first MASTER with the VIPs on its real interface."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    made = Lab(folder)
    job_folder = job(made, suite)
    repository(folder / "repository", deb)
    with contextlib.ExitStack() as stack:
        stack.enter_context(the_lock())
        stack.enter_context(lan(made.nodes))
        server: list[str | Path] = [
            sys.executable,
            "-m",
            "http.server",
            "--directory",
            folder / "repository",
        ]
        stack.enter_context(
            process(inside(*server, "--bind", CLIENT4, "8000"), folder / "http.log")
        )
        guests = [
            stack.enter_context(
                process(guest(made, suite, job_folder, node), folder / f"guest{node}.log")
            )
            for node in made.nodes
        ]
        try:
            say(f"{len(guests)} guests of {suite} boot")
            wait_for("the nodes are up", lambda: ready(made, guests))
            wait_for(
                "node 1 is master", lambda: VIP4 in made.on(1, "ip -4 -o address show dev nic0")
            )
            yield made
        finally:
            for node in made.nodes:
                made.results(node).mkdir(exist_ok=True)
                (made.results(node) / "end").touch()
            for one in guests:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    one.wait(60)


def ready(lab: Lab, guests: list[subprocess.Popen[bytes]]) -> bool:
    """Whether all nodes are up; raises where a guest ended instead."""
    for node, one in zip(lab.nodes, guests, strict=True):
        log = lab.folder / f"guest{node}.log"
        assert one.poll() is None, f"node {node} ended:\n{log.read_text()}"
    return all((lab.results(node) / "ready").exists() for node in lab.nodes)
