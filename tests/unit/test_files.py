# SPDX-License-Identifier: MIT
"""Writes whole or not at all, the lock, and knowing again what was written."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keepalived_dummy import files
from keepalived_dummy.errors import UserError

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


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@contextlib.contextmanager
def held(root: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process holds the lock."""
    script = "import sys; print('has it', flush=True); sys.stdin.read()"
    path = root / files.RUNTIME / "lock"
    command = ["flock", "-x", str(path), sys.executable, "-c", script, "a name\x1b[31m"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == b"has it\n"
        yield other
        other.stdin.close()


@pytest.mark.parametrize("umask", [0o022, 0o077, 0])
def test_only_the_owner_and_root_can_open_the_lock(umask: int, tmp_path: Path) -> None:
    """flock(2) needs no write permission: who can open the lock for reading can hold it for ever."""
    former = os.umask(umask)
    try:
        with files.lock(tmp_path):
            assert mode(tmp_path / files.RUNTIME / "lock") == 0o600
    finally:
        os.umask(former)


@pytest.mark.parametrize("before", [0o644, 0o666, 0o640])
def test_a_lock_of_an_earlier_release_is_closed_to_others(before: int, tmp_path: Path) -> None:
    path = tmp_path / files.RUNTIME / "lock"
    path.parent.mkdir(parents=True)
    path.touch()
    path.chmod(before)
    inode = path.stat().st_ino
    with files.lock(tmp_path):
        assert mode(path) == 0o600
    assert path.stat().st_ino == inode, "a pass of the earlier release may hold it"


def test_the_daemons_user_takes_a_lock_whose_mode_it_may_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / files.RUNTIME / "lock"
    path.parent.mkdir(parents=True)
    path.touch()
    path.chmod(0o644)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "fchmod", refuse)
    with files.lock(tmp_path):
        assert subprocess.run(["flock", "-n", path, "true"], check=False).returncode == 1


@pytest.mark.parametrize(
    "kind", ["link", "link to nothing", "fifo", "folder", "full folder", "socket"]
)
def test_what_is_in_the_place_of_the_lock_is_replaced(kind: str, tmp_path: Path) -> None:
    """The folder is the unprivileged daemon's, and every command of root takes the lock."""
    import socket

    path, other = tmp_path / files.RUNTIME / "lock", tmp_path / "theirs"
    path.parent.mkdir(parents=True)
    other.touch()
    other.chmod(0o644)
    make: dict[str, Callable[[], object]] = {
        "link": lambda: path.symlink_to(other),
        "link to nothing": lambda: path.symlink_to(tmp_path / "nothing"),
        "fifo": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "full folder": lambda: (path / "something").mkdir(parents=True),
        "socket": lambda: socket.socket(socket.AF_UNIX).bind(str(path)),
    }
    make[kind]()
    with files.lock(tmp_path):
        assert path.is_file()
        assert not path.is_symlink()
        assert mode(path) == 0o600
    assert mode(other) == 0o644
    assert not (tmp_path / "nothing").exists()


def test_a_lock_that_cannot_be_replaced_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / files.RUNTIME / "lock"
    path.mkdir(parents=True)

    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(UserError, match=rf"{path} is not a regular file \(remove it\)"):
        files.lock(tmp_path).__enter__()


def test_who_waits_too_long_names_the_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LOCK_SECONDS", 0.2)
    with files.lock(tmp_path):
        pass
    with held(tmp_path) as other:
        with pytest.raises(UserError) as caught:
            files.lock(tmp_path).__enter__()
        said = str(caught.value)
        assert f"{tmp_path / files.RUNTIME / 'lock'} has been locked by process {other.pid}" in said
        assert f"of user ID {os.getuid()} (flock -x " in said
        assert said.isprintable()
    with files.lock(tmp_path):
        pass


