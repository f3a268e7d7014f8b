# SPDX-License-Identifier: MIT
"""What the daemon does when the host changes, told by messages as the kernel writes them."""

import struct
from dataclasses import dataclass, field
from typing import Any

import pytest

from keepalived_dummy import (
    filter_losses,
    heal,
    interfaces,
    managers,
    memory,
    netlink,
    policy_rules,
    routes,
    wire,
)
from keepalived_dummy.events import KINDS, Event
from keepalived_dummy.host import PREF, Edges, Host
from keepalived_dummy.interfaces import IFF_NOARP, IFF_RUNNING, IFF_UP, Address
from keepalived_dummy.netlink import AF_INET, AF_INET6, Message
from keepalived_dummy.plan import Dummy, Filter, PinnedSource, Plan
from keepalived_dummy.policy_rules import Rule
from keepalived_dummy.routes import Held, Route
from keepalived_dummy.wayout import WayOut

DUMMY, UPLINK = 5, 2
MAC = bytes.fromhex("02aabbccdd01")
OTHER = bytes.fromhex("02aabbccdd02")
VIP4, VIP6 = bytes([192, 0, 2, 10]), bytes.fromhex("fd" + 14 * "00" + "10")
OWN = bytes([192, 0, 2, 5])
ALIAS = "keepalived-dummy:keepalived"
PLAN = Plan((Dummy("keepalived0", 0, b"", True, True, ("ens3",), ALIAS),))
GOOD = IFF_UP | IFF_RUNNING


def link(ifindex: int, name: str, kind: str = "", gone: bool = False, **how: Any) -> Message:
    """With `flags`, `mac`, `mode`, `master` and `family` as they are of a link that is well."""
    pack = netlink.attribute
    body = struct.pack("=BxHiII", how.get("family", 0), 1, ifindex, how.get("flags", GOOD), 0)
    body += pack(3, name.encode() + b"\0") + pack(1, how.get("mac", MAC))
    if kind:
        body += pack(18, pack(1, kind.encode() + b"\0"))
    if "master" in how:
        body += pack(10, struct.pack("=I", how["master"]))
    body += pack(26, pack(AF_INET6, pack(8, bytes([how.get("mode", 1)]))))
    return Message(interfaces.RTM_DELLINK if gone else interfaces.RTM_NEWLINK, 0, 0, 0, body)


def dummy(ifindex: int = DUMMY, **how: Any) -> Message:
    return link(ifindex, "keepalived0", "dummy", **how)


def address(ifindex: int, value: bytes, length: int, proto: int = 0, gone: bool = False) -> Message:
    family = AF_INET if len(value) == 4 else AF_INET6
    body = struct.pack("=BBBBi", family, length, 0x80, 0, ifindex) + netlink.attribute(2, value)
    if proto:
        body += netlink.attribute(11, bytes([proto]))
    return Message(interfaces.RTM_DELADDR if gone else interfaces.RTM_NEWADDR, 0, 0, 0, body)


@dataclass
class World:
    sent: list[Message] = field(default_factory=list)
    wanted: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    ours: set[int] = field(default_factory=set)  # interfaces whose clsact is ours
    now: float = 100.0

    def __post_init__(self) -> None:
        edges = Edges(
            lambda data: self.sent.extend(netlink.messages(data)),
            self.want,
            self.said,
            lambda _: None,
            lambda _: None,
            lambda ifindex: ifindex in self.ours,
        )
        self.host = Host(edges)

    def want(self, reason: str, delay: float = 0.0) -> None:
        self.wanted.append(reason)
        self.delays.append(delay)

    def said(self, event: Event) -> None:
        """Each event has the fields that its kind promises."""
        assert {name for name, _ in event.fields} >= set(KINDS[event.kind].fields)
        self.lines.append(event.text)
        self.events.append(event)

    def tell(self, *messages: Message) -> list[Message]:
        """What was sent on them; a second goes by."""
        self.sent.clear()
        self.wanted.clear()
        for message in messages:
            self.host.message(message, self.now)
        self.now += 1
        return list(self.sent)


@pytest.fixture
def world() -> World:
    it = World()
    it.host.load(PLAN, it.now)
    it.host.picture([dummy(), link(UPLINK, "ens3", mac=OTHER)], [address(UPLINK, OWN, 24)], it.now)
    it.now += 1
    it.sent.clear()
    it.wanted.clear()
    return it


