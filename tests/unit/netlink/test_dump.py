# SPDX-License-Identifier: MIT
"""Dumps through one socket: an answer that broke off is never taken for the next one's."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from idle import IDLE

from keepalived_dummy import (
    apply,
    bpf,
    daemon,
    evidence,
    interfaces,
    kernel,
    links,
    netlink,
    observe,
    routes,
    tc,
)
from keepalived_dummy.events import Event
from keepalived_dummy.host import Host
from keepalived_dummy.netlink import Message
from keepalived_dummy.observed import Unseen
from keepalived_dummy.plan import Dummy, Plan
from keepalived_dummy.survey import Survey
from keepalived_dummy.wayout import LIMIT, WayOut

if TYPE_CHECKING:
    from keepalived_dummy.assembly import Sources
    from keepalived_dummy.observed import Observation
    from keepalived_dummy.passes import Passes

LINK = struct.pack("=BxHiII", 0, 1, 2, 0x41, 0) + netlink.attribute(3, b"ens3\0")
OWN = struct.pack("=BBBBi", 2, 24, 0x80, 0, 2) + netlink.attribute(2, bytes([192, 0, 2, 5]))
ANSWERS = {interfaces.RTM_GETLINK: (16, LINK), interfaces.RTM_GETADDR: (20, OWN)}
DONE = (netlink.NLMSG_DONE, struct.pack("=i", 0))

Broken = OSError | tuple[int, bytes]


class Kernel:
    """A socket to a kernel that answers a dump in three datagrams; `breaks` come instead of the second, in turn."""

    def __init__(self, *breaks: Broken, interrupted: int = 0) -> None:
        self.breaks, self.interrupted = list(breaks), interrupted
        self.asked = 0
        self.datagrams: list[bytes | OSError] = []
        self.closed = False

    def send(self, request: bytes) -> None:
        _, kind, _, seq, _ = struct.unpack_from("=IHHII", request)
        answer = ANSWERS.get(kind, (44, b""))
        flags = 2
        self.asked += 1
        if self.interrupted:
            self.interrupted -= 1
            flags |= netlink.DUMP_INTR
        second = self.breaks.pop(0) if self.breaks else answer
        for part in (answer, second, DONE):
            if isinstance(part, OSError):
                self.datagrams.append(part)
                continue
            whole = struct.pack("=IHHII", 16 + len(part[1]), part[0], flags, seq, 0) + part[1]
            self.datagrams.append(whole)
            if part[0] == netlink.NLMSG_ERROR:
                return

    def recv(self, _: int) -> bytes:
        if not self.datagrams:
            raise TimeoutError("timed out")
        found = self.datagrams.pop(0)
        if isinstance(found, OSError):
            raise found
        return found

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def lost() -> OSError:
    return OSError(errno.ENOBUFS, "No buffer space available")


REFUSED = (netlink.NLMSG_ERROR, struct.pack("=i", -errno.EOPNOTSUPP))


def test_what_is_left_of_a_broken_answer_is_skipped() -> None:
    sock = cast("socket.socket", Kernel(lost()))
    with pytest.raises(OSError, match="No buffer"):
        kernel.dump(sock, interfaces.dump_links())
    for _ in range(2):
        assert [m.type for m in kernel.dump(sock, interfaces.dump_addresses())] == [20, 20]
        assert [m.type for m in kernel.dump(sock, interfaces.dump_links())] == [16, 16]


def test_the_kernel_answers_by_the_number_it_was_asked_with() -> None:
    with kernel.open_dump_socket() as sock:
        for _ in range(3):
            found = [
                interfaces.link(m.body).name for m in kernel.dump(sock, interfaces.dump_links())
            ]
            assert "lo" in found


BREAKS: dict[str, tuple[Broken, int]] = {
    "lost": (lost(), 2),
    "too late": (TimeoutError("timed out"), 2),
    "refused": (REFUSED, 1),
}


@pytest.mark.parametrize(("broken", "sockets"), BREAKS.values(), ids=BREAKS)
def test_after_a_broken_answer_the_daemon_asks_on_a_new_socket(
    broken: Broken, sockets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel refuses a second dump while the first is under way (EBUSY): the old socket is of no more use."""
    opened = [Kernel(broken)]

    def open_another() -> Kernel:
        opened.append(Kernel())
        return opened[-1]

    monkeypatch.setattr(kernel, "open_dump_socket", lambda: opened[0])
    told: list[Event] = []
    sent: list[bytes] = []
    host = Host(IDLE._replace(send=sent.append, tell=told.append))
    host.load(Plan((Dummy("keepalived0", 0, b"", True, True, ("ens3",), "a"),)), 1.0)
    host.stale = True
    it = Survey(host, sent.append)
    monkeypatch.setattr(kernel, "open_dump_socket", open_another)
    it.picture(1.0)
    assert host.resync == 2.0
    it.picture(2.0)
    assert host.resync is None
    assert len(opened) == sockets
    assert [sock.closed for sock in opened] == [True, False][-sockets:]
    assert set(host.ways) == {(2, 2), (2, 10)}


