# SPDX-License-Identifier: MIT
"""Who holds a VIP, read from what `ip -ts -o monitor address` printed."""

from __future__ import annotations

import importlib
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests" / "acceptance"))
spans: Any = importlib.import_module("spans")

START = datetime(2026, 11, 29, 13, 36, 0).timestamp()
VIP = "192.0.2.10"


def line(seconds: float, device: str, deleted: bool = False, vip: str = VIP) -> str:
    stamp = datetime.fromtimestamp(START + seconds).isoformat(timespec="microseconds")
    gone = "Deleted " if deleted else ""
    return f"[{stamp}] {gone}3: {device}    inet {vip}/24 scope global secondary {device}\\       valid_lft forever"


@pytest.mark.parametrize(
    ("there", "lines", "found"),
    [
        ([], [], []),
        (["ens3"], [], [(0, 60)]),
        (["ens3"], [line(5, "ens3", True)], [(0, 5)]),
        ([], [line(5, "ens3"), line(9, "ens3", True), line(20, "ens3")], [(5, 9), (20, 60)]),
        # Told once more, of another address, of another VIP that begins with the same digits.
        ([], [line(5, "ens3"), line(6, "ens3")], [(5, 60)]),
        ([], [line(5, "ens3", vip="192.0.2.1"), line(6, "ens3", vip="192.0.2.101")], []),
        # From one device to another one of the same node.
        (["ens3"], [line(5, "dummy0"), line(6, "ens3", True)], [(0, 60)]),
        (["ens3"], [line(5, "ens3", True), line(6, "dummy0")], [(0, 5), (6, 60)]),
        (["ens3"], ["", "garbage", line(5, "ens3", True)], [(0, 5)]),
    ],
)
def test_spans(there: list[str], lines: list[str], found: list[tuple[float, float]]) -> None:
    made = spans.spans("\n".join(lines), VIP, there, START, START + 60)
    assert [(a - START, b - START) for a, b in made] == pytest.approx(found)


def test_an_ipv6_vip() -> None:
    text = line(5, "keepalived0", vip="2001:db8::10").replace("inet ", "inet6 ")
    assert spans.spans(text, "2001:db8::10", [], START, START + 9) == [(START + 5, START + 9)]


@pytest.mark.parametrize(
    ("one", "other", "seconds"),
    [
        ([(0, 10)], [], 0),
        ([(0, 10)], [(10, 20)], 0),
        ([(0, 10)], [(8, 20)], 2),
        ([(0, 3), (5, 10)], [(2, 6)], 2),
    ],
)
def test_shared(one: Any, other: Any, seconds: float) -> None:
    assert spans.shared(one, other) == seconds
