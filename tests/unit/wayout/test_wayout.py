# SPDX-License-Identifier: MIT
"""The way out against a small model of the kernel's table: what is lost, what is left, what is fought."""

import socket
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepalived_dummy import netlink, routes
from keepalived_dummy.netlink import AF_INET, AF_INET6
from keepalived_dummy.routes import Key, Route
from keepalived_dummy.wayout import BRIDGE, GRACE, SETTLE, UNHELD, WARN, WayOut

IFINDEX = 7


def route(text: str, protocol: int = 4, metric: int = 100, table: int = 254) -> Route:
    """'192.0.2.0/24' or 'default via 192.0.2.1'."""
    destination, _, gateway = text.partition(" via ")
    family = AF_INET6 if ":" in text else AF_INET
    if destination == "default":
        destination = "::/0" if family == AF_INET6 else "0.0.0.0/0"
    network, length = destination.split("/")
    via = socket.inet_pton(family, gateway) if gateway else b""
    key = Key(table, socket.inet_pton(family, network), int(length), 0)
    extra = netlink.attribute(5, via) if via else b""
    scope = 0 if via else 253
    return Route(family, key, protocol, scope, metric, IFINDEX, b"", via, extra)


NET, DEFAULT, STATIC = map(
    route, ("192.0.2.0/24", "default via 192.0.2.1", "198.51.100.0/24 via 192.0.2.1")
)
OWN = [NET, DEFAULT, STATIC]
ADDRESS = bytes([192, 0, 2, 5])


@dataclass
class Uplink:
    """An uplink with its routes, as the kernel keeps them, and its way out."""

    way: WayOut = field(default_factory=lambda: WayOut("ens3", AF_INET))
    table: list[Route] = field(default_factory=list)
    now: float = 100.0
    refuses: dict[tuple[Key, int], int] = field(default_factory=dict)  # key and metric: errno
    pauses: list[float] = field(default_factory=list)

    def do(self, data: bytes) -> None:
        for message in netlink.messages(data):
            r = routes.route(message.body, IFINDEX)
            assert r is not None
            same = [o for o in self.table if (o.key, o.metric) == (r.key, r.metric)]
            if message.type == routes.RTM_NEWROUTE and (r.key, r.metric) in self.refuses:
                pause = self.way.refused(message.seq, self.refuses[r.key, r.metric])
                self.pauses += [] if pause is None else [pause]
            elif message.type == routes.RTM_NEWROUTE and not same:
                self.table.append(r)
            elif message.type == routes.RTM_DELROUTE:
                self.table = [o for o in self.table if o not in same or o.protocol != 75]

    def read(self) -> None:
        self.do(self.way.snapshot(list(self.table), self.now))

    def gain(self, address: bytes = ADDRESS, length: int = 24) -> None:
        self.do(self.way.address_added(address, length, self.now))

    def lose(self, address: bytes = ADDRESS, length: int = 24) -> None:
        """The kernel flushes first: its message comes before, but it holds the lock until it has done so."""
        self.table = []
        self.do(self.way.address_removed(address, length, self.now))

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        for _ in range(20):
            due = self.way.deadline()
            if due is None or due > until:
                break
            self.now = max(self.now, due)
            self.do(self.way.tick(self.now))
        self.now = until

    def reached(self) -> set[Key]:
        return {r.key for r in self.table}

    def ours(self) -> set[Key]:
        return {r.key for r in self.table if r.protocol == 75}


KEYS = {r.key for r in OWN}
OTHER = bytes([203, 0, 113, 5])


@pytest.fixture
def uplink() -> Uplink:
    it = Uplink()
    it.gain()
    it.table = list(OWN)
    it.read()
    it.way.vips(True, it.now)
    return it


def test_routes_are_put_back_at_once_and_go_with_the_uplinks_own(uplink: Uplink) -> None:
    uplink.lose()
    assert uplink.ours() == KEYS
    uplink.gain()
    for r in OWN:
        assert uplink.reached() == KEYS
        uplink.table.append(r)
        uplink.read()
    assert uplink.reached() == KEYS
    assert uplink.ours() == set()
    assert uplink.way.since is None
    assert uplink.way.deadline() is None


