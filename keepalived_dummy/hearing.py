# SPDX-License-Identifier: MIT
"""The sources that keepalived.conf pins: held while their address is away, and whether their instances can hear.

keepalived goes to FAULT when the address that it chose itself goes, and so does not become MASTER beside a MASTER
that it can't hear any more. With a pinned source it stays as it is. So this package has to see to it that a node
hears its peers, or is in FAULT:

- A unicast instance hears only while the kernel delivers packets to its source. A local route keeps them delivered
  while networkd has taken the address (`routes.hold`); it also lets keepalived bind to the address at a start.
- Where rp_filter is on, the kernel drops adverts that come in on an uplink without address and without route to
  their sender. The fallback routes of the uplink are such routes. Without a route a MASTER serves nobody, and its
  peers do not hear what it sends to them: so a node has to have one at any rp_filter.
- Where neither can help, the dummy is set down while it holds no VIP: keepalived is in FAULT as long as the device
  of a VIP is down, and leaves FAULT by itself when it comes up.

What the kernel would do with an advert is asked from the kernel.
"""

import socket
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from keepalived_dummy import netlink, routes
from keepalived_dummy.events import Event, event
from keepalived_dummy.netlink import AF_INET, AF_INET6
from keepalived_dummy.plan import PinnedSource
from keepalived_dummy.routes import Held

# Gives the kernel's answer to a request; None where the kernel refuses it.
Ask = Callable[[bytes], netlink.Message | None]

_AUTOMATIC = b"\xa9\xfe"  # 169.254.0.0/16, which a host gives itself (RFC 3927)
_LINK_LOCAL = b"\xfe\x80"  # fe80::/64, which the kernel makes; networkd leaves it alone
PATIENCE = 0.05  # seconds that an instance is deaf before its dummy is set down: networkd's steps are shorter
_AGAIN = 1.0  # seconds until a source that is away is judged again: no event tells of rp_filter or of a rule
_NEIGHBOURS = (
    7  # addresses tried for a peer of a multicast instance, each one bit away from the source
)
_ARP_IGNORE = "/proc/sys/net/ipv4/conf/{}/arp_ignore"


class Uplink(NamedTuple):
    """An uplink that is there: its index, whether it is up, and its addresses of both families."""

    ifindex: int
    up: bool
    addresses: Collection[bytes]


