# SPDX-License-Identifier: MIT
"""Filters put right one by one, and the clsact taken away with the last of them where it is not needed again soon."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from keepalived_dummy import apply, files, links, modules, netlink, tc
from keepalived_dummy.config import Config, Dummy
from keepalived_dummy.interfaces import Link
from keepalived_dummy.keepalived import Memory, read_from
from keepalived_dummy.wire import End, Filter, Joint, Wire, render

CONF = "/etc/keepalived/keepalived.conf"
TEXT = b"vrrp_instance A {\n interface e0\n}\nvrrp_instance B {\n interface $WHICH\n}\n"


@pytest.mark.parametrize(
    ("kept", "removed"),
    [
        ((), ["qdisc del dev e0 clsact", "qdisc del dev e1 clsact"]),
        ((3,), ["qdisc del dev e1 clsact"]),
    ],
)
def test_clsact_goes_unless_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: tuple[int, ...], removed: list[str]
) -> None:
    monkeypatch.setattr(files, "RUNTIME", str(tmp_path)[1:])
    ran: list[str] = []
    monkeypatch.setattr(tc, "_run", ran.extend)
    for index in (3, 4, 5):
        (tmp_path / f"clsact-{index}").touch()
    state = tc.State({3: "clsact", 4: "clsact", 5: "ingress", 6: "clsact"}, ())
    tc._remove_clsact(state, {3: "e0", 4: "e1", 5: "e2", 6: "e3"}, kept)
    assert sorted(ran) == removed
    assert {path.name for path in tmp_path.iterdir()} == {f"clsact-{index}" for index in kept}


def test_a_clsact_in_whose_place_another_put_an_ingress_is_ours_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though our filters are in it: the daemon gives its owner longer to put it back."""
    monkeypatch.setattr(files, "RUNTIME", str(tmp_path)[1:])
    ran: list[str] = []
    monkeypatch.setattr(tc, "_run", ran.extend)
    (tmp_path / "clsact-3").touch()
    state = tc.State({3: "ingress"}, (there(SOLICITATIONS, 0x80000001),))
    tc._remove_clsact(state, {3: "e0"}, (3,))
    assert (ran, list(tmp_path.iterdir())) == ([], [])


@pytest.mark.parametrize(
    ("dummies", "found"),
    [
        ((), set()),
        ((Dummy("a", "/a", "a"),), {3}),
        ((Dummy("a", "/a", "a", uplinks=("e1",)),), set()),
        ((Dummy("a", "/a", "a", wire=False),), set()),
    ],
)
def test_an_interface_of_keepalived_conf_may_be_wired_again(
    dummies: tuple[Dummy, ...], found: set[int]
) -> None:
    both = {n: Link(i, 0x43, n, "", b"", 1500, 1, "", 1) for i, n in ((3, "e0"), (4, "e1"))}
    host = links.Host(both, ())
    assert apply._candidates(Config(dummies), read_from(Memory({CONF: TEXT}), CONF), host) == found


DUMMY = End("keepalived0", 7, "02:00:00:00:00:07")
UPLINK = End("e0", 3, "52:54:00:12:34:56")
WIRE = render((Joint(DUMMY, (UPLINK,)),), frozenset())
SOLICITATIONS, ADVERTISEMENTS, *TAGGED = (
    item for item in WIRE.filters if item.index == UPLINK.index
)


def there(item: Filter, handle: int, cookie: bytes = b"") -> netlink.Filter:
    parent = netlink.CLSACT_INGRESS if item.direction == "ingress" else netlink.CLSACT_EGRESS
    protocol = {"ipv6": 0x86DD, "arp": 0x0806, "802.1Q": 0x8100}[item.protocol]
    cookies = (cookie or item.cookie,)
    return netlink.Filter(item.index, parent, handle, item.pref, protocol, "u32", 0, cookies)