def test_a_route_networkd_took_just_before_the_address_is_put_back(uplink: Uplink) -> None:
    uplink.table = [NET]
    uplink.read()
    uplink.wait(SETTLE / 2)
    uplink.lose()
    assert uplink.ours() == KEYS


def test_a_route_the_manager_takes_is_put_back_before_the_address_goes(uplink: Uplink) -> None:
    uplink.table = [NET, STATIC]
    uplink.do(uplink.way.taken(DEFAULT, uplink.now))
    uplink.read()
    assert uplink.ours() == {DEFAULT.key}
    uplink.lose()
    assert uplink.ours() == KEYS
    uplink.gain()
    uplink.table += [NET, STATIC]
    uplink.read()
    uplink.wait(GRACE - 1)
    assert uplink.ours() == {DEFAULT.key}


def test_a_route_the_manager_takes_for_good_is_let_go(uplink: Uplink) -> None:
    uplink.table = [NET, STATIC]
    uplink.do(uplink.way.taken(DEFAULT, uplink.now))
    uplink.read()
    uplink.wait(BRIDGE + 0.1)
    assert uplink.table == [NET, STATIC]
    uplink.lose()
    assert uplink.ours() == {NET.key, STATIC.key}


def test_a_route_an_admin_deleted_stays_deleted(uplink: Uplink) -> None:
    uplink.table = [NET, STATIC]
    uplink.read()
    assert uplink.ours() == set()
    uplink.wait(SETTLE + 1)
    uplink.lose()
    assert uplink.ours() == KEYS - {DEFAULT.key}


def test_a_second_round_before_the_first_has_settled(uplink: Uplink) -> None:
    uplink.lose()
    uplink.gain()
    uplink.table.append(NET)
    uplink.read()
    uplink.lose()
    assert uplink.ours() == KEYS


def test_what_does_not_come_back_is_forgotten(uplink: Uplink) -> None:
    uplink.lose()
    uplink.gain()
    uplink.table.append(NET)
    uplink.read()
    uplink.wait(GRACE - 1)
    assert uplink.ours() == KEYS - {NET.key}
    uplink.wait(2)
    assert uplink.table == [NET]
    uplink.lose()
    assert uplink.ours() == {NET.key}


def test_another_network_wins(uplink: Uplink) -> None:
    """Its routes by their metric at once; ours go soon."""
    uplink.lose()
    uplink.gain(OTHER)
    new = route("203.0.113.0/24")
    uplink.table.append(new)
    uplink.read()
    uplink.wait(SETTLE - 0.1)
    assert uplink.ours() == KEYS
    uplink.wait(0.2)
    assert uplink.table == [new]
    uplink.wait(SETTLE + 1)
    uplink.lose(OTHER)
    assert uplink.ours() == {new.key}
    assert [e.kind for e in uplink.way.log].count("way-out-moves") == 1


def test_a_new_static_address_is_there_before_that_of_dhcp(uplink: Uplink) -> None:
    """networkd sets static addresses while the DHCP client still asks; netplan had given the uplink one more."""
    uplink.lose()
    uplink.gain(OTHER)
    uplink.wait(SETTLE - 1)
    uplink.gain()
    uplink.wait(GRACE - 1)
    assert uplink.ours() == KEYS
    uplink.table += OWN
    uplink.read()
    assert uplink.ours() == set()


def as_read(r: Route) -> Route:
    """The route as a dump has it."""
    (message,) = netlink.messages(routes.restore(r))
    found = routes.route(message.body, IFINDEX)
    assert found is not None
    return found


def keepalived_s(uplink: Uplink) -> Route:
    """A route of keepalived's, there as well."""
    r = as_read(route("203.0.113.64/26 via 192.0.2.1", protocol=routes.KEEPALIVED, metric=0))
    uplink.table.append(r)
    uplink.read()
    return r


