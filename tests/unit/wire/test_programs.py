# SPDX-License-Identifier: MIT
"""The wire's program put before those of others, and taken away where there are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keepalived_dummy import bpf, files, netlink, programs, tc, tcx
from keepalived_dummy.bpf import TCX_INGRESS, Program
from keepalived_dummy.wire import End, Joint, Wire, render

DUMMY = End("keepalived0", 7, "02:00:00:00:00:07")
UPLINK = End("e0", 3, "52:54:00:12:34:56")
JOINTS = (Joint(DUMMY, (UPLINK,)),)
NAMES = {3: "e0", 7: "keepalived0"}
NAME = tcx.name(tcx.instructions([(7, bytes.fromhex("020000000007"))], False))
CILIUM = Program(40, "cil_from_netdev")
NONE = frozenset[str]()


class Hook:
    """The hook of one uplink in a kernel; `may` says who asks: root, or one who is not told names, or nobody."""

    def __init__(self, *there: Program, may: str = "all", refuses: bool = False) -> None:
        self.there, self.may, self.refuses = list(there), may, refuses
        self.said: list[str] = []

    def programs(self, ifindex: int, hook: int) -> tuple[Program, ...]:
        if self.may == "nothing":
            raise PermissionError(1, "Operation not permitted")
        assert hook == TCX_INGRESS
        here = self.there if ifindex == UPLINK.index else []
        return tuple(Program(p.id, p.name if self.may == "all" else None) for p in here)

    def attach_first(self, ifindex: int, hook: int, instructions: bytes, name: str) -> None:
        if self.refuses:
            raise OSError(1, "Operation not permitted")
        assert (ifindex, tcx.name(instructions)) == (UPLINK.index, name)
        self.said.append("attached")
        self.there.insert(0, Program(100 + len(self.said), name))

    def detach(self, ifindex: int, hook: int, program: Program) -> None:
        assert ifindex == UPLINK.index
        self.said.append("detached")
        self.there.remove(program)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(files, "RUNTIME", str(tmp_path)[1:])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path


def use(monkeypatch: pytest.MonkeyPatch, hook: Hook) -> None:
    for name in ("programs", "attach_first", "detach"):
        monkeypatch.setattr(bpf, name, getattr(hook, name))


def a_pass(arp: frozenset[str] = NONE) -> tuple[programs.Result, list[str]]:
    """What a pass of apply does here, without its filters."""
    made = programs.put(JOINTS, arp)
    return made, [*made.changed, *programs.take(made, NAMES)]


def test_no_program_where_nobody_else_has_one(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, hook := Hook())
    assert a_pass() == (programs.Result(), [])
    assert (hook.said, list(host.iterdir())) == ([], [])


def test_before_those_of_others_and_the_filters_give_way(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, hook := Hook(CILIUM))
    made, said = a_pass()
    assert said == ["e0: wired by a program before cil_from_netdev"]
    assert [one.name for one in hook.there] == [NAME, "cil_from_netdev"]
    assert made.standing == programs.standing(JOINTS) == {UPLINK.index}
    wire = render(JOINTS, NONE, made.standing)
    assert {item.dev for item in wire.filters} == {"keepalived0"}
    assert (host / "tcx-3").read_text() == NAME
    again, said = a_pass()
    assert (again.standing, said, hook.said) == ({UPLINK.index}, [], ["attached"])


def test_one_that_came_before_ours_has_it_put_first_again(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, hook := Hook(Program(41, "first"), Program(39, NAME), CILIUM))
    a_pass()
    assert [one.name for one in hook.there] == [NAME, "first", "cil_from_netdev"]


def test_a_program_of_another_time_is_replaced(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new one is there before the old one goes."""
    use(monkeypatch, hook := Hook(CILIUM))
    a_pass()
    old = hook.there[0]
    a_pass(arp=frozenset(("e0",)))
    assert hook.said == ["attached", "attached", "detached"]
    assert old not in hook.there and len(hook.there) == 2


