# SPDX-License-Identifier: MIT
"""The guest the harness runs in: commands, files, namespaces, waiting, and what is installed."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

CLONE_NEWNET = 0x40000000  # linux/sched.h


def run(command: str, check: bool = True, timeout: float = 300) -> str:
    """Run a shell command and return what it printed, errors too; RuntimeError where it failed."""
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
    if check and ran.returncode:
        raise RuntimeError(f"`{command}` ended with {ran.returncode}:\n{ran.stdout}")
    return ran.stdout


def start(words: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process in the background, its output appended to `log`."""
    with log.open("ab") as out:
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT
        )


def stop(process: subprocess.Popen[bytes] | None, sig: int = signal.SIGTERM) -> None:
    """End a process of ours and wait for it."""
    if process is None or process.poll() is not None:
        return
    process.send_signal(sig)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def write(path: Path, text: str, mode: int = 0o644) -> None:
    """Put a file in place, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def wait_for(
    what: str, test: Callable[[], object], seconds: float = 30, step: float = 0.1
) -> float:
    """Wait until `test` is true; the seconds it took, RuntimeError after `seconds`."""
    began = time.monotonic()
    while not test():
        if time.monotonic() - began > seconds:
            raise RuntimeError(f"after {seconds:.0f} s still not: {what}")
        time.sleep(step)
    return time.monotonic() - began


def say(text: str) -> None:
    """A line of progress, with the time since the start."""
    print(f"[{time.monotonic() - _BEGAN:5.0f} s] {text}", file=sys.stderr, flush=True)


_BEGAN = time.monotonic()


@contextlib.contextmanager
def namespace(name: str) -> Iterator[None]:
    """The calling thread in a network namespace: a socket opened there stays there (setns(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as home, open(f"/run/netns/{name}") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {name}")
        try:
            yield
        finally:
            libc.setns(home.fileno(), CLONE_NEWNET)


def socket_in(name: str, *kind: int) -> socket.socket:
    """A socket of a namespace."""
    with namespace(name):
        return socket.socket(*kind)


def wipe(names: list[str]) -> None:
    """Delete these namespaces and what runs in them; a NIC that was moved into one comes home."""
    there = run("ip netns list", check=False).split()
    for name in names:
        if name in there:
            for pid in run(f"ip netns pids {name}").split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            run(f"ip netns delete {name}")


def versions() -> Mapping[str, str]:
    """What this guest is, for the evidence."""
    release = dict(
        line.split("=", 1)
        for line in Path("/etc/os-release").read_text().splitlines()
        if "=" in line
    )
    packages = ("systemd", "netplan.io", "keepalived", "python3", "iproute2", "keepalived-dummy")
    found = {
        name: run(f"dpkg-query -W -f '${{Version}}' {name}", check=False).strip()
        for name in packages
    }
    found = {name: text for name, text in found.items() if "no packages" not in text}
    return {
        "system": release.get("PRETTY_NAME", "").strip('"'),
        "kernel": os.uname().release,
        **found,
    }


def save(path: Path, result: dict[str, Any]) -> None:
    """Leave a run's evidence as it is so far, so that one which is ended early has some."""
    result["versions"] = versions()
    new = path.with_suffix(".new")
    new.write_text(json.dumps(result, indent=1) + "\n")
    new.rename(path)  # whole, also where the guest is killed meanwhile


def networkd() -> int:
    """The release of networkd."""
    found = re.match(r"systemd (\d+)", run("networkctl --version"))
    if not found:
        raise RuntimeError("networkctl has no version")
    return int(found[1])


def cursor() -> str:
    """Where the journal ends now, for --since=.

    Up to systemd 253 --after-cursor= drops the first entry of those that its other words ask for.
    """
    run("journalctl -q --sync")
    return f"@{time.time():.6f}"


def now() -> str:
    """The time for the evidence, UTC."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