@pytest.mark.parametrize("held", [True, False])
def test_a_route_of_keepalived_is_restored_as_it_was(uplink: Uplink, held: bool) -> None:
    """It is not told of the flush that took it, and nobody else sets it again."""
    uplink.do(uplink.way.vips(held, uplink.now))
    theirs = keepalived_s(uplink)
    uplink.lose()
    assert theirs.key in uplink.ours()
    uplink.gain()
    uplink.table.append(NET)
    uplink.read()
    assert theirs in uplink.table
    uplink.table += [DEFAULT, STATIC]
    uplink.read()
    assert (uplink.ours(), uplink.way.since) == (set(), None)
    assert sorted(uplink.table) == sorted([*OWN, theirs])


ENETUNREACH, EEXIST = 101, 17


def lose_theirs(uplink: Uplink) -> Route:
    """A route of keepalived's that goes with the address; the kernel does not take it back."""
    theirs = keepalived_s(uplink)
    uplink.refuses[theirs.key, theirs.metric] = ENETUNREACH
    uplink.lose()
    uplink.gain()
    uplink.table += OWN
    uplink.read()
    return theirs


def test_ours_stay_until_keepalived_s_own_route_is_there(uplink: Uplink) -> None:
    """The kernel refused it, and ours went ten seconds later all the same: it was lost for good."""
    theirs = lose_theirs(uplink)
    assert uplink.pauses, "it is tried again"
    assert (uplink.ours(), theirs in uplink.table) == ({theirs.key}, False)
    uplink.wait(GRACE + 100)
    uplink.read()
    assert uplink.ours() == {theirs.key}
    assert [e.text for e in uplink.way.log if e.kind == "way-out-waits"] == [
        "ens3: keepalived's own routes are still away (Network is unreachable); 1 route of the way out stay"
        " in their place"
    ]
    uplink.refuses.clear()
    uplink.read()
    uplink.read()
    assert theirs in uplink.table
    assert (uplink.ours(), uplink.way.since) == (set(), None)


def test_ours_do_not_stay_for_keepalived_s_route_where_the_vips_went(uplink: Uplink) -> None:
    lose_theirs(uplink)
    uplink.do(uplink.way.vips(False, uplink.now))
    uplink.wait(GRACE + 1)
    uplink.read()
    assert (uplink.ours(), uplink.way.since) == (set(), None)


def test_both_of_two_metrics_are_restored(uplink: Uplink) -> None:
    first = keepalived_s(uplink)
    second = as_read(first._replace(metric=20, whole=b""))
    uplink.table.append(second)
    uplink.read()
    uplink.lose()
    uplink.gain()
    uplink.table += OWN
    uplink.read()
    assert {first, second} <= set(uplink.table)
    uplink.read()
    assert (uplink.ours(), uplink.way.since) == (set(), None)
    assert set(uplink.way.routes) == {*OWN, first, second}


def script_s(uplink: Uplink) -> Route:
    """A route that a notify_master script has added."""
    r = as_read(route("203.0.113.128/25 via 192.0.2.1", protocol=routes.BOOT, metric=0))
    uplink.table.append(r)
    uplink.read()
    return r


@pytest.mark.parametrize("taken", [False, True], ids=["flushed", "taken by networkd"])
def test_a_route_of_a_script_is_restored_when_nobody_else_does(uplink: Uplink, taken: bool) -> None:
    """Nothing changes for keepalived, so it does not run its script again."""
    theirs = script_s(uplink)
    if taken:
        uplink.table.remove(theirs)
        uplink.do(uplink.way.taken(theirs, uplink.now))
    else:
        uplink.lose()
        uplink.gain()
        uplink.table += OWN
    uplink.read()
    assert uplink.ours() == {theirs.key}
    assert theirs not in uplink.table, "who sets it may do so first"
    uplink.wait((BRIDGE if taken else GRACE) + 0.1)
    uplink.read()
    assert theirs in uplink.table
    assert (uplink.ours(), uplink.way.since) == (set(), None)