@pytest.mark.parametrize(
    ("on_uplink", "script"),
    [
        ([there(SOLICITATIONS, 0x80000800), there(ADVERTISEMENTS, 0x80000801)], []),
        ([there(SOLICITATIONS, 0x80000800)], [ADVERTISEMENTS.line]),
        ([there(ADVERTISEMENTS, 0x80000801)], [SOLICITATIONS.line]),
        (  # one of them is of another state: it alone goes
            [
                there(SOLICITATIONS, 0x80000800),
                there(ADVERTISEMENTS, 0x80000801, b"kdmy of old times"),
            ],
            [
                "filter del dev e0 ingress pref 19268 protocol ipv6 handle 800:0:801 u32",
                ADVERTISEMENTS.line,
            ],
        ),
        (  # both are: the preference goes as a whole, once
            [
                there(SOLICITATIONS, 0x80000800, b"kdmy of old times"),
                there(ADVERTISEMENTS, 0x80000801, b"kdmy of old timer"),
            ],
            [
                "filter del dev e0 ingress pref 19268 protocol ipv6",
                SOLICITATIONS.line,
                ADVERTISEMENTS.line,
            ],
        ),
        (  # another's is between them and stays
            [
                there(SOLICITATIONS, 0x80000800, b"kdmy of old times"),
                there(SOLICITATIONS, 0x80000801, b"somebody else's"),
                there(ADVERTISEMENTS, 0x80000802),
            ],
            [
                "filter del dev e0 ingress pref 19268 protocol ipv6 handle 800:0:800 u32",
                SOLICITATIONS.line,
            ],
        ),
        (  # each is there twice: the second of each goes
            [
                there(SOLICITATIONS, 0x80000800),
                there(ADVERTISEMENTS, 0x80000801),
                there(SOLICITATIONS, 0x80000802),
                there(ADVERTISEMENTS, 0x80000803),
            ],
            [
                "filter del dev e0 ingress pref 19268 protocol ipv6 handle 800:0:802 u32",
                "filter del dev e0 ingress pref 19268 protocol ipv6 handle 800:0:803 u32",
            ],
        ),
        (  # somebody changed ours, and with that took its cookie
            [
                there(SOLICITATIONS, 0x80000000 + SOLICITATIONS.handle, b"-"),
                there(ADVERTISEMENTS, 0x80000000 + ADVERTISEMENTS.handle),
            ],
            [
                "filter del dev e0 ingress pref 19268 protocol ipv6 handle 800:0:1 u32",
                SOLICITATIONS.line,
            ],
        ),
        (  # an old one is there twice: the preference goes, once
            [
                there(SOLICITATIONS, 0x80000800, b"kdmy of old times"),
                there(SOLICITATIONS, 0x80000801, b"kdmy of old times"),
            ],
            [
                "filter del dev e0 ingress pref 19268 protocol ipv6",
                SOLICITATIONS.line,
                ADVERTISEMENTS.line,
            ],
        ),
    ],
)
def test_each_filter_of_a_preference_is_put_right_by_itself(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    on_uplink: list[netlink.Filter],
    script: list[str],
) -> None:
    monkeypatch.setattr(files, "RUNTIME", str(tmp_path)[1:])
    rest = [
        there(item, 0x80000001)
        for item in WIRE.filters
        if item not in (SOLICITATIONS, ADVERTISEMENTS)
    ]
    state = tc.State({3: "clsact", 7: "clsact"}, (*rest, *on_uplink))
    monkeypatch.setattr(tc, "read", lambda: state)
    ran: list[list[str]] = []

    def run(lines: list[str]) -> str:
        ran.append(lines)
        return ""

    monkeypatch.setattr(tc, "_run", run)
    tc.sync(WIRE, {3: "e0", 7: "keepalived0"})
    assert ran[0] == script


def test_what_tc_did_not_put_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "RUNTIME", str(tmp_path)[1:])
    lacking = [ADVERTISEMENTS]
    found = tuple(there(item, 0x80000800) for item in WIRE.filters if item not in lacking)
    monkeypatch.setattr(tc, "read", lambda: tc.State({3: "clsact", 7: "clsact"}, found))
    monkeypatch.setattr(tc, "_run", lambda lines: "Error: no such thing.\nWe are lost\n")
    said = tc.sync(WIRE, {3: "e0", 7: "keepalived0"}).missing
    assert said[0] == "e0: the wire's filter at ingress pref 19268 is not there"
    assert said[-1] == "tc said: Error: no such thing."
    found = found[:-1]  # the other one at that preference too
    said = tc.sync(WIRE, {3: "e0", 7: "keepalived0"}).missing
    assert sum("pref 19268 is not there" in line for line in said) == 1, "said once"


