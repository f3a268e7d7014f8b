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
- keepalived is told nothing of a flush, and sets its virtual_routes and static_routes again only at its next start or
  election: those are restored as they were, once the address is back, unless the VIPs came or went meanwhile. Ours
  stay until a reading shows them.
- nobody sets again what a script or an admin added with `ip route` (protocol boot). It is restored as it was when ours
  go and nobody else has set it, where a VIP was held all the time.

While a VIP is held, a route of ours has the metric of the one that it stands for, plus one: the uplink's own wins as
soon as it is back, and routes through other uplinks stay behind it or before it, as they were. While none is held ours
have the metric 60000, so that any other route wins: only what comes in needs them then.
The kernel tells which of our routes it refused (`refused`); these are sent again.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Collection, Iterable

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
_MORE = LIMIT
_AGAIN = 200  # how often a route of ours that somebody deletes is put back in one use

_ALONE = (
    "still without an {family} address of its own; {n} routes of the way out stay, so that VIPs are"
    " reached and VRRP is heard. Is the DHCP server gone, has the lease run out? See 'networkctl status {name}'"
)

_REFUSED = "keepalived's own routes are still away ({why}); {n} of the way out stay in their place"
_PAUSE, _LONGEST = 0.02, 1.0  # seconds until a route that the kernel refused is sent again

Prefix = tuple[bytes, int]
Name = tuple[Key, int]  # a route among those of its key: its metric
_numbers = itertools.count(1)  # of messages whose refusal concerns a WayOut


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