@pytest.mark.parametrize("gone", ["no VIP", "VIP went", "deleted before", "set by another"])
def test_a_route_of_a_script_is_not_restored(uplink: Uplink, gone: str) -> None:
    if gone == "no VIP":
        uplink.do(uplink.way.vips(False, uplink.now))
    theirs = script_s(uplink)
    if gone == "deleted before":
        uplink.table.remove(theirs)
        uplink.read()
    uplink.lose()
    if gone == "VIP went":
        uplink.do(uplink.way.vips(False, uplink.now))
    uplink.gain()
    uplink.table += OWN
    if gone == "set by another":
        uplink.table.append(theirs._replace(metric=5, whole=b""))
    uplink.read()
    uplink.wait(GRACE + 1)
    uplink.read()
    assert theirs not in uplink.table


# The metric, and what the kernel refuses


def test_ours_come_right_after_the_uplinks_own(uplink: Uplink) -> None:
    """Another uplink's default had a metric between its own and 60000, and took all replies of the VIP."""
    connected = NET._replace(metric=0)
    uplink.table = [connected, DEFAULT, STATIC._replace(metric=1024)]
    uplink.read()
    uplink.lose()
    assert [(r.key, r.metric) for r in uplink.table] == [
        (NET.key, 1),
        (STATIC.key, 1025),
        (DEFAULT.key, 101),
    ]


def test_without_a_vip_any_other_route_wins(uplink: Uplink) -> None:
    """The replies that need them are none, and the host's own packets have another uplink."""
    uplink.do(uplink.way.vips(False, uplink.now))
    uplink.lose()
    assert [r.metric for r in uplink.table] == [60000] * 3
    uplink.do(uplink.way.vips(True, uplink.now))
    assert [r.metric for r in uplink.table] == [101] * 3
    uplink.do(uplink.way.vips(False, uplink.now))
    assert [r.metric for r in uplink.table] == [60000] * 3
    uplink.wait(UNHELD + 1)
    assert uplink.table == []


def test_what_the_kernel_refused_is_not_counted_and_sent_again(uplink: Uplink) -> None:
    uplink.refuses[DEFAULT.key, 101] = ENETUNREACH
    uplink.lose()
    assert (uplink.way.placed, len(uplink.pauses)) == (2, 1)
    for _ in range(12):
        uplink.read()
    assert uplink.pauses == sorted(uplink.pauses)
    assert uplink.pauses[-1] == 1.0, "seconds at the most"
    uplink.refuses.clear()
    uplink.read()
    assert (uplink.way.placed, uplink.ours()) == (3, KEYS)


@pytest.mark.parametrize("family", [AF_INET, AF_INET6])
def test_another_route_has_the_metric(family: int) -> None:
    """The kernel has ours before that route in IPv4. In IPv6 it would make one multipath route of both."""
    it = Uplink(WayOut("ens3", family))
    default = route("default via 192.0.2.1" if family == AF_INET else "default via fe80::1")
    it.gain()
    it.table = [default]
    it.read()
    it.way.vips(True, it.now)
    it.refuses[default.key, 101] = EEXIST
    it.lose()
    it.read()
    if family == AF_INET:
        assert (it.way.placed, it.pauses) == (1, [])
        return
    assert [(r.key, r.metric) for r in it.table] == [(default.key, 99)]
    assert it.way.placed == 1
    it.gain()
    it.table.append(default)
    it.read()
    assert it.table == [default]


def test_ours_of_another_uplink_has_the_metric() -> None:
    """Two IPv6 defaults of one metric, both away: neither is to win over the other's own when that is back."""
    default = route("default via fe80::1", metric=1024)
    first, second = (Uplink(WayOut(name, AF_INET6)) for name in ("ens3", "ens4"))
    for it in (first, second):
        it.gain()
        it.table = [default]
        it.read()
        it.way.vips(True, it.now)
    first.lose()
    (put,) = netlink.messages(second.way.address_removed(ADDRESS, 24, second.now))
    assert second.way.refused(put.seq, EEXIST, (first.way, second.way)) is not None
    second.table = []
    second.read()
    assert [r.metric for r in second.table] == [1026]


def test_ours_stay_where_the_kernel_shows_them_in_other_words(uplink: Uplink) -> None:
    """Of some metrics it shows other ones than it was given. Put again and then taken they were gone."""
    uplink.lose()
    uplink.table = [
        r._replace(extra=r.extra + netlink.attribute(8, bytes(8))) for r in uplink.table
    ]
    uplink.read()
    assert uplink.ours() == KEYS