class Hearing:
    """The state of all pinned sources. Times are seconds of any one steady clock.

    `ask` asks the kernel, `tell` tells an event. Nothing is sent: the methods return what to send or do.
    """

    def __init__(self, ask: Ask, tell: Callable[[Event], None]) -> None:
        self._ask, self._tell = ask, tell
        self.sources: tuple[PinnedSource, ...] = ()
        self.seen: set[tuple[str, bytes]] = (
            set()
        )  # uplinks and the addresses they had since the boot
        self.held: set[Held] = set()
        self.down: dict[str, str] = {}  # dummies that are to be down, and why
        self.away: dict[tuple[str, bytes], float] = {}  # sources that are away: since when
        self.due: float | None = None  # when `judge` has something to do
        self.undecided: set[str] = set()  # dummies that `judge` has not decided on yet
        self._deaf: dict[str, float] = {}  # dummies of a deaf instance: since when
        self._warned: set[str] = set()  # dummies that can't be set down
        # Of what goes with lo, or a VRF's device, when that is set down the kernel tells nobody.
        self._unsure = False

    def load(self, sources: tuple[PinnedSource, ...], now: float) -> None:
        """Take the pinned sources of a new plan, but for IPv6 link-local ones."""
        self.sources = tuple(one for one in sources if not is_link_local(one.address))
        names = {name for one in self.sources for name in one.dummies}
        self.down = {name: why for name, why in self.down.items() if name in names}
        self.undecided = names - self.down.keys()
        self.due = now

    def of(self, uplink: str, family: int) -> frozenset[bytes]:
        """Return the sources of an uplink whose instances need its routes."""
        size = 4 if family == AF_INET else 16
        found = (one.address for one in self.sources if one.uplink == uplink)
        return frozenset(a for a in found if len(a) == size)

    def sync(self, uplinks: Mapping[str, Uplink], now: float) -> bytes:
        """Return what makes the kernel hold the sources that are to be held, and no other."""
        self._note(uplinks, now)
        wanted = holds(
            self.sources, {name: up.addresses for name, up in uplinks.items()}, self.seen
        )
        stale, lacking = self.held - wanted, wanted if self._unsure else wanted - self.held
        self.held, self._unsure = wanted, False
        return b"".join([*map(routes.release, stale), *map(routes.hold, lacking)])

    def gone(self, held: Held, now: float) -> None:
        """A local route of ours was deleted by somebody else: the next `sync` puts it back."""
        if held in self.held:
            self.held.discard(held)
            self.due = now

    def judge(
        self,
        uplinks: Mapping[str, Uplink],
        in_use: Collection[str],
        are_down: Collection[str],
        now: float,
    ) -> list[str]:
        """Decide which dummies are to be down; return those that are to change.

        `in_use`: dummies that hold a VIP, which are never set down. `are_down`: those that are down already.
        """
        deaf = self._find_deaf(uplinks)
        self._unsure = bool(deaf)
        self.undecided = set()
        self._deaf = {name: self._deaf.get(name, now) for name in deaf}
        changed = [name for name in self.down if name not in deaf]
        self.down = {name: why for name, why in self.down.items() if name in deaf}
        self._warned &= deaf.keys()
        for name in deaf.keys() - self.down.keys():
            if name not in are_down and now < self._deaf[name] + PATIENCE:
                continue
            if name in in_use:
                self._warn(name, deaf[name])
                continue
            self.down[name] = deaf[name]
            changed.append(name)
        times = [t + PATIENCE for n, t in self._deaf.items() if n not in self.down]
        times = [t for t in times if t > now] + [now + _AGAIN] * bool(self.away)
        self.due = min(times, default=None)
        return changed

    def _find_deaf(self, uplinks: Mapping[str, Uplink]) -> dict[str, str]:
        """Find the dummies of instances that can't hear, and why. An uplink that is down is FAULT to keepalived."""
        deaf: dict[str, str] = {}
        for one in self.sources:
            up = uplinks.get(one.uplink)
            why = why_deaf(one, up.ifindex, up.addresses, self._ask) if up and up.up else ""
            if why:
                text = f"vrrp_instance {one.instance} can't hear its peers: {why}"
                deaf.update((name, text) for name in one.dummies if name not in deaf)
        return deaf

    def _warn(self, name: str, why: str) -> None:
        if name not in self._warned:
            self._warned.add(name)
            text = (
                f"{why}; {name} holds VIPs and stays up, so a better node would be a second MASTER"
            )
            self._tell(event("cannot-hear", text, DUMMY=name))

    def _note(self, uplinks: Mapping[str, Uplink], now: float) -> None:
        """Note which sources are there, and tell of those that went or came back."""
        for one in self.sources:
            up, key = uplinks.get(one.uplink), (one.uplink, one.address)
            if up is not None and one.address in up.addresses:
                self.seen.add(key)
                if key in self.away:
                    self._say("source-back", one, now - self.away.pop(key))
            elif key not in self.away:
                self.away[key] = now
                self._say("source-away", one)
        known = {(one.uplink, one.address) for one in self.sources}
        self.away = {key: since for key, since in self.away.items() if key in known}

    def _say(self, kind: str, one: PinnedSource, seconds: float = 0.0) -> None:
        what = f"{text(one.address)}, the source of vrrp_instance {one.instance}"
        fields = {"UPLINK": one.uplink, "SOURCE": text(one.address)}
        if kind == "source-back":
            fields["SECONDS"] = f"{seconds:.3f}"
            self._tell(
                event(kind, f"{one.uplink}: {what}, is back after {seconds:.3f} s", **fields)
            )
        else:
            self._tell(event(kind, f"{one.uplink}: {what}, is away", **fields))


