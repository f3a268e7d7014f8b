#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The neighbour wire: put in place idempotently, and right on the LAN frame by frame.

Runs on LANs of its own (veth pairs into namespaces) and leaves the host's real interfaces alone. The checks of
what the daemon does on events are at the end.
"""

from __future__ import annotations

import sys

import checks
import wire_announce
import wire_events
import wire_groups
import wire_heal
import wire_lan
import wire_mutate
import wire_nd
import wire_place
import wire_starts
import wire_uplinks

MODULES = (
    wire_place,
    wire_uplinks,
    wire_nd,
    wire_announce,
    wire_events,
    wire_groups,
    wire_heal,
    wire_starts,
)  # importing them has registered their checks


def main() -> int:
    """Every check, each from one LAN and nothing else; the host is left without it."""
    if checks.MUTATE:
        wire_mutate.save()
    order = [module.__name__ for module in MODULES]
    checks.CHECKS.sort(key=lambda one: order.index(one.run.__module__))
    wire_lan.enter()
    try:
        return checks.main(wire_lan.one_lan)
    finally:
        wire_lan.leave()


if __name__ == "__main__":
    sys.exit(main())