def test_of_two_of_ours_one_stays(uplink: Uplink) -> None:
    """A put was answered with EEXIST though it was there, or an earlier version left one."""
    uplink.lose()
    left = next(r for r in uplink.table if r.key == DEFAULT.key)._replace(metric=60000)
    uplink.table.insert(0, left)
    uplink.read()
    assert sorted(r.metric for r in uplink.table) == [101] * 3


def test_a_route_that_replaced_ours_and_is_gone(uplink: Uplink) -> None:
    """`ip route replace` through another uplink takes ours where both have one metric."""
    uplink.lose()
    uplink.gain()
    uplink.table = [r for r in uplink.table if r.key != DEFAULT.key]
    uplink.read()
    assert uplink.ours() == KEYS


@pytest.mark.parametrize("before", [True, False])
def test_a_route_of_keepalived_is_left_to_it_when_the_vips_came_or_went(
    uplink: Uplink, before: bool
) -> None:
    """It takes its virtual_routes away, or sets them, itself."""
    uplink.do(uplink.way.vips(before, uplink.now))
    theirs = keepalived_s(uplink)
    uplink.lose()
    uplink.do(uplink.way.vips(not before, uplink.now))
    uplink.gain()
    uplink.table += OWN
    uplink.read()
    uplink.wait(GRACE + 1)
    assert theirs not in uplink.table


def test_a_route_of_keepalived_that_it_deleted_is_not_restored(uplink: Uplink) -> None:
    theirs = keepalived_s(uplink)
    uplink.table.remove(theirs)
    uplink.read()
    uplink.lose()
    uplink.gain()
    uplink.table += OWN
    uplink.read()
    uplink.wait(GRACE + 1)
    assert theirs not in uplink.table
    assert uplink.ours() == set()


def test_another_prefix_length_is_no_loss(uplink: Uplink) -> None:
    """`ip address add X/25; ip address del X/24` changes a netmask without a gap."""
    uplink.gain(ADDRESS, 25)
    uplink.table.append(route("192.0.2.0/25"))
    named = route("203.0.113.0/24 via 192.0.2.1")._replace(source=ADDRESS)
    uplink.table.append(named)  # the address is the host's still
    uplink.read()
    uplink.table.remove(NET)
    uplink.do(uplink.way.address_removed(ADDRESS, 24, uplink.now))
    assert uplink.ours() == {
        NET.key
    }  # its network alone: whether the admin wants it back is not known
    uplink.wait(GRACE + 1)
    assert uplink.ours() == set()
    uplink.lose(ADDRESS, 25)
    assert DEFAULT.key in uplink.ours()
    assert uplink.way.since is not None


def test_an_uplink_that_never_had_an_address_has_lost_none() -> None:
    """Of IPv6 it may have a link-local one alone, and an IPv4 one may be unnumbered."""
    it = Uplink(WayOut("ens3", AF_INET6))
    net = route("fd98::/64")
    it.table = [net]
    it.read()
    it.way.vips(True, it.now)
    it.table = []
    it.read()
    it.wait(WARN + 1)
    assert (it.table, it.way.since, it.way.log) == ([], None, [])


ROUTER = route("default via fe80::1", protocol=9)


def link_local_alone() -> Uplink:
    """An uplink that has its IPv6 default route from a router, and no IPv6 address but a link-local one."""
    it = Uplink(WayOut("ens3", AF_INET6), [ROUTER])
    it.do(it.way.vips(True, it.now))
    it.read()
    return it


@pytest.mark.parametrize("back", [True, False])
def test_an_uplink_without_an_address_is_bridged_and_no_more(back: bool) -> None:
    """networkd takes the router's route, and has it back or not: no address is awaited, none is ever to come."""
    it = link_local_alone()
    it.table.remove(ROUTER)
    it.do(it.way.taken(ROUTER, it.now))
    assert it.ours() == {ROUTER.key}
    if back:
        it.table.append(ROUTER)
    it.read()
    assert (it.way.since is None) == back
    it.wait(60)
    it.read()
    assert it.way.since is None
    assert it.ours() == set()
    assert it.reached() == ({ROUTER.key} if back else set())
    assert [e.kind for e in it.way.log] == ["way-out-begins", "way-out-ends"]


