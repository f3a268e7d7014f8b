# SPDX-License-Identifier: MIT
"""A pass in the loop: what it wakes, and what is told at its end."""

import select
import time

import pytest

from keepalived_dummy.passes import Passes

PASSES = {
    "ends at once": ("echo plan", b"plan\n"),
    "closes its output long before it ends": ("echo plan; exec >&-; sleep 0.3", b"plan\n"),
    "leaves its output to another": ("sleep 0.3 & echo plan", b"plan\n"),
}


@pytest.mark.parametrize(("script", "output"), PASSES.values(), ids=PASSES)
def test_a_pass_wakes_the_loop_where_something_happened_alone(script: str, output: bytes) -> None:
    done: list[tuple[int, bytes]] = []
    with select.epoll() as loop:
        passes = Passes(
            ["/bin/sh", "-c", script], loop, lambda status, told: done.append((status, told))
        )
        for number in (1, 2):  # what the first one left in the loop would stop the second
            passes.want("test")
            passes.tick(time.monotonic())
            polls, end = 0, time.monotonic() + 20
            while len(done) < number and time.monotonic() < end:
                passes.events({fd for fd, _ in loop.poll(20)})
                polls += 1
            assert polls <= 5
            assert loop.poll(0) == []
    assert done == [(0, output)] * 2
