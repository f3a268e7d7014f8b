# SPDX-License-Identifier: MIT
"""What the daemon puts back of the wire, and where it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from keepalived_dummy.daemon import Daemon
from keepalived_dummy.interfaces import IFF_RUNNING, IFF_UP, Link
from keepalived_dummy.plan import Dummy, Filter, Plan

ENS3 = 77777  # no interface of the host that runs this
COOKIE = b"kdmy" + bytes(12)
PLAN = Plan(
    (Dummy("keepalived0", 0, b"", True, True, ("ens3",), "keepalived-dummy:keepalived"),),
    filters=(Filter(ENS3, "ingress", COOKIE, "filter add"),),
)


class Watched:
    """A daemon of one uplink, what it knows to be there, and what it gives to tc."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RUNTIME_DIRECTORY", str(folder))
        self.folder = folder
        self.daemon = Daemon(["false"])
        self.host = self.daemon._host
        self.host.load(PLAN, 0.0)
        self.host._links[ENS3] = Link(ENS3, IFF_UP | IFF_RUNNING, "ens3", "", b"", 1500, 1)
        self.given: list[str] = []
        self.running = False
        monkeypatch.setattr(self.daemon._survey, "cookies", lambda ifindex: set[bytes]())
        monkeypatch.setattr(self.daemon._passes, "mend", self.given.append)
        monkeypatch.setattr(type(self.daemon._passes), "running", property(lambda _: self.running))

    def put_back(self, now: float) -> str:
        self.given.clear()
        self.daemon._put_back(now)
        return "".join(self.given)


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    yield Watched(tmp_path, monkeypatch)


def test_a_filter_at_once(watched: Watched) -> None:
    watched.host.losses.filter_went(ENS3, 10.0)
    assert watched.put_back(10.0) == "filter add\n"
    assert watched.put_back(11.0) == ""


def test_a_qdisc_is_noted_as_ours(watched: Watched) -> None:
    watched.host.losses.qdisc_went(ENS3, 1.0, 10.0)
    assert watched.put_back(10.5) == ""
    assert watched.put_back(11.0) == "qdisc add dev ens3 clsact\nfilter add\n"
    assert [path.name for path in watched.folder.iterdir()] == [f"clsact-{ENS3}"]


def test_the_qdisc_that_was_ours_comes_sooner(watched: Watched) -> None:
    gone = watched.host._gap(ENS3)
    (watched.folder / f"clsact-{ENS3}").touch()
    assert watched.host._gap(ENS3) < gone


def test_not_while_a_pass_runs_but_after_it(watched: Watched) -> None:
    watched.host.losses.filter_went(ENS3, 10.0)
    watched.running = True
    assert watched.put_back(10.0) == ""
    deadline = watched.host.losses.deadline()
    assert deadline is not None and deadline > 10.0, "the loop would not sleep"
    watched.running = False
    assert watched.put_back(deadline) == "filter add\n"


def test_not_where_root_put_a_program_in_their_place(watched: Watched) -> None:
    """Its apply takes the filters away, of which the daemon's plan does not know yet."""
    (watched.folder / f"tcx-{ENS3}").write_text("kdmy_0123456789")
    watched.host.losses.filter_went(ENS3, 10.0)
    assert watched.put_back(10.0) == ""
    assert watched.put_back(20.0) == ""


def test_the_loop_wakes_for_it(watched: Watched) -> None:
    watched.host.ways.clear()
    watched.host.hearing.due = None
    assert watched.daemon._timeout(10.0) is None
    watched.host.losses.qdisc_went(ENS3, 1.0, 10.0)
    assert watched.daemon._timeout(10.25) == 0.75
