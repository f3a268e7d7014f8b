# SPDX-License-Identifier: MIT
"""What `check` judges: what was seen of the host, and what else may endanger a VIP on it. Pure.

None stands for what could not be told.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from keepalived_dummy.errors import Problem
from keepalived_dummy.firewall import Chain
from keepalived_dummy.interfaces import Link
from keepalived_dummy.keepalived import Document
from keepalived_dummy.observed import Dummy, Network, Observation, Unseen, Uplink, Vip
from keepalived_dummy.rules import Rule
from keepalived_dummy.targets import IPAddress


@dataclass(frozen=True)
class Named:
    """A place in a file of somebody else that defines or takes an interface of this name."""

    name: str
    path: str
    line: int = 0

    @property
    def where(self) -> str:
        """FILE:LINE, or FILE."""
        return f"{self.path}:{self.line}" if self.line else self.path


@dataclass(frozen=True)
class Front:
    """A tc filter, or a tcx program, of somebody else before ours that ends the classification of `what`.

    It is at the ingress of an uplink, or at the egress of a dummy. `sure`: it surely does; else whether it does is up
    to a program that can't be read. `programs`: the names or numbers of tcx programs (kind tcx), which have no pref.
    `until_boot`: the wire's own program is before these, and nothing puts it there after a boot.
    """

    device: str
    pref: int
    kind: str
    what: str
    sure: bool = True
    hook: str = "ingress"
    programs: tuple[str, ...] = ()
    until_boot: bool = False

    @property
    def family(self) -> int:
        """That of the VIPs which need what it takes."""
        return 4 if self.what == ARP else 6


@dataclass(frozen=True)
class Gateway:
    """An IPv4 default route of the main table."""

    device: str
    metric: int


@dataclass(frozen=True)
class Answer:
    """A host of the LAN that answers for a VIP."""

    address: str
    uplink: str
    mac: str


TIMER = "keepalived-dummy-tcx.timer"  # keeps the wire's program before those of others
ARP, ND = "ARP", "IPv6 neighbour discovery"  # what a Front takes

Settings = Mapping[tuple[str, str, str], int]  # family (ipv4, ipv6), interface, key


@dataclass(frozen=True)
class Facts:
    """`links`, `networks`: by name, of every interface. `addresses`: of all of them.

    `kept`: where networkd leaves the addresses of others, and the value of KeepConfiguration= that has it do so.
    `leased`: interface and family where there are addresses with an end, as those of DHCP. `sources`: by instance, the
    address that keepalived sends from by itself. `systemd`: its release, None: not known.
    `keeps_first`: a timer keeps the wire's program before those of others. `lacking`: kernel modules that are needed, not loaded and not to be found. `after`: what keepalived.service is
    ordered after, None: there is no such unit. `gateways`: None where rules decide. `rules`: by family (4, 6), where ip tells them.
    `answers`: of a probe. `deaf`: instances that can't hear their peers, and why.
    """

    seen: Observation
    document: Document
    problems: tuple[Problem, ...] = ()
    unwired: tuple[Problem, ...] = ()
    waiting: tuple[str, ...] = ()
    links: Mapping[str, Link] = field(default_factory=dict)
    networks: Mapping[str, Network] = field(default_factory=dict)
    addresses: frozenset[IPAddress] = frozenset()
    kept: Mapping[str, str] = field(default_factory=dict)
    leased: frozenset[tuple[str, int]] = frozenset()
    sources: Mapping[str, str] = field(default_factory=dict)
    systemd: int | None = None
    settings: Settings = field(default_factory=dict)
    netdevs: tuple[Named, ...] = ()
    netplan: tuple[Named, ...] = ()
    network_manager: tuple[Named, ...] = ()
    lacking: tuple[str, ...] = ()
    keeps_first: bool = False
    fronts: tuple[Front, ...] = ()
    chains: tuple[Chain, ...] = ()
    gateways: tuple[Gateway, ...] | None = None
    rules: Mapping[int, tuple[Rule, ...]] = field(default_factory=dict)
    keepalived: tuple[int, ...] | None = None
    after: frozenset[str] | None = None
    answers: tuple[Answer, ...] = ()
    deaf: Mapping[str, str] = field(default_factory=dict)
    unseen: tuple[Unseen, ...] = ()

    @property
    def ours(self) -> frozenset[str]:
        """The names of the dummies that a conf asks for."""
        return frozenset(one.name for one in self.seen.dummies)

    @property
    def dummies(self) -> Iterator[Dummy]:
        """Those that are there."""
        return (one for one in self.seen.dummies if one.index and one.kind == "dummy")

    @property
    def uplinks(self) -> Iterator[Uplink]:
        """Those that are there."""
        return (one for one in self.seen.uplinks if one.index)

    def served(self, uplink: str) -> tuple[Dummy, ...]:
        """The dummies of an uplink."""
        return tuple(one for one in self.dummies if uplink in one.uplinks)

    def vips_of(self, dummy: Dummy, family: int) -> tuple[Vip, ...]:
        """The VIPs of a dummy, of one family (4 or 6)."""
        return tuple(vip for vip in self.seen.vips_on(dummy.name) if vip.family == family)

    def vips_over(self, uplink: str, dummy: Dummy, family: int) -> tuple[Vip, ...]:
        """The VIPs of a dummy that are reached over the uplink: those of the instances on it, where there are such."""
        vips = self.vips_of(dummy, family)
        names = {one.name for one in self.seen.instances if one.interface == uplink}
        if not any(vip.instance in names for vip in self.seen.vips_on(dummy.name)):
            return vips  # named in the conf for all of them
        return tuple(vip for vip in vips if not vip.instance or vip.instance in names)

    def carries(self, uplink: str, family: int) -> bool:
        """Whether a VIP of this family is reached over the uplink."""
        return any(self.vips_over(uplink, dummy, family) for dummy in self.served(uplink))

    def setting(self, interface: str, key: str) -> int:
        """An IPv4 setting of one interface alone; 0 where it was not read."""
        return self.settings.get(("ipv4", interface, key), 0)

    def effective(self, interface: str, key: str) -> int:
        """Of arp_ignore and rp_filter the kernel takes the larger of the interface's and that of `all`."""
        return max(self.setting("all", key), self.setting(interface, key))

    def has_ipv6(self, interface: str) -> bool:
        """Whether IPv6 runs there: with an MTU below 1280 the kernel has not even the settings."""
        return self.settings.get(("ipv6", interface, "disable_ipv6"), 1) == 0