WRONG = {
    "down": dummy(flags=0),
    "noarp": dummy(flags=GOOD | IFF_NOARP),
    "addrgenmode": dummy(mode=0),
}


@pytest.mark.parametrize(("what", "message"), WRONG.items(), ids=WRONG)
def test_a_dummy_is_put_right(world: World, what: str, message: Message) -> None:
    assert b"".join(m.body for m in world.tell(message)) == b"".join(
        m.body for m in netlink.messages(interfaces.set_dummy("keepalived0"))
    )
    assert world.host.heals == {what: 1}
    assert world.wanted == [f"keepalived0: was {what}"]


def test_said_twice_it_is_put_right_once_and_looked_at_again(world: World) -> None:
    world.tell(dummy(flags=0), dummy(flags=0))
    assert world.host.heals == {"down": 1}
    assert world.host.resync == pytest.approx(world.now - 1 + 0.05)


def test_a_deleted_dummy_is_made_again_and_its_vips_are_seen(world: World) -> None:
    sent = world.tell(dummy(gone=True))
    assert interfaces.link(sent[0].body)[2:5] == ("keepalived0", "dummy", MAC)
    assert sent[0].flags & netlink.CREATE
    assert [interfaces.link(m.body).alias for m in sent] == ["", ALIAS, "", "", ""]
    assert world.host.heals == {"deleted": 1}
    world.tell(dummy(9, flags=IFF_NOARP, mode=0), dummy(9))
    world.tell(address(9, VIP6, 128))
    assert world.host.ways[UPLINK, AF_INET].held


def test_a_way_out_knows_whether_a_vip_needs_it(world: World) -> None:
    """Of whichever family, on a dummy of its uplink alone; where none is held it goes after ten seconds."""
    other = Dummy("keepalived1", 0, b"", True, True, ("ens4",), f"{ALIAS}1")
    world.host.load(Plan((*PLAN.dummies, other)), world.now)
    world.tell(link(7, "keepalived1", "dummy"), link(8, "ens4"))

    def held() -> list[bool]:
        return [world.host.ways[ifindex, AF_INET].held for ifindex in (UPLINK, 8)]

    assert held() == [False, False]
    world.tell(address(7, VIP6, 128))
    assert held() == [False, True]
    world.tell(address(DUMMY, VIP4, 32), address(7, VIP6, 128, gone=True))
    assert held() == [True, False]


def test_a_configured_mac_is_given_again(world: World) -> None:
    world.host.load(Plan((PLAN.dummies[0]._replace(mac=OTHER),)), world.now)
    assert interfaces.link(world.tell(dummy(gone=True))[0].body).mac == OTHER


def test_another_kind_of_link_is_left_alone(world: World) -> None:
    assert world.tell(dummy(gone=True))
    assert world.tell(link(9, "keepalived0", "bridge", flags=0)) == []
    assert "no dummy" in world.lines[-1]


def test_a_fight_is_not_fought_at_full_speed(world: World) -> None:
    for _ in range(300):
        world.host.message(dummy(flags=0), world.now)
        world.now += 0.06
    assert world.host.heals["down"] < 120
    assert world.host.resync is not None


def many(count: int, **how: Any) -> list[Message]:
    return [link(100 + n, f"many{n}", "dummy", **how) for n in range(count)]


def fight(world: World) -> None:
    """Somebody sets keepalived0 down again and again: at the end he was just answered, and is not at once."""
    for n in range(400):
        before = world.host.heals.get("down", 0)
        world.host.message(dummy(flags=0), world.now)
        world.now += 0.06
        if n > 300 and world.host.heals["down"] > before:
            return


def test_each_dummy_has_a_budget_of_its_own(world: World) -> None:
    """All that went down at once are up at once, whoever fights over one of them."""
    plan = Plan(tuple(PLAN.dummies[0]._replace(name=f"many{n}") for n in range(200)))
    world.host.load(Plan(PLAN.dummies + plan.dummies), world.now)
    world.host.picture([dummy(), *many(200)], [], world.now)
    fight(world)
    before = world.host.heals["down"]
    world.tell(*many(200, flags=0))
    assert world.host.heals["down"] == before + 200


def test_a_fight_puts_off_no_other_dummys_second_look(world: World) -> None:
    world.host.load(Plan((*PLAN.dummies, PLAN.dummies[0]._replace(name="many0"))), world.now)
    world.host.picture([dummy(), *many(1)], [], world.now)
    fight(world)
    world.host.resync = None
    for message in (*many(1, flags=0), *many(1, flags=0)):
        world.host.message(message, world.now)
    soon, healed = world.host.resync, world.host.heals["down"]
    world.host.message(dummy(flags=0), world.now)
    assert world.host.heals["down"] == healed, "it is answered a second later"
    assert world.host.resync == soon == pytest.approx(world.now + 0.05)