class Kernel:
    """The filters of a host, and a tc that puts there what it is given but for those lines that are refused."""

    def __init__(self, *found: netlink.Filter, refused: tuple[str, ...] = ()) -> None:
        self.filters, self.refused = list(found), refused
        self.qdiscs = {3: "clsact", 7: "clsact"}

    def read(self) -> tc.State:
        return tc.State(self.qdiscs, tuple(self.filters))

    def run(self, lines: list[str]) -> str:
        for line in lines:
            if line in self.refused:
                continue
            if line.startswith("filter del "):
                names = {3: "e0", 7: "keepalived0"}
                self.filters = [
                    item
                    for item in self.filters
                    if line not in (tc._delete(item, names[item.ifindex], x) for x in (True, False))
                ]
            self.filters += [there(item, 0x80000001) for item in WIRE.filters if item.line == line]
        return "Error: no.\n" if self.refused else ""


def synced(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kernel: Kernel, wire: Wire = WIRE
) -> tc.Result:
    monkeypatch.setattr(files, "RUNTIME", str(tmp_path)[1:])
    monkeypatch.setattr(tc, "read", kernel.read)
    monkeypatch.setattr(tc, "_run", kernel.run)
    return tc.sync(wire, {3: "e0", 7: "keepalived0"})


def test_what_is_there_afterwards_is_wired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An uplink with a shared block, or with another's filter in our place, takes none of ours."""
    refused = tuple(item.line for item in WIRE.filters if item.dev == "e0")
    kernel = Kernel(refused=refused)
    first = synced(monkeypatch, tmp_path, kernel)
    assert (first.changed, first.rewired) == (["keepalived0: wired"], {"keepalived0"})
    again = synced(monkeypatch, tmp_path, kernel)
    assert (again.changed, again.rewired) == ([], set())
    assert first.missing == again.missing != []


def test_what_could_not_be_taken_away_is_not_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = there(SOLICITATIONS, 0x80000800, b"kdmy of old times")
    kernel = Kernel(old, refused=("filter del dev e0 ingress pref 19268 protocol ipv6",))
    none = Wire("", ())
    assert synced(monkeypatch, tmp_path, kernel, none).changed == []
    assert synced(monkeypatch, tmp_path, Kernel(old), none).changed == ["e0: wire taken away"]


def test_a_filter_that_is_there_twice_is_there_once_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = [there(item, 0x80000001) for item in WIRE.filters]
    kernel = Kernel(*once, there(SOLICITATIONS, 0x80000800))
    done = synced(monkeypatch, tmp_path, kernel)
    assert (done.changed, done.rewired, done.missing) == (["e0: wired"], set(), [])
    assert kernel.filters == once
    assert synced(monkeypatch, tmp_path, kernel) == tc.Result()


@pytest.mark.parametrize(
    ("has", "said"),
    [
        ("builtin", []),  # /sys/module does not know it, and it is there
        ("file", ["kernel modules that the wire needs and that are not loaded: act_csum"]),
        ("loaded", []),
        ("nothing", ["this kernel has no act_csum"]),
    ],
)
def test_modules_that_are_named_are_lacking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has: str, said: list[str]
) -> None:
    """And what another filter in place has been made of is not looked for."""
    monkeypatch.setattr(modules, "lacking", partial(modules.lacking, root=tmp_path))
    monkeypatch.setattr(modules, "unloaded", partial(modules.unloaded, root=tmp_path))
    folder = tmp_path / "lib/modules" / os.uname().release
    folder.mkdir(parents=True)
    (folder / "modules.builtin").write_text("kernel/net/act_csum.ko\n" if has == "builtin" else "")
    if has == "file":
        (folder / "modules.dep").write_text("act_csum.ko:\n")
        (folder / "act_csum.ko").touch()
    if has == "loaded":
        (tmp_path / "sys/module/act_csum").mkdir(parents=True)
    kernel = Kernel(refused=tuple(item.line for item in WIRE.filters if "csum" in item.line))
    missing = synced(monkeypatch, tmp_path, kernel).missing
    assert [line for line in missing if "kernel" in line] == said
