# SPDX-License-Identifier: MIT
"""Shows something again at each event of the host that may have changed it."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path

from keepalived_dummy import files, kernel
from keepalived_dummy.inotify import Watches
from keepalived_dummy.netlink import (
    GROUP_IPV4_ADDRESS,
    GROUP_IPV4_ROUTE,
    GROUP_IPV6_ADDRESS,
    GROUP_IPV6_ROUTE,
    GROUP_LINK,
    GROUP_TC,
)

_GROUPS = (
    GROUP_LINK
    | GROUP_TC
    | GROUP_IPV4_ADDRESS
    | GROUP_IPV4_ROUTE
    | GROUP_IPV6_ADDRESS
    | GROUP_IPV6_ROUTE
)
_SETTLE = 0.2  # events come in bursts
_LONGEST = 10.0  # a state of keepalived that moves no address raises no event
_CLEAR = "\x1b[H\x1b[J\x1b[3J"  # home, clear the screen, and what was scrolled away


def run(show: Callable[[], str], times: int | None = None) -> int:
    """Until interrupted, or for so many times."""
    watches = Watches()
    watches.replace([str(Path("/") / files.RUNTIME)], [])
    clear = _CLEAR if sys.stdout.isatty() else ""
    shown = 0
    with contextlib.suppress(KeyboardInterrupt), kernel.open_socket(_GROUPS) as sock:
        sock.setblocking(False)
        while True:
            try:
                text = show()
            except InterruptedError as error:  # the host changes faster than it is read
                text = f"{error.strerror}; this is shown again at the next event\n"
            sys.stdout.write(f"{clear}{text}")
            sys.stdout.flush()
            shown += 1
            if shown == times:
                break
            select.select([sock.fileno(), watches.fd], [], [], _LONGEST)
            time.sleep(_SETTLE)
            _drain(sock.fileno())
            watches.read()
    os.close(watches.fd)
    return 0


def _drain(fd: int) -> None:
    """What has happened is all shown at once; that events were lost is one more."""
    while True:
        try:
            os.read(fd, 1 << 17)
        except BlockingIOError:
            return
        except OSError:
            continue
