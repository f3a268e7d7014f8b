# SPDX-License-Identifier: MIT
"""The one child process: `apply`, started when something happened, never waited for."""

import os
import select
import signal
from collections.abc import Sequence

from keepalived_dummy import notify

TIMEOUT = 60.0
_BURST, _REFILL = (
    10.0,
    0.5,
)  # passes at once, then so many a second: a fight with somebody else ends in a walk
_MOST = 1 << 22


class Child:
    """A running command; its standard output is collected, its standard error is ours."""

    def __init__(self, command: Sequence[str], now: float) -> None:
        self.deadline = now + TIMEOUT
        self.output = b""
        self.out, end = os.pipe()
        os.set_blocking(self.out, False)
        try:
            # Not with the priority of the daemon, which is one for a single reflex.
            self._pid = os.posix_spawn(
                command[0],
                list(command),
                notify.environment(),
                file_actions=[(os.POSIX_SPAWN_DUP2, end, 1)],
                scheduler=(os.SCHED_OTHER, os.sched_param(0)),
            )
        except OSError:
            os.close(self.out)
            raise
        finally:
            os.close(end)
        self.exited = os.pidfd_open(self._pid)

    def read(self) -> bool:
        """Takes what it has written; whether there may be more later."""
        try:
            while data := os.read(self.out, 65536):
                if len(self.output) < _MOST:
                    self.output += data
        except BlockingIOError:
            return True
        return False

    def kill(self) -> None:
        """Ends it: it hangs."""
        self.deadline += TIMEOUT
        signal.pidfd_send_signal(self.exited, signal.SIGKILL)

    def finish(self) -> int:
        """Its exit status, or minus the signal that ended it, once `exited` is readable."""
        self.read()
        _, status = os.waitpid(self._pid, 0)
        os.close(self.out)
        os.close(self.exited)
        return os.waitstatus_to_exitcode(status)

    def register(self, loop: select.epoll, add: bool) -> None:
        """Puts its two descriptors into a loop, or takes them out."""
        for fd in (self.out, self.exited):
            if add:
                loop.register(fd, select.EPOLLIN)
            else:
                loop.unregister(fd)


class Pace:
    """When the next pass may start: the first few at once, then no more than one in two seconds."""

    def __init__(self) -> None:
        self._tokens, self._at = _BURST, 0.0

    def next(self, now: float) -> float:
        """The time from which on a pass may start."""
        self._tokens = min(_BURST, self._tokens + (now - self._at) * _REFILL)
        self._at = now
        return now if self._tokens >= 1 else now + (1 - self._tokens) / _REFILL

    def take(self) -> None:
        """A pass starts."""
        self._tokens -= 1
