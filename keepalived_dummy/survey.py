# SPDX-License-Identifier: MIT
"""Reads what there is from the kernel, for the host to compare with what it knows."""

import errno
import os
import time
from collections.abc import Callable

from keepalived_dummy import interfaces, kernel, netlink, policy_rules, routes, wayout
from keepalived_dummy.host import Host, Place
from keepalived_dummy.netlink import AF_INET, AF_INET6, Message
from keepalived_dummy.state import ERR, log

_REST = 10  # times what a reading took, until the next of this place: a table of a million routes is not read over and over
_SLICE = 0.001  # seconds of a reading until the loop looks at its events again
# Seconds until the next slice. The kernel stops a realtime process that takes 95% of a second (sched_rt_runtime_us).
_GAP = 0.001
_PART = 1 << 14  # bytes of a datagram: some 200 routes, 1 ms
_NONE = (errno.ENODEV, errno.EAFNOSUPPORT, errno.EOPNOTSUPP)  # there are no such routes


class Reading:
    """The routes of one place while the kernel still tells them."""

    def __init__(self, place: Place, moves: int, began: float) -> None:
        self.place, self.moves, self.began = place, moves, began
        self._socket = kernel.open_dump_socket()
        ifindex, family = place
        self._seq = kernel.request(self._socket, routes.dump_routes(family, ifindex))
        self.found = wayout.Preferred()
        self.is_whole = True
        self.spent = 0.0

    def read(self) -> bool:
        """Take the routes of one datagram; return whether more are to come."""
        for m in kernel.receive(self._socket, _PART):
            if m.seq != self._seq:
                continue
            self.is_whole = self.is_whole and not m.flags & netlink.DUMP_INTR
            if m.type in (netlink.NLMSG_DONE, netlink.NLMSG_ERROR):
                code = netlink.error(m.body)
                if code and code not in _NONE:
                    raise OSError(code, os.strerror(code))
                return False
            if m.type == netlink.NLMSG_OVERRUN:
                raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
            if m.type == routes.RTM_NEWROUTE and (r := routes.route(m.body, self.place[0])):
                self.found.add(r)
        return True

    def close(self) -> None:
        """End it, whether the kernel has told all or not."""
        self._socket.close()