def route(number: int, gateway: bool = True) -> bytes:
    """To 20.0.0.0/24 and up, or without a gateway to 10.0.0.0/16 and up."""
    scope, length = (0, 24) if gateway else (253, 16)
    body = struct.pack("=BBBBBBBBI", 2, length, 0, 0, 254, 186, scope, 1, 0)
    start, step = (20 << 24, 1 << 8) if gateway else (10 << 24, 1 << 16)
    body += netlink.attribute(1, struct.pack(">I", start + number * step))
    body += netlink.attribute(4, struct.pack("=i", 2))
    return body + (netlink.attribute(5, bytes([192, 0, 2, 1])) if gateway else b"")


class Router:
    """A socket to the kernel of a router, whose table comes in datagrams of 500 routes.

    `blocks`: how many objects there are, as each datagram is asked for.
    """

    def __init__(self, table: list[bytes]) -> None:
        self.table = table
        self.breaks = False
        self.asked = 0
        self.blocks: list[int] = []

    def send(self, request: bytes) -> None:
        seq = struct.unpack_from("=IHHII", request)[3]
        answer = [struct.pack("=IHHII", 16 + len(b), 24, 2, seq, 0) + b for b in self.table]
        answer.append(struct.pack("=IHHIIi", 20, netlink.NLMSG_DONE, 2, seq, 0, 0))
        self.datagrams = [b"".join(answer[n : n + 500]) for n in range(0, len(answer), 500)]
        self.blocks.clear()
        self.blocks_before = 0
        self.asked += 1

    def close(self) -> None:
        pass

    def recv(self, _: int) -> bytes:
        if self.breaks:
            raise lost()
        self.blocks.append(sys.getallocatedblocks())
        return self.datagrams[self.blocks_before + len(self.blocks) - 1]


def read_all(it: Survey, now: float) -> float:
    """Let a reading go on to its end; return when that is."""
    for _ in range(5_000):
        if it.tick(now):
            return now
        now += 0.01
    raise AssertionError("it does not end")


def test_of_a_full_table_no_more_is_held_than_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """All routes of the internet, read at once, take three times the unit's MemoryMax=."""
    table = [route(n) for n in range(40_000)]
    table[30_000:30_000] = [route(n, gateway=False) for n in range(3)]
    sock = Router(table)
    monkeypatch.setattr(kernel, "open_dump_socket", lambda: sock)
    host = Host(IDLE)
    host.ways[2, 2], whole = WayOut("ens3", 2), WayOut("ens3", 2)
    host.dirty[2, 2] = 0.0
    read_all(Survey(host, lambda _: None), 1.0)
    whole.snapshot([r for body in table if (r := routes.route(body, 2))], 1.0)
    own = bytes([10, 0, 0, 5])
    put_back = []
    for way in (host.ways[2, 2], whole):
        way.address_added(own, 16, 1.0)
        sent = netlink.messages(way.address_removed(own, 16, 2.0))
        put_back.append([m.body for m in sent])
    assert put_back[0] == put_back[1]
    assert len(put_back[0]) == LIMIT
    assert max(sock.blocks) - sock.blocks[0] < len(table)  # each route takes several


def test_who_looks_at_a_full_table_holds_no_more_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """`status`, and its timer each minute."""
    table = [route(n) for n in range(40_000)]
    table.insert(30_000, route(0, gateway=False))
    sock = Router(table)
    monkeypatch.setattr(kernel, "open_dump_socket", lambda: contextlib.nullcontext(sock))
    read = list(observe.routes_through([2]))
    assert len(read) < 20_000
    assert [r.key.length for r in read if not r.gateway] == [16, 16], (
        "its own network, of each family"
    )


NET = struct.pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 2, 253, 1, 0)
NET += netlink.attribute(1, bytes([192, 0, 2, 0])) + netlink.attribute(4, struct.pack("=i", 2))


