# SPDX-License-Identifier: MIT
"""`keepalived-dummy daemon`: one loop over the kernel's events, asleep between them.

The resident process is the standard library alone. What it does itself is what cannot wait: the way out, a dummy
put right, memberships. Everything else is a pass of `apply`, in a child.
"""

import contextlib
import errno
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Sequence

from keepalived_dummy import interfaces, kernel, netlink, notify, plan, routes, state
from keepalived_dummy.child import Child, Pace
from keepalived_dummy.host import Host
from keepalived_dummy.inotify import Watches
from keepalived_dummy.netlink import (
    GROUP_IPV4_ADDRESS,
    GROUP_IPV4_ROUTE,
    GROUP_IPV6_ADDRESS,
    GROUP_IPV6_ROUTE,
    GROUP_LINK,
    GROUP_TC,
    Message,
)

# As this process was started, with another command.
_APPLY = [sys.executable, *sys.orig_argv[1:-1], "apply", "--daemon"]
_BUFFER = 8 << 20
_AT_ONCE = 200  # datagrams of one socket before the others have their turn
_COALESCE = 0.1  # an editor saves in several steps
_JOIN = 0.01  # keepalived adds its VIPs in a row
_IGNORED = (
    errno.EEXIST,
    errno.ESRCH,
    errno.ENETDOWN,
    errno.ENODEV,
    errno.EADDRNOTAVAIL,
    errno.ENETUNREACH,
)
_PLAN, _STATE = "plan.json", "state.json"