def test_ours_on_an_uplink_without_an_address_go_with_the_daemon() -> None:
    it = link_local_alone()
    it.table.remove(ROUTER)
    it.do(it.way.taken(ROUTER, it.now))
    assert it.ours() == {ROUTER.key}
    it.do(it.way.stop())
    assert it.ours() == set()


def test_routes_that_come_and_go_on_an_uplink_without_an_address_are_forgotten() -> None:
    it = link_local_alone()
    for number in range(9):
        it.table = [ROUTER, route(f"fd{number:02}::/48 via fe80::1")]
        it.read()
        it.wait(10)
    assert it.way.known == 2


def test_a_route_changed_by_hand_meanwhile_wins(uplink: Uplink) -> None:
    uplink.lose()
    other = route("default via 192.0.2.254", metric=0)
    uplink.table.append(other)
    uplink.read()
    assert uplink.ours() == KEYS - {DEFAULT.key}
    assert other in uplink.table
    uplink.gain()
    uplink.table += [NET, STATIC]
    uplink.read()
    uplink.lose()
    (again,) = (r for r in uplink.table if r.key == DEFAULT.key)
    assert again.gateway == other.gateway


def test_it_stays_while_the_address_stays_away_and_warns_once(uplink: Uplink) -> None:
    uplink.lose()
    uplink.read()
    uplink.wait(WARN + 1000)
    assert uplink.ours() == KEYS
    assert [e.text for e in uplink.way.log if e.kind == "way-out-stays"] == [
        "ens3: still without an IPv4 address of its own; 3 routes of the way out stay, so that VIPs are"
        " reached and VRRP is heard. Is the DHCP server gone, has the lease run out? See 'networkctl status ens3'"
    ]


def test_without_a_vip_it_ends_and_a_vip_brings_it_back(uplink: Uplink) -> None:
    uplink.do(uplink.way.vips(False, uplink.now))
    uplink.lose()
    uplink.wait(UNHELD - 1)
    assert uplink.ours() == KEYS
    uplink.wait(2)
    assert uplink.table == []
    uplink.do(uplink.way.vips(True, uplink.now))
    assert uplink.ours() == KEYS
    uplink.wait(100)
    assert uplink.ours() == KEYS


def test_a_vip_lost_meanwhile_leaves_ten_seconds(uplink: Uplink) -> None:
    uplink.lose()
    uplink.wait(60)
    uplink.do(uplink.way.vips(False, uplink.now))
    uplink.wait(UNHELD - 1)
    assert uplink.ours() == KEYS
    uplink.wait(2)
    assert uplink.table == []


def test_a_route_of_ours_that_is_deleted_is_put_back_but_not_for_ever(uplink: Uplink) -> None:
    uplink.lose()
    (ours,) = (r for r in uplink.table if r.key == DEFAULT.key)
    for _ in range(1000):
        uplink.table.remove(ours)
        uplink.do(uplink.way.deleted(ours, uplink.now))
        if ours not in uplink.table:
            break
    else:
        pytest.fail("it goes on for ever")
    assert "over and over" in uplink.way.log[-1].text


def test_a_deleted_route_that_is_not_needed_stays_deleted(uplink: Uplink) -> None:
    assert uplink.way.deleted(route("default via 192.0.2.1", protocol=75), uplink.now) == b""


def test_a_link_that_goes_down_ends_it(uplink: Uplink) -> None:
    uplink.lose()
    uplink.table = []
    uplink.do(uplink.way.link(False, uplink.now))
    assert uplink.way.since is None
    assert uplink.way.address_removed(ADDRESS, 24, uplink.now) == b""
    assert uplink.way.deadline() is None


def test_an_address_that_goes_with_a_link_that_is_down_is_not_answered(uplink: Uplink) -> None:
    uplink.do(uplink.way.link(False, uplink.now))
    uplink.lose()
    assert uplink.table == []


