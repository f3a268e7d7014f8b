# SPDX-License-Identifier: MIT
"""What counts as proven, what keepalived's JSON and `keepalived -t` say."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from keepalived_dummy import proof, service
from keepalived_dummy.proof import Picture
from keepalived_dummy.rewrite import Vip
from keepalived_dummy.service import InstanceState, Verdict

VIP = Vip("V", "192.0.2.10", "e0", "k0")
OLD, NEW = ("192.0.2.10", "e0"), ("192.0.2.10", "k0")


def picture(
    state: int,
    *places: tuple[str, str],
    masters: int = 1,
    pid: int = 7,
    vips: tuple[tuple[str, str], ...] = (),
) -> Picture:
    told = InstanceState(state, masters, frozenset(vips))
    return Picture(pid, {"V": told}, frozenset(places))


@pytest.mark.parametrize(
    ("before", "now", "wrong"),
    [
        (picture(2, OLD), picture(2, NEW), ""),
        (picture(2, OLD), picture(2, OLD), "192.0.2.10 is not on k0"),
        (picture(2, OLD), picture(2), "192.0.2.10 is not on k0"),
        (picture(2, OLD), picture(2, OLD, NEW), "192.0.2.10 is on e0 too"),
        (picture(2, NEW), picture(2, NEW), ""),
        (picture(2, OLD), picture(1, NEW), "was MASTER and is BACKUP"),
        (picture(2, OLD), picture(3, NEW), "was MASTER and is FAULT"),
        (picture(2, OLD), picture(2, NEW, masters=2), "was not MASTER for a moment"),
        (picture(2, OLD), picture(2, NEW, pid=8), "started anew"),
        (picture(2, OLD), picture(2, NEW, pid=0), "does not run any more"),
        (picture(1), picture(1), ""),
        (picture(1), picture(2, NEW), ""),
        (picture(1), picture(3), "was BACKUP and is FAULT"),
        (picture(3), picture(3), ""),
        (picture(0), picture(1), ""),
        (Picture(7, None, frozenset([OLD])), Picture(7, None, frozenset([NEW])), ""),
        (Picture(7, None, frozenset([OLD])), Picture(7, None, frozenset([OLD])), "is not on k0"),
        (picture(2, OLD), Picture(7, None, frozenset([NEW])), "does not tell its state"),
        (picture(2, OLD), Picture(7, {}, frozenset([NEW])), "vrrp_instance V is gone"),
        (
            picture(1, vips=(OLD,)),
            picture(1, vips=(OLD,)),
            "has not taken that 192.0.2.10 is to be",
        ),
        (picture(1, vips=(OLD,)), picture(1), "has not taken"),
        (picture(1, vips=(OLD,)), picture(1, vips=(NEW,)), ""),
        (picture(1, vips=(NEW,)), picture(1, vips=(NEW,)), ""),
        (picture(1), picture(1, vips=(OLD,)), ""),  # what it told was not understood
    ],
)
def test_proof(before: Picture, now: Picture, wrong: str) -> None:
    found = "; ".join(proof.missing(before, now, [VIP]))
    assert (wrong in found) if wrong else not found


@pytest.mark.parametrize(
    ("before", "now", "wrong"),
    [
        (picture(2, OLD), picture(2, OLD), ""),
        (picture(2, NEW), picture(2, NEW), ""),
        (picture(1), picture(2, OLD), ""),
        (picture(2, OLD), picture(2), "192.0.2.10 is not on e0"),
        (picture(2, OLD), picture(1), "was MASTER and is BACKUP"),
        (Picture(7, None, frozenset([OLD])), Picture(7, None, frozenset()), "is not on e0"),
        (Picture(7, None, frozenset()), Picture(7, None, frozenset([OLD])), ""),
    ],
)
def test_before_the_reload_all_is_as_it_was(before: Picture, now: Picture, wrong: str) -> None:
    found = "; ".join(proof.missing(before, now, proof.unmoved(before, [VIP])))
    assert (wrong in found) if wrong else not found


@pytest.mark.parametrize(
    ("now", "lost"),
    [
        (picture(2), False),
        (picture(0), False),
        (picture(1, NEW), True),
        (picture(3), True),
        (picture(2, NEW, masters=2), True),
        (picture(2, NEW, pid=8), True),
        (picture(2, NEW, pid=0), True),
        (Picture(7, None, frozenset()), False),
        (Picture(7, {}, frozenset()), False),
    ],
)
def test_what_no_waiting_mends(now: Picture, lost: bool) -> None:
    assert proof.is_lost(picture(2, OLD), now) is lost


@pytest.mark.parametrize("before", [picture(1), Picture(7, None, frozenset([OLD]))])
def test_a_backup_has_nothing_to_lose(before: Picture) -> None:
    assert not proof.is_lost(before, picture(1))
    assert not proof.is_lost(before, picture(2, NEW, masters=2))


@pytest.mark.parametrize("version", [1, 2])
def test_json(version: int) -> None:
    one = {"data": {"iname": "V 1", "state": 2}, "stats": {"become_master": 3}}
    made = [one] if version == 1 else {"vrrp": [one], "track_process": []}
    assert service.parse(made) == {"V 1": InstanceState(2, 3)}


@pytest.mark.parametrize(
    ("text", "vips"),
    [
        ("192.0.2.10/24 dev e0 scope global", {("192.0.2.10", "e0")}),
        ("192.0.2.10 dev k0 scope global", {("192.0.2.10", "k0")}),
        ("192.0.2.10/24 brd 192.0.2.255 dev e0 scope global label e0:1", {("192.0.2.10", "e0")}),
        ("192.0.2.10 dev vrrp.7@e0 use_vmac scope global", {("192.0.2.10", "vrrp.7")}),
        ("2001:db8::10/64 dev e0 scope global preferred_lft forever", {("2001:db8::10", "e0")}),
        ("None", set()),
        ("192.0.2.10 on e0", set()),
        (7, set()),
    ],
)
def test_json_of_vips(text: object, vips: set[tuple[str, str]]) -> None:
    for key in ("vips", "evips"):
        made = service.parse([{"data": {"iname": "V", "state": 1, key: [text]}}])
        assert made["V"].vips == vips


def test_json_half_written_or_of_others_is_not_read(tmp_path: Path) -> None:
    path, me = tmp_path / "keepalived.json", os.geteuid()
    text = '[{"data":{"iname":"V","state":1},"stats":{"become_master":0}}]'
    for length in range(len(text)):
        path.write_text(text[:length])
        assert service._load(path, me) is None
    path.write_text(text)
    assert service._load(path, me) == {"V": InstanceState(1, 0)}
    assert service._load(path, me + 1) is None
    path.rename(tmp_path / "real")
    path.symlink_to("real")
    assert service._load(path, me) is None


def test_no_signal_to_a_process_that_does_not_wait_for_it() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            assert not service._takes(process.pid, 36)
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        (Verdict(0), Verdict(0), []),
        (Verdict(5, ("(a: Line 3) bad",)), Verdict(5, ("(a: Line 4) bad",)), []),
        (Verdict(0), Verdict(5, ("(a: Line 4) bad",)), ["(a: Line 4) bad"]),
        (Verdict(5, ("x [2001:db8::a] - no",)), Verdict(5, ("x [2001:db8::a/128] - no",)), []),
        (Verdict(5, ("x 192.0.2.1/24",)), Verdict(5, ("x 192.0.2.1/32",)), []),
        (Verdict(5, ("x 192.0.2.1",)), Verdict(5, ("x 192.0.2.2/32",)), ["x 192.0.2.2/32"]),
        (Verdict(5, ("x",)), Verdict(2, ("x",)), ["exit status 2"]),
        (Verdict(5, ("x",)), Verdict(0), []),
    ],
)
def test_config_test(before: Verdict, after: Verdict, new: list[str]) -> None:
    assert service.worse(before, after) == new
