# SPDX-License-Identifier: MIT
"""Writes whole or not at all, the lock, and knowing again what was written."""

from __future__ import annotations

import errno
import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from keepalived_dummy import files

CONTENT = files.MARK + b" from /etc/x.conf\n[NetDev]\n"


@pytest.mark.parametrize("call", ["rename", "fsync", "fchmod"])
def test_failed_write_leaves_the_old(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "90-x.netdev"
    path.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space left"):
            files.write(path, CONTENT)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["90-x.netdev"]
    files.write(path, CONTENT)
    assert path.read_bytes() == CONTENT


def test_write_replaces_a_link_not_its_target(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "90-x.netdev"
    target.write_bytes(b"theirs")
    path.symlink_to(target)
    files.write(path, CONTENT)
    assert not path.is_symlink()
    assert (path.read_bytes(), target.read_bytes()) == (CONTENT, b"theirs")
    files.write_mask(path)
    files.write_mask(path)
    assert files.is_mask(path)
    assert sorted(os.listdir(tmp_path)) == ["90-x.netdev", "target"]


def test_write_follows_no_link_at_its_temporary_name(tmp_path: Path) -> None:
    """/run/keepalived-dummy is the unprivileged daemon's, and root's `apply` writes there."""
    theirs, path = tmp_path / "theirs", tmp_path / "confs.json"
    theirs.write_bytes(b"theirs")
    (tmp_path / f".keepalived-dummy-{os.getpid()}.tmp").symlink_to(theirs)
    files.write(path, CONTENT)
    assert (path.read_bytes(), theirs.read_bytes()) == (CONTENT, b"theirs")
    assert sorted(os.listdir(tmp_path)) == ["confs.json", "theirs"]


def test_write_follows_no_link_that_is_back_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"theirs")
    (tmp_path / f".keepalived-dummy-{os.getpid()}.tmp").symlink_to(theirs)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    with pytest.raises(FileExistsError):
        files.write(tmp_path / "confs.json", CONTENT)
    assert theirs.read_bytes() == b"theirs"


@pytest.mark.parametrize(
    ("kind", "ours", "mask"),
    [
        ("ours", True, False),
        ("theirs", False, False),
        ("shorter than the mark", False, False),
        ("empty", False, False),
        ("absent", False, False),
        ("folder", False, False),
        ("fifo", False, False),
        ("link to ours", False, False),
        ("link to /dev/null", False, True),
    ],
)
def test_what_is_ours(kind: str, ours: bool, mask: bool, tmp_path: Path) -> None:
    path, other = tmp_path / "path", tmp_path / "other"
    other.write_bytes(CONTENT)
    make: dict[str, Callable[[], object]] = {
        "ours": lambda: path.write_bytes(CONTENT),
        "theirs": lambda: path.write_bytes(b"\n" + CONTENT),
        "shorter than the mark": lambda: path.write_bytes(files.MARK[:-1]),
        "empty": path.touch,
        "absent": lambda: None,
        "folder": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
        "link to ours": lambda: path.symlink_to(other),
        "link to /dev/null": lambda: path.symlink_to("/dev/null"),
    }
    make[kind]()
    assert files.is_ours(path) == ours
    assert files.is_mask(path) == mask
    assert files.same(path, CONTENT) == ours


@pytest.mark.parametrize("other", [b"", CONTENT[:-1], CONTENT + b"\n", CONTENT.lower()])
def test_same_is_the_whole_content(other: bytes, tmp_path: Path) -> None:
    path = tmp_path / "path"
    path.write_bytes(other)
    assert not files.same(path, CONTENT)


def test_leftovers_are_ours_alone(tmp_path: Path) -> None:
    names = [
        ".keepalived-dummy-1.tmp",
        ".keepalived-dummy-1.conf",
        "keepalived-dummy-1.tmp",
        "x.tmp",
    ]
    for name in names:
        (tmp_path / name).touch()
    files.remove_leftovers([*names, ".keepalived-dummy-gone.tmp"], tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted(names[1:])


def test_lock_makes_a_second_process_wait(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from keepalived_dummy import files\n"
        "print('asks', flush=True)\n"
        "with files.lock(Path(sys.argv[1])): print('has it', flush=True)\n"
    )
    with files.lock(tmp_path):
        second = subprocess.Popen(
            [sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, bufsize=0
        )
        assert second.stdout is not None
        assert second.stdout.readline() == b"asks\n"
        assert not select.select([second.stdout], [], [], 0.3)[0]
    assert second.communicate(timeout=20)[0] == b"has it\n"
    assert second.returncode == 0
