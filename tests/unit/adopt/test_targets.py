# SPDX-License-Identifier: MIT
"""Which dummy is taken where adopt is told another file: apply and the daemon read keepalived.conf alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import cases
import pytest

from keepalived_dummy import config, uplinks
from keepalived_dummy.errors import UserError
from keepalived_dummy.interfaces import Link
from keepalived_dummy.keepalived import CONFIG, read_from
from keepalived_dummy.keepalived.disk import Disk

CASE = "62-another-file"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return shutil.copytree(cases.CASES / CASE / "in", tmp_path / "root")


def test_its_dummy_is_wired(root: Path) -> None:
    done = cases.plan(root, cases.facts_of(CASE), cases.arguments(CASE))
    cases.carry_out(root, done)
    (moved,) = done.plan.vips
    names = ("ens3", "keepalived0", "keepalived1")
    links = {
        name: Link(i, 1, name, "dummy" if i > 1 else "", b"\2\0\0\0\0\1", 1500, None, "", 1)
        for i, name in enumerate(names, 1)
    }
    document = read_from(Disk(root), str(CONFIG))
    found = uplinks.resolve(config.load(root), document, links, ())
    joints = [(joint.dummy.name, [end.name for end in joint.uplinks]) for joint in found.joints]
    assert joints == [(moved.after, ["ens3"])]


def test_dummy_that_follows_keepalived_conf_is_refused(root: Path) -> None:
    words = [*cases.arguments(CASE), "--interface", "keepalived0"]
    with pytest.raises(UserError, match=r"write \[Uplink\] Name=ens3 into"):
        cases.plan(root, cases.facts_of(CASE), words)
    (root / "etc/keepalived-dummy.d/keepalived.conf").write_text("[Uplink]\nName=ens3\n")
    done = cases.plan(root, cases.facts_of(CASE), words)
    assert [vip.after for vip in done.plan.vips] == ["keepalived0"]
