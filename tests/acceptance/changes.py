# SPDX-License-Identifier: MIT
"""The events of the comparison: those of the matrix, and those after which a host is not as it was."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import cells
import events
from forms import Form, write_files
from guest import run, wait_for, write
from testbed import (
    ADDRESS4,
    ADDRESS6,
    LEASE,
    NETPLAN,
    OTHER4,
    OTHER6,
    UPLINK,
    VIP4,
    Testbed,
    holds,
    own_addresses,
    uplink_yaml,
)

BOTH = ("static", "dhcp")
SOMEBODY = ("198.51.100.201", "198.51.100.202", "198.51.100.203")  # of a container that is gone
_RENAMED = "wan"  # the uplink's id in netplan, after it was another
_LEASE_LATE = 90  # seconds: a client asks again at half of its lease


@dataclass(frozen=True)
class Stage:
    """Where an event happens: a form on one kind of uplink."""

    bed: Testbed
    form: Form
    how: str


@dataclass(frozen=True)
class Change:
    """An event of the comparison.

    `run` returns the uplink's own addresses as they are to be then, None where they are to be as before. One that
    `spoils` the host is followed by a form that is put up anew. `quiet`: nobody is to notice it with this package.
    `unicast`: the nodes name each other. `vrrp`: it means nothing to a form without keepalived.
    """

    name: str
    group: str
    run: Callable[[Stage], set[str] | None]
    uplinks: tuple[str, ...] = BOTH
    spoils: bool = False
    quiet: bool = False
    unicast: bool = False
    vrrp: bool = False


def usual(name: str) -> Callable[[Stage], None]:
    """An event of the matrix, which leaves the host as it was."""
    found = {event.name: event for event in events.EVENTS}[name]

    def event(_: Stage) -> None:
        found.run()
        events.over()

    return event


def shell(command: str) -> Callable[[Stage], None]:
    """A shell command after which the host is to be as before."""

    def event(_: Stage) -> None:
        run(command)
        events.over()

    return event


# netplan's configuration


def _configure(how: str, name: str = UPLINK, **addresses: str) -> None:
    write(NETPLAN, uplink_yaml(how, name, **addresses), 0o600)
    run("netplan apply")


def _wait_for(*wanted: str, seconds: float = 60) -> set[str]:
    """Wait for the uplink's own addresses; these are what it is to have."""
    wait_for(f"the uplink has {wanted}", lambda: set(wanted) <= own_addresses(), seconds)
    return set(wanted)


def _another_address(stage: Stage) -> set[str]:
    """Of both families where it is static; by DHCP the IPv6 one, for the other is the server's."""
    _configure(stage.how, address4=OTHER4, address6=OTHER6)
    return _wait_for(OTHER4 if stage.how == "static" else ADDRESS4, OTHER6)


def _other_kind_and_back(stage: Stage) -> None:
    """From static to DHCP or from DHCP to static, with the same address; and back."""
    if stage.how == "static":
        stage.bed.dhcp_up()
    for how in (*(how for how in BOTH if how != stage.how), stage.how):
        _configure(how)
        _wait_for(ADDRESS4, ADDRESS6)
        time.sleep(3)
    events.over()


def _renamed(stage: Stage) -> None:
    """Another id for the uplink in netplan's YAML, also in the form's own; a drop-in of networkd stays as it is named."""
    write_files(stage.form, _RENAMED)
    _configure(stage.how, _RENAMED)
    events.over()


def _somebodys_addresses(_: Stage) -> None:
    """What a container's network left on the uplink, one more each time, and what networkd makes of it."""
    for address in SOMEBODY:
        run(f"ip address add {address}/32 dev {UPLINK}; networkctl reconfigure {UPLINK}")
        events.over()
        time.sleep(1)


# DHCP


def _lease_ends(stage: Stage) -> set[str]:
    """The server is dead; the lease ends, and with it the right to the address."""
    stage.bed.dhcp_down()
    end = time.monotonic() + LEASE + 10
    while ADDRESS4 in own_addresses() and time.monotonic() < end:
        time.sleep(0.5)
    time.sleep(12)
    return {ADDRESS6}


def _other_lease(stage: Stage) -> set[str]:
    """The server refuses the address and gives another one."""
    stage.bed.dhcp_down()
    stage.bed.dhcp_up(OTHER4)
    run(f"networkctl renew {UPLINK}")
    return _wait_for(OTHER4, ADDRESS6, seconds=_LEASE_LATE)


# The cable


def _without_carrier(seconds: float) -> Callable[[Stage], None]:
    def event(stage: Stage) -> None:
        stage.bed.cable(False)
        try:
            time.sleep(seconds)
        finally:
            stage.bed.cable(True)
        events.over()

    return event


# keepalived


def _failover(_: Stage) -> None:
    """keepalived is stopped and started again: the other node takes over, and hands back."""
    run("systemctl stop keepalived")
    time.sleep(8)
    run("systemctl start keepalived")
    wait_for("the host holds the VIP again", lambda: holds(VIP4))


def _killed(_: Stage) -> None:
    """All of keepalived dies at once, and the host's VIPs are nobody's; twenty seconds to see who takes them away."""
    cells.KILL.write_text("1")
    time.sleep(20)


NETWORKD, MORE, CHANGED = "networkd", "more of networkd", "configuration changed"
DHCP, CABLE, VRRP = "DHCP", "cable", "VRRP"

CHANGES = (
    Change("netplan apply", NETWORKD, shell("netplan apply"), quiet=True),
    Change("networkd restarted", NETWORKD, usual("networkd restarted"), quiet=True),
    Change("networkctl reconfigure", NETWORKD, usual("networkctl reconfigure"), quiet=True),
    Change("networkd kill -9", MORE, usual("networkd kill -9"), quiet=True),
    Change("systemd reinstalled", MORE, usual("systemd reinstalled"), quiet=True),
    Change("netplan try, reverted", MORE, usual("netplan try, reverted"), quiet=True),
    Change("somebody's addresses", MORE, _somebodys_addresses, quiet=True),
    Change("carrier lost for 1 s", CABLE, _without_carrier(1)),
    Change("carrier lost for 30 s", CABLE, _without_carrier(30)),
    Change(
        "uplink down and up",
        CABLE,
        shell(f"ip link set {UPLINK} down; sleep 1; ip link set {UPLINK} up"),
    ),
    Change("networkctl renew", DHCP, usual("networkctl renew"), ("dhcp",), quiet=True),
    Change("failover", VRRP, _failover, vrrp=True),
    Change("other kind and back", CHANGED, _other_kind_and_back, spoils=True, quiet=True),
    Change("netplan id renamed", CHANGED, _renamed, spoils=True, quiet=True),
    Change("another address", CHANGED, _another_address, spoils=True),
    Change("lease ends, server dead", DHCP, _lease_ends, ("dhcp",), spoils=True, quiet=True),
    Change("lease of another address", DHCP, _other_lease, ("dhcp",), spoils=True),
    Change("keepalived kill -9", VRRP, _killed, spoils=True, vrrp=True),
    Change(
        "unicast_peer, netplan apply",
        VRRP,
        shell("netplan apply"),
        spoils=True,
        quiet=True,
        unicast=True,
        vrrp=True,
    ),
    Change(
        "unicast_peer, networkctl reconfigure",
        VRRP,
        usual("networkctl reconfigure"),
        spoils=True,
        quiet=True,
        unicast=True,
        vrrp=True,
    ),
)