def test_a_bridge_port_message_is_no_link(world: World) -> None:
    assert world.tell(link(DUMMY, "keepalived0", gone=True, family=7)) == []


KERNEL_MADE = bytes.fromhex("fe8000000000000000aabbfffeccdd01")
LOCAL_VIP = bytes.fromhex("fe80" + 13 * "00" + "99")


def test_the_kernels_own_link_local_address_goes_and_no_other(world: World) -> None:
    assert world.tell(address(DUMMY, LOCAL_VIP, 128, proto=18)) == []
    sent = world.tell(address(DUMMY, KERNEL_MADE, 64, proto=3))
    assert [m.type for m in sent][-1] == interfaces.RTM_DELADDR
    assert interfaces.address(sent[-1].body).address == KERNEL_MADE
    for value, length in ((LOCAL_VIP, 64), (VIP4, 32), (VIP6, 128), (KERNEL_MADE, 64)):
        assert world.tell(address(DUMMY, value, length, proto=18 if length == 64 else 0)) == []


MADE = {
    "told": (Address(10, 5, 64, KERNEL_MADE, 0, 3), True, True),
    "told otherwise": (Address(10, 5, 64, KERNEL_MADE, 0, 0), True, False),
    "old kernel": (Address(10, 5, 64, KERNEL_MADE, 0, 0), False, True),
    "old kernel, a VIP": (Address(10, 5, 128, KERNEL_MADE, 0, 0), False, False),
    "old kernel, another": (Address(10, 5, 64, LOCAL_VIP, 0, 0), False, False),
    "IPv4": (Address(2, 5, 32, VIP4, 0, 0), False, False),
}


@pytest.mark.parametrize(("a", "told", "expected"), MADE.values(), ids=MADE)
def test_made_by_the_kernel(a: Address, told: bool, expected: bool) -> None:
    assert heal.made_by_kernel(a, MAC, told) is expected


EVENTS = {
    "another MAC": (link(UPLINK, "ens3", mac=MAC), "ens3: has another MAC"),
    "another VRF": (link(UPLINK, "ens3", mac=OTHER, master=30), "ens3: is in another VRF"),
    "deleted": (link(UPLINK, "ens3", gone=True), "ens3: gone"),
    "renamed": (link(UPLINK, "lan0", mac=OTHER), "ens3: gone"),
    "a new one": (link(7, "ens3", mac=OTHER), "ens3: there"),
}


@pytest.mark.parametrize(("message", "expected"), EVENTS.values(), ids=EVENTS)
def test_an_uplink_that_changes_is_wired_again(
    world: World, message: Message, expected: str
) -> None:
    world.tell(message)
    assert world.wanted == [expected]


def test_carrier_that_is_back_is_announced_after_the_pass(world: World) -> None:
    world.tell(address(DUMMY, VIP4, 32))
    world.tell(link(UPLINK, "ens3", mac=OTHER, flags=IFF_UP))
    assert world.wanted == []
    world.tell(link(UPLINK, "ens3", mac=OTHER))
    assert world.wanted == ["ens3: carrier is back"]
    assert world.sent == []
    world.host.announce()
    assert [interfaces.link(m.body)[:5] for m in world.sent] == [(DUMMY, 0, "", "", MAC)]
    world.sent.clear()
    world.host.announce()
    assert world.sent == []


def test_strangers_are_nobodys_business(world: World) -> None:
    assert world.tell(link(20, "veth1"), address(20, OWN, 24), link(20, "veth1", gone=True)) == []
    assert world.wanted == []


def test_the_way_out_end_to_end(world: World) -> None:
    way = world.host.ways[UPLINK, AF_INET]
    body = struct.pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 2, 253, 1, 0)
    body += netlink.attribute(1, bytes([192, 0, 2, 0])) + netlink.attribute(
        4, struct.pack("=I", UPLINK)
    )
    route = routes.route(body, UPLINK)
    assert route
    way.snapshot([route], world.now)
    (put,) = world.tell(address(UPLINK, OWN, 24, gone=True))
    assert routes.route(put.body, UPLINK) == route._replace(protocol=75, metric=60000)
    deleted = Message(routes.RTM_DELROUTE, 0, 0, 77, put.body)
    world.sent.clear()
    world.host.route(deleted, 77, world.now)
    assert world.sent == []
    world.host.route(deleted._replace(pid=78), 77, world.now)
    assert [m.body for m in world.sent] == [put.body]
    world.host.load(Plan(), world.now)
    assert world.sent[-1].type == routes.RTM_DELROUTE
    assert world.host.ways == {}


