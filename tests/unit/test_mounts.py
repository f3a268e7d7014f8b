# SPDX-License-Identifier: MIT
"""What is mounted where, read from text as the kernel writes it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from keepalived_dummy import mounts, replace
from keepalived_dummy.errors import UserError

TEXT = rb"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 27 254:0 /srv/a\134b /etc/keep\040alived\012.conf rw,relatime shared:1 master:2 - ext4 /dev/vda rw
41 22 0:30 / /proc/sys/fs/binfmt_misc rw,relatime shared:14 - autofs systemd-1 rw,fd=29,pgrp=1
42 27 0:31 / /srv/idle rw,relatime shared:15 - autofs systemd-1 rw,fd=30,pgrp=1
43 27 0:32 / /srv/used rw,relatime shared:16 - autofs systemd-1 rw,fd=31,pgrp=1
44 43 0:33 / /srv/used rw,relatime shared:17 - nfs4 server:/x rw
damaged
"""


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "mountinfo"
    path.write_bytes(TEXT)
    monkeypatch.setattr(mounts, "MOUNTINFO", path)
    return path


def test_each_point_has_what_is_on_top() -> None:
    found = mounts.parse(TEXT)
    assert found["/etc/keep alived\n.conf"] == "ext4"
    assert found["/srv/used"] == "nfs4"
    assert len(found) == 6


def test_automounts_that_are_mounted_or_the_kernels_are_not_waited_for(table: Path) -> None:
    assert mounts.automounts() == {"/srv/idle"}
    table.unlink()
    assert mounts.automounts() == set()


def test_a_point_is_one_by_its_path(table: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    assert mounts.is_point(tmp_path / "link" / "keep alived\n.conf")
    assert not mounts.is_point(tmp_path / "keep alived\n.conf")


def test_a_file_that_is_a_mount_is_refused_before_anything_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keepalived.conf"
    path.write_bytes(b"below\n")
    table = tmp_path / "mountinfo"
    table.write_text(f"40 27 254:0 /x {path} rw - ext4 /dev/vda rw\n")
    replace.check(path)
    monkeypatch.setattr(mounts, "MOUNTINFO", table)
    with pytest.raises(UserError, match=r"it is a mount of its own \(edit what is mounted there"):
        replace.check(path)
    assert sorted(os.listdir(tmp_path)) == ["keepalived.conf", "mountinfo"]