def test_it_goes_with_those_of_others_and_after_the_filters_are_there(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, hook := Hook(CILIUM))
    a_pass()
    hook.there.remove(CILIUM)
    made = programs.put(JOINTS, NONE)
    assert (made.standing, hook.said) == (set(), ["attached"])
    assert programs.take(made, NAMES) == ["e0: the wire's program taken away"]
    assert (hook.there, list(host.iterdir())) == ([], [])


@pytest.mark.parametrize("recorded", [True, False])
def test_a_removal_takes_it_away(
    host: Path, monkeypatch: pytest.MonkeyPatch, recorded: bool
) -> None:
    use(monkeypatch, hook := Hook(CILIUM))
    a_pass()
    if not recorded:
        (host / "tcx-3").unlink()
    said = programs.take(programs.Result(), NAMES, everywhere=True)
    assert said == ["e0: the wire's program taken away"]
    assert (hook.there, list(host.iterdir())) == ([CILIUM], [])


@pytest.mark.parametrize("may", ["nothing", "no names"])
def test_who_may_not_look_goes_by_what_root_left(
    host: Path, monkeypatch: pytest.MonkeyPatch, may: str
) -> None:
    """The daemon's pass leaves the program, and says where it is not the right one any more."""
    use(monkeypatch, hook := Hook(CILIUM))
    a_pass()
    hook.may = may
    made, said = a_pass()
    assert (made.standing, made.missing, said) == ({UPLINK.index}, [], [])
    made, _ = a_pass(arp=frozenset(("e0",)))
    assert made.standing == {UPLINK.index}
    assert made.missing == [
        "e0: the wire's program at its tcx hook is of another time; run keepalived-dummy apply as root"
    ]
    assert hook.said == ["attached"]
    (host / "tcx-3").unlink()
    assert a_pass() == (programs.Result(), [])


def test_a_user_does_not_ask_the_kernel(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Hook(CILIUM))
    a_pass()
    use(monkeypatch, Hook(may="nothing"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert programs.standing(JOINTS) == {UPLINK.index}


def test_a_kernel_that_takes_no_program_is_said_and_the_filters_stay(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Hook(CILIUM, refuses=True))
    made, said = a_pass()
    assert (made.standing, said) == (set(), [])
    assert made.missing == [
        "e0: the kernel takes no program of the wire at its tcx hook: Operation not permitted"
    ]


def test_a_program_that_somebody_took_away_is_seen(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, hook := Hook(CILIUM))
    a_pass()
    hook.there = [CILIUM]
    assert programs.standing(JOINTS) == set()
    a_pass()
    assert programs.standing(JOINTS) == {UPLINK.index}


def test_what_is_left_of_an_interface_that_is_gone_is_forgotten(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, Hook())
    for name in ("tcx-99", "tcx-x"):
        (host / name).write_text(NAME)
    a_pass()
    assert list(host.iterdir()) == []


def test_the_filters_that_give_way_are_said_to_and_their_qdisc_stays(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A qdisc that goes costs packets, and the filters may come back."""
    whole = render(JOINTS, NONE)
    found = [item for item in whole.filters if item.index == UPLINK.index]
    kinds = {"ipv6": 0x86DD, "802.1Q": 0x8100}
    there = tuple(
        in_kernel(item.index, item.pref, kinds[item.protocol], item.handle, item.cookie)
        for item in found
    )
    states = [tc.State({3: "clsact"}, there), tc.State({3: "clsact"}, ())]
    ran: list[str] = []
    monkeypatch.setattr(tc, "read", lambda: states.pop(0))

    def run(lines: list[str]) -> str:
        ran.extend(lines)
        return ""

    monkeypatch.setattr(tc, "_run", run)
    (host / "clsact-3").touch()
    wire = Wire("", (), frozenset((UPLINK.index,)))
    assert tc.sync(wire, NAMES).changed == ["e0: the wire's filters give way to its program"]
    assert not [line for line in ran if line.startswith("qdisc")]


def in_kernel(index: int, pref: int, protocol: int, handle: int, cookie: bytes) -> netlink.Filter:
    parent = netlink.CLSACT_INGRESS
    return netlink.Filter(index, parent, 0x80000000 + handle, pref, protocol, "u32", 0, (cookie,))
