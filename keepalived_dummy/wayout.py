# SPDX-License-Identifier: MIT
"""The way out: the routes of an uplink that VIPs' replies take, put back while it has no address of its own.

With its last IPv4 address the kernel flushes every IPv4 route of a link (net/ipv4/fib_frontend.c,
fib_disable_ip), with an IPv6 address that of its prefix; networkd, reconfiguring, takes the others away first.
One WayOut for each uplink and family. It is told what happens and answers with the bytes to send; it does no I/O
and reads no clock. How it comes to know routes, by a dump of the uplink's after each change:

- a route that appears is known at once;
- one that goes while the uplink keeps its address is forgotten SETTLE seconds later, so an admin's deletion stands,
  and one that networkd makes just before it takes the address does not;
- one that networkd or NetworkManager deletes is put back at once, for BRIDGE seconds unless the address goes too:
  on a busy host the two steps can be far apart;
- once the uplink has an address again, ours go one by one as the uplink's own come back, what never comes back
  after GRACE seconds, or SETTLE where it has an address of another network alone: networkd gives it a new static one
  before that of DHCP is back. The network of a source that keepalived.conf pins stays: its peers are there.
- while the address is away ours stay where a VIP is held or a source is pinned, for a BACKUP needs them to hear its
  MASTER where rp_filter is on; else UNHELD seconds.
- keepalived is told nothing of a flush, and sets its virtual_routes and static_routes again at its next start or
  election alone: those are restored as they were, once the address is back, unless the VIPs came or went meanwhile.

Ours have the metric 60000, so any route by anybody else wins beside them.
"""

from collections.abc import Collection

from keepalived_dummy import routes
from keepalived_dummy.events import Event, event
from keepalived_dummy.netlink import AF_INET, Message
from keepalived_dummy.routes import Key, Route

SETTLE = 3.0
GRACE = 10.0
BRIDGE = 1.0
UNHELD = 10.0  # how long they stay where no VIP is held and no source is pinned: keepalived is in FAULT there
WARN = 10.0
LIMIT = 500  # routes kept for one uplink and family
_ENOUGH = 4 * LIMIT  # as there can be several of one destination
_AGAIN = 200  # how often a route of ours that somebody deletes is put back in one use

_ALONE = (
    "still without an {family} address of its own; {n} routes of the way out stay, so that VIPs are"
    " reached and VRRP is heard. Is the DHCP server gone, has the lease run out? See 'networkctl status {name}'"
)

Prefix = tuple[bytes, int]


def order(r: Route) -> tuple[bool, bool, int]:
    """Which of too many routes are kept: ours, then the uplink's networks, then the shorter prefix."""
    return r.protocol != routes.PROTOCOL, bool(r.gateway), r.key.length


def preferred(found: list[Message], ifindex: int) -> list[Message]:
    """The messages of the routes that a way out would keep of these.

    The routes of a router with a full table, all of them at once, would be more than the unit's MemoryMax=.
    """
    read = [(route, m) for m in found if (route := routes.route(m.body, ifindex))]
    read.sort(key=lambda pair: order(pair[0]))
    return [m for _, m in read[:_ENOUGH]]


