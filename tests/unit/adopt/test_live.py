# SPDX-License-Identifier: MIT
"""The running host as adopt sees it: one run at a time, and the lock where only root can have put something."""

from __future__ import annotations

from pathlib import Path

import pytest

from keepalived_dummy import journal, live
from keepalived_dummy.errors import UserError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The journal's folder, not there yet."""
    folder = tmp_path / "var/lib/keepalived-dummy"
    monkeypatch.setattr(journal, "FOLDER", folder)
    return folder


def test_second_one_is_refused(folder: Path) -> None:
    with live.alone(), pytest.raises(UserError, match="another adopt or revert"), live.alone():
        pass
    with live.alone():
        assert [path.name for path in folder.iterdir()] == ["lock"]


def test_lock_is_not_followed(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="Too many levels"), live.alone():
        pass
    assert not (tmp_path / "victim").exists()
