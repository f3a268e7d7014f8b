# SPDX-License-Identifier: MIT
"""A client's pings, accounted for one by one: iputils' ping, and what its output says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise

RATE = 100  # pings a second


@dataclass(frozen=True)
class Pings:
    """One run of ping. `sent` are those accounted for; `answers` maps a number to when its answer came.

    Times are seconds of the guest's clock.
    """

    sent: int
    answers: dict[int, float]
    start: float
    end: float

    def lost(self) -> dict[int, float]:
        """Each ping without an answer, and about when it was sent: between its answered neighbours."""
        known = sorted(self.answers)
        marks = [(0, self.start), *((n, self.answers[n]) for n in known), (self.sent + 1, self.end)]
        found = {}
        for (before, since), (after, until) in pairwise(marks):
            for number in range(before + 1, after):
                found[number] = since + (until - since) * (number - before) / (after - before)
        return found

    def gap(self, since: float = 0) -> float:
        """The longest time without an answer, ms, among those that ended after `since`."""
        times = [*sorted(self.answers.values()), self.end]
        return 1000 * max((b - a for a, b in pairwise(times) if b > since), default=0)

    def dead(self) -> bool:
        """Whether no answer came in the last half second."""
        return self.end - max(self.answers.values(), default=self.start) > 0.5


# The last pings may be under way when ping is stopped.
UNDER_WAY = 5

_ANSWER = re.compile(
    r"^\[([\d.]+)\] \d+ bytes from .* (?:icmp_seq|seq)=(\d+) .*time=", re.MULTILINE
)
_SENT = re.compile(r"(\d+) packets transmitted")


def parse(output: str, start: float, end: float) -> Pings:
    """What `ping -D` printed; `icmp_seq` has 16 bits and is unfolded here. ValueError without totals."""
    found = _SENT.search(output)
    if not found:
        raise ValueError(f"ping said: {output[-500:]}")
    sent = max(0, int(found[1]) - UNDER_WAY)
    answers: dict[int, float] = {}
    base, last = 0, 0
    for stamp, text in _ANSWER.findall(output):
        number = int(text)
        if number < last - 0x8000:
            base += 0x10000
        behind = base > 0 and number > last + 0x8000  # a late one from before the turn
        if not behind:
            last = number
        whole = base + number - (0x10000 if behind else 0)
        if whole <= sent:
            answers.setdefault(whole, float(stamp))
    return Pings(sent, answers, start, end)


class Pinger:
    """ping in a namespace until `stop`."""

    def __init__(self, where: str, target: str, rate: int = RATE) -> None:
        self._out = tempfile.TemporaryFile("w+")  # noqa: SIM115 # closed by stop
        self._start = time.time()
        self._process = subprocess.Popen(
            f"ip netns exec {where} stdbuf -oL ping -n -D -i {1 / rate} {target}".split(),
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=subprocess.STDOUT,
        )

    def answered(self, seconds: float) -> bool:
        """Wait for the first answer: the client's neighbour cache has the VIP then."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if os.fstat(self._out.fileno()).st_size > 120:  # more than ping's first line
                return True
            time.sleep(0.02)
        return False

    def stop(self) -> Pings:
        """End it, and say what came of it."""
        end = time.time()
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)
        self._out.seek(0)
        text = self._out.read()
        self._out.close()
        return parse(text, self._start, end)
