# SPDX-License-Identifier: MIT
"""The one child process: `apply`, or tc, started when something happened, never waited for."""

import os
import signal
from collections.abc import Sequence

from keepalived_dummy import notify

TIMEOUT = 120.0
_MOST = 1 << 22


class Child:
    """A running command; its standard output is collected, its standard error is ours.

    It has the priority of any other: the unit's is for a single reflex and reset on fork (sched(7)). It
    reads `given` on its standard input.
    """

    def __init__(self, command: Sequence[str], now: float, given: bytes = b"") -> None:
        self.deadline = now + TIMEOUT
        self.output = b""
        self.out, end = os.pipe()
        os.set_blocking(self.out, False)
        source = os.memfd_create("stdin")
        os.pwrite(source, given, 0)
        try:
            self._pid = os.posix_spawnp(
                command[0],
                list(command),
                notify.environment(),
                file_actions=[(os.POSIX_SPAWN_DUP2, source, 0), (os.POSIX_SPAWN_DUP2, end, 1)],
            )
        except OSError:
            os.close(self.out)
            raise
        finally:
            os.close(source)
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
