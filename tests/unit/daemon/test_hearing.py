# SPDX-License-Identifier: MIT
"""Which pinned sources are held, and which dummies are kept down: the kernel's answers are given."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from keepalived_dummy import hearing, netlink, routes
from keepalived_dummy.events import KINDS, Event
from keepalived_dummy.hearing import PATIENCE, Hearing, Uplink
from keepalived_dummy.netlink import Message
from keepalived_dummy.plan import PinnedSource
from keepalived_dummy.routes import Held

ENS3 = 2


def ip(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


OWN, PEER, OTHER = ip("192.0.2.5"), ip("192.0.2.6"), ip("192.0.2.77")
FAR = ip("198.51.100.7")
UNICAST = PinnedSource("VI_1", "ens3", OWN, (PEER,), ("keepalived0",), True, 255, 1)
MULTICAST = UNICAST._replace(peers=())


class Kernel:
    """What the kernel would say: `routed` is what it has a route to, `local` what it delivers, and by whose route."""

    def __init__(self) -> None:
        self.routed = True
        self.taken = True
        self.local: dict[bytes, int] = {OWN: 2}
        self.asked = 0

    def __call__(self, request: bytes) -> Message | None:
        self.asked += 1
        (m,) = netlink.messages(request)
        assert m.type == routes.RTM_GETROUTE
        a = dict(netlink.attributes(m.body, 12))
        if 3 not in a:  # RTA_IIF: what comes in
            return _route(a[1], 1, 4) if self.routed else None
        if not self.taken:
            return None
        if a[1] == routes.BROADCAST:
            return _route(a[1], 3, 2)
        return _route(a[1], 2, self.local[a[1]]) if a[1] in self.local else None


def _route(destination: bytes, kind: int, protocol: int) -> Message:
    body = bytes([2, 32, 0, 0, 254, protocol, 0, kind, 0, 0, 0, 0])
    body += netlink.attribute(1, destination) + netlink.attribute(4, ENS3.to_bytes(4, "little"))
    return Message(routes.RTM_NEWROUTE, 0, 0, 0, body)


@pytest.fixture(autouse=True)
def arp_ignore(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    values = {"all": "0", "ens3": "0"}
    monkeypatch.setattr(hearing, "_read", lambda path: values[path.split("/")[6]])
    yield values


class World:
    """A Hearing, what it said, and the uplink that it is told of."""

    def __init__(self, *sources: PinnedSource) -> None:
        self.kernel = Kernel()
        self.events: list[Event] = []
        self.hearing = Hearing(self.kernel, self._told)
        self.now = 10.0
        self.addresses = [OWN]
        self.up = True
        self.in_use: set[str] = set()
        self.are_down: set[str] = set()
        self.hearing.load(sources, self.now)

    def _told(self, event: Event) -> None:
        assert {name for name, _ in event.fields} == set(KINDS[event.kind].fields)
        self.events.append(event)

    def uplinks(self) -> dict[str, Uplink]:
        return {"ens3": Uplink(ENS3, self.up, self.addresses)}

    def sync(self) -> list[tuple[int, Held | None]]:
        """What it has the kernel do, as message types and held sources."""
        sent = self.hearing.sync(self.uplinks(), self.now)
        return [(m.type, routes.held(m.body)) for m in netlink.messages(sent)]

    def judge(self, later: float = 0.0) -> list[str]:
        self.now += later
        return self.hearing.judge(self.uplinks(), self.in_use, self.are_down, self.now)

    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]


HELD = Held(OWN)


@pytest.mark.parametrize(
    ("source", "addresses", "seen", "wanted"),
    [
        pytest.param(UNICAST, [OWN], False, True, id="there"),
        pytest.param(UNICAST, [], False, True, id="never there, and no other"),
        pytest.param(UNICAST, [ip("169.254.1.2")], False, True, id="an automatic one only"),
        pytest.param(UNICAST, [ip("2001:db8::5")], False, True, id="of another family only"),
        pytest.param(UNICAST, [OTHER], False, False, id="never there, and another"),
        pytest.param(UNICAST, [OTHER], True, True, id="there before"),
        pytest.param(UNICAST, None, True, False, id="no uplink"),
        pytest.param(UNICAST, [PEER], True, False, id="a peer's file"),
        pytest.param(UNICAST._replace(hold=False), [OWN], True, False, id="HoldSource=no"),
        pytest.param(MULTICAST, [OWN], True, False, id="multicast"),
        pytest.param(UNICAST._replace(address=ip("2001:db8::5")), [], True, False, id="IPv6"),
    ],
)
def test_what_is_held(
    source: PinnedSource, addresses: list[bytes] | None, seen: bool, wanted: bool
) -> None:
    uplinks = {} if addresses is None else {"ens3": addresses}
    known = {("ens3", source.address)} if seen else set[tuple[str, bytes]]()
    assert hearing.holds([source], uplinks, known) == ({HELD} if wanted else set())


def test_a_source_in_a_vrf_is_held_there() -> None:
    inside = UNICAST._replace(table=10, device=7)
    assert hearing.holds([inside], {"ens3": [OWN]}, set()) == {Held(OWN, 10, 7)}


def test_a_hold_is_a_local_route_that_the_kernels_own_wins_over() -> None:
    for held in (HELD, Held(OWN, 1000, 7)):
        for message, kind in ((routes.hold(held), 24), (routes.release(held), 25)):
            (m,) = netlink.messages(message)
            assert (m.type, routes.held(m.body)) == (kind, held)
            assert netlink.find(m.body[12:], 6) == (60000).to_bytes(4, "little")
    (put,) = netlink.messages(
        routes.put(routes.Route(2, routes.Key(254, OWN, 32, 0), 0, 0, 0, 2, b"", b"", b""))
    )
    assert routes.held(put.body) is None


def test_a_source_stays_held_while_it_is_away_and_is_told_of() -> None:
    world = World(UNICAST)
    assert world.sync() == [(24, HELD)]
    world.addresses = []
    assert world.sync() == []
    world.now += 3
    world.addresses = [OWN]
    assert world.sync() == []
    assert world.kinds() == ["source-away", "source-back"]
    assert dict(world.events[1].fields)["SECONDS"] == "3.000"


def test_a_source_of_no_instance_any_more_is_released() -> None:
    world = World(UNICAST)
    world.sync()
    world.hearing.load((), world.now)
    assert world.sync() == [(25, HELD)]


def test_a_hold_that_somebody_deletes_is_put_back() -> None:
    world = World(UNICAST)
    world.sync()
    world.hearing.gone(Held(PEER), world.now)
    assert world.sync() == []
    world.hearing.gone(HELD, world.now)
    assert world.hearing.due == world.now
    assert world.sync() == [(24, HELD)]


def test_what_a_deaf_instance_held_is_put_there_again() -> None:
    """lo was set down: the kernel tells nobody of what it drops then."""
    world = World(UNICAST)
    world.sync()
    world.addresses, world.kernel.local = [], {}
    world.judge()
    assert world.sync() == [(24, HELD)]


def away(**kernel: Any) -> World:
    """A world whose source is away."""
    world = World(kernel.pop("source", UNICAST))
    world.addresses = []
    world.kernel.local = {OWN: routes.PROTOCOL}
    for name, value in kernel.items():
        setattr(world.kernel, name, value)
    return world


@pytest.mark.parametrize("source", [UNICAST, MULTICAST], ids=["unicast", "multicast"])
@pytest.mark.parametrize(
    ("kernel", "is_deaf"),
    [
        pytest.param({}, False, id="held and routed"),
        pytest.param({"routed": False}, True, id="no route"),
        pytest.param({"taken": False}, True, id="rp_filter"),
    ],
)
def test_who_hears(source: PinnedSource, kernel: dict[str, Any], is_deaf: bool) -> None:
    world = away(source=source, **kernel)
    world.judge()
    assert world.judge(PATIENCE) == (["keepalived0"] if is_deaf else [])
    assert list(world.hearing.down) == (["keepalived0"] if is_deaf else [])


def test_a_unicast_source_that_is_not_held_is_deaf() -> None:
    world = away(local={})
    world.judge()
    assert world.judge(PATIENCE) == ["keepalived0"]


@pytest.mark.parametrize(
    ("interface", "protocol", "is_deaf"),
    [("ens3", 75, True), ("all", 75, True), ("ens3", 2, False)],
)
def test_a_held_source_is_not_answered_for_at_arp_ignore(
    arp_ignore: dict[str, str], interface: str, protocol: int, is_deaf: bool
) -> None:
    """One that is an address of another interface may be reached over a router."""
    world = away(local={OWN: protocol})
    arp_ignore[interface] = "1"
    world.judge()
    assert bool(world.judge(PATIENCE)) == is_deaf


def test_every_peer_has_to_be_heard() -> None:
    world = away(source=UNICAST._replace(peers=(PEER, FAR)))
    ask = world.kernel.__call__

    def partly(request: bytes) -> Message | None:
        return None if FAR in request else ask(request)

    world.hearing._ask = partly
    world.judge()
    assert world.judge(PATIENCE) == ["keepalived0"]
    assert "198.51.100.7" in world.hearing.down["keepalived0"]


@pytest.mark.parametrize(
    "source", [ip("fe80::5"), ip("2001:db8::5")], ids=["link-local", "multicast"]
)
def test_an_ipv6_multicast_instance_hears_by_its_interface(source: bytes) -> None:
    world = away(source=MULTICAST._replace(address=source), routed=False)
    world.judge()
    assert world.judge(PATIENCE) == []


def test_an_ipv6_unicast_instance_needs_its_address() -> None:
    world = away(source=UNICAST._replace(address=ip("2001:db8::5"), peers=(ip("2001:db8::6"),)))
    world.judge()
    assert world.judge(PATIENCE) == ["keepalived0"]
    world.addresses = [ip("2001:db8::5")]
    assert world.judge() == ["keepalived0"]
    assert world.hearing.down == {}


def test_nothing_is_asked_while_the_source_is_there() -> None:
    world = World(UNICAST)
    world.sync()
    assert world.judge() == []
    assert (world.kernel.asked, world.hearing.due) == (0, None)


@pytest.mark.parametrize("how", ["down", "missing"])
def test_an_uplink_that_keepalived_is_in_fault_for_sets_no_dummy_down(how: str) -> None:
    world = away(routed=False)
    world.up = False
    uplinks = {} if how == "missing" else world.uplinks()
    for _ in range(2):
        world.now += 1
        assert world.hearing.judge(uplinks, set(), set(), world.now) == []


def test_a_deaf_instance_has_a_moment_of_patience() -> None:
    """networkd takes the routes in a second step, and they are back at once."""
    world = away(routed=False)
    world.sync()
    assert world.judge() == []
    assert world.hearing.due == pytest.approx(world.now + PATIENCE)
    world.kernel.routed = True
    assert world.judge(PATIENCE / 2) == []
    world.kernel.routed = False
    assert world.judge() == []
    assert world.judge(PATIENCE) == ["keepalived0"]


def test_a_dummy_that_is_down_already_is_kept_down_at_once() -> None:
    world = away(routed=False)
    world.are_down = {"keepalived0"}
    assert world.judge() == ["keepalived0"]


def test_a_dummy_that_holds_a_vip_is_not_set_down_and_it_is_told_once() -> None:
    world = away(routed=False)
    world.in_use = {"keepalived0"}
    for _ in range(3):
        assert world.judge(1) == []
    assert world.kinds() == ["cannot-hear"]
    world.in_use = set()
    assert world.judge() == ["keepalived0"]


def test_it_ends_by_itself() -> None:
    """No event tells of rp_filter, a rule or arp_ignore: what is away is judged each second."""
    world = away(routed=False)
    world.sync()
    world.judge()
    world.judge(PATIENCE)
    assert world.hearing.due == world.now + 1
    world.kernel.routed = True
    assert world.judge(1) == ["keepalived0"]
    assert world.hearing.down == {}


def test_a_dummy_of_no_pinned_source_is_kept_down_no_more() -> None:
    world = away(routed=False)
    world.judge()
    world.judge(PATIENCE)
    world.hearing.load((), world.now)
    assert (world.hearing.down, world.hearing.undecided) == ({}, set())
    world.hearing.load((UNICAST,), world.now)
    assert world.hearing.undecided == {"keepalived0"}
    world.addresses = [OWN]
    world.judge()
    assert world.hearing.undecided == set()


def test_neighbours_of_a_source_stand_for_unknown_peers() -> None:
    """Any of them may be an address of this host, from which the kernel takes nothing: one is enough."""
    world = away(source=MULTICAST)
    ask = world.kernel.__call__

    def own(request: bytes) -> Message | None:
        return None if ip("192.0.2.4") in request else ask(request)

    world.hearing._ask = own
    world.judge()
    assert world.judge(PATIENCE) == []


def test_the_sources_of_an_uplink_are_those_that_need_its_routes() -> None:
    six = UNICAST._replace(address=ip("2001:db8::5"), uplink="ens4")
    world = World(UNICAST, six, MULTICAST._replace(address=ip("fe80::5")))
    assert world.hearing.of("ens3", netlink.AF_INET) == {OWN}
    assert world.hearing.of("ens3", netlink.AF_INET6) == set()
    assert world.hearing.of("ens4", netlink.AF_INET6) == {six.address}
