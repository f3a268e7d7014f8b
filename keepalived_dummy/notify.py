# SPDX-License-Identifier: MIT
"""sd_notify(3), sd_pid_notify_with_fds(3) and sd_listen_fds(3): what a service tells systemd, and gets from it."""

import os
import socket
import time
from collections.abc import Sequence

_FIRST = 3  # SD_LISTEN_FDS_START


def notify(text: str, fds: Sequence[int] = ()) -> None:
    """Tells systemd; nothing where it is not systemd that started us, or does not listen."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address[0] == "@":
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.connect(address)
            socket.send_fds(sock, [text.encode()], list(fds))
    except OSError:
        pass


def reloading() -> str:
    """The message that starts a reload (systemd wants the clock beside it, CLOCK_MONOTONIC in microseconds)."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def watchdog() -> float | None:
    """How often to send WATCHDOG=1, in seconds: half of what the unit says."""
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    if not microseconds.isdigit() or os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(
        os.getpid()
    ):
        return None
    return int(microseconds) / 2e6


def stored() -> dict[str, list[int]]:
    """The file descriptors kept for us over a restart, by name."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    kept: dict[str, list[int]] = {}
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    for number, name in enumerate(names[: int(os.environ.get("LISTEN_FDS", "0"))], _FIRST):
        os.set_inheritable(number, False)
        kept.setdefault(name, []).append(number)
    return kept


def environment() -> dict[str, str]:
    """The environment for a child, which is not the service itself."""
    own = ("NOTIFY_SOCKET", "WATCHDOG_", "LISTEN_")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}
