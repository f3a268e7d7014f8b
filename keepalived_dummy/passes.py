# SPDX-License-Identifier: MIT
"""The passes of `apply`: when the next one starts, and what becomes of the one that runs.

A filter that went is put back by tc alone at once, and the pass that follows sees whether all is well.
"""

import select
import time
from collections.abc import Callable, Sequence

from keepalived_dummy.child import Child
from keepalived_dummy.state import ERR, INFO, log

_BURST, _REFILL = (
    10.0,
    0.5,
)  # passes at once, then so many a second: a fight with somebody else ends in a walk
_TC = ("tc", "-force", "-batch", "-")
_LONGEST = 60.0  # between two tries of a pass that fails


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


class Passes:
    """One pass at a time; what is wanted while it runs gets one more. `done` is told status and output."""

    def __init__(
        self, command: Sequence[str], loop: select.epoll, done: Callable[[int, bytes], None]
    ) -> None:
        self._command, self._loop, self._done = command, loop, done
        self._child: Child | None = None
        self._watched: set[int] = set()  # which of its descriptors are in the loop
        self._pace = Pace()
        self._due: float | None = None
        self._reasons: dict[str, None] = {}
        self.doing: tuple[str, ...] = ()  # why the last one was started
        self._wait = 0.0
        self._mending = False

    @property
    def running(self) -> bool:
        """Whether one runs."""
        return self._child is not None

    @property
    def wanted(self) -> bool:
        """Whether another one is to come."""
        return self._due is not None

    def want(self, reason: str, delay: float = 0.0) -> None:
        """Asks for a pass, `delay` seconds from now at the latest."""
        due = time.monotonic() + delay
        self._due = due if self._due is None else min(due, self._due)
        self._reasons[reason] = None

    def mend(self, script: str) -> None:
        """Runs a script of tc now; where something runs already, the pass that is wanted does as well."""
        if script and self._child is None:
            self._mending = self._start(_TC, time.monotonic(), script.encode())

    def retry(self) -> float:
        """Asks for a pass since the last one failed as a whole; returns when, in seconds."""
        self._wait = min(_LONGEST, self._wait * 2 or 1.0)
        self.want("the last pass failed", self._wait)
        return self._wait

    def succeeded(self) -> None:
        """The last pass did not fail as a whole."""
        self._wait = 0.0

    def deadline(self, now: float) -> float | None:
        """When `tick` has something to do."""
        if self._child:
            return self._child.deadline
        return None if self._due is None else max(self._due, self._pace.next(now))

    def tick(self, now: float) -> None:
        """Starts what is due, ends what hangs."""
        due = self.deadline(now)
        if due is None or now < due:
            return
        if self._child:
            log(ERR, "apply does not end; killed")
            self._child.kill()
            return
        log(INFO, f"apply: {'; '.join(self._reasons)}")
        self._due = None
        self.doing = tuple(self._reasons)
        self._reasons.clear()
        self._pace.take()
        if not self._start(self._command, now):
            self._done(127, b"")

    def _start(self, command: Sequence[str], now: float, given: bytes = b"") -> bool:
        try:
            child = Child(command, now, given)
        except OSError as problem:
            log(ERR, f"{command[0]}: {problem.strerror}")
            return False
        self._child = child
        self._watched = {child.out, child.exited}
        for fd in self._watched:
            self._loop.register(fd, select.EPOLLIN)
        return True

    def events(self, ready: set[int]) -> None:
        """Descriptors are ready, perhaps the child's."""
        child = self._child
        if child and child.out in ready and not child.read():
            # At its end a pipe is ready whatever it is asked for (EPOLLHUP): at a real-time priority a loop that
            # comes back at once keeps a lone CPU from the child that is still to exit.
            self._loop.unregister(child.out)
            self._watched.remove(child.out)
        if child and child.exited in ready:
            for fd in self._watched:
                self._loop.unregister(fd)
            self._child = None
            status = child.finish()
            if self._mending:
                self._mending = False
            else:
                self._done(status, child.output)

    def stop(self) -> None:
        """The daemon stops; a pass is idempotent, and so may be cut off."""
        if self._child:
            self._child.kill()
