# SPDX-License-Identifier: MIT
"""What adopt refuses, for what `check` would find afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from healthy import CONF, VIP4, VIP6, facts, link

from keepalived_dummy import adopt, evidence, foresight, links, listeners, observe, service, sysctls
from keepalived_dummy.adopt import Options, Voice
from keepalived_dummy.facts import ND, Facts, Front
from keepalived_dummy.interfaces import IFF_UP
from keepalived_dummy.keepalived import CONFIG
from keepalived_dummy.listeners import Listener
from keepalived_dummy.observe import Intent
from keepalived_dummy.observed import Unseen, Wire
from keepalived_dummy.rewrite import Rewrite, Vip
from keepalived_dummy.service import Service

MOVES = Vip("VI_1", "192.0.2.10", "ens3", "keepalived0")
STAYS = Vip("VI_1", "192.0.2.10", "keepalived0", "keepalived0")
SILENT = {("ipv4", "all", "arp_ignore"): 2}
GOOD, BAD = facts(), facts(settings=SILENT)


def rewrite(*vips: Vip, **confs: bytes) -> Rewrite:
    made = {f"/etc/keepalived-dummy.d/{stem}.conf": text for stem, text in confs.items()}
    return Rewrite({str(CONFIG): b""}, {str(CONFIG): CONF.encode()}, made, vips)


Given = Callable[[Facts, Facts], list[Intent | None]]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    """Has a host be so later and so now; what it was looked at with."""

    def give(later: Facts, now: Facts = GOOD) -> list[Intent | None]:
        looks: list[Intent | None] = []

        def gather(file: Path, probe: bool = False, intent: Intent | None = None) -> Facts:
            looks.append(intent)
            return later if intent else now

        monkeypatch.setattr(evidence, "gather", gather)
        return looks

    return give


PROGRAM = Front("ens3", 10, "bpf", "ARP", sure=False)
TCX = Front("ens3", 0, "tcx", ND, False, programs=("cil_from_netdev",))
ANNOUNCED = Front("keepalived0", 0, "tcx", "ARP", False, "egress", ("cil_to_netdev",))
PASSED = Wire(True, 9, frames_in=1)


@pytest.mark.parametrize(
    ("later", "now", "found"),
    [
        (GOOD, GOOD, []),
        (BAD, GOOD, ["arp-ignore"]),
        (BAD, BAD, []),  # another VIP suffers from it already
        (facts(settings=SILENT, seen_vips=()), GOOD, []),
        (facts(dummy_up=False, seen_vips=(VIP4,)), GOOD, []),  # apply sees to it
        (facts(addresses=frozenset()), GOOD, []),
        (facts(fronts=(Front("ens3", 10, "bpf", "ARP"),)), GOOD, ["filter-in-front"]),
        (facts(fronts=(PROGRAM,)), GOOD, ["filter-in-front"]),
        (facts(fronts=(TCX,)), GOOD, ["filter-in-front"]),
        (facts(fronts=(TCX,), dummy_wire=PASSED), GOOD, []),  # it lets the wire have its frames
        (facts(fronts=(TCX,), seen_vips=(VIP4,)), GOOD, []),  # nothing needs what it takes
        (facts(fronts=(ANNOUNCED,), seen_vips=(VIP4,)), GOOD, ["filter-in-front"]),
        (facts(fronts=(ANNOUNCED,), seen_vips=(VIP6,)), GOOD, []),
    ],
)
def test_what_the_move_would_bring(
    given: Given, tmp_path: Path, later: Facts, now: Facts, found: list[str]
) -> None:
    given(later, now)
    brought, unseen = foresight.look(tmp_path, CONFIG, rewrite(MOVES))
    assert ([one.name for one in brought], unseen) == (found, ())


def test_a_host_is_not_looked_at_where_nothing_moves(given: Given, tmp_path: Path) -> None:
    looks = given(BAD, GOOD)
    assert foresight.look(tmp_path, CONFIG, rewrite(STAYS)) == ((), ())
    assert looks == []


def test_the_host_as_it_is_to_be(given: Given, tmp_path: Path) -> None:
    """keepalived.conf rewritten, a conf still to be written."""
    there = tmp_path / "etc/keepalived-dummy.d"
    there.mkdir(parents=True)
    (there / "keepalived.conf").write_text("# all by default\n")
    (tmp_path / "etc/keepalived").mkdir()
    (tmp_path / "etc/keepalived/keepalived.conf").write_text("# as it is\n")
    looks = given(GOOD, GOOD)
    conf = b"[Interface]\nName=keepalived1\n\n[Uplink]\nName=ens4\n"
    foresight.look(tmp_path, CONFIG, rewrite(MOVES, **{"keepalived-ens4": conf}))
    (intent,) = looks
    assert intent is not None
    assert [vip.address for vip in intent.document.model.instances[0].vips] == [
        "192.0.2.10",
        "2001:db8::10",
    ]
    dummies = [(one.name, one.uplinks) for one in intent.config.dummies]
    assert dummies == [("keepalived0", ()), ("keepalived1", ("ens4",))]


def test_rules_that_cannot_be_read_are_said_and_nothing_else(given: Given, tmp_path: Path) -> None:
    rules = Unseen(evidence.RULESET, "nft is not there, or fails")
    state = Unseen("keepalived's state", "it does not tell")
    given(facts(unseen=(state, rules)), GOOD)
    assert foresight.look(tmp_path, CONFIG, rewrite(MOVES)) == ((), (rules,))


def test_a_dummy_that_is_to_be_made() -> None:
    host = links.Host({"ens3": link("ens3", 2), "keepalived0": link("keepalived0", 9, "dummy")}, ())
    made = observe._with_dummies(host, ["keepalived1", "keepalived2"])
    assert {name: it.ifindex for name, it in made.links.items()} == {
        "ens3": 2,
        "keepalived0": 9,
        "keepalived1": 10,
        "keepalived2": 11,
    }
    assert made.links["keepalived0"] == host.links["keepalived0"]
    assert made.links["keepalived2"].kind == "dummy"
    assert made.links["keepalived2"].flags & IFF_UP


@pytest.mark.parametrize(
    ("family", "key", "value"),
    [("ipv4", "arp_ignore", 1), ("ipv4", "rp_filter", 2), ("ipv4", "arp_filter", 7)],
)
def test_a_setting_of_a_dummy_that_is_to_be_made(
    monkeypatch: pytest.MonkeyPatch, family: str, key: str, value: int
) -> None:
    """Ours, else the kernel's default for new interfaces."""
    default = {("default", "arp_filter"): 7}
    monkeypatch.setattr(sysctls, "number", lambda _, name, key: default.get((name, key)))
    assert evidence._as_made(family, key) == value