def test_one_of_several_addresses_takes_its_network_only() -> None:
    it = Uplink(WayOut("ens3", AF_INET6))
    first, second = (socket.inet_pton(AF_INET6, a) for a in ("fd00::5", "fd01::5"))
    a, b = route("fd00::/64"), route("fd01::/64")
    it.gain(first, 64)
    it.gain(second, 64)
    it.table = [a, b]
    it.read()
    it.table = [b]
    it.do(it.way.address_removed(first, 64, it.now))
    assert (it.ours(), it.reached()) == ({a.key}, {a.key, b.key})
    it.wait(GRACE + 1)
    assert it.table == [b]


def test_a_second_address_of_the_same_network_needs_nothing() -> None:
    it = Uplink()
    it.gain()
    it.gain(bytes([192, 0, 2, 6]))
    it.table = list(OWN)
    it.read()
    assert it.way.address_removed(ADDRESS, 24, it.now) == b""


def test_leftovers_of_a_run_that_was_killed_are_cleaned() -> None:
    it = Uplink()
    it.gain()
    it.table = [*OWN, *(r._replace(protocol=75, metric=60000) for r in OWN)]
    it.read()
    assert it.table == OWN


def test_leftovers_that_are_still_needed_are_taken_over() -> None:
    it = Uplink()
    left = [r._replace(protocol=75, metric=60000) for r in OWN]
    it.table = list(left)
    it.read()
    assert it.ours() == KEYS
    it.gain()
    it.table += OWN
    it.read()
    assert it.table == OWN


@pytest.mark.parametrize("address", [True, False])
def test_a_stop_leaves_only_what_is_needed(uplink: Uplink, address: bool) -> None:
    uplink.lose()
    if address:
        uplink.gain()
    uplink.do(uplink.way.stop())
    assert uplink.ours() == (set() if address else KEYS)


def test_the_best_of_several_routes_is_kept() -> None:
    it = Uplink()
    it.gain()
    it.table = [NET, route("default via 192.0.2.9", metric=200), DEFAULT]
    it.read()
    it.lose()
    assert [r.gateway[-1] for r in it.table if r.key == DEFAULT.key] == [1]


def test_connected_routes_come_first(uplink: Uplink) -> None:
    sent = list(netlink.messages(uplink.way.address_removed(ADDRESS, 24, 0)))
    found = [routes.route(m.body, IFINDEX) for m in sent]
    assert [r.key for r in found if r] == [NET.key, STATIC.key, DEFAULT.key]
    assert {(r.protocol, r.metric) for r in found if r} == {(75, 101)}


ACTIONS = st.lists(
    st.sampled_from(
        ["lose", "gain", "own", "read", "other", "down", "up", "vip", "no vip", "wait"]
    ),
    max_size=30,
)


@given(ACTIONS)
def test_whatever_happens_nothing_is_left_once_all_is_well(actions: list[str]) -> None:
    it = Uplink()
    it.gain()
    it.table = list(OWN)
    it.read()
    for action in actions:
        it.now += 0.05
        match action:
            case "lose":
                it.lose()
            case "gain":
                it.gain()
            case "own":
                it.table += [r for r in OWN if r not in it.table]
            case "read":
                it.read()
            case "other":
                it.gain(OTHER)
            case "down" | "up":
                it.table = [] if action == "down" else it.table
                it.do(it.way.link(action == "up", it.now))
            case "vip" | "no vip":
                it.do(it.way.vips(action == "vip", it.now))
            case "wait":
                it.wait(20)
    it.do(it.way.link(True, it.now))
    it.gain()
    it.do(it.way.address_removed(OTHER, 24, it.now))
    it.table += [r for r in OWN if r not in it.table]
    it.read()
    it.wait(30)
    it.read()
    assert [r for r in it.table if r.protocol == 75] == []
    assert it.way.since is None
    it.lose()
    assert it.ours() >= KEYS


# Pinned sources

PINNED = frozenset((ADDRESS,))


