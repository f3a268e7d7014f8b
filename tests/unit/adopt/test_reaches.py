# SPDX-License-Identifier: MIT
"""adopt and revert go on only with a keepalived that they can see and reload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from keepalived_dummy import live, processes
from keepalived_dummy.errors import UserError
from keepalived_dummy.processes import Process
from keepalived_dummy.service import UNIT, Service

CONFIG = Path("/etc/keepalived/keepalived.conf")
RUNS, STOPPED, NO_SYSTEMD = Service(88, True), Service(0, True), Service(0, False)
OWN = Process(88, UNIT)
BLUE = Process(88, UNIT, here=False, apart=True)
CHILD_IN_BLUE = Process(88, UNIT, here=True, apart=True)  # its vrrp process is there
BY_HAND_IN_BLUE = Process(77, here=False, apart=True)
ROUTER = Process(
    66, "neutron.service", ("keepalived", "-f", "/var/lib/r.conf"), here=False, apart=True
)
SNAP = Process(77, "snap.keepalived.daemon.service")
TEMPLATE = Process(77, "keepalived@b.service", ("keepalived", "-f", "/etc/keepalived/b.conf"))
DOCKER = Process(77, "docker-0123.scope", inside=False)
SCRIPT = Process(99, UNIT)  # its parent is the unit's main process

Given = Callable[..., None]


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Given:
    """Has these keepalived processes run; a container's file is not known to be the host's."""

    def reads(process: Process, file: Path) -> bool | None:
        return process.config == str(file) if process.inside else None

    def give(*every: Process) -> None:
        monkeypatch.setattr(processes, "find", lambda: every)
        monkeypatch.setattr(processes, "reads", reads)

    return give


@pytest.mark.parametrize(
    ("running", "every"),
    [
        (RUNS, [OWN]),
        (RUNS, []),  # under a name of its own
        (RUNS, [OWN, SNAP, TEMPLATE]),
        (RUNS, [SCRIPT]),
        (RUNS, [OWN, ROUTER]),
        (STOPPED, []),
        (STOPPED, [TEMPLATE]),  # with another file
        (STOPPED, [ROUTER]),
        (NO_SYSTEMD, []),
        (NO_SYSTEMD, [DOCKER]),  # of a chroot
    ],
)
def test_it_goes_on(given: Given, running: Service, every: list[Process]) -> None:
    given(*every)
    live.reaches(CONFIG, running, True)
    live.reaches(CONFIG, running, False)


@pytest.mark.parametrize(
    ("running", "every"),
    [(RUNS, [BLUE]), (RUNS, [CHILD_IN_BLUE]), (STOPPED, [BY_HAND_IN_BLUE])],
)
@pytest.mark.parametrize("reload", [True, False])
def test_another_namespace_is_refused(
    given: Given, running: Service, every: list[Process], reload: bool
) -> None:
    given(*every)
    with pytest.raises(UserError, match="runs in another network namespace"):
        live.reaches(CONFIG, running, reload)


@pytest.mark.parametrize(
    ("running", "every", "who"),
    [
        (STOPPED, [SNAP], "process 77 of snap.keepalived.daemon.service"),
        (STOPPED, [DOCKER], "process 77 of docker-0123.scope"),
        (RUNS, [DOCKER], "process 77 of docker-0123.scope"),  # keepalived.service is its client
        (STOPPED, [TEMPLATE, SNAP], "process 77 of snap.keepalived.daemon.service"),
    ],
)
def test_one_that_is_not_the_service_is_refused(
    given: Given, running: Service, every: list[Process], who: str
) -> None:
    given(*every)
    with pytest.raises(UserError, match=rf"runs as {who} and not as keepalived\.service"):
        live.reaches(CONFIG, running, True)
    live.reaches(CONFIG, running, False)


def test_a_template_is_refused_for_its_own_file(given: Given) -> None:
    given(TEMPLATE)
    with pytest.raises(UserError, match=r"runs as process 77 of keepalived@b\.service"):
        live.reaches(Path("/etc/keepalived/b.conf"), STOPPED, True)


@pytest.mark.parametrize("reload", [True, False])
def test_a_container_without_systemd_is_no_chroot(given: Given, reload: bool) -> None:
    """No dummy would be made, and keepalived would end at its next reload."""
    given(Process(12))
    with pytest.raises(UserError, match=r"keepalived \(process 12\) runs, but systemd does not"):
        live.reaches(CONFIG, NO_SYSTEMD, reload)
