# SPDX-License-Identifier: MIT
"""keepalived found by its processes: what it is started with, by whom, and in which network namespace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from proctree import HOST_MNT, HOST_USER, OTHER_MNT, OTHER_NET, OTHER_USER, add, make

from keepalived_dummy import processes
from keepalived_dummy.processes import Process, choose, find, reads

DOCKER = "0::/system.slice/docker-0123abcd.scope"
OLD_CGROUPS = (
    "12:cpu:/x.service/y\n1:name=systemd:/system.slice/system-ka.slice/keepalived@x.service"
)


def test_the_service_and_its_children_are_one(tmp_path: Path) -> None:
    proc = make(tmp_path)
    add(proc, 88)
    add(proc, 89, 88)
    add(proc, 90, 88, comm="keepalived_vrrp")
    (found,) = find(proc)
    assert (found.pid, found.unit, found.here, found.apart) == (
        88,
        "keepalived.service",
        True,
        False,
    )
    assert str(found) == "process 88 of keepalived.service"


@pytest.mark.parametrize(
    ("given", "unit", "config", "inside"),
    [
        ({"exe": "/snap/keepalived/2700/usr/sbin/keepalived"}, "keepalived.service", "", True),
        ({"exe": "/usr/local/sbin/keepalived", "cgroup": "0::/init.scope"}, "init.scope", "", True),
        ({"exe": "/usr/sbin/keepalived (deleted)"}, "keepalived.service", "", True),
        ({"comm": "lb", "words": ["lb"]}, "keepalived.service", "", True),  # process_name
        ({"words": ["keepalived", "-nf/srv/ka.conf"]}, "keepalived.service", "/srv/ka.conf", True),
        ({"cgroup": OLD_CGROUPS}, "keepalived@x.service", "", True),
        ({"cgroup": "0::/user.slice"}, "", "", True),
        ({"cgroup": DOCKER, "mnt": OTHER_MNT}, "docker-0123abcd.scope", "", False),
        # What another user than root sees.
        ({"exe": None, "net": None, "mnt": None, "root": None}, "keepalived.service", "", None),
    ],
)
def test_whoever_started_it(
    tmp_path: Path, given: dict[str, Any], unit: str, config: str, inside: bool | None
) -> None:
    proc = make(tmp_path)
    add(proc, 88, **given)
    (found,) = find(proc)
    assert (found.unit, found.inside) == (unit, inside)
    assert found.config == (config or "/etc/keepalived/keepalived.conf")


@pytest.mark.parametrize(
    "given",
    [
        {"state": "Z"},
        {"comm": "keepalived-dumm", "exe": "/usr/bin/python3.11", "words": ["python3"]},
        # A user can give any name to a process, and to a program of his own; he can set no address.
        {"uid": 1000, "caps": "0"},
        {"uid": 1000, "exe": "/home/u/keepalived", "user": OTHER_USER},
    ],
)
def test_what_is_no_keepalived(tmp_path: Path, given: dict[str, Any]) -> None:
    proc = make(tmp_path)
    add(proc, 88, **given)
    assert find(proc) == ()


def test_one_with_the_capability_and_another_user(tmp_path: Path) -> None:
    proc = make(tmp_path)
    add(proc, 88, uid=998, caps="0000000000003000", user=HOST_USER)
    assert [one.pid for one in find(proc)] == [88]


@pytest.mark.parametrize(
    ("main", "child", "here", "apart"),
    [
        (OTHER_NET, OTHER_NET, False, True),
        ("net:[4026531840]", OTHER_NET, True, True),  # its vrrp process alone went there
        (None, None, None, False),
        (OTHER_NET, None, None, True),
    ],
)
def test_another_network_namespace(
    tmp_path: Path, main: str | None, child: str | None, here: bool | None, apart: bool
) -> None:
    proc = make(tmp_path)
    add(proc, 88, net=main)
    add(proc, 89, 88, net=child)
    (found,) = find(proc)
    assert (found.here, found.apart) == (here, apart)


def test_the_file_that_it_reads(tmp_path: Path) -> None:
    """A container has the file of the host under a name of its own."""
    proc = make(tmp_path)
    file = tmp_path / "srv/ka.conf"
    other = tmp_path / "srv/other.conf"
    file.parent.mkdir()
    file.write_text("# mine\n")
    other.write_text("# another\n")
    container = tmp_path / "container"
    (container / "usr/local/etc/keepalived").mkdir(parents=True)
    (container / "usr/local/etc/keepalived/keepalived.conf").hardlink_to(file)  # as if bound there
    add(proc, 70, exe="/usr/local/sbin/keepalived", mnt=OTHER_MNT, root=str(container))
    add(proc, 71, words=["keepalived", "-f", str(file)])
    add(proc, 72, words=["keepalived", "-f", str(other)])
    add(proc, 73, words=["keepalived", "-f", "ka.conf"], root=str(file.parent))  # not forked off
    by_pid = {one.pid: one for one in find(proc)}
    assert [reads(by_pid[pid], file, proc) for pid in (70, 71, 72, 73)] == [True, True, False, True]


def test_a_file_that_can_not_be_compared(tmp_path: Path) -> None:
    proc = make(tmp_path)
    hidden = {"exe": None, "net": None, "mnt": None, "root": None}
    add(proc, 70, words=["keepalived", "-f", "/etc/a.conf"], **hidden)  # type: ignore[arg-type]
    (found,) = find(proc)
    assert reads(found, Path("/etc/a.conf"), proc) is True
    assert reads(found, Path("/etc/b.conf"), proc) is None


@pytest.mark.parametrize(
    ("exe", "mnt", "speaks"),
    [
        ("keepalived", HOST_MNT, True),
        ("another", HOST_MNT, True),
        ("keepalived", OTHER_MNT, True),  # PrivateTmp=
        ("another", OTHER_MNT, False),  # a container
        ("gone", OTHER_MNT, False),
    ],
)
def test_which_one_takes_our_signals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exe: str, mnt: str, speaks: bool
) -> None:
    for name in ("keepalived", "another"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    proc = make(tmp_path)
    add(proc, 88, exe=str(tmp_path / exe), mnt=mnt)
    (found,) = find(proc)
    assert processes.speaks(found, proc) is speaks


def test_a_unit_with_mounts_of_its_own_reads_the_same_file(tmp_path: Path) -> None:
    file = tmp_path / "ka.conf"
    file.write_text("# mine\n")
    proc = make(tmp_path)
    add(proc, 88, words=["keepalived", "-f", str(file)], mnt=OTHER_MNT)
    (found,) = find(proc)
    assert (found.inside, reads(found, file, proc)) == (False, True)


def test_processes_of_others_may_be_hidden(tmp_path: Path) -> None:
    proc = make(tmp_path)
    assert not processes.hidden(proc)
    (proc / "1/comm").unlink()
    assert processes.hidden(proc)


def test_there_is_no_proc(tmp_path: Path) -> None:
    assert find(tmp_path / "absent") == ()


def test_a_process_by_hand_has_the_default_file() -> None:
    assert Process(5).config == "/etc/keepalived/keepalived.conf"


AWAY = "0::/system.slice/other.service"


@pytest.mark.parametrize(
    ("asked", "given", "found"),
    [
        ((88, "a"), {88: ("a", {}), 71: ("a", {"cgroup": AWAY})}, (88, [71])),
        ((88, "b"), {88: ("a", {}), 71: ("b", {"cgroup": AWAY})}, (71, [88])),
        ((88, "b"), {88: ("a", {}), 71: ("c", {"cgroup": AWAY})}, (88, [71])),
        ((0, "a"), {71: ("b", {"cgroup": AWAY})}, (None, [71])),
        ((0, "a"), {71: ("a", {"cgroup": AWAY})}, (71, [])),
        ((0, "a"), {71: ("a", {"cgroup": AWAY, "net": OTHER_NET})}, (None, [])),
        ((88, "a"), {99: ("a", {})}, (99, [])),  # the unit's main process is a script
        ((88, "a"), {70: ("a", {"cgroup": DOCKER})}, (70, [])),  # or the client of a container
        ((88, "a"), {}, (None, [])),
    ],
)
def test_which_one_has_the_file(
    tmp_path: Path,
    asked: tuple[int, str],
    given: dict[int, tuple[str, dict[str, Any]]],
    found: tuple[int | None, list[int]],
) -> None:
    proc = make(tmp_path)
    files = {name: tmp_path / f"{name}.conf" for name in "abc"}
    for path in files.values():
        path.write_text(f"# {path}\n")
    for pid, (name, changed) in given.items():
        add(proc, pid, words=["keepalived", "-f", str(files[name])], **changed)
    main, file = asked
    mine, others = choose(find(proc), main, "keepalived.service", files[file], proc)
    assert (mine.pid if mine else None, [one.pid for one in others]) == found
