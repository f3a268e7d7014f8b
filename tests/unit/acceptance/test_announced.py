# SPDX-License-Identifier: MIT
"""Which frames announce an address, and what counts as grown."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "acceptance"))
thousand: Any = importlib.import_module("thousand")

MAC, ALL = bytes.fromhex("02005e000101"), b"\xff" * 6
VIP, OTHER = bytes([192, 0, 2, 10]), bytes([192, 0, 2, 9])
VIP6 = bytes.fromhex("20010db8000000000000000000000010")
NODES = bytes.fromhex("ff020000000000000000000000000001")


def frame_arp(operation: int, sender: bytes, target: bytes) -> bytes:
    """An ARP frame (RFC 826)."""
    fixed = bytes.fromhex("000108000604") + operation.to_bytes(2, "big")
    return ALL + MAC + bytes.fromhex("0806") + fixed + MAC + sender + bytes(6) + target


def frame_nd(kind: int, to: bytes) -> bytes:
    """An ICMPv6 frame with a target and a link-layer option (RFC 4861 4.4)."""
    body = bytes([kind, 0, 0, 0]) + bytes(4) + VIP6 + bytes([2, 1]) + MAC
    header = bytes.fromhex("60000000") + len(body).to_bytes(2, "big") + bytes([58, 255])
    return ALL + MAC + bytes.fromhex("86dd") + header + VIP6 + to + body


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (frame_arp(1, VIP, VIP), VIP),
        (frame_arp(2, VIP, VIP), VIP),
        (frame_arp(1, OTHER, VIP), b""),
        (frame_nd(136, NODES), VIP6),
        (frame_nd(136, VIP6), b""),
        (frame_nd(135, NODES), b""),
        (frame_nd(136, NODES)[:54], b""),
        (ALL + MAC + bytes.fromhex("0800") + bytes(40), b""),
    ],
)
def test_announced(frame: bytes, expected: bytes) -> None:
    assert thousand.announced(frame) == expected


def test_what_grew_is_named() -> None:
    before = {"daemon RSS, KiB": 12000, "daemon fds": 9, "routes": ["a", "b"]}
    same = {"daemon RSS, KiB": 12000 + thousand.GROWS, "daemon fds": 9, "routes": ["b", "a"]}
    assert thousand.compare(before, same) == []
    grown = {"daemon RSS, KiB": 14000, "daemon fds": 10, "routes": ["a", "b", "b"]}
    assert len(thousand.compare(before, grown)) == 3
