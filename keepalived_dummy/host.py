# SPDX-License-Identifier: MIT
"""The host as the daemon knows it: dummies, uplinks, addresses, and what to do when one of them changes.

It is told of messages and answers through the three functions it is given; it owns no socket and no clock.
"""

import socket
from collections.abc import Callable
from typing import NamedTuple

from keepalived_dummy import groups, heal, interfaces, managers, netlink, policy_rules, routes
from keepalived_dummy.events import Event, event, some
from keepalived_dummy.filter_losses import GAP, GAP_OURS, Losses
from keepalived_dummy.groups import Groups, Membership
from keepalived_dummy.hearing import Ask, Hearing, Uplink
from keepalived_dummy.interfaces import IFF_RUNNING, IFF_UP, Address, Link
from keepalived_dummy.netlink import (
    AF_INET,
    AF_INET6,
    RTM_DELQDISC,
    RTM_DELTFILTER,
    RTM_NEWQDISC,
    RTM_NEWTFILTER,
    Message,
)
from keepalived_dummy.plan import Dummy, Plan
from keepalived_dummy.policy_rules import Rule
from keepalived_dummy.steering import Steering
from keepalived_dummy.wayout import WayOut

Place = tuple[int, int]  # interface index, family: what a WayOut is for

PREF, PREFS = 19268, 64  # ours: see wire
_MARK = b"kdmy"
_DEBOUNCE = 0.02
_ECHO = 0.05
_TC = (RTM_NEWQDISC, RTM_DELQDISC, RTM_NEWTFILTER, RTM_DELTFILTER)
_QDISCS, _REPLACE = ("clsact", "ingress"), 0x100


def _no(_: int) -> bool:
    return False


class Edges(NamedTuple):
    """What a Host is given to act with.

    `send` gives bytes to the kernel, `ask` asks it one thing, `want` asks for a pass of apply (some seconds later), `tell`
    tells an event, `store` keeps a descriptor over a restart. `has_clsact` says whether the clsact of an interface is ours.
    """

    send: Callable[[bytes], None]
    want: Callable[..., None]
    tell: Callable[[Event], None]
    store: Callable[[int], None]
    ask: Ask
    has_clsact: Callable[[int], bool] = _no


