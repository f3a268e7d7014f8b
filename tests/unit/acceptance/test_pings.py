# SPDX-License-Identifier: MIT
"""The accounting of pings: what iputils prints, taken apart."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "acceptance"))
pings: Any = importlib.import_module("pings")  # a script's neighbour, in no package


def output(answered: list[int], sent: int, start: float = 1000.0) -> str:
    """ping -D at 100/s: these sequence numbers were answered, 1 ms later."""
    lines = [
        f"[{start + n * 0.01 + 0.001:.6f}] 64 bytes from 192.0.2.10: icmp_seq={n % 65536} ttl=64 time=1.0 ms"
        for n in answered
    ]
    return "\n".join(
        [
            "PING 192.0.2.10 (192.0.2.10) 56(84) bytes of data.",
            *lines,
            "",
            "--- 192.0.2.10 ping statistics ---",
            f"{sent} packets transmitted, {len(answered)} received, 0% packet loss, time 1ms",
        ]
    )


def test_nothing_lost() -> None:
    found = pings.parse(output(list(range(1, 101)), 100), 1000.0, 1001.0)
    assert found.sent == 100 - pings.UNDER_WAY
    assert found.lost() == {}
    assert found.gap() < 70  # those under way at the end are no gap of the host's
    assert not found.dead()


def test_lost_pings_are_placed_between_their_neighbours() -> None:
    answered = [n for n in range(1, 201) if not 100 <= n < 130]
    found = pings.parse(output(answered, 200), 1000.0, 1002.0)
    lost = found.lost()
    assert list(lost) == list(range(100, 130))
    assert all(abs(when - (1000 + n * 0.01)) < 0.02 for n, when in lost.items())
    assert found.gap() == pytest.approx(310, abs=1)
    assert found.gap(since=1001.5) < 70


def test_never_back() -> None:
    found = pings.parse(output(list(range(1, 51)), 200), 1000.0, 1002.0)
    assert len(found.lost()) == 200 - pings.UNDER_WAY - 50
    assert found.dead()
    assert found.gap() == pytest.approx(1500, abs=10)


def test_no_answer_at_all() -> None:
    found = pings.parse(output([], 100), 1000.0, 1001.0)
    assert len(found.lost()) == 100 - pings.UNDER_WAY
    assert found.dead()


def test_errors_are_no_answers() -> None:
    text = output([1, 2], 20) + "\nFrom 192.0.2.100 icmp_seq=3 Destination Host Unreachable\n"
    assert sorted(pings.parse(text, 1000.0, 1000.2).answers) == [1, 2]


def test_numbers_of_16_bits_are_unfolded() -> None:
    answered = [n for n in range(65000, 66500) if n not in (65530, 65600)]
    found = pings.parse(output(answered, 66500), 1000.0, 1665.0)
    lost = [n for n in found.lost() if n >= 65000]
    assert lost == [65530, 65600]


def test_a_late_answer_from_before_the_turn() -> None:
    text = output([65534, 65536, 65537, 65535], 65560)
    assert sorted(pings.parse(text, 1000.0, 1656.0).answers) == [65534, 65535, 65536, 65537]


def test_ping_that_failed_says_why() -> None:
    with pytest.raises(ValueError, match="unknown host"):
        pings.parse("ping: unknown host", 0, 1)
