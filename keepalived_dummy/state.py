# SPDX-License-Identifier: MIT
"""What the daemon leaves for others to read: journal lines, and files under /run/keepalived-dummy."""

import os
import sys

from keepalived_dummy import runtime

VERSION = 1  # of state.json: what it means changes with it

ERR, WARNING, NOTICE, INFO = 3, 4, 5, 6


def path(name: str) -> str:
    """Where a file is: systemd makes the directory."""
    return f"{os.environ.get('RUNTIME_DIRECTORY', '/run/keepalived-dummy')}/{name}"


def log(priority: int, text: str) -> None:
    """A line for the journal (sd-daemon(3))."""
    try:
        sys.stderr.write(f"<{priority}>{text}\n")
        sys.stderr.flush()
    except OSError:
        pass  # the journal is away, which must not end the daemon


def write(name: str, content: bytes) -> None:
    """Replaces a file as a whole. It is in a tmpfs: there is nothing to sync."""
    new = path(f".{name}.new")
    try:
        with open(new, "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(content)
        os.rename(new, path(name))
    except OSError as problem:
        log(WARNING, f"{path(name)}: {problem.strerror}")


def touch(name: str) -> None:
    """Makes an empty file, unless something is there."""
    try:
        os.close(os.open(path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    except FileExistsError:
        pass
    except OSError as problem:
        log(WARNING, f"{path(name)}: {problem.strerror}")


def read(name: str) -> bytes:
    """A file; nothing where it is missing."""
    try:
        return runtime.read(path(name))
    except OSError:
        return b""