class Host:
    """The host as the daemon knows it; it acts through `edges`."""

    def __init__(self, edges: Edges) -> None:
        self._send, self._want, self._tell = edges.send, edges.want, edges.tell
        self._has_clsact = edges.has_clsact
        self.hearing = Hearing(edges.ask, edges.tell)
        self.plan = Plan()
        self.groups = Groups(edges.store)
        self.groups_due = False
        self.ways: dict[Place, WayOut] = {}
        self.steering = Steering(edges.tell)
        self.dirty: dict[Place, float] = {}  # whose routes are to be read again, and when
        self.heals: dict[str, int] = {}
        self.resync: float | None = None
        self.stale = False  # a conf has changed, or may have, that no plan knows yet
        self.losses = Losses()  # what somebody took of the wire
        self._takers: dict[int, int] = {}  # netlink ports, by interface
        self._limits: dict[str, heal.Limit] = {}  # of each dummy: what one is out of, others have
        self._mended: dict[str, float] = {}
        self._dummies: dict[str, Dummy] = {}
        self._uplinks: set[str] = set()
        self._links: dict[int, Link] = {}  # of dummies and uplinks alone
        self._last: dict[str, Link] = {}  # of a dummy, also of one that was deleted
        self._addresses: dict[int, dict[tuple[bytes, int], Address]] = {}
        self._announce: set[str] = set()
        self._remembered: dict[Place, list[routes.Route]] = {}  # of an earlier run
        self._news: dict[tuple[str, str], bool] = {}  # dummy and VIP: whether it came or went
        self._told = False  # the kernel says who made an address

    # What is looked after

    def load(self, plan: Plan, now: float) -> None:
        """A new plan: the picture is to be read anew after it (`picture`)."""
        self.plan = plan
        self._dummies = {dummy.name: dummy for dummy in plan.dummies}
        self._limits = {name: self._limits.get(name, heal.Limit()) for name in self._dummies}
        self._uplinks = {name for dummy in plan.dummies for name in dummy.uplinks}
        self._uplinks.update(source.uplink for source in plan.sources)
        self.hearing.load(plan.sources, now)
        for place, way in list(self.ways.items()):
            if self._has_way(way.uplink):
                self._send(way.pin(self.hearing.of(way.uplink, place[1]), now))
            else:
                self._send(way.close(now))
                del self.ways[place]
        for ifindex, link in list(self._links.items()):
            if link.name not in self._dummies and link.name not in self._uplinks:
                self._drop(ifindex)
        self.groups_due = True

    def recall(
        self,
        seen: set[tuple[str, bytes]],
        down: dict[str, str],
        known: dict[Place, list[routes.Route]],
    ) -> None:
        """Take what an earlier run knew: addresses, dummies kept down, and the routes of each uplink."""
        self.hearing.seen, self.hearing.down = seen, down
        self._remembered = known

    def picture(self, links: list[Message], addresses: list[Message], now: float) -> None:
        """Every link and address there is, after a start, a new plan or lost events."""
        self.resync = None
        found = [link for m in links if (link := interfaces.link_of(m))]
        there = {link.ifindex: link.name for link in found}
        for ifindex, link in list(self._links.items()):
            if there.get(ifindex) != link.name:
                self._link_gone(link, now)
        for link in found:
            self._link_there(link, now)
        for dummy in self._dummies.values():
            if dummy.name not in there.values() and self._mended.get(dummy.name) != now:
                self._missing(dummy, now)
        read = [address for m in addresses if (address := interfaces.address_of(m))]
        self._told = self._told or any(a.proto for a in read)
        have = {(a.ifindex, a.address, a.prefixlen) for a in read}
        for ifindex, known in self._addresses.items():
            for a in list(known.values()):
                if (ifindex, a.address, a.prefixlen) not in have:
                    self._address_gone(a, now)
        for a in read:
            self._address_there(a, now)
        for place, way in self.ways.items():
            self._send(way.vips(self._held(way.uplink), now))
            self.dirty[place] = now
        self._remembered = {}
        self.hearing.due = now

    # Events

    def message(self, m: Message, now: float) -> None:
        """A link's or an address's message."""
        if a := interfaces.address_of(m):
            if m.type == interfaces.RTM_DELADDR:
                self._address_gone(a, now)
                return
            self._address_there(a, now)
            if self._is_news(a):
                self._want(f"{self._links[a.ifindex].name}: has another link-local address")
        elif (link := interfaces.link_of(m)) is None:
            return
        elif m.type == interfaces.RTM_DELLINK:
            self._link_gone(self._links.get(link.ifindex, link), now)
        else:
            self._link_there(link, now)

    def route(self, m: Message, own_port: int, now: float) -> None:
        """A route's message: one that was taken may be answered; all of them are read again a little later."""
        mine = routes.protocol(m.body) == routes.PROTOCOL
        if mine and m.pid == own_port:
            return
        if mine and m.type == routes.RTM_DELROUTE and (held := routes.held(m.body)):
            self.hearing.gone(held, now)
        through = routes.interface(m.body)
        for place, way in self.ways.items():
            if place[1] != m.body[0]:
                continue
            # Read for its own uplink alone: there may be hundreds of them, and a million routes.
            route = routes.route(m.body, place[0]) if through in (0, place[0]) else None
            if route and m.type == routes.RTM_DELROUTE:
                if mine:
                    self._send(way.deleted(route, now))
                elif m.pid and way.needs(route) and managers.is_manager(m.pid):
                    self._send(way.taken(route, now))
            if route or m.flags & _REPLACE:
                self.dirty.setdefault(place, now + _DEBOUNCE)

    def rule(self, m: Message, own_port: int, now: float) -> None:
        """A rule's message: one that networkd deleted is put back."""
        r = policy_rules.rule(m.body)
        if m.pid == own_port or r is None:
            return
        if m.type == policy_rules.RTM_NEWRULE:
            self._send(self.steering.added(r))
            return
        tables = {table for way in self.ways.values() for table in way.tables}
        held = any(way.held for way in self.ways.values())
        self._send(self.steering.deleted(r, m.pid, tables, held, now))

    def rules(self, found: list[Rule], now: float) -> None:
        """All rules there are, after a start or lost events."""
        self._send(self.steering.picture(found, now))

    def tick_rules(self, now: float) -> None:
        """Take rules of ours whose time has come."""
        self._send(self.steering.tick(self.tables_in_use(), now))

    def tables_in_use(self) -> set[int]:
        """The tables that have routes of the way out."""
        return {table for way in self.ways.values() for table in way.tables_in_use}

    def refused(self, seq: int, code: int, now: float) -> None:
        """The kernel did not take a message that was sent: its place is read again, and what is lacking sent again."""
        for place, way in self.ways.items():
            if (pause := way.refused(seq, code, self.ways.values())) is not None:
                self.dirty[place] = max(self.dirty.get(place, 0.0), now + pause)

    def tc(self, m: Message, applying: bool, now: float) -> None:
        """A filter's or qdisc's message. What `apply` itself puts there while it runs asks for no other pass."""
        if m.type not in _TC:
            return
        ifindex, _, pref, kind = netlink.tc(m.body)
        gone = m.type in (RTM_DELTFILTER, RTM_DELQDISC)
        of_qdisc = m.type in (RTM_NEWQDISC, RTM_DELQDISC)
        ours = PREF <= pref < PREF + PREFS or (gone and pref == 0)
        if ifindex not in self._links or not (kind in _QDISCS if of_qdisc else ours):
            return
        if gone:
            self._takers[ifindex] = m.pid
        if gone and of_qdisc:
            self.losses.qdisc_went(ifindex, self._gap(ifindex), now)
        elif gone:
            self.losses.filter_went(ifindex, now)
        elif of_qdisc:
            self.losses.qdisc_came(ifindex, now)
        if gone or not applying:
            what = f"{self._links[ifindex].name}: a filter {'went' if gone else 'changed'}"
            self._want(what, self.losses.wait(ifindex, now))

    def _gap(self, ifindex: int) -> float:
        """How long the owner of a qdisc may take to put it back; nobody else has one on a dummy."""
        if self._links[ifindex].name in self._dummies:
            return 0.0
        return GAP_OURS if self._has_clsact(ifindex) else GAP

    def _fought(self, ifindex: int) -> None:
        name, port = self._links[ifindex].name, self._takers.get(ifindex, 0)
        text = f"{name}: somebody keeps taking the wire's filters or their qdisc, now by netlink port {port}"
        self._tell(event("wire-fought", text, INTERFACE=name, PORT=str(port)))

    def mend(self, ifindex: int, present: set[bytes], bare: bool, now: float) -> str:
        """The tc script for the filters of an interface that are not among the cookies `present`.

        `bare`: the qdisc went too. Empty where a filter of ours is there that the plan does not know: another pass has been at work.
        """
        ours = {cookie for cookie in present if cookie.startswith(_MARK)}
        known = {f.cookie: f.line for f in self.plan.filters if f.ifindex == ifindex}
        lost = [line for cookie, line in known.items() if cookie not in present]
        if ifindex not in self._links or not lost or ours - known.keys():
            return ""
        if self.losses.is_fought(ifindex, now):
            self._fought(ifindex)
        qdisc = [f"qdisc add dev {self._links[ifindex].name} clsact"] if bare else []
        return "".join(f"{line}\n" for line in (*qdisc, *lost))

    def overrun(self, now: float) -> None:
        """Events were lost: everything is read again, and applied."""
        self.resync = now
        self._tell(event("events-lost", "events were lost, all is read again"))
        self._want("events were lost")

    # Links

    def _link_there(self, link: Link, now: float) -> None:
        before = self._links.get(link.ifindex)
        if before and before.name != link.name:
            self._link_gone(before, now)
            before = None
        if link.name in self._dummies:
            self._dummy(link, before, now)
        elif link.name in self._uplinks:
            self._uplink(link, before, now)

    def _link_gone(self, link: Link, now: float) -> None:
        if link.ifindex not in self._links:
            return
        self._drop(link.ifindex)
        if link.name in self._dummies:
            self._missing(self._dummies[link.name], now)
        else:
            self._want(f"{link.name}: gone")

    def _drop(self, ifindex: int) -> None:
        self._links.pop(ifindex, None)
        self._addresses.pop(ifindex, None)
        for family in (AF_INET, AF_INET6):
            self.ways.pop((ifindex, family), None)
            self.dirty.pop((ifindex, family), None)
        self.groups.forget(ifindex)
        self.losses.forget(ifindex)
        self._takers.pop(ifindex, None)
        self.groups_due = True

    def _missing(self, dummy: Dummy, now: float) -> None:
        if self.stale:  # an apply by hand has perhaps removed what no conf asks for any more
            self._want(f"{dummy.name}: gone")
            return
        up = not self._stays_down(dummy.name)
        self._heal(["deleted"], dummy.name, heal.create(dummy, self._last.get(dummy.name), up), now)

    def _dummy(self, link: Link, before: Link | None, now: float) -> None:
        if link.kind != "dummy":
            if before is None:
                text = f"{link.name}: an interface of this name is there and no dummy"
                self._tell(event("name-taken", text, DUMMY=link.name))
                self._links[link.ifindex] = link
            return
        self._links[link.ifindex] = self._last[link.name] = link
        if before and before.master != link.master:
            # The kernel sets a link down and up to move it to a VRF.
            self._mended[link.name] = now
            if self._is_astray(link):
                self._want(f"{link.name}: is in another VRF than its uplink")
        if link.ifindex not in self._addresses:
            self._addresses[link.ifindex] = {}
            self.groups_due = True
        stays_down = self._stays_down(link.name)
        if not (what := heal.wrong(link, stays_down)):
            return
        if now < self._mended.get(link.name, 0.0) + _ECHO:
            # The kernel says so twice, or it is how a dummy that was just made begins.
            self._look_again(now + _ECHO)
            return
        self._heal(what, link.name, interfaces.set_dummy(link.name, not stays_down), now)

    def _stays_down(self, dummy: str) -> bool:
        """Tell whether a dummy is to be down while it holds no VIP, or may be."""
        return dummy in self.hearing.down or dummy in self.hearing.undecided

    def _is_astray(self, dummy: Link) -> bool:
        """Whether a dummy is not in the VRF of its uplinks; a pass puts it there once it holds no VIP."""
        uplinks = self._dummies[dummy.name].uplinks
        return any(
            link.master != dummy.master for link in self._links.values() if link.name in uplinks
        )

    def _heal(self, what: list[str], name: str, mend: bytes, now: float) -> None:
        if not self._limits[name].allow(now):
            self._look_again(now + 1)
            return
        self._send(mend)
        self._mended[name] = now
        for kind in what:
            self.heals[kind] = self.heals.get(kind, 0) + 1
        text = f"{name}: was {' and '.join(what)}; put right"
        self._tell(event("healed", text, DUMMY=name, WHAT=what))
        self._want(f"{name}: was {' and '.join(what)}")

    def _look_again(self, due: float) -> None:
        self.resync = due if self.resync is None else min(self.resync, due)

    def _uplink(self, link: Link, before: Link | None, now: float) -> None:
        self._links[link.ifindex] = link
        self.hearing.due = now
        up, running = bool(link.flags & IFF_UP), bool(link.flags & IFF_RUNNING)
        if before is None:
            self._addresses.setdefault(link.ifindex, {})
            self.groups_due = True
        for family in (AF_INET, AF_INET6):
            place = (link.ifindex, family)
            if place not in self.ways and self._has_way(link.name):
                self.ways[place] = WayOut(link.name, family)
                self.ways[place].vips(self._held(link.name), now)
                self.ways[place].pin(self.hearing.of(link.name, family), now)
                self.ways[place].remember(self._remembered.get(place, []))
                self.dirty[place] = now
                for a in self._addresses[link.ifindex].values():
                    if a.family == family:
                        self.ways[place].address_added(a.address, a.prefixlen, now)
            if way := self.ways.get(place):
                self._send(way.link(up, now))
                if before and (before.flags ^ link.flags) & IFF_UP:
                    self.dirty[place] = now + _DEBOUNCE
        if before is None or before.mac != link.mac:
            self._want(f"{link.name}: {'there' if before is None else 'has another MAC'}")
        elif before.master != link.master:
            self._want(f"{link.name}: is in another VRF")
        elif running and not before.flags & IFF_RUNNING:
            self._announce.update(d.name for d in self._dummies.values() if link.name in d.uplinks)
            self._want(f"{link.name}: carrier is back")

    # Addresses

    def _address_there(self, a: Address, now: float) -> None:
        known = self._addresses.get(a.ifindex)
        if known is None or (a.address, a.prefixlen) in known:
            return
        link = self._links[a.ifindex]
        self._told = self._told or a.proto != 0
        if link.name in self._dummies:
            if heal.made_by_kernel(a, link.mac, self._told):
                mend = interfaces.set_dummy(link.name) + interfaces.delete_address(a)
                self._heal(["given a link-local address"], link.name, mend, now)
                return
            known[a.address, a.prefixlen] = a
            self._news[link.name, _text(a)] = True
            self._vips(link.name, now)
        elif not interfaces.is_link_local(a):
            known[a.address, a.prefixlen] = a
            self.hearing.due = now
            if way := self.ways.get((a.ifindex, a.family)):
                self._send(way.address_added(a.address, a.prefixlen, now))
                self.dirty.setdefault((a.ifindex, a.family), now + _DEBOUNCE)

    def _is_news(self, a: Address) -> bool:
        """A link-local address of an uplink that the wire does not keep from the dummies yet."""
        link = self._links.get(a.ifindex)
        if link is None or link.name not in self._uplinks or not interfaces.is_link_local(a):
            return False
        end = f"0x{a.address[12:].hex()} 0xffffffff at 36"  # of wire.tc.j2
        filters = self.plan.filters
        return bool(filters) and not any(end in f.line for f in filters)

    def _address_gone(self, a: Address, now: float) -> None:
        if way := self.ways.get((a.ifindex, a.family)):
            # The one moment that counts.
            self._send(way.address_removed(a.address, a.prefixlen, now))
            self.dirty.setdefault((a.ifindex, a.family), now + _DEBOUNCE)
        known = self._addresses.get(a.ifindex)
        if known is not None and known.pop((a.address, a.prefixlen), None) is not None:
            link = self._links[a.ifindex]
            self.hearing.due = now
            if link.name in self._dummies:
                self._news[link.name, _text(a)] = False
                self._vips(link.name, now)
                if not known and self._is_astray(link):
                    self._want(f"{link.name}: is in another VRF than its uplink")

    def _vips(self, dummy: str, now: float) -> None:
        self.groups_due = True
        for way in self.ways.values():
            if way.uplink in self._dummies[dummy].uplinks:
                self._send(way.vips(self._held(way.uplink), now))
        self.steering.vips(any(way.held for way in self.ways.values()))

    def _has_way(self, uplink: str) -> bool:
        return any(d.way_out and self._serves(d, uplink) for d in self._dummies.values())

    def _serves(self, dummy: Dummy, uplink: str) -> bool:
        """Tell whether an uplink is one of a dummy, or that of the VRRP of an instance with VIPs there."""
        spoken = (one for one in self.plan.sources if one.uplink == uplink)
        return uplink in dummy.uplinks or any(dummy.name in one.dummies for one in spoken)

    def _held(self, uplink: str) -> bool:
        """Whether a VIP needs the uplink's way out; asked at each of a thousand addresses that come at once."""
        served = {d.name for d in self._dummies.values() if d.way_out and uplink in d.uplinks}
        at = (ifindex for ifindex, link in self._links.items() if link.name in served)
        return any(map(self._addresses.get, at))

    def _vips_of(self, dummy: str) -> list[Address]:
        at = (ifindex for ifindex, link in self._links.items() if link.name == dummy)
        return [a for ifindex in at for a in self._addresses.get(ifindex, {}).values()]

    # Pinned sources

    def hear(self, now: float) -> None:
        """Hold the pinned sources, and keep the dummies down of which an instance can't hear its peers."""
        at = {link.name: link for link in self._links.values()}
        uplinks = {
            name: Uplink(
                link.ifindex,
                bool(link.flags & IFF_UP),
                [address for address, _ in self._addresses.get(link.ifindex, ())],
            )
            for name, link in at.items()
            if name in self._uplinks
        }
        self._send(self.hearing.sync(uplinks, now))
        dummies = {name: at[name] for name in self._dummies if name in at}
        in_use = {n for n, link in dummies.items() if self._addresses.get(link.ifindex)}
        are_down = {n for n, link in dummies.items() if not link.flags & IFF_UP}
        for name in self.hearing.judge(uplinks, in_use, are_down, now):
            self._tell_hearing(name)
            if name in dummies and name not in self.hearing.down:
                self._send(interfaces.set_dummy(name))
                self._mended[name] = now
        for link in dummies.values():
            self._set_as_heard(link, now)

    def _set_as_heard(self, link: Link, now: float) -> None:
        """Set a dummy down or up as was decided; one that holds a VIP is never set down."""
        is_up = bool(link.flags & IFF_UP)
        if link.name in self.hearing.down:
            if is_up and not self._addresses.get(link.ifindex):
                self._send(interfaces.set_down(link.ifindex))
        elif not is_up:
            self._dummy(link, link, now)

    def _tell_hearing(self, dummy: str) -> None:
        if why := self.hearing.down.get(dummy):
            text = f"{dummy} is kept down, so that keepalived is in FAULT: {why}"
            self._tell(event("kept-down", text, DUMMY=dummy))
        else:
            self._tell(event("hears-again", f"{dummy} may be up again", DUMMY=dummy))

    # What is done by the way

    def join(self) -> None:
        """The memberships that the VIPs of now need."""
        self.groups_due = False
        wanted: set[Membership] = set()
        at = {link.name: ifindex for ifindex, link in self._links.items()}
        for dummy in self._dummies.values():
            places = [at[name] for name in dummy.uplinks if dummy.wire and name in at]
            for a in self._vips_of(dummy.name) if places else ():
                if a.family == AF_INET6:
                    wanted.update((place, groups.group(a.address)) for place in places)
        for problem, group in self.groups.replace(wanted):
            self._tell(event("group-not-joined", problem, GROUP=group))
        self._tell_vips()

    def announce(self) -> None:
        """Lets the kernel announce the VIPs where an uplink's carrier is back; `apply` does it where it rewired."""
        names, self._announce = self._announce, set()
        for ifindex, link in self._links.items():
            if link.name in names and link.name in self._dummies and self._addresses.get(ifindex):
                self._send(interfaces.set_mac(ifindex, link.mac))
                self.announced(link.name)

    def announced(self, dummy: str) -> None:
        """Tells so, here and after a pass that did it."""
        vips = [_text(a) for a in self._vips_of(dummy)]
        uplinks = self._dummies[dummy].uplinks if dummy in self._dummies else ()
        if vips:
            text = f"{dummy}: its VIPs are announced again"
            self._tell(event("announced", text, DUMMY=dummy, UPLINK=uplinks, VIP=vips))

    def _tell_vips(self) -> None:
        """All that came and all that went since the last time, an event for each dummy: VIPs move together."""
        news, self._news = self._news, {}
        for name in dict.fromkeys(dummy for dummy, _ in news):
            mine = [(vip, there) for (dummy, vip), there in news.items() if dummy == name]
            for kind, verb in (("vip-held", "holds"), ("vip-gone", "holds no more")):
                vips = [vip for vip, there in mine if there == (kind == "vip-held")]
                if vips:
                    self._tell(event(kind, f"{name}: {verb} {some(vips)}", DUMMY=name, VIP=vips))


def _text(a: Address) -> str:
    return socket.inet_ntop(a.family, a.address)