def small_host(monkeypatch: pytest.MonkeyPatch, sock: object) -> tuple[Host, Survey]:
    """A host with ens3, whose routes are read through `sock`."""
    monkeypatch.setattr(kernel, "open_dump_socket", lambda: sock)
    host = Host(IDLE)
    host.load(Plan((Dummy("keepalived0", 0, b"", True, True, ("ens3",), "a"),)), 1.0)
    host.stale = True
    link, address = (Message(kind, 0, 0, 0, data) for kind, data in ANSWERS.values())
    host.picture([link], [address], 1.0)
    host.dirty = {(2, 2): 1.0}
    return host, Survey(host, lambda _: None)


def test_routes_that_could_not_be_read_are_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the way out would forget them three seconds later, and have nothing to put back."""
    sock = Router([NET])
    host, it = small_host(monkeypatch, sock)
    way = host.ways[2, 2]
    now = time.monotonic() + 100
    it.tick(now)
    assert way.known == 1
    host.dirty[2, 2] = now + 100
    sock.breaks = True
    it.tick(now + 100)
    way.tick(now + 200)
    assert way.known == 1
    assert host.dirty == {(2, 2): now + 101}


def test_the_loop_has_its_turn_in_the_middle_of_a_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of 300,000 routes takes two seconds."""
    sock = Router([route(n) for n in range(40_000)])
    host, it = small_host(monkeypatch, sock)
    turns, now = 0, 1.0
    while not it.tick(now):
        assert len(sock.blocks) <= 4, "datagrams in one turn"
        sock.blocks_before += len(sock.blocks)
        sock.blocks.clear()
        due = it.deadline()
        assert due is not None
        assert now < due < now + 1, "it goes on soon, and not at once: it is a realtime process"
        turns, now = turns + 1, due
    assert turns >= 20
    assert host.dirty == {}


def test_what_was_read_while_the_address_went_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half of it is from before: the way out would take its own routes for missing, or away."""
    sock = Router([route(n) for n in range(40_000)])
    host, it = small_host(monkeypatch, sock)
    it.tick(1.0)
    way = host.ways[2, 2]
    way.address_removed(bytes([192, 0, 2, 5]), 24, 1.0)
    assert (sock.asked, way.known) == (1, 0)
    read_all(it, 1.0)
    assert sock.asked == 2


def test_one_place_rests_while_another_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest after a big table kept the small one of another uplink, or of IPv6, from being read."""
    sock = Router([route(n) for n in range(40_000)])
    host, it = small_host(monkeypatch, sock)
    host.ways[3, 2] = WayOut("ens4", 2)
    now = read_all(it, 1.0)
    sock.table = [NET]
    host.dirty = {(2, 2): now, (3, 2): now}
    assert it.tick(now + 0.01)
    assert host.dirty == {(2, 2): now}
    due = it.deadline()
    assert due is not None
    assert due > now + 0.1


def test_a_small_table_does_not_wait_for_a_big_one(monkeypatch: pytest.MonkeyPatch) -> None:
    big, small = Router([route(n) for n in range(40_000)]), Router([NET])
    host, it = small_host(monkeypatch, big)
    it.tick(1.0)
    monkeypatch.setattr(kernel, "open_dump_socket", lambda: small)
    host.ways[3, 2] = WayOut("ens4", 2)
    host.dirty[3, 2] = 1.0
    read_all(it, 1.0)
    assert len(big.blocks) < 10, "of 81 datagrams"


