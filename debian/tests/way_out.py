#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The way out where no event of netplan or networkd asks for it: a node that waits, a dead server, a crash, a hand.

Each check is a cell of the acceptance runs (tests/acceptance/cells.py), on this host and its uplink.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checks
from checks import check, edited, note

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "acceptance"))
import cells
from testbed import Testbed

BED = Testbed(Path(tempfile.mkdtemp(prefix="way-out.")))
NO_WAY_OUT = edited("host.py", "return any(d.way_out and", "return False and any(d.way_out and")
NO_RESTART = "/run/systemd/system/keepalived.service.d/zz-no-restart.conf"


def judged(cell: Callable[[Testbed, bool], dict[str, Any]]) -> None:
    """The cell as it has to be."""
    try:
        made = cell(BED, True)
    except RuntimeError as problem:
        raise AssertionError(str(problem)) from problem
    finally:
        BED.close()
    for name, value in made.items():
        if name not in ("cell", "wrong"):
            note(f"{name}: {value}")
    assert not made["wrong"], made["wrong"]


@check(*NO_WAY_OUT)
def fast_backup_hears_its_master() -> None:
    """advert_int 0.05 and rp_filter 2, the uplink without an address for a second: no second master."""
    judged(cells.backup)


@check(
    *edited(
        "wayout.py",
        "r for r in found if r.protocol != routes.PROTOCOL",
        "r for r in found",
    )
)
def killed_daemon_leaves_no_route() -> None:
    """kill -9 with the way out in place: the next one knows its routes by their protocol number."""
    judged(cells.killed)


@check(*edited("wayout.py", "if network in expected or length == 8 * len(address):", "if True:"))
def later_change_by_hand_wins() -> None:
    judged(cells.admin)


@check(*edited("wayout.py", "return routes.beside(r.metric, tries)", "return 60000"))
def replies_stay_on_their_uplink() -> None:
    """Another uplink has a default route with a larger metric than the one that is away."""
    judged(cells.two_uplinks)


@check(*edited("host.py", "if m.pid == own_port or r is None:", "if True:"))
def rules_are_put_back() -> None:
    """networkd takes the rule of routing-policy (up to 256), and at a restart that of a script."""
    judged(cells.policy)


@check(
    without=f"mkdir -p {Path(NO_RESTART).parent}; printf '[Service]\\nRestart=no\\n' > {NO_RESTART};"
    " systemctl daemon-reload",
    back=f"rm {NO_RESTART}; systemctl daemon-reload",
)
def killed_keepalived_leaves_no_vip() -> None:
    """The drop-in has it started again, and then it takes its VIPs away."""
    judged(cells.crashed)


@check(*NO_WAY_OUT)
def lease_that_runs_out_leaves_the_vip() -> None:
    """The DHCP server is dead: the VIP stays reachable, and the journal says what to do."""
    judged(cells.dead_server)


if __name__ == "__main__":
    sys.exit(checks.main(lambda: None))