class Survey:
    """A socket for dumps, and what is read through it."""

    def __init__(self, host: Host, send: Callable[[bytes], None]) -> None:
        self._host, self._send = host, send
        self._socket = kernel.open_dump_socket()
        self._readings: dict[Place, Reading] = {}  # in the order of their turns
        self._next = 0.0  # when they go on
        self._rested: dict[Place, float] = {}

    def mark(self) -> None:
        """Tell each way out whether a change of its routes was not read yet."""
        for place, way in self._host.ways.items():
            way.unread = place in self._host.dirty or place in self._readings

    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        times = [
            max(due, self._rested.get(place, 0.0))
            for place, due in self._host.dirty.items()
            if place not in self._readings
        ]
        if self._readings:
            times.append(self._next)
        if self._host.resync is not None:
            times.append(self._host.resync)
        return min(times) if times else None

    def tick(self, now: float) -> bool:
        """Read what is due, for a millisecond or so; return whether a way out was told of its routes."""
        host = self._host
        if host.resync is not None and now >= host.resync:
            self.picture(now)
        for place, due in list(host.dirty.items()):
            if place not in self._readings and now >= max(due, self._rested.get(place, 0.0)):
                self._begin(place, now)
        if not self._readings or now < self._next:
            return False
        begin, told = time.monotonic(), False
        while self._readings and time.monotonic() - begin < _SLICE:
            place = next(iter(self._readings))
            told = self._read(self._readings.pop(place), now) or told
        self._next = now + time.monotonic() - begin + _GAP
        return told

    def _begin(self, place: Place, now: float) -> None:
        del self._host.dirty[place]
        if (way := self._host.ways.get(place)) is None:
            self._rested.pop(place, None)
            return
        try:
            self._readings[place] = Reading(place, way.moves, now)
        except OSError as problem:
            self._broke_off(place, problem, now)

    def _read(self, reading: Reading, now: float) -> bool:
        """Read a datagram of a reading under way; return whether the way out was told of its routes."""
        begin = time.monotonic()
        try:
            more = reading.read()
        except OSError as problem:
            reading.close()
            self._broke_off(reading.place, problem, now)
            return False
        reading.spent += time.monotonic() - begin
        if more:
            self._readings[reading.place] = reading
            return False
        reading.close()
        self._rested[reading.place] = now + _REST * reading.spent
        return self._tell(reading, now)

    def _tell(self, reading: Reading, now: float) -> bool:
        """Tell the way out what was read; read again where that is not how things are any more."""
        place, dirty = reading.place, self._host.dirty
        way = self._host.ways.get(place)
        if way is None:
            return False
        if reading.moves != way.moves:
            self._rested.pop(place, None)
            dirty[place] = min(dirty.get(place, now), now)
            return False
        if not reading.is_whole:
            dirty.setdefault(place, now)
            return False
        way.unread = place in dirty
        self._send(way.snapshot(reading.found.routes(), time.monotonic(), reading.began))
        return True

    def _broke_off(self, place: Place, problem: OSError, now: float) -> None:
        """What could not be read is not gone."""
        log(ERR, f"netlink: {problem}")
        self._host.dirty[place] = now + 1

    def picture(self, now: float) -> None:
        """Every link and address."""
        try:
            links = self._ask(interfaces.dump_links())
            addresses = self._ask(interfaces.dump_addresses())
        except OSError as problem:
            log(ERR, f"netlink: {problem}")
            self._host.resync = now + 1
            return
        self._host.picture(links, addresses, now)

    def rules(self, now: float) -> bool:
        """Every rule there is; return whether that could be read."""
        found = []
        for family in (AF_INET, AF_INET6):
            try:
                found += self._ask(policy_rules.dump(family))
            except OSError as problem:
                if problem.errno not in _NONE:
                    log(ERR, f"netlink: {problem}")
                    return False
        read = (policy_rules.rule(m.body) for m in found if m.type == policy_rules.RTM_NEWRULE)
        self._host.rules([r for r in read if r], now)
        return True

    def ask(self, request: bytes) -> Message | None:
        """Return the kernel's answer to a request for one thing; None where it refuses or does not answer."""
        try:
            return kernel.ask(self._socket, request)
        except OSError as problem:
            log(ERR, f"netlink: {problem}")
            self._renew()
            return None

    def cookies(self, ifindex: int) -> set[bytes] | None:
        """The cookies of the filters that an interface has now; None where they could not be read."""
        found: set[bytes] = set()
        for parent in (netlink.CLSACT_INGRESS, netlink.CLSACT_EGRESS):
            try:
                for m in self._ask(netlink.dump_filters(ifindex, parent)):
                    found.update(netlink.filter_of(m.body).cookies)
            except kernel.Refused:  # no qdisc, or no link any more
                continue
            except OSError as problem:
                log(ERR, f"netlink: {problem}")
                return None
        return found

    def clean(self) -> None:
        """Takes routes of ours from where no way out is (any more): an earlier run was killed."""
        for family in (AF_INET, AF_INET6):
            for m in self._dump(0, family) or ():
                route = routes.of_way_out(m.body)
                if route and (route.ifindex, family) not in self._host.ways:
                    self._send(routes.take(route))
        for m in self._held():
            if (held := routes.held(m.body)) and held not in self._host.hearing.held:
                self._send(routes.release(held))

    def _held(self) -> list[Message]:
        """The local routes of ours; none where the kernel could not tell this time: the next pass looks again."""
        try:
            return self._ask(routes.dump_held())
        except OSError as problem:
            log(ERR, f"netlink: {problem}")
            return []

    def _dump(self, ifindex: int, family: int) -> list[Message] | None:
        """The routes there are; None where the kernel could not tell this time."""
        try:
            found = self._ask(routes.dump_routes(family, ifindex))
        except OSError as problem:
            if problem.errno in _NONE:
                return []
            log(ERR, f"netlink: {problem}")
            return None
        return [m for m in found if m.type == routes.RTM_NEWROUTE]

    def _ask(self, request: bytes) -> list[Message]:
        """`kernel.dump` without a pause, for the reflex waits; a socket on which an answer broke off, which keeps the kernel from another, is replaced."""
        try:
            return kernel.dump(self._socket, request, None, 0.0)
        except kernel.Refused:
            raise
        except OSError:
            self._renew()
            raise

    def _renew(self) -> None:
        self._socket.close()
        self._socket = kernel.open_dump_socket()
