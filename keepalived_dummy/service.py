# SPDX-License-Identifier: MIT
"""The keepalived that runs: its state, its config test, its reload."""

from __future__ import annotations

import contextlib
import functools
import glob
import json
import os
import pwd
import re
import shlex
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keepalived_dummy import execstart

UNIT = "keepalived.service"
BACKUP, MASTER, FAULT = 1, 2, 3
_TIMEOUT = 60.0
_ROOT = 0  # the user that keepalived runs as
_REPLACED = 1.0  # s in which keepalived has put its file in the place of anything but a directory
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISREG, "a file"),
)
_READY = "keepalived-dummy: ready"  # what comes after it is from keepalived


@dataclass(frozen=True)
class InstanceState:
    """As in keepalived's JSON: 0 INIT, 1 BACKUP, 2 MASTER, 3 FAULT; how often it became MASTER.

    `vips`: its addresses in the kernel's form with their devices, held or not.
    """

    state: int
    masters: int = 0
    vips: frozenset[tuple[str, str]] = frozenset()


States = Mapping[str, InstanceState]


@dataclass(frozen=True)
class Service:
    """The main process, 0: none; `systemd`: that it runs here at all."""

    pid: int
    systemd: bool


def find() -> Service:
    """The keepalived of keepalived.service."""
    if not Path("/run/systemd/system").is_dir():
        return Service(0, False)
    said = _run(["systemctl", "show", "--property=MainPID,ActiveState", UNIT]).stdout
    values = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    runs = values.get("ActiveState") in ("active", "reloading", "activating", "refreshing")
    return Service(int(values.get("MainPID") or 0) if runs else 0, True)


def runs(pid: int) -> bool:
    """Whether this process still runs; much cheaper than asking systemd."""
    if not pid:
        return False
    try:
        status = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return ") Z " not in status  # whatever its name, which keepalived can be told to change


def words(service: Service) -> list[str]:
    """What keepalived was started with, or would be; nothing where there is no keepalived.service."""
    with contextlib.suppress(OSError):
        if service.pid and (said := Path(f"/proc/{service.pid}/cmdline").read_bytes()):
            return os.fsdecode(said.removesuffix(b"\0")).split("\0")
    if not service.systemd:
        return []
    properties = "--property=ExecStart,Environment,EnvironmentFiles"
    shown = _run(["systemctl", "show", properties, UNIT]).stdout
    texts = []
    for pattern in execstart.environment_files(shown):
        for path in sorted(glob.glob(pattern)):
            with contextlib.suppress(OSError):
                texts.append(Path(path).read_text(errors="surrogateescape"))
    return execstart.words(shown, texts)


def reload(running: bool) -> str:
    """Reload keepalived, or start it where it does not run any more; what went wrong, or nothing."""
    done = _run(["systemctl", "reload" if running else "restart", UNIT])
    return "" if done.returncode == 0 else (done.stderr.strip() or "systemctl failed")


def states(pid: int, seconds: float = 10) -> States | None:
    """The state of each instance, from keepalived itself; None where it does not tell.

    It writes keepalived.json on a signal, before 2.4.4 not in one step, in its own /tmp. See also `obstacle`.
    """
    number = _signal()
    if not number or not _takes(pid, number):
        return None
    path = _json_path(pid)
    if path.is_dir() and not path.is_symlink():  # which it can't replace
        return None
    before = _stamp(path)
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return None
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.02)
        if _stamp(path) not in (None, before) and (made := _load(path)) is not None:
            return made
        if time.monotonic() > end - seconds + _REPLACED and _in_the_way(path):
            break
    return None


def obstacle(pid: int) -> str:
    """What keeps keepalived from telling its state, and what to do about it; empty where nothing is in its way.

    Any user can put something into /tmp in the place of keepalived.json.
    """
    number = _signal()
    if not pid or not number or not _takes(pid, number):
        return ""
    path = _json_path(pid)
    what = _in_the_way(path)
    return (
        f"{_seen_from_here(path)} is {what}, so keepalived can't tell its state; remove it"
        if what
        else ""
    )


def _in_the_way(path: Path, owner: int = _ROOT) -> str:
    """What is in the place of a file that only its owner (root) writes; empty where that is the file, or nothing."""
    try:
        status = path.lstat()
    except OSError:
        return ""
    if stat.S_ISREG(status.st_mode) and status.st_uid == owner:
        return ""
    kind = next((text for is_kind, text in _KINDS if is_kind(status.st_mode)), "no regular file")
    try:
        name = pwd.getpwuid(status.st_uid).pw_name
    except KeyError:
        name = f"user ID {status.st_uid}"
    return f"{kind} of {name}"