class Preferred:
    """The routes that a way out would keep, of many that are told one by one."""

    def __init__(self) -> None:
        self._routes: list[Route] = []
        self._limit: tuple[bool, bool, int] | None = None

    def add(self, r: Route) -> None:
        """Take a route, unless there are enough better ones."""
        if self._limit is not None and order(r) >= self._limit:
            return
        self._routes.append(r)
        if len(self._routes) >= _ENOUGH + _MORE:
            self._routes.sort(key=order)
            del self._routes[_ENOUGH:]
            self._limit = order(self._routes[-1])

    def routes(self) -> list[Route]:
        """Return those that are left."""
        return self._routes


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
        # Of each key our route and its message, in the order to send: gateways after what they are reached by.
        self._copies: dict[Key, Route] = {}
        self._ready: dict[Key, bytes] = {}
        self._all = b""
        self._numbers: dict[Key, int] = {}  # of these messages
        self._keys: dict[int, Key] = {}
        self._restorable: dict[Name, Route] = {}  # routes that only their owner sets again
        self._lacking: dict[Name, Route] = {}  # those of them that went with this use
        self._sent: dict[int, Name] = {}  # numbers of the messages that restore them
        self._refused: set[Key] = set()  # routes of ours that the kernel did not take
        self._tries: dict[Key, int] = {}  # how often another route had the metric of ours
        self._failures = 0
        self._why = 0  # the last errno for a route to restore
        self.moves = 0  # a reading that began before the last of these is worth nothing
        self.unread = False  # a change was not read yet
        self._read = 0.0  # when the last complete reading began
        self._gone: dict[Key, float] = {}  # known, but not there now: since when
        self._ours: dict[Key, Route] = {}
        self._back = 0.0  # its address is back since
        self._patience = GRACE
        self._unheld = 0.0  # no VIP is held since
        self._held_before = False  # at the beginning of this use
        self._warned = False
        self._again = 0
        self._first = True
        self._sources: frozenset[bytes] = frozenset()  # pinned in keepalived.conf
        self._kept = False  # in use for the networks of these sources only
        self._remembered: dict[Name, Route] = {}  # of an earlier run

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes that could be put back, and those that can be restored."""
        more = (r for name, r in self._restorable.items() if self._known.get(name[0]) != r)
        return (*self._known.values(), *more)

    @property
    def tables(self) -> set[int]:
        """The tables that these are in."""
        return {key.table for key in self._known}

    @property
    def tables_in_use(self) -> set[int]:
        """The tables that have routes of ours."""
        return {key.table for key in self._ours}

    @property
    def known(self) -> int:
        """How many routes could be put back."""
        return len(self._known)

    @property
    def placed(self) -> int:
        """How many routes of ours are in place."""
        return len(self._ours)

    def has(self, key: Key, metric: int) -> bool:
        """Tell whether a route of ours with this metric is in place."""
        return key in self._ours and self._ours[key].metric == metric

    # What happens

    def address_added(self, address: bytes, length: int, now: float) -> bytes:
        """The uplink has got an address (not a link-local one)."""
        self.moves += 1
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
        self.moves += 1
        self._lost = not self._addresses
        if not self.up or not self._known:
            return b""
        self._patience = GRACE
        if not self._addresses:
            # IPv4 flushes those of ours that are in place, IPv6 does not.
            kept = self._ours.keys() if self.since is not None and self._family == "IPv6" else ()
            send = (
                b"".join(m for k, m in self._ready.items() if k not in kept) if kept else self._all
            )
            self._begin(now, self._known)
            return send
        lost = self._lost_with(address, length)
        if not lost:
            return b""
        self._begin(now, lost)
        return b"".join(self._ready[key] for key in self._ready if key in lost)

    def deleted(self, route: Route, now: float) -> bytes:
        """A route of ours was deleted, not by us: networkd drops it as foreign when it reconfigures once more."""
        if self.since is None or route.key not in self._ours or self._again >= _AGAIN:
            return b""
        if route.metric != self._ours[route.key].metric:
            return b""
        self.moves += 1
        self._count_again()
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
        self.moves += 1
        self._begin(now, [route.key])
        return self._ready[route.key]

    def link(self, up: bool, now: float) -> bytes:
        """The uplink went up or down; the kernel takes the routes of one that goes down."""
        if up == self.up:
            return b""
        self.up = up
        self.moves += 1
        self._gone = dict.fromkeys(self._gone, now)
        return self._begin_if_needed(now) if up else self._end(now)

    def vips(self, held: bool, now: float) -> bytes:
        """A VIP is held on a dummy of this uplink, or none is any more."""
        if held == self.held:
            return b""
        self.held, self._unheld = held, now
        self.moves += 1
        self._build()
        return self._shift() + self._begin_if_needed(now)

    def pin(self, sources: frozenset[bytes], now: float) -> bytes:
        """Take the sources that keepalived.conf pins for instances on this uplink."""
        if sources == self._sources:
            return b""
        self._sources, self._unheld = sources, now
        self._back, self._kept = now, False
        return self._begin_if_needed(now)

    def remember(self, found: list[Route]) -> None:
        """Take the routes that an earlier run knew, for an uplink that has no address at the first reading."""
        self._remembered = {(r.key, r.metric): r for r in found}

    def refused(self, seq: int, code: int, others: Iterable[WayOut] = ()) -> float | None:
        """The kernel did not take a message of ours: seconds until the routes are to be read again.

        None where the message was none of this way out's, or nothing is to be done. `others`: those of other uplinks.
        """
        if (name := self._sent.get(seq)) is not None:
            if name not in self._lacking or code == errno.EEXIST:
                return None
            self._why = code
            return None if self._kept else self._pause()
        key = self._keys.get(seq)
        if key is None or key not in self._ours:
            return None
        if code == errno.EEXIST and self._ours[key].family == AF_INET:
            return None  # this very route is there
        del self._ours[key]
        self._refused.add(key)
        if code == errno.EEXIST:  # another route has this metric
            tries = self._tries.get(key, 0) + 1
            # Behind those of ours, which stand for routes that came before or were equal.
            is_ours = any(way.has(key, self._copies[key].metric) for way in others)
            self._tries[key] = max(tries, 2) if is_ours else tries
        return self._pause()

    def snapshot(self, found: list[Route], now: float, began: float | None = None) -> bytes:
        """All routes through the uplink, read after a change; `began`: when that reading did."""
        own = _best(r for r in found if r.protocol != routes.PROTOCOL)
        mine = [r for r in found if r.protocol == routes.PROTOCOL]
        ours = {r.key: r for r in mine}
        self._read = now if began is None else began
        self._note({(r.key, r.metric): r for r in found if routes.is_restored(r.protocol)}, own)
        self._learn(own, ours, now)
        if self._refused:
            self._build()
        # Of several of ours the one with the right metric stays.
        ours |= {r.key: r for r in mine if self._is_right(r)}
        placed, self._ours = self._ours, {key: r for key, r in ours.items() if key not in own}
        send = b"".join(routes.take(r) for key, r in ours.items() if key in own)
        send += b"".join(routes.take(r) for r in mine if r is not ours[r.key])
        if self.since is None:
            send += self._take_all()
        elif not self._lost and not self._ours and not self._is_theirs_lacking:
            send += self._end(now)
        else:
            send += self._shift()
            if self.up:
                wanted = set(self._ready) if self._lost else placed.keys() | self._refused
                send += self._put([k for k in self._ready if k in wanted and k not in own])
            if not self._lost:
                send += self._restore()
        self._refused = set()
        return send

    def stop(self) -> bytes:
        """The daemon stops: ours go unless they are needed; the next start takes those over."""
        return b"" if (self._lost or self._kept) and self.up else self._take_all()

    def close(self, now: float) -> bytes:
        """The uplink is none any more: nothing of ours stays."""
        return self._end(now)

    # Time

    def deadline(self) -> float | None:
        """When `tick` has something to do; None also where that needs a reading that is still to come."""
        due = self._due()
        return None if due is not None and self.unread and self._read < due else due

    def _due(self) -> float | None:
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
            kept = self._networks_of_sources() | self._places_of_theirs()
            send = self._restore_added()
            return send + (self._narrow(kept) if kept else self._end(now, forget=True))
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
        if theirs := len(self._places_of_theirs()):
            why = os.strerror(self._why) if self._why else "it has no route to the gateway"
            self._say("way-out-waits", _REFUSED.format(n=_count(theirs), why=why))
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
            self._again = self._failures = self._why = 0
            self._ours = {}
            self._lacking = {}
            self._held_before = self.held
            self._say("way-out-begins", f"{self._family} routes gone, {len(keys)} put back")
        self._back, self._kept = now, False
        for key in keys:
            self._ours[key] = self._copies[key]
        for name, r in self._restorable.items():
            if name[0] in keys and name[0] not in self._gone:  # else it was not there before either
                self._lacking[name] = r

    @property
    def _is_as_before(self) -> bool:
        """Whether the VIPs neither came nor went in this use; else keepalived sets its routes, or takes them, itself."""
        return self.held == self._held_before

    @property
    def _is_theirs_lacking(self) -> bool:
        return self._is_as_before and bool(self._theirs())

    def _theirs(self) -> list[Name]:
        """keepalived's own routes that went with this use."""
        return [n for n, r in self._lacking.items() if r.protocol == routes.KEEPALIVED]

    def _places_of_theirs(self) -> set[Key]:
        """Which of ours in place stand for a route of keepalived's that is not there."""
        lacking = self._theirs() if self._is_as_before else ()
        return {key for key, _ in lacking if key in self._ours}

    def _restore(self) -> bytes:
        """Set keepalived's own routes again, until a reading shows them."""
        return self._send_back(self._theirs()) if self._is_as_before else b""

    def _restore_added(self) -> bytes:
        """Set what a script or an admin had added, where nobody else has set it in the meantime."""
        if not (self.held and self._is_as_before):
            return b""
        found = (n for n, r in self._lacking.items() if r.protocol != routes.KEEPALIVED)
        back = [n for n in found if n[0] in self._ours]
        for key, _ in back:
            self._gone.pop(key, None)
        return self._send_back(back)

    def _send_back(self, names: Iterable[Name]) -> bytes:
        send = []
        for name in names:
            seq = next(_numbers)
            self._sent[seq] = name
            send.append(routes.restore(self._lacking[name], seq))
        return b"".join(send)

    def _note(self, there: dict[Name, Route], own: Collection[Key]) -> None:
        """Note which routes only their owner sets again; `there`: those that were read."""
        self._lacking = {n: r for n, r in self._lacking.items() if n not in there}
        if self.since is None:
            kept = self._known.keys() - own
            there = {**{n: r for n, r in self._restorable.items() if n[0] in kept}, **there}
        else:
            there = {**self._restorable, **there}
        self._restorable = dict(itertools.islice(there.items(), _ENOUGH))

    def _put(self, keys: list[Key]) -> bytes:
        """Put routes of ours where they are not."""
        missing = [key for key in keys if key not in self._ours]
        if not self._lost:
            missing = [key for key in missing if key in self._refused or self._count_again()]
        self._ours.update((key, self._copies[key]) for key in missing)
        return b"".join(self._ready[key] for key in missing)

    def _count_again(self) -> bool:
        """Count a route of ours that somebody took; False where that happened too often."""
        self._again += 1
        if self._again == _AGAIN:
            self._say("way-out-fought", "routes of the way out are deleted over and over")
        return self._again <= _AGAIN

    def _shift(self) -> bytes:
        """Give the metrics of now to those of ours in place."""
        old = [r for r in self._ours.values() if not self._is_right(r)]
        moved = {r.key for r in old}
        new = [key for key in self._ready if key in moved]
        self._ours.update((key, self._copies[key]) for key in new)
        send = [self._ready[key] for key in new] + [routes.take(r) for r in old]
        return b"".join(send)

    def _is_right(self, r: Route) -> bool:
        """Tell whether a route of ours has the metric of now; the kernel may show the rest of it in other words."""
        return r.key not in self._copies or r.metric == self._copies[r.key].metric

    def _pause(self) -> float:
        self._failures += 1
        return min(_LONGEST, _PAUSE * 2.0 ** min(self._failures, 10))

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
        if self._tries:
            self._tries = {}
            self._build()
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
        remembered = self._remembered if not self._addresses else {}
        self._remembered = {}
        known = ours | _best(remembered.values())
        if known:
            self._lost = not self._addresses
            self._known = known
            self._restorable |= {
                n: r for n, r in remembered.items() if routes.is_restored(r.protocol)
            }
            self._build()
            self._begin(now, self._known)

    def _forget(self, keys: list[Key]) -> None:
        for key in keys:
            self._gone.pop(key, None)
            self._known.pop(key, None)
            self._keys.pop(self._numbers.pop(key, 0), None)
        gone = frozenset(keys)
        self._restorable = {n: r for n, r in self._restorable.items() if n[0] not in gone}
        self._build()

    def _build(self) -> None:
        """Make the messages; those of routes that did not change are kept."""
        known = sorted(self._known.values(), key=lambda r: (bool(r.gateway), -r.key.length))
        copies = {r.key: routes.copy(r, self._metric(r)) for r in known}
        ready = {}
        for key, r in copies.items():
            if key not in self._numbers:
                self._numbers[key] = number = next(_numbers)
                self._keys[number] = key
            same = self._copies.get(key) == r
            ready[key] = self._ready[key] if same else routes.put(r, self._numbers[key])
        self._copies, self._ready = copies, ready
        self._all = b"".join(ready.values())

    def _metric(self, r: Route) -> int:
        tries = self._tries.get(r.key, 0)
        if not self.held:
            return routes.METRIC + tries
        if (
            r.protocol == routes.PROTOCOL
        ):  # an earlier run left it: nothing tells what it stands for
            return r.metric
        return routes.beside(r.metric, tries)


def _best(found: Iterable[Route]) -> dict[Key, Route]:
    """Return the route of each key that the kernel takes."""
    best: dict[Key, Route] = {}
    for r in found:
        if r.key not in best or r.metric < best[r.key].metric:
            best[r.key] = r
    return best


def _count(number: int) -> str:
    return "1 route" if number == 1 else f"{number} routes"
