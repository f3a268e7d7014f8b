#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""`adopt` and `revert` on a live pair of nodes, with a client that pings both VIPs."""

from __future__ import annotations

import sys

import adopt_accepted
import adopt_files
import adopt_kills
import adopt_lan
import adopt_live
import checks

# Importing them has registered their checks.
MODULES = (adopt_live, adopt_files, adopt_kills, adopt_accepted)


def main() -> int:
    """Every check, each from a host that is master with its VIPs on the uplink."""
    order = [module.__name__ for module in MODULES]
    checks.CHECKS.sort(key=lambda one: order.index(one.run.__module__))
    return checks.main(adopt_lan.begin)


if __name__ == "__main__":
    sys.exit(main())