def _seen_from_here(path: Path) -> Path:
    """A path under /proc/PID/root as this process names it, unless it is elsewhere, as with PrivateTmp=."""
    here = Path("/", *path.parts[4:])
    try:
        return here if here.parent.samefile(path.parent) else path
    except OSError:
        return path


@functools.cache
def _signal() -> int:
    """The signal that asks for JSON; 0 where keepalived was built without."""
    said = _run(["keepalived", "--signum=JSON"]).stdout.strip()
    return int(said) if said.isdigit() else 0


def _takes(pid: int, number: int) -> bool:
    """Whether the process waits for the signal; one that does not would die of it."""
    masks = 0
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(("SigBlk:", "SigCgt:")):
                masks |= int(line.split()[1], 16)
    except (OSError, ValueError):
        return False
    return bool(masks >> (number - 1) & 1)


def _json_path(pid: int) -> Path:
    """Seen from outside of a PrivateTmp=."""
    folder = "/tmp"
    try:
        for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if word.startswith(b"TMPDIR=/"):
                folder = os.fsdecode(word[7:])
    except OSError:
        pass
    return Path(f"/proc/{pid}/root{folder}/keepalived.json")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _load(path: Path, owner: int = _ROOT) -> States | None:
    """What is in the file, if it is the owner's (root's) and whole."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != owner:
                return None
            return parse(json.loads(file.read()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def parse(made: Any) -> States:
    """keepalived's JSON, of version 1 (a list) or 2 (an object with `vrrp`)."""
    instances = made["vrrp"] if isinstance(made, dict) else made
    return {
        one["data"]["iname"]: InstanceState(
            int(one["data"]["state"]),
            int(one.get("stats", {}).get("become_master", 0)),
            frozenset(_vips(one["data"])),
        )
        for one in instances
    }


def _vips(data: Any) -> Iterator[tuple[str, str]]:
    """format_ipaddress() in keepalived's vrrp_ipaddress.c: ADDRESS[/LENGTH] [brd ADDRESS] dev NAME[@BASE] ..."""
    for text in [*data.get("vips", ()), *data.get("evips", ())]:
        found = re.match(r"([^\s/]+)(?:/\d+)?(?: brd \S+)? dev ([^\s@]+)", str(text))
        if found:
            yield found[1], found[2]


@dataclass(frozen=True)
class Verdict:
    """What `keepalived -t` says: its exit status and its lines; None: it could not be asked."""

    status: int | None
    lines: tuple[str, ...] = ()


def test(config: str, contents: Mapping[str, bytes]) -> Verdict:
    """`keepalived -t` with other contents in place of some files.

    They are bound over the files in a mount namespace of its own, so that each include means what it means.
    """
    with tempfile.TemporaryDirectory(prefix="keepalived-dummy-") as folder:
        script = ["set -e"]
        for number, (path, content) in enumerate(contents.items()):
            mine = Path(folder, str(number))
            mine.write_bytes(content)
            mine.chmod(0o600)
            script.append(f"mount --bind {shlex.quote(str(mine))} {shlex.quote(path)}")
        script.append(f"command -v keepalived >/dev/null; echo {_READY}")
        script.append(f"exec keepalived --config-test --use-file={shlex.quote(config)}")
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(script)]
        done = _run(command if contents else command[4:])
    said = (done.stdout + done.stderr).splitlines()
    if _READY not in said:
        return Verdict(None, tuple(said) or ("it is not installed",))
    return Verdict(done.returncode, tuple(line for line in said if line != _READY))


def worse(before: Verdict, after: Verdict) -> list[str]:
    """What `keepalived -t` holds against the result and did not hold against what was there."""
    if after.status == 0:
        return []
    known = {_plain(line) for line in before.lines}
    new = [line for line in after.lines if _plain(line) not in known]
    if not new and after.status != before.status:
        new = [f"exit status {after.status}"]
    return new


def _plain(line: str) -> str:
    """A line without what differs between two asks: where it is, when, and the prefix that adopt gives an address."""
    return re.sub(r"[Ll]ine \d+|\[\d+\]|^.{3} \d+ [\d:]+ |(?<=[\da-fA-F:])/\d+\b", "", line)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(
            command, 1, "", f"{command[0]} took over {_TIMEOUT:.0f} s"
        )
