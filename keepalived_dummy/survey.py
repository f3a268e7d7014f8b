# SPDX-License-Identifier: MIT
"""Reads what there is from the kernel, for the host to compare with what it knows."""

import errno
import time
from collections.abc import Callable

from keepalived_dummy import interfaces, kernel, netlink, routes, wayout
from keepalived_dummy.host import Host
from keepalived_dummy.netlink import AF_INET, AF_INET6, Message
from keepalived_dummy.state import ERR, log

_REST = 10  # times what a reading took, until the next: a table of a million routes is not read over and over


class Survey:
    """A socket for dumps, and what is read through it."""

    def __init__(self, host: Host, send: Callable[[bytes], None]) -> None:
        self._host, self._send = host, send
        self._socket = kernel.open_dump_socket()
        self._rested = 0.0

    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        times = [max(due, self._rested) for due in self._host.dirty.values()]
        if self._host.resync is not None:
            times.append(self._host.resync)
        return min(times) if times else None

    def tick(self, now: float) -> bool:
        """Reads what is due; whether it did."""
        host = self._host
        if host.resync is not None and now >= host.resync:
            self.picture(now)
        if now < self._rested:
            return False
        due = [place for place, time_ in host.dirty.items() if now >= time_]
        for place in due:
            self._routes(place, now)
        if due:
            self._rested = now + _REST * (time.monotonic() - now)
        return bool(due)

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

    def _routes(self, place: tuple[int, int], now: float) -> None:
        del self._host.dirty[place]
        if way := self._host.ways.get(place):
            found = self._dump(*place, lambda read: wayout.preferred(read, place[0]))
            if found is None:  # what could not be read is not gone
                self._host.dirty[place] = now + 1
                return
            read = [routes.route(m.body, place[0]) for m in found]
            self._send(way.snapshot([r for r in read if r], time.monotonic()))

    def _dump(
        self, ifindex: int, family: int, thin: kernel.Thin | None = None
    ) -> list[Message] | None:
        """The routes there are; None where the kernel could not tell this time."""
        try:
            found = self._ask(routes.dump_routes(family, ifindex), thin)
        except OSError as problem:
            if problem.errno in (errno.ENODEV, errno.EAFNOSUPPORT, errno.EOPNOTSUPP):
                return []
            log(ERR, f"netlink: {problem}")
            return None
        return [m for m in found if m.type == routes.RTM_NEWROUTE]

    def _ask(self, request: bytes, thin: kernel.Thin | None = None) -> list[Message]:
        """`kernel.dump` without a pause, for the reflex waits; a socket on which an answer broke off, which keeps the kernel from another, is replaced."""
        try:
            return kernel.dump(self._socket, request, thin, 0.0)
        except kernel.Refused:
            raise
        except OSError:
            self._renew()
            raise

    def _renew(self) -> None:
        self._socket.close()
        self._socket = kernel.open_dump_socket()
