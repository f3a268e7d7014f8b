# SPDX-License-Identifier: MIT
"""The clsact of an uplink: taken away with the last filter, but not where it may soon be needed again."""

from __future__ import annotations

from pathlib import Path

import pytest

from keepalived_dummy import apply, files, links, tc
from keepalived_dummy.config import Config, Dummy
from keepalived_dummy.interfaces import Link
from keepalived_dummy.keepalived import Memory, read_from

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
