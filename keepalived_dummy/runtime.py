# SPDX-License-Identifier: MIT
"""Reads files of /run/keepalived-dummy, where the unprivileged daemon's user can leave anything for root to read.

The resident process imports this, so it is without pathlib.
"""

import errno
import json
import os
import stat
from typing import Any, NoReturn

MAX_BYTES = 4 << 20  # the daemon takes no more of a pass's answer
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def read(path: "str | os.PathLike[str]") -> bytes:
    """Return the content of a regular file of MAX_BYTES at most; raise OSError for anything else.

    Follows no link, and waits for nobody at the other end of a FIFO.
    """
    descriptor = os.open(path, _FLAGS)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fspath(path))
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"more than {MAX_BYTES} bytes", os.fspath(path))
    return data


def load(path: "str | os.PathLike[str]") -> Any:
    """Return the value of a JSON file; raise OSError as `read`, ValueError where it is not JSON."""
    return parse(read(path))


def parse(text: bytes) -> Any:
    """Return the value of JSON text; raise ValueError where it is not JSON, too deep, or has NaN or Infinity."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")