class WayOut:
    """The routes of one uplink in one family. Times are seconds of any one steady clock."""

    def __init__(self, uplink: str, family: int) -> None:
        self.uplink = uplink
        self._family = "IPv4" if family == AF_INET else "IPv6"
        self.up = True
        self.held = False
        self.since: float | None = None  # in use since
        self.times = 0
        self.seconds = 0.0
        self.log: list[Event] = []
        self._addresses: set[Prefix] = set()
        # It had an address, and has none now. One that never had any, an IPv6 uplink with its link-local one perhaps,
        # waits for none.
        self._lost = False
        self._networks: set[Prefix] = set()  # those its addresses were of, before they went
        self._known: dict[Key, Route] = {}
        self._ready: dict[
            Key, bytes
        ] = {}  # in the order to send: gateways after what they are reached by
        self._all = b""
        self._gone: dict[Key, float] = {}  # known, but not there now: since when
        self._ours: dict[Key, Route] = {}
        self._back = 0.0  # its address is back since
        self._patience = GRACE
        self._unheld = 0.0  # no VIP is held since
        self._held_before = False  # at the beginning of this use
        self._restored: set[Key] = set()
        self._warned = False
        self._again = 0
        self._first = True
        self._sources: frozenset[bytes] = frozenset()  # pinned in keepalived.conf
        self._kept = False  # in use for the networks of these sources only
        self._remembered: dict[Key, Route] = {}  # of an earlier run

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes that could be put back."""
        return tuple(self._known.values())

    @property
    def known(self) -> int:
        """How many routes could be put back."""
        return len(self._known)

    @property
    def placed(self) -> int:
        """How many routes of ours are in place."""
        return len(self._ours)

    # What happens

    def address_added(self, address: bytes, length: int, now: float) -> bytes:
        """The uplink has got an address (not a link-local one)."""
        self._addresses.add((address, length))
        self._lost = False
        self._gone = dict.fromkeys(self._gone, now)
        network = (routes.prefix(address, length), length)
        if self.since is None:
            self._networks.add(network)
            return b""
        self._back, self._kept = now, False
        expected = self._networks | {r.key[1:3] for r in self._known.values() if not r.gateway}
        if network in expected or length == 8 * len(address):
            self._patience = GRACE if self._patience == SETTLE else self._patience
            return b""
        self._networks.add(network)
        self._patience = SETTLE
        self._say("way-out-moves", f"it has an {self._family} address of another network now")
        return b""

    def address_removed(self, address: bytes, length: int, now: float) -> bytes:
        """The uplink has lost an address: the one moment that counts. Nothing is looked up or built here."""
        if (address, length) not in self._addresses:
            return b""
        self._addresses.remove((address, length))
        self._lost = not self._addresses
        if not self.up or not self._known:
            return b""
        self._patience = GRACE
        if not self._addresses:
            self._begin(now, self._known)
            return self._all
        lost = self._lost_with(address, length)
        if not lost:
            return b""
        self._begin(now, lost)
        return b"".join(self._ready[key] for key in self._ready if key in lost)

    def deleted(self, route: Route, now: float) -> bytes:
        """A route of ours was deleted, not by us: networkd drops it as foreign when it reconfigures once more."""
        if self.since is None or route.key not in self._ours or self._again >= _AGAIN:
            return b""
        self._again += 1
        if self._again == _AGAIN:
            self._say("way-out-fought", "routes of the way out are deleted over and over")
        return self._ready.get(route.key, b"")

    def needs(self, route: Route) -> bool:
        """Whether a route of the uplink's own is one to put back, and is not yet."""
        return self.up and route.key in self._known and route.key not in self._ours

    def taken(self, route: Route, now: float) -> bytes:
        """A network manager has deleted one of the uplink's own: most likely the address goes next."""
        if not self.needs(route):
            return b""
        if self.since is None:
            self._patience = BRIDGE
        self._begin(now, [route.key])
        return self._ready[route.key]

    def link(self, up: bool, now: float) -> bytes:
        """The uplink went up or down; the kernel takes the routes of one that goes down."""
        if up == self.up:
            return b""
        self.up = up
        self._gone = dict.fromkeys(self._gone, now)
        return self._begin_if_needed(now) if up else self._end(now)

    def vips(self, held: bool, now: float) -> bytes:
        """A VIP is held on a dummy of this uplink, or none is any more."""
        if held == self.held:
            return b""
        self.held, self._unheld = held, now
        return self._begin_if_needed(now)

    def pin(self, sources: frozenset[bytes], now: float) -> bytes:
        """Take the sources that keepalived.conf pins for instances on this uplink."""
        if sources == self._sources:
            return b""
        self._sources, self._unheld = sources, now
        self._back, self._kept = now, False
        return self._begin_if_needed(now)

    def remember(self, found: list[Route]) -> None:
        """Take the routes that an earlier run knew, for an uplink that has no address at the first reading."""
        self._remembered = {r.key: r for r in found}

    def snapshot(self, found: list[Route], now: float) -> bytes:
        """All routes through the uplink, read after a change."""
        own: dict[Key, Route] = {}
        ours: dict[Key, Route] = {}
        for r in found:
            kept = ours if r.protocol == routes.PROTOCOL else own
            if r.key not in kept or r.metric < kept[r.key].metric:
                kept[r.key] = r
        self._learn(own, ours, now)
        self._ours = {key: r for key, r in ours.items() if key not in own}
        send = b"".join(routes.take(r) for key, r in ours.items() if key in own)
        if self.since is None:
            send += b"".join(routes.take(r) for r in self._ours.values())
            self._ours = {}
        elif not self._lost and not self._ours:
            send += self._end(now)
        elif not self._lost:
            send += self._restore()
        elif self.up:
            missing = [key for key in self._ready if key not in own and key not in ours]
            self._ours.update((key, self._known[key]) for key in missing)
            send += b"".join(self._ready[key] for key in missing)
        return send

    def stop(self) -> bytes:
        """The daemon stops: ours go unless they are needed; the next start takes those over."""
        return b"" if (self._lost or self._kept) and self.up else self._take_all()

    def close(self, now: float) -> bytes:
        """The uplink is none any more: nothing of ours stays."""
        return self._end(now)

    # Time

    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        if not self.up:
            return None
        if self.since is None:
            return min(self._gone.values()) + SETTLE if self._gone and not self._lost else None
        if self._kept:
            return None
        if not self._lost:
            return self._back + self._patience
        if not self._is_needed:
            return max(self.since, self._unheld) + UNHELD
        return None if self._warned else self.since + WARN

    def tick(self, now: float) -> bytes:
        """The deadline has come."""
        due = self.deadline()
        if due is None or now < due:
            return b""
        if self.since is None:
            self._forget([key for key, gone in self._gone.items() if now >= gone + SETTLE])
            self._networks = {(routes.prefix(a, n), n) for a, n in self._addresses}
            return b""
        if not self._lost:
            kept = self._networks_of_sources()
            return self._narrow(kept) if kept else self._end(now, forget=True)
        if not self._is_needed:
            self._say(
                "way-out-closes", "no VIP is held and no source is pinned, the way out closes"
            )
            return self._end(now)
        self._warned = True
        alone = _ALONE.format(name=self.uplink, family=self._family, n=self.placed)
        self._say("way-out-stays", alone)
        return b""

    # Within

    def _say(self, kind: str, text: str, **fields: str) -> None:
        text = f"{self.uplink}: {text}"
        self.log.append(event(kind, text, UPLINK=self.uplink, FAMILY=self._family, **fields))

    @property
    def _is_needed(self) -> bool:
        return self.held or bool(self._sources)

    def _begin_if_needed(self, now: float) -> bytes:
        if self.since is not None or not (self._is_needed and self._lost and self.up):
            return b""
        if not self._known:
            return b""
        self._begin(now, self._known)
        return self._all

    def _networks_of_sources(self) -> set[Key]:
        """Which of ours in place lead to the networks of pinned sources that are away."""
        away = self._sources - {address for address, _ in self._addresses}
        return {
            key
            for key, r in self._ours.items()
            if not r.gateway
            and key.length < 8 * len(key.destination)
            and any(routes.prefix(a, key.length) == key.destination for a in away)
        }

    def _narrow(self, kept: set[Key]) -> bytes:
        """Take away all of ours but these, which stay until the address is back or another source is pinned."""
        send = b"".join(routes.take(r) for key, r in self._ours.items() if key not in kept)
        self._ours = {key: self._ours[key] for key in kept}
        self._kept = True
        return send

    def _lost_with(self, address: bytes, length: int) -> set[Key]:
        """What goes with one of several addresses: its network, what names it as source, what went just before."""
        network = routes.prefix(address, length)
        lost = set(self._gone)
        if all(a != address for a, _ in self._addresses):
            lost.update(key for key, r in self._known.items() if r.source == address)
        if all((routes.prefix(a, n), n) != (network, length) for a, n in self._addresses):
            lost.update(key for key in self._known if key[1:3] == (network, length))
        return lost

    def _begin(self, now: float, keys: Collection[Key]) -> None:
        if self.since is None:
            self.since = now
            self.times += 1
            self._warned = False
            self._again = 0
            self._ours = {}
            self._held_before = self.held
            self._restored = set(self._gone)  # not there before either
            self._say("way-out-begins", f"{self._family} routes gone, {len(keys)} put back")
        self._back, self._kept = now, False
        for key in keys:
            self._ours[key] = self._known[key]

    def _restore(self) -> bytes:
        """keepalived's own among those in use, once each."""
        if self.held != self._held_before:
            return b""
        theirs = [
            r for r in self._ours.values() if self._known[r.key].protocol == routes.KEEPALIVED
        ]
        lacking = [self._known[r.key] for r in theirs if r.key not in self._restored]
        self._restored.update(r.key for r in lacking)
        return b"".join(map(routes.restore, lacking))

    def _end(self, now: float, forget: bool = False) -> bytes:
        send = self._take_all()
        if self.since is not None:
            used, self.since, self._kept = now - self.since, None, False
            self.seconds += used
            text = f"{self._family} routes of the way out gone after {used:.3f} s"
            self._say("way-out-ends", text, SECONDS=f"{used:.3f}")
        if forget:
            self._forget(list(self._gone))
        self._gone = dict.fromkeys(self._gone, now)
        return send

    def _take_all(self) -> bytes:
        send = b"".join(routes.take(r) for r in self._ours.values())
        self._ours = {}
        return send

    def _learn(self, own: dict[Key, Route], ours: dict[Key, Route], now: float) -> None:
        if self._first:
            self._take_over(ours, now)
        if len(own) > LIMIT:
            kept = sorted(own.values(), key=order)[:LIMIT]
            own = {r.key: r for r in kept}
        changed = {key: r for key, r in own.items() if self._known.get(key) != r}
        self._gone = {key: self._gone.get(key, now) for key in self._known if key not in own}
        if changed:
            self._known.update(changed)
            self._build()

    def _take_over(self, ours: dict[Key, Route], now: float) -> None:
        """Routes that an earlier run left or knew are still needed where the address is still away."""
        self._first = False
        known = {**(self._remembered if not self._addresses else {}), **ours}
        self._remembered = {}
        if known:
            self._lost = not self._addresses
            self._known = known
            self._build()
            self._begin(now, self._known)

    def _forget(self, keys: list[Key]) -> None:
        for key in keys:
            self._gone.pop(key, None)
            self._known.pop(key, None)
        self._build()

    def _build(self) -> None:
        order = sorted(self._known.values(), key=lambda r: (bool(r.gateway), -r.key.length))
        self._ready = {r.key: routes.put(r) for r in order}
        self._all = b"".join(self._ready.values())
