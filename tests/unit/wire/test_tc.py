# SPDX-License-Identifier: MIT
"""Filters put right one by one, and the clsact taken away with the last of them where it is not needed again soon."""

from __future__ import annotations

from pathlib import Path

import pytest

from keepalived_dummy import apply, files, links, netlink, tc
from keepalived_dummy.config import Config, Dummy
from keepalived_dummy.interfaces import Link
from keepalived_dummy.keepalived import Memory, read_from
from keepalived_dummy.wire import End, Filter, Joint, render

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
SOLICITATIONS, ADVERTISEMENTS = (item for item in WIRE.filters if item.index == UPLINK.index)


def there(item: Filter, handle: int, cookie: bytes = b"") -> netlink.Filter:
    parent = netlink.CLSACT_INGRESS if item.direction == "ingress" else netlink.CLSACT_EGRESS
    protocol = 0x86DD if item.protocol == "ipv6" else 0x0806
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
    ],
)
def test_each_filter_of_a_preference_is_put_right_by_itself(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    on_uplink: list[netlink.Filter],
    script: list[str],
) -> None:
    monkeypatch.setattr(files, "RUNTIME", str(tmp_path)[1:])
    on_dummy = [there(item, 0x80000800) for item in WIRE.filters if item.index == DUMMY.index]
    state = tc.State({3: "clsact", 7: "clsact"}, (*on_dummy, *on_uplink))
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
