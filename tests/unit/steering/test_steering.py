# SPDX-License-Identifier: MIT
"""Rules that networkd takes, against a small model of the kernel's list."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepalived_dummy import managers, netlink, policy_rules, routes
from keepalived_dummy.events import Event
from keepalived_dummy.netlink import AF_INET, AF_INET6
from keepalived_dummy.policy_rules import RTM_DELRULE, RTM_NEWRULE, Rule
from keepalived_dummy.steering import GRACE, Steering

NETWORKD, SOMEBODY = 1, 4711
STATIC, UNSPECIFIED, BOOT = (
    4,
    0,
    3,
)  # protocols of a rule: networkd's, of `ip rule add`, of other tools
TABLE = 101


def made(
    priority: int, table: int = TABLE, protocol: int = STATIC, source: str = "192.0.2.10"
) -> Rule:
    """`from SOURCE lookup TABLE`, as a dump of Linux 6.18 has it."""
    family = AF_INET6 if ":" in source else AF_INET
    packed = socket.inet_pton(family, source)
    small = table if table < 256 else 252
    body = struct.pack("=BBBBBBBBI", family, 0, 8 * len(packed), 0, small, 0, 0, 1, 0)
    for kind, data in (
        (15, struct.pack("=I", table)),
        (14, b"\xff" * 4),
        (6, struct.pack("=I", priority)),
        (21, bytes([protocol])),
        (2, packed),
    ):
        body += netlink.attribute(kind, data)
    found = policy_rules.rule(body)
    assert found is not None
    return found


class Kernel:
    """The list of rules, and who looks after it."""

    def __init__(self, *there: Rule, held: bool = True) -> None:
        self.there, self.held, self.now = list(there), held, 100.0
        self.events: list[Event] = []
        self.it = Steering(self.events.append)

    def send(self, data: bytes) -> None:
        for m in netlink.messages(data):
            r = policy_rules.rule(m.body)
            assert r is not None
            if m.type == RTM_DELRULE:
                if r in self.there:
                    self.there.remove(r)
            elif (r.priority, r.selector) not in [(o.priority, o.selector) for o in self.there]:
                self.there.append(r)

    def tell(self, kind: int, r: Rule, port: int = NETWORKD) -> None:
        if kind == RTM_NEWRULE:
            self.send(self.it.added(r))
        else:
            self.send(self.it.deleted(r, port, {254, TABLE}, self.held, self.now))

    def delete(self, r: Rule, port: int = NETWORKD) -> None:
        self.there.remove(r)
        self.tell(RTM_DELRULE, r, port)

    def add(self, r: Rule) -> None:
        self.send(policy_rules.put(r))
        self.tell(RTM_NEWRULE, r)

    def wait(self, seconds: float, in_use: frozenset[int] = frozenset()) -> None:
        self.now += seconds
        due = self.it.deadline()
        if due is not None and self.now >= due:
            self.send(self.it.tick(in_use, self.now))


@pytest.fixture(autouse=True)
def _managers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(managers, "is_manager", lambda port: port == NETWORKD)


@pytest.mark.parametrize("source", ["192.0.2.10", "2001:db8::10"])
@pytest.mark.parametrize("table", [TABLE, 254])
def test_a_rule_that_networkd_takes_is_back_at_once(source: str, table: int) -> None:
    """Up to systemd 256, at a reconfigure: the table was full, and no rule led to it."""
    own = made(1000, table, source=source)
    kernel = Kernel(own, held=False)
    kernel.delete(own)
    assert kernel.there == [own._replace(priority=1001, protocol=75)]
    assert [e.kind for e in kernel.events] == ["rule-put-back"]
    kernel.add(own)
    assert kernel.there == [own]
    assert kernel.it.deadline() is None


def test_networkd_adds_its_own_beside_ours() -> None:
    """The kernel refuses a rule of one priority and selector, whatever its protocol; networkd takes that for success."""
    own = made(1000)
    kernel = Kernel(own)
    kernel.delete(own)
    kernel.send(policy_rules.put(own))
    assert own in kernel.there


@pytest.mark.parametrize(
    ("priority", "expected"), [(1000, 1001), (32765, 32764), (32766, 32767), (0, 1)]
)
def test_ours_has_the_next_priority_but_comes_before_the_main_table(
    priority: int, expected: int
) -> None:
    assert policy_rules.copy(made(priority)).priority == expected


def test_a_rule_that_an_admin_deletes_stays_deleted() -> None:
    own = made(1000)
    kernel = Kernel(own)
    kernel.delete(own, SOMEBODY)
    assert kernel.there == []


def test_a_rule_that_leads_elsewhere_is_left_alone() -> None:
    own = made(1000, table=7)
    kernel = Kernel(own)
    kernel.delete(own)
    assert kernel.there == []


def test_a_rule_that_networkd_takes_for_good_is_let_go() -> None:
    own = made(1000)
    kernel = Kernel(own)
    kernel.delete(own)
    kernel.wait(GRACE - 1)
    assert len(kernel.there) == 1
    kernel.wait(2)
    assert kernel.there == []


def test_ours_stays_while_routes_of_the_way_out_are_in_its_table() -> None:
    own = made(1000)
    kernel = Kernel(own)
    kernel.delete(own)
    for _ in range(10):
        kernel.wait(GRACE + 1, frozenset((TABLE,)))
        assert len(kernel.there) == 1
    kernel.wait(GRACE + 1)
    assert kernel.there == []


@pytest.mark.parametrize("protocol", [UNSPECIFIED, BOOT, routes.KEEPALIVED])
@pytest.mark.parametrize("held", ["held", "not held", "went"])
def test_a_rule_of_a_script_is_restored_where_a_vip_is_held(protocol: int, held: str) -> None:
    """networkd drops rules of others, to whatever table, and nobody runs the script again."""
    theirs = made(500, table=7, protocol=protocol)
    kernel = Kernel(theirs, held=held != "not held")
    kernel.delete(theirs)
    assert kernel.there == ([] if held == "not held" else [policy_rules.copy(theirs)])
    if held == "went":
        kernel.it.vips(False)
    kernel.wait(GRACE + 1)
    assert kernel.there == ([theirs] if held == "held" else [])


def test_a_rule_of_a_script_beside_one_of_networkd() -> None:
    """Both lead the same packets to the same table, with priorities of their own."""
    own, theirs = made(300), made(500, protocol=UNSPECIFIED)
    kernel = Kernel(own, theirs)
    kernel.delete(own)
    kernel.delete(theirs)
    kernel.add(own)
    kernel.wait(GRACE + 1)
    assert kernel.there == [own, theirs]


def test_networkd_gives_its_rule_another_priority() -> None:
    own = made(32765)
    kernel = Kernel(own)
    kernel.delete(own)
    again = own._replace(priority=32763)
    kernel.add(again)
    assert kernel.there == [again]


def test_ours_that_networkd_drops_as_foreign_is_back_but_not_for_ever() -> None:
    own = made(1000)
    kernel = Kernel(own)
    kernel.delete(own)
    times = 0
    while kernel.there and times < 1000:
        kernel.delete(kernel.there[0])
        times += 1
    assert 100 < times < 1000
    assert kernel.it.deadline() is None


def test_what_an_earlier_run_left_goes() -> None:
    own = made(1000)
    left = policy_rules.copy(made(2000, source="192.0.2.11"))
    kernel = Kernel(own, policy_rules.copy(own), left)
    kernel.send(kernel.it.picture(list(kernel.there), kernel.now))
    assert kernel.there == [own, left]
    kernel.wait(GRACE + 1)
    assert kernel.there == [own]


def test_lost_events() -> None:
    """Ours that went is back, and goes where the own one has come back unseen."""
    first, second = made(1000), made(1010, source="192.0.2.11")
    kernel = Kernel(first, second)
    kernel.delete(first)
    kernel.delete(second)
    kernel.there = [policy_rules.copy(first), first]
    kernel.send(kernel.it.picture(list(kernel.there), kernel.now))
    assert kernel.there == [first, policy_rules.copy(second)]


@pytest.mark.parametrize("in_use", [True, False])
def test_a_stop_leaves_what_leads_to_routes_that_stay(in_use: bool) -> None:
    own = made(1000)
    kernel = Kernel(own)
    kernel.delete(own)
    kernel.send(kernel.it.stop({TABLE} if in_use else set()))
    assert len(kernel.there) == in_use


def test_a_rule_is_sent_whole() -> None:
    own = made(1000, table=70000)
    (m,) = netlink.messages(policy_rules.put(own))
    assert policy_rules.rule(m.body) == own
    assert struct.unpack_from("=BBBBBBBBI", m.body)[7] == 1, "FR_ACT_TO_TBL"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_rule_or_a_clear_error(data: bytes) -> None:
    try:
        policy_rules.rule(data)
    except netlink.Malformed as problem:
        assert "bytes" in str(problem)
