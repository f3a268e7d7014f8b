#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A node that has lost its own address: it hears its peers or is in FAULT, and comes back by itself.

Each check is a cell of the acceptance runs (tests/acceptance/hearing.py), on this host and its uplink.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import checks
from checks import check, edited, note

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "acceptance"))
import hearing
from hearing import LOOSE, MULTICAST, PIECE, Cell, Kind
from testbed import Testbed

BED = Testbed(Path(tempfile.mkdtemp(prefix="hearing.")))


def judged(cell: Cell, kind: Kind) -> None:
    """The cell as it has to be."""
    try:
        it = cell(BED, kind)
    except RuntimeError as problem:
        raise AssertionError(str(problem)) from problem
    finally:
        BED.close()
    for step in it.steps:
        note(str(step))
    assert not it.wrong, it.wrong


@check(*edited(*PIECE))
def unicast_backup_without_its_address() -> None:
    """Its source is held, so it hears the MASTER."""
    judged(hearing.away, LOOSE[0])


@check(*edited(*PIECE))
def multicast_backup_without_its_address() -> None:
    """rp_filter is on, and the routes that were put back stay."""
    judged(hearing.away, MULTICAST)


@check(*edited(*PIECE))
def no_address_since_the_boot() -> None:
    """There is nothing to put back: it is in FAULT until the address comes."""
    judged(hearing.never, LOOSE[0])


@check(*edited(*PIECE))
def keepalived_is_reloaded_without_its_address() -> None:
    """A MASTER goes on serving, and gives way to a better node."""
    judged(hearing.reload, LOOSE[0])


if __name__ == "__main__":
    sys.exit(checks.main(lambda: None))
