# SPDX-License-Identifier: MIT
"""Dummies go to the VRF of their uplinks: tables over hosts, and what a pass of apply does."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from keepalived_dummy import apply, links, vrfs
from keepalived_dummy.config import Config, Dummy
from keepalived_dummy.interfaces import Address, Link
from keepalived_dummy.vrfs import Move

CONF = "/etc/keepalived-dummy.d/keepalived.conf"
WANTED = Config(dummies=(Dummy("keepalived", CONF, "keepalived0"),))
BLUE, RED, BRIDGE = 30, 31, 32
MASTERS = {BLUE: "vrf", RED: "vrf", BRIDGE: "bridge"}
VIP = Address(2, 7, 32, bytes([192, 0, 2, 10]), 0, 0)
BOTH = {"keepalived0": ("ens3", "ens4")}
ONE = {"keepalived0": ("ens3",)}


def host(
    ens3: int = 0, ens4: int = 0, dummy: int = 0, held: tuple[Address, ...] = ()
) -> links.Host:
    """Each of them in the VRF, or in the bridge, of this index."""
    found = [
        Link(2, 0x43, "ens3", "", b"", 1500, 1, "", 1, ens3),
        Link(3, 0x43, "ens4", "", b"", 1500, 1, "", 1, ens4),
        Link(7, 0x43, "keepalived0", "dummy", b"", 1500, 1, "", 1, dummy),
        *(Link(i, 1, f"{kind}{i}", kind, b"", 1500, 1, "", 1) for i, kind in MASTERS.items()),
    ]
    return links.Host({link.name: link for link in found}, held)


@pytest.mark.parametrize(
    ("names", "there", "moves"),
    [
        (ONE, host(), []),
        (ONE, host(ens3=BLUE), [Move("keepalived0", "vrf30", "ens3")]),
        (ONE, host(ens3=BLUE, dummy=BLUE), []),
        (ONE, host(ens3=BLUE, dummy=RED), [Move("keepalived0", "vrf30", "ens3")]),
        (ONE, host(dummy=BLUE), [Move("keepalived0", "", "ens3")]),
        (ONE, host(ens4=BLUE), []),
        (ONE, host(ens3=BRIDGE), []),
        (ONE, host(ens3=BLUE, dummy=BRIDGE), []),
        (BOTH, host(BLUE, BLUE), [Move("keepalived0", "vrf30", "ens4")]),
        (BOTH, host(BLUE, RED), []),
        (BOTH, host(BLUE, RED, BLUE), []),
        ({"keepalived0": ()}, host(dummy=BLUE), []),  # no uplink is known yet
        ({"keepalived0": ("ens9",)}, host(dummy=BLUE), []),  # nor there
        ({"keepalived1": ("ens3",)}, host(ens3=BLUE), []),
        ({"ens4": ("ens3",)}, host(ens3=BLUE), []),  # no dummy
    ],
)
def test_who_is_to_be_moved(
    names: dict[str, tuple[str, ...]], there: links.Host, moves: list[Move]
) -> None:
    assert list(vrfs.moves(names, there.links)) == moves


@pytest.mark.parametrize(
    ("names", "there", "where"),
    [
        (BOTH, host(), ""),
        (BOTH, host(BLUE, BLUE), ""),
        (BOTH, host(BLUE, BRIDGE), "ens3 in vrf30, ens4 in none"),
        (BOTH, host(BLUE, RED), "ens3 in vrf30, ens4 in vrf31"),
        ({"keepalived0": ("ens3", "ens9")}, host(BLUE), ""),
    ],
)
def test_uplinks_in_several_vrfs(
    names: dict[str, tuple[str, ...]], there: links.Host, where: str
) -> None:
    text = f"keepalived0 can be in one VRF alone: {where}; give each uplink a dummy of its own"
    assert list(vrfs.divided(names, there.links)) == ([("keepalived0", text)] if where else [])


class Changer(links.Changer):
    """Takes note of changes, and refuses where it is told to."""

    def __init__(self, refuses: bool = False) -> None:
        self.refuses = refuses
        self.made: list[tuple[str, dict[str, Any]]] = []

    def link(self, command: str, **what: Any) -> None:
        if self.refuses:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        self.made.append((command, what))


def moved(there: links.Host, change: Changer, names: Any = ONE) -> apply.Result:
    result = apply.Result()
    apply._move(WANTED, change, there, names, result)
    return result


@pytest.mark.parametrize(
    ("there", "master", "said"),
    [
        (host(ens3=BLUE), BLUE, "keepalived0: in VRF vrf30, as ens3 is"),
        (host(dummy=BLUE), 0, "keepalived0: in no VRF, as ens3 is"),
    ],
)
def test_a_dummy_follows_its_uplink(there: links.Host, master: int, said: str) -> None:
    change = Changer()
    result = moved(there, change)
    assert change.made == [("set", {"index": 7, "master": master})]
    assert (result.changed, result.problems) == ([said], [])


def test_one_that_holds_a_vip_stays_and_that_is_said() -> None:
    """The kernel sets it down for the move, and its IPv6 addresses go."""
    change = Changer()
    result = moved(host(ens3=BLUE, held=(VIP,)), change)
    assert change.made == []
    assert result.problems == [
        f"{CONF}: keepalived0 has to be in VRF vrf30 as ens3 is, and holds 192.0.2.10/32: stop"
        " keepalived, run this again, and start it"
    ]


def test_uplinks_in_several_vrfs_are_said() -> None:
    change = Changer()
    (said,) = moved(host(BLUE, RED), change, BOTH).problems
    assert "keepalived0 can be in one VRF alone" in said
    assert change.made == []


def test_the_kernel_refuses() -> None:
    result = moved(host(ens3=BLUE), Changer(refuses=True))
    assert result.changed == []
    assert result.problems == [
        f"{CONF}: the kernel does not put keepalived0 in VRF vrf30: Operation not permitted"
    ]