def text(address: bytes) -> str:
    """Return an address as it is written."""
    return socket.inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)


def is_link_local(address: bytes) -> bool:
    """Tell whether an address is an IPv6 link-local one. An instance with such a source hears by its interface."""
    return len(address) == 16 and address[:2] == _LINK_LOCAL


def holds(
    sources: Collection[PinnedSource],
    addresses: Mapping[str, Collection[bytes]],
    seen: Collection[tuple[str, bytes]],
) -> set[Held]:
    """Return the sources to hold.

    `addresses`: those of each uplink that is there. `seen`: uplinks and addresses that they had since the boot. An
    address that the uplink never had, while it has another one, may be another host's: the file may have been copied
    from there. So may one of a file that names an address of this host as a peer.
    """
    wanted = set()
    for one in sources:
        own = addresses.get(one.uplink)
        if not one.hold or not one.peers or len(one.address) != 4 or own is None:
            continue
        others = [a for a in own if len(a) == 4 and a[:2] != _AUTOMATIC and a != one.address]
        known = one.address in own or (one.uplink, one.address) in seen or not others
        if known and not set(one.peers) & set(own):
            wanted.add(Held(one.address, one.table, one.device))
    return wanted


def why_deaf(one: PinnedSource, ifindex: int, own: Collection[bytes], ask: Ask) -> str:
    """Say why an instance can't hear its peers while its source is away; empty where it can.

    `own`: the addresses of its uplink. IPv6 has no rp_filter, and a multicast instance joins its group by the
    interface; a unicast one needs its address, which no route replaces (ndisc_recv_ns(), net/ipv6/ndisc.c).
    """
    if one.address in own or (len(one.address) == 16 and not one.peers):
        return ""
    away = f"{one.uplink} does not have {text(one.address)}"
    if len(one.address) == 16:
        return f"{away}, and IPv6 delivers only to an address that is there"
    if not one.peers:
        heard = any(_is_reached(p, routes.BROADCAST, ifindex, ask) for p in _near(one.address))
        return "" if heard else f"{away}, and the kernel has no route to its network there"
    for peer in one.peers:
        if not _is_reached(peer, one.address, ifindex, ask):
            return f"{away}, and the kernel has no route to {text(peer)} there, or takes nothing from it"
    if _is_silent(one.uplink) and _is_held(one, ifindex, ask):
        return f"{away}, and arp_ignore keeps {one.uplink} from answering for it"
    return ""


def _is_reached(peer: bytes, destination: bytes, ifindex: int, ask: Ask) -> bool:
    """Tell whether the kernel takes a peer's packets to `destination` on an interface, and has a route back there."""
    out = ask(routes.ask_output(peer, ifindex))
    if out is None or routes.interface(out.body) != ifindex:
        return False
    came = ask(routes.ask_input(peer, destination, ifindex))
    return came is not None and (destination == routes.BROADCAST or routes.is_local(came.body))


def _is_held(one: PinnedSource, ifindex: int, ask: Ask) -> bool:
    """Tell whether a unicast source is delivered by our own route, and so an address of no interface."""
    came = ask(routes.ask_input(one.peers[0], one.address, ifindex))
    return came is not None and routes.protocol(came.body) == routes.PROTOCOL


def _near(address: bytes) -> list[bytes]:
    """Return addresses near one; any of them may be this host's own, as which the kernel takes no packet's source."""
    number = int.from_bytes(address, "big")
    return [(number ^ 1 << bit).to_bytes(len(address), "big") for bit in range(_NEIGHBOURS)]


def _is_silent(uplink: str) -> bool:
    """Tell whether the kernel answers ARP requests only for addresses of the interface itself.

    The larger of the interface's setting and that of `all` counts (Documentation/networking/ip-sysctl.rst).
    """
    return any(_read(_ARP_IGNORE.format(name)) not in ("", "0") for name in ("all", uplink))


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""