def hop(ifindex: int) -> bytes:
    return struct.pack("=HBBi", 8, 0, 0, ifindex)


THROUGH = {
    "one": (netlink.attribute(4, struct.pack("=i", 101)), 1, [101]),
    "none of them": (netlink.attribute(4, struct.pack("=i", 77)), 0, []),
    "several": (netlink.attribute(9, hop(102) + hop(77) + hop(103)), 200, [102, 103]),
}


@pytest.mark.parametrize(("how", "most", "dirty"), THROUGH.values(), ids=THROUGH)
def test_a_route_is_read_for_the_uplink_it_leads_through(
    world: World, how: bytes, most: int, dirty: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router has hundreds of VLANs, and a million routes that come and go."""
    world.host.ways = {(100 + n, AF_INET): WayOut(f"vlan{n}", AF_INET) for n in range(200)}
    world.host.dirty.clear()
    read: list[int] = []
    whole = routes.route

    def route(body: bytes, ifindex: int) -> Route | None:
        read.append(ifindex)
        return whole(body, ifindex)

    monkeypatch.setattr(routes, "route", route)
    body = struct.pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 186, 0, 1, 0)
    body += netlink.attribute(1, bytes([198, 51, 100, 0])) + how
    world.host.route(Message(routes.RTM_NEWROUTE, 0, 0, 99, body), 1, world.now)
    assert list(world.host.dirty) == [(ifindex, AF_INET) for ifindex in dirty]
    assert len(read) <= most


def filter_message(
    kind: int, ifindex: int = UPLINK, pref: int = PREF, name: bytes = b"u32"
) -> Message:
    body = struct.pack("=BxxxiIII", 0, ifindex, 1, netlink.CLSACT_INGRESS, pref << 16)
    return Message(kind, 0, 0, 0, body + netlink.attribute(1, name + b"\0"))


NEW, DEL = netlink.RTM_NEWTFILTER, netlink.RTM_DELTFILTER
FILTERS = {
    "ours deleted": (filter_message(DEL), False, True),
    "ours deleted while applying": (filter_message(DEL), True, True),
    "all deleted": (filter_message(DEL, pref=0), False, True),
    "ours changed": (filter_message(NEW), False, True),
    "put there by apply": (filter_message(NEW), True, False),
    "somebody else's": (filter_message(DEL, pref=1), False, False),
    "elsewhere": (filter_message(DEL, ifindex=33), False, False),
    "clsact gone": (filter_message(netlink.RTM_DELQDISC, pref=0, name=b"clsact"), False, True),
    "ingress gone": (filter_message(netlink.RTM_DELQDISC, pref=0, name=b"ingress"), False, True),
    "ingress there": (filter_message(netlink.RTM_NEWQDISC, pref=0, name=b"ingress"), False, True),
    "an action's message": (Message(48, 0, 0, 0, bytes(4)), False, False),
    "another qdisc": (filter_message(netlink.RTM_DELQDISC, pref=0, name=b"fq_codel"), False, False),
}


@pytest.mark.parametrize(("message", "applying", "expected"), FILTERS.values(), ids=FILTERS)
def test_filters(world: World, message: Message, applying: bool, expected: bool) -> None:
    world.host.tc(message, applying, world.now)
    assert bool(world.wanted) is expected


def test_lost_events_lead_to_a_full_pass(world: World) -> None:
    world.host.overrun(world.now)
    assert (world.host.resync, world.wanted) == (world.now, ["events were lost"])
    world.host.picture([link(UPLINK, "ens3", mac=OTHER)], [], world.now)
    assert world.host.heals == {"deleted": 1}
    assert [event.kind for event in world.events] == ["events-lost", "healed"]
    assert world.host.resync is None


COOKIES = [b"kdmy" + bytes([n]) * 12 for n in range(3)]
MENDED: dict[str, tuple[set[bytes], str]] = {
    "all went": (set(), "filter 0\nfilter 1\n"),
    "one went": ({COOKIES[0]}, "filter 1\n"),
    "beside somebody else's": ({COOKIES[0], b"theirs"}, "filter 1\n"),
    "none went": ({COOKIES[0], COOKIES[1]}, ""),
    "another pass was at work": ({COOKIES[0], COOKIES[2]}, ""),
}


@pytest.mark.parametrize(("present", "script"), MENDED.values(), ids=MENDED)
def test_what_went_is_put_back_by_tc_alone(world: World, present: set[bytes], script: str) -> None:
    filters = (
        Filter(DUMMY, "egress", COOKIES[0], "filter 0"),
        Filter(DUMMY, "ingress", COOKIES[1], "filter 1"),
        Filter(UPLINK, "ingress", b"kdmy" + b"9" * 12, "filter of the uplink"),
    )
    world.host.load(PLAN._replace(filters=filters), world.now)
    assert world.host.mend(DUMMY, present, False, 1.0) == script
    qdisc = "qdisc add dev keepalived0 clsact\n" if script else ""
    assert world.host.mend(DUMMY, present, True, 1.0) == qdisc + script
    assert world.host.mend(77, present, True, 1.0) == "", "an interface that is not there"


def test_a_filter_that_went_is_put_back_at_once(world: World) -> None:
    world.host.tc(filter_message(NEW), False, world.now)
    assert world.host.losses.due(world.now) == []
    world.host.tc(filter_message(DEL), False, world.now)
    assert world.host.losses.due(world.now) == [(UPLINK, False)]
    assert world.delays[-1] == 0


def qdisc(kind: int, name: bytes = b"clsact", ifindex: int = UPLINK, port: int = 0) -> Message:
    return filter_message(kind, ifindex, 0, name)._replace(pid=port)


NEWQ, DELQ = netlink.RTM_NEWQDISC, netlink.RTM_DELQDISC


@pytest.mark.parametrize(
    ("ifindex", "ours", "gap"),
    [
        (UPLINK, False, filter_losses.GAP),
        (UPLINK, True, filter_losses.GAP_OURS),
        (DUMMY, True, 0.0),
    ],
)
def test_who_took_a_qdisc_may_put_his_own_there_first(
    world: World, ifindex: int, ours: bool, gap: float
) -> None:
    """A shaper that restarts; a pass waits as long, for it would put ours there too."""
    world.ours = {ifindex} if ours else set()
    world.host.tc(qdisc(DELQ, ifindex=ifindex), False, world.now)
    assert world.delays[-1] == pytest.approx(gap)
    assert world.host.losses.deadline() == world.now + gap
    if gap:
        assert world.host.losses.due(world.now + gap - 0.01) == []
    assert world.host.losses.due(world.now + gap) == [(ifindex, True)]


def test_filters_go_into_the_qdisc_that_its_owner_puts_back(world: World) -> None:
    world.host.tc(qdisc(DELQ, b"ingress"), False, world.now)
    world.host.tc(qdisc(NEWQ, b"ingress"), False, world.now + 0.05)
    assert world.delays[-1] == 0
    assert world.host.losses.due(world.now + 0.05) == [(UPLINK, False)]
    assert world.host.losses.deadline() is None


def test_who_keeps_taking_them_is_told_once(world: World) -> None:
    world.host.load(PLAN._replace(filters=(Filter(UPLINK, "ingress", COOKIES[0], "filter 0"),)), 1)
    for n in range(6):
        for part in (n, n + 0.01):
            world.host.tc(filter_message(DEL)._replace(pid=4711), False, world.now + part)
            world.host.mend(UPLINK, set(), False, world.now + part)
    (told,) = world.events
    assert (told.kind, dict(told.fields)) == ("wire-fought", {"INTERFACE": "ens3", "PORT": "4711"})


def test_what_takes_nothing_of_ours_is_no_fight(world: World) -> None:
    """Another's filters go, all at once, or a pass takes its own."""
    world.host.load(PLAN._replace(filters=(Filter(UPLINK, "ingress", COOKIES[0], "filter 0"),)), 1)
    for n in range(6):
        world.host.tc(filter_message(DEL, pref=0), n % 2 == 0, world.now + n)
        world.host.mend(UPLINK, {COOKIES[0]}, False, world.now + n)
    assert world.events == []


def test_an_interface_that_is_gone_gets_nothing_back(world: World) -> None:
    world.host.tc(qdisc(DELQ), False, world.now)
    world.tell(link(UPLINK, "ens3", gone=True))
    assert world.host.losses.deadline() is None


def test_a_new_link_local_address_of_the_uplink_is_kept_from_the_dummies(world: World) -> None:
    """Told by the line of the plan's own wire, so this holds the template to what the host looks for."""
    local = bytes.fromhex("fe80000000000000505400fffe123456")
    uplink = wire.End("ens3", UPLINK, "52:54:00:12:34:56", (local.hex(),))
    made = wire.render((wire.Joint(wire.End("keepalived0", DUMMY, ""), (uplink,)),), frozenset())
    filters = tuple(Filter(f.index, f.direction, f.cookie, f.line) for f in made.filters)
    world.host.load(PLAN._replace(filters=filters), world.now)
    world.tell(address(UPLINK, local, 64))
    assert world.wanted == []
    world.tell(address(UPLINK, local[:15] + b"\x57", 64))
    assert world.wanted == ["ens3: has another link-local address"]
    world.tell(address(DUMMY, local[:15] + b"\x57", 128))
    assert world.wanted == [], "a VIP may be link-local"


ASTRAY = "keepalived0: is in another VRF than its uplink"


def test_a_dummy_that_is_taken_out_of_its_vrf_is_put_back(world: World) -> None:
    world.tell(link(UPLINK, "ens3", mac=OTHER, master=30))
    world.tell(dummy(master=30))
    assert world.wanted == []
    world.tell(dummy(master=31))
    assert world.wanted == [ASTRAY]
    world.tell(dummy())
    assert world.wanted == [ASTRAY]


def test_a_dummy_goes_to_its_vrf_once_it_holds_no_vip(world: World) -> None:
    world.tell(address(DUMMY, VIP4, 32), address(DUMMY, VIP6, 128))
    world.tell(address(DUMMY, VIP4, 32, gone=True), address(DUMMY, VIP6, 128, gone=True))
    assert world.wanted == [], "it is where its uplink is"
    world.tell(address(DUMMY, VIP4, 32), address(DUMMY, VIP6, 128))
    world.tell(link(UPLINK, "ens3", mac=OTHER, master=30))
    world.tell(address(DUMMY, VIP4, 32, gone=True))
    assert world.wanted == []
    world.tell(address(DUMMY, VIP6, 128, gone=True))
    assert world.wanted == [ASTRAY]


def test_a_deleted_dummy_is_made_again_in_its_vrf(world: World) -> None:
    """Else keepalived may have its VIPs there again before a pass could move it."""
    world.tell(link(UPLINK, "ens3", mac=OTHER, master=30), dummy(master=30))
    sent = world.tell(dummy(gone=True, master=30))
    assert interfaces.link(sent[0].body).master == 30
    world.tell(link(UPLINK, "ens3", mac=OTHER), dummy(9))
    sent = world.tell(dummy(9, gone=True))
    assert interfaces.link(sent[0].body).master == 0


def test_the_kernel_sets_a_dummy_down_to_move_it(world: World) -> None:
    world.tell(link(UPLINK, "ens3", mac=OTHER, master=30))
    there = dummy(master=30)
    assert world.tell(there, dummy(flags=0, master=30), there) == []
    assert world.host.heals == {}
    assert world.host.resync == pytest.approx(world.now - 1 + 0.05)
    world.tell(dummy(flags=0, master=30))
    assert world.host.heals == {"down": 1}


def test_a_dummy_that_goes_after_its_conf_is_not_made_again(world: World) -> None:
    world.host.stale = True
    assert world.tell(dummy(gone=True)) == []
    assert world.wanted == ["keepalived0: gone"]
    world.host.stale = False
    world.host.picture([link(UPLINK, "ens3", mac=OTHER)], [], world.now)
    assert world.host.heals == {"deleted": 1}


def vip(number: int, gone: bool = False) -> Message:
    return address(DUMMY, bytes([192, 0, 2, number]), 32, gone=gone)


def test_vips_that_come_and_go_together_are_one_event(world: World) -> None:
    world.host.join()
    world.events.clear()
    world.tell(*(vip(n) for n in range(10, 22)), address(DUMMY, VIP6, 128))
    assert world.events == []
    world.host.join()
    (came,) = world.events
    assert came.kind == "vip-held"
    assert came.text.startswith("keepalived0: holds 192.0.2.10, 192.0.2.11, ")
    assert came.text.endswith(" and 3 more")
    assert [value for name, value in came.fields if name == "VIP"] == [
        *(f"192.0.2.{n}" for n in range(10, 22)),
        "fd00::10",
    ]
    world.events.clear()
    world.tell(vip(10, gone=True), vip(11, gone=True), vip(11), vip(30), vip(30, gone=True))
    world.host.join()
    held, gone = world.events
    assert (held.text, gone.text) == (
        "keepalived0: holds 192.0.2.11",
        "keepalived0: holds no more 192.0.2.10, 192.0.2.30",
    )
    world.host.join()
    assert len(world.events) == 2


def test_a_thousand_vips_are_one_event_that_a_datagram_holds(world: World) -> None:
    world.tell(*(address(DUMMY, bytes([198, 51, n // 256, n % 256]), 32) for n in range(1000)))
    world.events.clear()
    world.host.join()
    (came,) = world.events
    assert came.text.endswith(" and 990 more")
    assert len(came.fields) == 201


def test_what_is_announced_names_vips_and_uplinks(world: World) -> None:
    world.host.announced("keepalived0")
    world.host.announced("another")
    assert [e.kind for e in world.events if e.kind == "announced"] == []
    world.tell(vip(10))
    world.host.announced("keepalived0")
    assert world.events[-1].fields == (
        ("DUMMY", "keepalived0"),
        ("UPLINK", "ens3"),
        ("VIP", "192.0.2.10"),
    )


# Pinned sources

PEER = bytes([192, 0, 2, 6])
SOURCE = PinnedSource("VI_1", "ens3", OWN, (PEER,), ("keepalived0",), True, 255, 1)
PINNED = PLAN._replace(sources=(SOURCE,))


def pinned(*addresses: Message, flags: int = GOOD) -> World:
    """A world whose kernel answers to no question: what is away is not heard."""
    it = World()
    it.host.load(PINNED, it.now)
    it.host.picture([dummy(flags=flags), link(UPLINK, "ens3")], list(addresses), it.now)
    return it


def hear(world: World) -> list[Message]:
    world.sent.clear()
    world.host.hear(world.now)
    return list(world.sent)


def set_up(messages: list[Message]) -> list[bool]:
    """Whether each change of a link's IFF_UP sets it up."""
    found = [m.body[8:16] for m in messages if m.type == interfaces.RTM_NEWLINK]
    return [bool(body[0] & IFF_UP) for body in found if body[4] & IFF_UP]


def test_a_source_is_held_from_the_first_moment_on() -> None:
    world = pinned(address(UPLINK, OWN, 24))
    assert [routes.held(m.body) for m in hear(world)] == [Held(OWN)]


def test_a_new_dummy_stays_down_until_its_instance_is_known_to_hear() -> None:
    world = pinned(address(UPLINK, OWN, 24), flags=0)
    assert set_up(world.sent) == []
    assert set_up(hear(world)) == [True]


def test_a_dummy_is_set_down_while_its_instance_cannot_hear_and_up_again() -> None:
    world = pinned(address(UPLINK, OWN, 24))
    assert set_up(hear(world)) == []
    world.tell(address(UPLINK, OWN, 24, gone=True))
    assert world.host.hearing.due is not None
    hear(world)
    world.now += 1
    assert set_up(hear(world)) == [False]
    assert set_up(world.tell(dummy(flags=0))) == []  # it is meant so, and not put right
    assert world.host.heals == {}
    world.tell(dummy(flags=GOOD))  # somebody sets it up
    assert set_up(hear(world)) == [False]
    world.tell(dummy(flags=0))
    world.tell(address(UPLINK, OWN, 24))
    assert set_up(hear(world)) == [True]
    kinds = [event.kind for event in world.events]
    assert [k for k in kinds if k in ("kept-down", "hears-again")] == ["kept-down", "hears-again"]


def test_a_dummy_that_holds_a_vip_is_never_set_down() -> None:
    world = pinned(address(UPLINK, OWN, 24), address(DUMMY, VIP4, 32))
    world.tell(address(UPLINK, OWN, 24, gone=True))
    for _ in range(3):
        world.now += 1
        assert set_up(hear(world)) == []
    assert "cannot-hear" in [event.kind for event in world.events]
    world.tell(address(DUMMY, VIP4, 32, gone=True))
    assert world.host.hearing.due is not None
    assert set_up(hear(world)) == [False]


def test_a_dummy_that_is_deleted_while_it_is_kept_down_is_made_down() -> None:
    world = pinned(address(UPLINK, OWN, 24))
    world.tell(address(UPLINK, OWN, 24, gone=True))
    hear(world)
    world.now += 1
    hear(world)
    assert set_up(world.tell(dummy(gone=True))) == []


def test_the_next_run_knows_what_this_one_did() -> None:
    world = pinned(address(UPLINK, OWN, 24))
    hear(world)
    way = world.host.ways[UPLINK, AF_INET]
    made = Route(2, routes.Key(254, PEER, 32, 0), 4, 0, 9, UPLINK, OWN, b"", b"")
    way.snapshot([made], world.now)
    world.tell(address(UPLINK, OWN, 24, gone=True))
    hear(world)
    world.now += 1
    hear(world)
    kept = memory.pack(world.host)

    other = World()
    other.host.recall(*memory.unpack(kept))
    other.host.load(PINNED, other.now)
    other.host.picture([dummy(flags=0), link(UPLINK, "ens3")], [], other.now)
    assert set_up([*other.sent, *hear(other)]) == []
    assert other.host.hearing.seen == {("ens3", OWN)}
    assert "kept-down" not in [event.kind for event in other.events]
    other.host.ways[UPLINK, AF_INET].snapshot([], other.now)
    assert other.host.ways[UPLINK, AF_INET].routes == (made,)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"\xff", b"[" * 100000, b'{"seen": [["a"]], "down": {}, "routes": []}'],
)
def test_a_memory_of_another_version_is_none(content: bytes) -> None:
    assert memory.unpack(content) == (set(), {}, {})


def test_vrrp_may_run_on_another_interface_than_the_vips_are_reached_over() -> None:
    """[Uplink] Name= names that of the clients; the adverts need the routes of the other one."""
    world = World()
    world.host.load(PINNED._replace(sources=(SOURCE._replace(uplink="ens4"),)), world.now)
    links = [dummy(), link(UPLINK, "ens3"), link(9, "ens4")]
    world.host.picture(links, [address(9, OWN, 24)], world.now)
    assert (9, AF_INET) in world.host.ways
    assert set_up(hear(world)) == []
    world.tell(address(9, OWN, 24, gone=True))
    hear(world)
    world.now += 1
    assert set_up(hear(world)) == [False]


# What the kernel refuses, and rules

DEFAULT = Route(
    2, routes.Key(254, bytes(4), 0, 0), 16, 0, 100, UPLINK, b"", OWN, netlink.attribute(5, OWN)
)


def test_the_place_of_a_route_that_the_kernel_refused_is_read_again(world: World) -> None:
    world.tell(address(DUMMY, VIP4, 32))
    way = world.host.ways[UPLINK, AF_INET]
    way.snapshot([DEFAULT], world.now)
    (put,) = world.tell(address(UPLINK, OWN, 24, gone=True))
    assert way.placed == 1
    world.host.dirty.clear()
    world.host.refused(put.seq, 101, world.now)
    assert way.placed == 0
    assert list(world.host.dirty) == [(UPLINK, AF_INET)]
    assert world.now < world.host.dirty[UPLINK, AF_INET] < world.now + 0.1
    world.host.dirty.clear()
    world.host.refused(put.seq + 1000, 101, world.now)
    assert world.host.dirty == {}


@pytest.mark.parametrize("port", [1, 77])
def test_a_rule_that_networkd_takes_is_put_back(
    world: World, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(managers, "is_manager", lambda port: port == 1)
    world.host.ways[UPLINK, AF_INET].snapshot([DEFAULT], world.now)
    gone = Rule(AF_INET, 254, 300, 4, bytes((AF_INET, 0, 0, 0, 0, 0, 0, 1)) + bytes(4))
    gone = gone._replace(selector=gone.selector + netlink.attribute(15, struct.pack("=I", 254)))
    (asked,) = netlink.messages(policy_rules.put(gone))
    world.sent.clear()
    for kind in (policy_rules.RTM_DELRULE, policy_rules.RTM_NEWRULE):
        world.host.rule(Message(kind, 0, 0, port, asked.body), 4, world.now)
    ours = policy_rules.copy(gone)
    wanted = (
        [(policy_rules.RTM_NEWRULE, ours), (policy_rules.RTM_DELRULE, ours)] if port == 1 else []
    )
    assert [(m.type, policy_rules.rule(m.body)) for m in world.sent] == wanted
    world.host.rule(Message(policy_rules.RTM_DELRULE, 0, 0, port, asked.body), port, world.now)
    assert len(world.sent) == len(wanted), "what the daemon itself asked for"