@pytest.mark.parametrize("new", [True, False])
def test_a_setting_that_is_not_there_is_made_up_for_a_new_dummy_alone(
    monkeypatch: pytest.MonkeyPatch, new: bool
) -> None:
    """With an MTU below 1280 the kernel has none of IPv6 for an interface that is there."""
    host = links.Host({"keepalived0": link("keepalived0", 9, "dummy")}, ())
    names = frozenset(("keepalived0",)) if new else frozenset[str]()
    sources: Any = SimpleNamespace(host=host, new=names, found=SimpleNamespace(every=frozenset()))
    default = {("default", "disable_ipv6"): 0}
    monkeypatch.setattr(sysctls, "number", lambda _, name, key: default.get((name, key)))
    found = dict(evidence._Looking(sources, GOOD.seen).settings())
    assert (("ipv6", "keepalived0", "disable_ipv6") in found) is new


class Said:
    """What adopt says."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.wrong: list[str] = []
        self.voice = Voice(self.lines.append, self.wrong.append, lambda: True)


@pytest.fixture
def host(given: Given, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Intent | None]:
    """One whose VIPs would not be answered."""
    monkeypatch.setattr(adopt, "ROOT", tmp_path)
    monkeypatch.setattr(service, "find", lambda: Service(7, True))
    return given(BAD, GOOD)


def test_adopt_refuses_and_says_what_to_do(host: list[Intent | None]) -> None:
    said = Said()
    assert adopt._show(Options(), said.voice, rewrite(MOVES)) == adopt.REFUSED
    assert said.wrong[0].startswith("CRITICAL arp-ignore: net.ipv4.conf.all.arp_ignore keeps VIPs")
    assert "; mend: sysctl -w net.ipv4.conf.all.arp_ignore=1" in said.wrong[0]
    assert said.wrong[1:] == [
        "nothing is changed; mend these, or move the VIPs all the same with --no-check"
    ]
    assert said.lines == []


def test_adopt_does_so_all_the_same_where_it_is_told(host: list[Intent | None]) -> None:
    said = Said()
    assert adopt._show(Options(check=False), said.voice, rewrite(MOVES)) == adopt.TO_DO
    assert (said.wrong, host) == ([], [])


def test_in_a_chroot_the_network_is_not_this_systems(
    host: list[Intent | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "find", lambda: Service(0, False))
    said = Said()
    assert adopt._show(Options(), said.voice, rewrite(MOVES)) == adopt.TO_DO
    assert (said.wrong, host) == ([], [])


def test_adopt_says_who_listens_by_the_name_of_the_uplink(
    given: Given, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(adopt, "ROOT", tmp_path)
    monkeypatch.setattr(service, "find", lambda: Service(7, True))
    given(GOOD, GOOD)
    dns = Listener("dnsmasq", "udp", "192.0.2.10", "53")
    asked: list[object] = []

    def read(addresses: object) -> frozenset[Listener]:
        asked.append(addresses)
        return frozenset((dns,))

    monkeypatch.setattr(listeners, "read", read)
    said = Said()
    assert adopt._show(Options(), said.voice, rewrite(MOVES, STAYS)) == adopt.TO_DO
    assert said.lines[0].startswith("bound to VIPs that move: dnsmasq (udp 192.0.2.10:53)")
    assert asked == [{"192.0.2.10"}]
    monkeypatch.setattr(service, "find", lambda: Service(0, False))
    assert adopt._show(Options(), Said().voice, rewrite(MOVES)) == adopt.TO_DO
    assert len(asked) == 1  # in a chroot the sockets are not this system's


def test_adopt_says_that_it_could_not_look(host: list[Intent | None], given: Given) -> None:
    rules = Unseen(evidence.RULESET, "nft is not there, or fails")
    given(facts(unseen=(rules,)), GOOD)
    said = Said()
    assert adopt._show(Options(), said.voice, rewrite(MOVES)) == adopt.TO_DO
    assert said.lines[0] == "nftables' ruleset could not be looked at: nft is not there, or fails"
    assert said.wrong == []
