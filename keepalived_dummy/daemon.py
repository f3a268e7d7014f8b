# SPDX-License-Identifier: MIT
"""`keepalived-dummy daemon`: one loop over the kernel's events, asleep between them.

The resident process is the standard library alone, without what costs a megabyte (pathlib, dataclasses, logging).
What it does itself is what cannot wait: the way out, a dummy put right, memberships. All else is a pass of
`apply`, in a child.
"""

import errno
import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from keepalived_dummy import kernel, memory, netlink, notify, plan, state
from keepalived_dummy.events import event
from keepalived_dummy.host import Edges, Host
from keepalived_dummy.inotify import Watches
from keepalived_dummy.netlink import (
    GROUP_IPV4_ADDRESS,
    GROUP_IPV4_ROUTE,
    GROUP_IPV4_RULE,
    GROUP_IPV6_ADDRESS,
    GROUP_IPV6_ROUTE,
    GROUP_IPV6_RULE,
    GROUP_LINK,
    GROUP_TC,
    Message,
)
from keepalived_dummy.passes import Passes
from keepalived_dummy.report import report
from keepalived_dummy.survey import Survey
from keepalived_dummy.teller import Teller

# As this process was started, with another command.
_APPLY = [sys.executable, *sys.orig_argv[1:-1], "apply", "--daemon"]

_LINKS = GROUP_LINK | GROUP_IPV4_ADDRESS | GROUP_IPV6_ADDRESS
_ROUTES = GROUP_IPV4_ROUTE | GROUP_IPV6_ROUTE
_RULES = GROUP_IPV4_RULE | GROUP_IPV6_RULE
_BUFFER = 8 << 20
_AT_ONCE = 200  # datagrams of one socket before the others have their turn
_COALESCE = 0.1  # an editor saves in several steps
_JOIN = 0.01  # keepalived adds its VIPs in a row
_REPORT = 0.5
# What has changed before a message got there: the event that says so is on its way.
_LATE = (
    errno.EEXIST,
    errno.ESRCH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.ENODEV,
    errno.EADDRNOTAVAIL,
)