def test_a_backup_with_a_pinned_source_keeps_its_routes(uplink: Uplink) -> None:
    """It needs them to hear its MASTER where rp_filter is on, however long the address is away."""
    uplink.way.vips(False, uplink.now)
    uplink.do(uplink.way.pin(PINNED, uplink.now))
    uplink.lose()
    uplink.wait(100 * UNHELD)
    assert uplink.ours() == KEYS
    uplink.do(uplink.way.pin(frozenset(), uplink.now))
    uplink.wait(UNHELD - 1)
    assert uplink.ours() == KEYS
    uplink.wait(2)
    assert uplink.ours() == set()


@pytest.mark.parametrize("held", [True, False])
def test_an_uplink_that_comes_up_without_its_address_has_its_routes(
    uplink: Uplink, held: bool
) -> None:
    """A cable that was out: the address goes while the link is down, and the DHCP server is slow."""
    uplink.way.vips(held, uplink.now)
    uplink.do(uplink.way.pin(frozenset() if held else PINNED, uplink.now))
    uplink.table = []
    uplink.do(uplink.way.link(False, uplink.now))
    uplink.do(uplink.way.address_removed(ADDRESS, 24, uplink.now))
    uplink.wait(60)
    assert uplink.ours() == set()
    uplink.do(uplink.way.link(True, uplink.now))
    assert uplink.ours() == KEYS


def test_without_vip_and_pinned_source_it_has_none(uplink: Uplink) -> None:
    uplink.way.vips(False, uplink.now)
    uplink.table = []
    uplink.do(uplink.way.link(False, uplink.now))
    uplink.do(uplink.way.address_removed(ADDRESS, 24, uplink.now))
    uplink.do(uplink.way.link(True, uplink.now))
    assert uplink.ours() == set()


def test_a_source_that_is_pinned_while_the_address_is_away_brings_it_back(uplink: Uplink) -> None:
    uplink.way.vips(False, uplink.now)
    uplink.lose()
    uplink.wait(UNHELD + 1)
    assert uplink.ours() == set()
    uplink.do(uplink.way.pin(PINNED, uplink.now))
    assert uplink.ours() == KEYS


def test_the_network_of_a_pinned_source_stays_beside_another_one(uplink: Uplink) -> None:
    """DHCP gives an address of another network: the peers of the pinned source are in its own."""
    uplink.do(uplink.way.pin(PINNED, uplink.now))
    uplink.lose()
    uplink.gain(OTHER)
    uplink.table.append(route("203.0.113.0/24"))
    uplink.read()
    uplink.wait(SETTLE + 1)
    assert uplink.ours() == {NET.key}
    uplink.wait(1000)
    uplink.read()
    assert uplink.ours() == {NET.key}
    assert uplink.way.stop() == b""  # the next start takes it over
    uplink.gain()
    uplink.table.append(NET)
    uplink.read()
    assert uplink.ours() == set()
    assert uplink.way.since is None


def test_the_network_goes_once_another_source_is_pinned(uplink: Uplink) -> None:
    uplink.do(uplink.way.pin(PINNED, uplink.now))
    uplink.lose()
    uplink.gain(OTHER)
    uplink.wait(SETTLE + 1)
    uplink.do(uplink.way.pin(frozenset((OTHER,)), uplink.now))
    uplink.wait(GRACE + 1)
    assert uplink.ours() == set()
    assert uplink.way.since is None


def test_the_network_is_put_back_whole_when_the_other_one_goes_too(uplink: Uplink) -> None:
    uplink.do(uplink.way.pin(PINNED, uplink.now))
    uplink.lose()
    uplink.gain(OTHER)
    uplink.wait(SETTLE + 1)
    uplink.lose(OTHER)
    uplink.read()
    assert uplink.ours() == KEYS


@pytest.mark.parametrize("address", [False, True], ids=["away", "there"])
def test_what_an_earlier_run_knew_is_put_back_where_the_address_is_away(address: bool) -> None:
    """It was killed, and networkd took the address and then the routes before this one ran."""
    uplink = Uplink()
    uplink.way.pin(PINNED, uplink.now)
    uplink.way.remember(OWN)
    if address:
        uplink.gain()
        uplink.table = [NET]
    uplink.read()
    assert uplink.ours() == (set() if address else KEYS)
    assert set(uplink.way.routes) == ({NET} if address else set(OWN))