class Daemon:
    """The loop's state; `run` makes one."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._loop = select.epoll()
        self._host = Host(self._send, self._want, state.log, self._store)
        self._requests = kernel.open_socket()
        self._port: int = self._requests.getsockname()[0]
        self._dumps = kernel.open_dump_socket()
        self._links = kernel.open_socket(
            GROUP_LINK | GROUP_IPV4_ADDRESS | GROUP_IPV6_ADDRESS, _BUFFER
        )
        self._routes = kernel.open_socket(GROUP_IPV4_ROUTE | GROUP_IPV6_ROUTE, _BUFFER)
        self._tc = kernel.open_socket(GROUP_TC, _BUFFER)
        self._watches = Watches()
        self._signals = socket.socketpair()
        self._child: Child | None = None
        self._pace = Pace()
        self._wanted: float | None = None
        self._reasons: dict[str, None] = {}
        self._again = 0.0  # seconds until a pass that failed is tried again
        self._ready = self._reloading = self._stop = False
        self._watchdog = notify.watchdog()
        self._fed = 0.0
        self._join_at: float | None = None
        self._state_at: float | None = None
        self._dumped = 0.0  # no routes are read before
        self._stored = notify.stored()
        self._event = 0.0

    # Given to Host

    def _send(self, data: bytes) -> None:
        if data:
            try:
                self._requests.send(data)
            except OSError as problem:
                state.log(state.ERR, f"netlink: {problem.strerror}")

    def _want(self, reason: str, delay: float = 0.0) -> None:
        due = time.monotonic() + delay
        self._wanted = due if self._wanted is None else min(due, self._wanted)
        self._reasons[reason] = None

    def _store(self, fd: int) -> None:
        notify.notify(f"FDSTORE=1\nFDNAME=groups-{os.getpid()}\nFDPOLL=0", [fd])

    # The loop

    def run(self) -> int:
        """Until SIGTERM."""
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(sig, lambda *_: None)
        for end in self._signals:
            end.setblocking(False)
        signal.set_wakeup_fd(self._signals[1].fileno())
        handlers = {
            self._links.fileno(): self._on_links,
            self._routes.fileno(): self._on_routes,
            self._tc.fileno(): self._on_tc,
            self._requests.fileno(): self._on_answer,
            self._signals[0].fileno(): self._on_signal,
            self._watches.fd: self._on_watch,
        }
        for fd in handlers:
            self._loop.register(fd, select.EPOLLIN)
        self._start()
        while not self._stop:
            ready = {fd for fd, _ in self._loop.poll(self._timeout(time.monotonic()))}
            for fd, handle in handlers.items():  # in this order: the addresses first
                if fd in ready:
                    handle()
            if self._child and ready & {self._child.out, self._child.exited}:
                self._on_child(self._child, ready)
            self._timers(time.monotonic())
        return self._end()

    def _start(self) -> None:
        """What an earlier run knew is looked after at once; a pass of apply follows."""
        now = time.monotonic()
        with contextlib.suppress(ValueError):
            self._host.load(plan.read(state.read(_PLAN)), now)
            self._picture(now)
        self._want("start")

    def _end(self) -> int:
        notify.notify("STOPPING=1")
        for way in self._host.ways.values():
            self._send(way.stop())
        if self._child:
            self._child.kill()
        self._write_state()
        return 0

    def _timeout(self, now: float) -> float | None:
        times = [way.deadline() for way in self._host.ways.values()]
        times += [max(due, self._dumped) for due in self._host.dirty.values()]
        times += [self._host.resync, self._join_at, self._state_at]
        if self._watchdog:
            times.append(self._fed + self._watchdog)
        if self._child:
            times.append(self._child.deadline)
        elif self._wanted is not None:
            times.append(max(self._wanted, self._pace.next(now)))
        due = [t for t in times if t is not None]
        return max(0.0, min(due) - now) if due else None

    def _timers(self, now: float) -> None:
        host = self._host
        for way in host.ways.values():
            self._send(way.tick(now))
        if host.resync is not None and now >= host.resync:
            self._picture(now)
        if host.dirty and now >= self._dumped:
            self._read_routes(now)
        if host.groups_due and self._join_at is None:
            self._join_at = now + _JOIN
        if self._join_at is not None and now >= self._join_at:
            self._join_at = None
            host.join()
        if self._child is None:
            if self._wanted is not None and now >= max(self._wanted, self._pace.next(now)):
                self._apply(now)
        elif now >= self._child.deadline:
            state.log(state.ERR, "apply does not end; killed")
            self._child.kill()
        for way in host.ways.values():
            for priority, text in way.log:
                state.log(priority, text)
            way.log.clear()
        if self._state_at is not None and now >= self._state_at:
            self._write_state()
        if self._watchdog and now >= self._fed + self._watchdog:
            self._fed = now
            notify.notify("WATCHDOG=1")

    # Events

    def _receive(self, sock: socket.socket) -> tuple[list[Message], bool]:
        """What is there now, and whether events were lost."""
        found: list[Message] = []
        lost = False
        for _ in range(_AT_ONCE):
            try:
                found += netlink.messages(sock.recv(1 << 17, socket.MSG_DONTWAIT))
            except BlockingIOError:
                break
            except OSError as problem:
                if problem.errno != errno.ENOBUFS:
                    raise
                lost = True
        return found, lost

    def _on_links(self) -> None:
        for _ in range(_AT_ONCE):  # each one is answered before the next is read
            try:
                data = self._links.recv(1 << 17, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except OSError as problem:
                if problem.errno != errno.ENOBUFS:
                    raise
                self._host.overrun(time.monotonic())
                continue
            for message in netlink.messages(data):
                self._host.message(message, time.monotonic())
        self._changed()

    def _on_routes(self) -> None:
        now = time.monotonic()
        found, lost = self._receive(self._routes)
        for message in found:
            self._host.route(message, self._port, now)
        if lost:
            self._host.dirty.update(dict.fromkeys(self._host.ways, now))

    def _on_tc(self) -> None:
        found, lost = self._receive(self._tc)
        for message in found:
            self._host.tc(message, self._child is not None)
        if lost:
            self._want("events were lost")

    def _on_answer(self) -> None:
        for message in self._receive(self._requests)[0]:
            code = netlink.error(message.body) if message.type == netlink.NLMSG_ERROR else 0
            if code and code not in _IGNORED:
                state.log(state.WARNING, f"netlink: a message was refused: {os.strerror(code)}")

    def _on_signal(self) -> None:
        for number in self._signals[0].recv(64):
            if number == signal.SIGHUP:
                notify.notify(notify.reloading())
                self._reloading = True
                self._want("reload")
            else:
                self._stop = True

    def _on_watch(self) -> None:
        if self._watches.read():
            self._want("a watched file changed", _COALESCE)

    def _changed(self) -> None:
        self._event = time.time()
        if self._state_at is None:
            self._state_at = time.monotonic() + 0.5

    # The pass

    def _apply(self, now: float) -> None:
        state.log(state.INFO, f"apply: {'; '.join(self._reasons)}")
        self._wanted = None
        self._reasons.clear()
        self._pace.take()
        try:
            self._child = Child(self._command, now)
        except OSError as problem:
            state.log(state.ERR, f"{self._command[0]}: {problem.strerror}")
            self._passed(1, b"")
            return
        for fd in (self._child.out, self._child.exited):
            self._loop.register(fd, select.EPOLLIN)

    def _on_child(self, child: Child, ready: set[int]) -> None:
        if child.out in ready and not child.read():
            self._loop.modify(child.out, 0)  # closed, which epoll would say for ever
        if child.exited in ready:
            for fd in (child.out, child.exited):
                self._loop.unregister(fd)
            self._child = None
            self._passed(child.finish(), child.output)

    def _passed(self, status: int, output: bytes) -> None:
        """A pass has ended, well or not: keepalived waits for the first, but not for ever."""
        now = time.monotonic()
        try:
            new = plan.read(output)
        except ValueError:
            self._again = min(60.0, self._again * 2 or 1.0)
            state.log(
                state.ERR, f"apply: status {status} and no plan; again in {self._again:.0f} s"
            )
            self._want("the last pass failed", self._again)
        else:
            self._again = 0.0
            self._take(new, now)
            state.write(_PLAN, output)
            if status:
                state.log(state.WARNING, f"apply: status {status}, see above")
        self._changed()
        if self._wanted is None or not self._ready:
            self._say_ready()
        gc.collect()

    def _take(self, new: plan.Plan, now: float) -> None:
        self._host.load(new, now)
        self._picture(now)
        self._watches.replace(new.watch, new.sysctls)
        self._host.join()
        self._host.announce()
        self._clean()
        for (
            name,
            fds,
        ) in self._stored.items():  # the memberships of the run before: ours are all there now
            for fd in fds:
                os.close(fd)
            notify.notify(f"FDSTOREREMOVE=1\nFDNAME={name}")
        self._stored = {}

    def _say_ready(self) -> None:
        names = len(self._host.plan.dummies)
        text = f"STATUS={names} {'dummy' if names == 1 else 'dummies'}, {len(self._host.groups)} memberships"
        if not self._ready or self._reloading:
            text = f"READY=1\n{text}"
        self._ready, self._reloading = True, False
        notify.notify(text)

    # Reading the kernel

    def _picture(self, now: float) -> None:
        try:
            links = kernel.dump(self._dumps, interfaces.dump_links())
            addresses = kernel.dump(self._dumps, interfaces.dump_addresses())
        except OSError as problem:
            state.log(state.ERR, f"netlink: {problem.strerror}")
            self._host.resync = now + 1
            return
        self._host.picture(links, addresses, now)

    def _read_routes(self, now: float) -> None:
        for place in [place for place, due in self._host.dirty.items() if now >= due]:
            del self._host.dirty[place]
            if way := self._host.ways.get(place):
                found = [
                    r for m in self._routes_of(*place) if (r := routes.route(m.body, place[0]))
                ]
                self._send(way.snapshot(found, now))
                self._changed()
        # A table of a million routes is not read over and over.
        self._dumped = now + 10 * (time.monotonic() - now)

    def _routes_of(self, ifindex: int, family: int) -> list[Message]:
        try:
            found = kernel.dump(self._dumps, routes.dump_routes(family, ifindex))
        except OSError as problem:
            if problem.errno not in (errno.ENODEV, errno.EAFNOSUPPORT):
                state.log(state.ERR, f"netlink: {problem.strerror}")
            return []
        return [m for m in found if m.type == routes.RTM_NEWROUTE]

    def _clean(self) -> None:
        """Routes of ours on what is no uplink (any more): an earlier run was killed."""
        for family in (netlink.AF_INET, netlink.AF_INET6):
            for m in self._routes_of(0, family):
                ifindex = routes.interface(m.body)
                route = routes.route(m.body, ifindex)
                left = (ifindex, family) not in self._host.ways
                if left and route and route.protocol == routes.PROTOCOL:
                    self._send(routes.take(route))

    def _write_state(self) -> None:
        self._state_at = None
        now, wall = time.monotonic(), time.time()
        ways = [
            {
                "uplink": way.uplink,
                "family": "inet" if family == netlink.AF_INET else "inet6",
                "known": way.known,
                "in_use": way.placed,
                "since": None if way.since is None else wall - (now - way.since),
                "times": way.times,
                "seconds": round(way.seconds, 3),
            }
            for (_, family), way in self._host.ways.items()
        ]
        found = self._host.plan
        content = {
            "pid": os.getpid(),
            "heals": self._host.heals,
            "way_out": ways,
            "memberships": len(self._host.groups),
            "sockets": self._host.groups.sockets,
            "missing": list(found.missing),
            "problems": list(found.problems),
            "last_event": self._event,
        }
        state.write(_STATE, state.dumps(content))


def run(command: Sequence[str] = _APPLY) -> int:
    """Runs until SIGTERM; `command` is a pass of apply. Returns the exit status."""
    gc.disable()  # nothing here makes cycles; a collection must not fall into the reflex
    daemon = Daemon(command)
    gc.collect()
    gc.freeze()
    return daemon.run()
