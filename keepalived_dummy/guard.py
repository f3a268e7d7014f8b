# SPDX-License-Identifier: MIT
"""A process that sees a move to its end where adopt or revert is killed between the reload and the proof.

A VIP that is held has a lifetime, which keepalived leaves as it is when it takes the address. Had nobody
made it last, the kernel would take the VIP from a keepalived that is MASTER.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
_LOOK = 0.5


@dataclass(frozen=True)
class Guard:
    """The process, and the pipe whose other end it waits at.

    For a `with`: its end says that all is done, unless by an exception, which is for the guard as if killed.
    """

    pid: int
    pipe: int

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            os.close(self.pipe)
            return
        with contextlib.suppress(BrokenPipeError):  # its time was over
            os.write(self.pipe, b".")
        os.close(self.pipe)
        os.waitpid(self.pid, 0)


def start(finish: Callable[[], bool], seconds: int) -> Guard:
    """Have `finish` called until it returns True, once this process has ended without a word. Raises OSError.

    In a session of its own, with no file of ours open; it ends after `seconds`, whatever it is at.
    """
    end, pipe = os.pipe()
    former = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # no handler of ours may run there
    try:
        pid = os.fork()
        if pid == 0:
            try:
                _wait(end, finish, seconds)
            finally:
                os._exit(0)  # nothing of the caller's goes on there
    except OSError:
        os.close(pipe)
        raise
    finally:
        os.close(end)
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
    return Guard(pid, pipe)


def _wait(end: int, finish: Callable[[], bool], seconds: int) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
    for number in SIGNALS:  # meant for all of a terminal, a unit or a job
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*SIGNALS, signal.SIGALRM))
    os.setsid()
    os.dup2(end, 0)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    if os.read(0, 1):
        return
    while not _is_done(finish):  # until the alarm
        time.sleep(_LOOK)


def _is_done(finish: Callable[[], bool]) -> bool:
    try:
        return finish()
    except Exception:  # whatever it is, the next look may see more
        return False
