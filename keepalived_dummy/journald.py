# SPDX-License-Identifier: MIT
"""systemd's journal in its own protocol, where standard error goes there (systemd.exec(5), $JOURNAL_STREAM).

https://systemd.io/JOURNAL_NATIVE_PROTOCOL/
"""

import os
import socket
import struct
from collections.abc import Iterable

SOCKET = "/run/systemd/journal/socket"
_IDENTIFIER = "keepalived-dummy"


def is_ours() -> bool:
    """Whether standard error is the journal's stream, so that its own socket may take its place."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


def entry(fields: Iterable[tuple[str, str]]) -> bytes:
    """An entry as it is sent; a value of several lines goes with its length before it."""
    return b"".join(_field(name.encode(), value) for name, value in fields)


def _field(name: bytes, value: str) -> bytes:
    data = value.encode("utf-8", "surrogateescape")
    if b"\n" in data:
        return name + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
    return name + b"=" + data + b"\n"


def send(fields: Iterable[tuple[str, str]], path: str = SOCKET) -> bool:
    """Gives an entry to the journal, without waiting for it; whether it took it."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            data = entry((("SYSLOG_IDENTIFIER", _IDENTIFIER), *fields))
            sock.sendto(data, socket.MSG_DONTWAIT, path)
    except OSError:
        return False
    return True
