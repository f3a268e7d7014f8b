# SPDX-License-Identifier: MIT
"""What the daemon leaves for others to read: journal lines, and files under /run/keepalived-dummy."""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

EMERG, ERR, WARNING, NOTICE, INFO = 0, 3, 4, 5, 6


def directory() -> Path:
    """Where they are: systemd makes it."""
    return Path(os.environ.get("RUNTIME_DIRECTORY", "/run/keepalived-dummy"))


def log(priority: int, text: str) -> None:
    """A line for the journal (sd-daemon(3))."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"<{priority}>{text}\n")
        sys.stderr.flush()


def write(name: str, content: bytes) -> None:
    """Replaces a file in the directory as a whole. It is a tmpfs: there is nothing to sync."""
    path = directory() / name
    try:
        new = path.with_name(f".{name}.new")
        new.write_bytes(content)
        new.chmod(0o644)
        new.replace(path)
    except OSError as problem:
        log(WARNING, f"{path}: {problem.strerror}")


def read(name: str) -> bytes:
    """A file in the directory; nothing where it is missing."""
    try:
        return (directory() / name).read_bytes()
    except OSError:
        return b""


def dumps(value: dict[str, Any]) -> bytes:
    """A JSON object as a file."""
    return json.dumps(value, indent=1).encode() + b"\n"