class Daemon:
    """The loop's state; `run` makes one."""

    def __init__(self, command: Sequence[str]) -> None:
        self._loop = select.epoll()
        self._requests = kernel.open_socket(buffer=_BUFFER)
        self._port: int = self._requests.getsockname()[0]
        self._links = kernel.open_socket(_LINKS, _BUFFER)
        self._routes = kernel.open_socket(_ROUTES, _BUFFER)
        self._rules = kernel.open_socket(_RULES)
        self._tc = kernel.open_socket(GROUP_TC, _BUFFER)
        self._watches = Watches()
        self._signals = socket.socketpair()
        self._passes = Passes(command, self._loop, self._passed)
        self._teller = Teller()
        self._tell = self._teller.tell
        want = self._passes.want
        self._host = Host(Edges(self._send, want, self._tell, self._store, self._ask, _has_clsact))
        self._survey = Survey(self._host, self._send)
        self._stored = notify.stored()
        self._watchdog = notify.watchdog()
        self._fed = 0.0
        self._join_at: float | None = None
        self._report_at: float | None = None
        self._ready = self._reloading = self._stop = False
        self._said: set[str] = set()
        self._remembered = b""

    def run(self) -> int:
        """Until SIGTERM."""
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(sig, lambda *_: None)
        for end in self._signals:
            end.setblocking(False)
        signal.set_wakeup_fd(self._signals[1].fileno())
        # In the order they are looked at: the addresses first.
        handlers: dict[int, Callable[[], None]] = {
            self._links.fileno(): self._on_links,
            self._rules.fileno(): self._on_rules,
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
            for fd, handle in handlers.items():
                if fd in ready:
                    handle()
            self._passes.events(ready)
            self._timers(time.monotonic())
        return self._end()

    def _start(self) -> None:
        """What an earlier run knew, and is there, is looked after at once; a pass of apply follows."""
        now = time.monotonic()
        self._host.recall(*memory.unpack(state.read("memory.json")))
        try:
            known = plan.read(state.read("plan.json"))
        except ValueError:
            pass  # the first start, or another version's
        else:
            self._host.stale = True  # a conf may have gone since: the pass makes what is missing
            self._host.load(known, now)
            self._survey.picture(now)
            self._survey.rules(now)
        self._passes.want("start")

    def _end(self) -> int:
        """No link, filter or address is touched."""
        notify.notify("STOPPING=1")
        for way in self._host.ways.values():
            self._send(way.stop())
        self._send(self._host.steering.stop(self._host.tables_in_use()))
        self._passes.stop()
        self._report()
        return 0

    # Given to others

    def _ask(self, request: bytes) -> Message | None:
        return self._survey.ask(request)

    def _send(self, data: bytes) -> None:
        if data:
            try:
                self._requests.send(data)
            except OSError as problem:
                state.log(state.ERR, f"netlink: {problem.strerror}")

    def _store(self, fd: int) -> None:
        notify.notify(f"FDSTORE=1\nFDNAME=groups-{os.getpid()}\nFDPOLL=0", [fd])

    # Time

    def _timeout(self, now: float) -> float | None:
        self._survey.mark()
        times = [way.deadline() for way in self._host.ways.values()]
        times += [self._survey.deadline(), self._passes.deadline(now), self._host.losses.deadline()]
        times += [self._join_at, self._report_at, self._host.hearing.due]
        times.append(self._host.steering.deadline())
        if self._watchdog:
            times.append(self._fed + self._watchdog)
        due = [t for t in times if t is not None]
        return max(0.0, min(due) - now) if due else None

    def _timers(self, now: float) -> None:
        host = self._host
        self._survey.mark()
        for way in host.ways.values():
            self._send(way.tick(now))
        host.tick_rules(now)
        if self._survey.tick(now):
            self._changed()
        if host.hearing.due is not None and now >= host.hearing.due:
            host.hear(now)
        if host.groups_due and self._join_at is None:
            self._join_at = now + _JOIN
        if self._join_at is not None and now >= self._join_at:
            self._join_at = None
            host.join()
        self._put_back(now)
        self._passes.tick(now)
        for way in host.ways.values():
            for told in way.log:
                self._tell(told)
            way.log.clear()
        if self._teller.told:
            self._teller.told = False
            self._changed()
        if self._report_at is not None and now >= self._report_at:
            self._report()
        if self._watchdog and now >= self._fed + self._watchdog:
            self._fed = now
            notify.notify("WATCHDOG=1")

    def _changed(self) -> None:
        if self._report_at is None:
            self._report_at = time.monotonic() + _REPORT

    def _report(self) -> None:
        self._report_at = None
        state.write("state.json", report(self._host, self._teller, time.monotonic()))
        packed = memory.pack(self._host)
        if packed != self._remembered:
            self._remembered = packed
            state.write("memory.json", packed)

    # Events

    def _on_links(self) -> None:
        for message in _received(self._links):
            if message is None:
                self._host.overrun(time.monotonic())
            else:
                self._host.message(message, time.monotonic())
        self._changed()

    def _on_routes(self) -> None:
        now = time.monotonic()
        for message in _received(self._routes):
            if message is None:
                self._host.dirty.update(dict.fromkeys(self._host.ways, now))
            else:
                self._host.route(message, self._port, now)

    def _on_rules(self) -> None:
        now = time.monotonic()
        for message in _received(self._rules):
            if message is None:
                self._survey.rules(now)
            else:
                self._host.rule(message, self._port, now)

    def _on_tc(self) -> None:
        for message in _received(self._tc):
            if message is None:
                self._passes.want("events were lost")
            else:
                self._host.tc(message, self._passes.running, time.monotonic())

    def _put_back(self, now: float) -> None:
        """What somebody took of the wire."""
        if self._passes.running:
            self._host.losses.put_off(now)
            return
        lost = self._host.losses.due(now)
        script = ""
        for ifindex, bare in lost:
            if _has_program(ifindex):
                continue
            present = self._survey.cookies(ifindex)
            if present is None:  # what could not be read is not taken for gone
                self._passes.want("filters could not be read")
                continue
            mend = self._host.mend(ifindex, present, bare, now)
            if mend and bare:
                state.touch(_clsact(ifindex))
            script += mend
        self._passes.mend(script)

    def _on_answer(self) -> None:
        now = time.monotonic()
        for message in _received(self._requests):
            if message is None:
                self._host.dirty.update(dict.fromkeys(self._host.ways, now))
            elif message.type == netlink.NLMSG_ERROR:
                code = netlink.error(message.body)
                if code and message.seq:
                    self._host.refused(message.seq, code, now)
                if code not in (0, *_LATE):
                    state.log(state.WARNING, f"netlink: refused: {os.strerror(code)}")

    def _on_signal(self) -> None:
        for number in self._signals[0].recv(64):
            if number == signal.SIGHUP:
                notify.notify(notify.reloading())
                self._reloading = True
                self._passes.want("reload")
            else:
                self._stop = True

    def _on_watch(self) -> None:
        if self._watches.read():
            self._host.stale = True
            self._passes.want("a watched file changed", _COALESCE)

    # A pass has ended

    def _passed(self, status: int, output: bytes) -> None:
        """Well or not: keepalived waits for the first, but not for ever."""
        try:
            new = plan.read(output)
        except ValueError:
            again = self._passes.retry()
            text = f"apply: status {status} and no plan; again in {again:.0f} s"
            self._tell(event("pass-failed", text))
            self._say_ready()
        else:
            self._passes.succeeded()
            self._host.stale = self._host.stale and self._passes.wanted
            self._take(new)
            state.write("plan.json", output)
            self._say(new)
            if not self._ready or not self._passes.wanted or "reload" in self._passes.doing:
                self._say_ready()
        self._changed()
        gc.collect()

    def _say(self, new: plan.Plan) -> None:
        """What is wrong, or waited for, is said when it begins and not in every pass."""
        for line in new.changed:
            self._tell(event("changed", line))
        for dummy in new.rewired:
            self._host.announced(dummy)
        wrong = dict.fromkeys((*new.missing, *new.problems), "problem")
        lines = {**dict.fromkeys(new.notes, "waiting"), **wrong}
        for line, kind in lines.items():
            if line not in self._said:
                self._tell(event(kind, line))
        self._said = set(lines)

    def _take(self, new: plan.Plan) -> None:
        now = time.monotonic()
        self._host.load(new, now)
        self._survey.picture(now)
        self._survey.rules(now)
        self._host.hear(now)
        self._watches.replace(new.watch, new.sysctls)
        self._host.join()
        self._host.announce()
        self._survey.clean()
        for name, fds in self._stored.items():  # of the run before: ours are all there now
            for fd in fds:
                os.close(fd)
            notify.notify(f"FDSTOREREMOVE=1\nFDNAME={name}")
        self._stored = {}

    def _say_ready(self) -> None:
        count = len(self._host.plan.dummies)
        text = f"STATUS={count} {'dummy' if count == 1 else 'dummies'}"
        if not self._ready or self._reloading:
            text = f"READY=1\n{text}"
        self._ready, self._reloading = True, False
        notify.notify(text)


def _clsact(ifindex: int) -> str:
    """The file that says that the clsact of an interface is ours, as tc.py of a pass has it."""
    return f"clsact-{ifindex}"


def _has_program(ifindex: int) -> bool:
    """Whether root's apply has put a program in the place of the filters: see programs.py."""
    return os.path.exists(state.path(f"tcx-{ifindex}"))


def _has_clsact(ifindex: int) -> bool:
    return os.path.exists(state.path(_clsact(ifindex)))


def _received(sock: socket.socket) -> Iterator[Message | None]:
    """The messages that are there now, one by one as they are read; None where some were lost."""
    for _ in range(_AT_ONCE):
        try:
            data = sock.recv(1 << 17, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as problem:
            if problem.errno != errno.ENOBUFS:
                raise
            yield None
            continue
        yield from netlink.messages(data)


def run(command: Sequence[str] = _APPLY) -> int:
    """Runs until SIGTERM; `command` is a pass of apply. Returns the exit status."""
    gc.disable()  # a collection must not fall into the reflex: one follows each pass
    daemon = Daemon(command)
    gc.collect()
    gc.freeze()
    return daemon.run()
