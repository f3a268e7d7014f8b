# SPDX-License-Identifier: MIT
"""What was seen of a host, as values: for `status` to show and for `check` to judge. Pure.

None stands for what could not be seen; `Observation.unseen` says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

STATES = {0: "INIT", 1: "BACKUP", 2: "MASTER", 3: "FAULT"}  # of keepalived's JSON


@dataclass(frozen=True)
class Unseen:
    """Something that could not be seen, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class Network:
    """networkd's word on a link: the .network file in force (empty: none), its state (`unmanaged`, `configured`)."""

    file: str
    state: str

    @property
    def managed(self) -> bool:
        """Whether networkd drops the addresses of others here."""
        return self.state not in ("unmanaged", "")


@dataclass(frozen=True)
class Wire:
    """The filters of one dummy. `lacking`: where one that should be there is not, INTERFACE HOOK PREF.

    Frames and octets since the filters were put in place. What comes in over an uplink counts for each of its dummies.
    """

    wanted: bool
    expected: int = 0
    lacking: tuple[str, ...] = ()
    frames_out: int = 0
    octets_out: int = 0
    frames_in: int = 0
    octets_in: int = 0

    @property
    def state(self) -> str:
        """off (Wire=no), none (no uplink to be wired to), broken or whole."""
        if not self.wanted:
            return "off"
        if not self.expected:
            return "none"
        return "broken" if self.lacking else "whole"


@dataclass(frozen=True)
class Dummy:
    """A dummy that a conf asks for. `index` 0: it is not there.

    `kept_down`: why the daemon keeps it down, or empty. `maker`: keepalived-dummy, networkd, or somebody else. `kind` is dummy, or another interface has its name.
    """

    name: str
    path: str
    uplinks: tuple[str, ...]
    wire: Wire
    way_out: bool
    index: int = 0
    kind: str = ""
    up: bool = False
    arp: bool = False
    mtu: int = 0
    mac: str = ""
    maker: str = ""
    network: Network | None = None
    kept_down: str = ""


@dataclass(frozen=True)
class Vip:
    """An address of a vrrp_instance, or one on a dummy that no instance has (`instance` is empty).

    `held`: on its device in the kernel. `due`: whether keepalived says that it holds it, None: not told.
    `elsewhere`: other interfaces that have it. `member`: of its solicited-node group on each uplink, None for IPv4.
    """

    address: str
    prefix: int
    device: str
    instance: str
    held: bool
    due: bool | None = None
    elsewhere: tuple[str, ...] = ()
    member: bool | None = None
    certain: bool = True
    excluded: bool = False
    where: str = ""

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.address else 4


@dataclass(frozen=True)
class Instance:
    """A vrrp_instance. `state` is None where keepalived does not tell; `source`: its pinned source address, or empty.

    `held`: packets to the source are delivered by a local route of ours. `away_since`: since when the uplink does not have
    the source, in seconds since 1970; None: it has it.
    """

    name: str
    interface: str
    state: str | None
    masters: int | None
    source: str
    unicast: bool
    where: str
    held: bool = False
    away_since: float | None = None


@dataclass(frozen=True)
class Route:
    """A unicast route through an uplink; `ours`: one of the way out. `destination`: default, or a prefix."""

    destination: str
    gateway: str
    table: int
    metric: int
    protocol: int
    ours: bool


@dataclass(frozen=True)
class WayOut:
    """The daemon's word on the way out of one uplink and family (4 or 6). Times are seconds, `since` is since 1970."""

    family: int
    known: int
    in_use: int
    since: float | None
    times: int
    seconds: float


@dataclass(frozen=True)
class Uplink:
    """A real interface that dummies are wired to. `index` 0: it is not there."""

    name: str
    index: int = 0
    up: bool = False
    carrier: bool = False
    mac: str = ""
    addresses: tuple[str, ...] = ()
    network: Network | None = None
    routes: tuple[Route, ...] = ()
    ways: tuple[WayOut, ...] = ()

    def usable(self, family: int) -> tuple[str, ...]:
        """Its addresses of one family (4 or 6), link-local ones left out."""
        return tuple(
            a for a in self.addresses if (":" in a) == (family == 6) and not is_link_local(a)
        )


@dataclass(frozen=True)
class Daemon:
    """keepalived-dummy.service, from what it leaves in /run. Times are seconds since 1970, 0: never."""

    running: bool
    pid: int = 0
    heals: Mapping[str, int] = field(default_factory=dict)
    memberships: int = 0
    memberships_failed: int = 0
    problems: tuple[str, ...] = ()
    events: Mapping[str, int] = field(default_factory=dict)
    last: str = ""
    last_event: float = 0.0


@dataclass(frozen=True)
class Running:
    """A keepalived that may hold addresses of this host too. `unit`: systemd's, or empty.

    `config`: the file that it reads, as it names it itself; `inside`: whether that is the host's file of this name.
    """

    pid: int
    unit: str
    config: str
    inside: bool


@dataclass(frozen=True)
class Keepalived:
    """The keepalived that reads `config`: its main process, 0: none; whether the file could be read, and it told its state.

    `unit`: what it runs in, or would. `others`: what else may hold an address here, of which nothing more is known;
    `hidden`: processes of others can't be seen, so there may be such.
    """

    pid: int
    config: str
    readable: bool
    told: bool
    unit: str = "keepalived.service"
    others: tuple[Running, ...] = ()
    hidden: bool = False

    @property
    def alone(self) -> bool:
        """Whether surely no other keepalived may hold an address here."""
        return not self.others and not self.hidden


@dataclass(frozen=True)
class Observation:
    """A host at one moment; `time` in seconds since 1970. `problems`: of the confs, as FILE:LINE: TEXT."""

    time: float
    dummies: tuple[Dummy, ...]
    vips: tuple[Vip, ...]
    instances: tuple[Instance, ...]
    uplinks: tuple[Uplink, ...]
    daemon: Daemon
    keepalived: Keepalived
    problems: tuple[str, ...] = ()
    unseen: tuple[Unseen, ...] = ()

    def instance(self, name: str) -> Instance | None:
        """A vrrp_instance by its name."""
        return next((one for one in self.instances if one.name == name), None)

    def uplink(self, name: str) -> Uplink | None:
        """An uplink by its name."""
        return next((one for one in self.uplinks if one.name == name), None)

    def vips_on(self, device: str) -> tuple[Vip, ...]:
        """The VIPs whose place is this device."""
        return tuple(vip for vip in self.vips if vip.device == device)


def is_link_local(address: str) -> bool:
    """fe80::/10."""
    return address[:4].lower() in ("fe80", "fe90", "fea0", "feb0") and address[4:5] == ":"
