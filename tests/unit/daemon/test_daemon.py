# SPDX-License-Identifier: MIT
"""The resident process itself, with a stand-in for apply and a socket for systemd."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from keepalived_dummy import notify, plan
from keepalived_dummy.inotify import Watches
from keepalived_dummy.passes import Pace

PLAN: dict[str, list[str]] = {
    "dummies": [],
    "watch": [],
    "sysctls": [],
    "rewired": [],
    "missing": [],
    "problems": [],
    "changed": [],
}
RUN = "import sys; from keepalived_dummy import daemon; sys.exit(daemon.run(sys.argv[1:]))"


class Service:
    """A daemon under a socket of our own."""

    def __init__(self, folder: Path, script: str) -> None:
        self.folder = folder
        apply = folder / "apply"
        apply.write_text(f"#!/bin/sh\necho pass >> {folder}/passes\n{script}\n")
        apply.chmod(0o755)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(folder / "notify"))
        self.socket.settimeout(20)
        environment = {
            **os.environ,
            "NOTIFY_SOCKET": str(folder / "notify"),
            "RUNTIME_DIRECTORY": str(folder),
            "WATCHDOG_USEC": "400000",
            "PYTHONPATH": str(Path(__file__).parents[3]),
        }
        environment.pop("WATCHDOG_PID", None)
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(apply)],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    def told(self, word: str) -> str:
        for _ in range(200):
            text = self.socket.recv(4096).decode()
            if word in text:
                return text
        raise AssertionError(word)

    def passes(self) -> int:
        return len((self.folder / "passes").read_text().split())

    def end(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=20)
        return self.process.returncode, errors

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()
        self.socket.close()


@pytest.fixture
def service(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Service]:
    (tmp_path / "watched").mkdir()
    script = request.param.replace("@", str(tmp_path))
    it = Service(tmp_path, script)
    yield it
    it.close()


WATCHING = json.dumps({**PLAN, "watch": ["@/watched", "@/later/conf.d"]})


@pytest.mark.parametrize("service", [f"echo '{WATCHING}'"], indirect=True)
def test_ready_reload_watch_and_stop(service: Service, tmp_path: Path) -> None:
    assert service.told("READY=1") == "READY=1\nSTATUS=0 dummies"
    service.told("WATCHDOG=1")
    service.process.send_signal(signal.SIGHUP)
    assert "MONOTONIC_USEC=" in service.told("RELOADING=1")
    service.told("READY=1")
    assert service.passes() == 2
    (tmp_path / "watched" / "a.conf").write_text("")
    service.told("STATUS=")
    assert service.passes() == 3
    (tmp_path / "other").mkdir()
    (tmp_path / "later").mkdir()
    service.told("STATUS=")
    assert service.passes() == 4
    (tmp_path / "later" / "conf.d").mkdir()
    service.told("STATUS=")
    status, errors = service.end()
    assert status == 0
    assert "<6>apply: start\n<6>apply: reload\n<6>apply: a watched file changed\n" in errors
    assert json.loads((tmp_path / "state.json").read_text())["pid"] == service.process.pid
    assert (tmp_path / "state.json").stat().st_mode & 0o777 == 0o644
    assert json.loads((tmp_path / "plan.json").read_text())["dummies"] == []


RESTLESS = f"echo >@/watched/state; echo '{WATCHING}'"


@pytest.mark.parametrize("service", [RESTLESS], indirect=True)
def test_a_reload_ends_with_its_own_pass(service: Service) -> None:
    """Something on the host asks for one pass after the other; systemctl would wait until it gives up."""
    service.told("READY=1")
    for _ in range(2):
        service.process.send_signal(signal.SIGHUP)
        service.told("RELOADING=1")
        service.told("READY=1")


FAILING = {
    "no plan": "echo nonsense; exit 1",
    "no output": "exit 3",
    "no program": "exec /nonexistent",
}


@pytest.mark.parametrize("service", FAILING.values(), ids=FAILING, indirect=True)
def test_keepalived_is_not_kept_waiting_for_ever(service: Service) -> None:
    service.told("READY=1")
    deadline = time.monotonic() + 20
    while service.passes() < 2 and time.monotonic() < deadline:
        service.told("WATCHDOG=1")
    assert service.passes() >= 2
    status, errors = service.end()
    assert (status, "and no plan; again in 1 s" in errors) == (0, True)


PROBLEM = json.dumps({**PLAN, "problems": ["a.conf:3: unknown key"]})


@pytest.mark.parametrize("service", [f"echo '{PROBLEM}'; exit 1"], indirect=True)
def test_a_bad_conf_is_said_and_blocks_nothing(service: Service) -> None:
    service.told("READY=1")
    service.process.send_signal(signal.SIGHUP)
    service.told("READY=1")
    _, errors = service.end()
    assert errors.count("<4>a.conf:3: unknown key\n") == 1


def test_a_missing_program_is_said(tmp_path: Path) -> None:
    service = Service(tmp_path, "")
    service.close()
    (tmp_path / "notify").unlink()
    service = Service(tmp_path, "")
    (tmp_path / "apply").unlink()
    try:
        service.told("READY=1")
    finally:
        service.close()


BAD = [
    b"",
    b"[]",
    b"{}",
    b'{"dummies": 3}',
    b'{"dummies": [{}]}',
    b"\xff",
    b'{"dummies": [], "watch": [1]}',
    b'{"dummies": [], "filters": [[1, 2, 3]]}',
    b'{"dummies": [], "filters": [[1, "egress", 3, "xx", "filter"]]}',
]


@pytest.mark.parametrize("text", BAD)
def test_no_plan(text: bytes) -> None:
    with pytest.raises(ValueError):
        plan.read(text)


def test_a_plan() -> None:
    dummy = {
        "name": "a",
        "alias": "keepalived-dummy:b",
        "mtu": None,
        "mac": "02:00:00:00:00:01",
        "wire": True,
        "way_out": False,
        "uplinks": ["ens3"],
    }
    filters = [[7, "egress", 19268, "6b646d79", "filter add ..."]]
    given = {**PLAN, "dummies": [dummy], "filters": filters, "more": 1}
    read = plan.read(json.dumps(given).encode())
    assert read.filters == (plan.Filter(7, "egress", b"kdmy", "filter add ..."),)
    assert read.dummies == (
        plan.Dummy("a", 0, b"\2\0\0\0\0\1", True, False, ("ens3",), "keepalived-dummy:b"),
    )


def test_the_pace_of_passes() -> None:
    pace, now, starts = Pace(), 1000.0, []
    for _ in range(30):
        now = pace.next(now)
        starts.append(now)
        pace.take()
    assert starts[9] == 1000.0
    assert starts[10] == pytest.approx(1002.0)
    assert starts[29] == pytest.approx(1040.0)


def test_a_sysctl_that_is_set_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "arp_ignore"
    file.write_text("0")
    watches = Watches()
    watches.replace([], [str(file), str(tmp_path / "missing")])
    assert watches.read() is False
    file.write_text("1")
    assert watches.read() is True
    watches.replace([], [])
    watches.read()
    file.write_text("2")
    assert watches.read() is False


def test_a_descriptor_is_stored_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "n"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "n"))
        notify.notify("FDSTORE=1", [systemd.fileno()])
        text, fds, _, _ = socket.recv_fds(systemd, 100, 4)
        assert (text, len(fds)) == (b"FDSTORE=1", 1)
        os.close(fds[0])
    notify.notify("WATCHDOG=1")  # nobody listens any more
    monkeypatch.setenv("LISTEN_PID", "1")
    assert notify.stored() == {}