def test_the_lock_is_taken_as_soon_as_it_is_free(tmp_path: Path) -> None:
    with files.lock(tmp_path):
        pass
    with held(tmp_path) as other:
        assert other.stdin is not None
        threading.Timer(0.3, other.stdin.close).start()
        with files.lock(tmp_path):
            pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_is_ignored_ends_the_wait(number: signal.Signals, tmp_path: Path) -> None:
    """As while adopt takes back: only SIGKILL would end it else, and leave a transaction."""
    with files.lock(tmp_path):
        pass
    former = signal.signal(number, signal.SIG_IGN)
    try:
        with held(tmp_path) as other:
            threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
            began = time.monotonic()
            message = f"interrupted while .* is locked by process {other.pid}"
            with pytest.raises(UserError, match=message):
                files.lock(tmp_path, [number]).__enter__()
            assert time.monotonic() - began < 10
        assert signal.getsignal(number) == signal.SIG_IGN
        assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    finally:
        signal.signal(number, former)


def test_the_unit_lets_the_daemons_user_open_a_lock_of_root() -> None:
    """A file of root and mode 0600 is opened by CAP_DAC_READ_SEARCH only, and flock(2) needs it open for reading."""
    assert "AmbientCapabilities=CAP_NET_ADMIN CAP_DAC_READ_SEARCH" in unit("keepalived-dummy")
    assert files._LOCK & os.O_ACCMODE == os.O_RDONLY


@pytest.mark.parametrize("name", ["keepalived-dummy-generator", "keepalived-dummy-regenerate"])
def test_the_units_let_root_open_a_lock_of_the_daemons_user(name: str) -> None:
    assert "CapabilityBoundingSet=CAP_DAC_OVERRIDE" in unit(name)


def unit(name: str) -> list[str]:
    path = Path(__file__).parents[2] / f"lib/systemd/system/{name}.service"
    return path.read_text().splitlines()


ME = os.getuid()


def test_put_into_replaces_a_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.prom"
    for content in (CONTENT, b"new"):
        former = os.umask(0o077)
        (tmp_path / ".keepalived-dummy-7f.tmp").touch()  # of a run that was killed
        try:
            files.put_into(tmp_path, path.name, content, ME)
        finally:
            os.umask(former)
        assert path.read_bytes() == content
        assert mode(path) == 0o644
        assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("name", ["x.prom", ".keepalived-dummy-00.tmp"])
def test_put_into_follows_no_link_of_others(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.write_bytes(b"theirs")
    folder.mkdir()
    (folder / name).symlink_to(victim)
    monkeypatch.setattr(os, "urandom", lambda _: b"\0")
    with contextlib.suppress(FileExistsError):
        files.put_into(folder, "x.prom", CONTENT, ME)
    assert victim.read_bytes() == b"theirs"


def test_put_into_refuses_a_folder_of_others_and_a_link(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"belongs to user ID {ME}, .*chown root {tmp_path}"):
        files.put_into(tmp_path, "x.prom", CONTENT, ME + 1)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(UserError, match="is not a directory"):
        files.put_into(link, "x.prom", CONTENT, ME)
    assert os.listdir(tmp_path) == ["link"]


def test_put_into_leaves_nothing_where_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.prom").mkdir()
    with pytest.raises(IsADirectoryError):
        files.put_into(tmp_path, "x.prom", CONTENT, ME)
    assert os.listdir(tmp_path) == ["x.prom"]


def test_the_metrics_are_written_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the unit's own command, in a folder of the one that is root there."""
    from keepalived_dummy import cli, observe, status

    lines = unit("keepalived-dummy-metrics")
    (command,) = (
        line.removeprefix("ExecStart=").split() for line in lines if line.startswith("ExecStart=")
    )
    assert command[0] == "/usr/sbin/keepalived-dummy"
    folder = Path("/var/lib/prometheus/node-exporter")
    assert f"ReadWritePaths=-{folder}" in lines
    written: list[tuple[Path, str, bytes]] = []
    monkeypatch.setattr(files, "put_into", lambda *given: written.append(given))
    monkeypatch.setattr(observe, "read", lambda: None)
    monkeypatch.setattr(status, "show", lambda _, form, __: f"{form} é\n")
    assert cli.main(command[1:]) == 0
    assert written == [(folder, "keepalived-dummy.prom", "prometheus é\n".encode())]