def test_what_was_not_read_yet_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its routes are back, and the big table has not been read since: it ended all, and forgot them."""
    sock = Router([NET])
    host, it = small_host(monkeypatch, sock)
    way = host.ways[2, 2]
    way.vips(True, 1.0)
    it.tick(2.0)
    own = bytes([192, 0, 2, 5])
    way.address_removed(own, 24, 2.0)
    way.address_added(own, 24, 3.0)
    host.dirty = {(2, 2): 9.0}
    it.mark()
    assert way.deadline() is None
    way.tick(100.0)
    assert (way.known, way.placed, way.since) == (1, 1, 2.0)
    read_all(it, 100.0)
    assert (way.known, way.placed, way.since) == (1, 0, None)


ALWAYS = 1 << 30


def test_an_answer_that_was_interrupted_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    fake = Kernel(interrupted=kernel.TRIES - 1)
    found = kernel.dump(cast("socket.socket", fake), interfaces.dump_links())
    assert [m.type for m in found] == [16, 16]
    assert fake.asked == kernel.TRIES
    assert slept == [kernel.PAUSE] * (kernel.TRIES - 1)


def test_what_was_interrupted_each_time_is_not_taken_for_whole() -> None:
    """It may lack what was there all the time."""
    fake = Kernel(interrupted=ALWAYS)
    with pytest.raises(InterruptedError, match="changed under way, 5 times in a row"):
        kernel.dump(cast("socket.socket", fake), interfaces.dump_links())
    assert fake.asked == kernel.TRIES
    assert not fake.datagrams, "the socket is as good as before"


@pytest.fixture
def storm(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    """A host whose tables change whenever they are read."""
    fake = Kernel(interrupted=ALWAYS)
    monkeypatch.setattr(kernel, "open_dump_socket", lambda: fake)
    monkeypatch.setattr(kernel, "PAUSE", 0.0)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return fake


def test_the_daemon_takes_nothing_for_gone_in_a_storm(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Kernel()
    monkeypatch.setattr(kernel, "open_dump_socket", lambda: fake)
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    told: list[Event] = []
    sent: list[bytes] = []
    host = Host(IDLE._replace(send=sent.append, tell=told.append))
    host.load(Plan((Dummy("keepalived0", 0, b"", True, True, ("ens3",), "a"),)), 1.0)
    it = Survey(host, sent.append)
    it.picture(1.0)
    ways, count = set(host.ways), len(sent)
    fake.interrupted = ALWAYS
    told.clear()
    it.picture(2.0)
    assert host.resync == 3.0
    assert (set(host.ways), len(sent), told) == (ways, count, [])
    assert it.cookies(2) is None
    assert not any(slept), "the reflex waits meanwhile"
    fake.interrupted = 0
    it.picture(3.0)
    assert host.resync is None


def test_filters_that_could_not_be_read_are_not_put_there_twice(storm: Kernel) -> None:
    """The pass looks again."""
    it = daemon.Daemon.__new__(daemon.Daemon)
    wanted: list[str] = []
    ran: list[str] = []
    it._survey = Survey(Host(IDLE._replace(want=wanted.append)), lambda _: None)
    it._passes = cast("Passes", SimpleNamespace(want=wanted.append, mend=ran.append, running=False))
    lost = SimpleNamespace(due=lambda _: [(2, False)])
    fail = lambda *_: pytest.fail("it was taken for gone")  # noqa: E731
    it._host = cast("Host", SimpleNamespace(mend=fail, losses=lost))
    it._put_back(1.0)
    assert (wanted, ran) == (["filters could not be read"], [""])


def test_who_reads_the_hosts_filters_in_a_storm_fails(storm: Kernel) -> None:
    with pytest.raises(InterruptedError):
        tc.read()
    with pytest.raises(InterruptedError):
        tc._filters(cast("socket.socket", storm), 2, netlink.CLSACT_INGRESS)
    with pytest.raises(InterruptedError):
        links.read()


def test_who_looks_in_a_storm_says_what_was_not_seen(storm: Kernel) -> None:
    unseen: list[Unseen] = []
    assert observe._routes([2], unseen) == ()
    assert [one.what for one in unseen] == ["the routes of the uplinks"]
    assert "changed under way" in unseen[0].why


def test_the_routes_of_the_way_out_are_not_taken_for_gone(storm: Kernel) -> None:
    result = apply.Result()
    apply._remove_way_out(links.Host({}, ()), False, result)
    assert len(result.problems) == 2
    assert all(one.endswith("; run this again") for one in result.problems)


def test_a_look_of_adopt_is_taken_again(storm: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    storm.interrupted = 3 * kernel.TRIES
    assert set(links.read_patiently().links) == {"ens3"}
    storm.interrupted = ALWAYS
    monkeypatch.setattr(links, "_PATIENCE", 0.0)
    with pytest.raises(InterruptedError):
        links.read_patiently()


def test_check_says_which_filters_it_could_not_see(
    storm: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = evidence._Looking.__new__(evidence._Looking)
    looking.unseen = []
    link = interfaces.link(LINK)
    host = links.Host({"ens3": link}, ())
    looking.sources = cast("Sources", SimpleNamespace(host=host, new=frozenset()))
    dummy = SimpleNamespace(name="kd0", wire=SimpleNamespace(wanted=2), uplinks=("ens3",))
    monkeypatch.setattr(bpf, "programs", lambda *_: ())
    looking.seen = cast("Observation", SimpleNamespace(dummies=(dummy,)))
    assert list(looking.fronts()) == []
    assert [one.what for one in looking.unseen] == ["the filters of ens3"]
