# SPDX-License-Identifier: MIT
"""The comparison's pure parts: what each form writes, what is judged, the tables and their place in the docs."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from keepalived_dummy.keepalived import Instance, Memory, read_from

TOP = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(TOP / "tests" / "acceptance"))
changes: Any = importlib.import_module("changes")
comparison: Any = importlib.import_module("comparison")
forms: Any = importlib.import_module("forms")
row: Any = importlib.import_module("row")
ocf: Any = importlib.import_module("ocf")
tables: Any = importlib.import_module("tables")
testbed: Any = importlib.import_module("testbed")

FORMS = {form.name: form for form in forms.FORMS}


def instance(name: str) -> Instance:
    """The form's keepalived.conf, as our own reader takes it."""
    text = testbed.keepalived_conf(FORMS[name].instance(1))
    document = read_from(Memory({"/k.conf": text.encode()}), "/k.conf")
    assert not document.problems
    return document.model.instances[0]


def test_what_is_compared() -> None:
    """Every way that docs/comparison.md is about, each name once, and the package after all others."""
    asked = "keepalived vmac ipvlan keep-static keep-dhcp keep-yes critical critical-pinned netplan-dummy recipe IPaddr2 package"
    assert set(asked.split()) <= set(FORMS)
    assert len(FORMS) == len(forms.FORMS)
    assert forms.FORMS[-1].name == "package"


@pytest.mark.parametrize(
    ("name", "device", "flags"),
    [
        ("keepalived", None, []),
        ("vmac", None, ["use_vmac"]),
        ("vmac-pinned", None, ["use_vmac", "mcast_src_ip"]),
        ("vmac-addr", None, ["use_vmac", "mcast_src_ip"]),
        ("ipvlan", None, ["use_ipvlan"]),
        ("keep-pinned", None, ["mcast_src_ip"]),
        ("critical", None, []),
        ("critical-pinned", None, ["mcast_src_ip"]),
        ("netplan-dummy", "keepalived0", []),
        ("recipe-up", "keepalived0", []),
    ],
)
def test_the_instance_of_a_form(name: str, device: str | None, flags: list[str]) -> None:
    one = instance(name)
    asked = ("use_vmac", "use_ipvlan", "mcast_src_ip", "unicast_src_ip")
    assert [flag for flag in asked if getattr(one, flag)] == flags
    assert [vip.device.text if vip.device else None for vip in one.vips] == [device, device]
    assert {vip.family for vip in one.vips} == {4, 6}


def test_both_of_use_vmac() -> None:
    words = [[word.text for word in s.words] for s in instance("vmac").statement.children]
    assert ["use_vmac", forms.VMAC] in words
    assert ["vmac_xmit_base"] in words


@pytest.mark.parametrize(
    ("version", "has"),
    [("0.106-2+deb12u1", False), ("0.107-5ubuntu0.3", True), ("1.1.2-7", True), ("1.0-1", True)],
)
def test_dummy_devices(version: str, has: bool) -> None:
    """Where netplan has none, the files it would write are there instead, of the same names."""
    files = FORMS["netplan-dummy"].files(version)
    if has:
        (text,) = files.values()
        assert text.splitlines()[2:] == ["  dummy-devices:", "    keepalived0: {}"]
    else:
        names = {path.name for path in files}
        assert names == {f"10-netplan-keepalived0.{kind}" for kind in ("netdev", "network")}


def test_no_version_of_netplan() -> None:
    with pytest.raises(ValueError, match="no packages"):
        forms.has_dummy_devices("dpkg-query: no packages found")


def test_files_of_the_uplink() -> None:
    uplink = testbed.UPLINK
    ((path, text),) = FORMS["keep-dhcp"].files("1.1").items()
    assert str(path) == f"/etc/systemd/network/10-netplan-{uplink}.network.d/50-form.conf"
    assert text == "[Network]\nKeepConfiguration=dhcp\n"
    ((path, text),) = FORMS["critical"].files("0.106").items()
    assert text.splitlines() == [
        "network:",
        "  version: 2",
        "  ethernets:",
        f"    {uplink}: {{critical: true}}",
    ]
    assert FORMS["keepalived"].files("1.1") == FORMS["package"].files("1.1") == {}


def test_the_agent_is_told() -> None:
    told = ocf.environment(Path("/there"), "2001:db8::10", 64)
    assert told["OCF_ROOT"] == "/there/usr/lib/ocf"
    assert told["OCF_RESKEY_ip"] == "2001:db8::10"
    assert told["OCF_RESKEY_cidr_netmask"] == "64"


def cell(form: str, lost: int = 0, host: str = "", **more: Any) -> dict[str, Any]:
    """A cell of the results; `host` the states it entered, split at the slash."""
    count = {"sent": 500, "lost": lost, "gap": 10}
    both = ["IPv4", "IPv6"]
    base = {"uplink": "dhcp", "form": form, "title": FORMS[form].title, "event": "netplan apply"}
    told = {
        "host": host.split("/") if host else [],
        "peer": ["MASTER", "BACKUP"] if host else [],
        "keepalived restarted": False,
        "back": True,
        "error": "",
        "IPv4": count,
        "IPv6": dict(count),
        "two holders": {"IPv4": 0.0, "IPv6": 0.0},
        "left": [],
    }
    seen = {"served": both, "on": ["ens3", "ens3"], "held": both, "recovered": None}
    return {**base, **told, **seen, **more}


BAD = cell("keepalived", 180, "FAULT/BACKUP/MASTER")


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([BAD, cell("package")], []),
        ([cell("keepalived")], ["prove nothing"]),
        ([cell("keepalived", event="failover")], []),
        ([BAD, cell("package", 2)], ["4 of 1000 pings lost"]),
        ([BAD, cell("package", 2, event="failover")], []),
        ([BAD, cell("package", host="FAULT")], ["changed their states"]),
        ([BAD, cell("package", host="FAULT", event="failover")], []),
        ([BAD, cell("package", held=["IPv4"], back=False)], ["held at the end ['IPv4']"]),
        ([BAD, cell("package", served=["IPv4"])], ["served ['IPv4']"]),
        ([BAD, cell("vmac", 400, "FAULT", back=False)], []),
        ([BAD, cell("vmac", error="no such link")], ["no such link"]),
    ],
)
def test_what_is_wrong(cells: list[dict[str, Any]], said: list[str]) -> None:
    """Only what this package promises, what could not be measured, and a bed in which nothing fails."""
    found = comparison.wrong(cells)
    assert bool(found) == bool(said)
    assert all(any(words in text for words in said) for text in found)


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (cell("vmac"), "0 of 500, 0 of 500; none"),
        (cell("vmac", 500), "all, all; none"),
        (
            cell("vmac", 7, "FAULT/BACKUP"),
            "7 of 500, 7 of 500; FAULT/BACKUP, other node MASTER/BACKUP",
        ),
        (cell("vmac", 7, back=False), "7 of 500, 7 of 500; none; **not back by itself**"),
        (
            cell("vmac") | {"two holders": {"IPv4": 2.26, "IPv6": 1.0}},
            "0 of 500, 0 of 500; none; two holders for 2.3 s",
        ),
        (
            cell("vmac")
            | {"two holders": {"IPv4": 0.04, "IPv6": 0}, "held on": {"IPv4": 2.5, "IPv6": None}},
            "0 of 500, 0 of 500; none; given up after 2.5 s",
        ),
        (
            cell("vmac", left=["192.0.2.1"], held=["IPv4"]),
            "0 of 500, 0 of 500; none; left behind: 192.0.2.1; held at the end: IPv4",
        ),
        (cell("IPaddr2", recovered=2), "0 of 500, 0 of 500; none; VIPs set again 2 times"),
        (cell("vmac", served=[]), "not served, before any event"),
        (cell("vmac", error="no\nlink"), "0 of 500, 0 of 500; none; failed: no link"),
    ],
)
def test_a_cell(one: dict[str, Any], text: str) -> None:
    assert comparison.text(one) == text


def test_a_cell_that_could_not_be_measured() -> None:
    one = {k: v for k, v in cell("vmac", error="no\nlink").items() if k not in comparison.VIPS}
    assert comparison.text(one) == "not measured: no link"


def test_a_table() -> None:
    """One for each kind of uplink and group of events; what is still to be run is empty."""
    cells = [BAD, cell("recipe", served=[], on=["", ""])]
    cells += [cell("recipe", served=[], on=["", ""], event="networkd restarted")]
    cells += [cell("package", event="failover"), cell("package", uplink="static")]
    lines = list(comparison.table({"cells": cells}))
    assert lines[0] == "| uplink dhcp | VIPs on | netplan apply | networkd restarted |"
    assert lines[2].endswith("other node MASTER/BACKUP |  |")
    unserved = "not served, before any event"
    assert lines[3] == f"| the published recipe | none | {unserved} | {unserved} |"
    assert lines[5] == "| uplink dhcp | VIPs on | failover |"
    assert lines[9] == "| uplink static | VIPs on | netplan apply |"
    for block in "\n".join(lines).strip().split("\n\n"):
        assert len({text.count("|") for text in block.splitlines()}) == 1


def test_in_the_docs() -> None:
    """The tables go between the marks, one level of heading down; what was there before goes."""
    doc = f"# A\n\n{tables.BEGIN}\nold\n{tables.END}\n\n## B\n"
    table = "# Title\n\ntext\n\n## trixie\n"
    made = tables.filled(doc, table)
    assert made == f"# A\n\n{tables.BEGIN}\ntext\n\n### trixie\n{tables.END}\n\n## B\n"
    assert tables.filled(made, table) == made
    with pytest.raises(ValueError, match="no <!-- comparison -->"):
        tables.filled("# A\n", table)


def test_the_docs_are_of_the_evidence() -> None:
    """docs/comparison.md has the tables of docs/evidence as they are, or no figure where there are none."""
    doc = (TOP / "docs" / "comparison.md").read_text()
    table = tables.made("comparison", TOP / "docs" / "evidence")
    empty = "# Title\n\nNot measured yet.\n"
    assert doc == tables.filled(doc, table or empty)


# The cells, and what is there of them


def wanted(**words: Any) -> list[tuple[Any, str, Any]]:
    options = {"form": None, "uplink": None, "event": None, **words}
    found: list[tuple[Any, str, Any]] = comparison.wanted_cells(argparse.Namespace(**options))
    return found


def test_every_event_that_was_asked_for() -> None:
    """By the words of the task: each has a name of its own, and is in one of the tables."""
    names = [change.name for change in changes.CHANGES]
    assert len(set(names)) == len(names)
    assert set(comparison.USUAL) <= set(names)
    for words in (
        "another address",
        "other kind and back",
        "id renamed",
        "try, reverted",
        "kill -9",
        "systemd reinstalled",
        "lease ends, server dead",
        "lease of another address",
        "carrier lost for 1 s",
        "carrier lost for 30 s",
        "down and up",
        "keepalived kill -9",
        "somebody's addresses",
        "unicast_peer",
        "failover",
    ):
        assert any(words in name for name in names), words


def test_the_cells_that_were_asked_for() -> None:
    """A server's events are for DHCP alone, keepalived's for its forms alone; a form's cells are one after another."""
    every = wanted()
    keys = [(form.name, how, change.name) for form, how, change in every]
    assert len(set(keys)) == len(keys)
    assert ("package", "static", "lease ends, server dead") not in keys
    assert ("package", "dhcp", "lease ends, server dead") in keys
    assert ("IPaddr2", "dhcp", "failover") not in keys
    rows = [key[:2] for key in keys]
    assert len(set(rows)) == sum(a != b for a, b in pairwise([None, *rows]))
    few = wanted(form=["package"], uplink=["static"], event=["failover", "netplan apply"])
    assert [change.name for _, _, change in few] == ["netplan apply", "failover"]


def test_what_is_still_to_be_run() -> None:
    chosen = wanted(form=["vmac"], uplink=["dhcp"], event=["netplan apply", "failover"])
    there = [cell("vmac"), cell("vmac", event="failover", uplink="static")]
    left = comparison.pending(chosen, there, True)
    assert [change.name for _, _, change in left] == ["failover"]
    assert comparison.pending(chosen, there, False) == chosen


def test_a_new_cell_takes_the_place_of_the_old_one() -> None:
    """And all are in the order of the tables."""
    old = [cell("package"), cell("keepalived", 1), cell("package", uplink="static")]
    found = comparison.merged(old, cell("package", 3))
    assert [(one["uplink"], one["form"]) for one in found] == [
        ("static", "package"),
        ("dhcp", "keepalived"),
        ("dhcp", "package"),
    ]
    assert found[2]["IPv4"]["lost"] == 3


def test_results_of_another_suite(tmp_path: Path) -> None:
    path = tmp_path / "comparison.json"
    assert comparison.load(path, "trixie")["cells"] == []
    path.write_text(json.dumps({"suite": "sid", "cells": []}))
    with pytest.raises(ValueError, match="is of sid, not of trixie"):
        comparison.load(path, "trixie")


def test_the_results_that_are_there_can_be_resumed() -> None:
    """Those in docs/evidence are of their suite, and of forms and events that there are."""
    for path in (TOP / "docs" / "evidence").glob("comparison-*.json"):
        cells = comparison.load(path, path.stem.partition("-")[2])["cells"]
        assert cells
        assert comparison.merged(cells[:-1], cells[-1]) == cells


# A host by its doubles


class Bed:
    """A testbed that does nothing."""

    def __init__(self, work: Path) -> None:
        self.work = work

    def peer_up(self, **_: Any) -> None:
        pass


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """It holds what `held` says, its uplink has what `own` says, and `said` are the steps it was told."""
    vips = row.VIPS.values()
    told: dict[str, Any] = {
        "held": set(vips),
        "own": {"192.0.2.1"},
        "said": [],
        "active": True,
        "routes": [],
    }

    class Client:
        def __init__(self, where: str, target: str) -> None:
            self.began = row.time.time()

        def stop(self) -> Any:
            pings = importlib.import_module("pings").Pings
            return pings(0, {}, self.began, row.time.time())

    class Holders:
        def __init__(self, work: Path, vips: Any) -> None:
            self.vips = vips

        def stop(self) -> Any:
            return {vip: ([], []) for vip in self.vips}

    def window(bed: Any, event: Any, over: Any) -> Any:
        now, error = row.time.time(), ""
        try:
            event.run()
        except RuntimeError as problem:
            error = str(problem)
        return row.matrix.Window(event.name, now, now, now, [], [], False, error)

    doubles: dict[str, Any] = {
        "Pinger": Client,
        "HolderTrace": Holders,
        "BACK": 0.2,
        "ROUTES": 0.2,
        "run": lambda text, check=True: "",
        "holds": lambda vip: vip in told["held"],
        "reachable": lambda vip: vip in told["held"],
        "own_addresses": lambda: set(told["own"]),
        "devices_of": lambda vip: ["ens3"] if vip in told["held"] else [],
        "_keepalived_is_active": lambda: told["active"],
        "put_up": lambda bed, form, how, unicast: told["said"].append(f"up {form.name} {unicast}"),
        "take_down": lambda bed, form: told["said"].append(f"down {form.name}"),
    }
    for name, double in doubles.items():
        monkeypatch.setattr(row, name, double)
    monkeypatch.setattr(row.matrix, "window", window)
    monkeypatch.setattr(row.cells, "ours", lambda: "".join(told["routes"]))
    monkeypatch.setattr(row.time, "sleep", lambda seconds: None)
    return told


def change(run: Any = lambda stage: None, **more: Any) -> Any:
    return changes.Change("event", "networkd", run, **more)


def row_of(tmp_path: Path, form: str = "vmac") -> Any:
    return row.Row(Bed(tmp_path), FORMS[form], "dhcp")


def test_events_that_leave_the_host_as_it_was(host: dict[str, Any], tmp_path: Path) -> None:
    """One form is put up for all of them."""
    one = row_of(tmp_path)
    cells = [one.cell(change()), one.cell(change())]
    one.down()
    assert [found["error"] for found in cells] == ["", ""]
    assert cells[0]["left"] == []
    assert host["said"] == ["up vmac False", "down vmac"]


def test_an_event_that_spoils_the_host(host: dict[str, Any], tmp_path: Path) -> None:
    """The form is put up anew for the next, as it is where nobody thought that the event would do so."""
    one = row_of(tmp_path)
    one.cell(change(spoils=True))
    one.cell(change(lambda stage: host["own"].add("198.51.100.9")))
    one.cell(change())
    one.down()
    assert host["said"] == ["up vmac False", "down vmac"] * 3


def test_nodes_that_name_each_other(host: dict[str, Any], tmp_path: Path) -> None:
    one = row_of(tmp_path)
    one.cell(change())
    one.cell(change(unicast=True, spoils=True))
    assert host["said"] == ["up vmac False", "down vmac", "up vmac True", "down vmac"]


def test_what_stays_behind(host: dict[str, Any], tmp_path: Path) -> None:
    """The old address, where another was to take its place; one of somebody else; a VIP that no keepalived holds."""

    def another(stage: Any) -> set[str]:
        host["own"].add("192.0.2.7")
        return {"192.0.2.7"}

    assert row_of(tmp_path).cell(change(another))["left"] == ["192.0.2.1"]
    host["own"] = {"192.0.2.1"}
    add = change(lambda stage: host["own"].add("198.51.100.9"))
    assert row_of(tmp_path).cell(add)["left"] == ["198.51.100.9"]
    host["own"] = {"192.0.2.1"}
    host["routes"].append("default dev ens3  proto 75\n")
    assert row_of(tmp_path).cell(change())["left"] == ["route default dev ens3 proto 75"]
    gone = change(lambda stage: host["own"].clear())
    assert row_of(tmp_path).cell(gone)["left"] == []  # nothing else leads to the client
    host["own"], host["routes"] = {"192.0.2.1"}, []
    found = row_of(tmp_path).cell(change(lambda stage: host.update(active=False)))
    assert found["left"] == [f"{vip} on ens3" for vip in row.VIPS.values()]
    assert not found["back"]


def test_a_vip_that_does_not_come_back(host: dict[str, Any], tmp_path: Path) -> None:
    found = row_of(tmp_path).cell(change(lambda stage: host["held"].clear()))
    assert not found["back"]
    assert found["held"] == []


def test_a_form_that_serves_nothing(host: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    """The event does not happen."""
    host["held"].clear()
    monkeypatch.setattr(row, "wait_for", _never)
    happened: list[object] = []
    found = row_of(tmp_path, "recipe").cell(change(happened.append))
    assert found["served"] == found["held"] == happened == []
    assert not found["error"]


def _never(what: str, test: Any, seconds: float = 30, step: float = 0.1) -> float:
    if test():
        return 0
    raise RuntimeError(what)


def test_a_form_that_fails(host: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    """It says why, and is taken down like any other."""

    def failing(bed: Any, form: Any, how: str, unicast: bool) -> None:
        raise RuntimeError("Unknown device type.")

    monkeypatch.setattr(row, "put_up", failing)
    found = row_of(tmp_path, "ipvlan").cell(change())
    assert found["error"] == "Unknown device type."
    assert host["said"] == ["down ipvlan"]
    (said,) = comparison.wrong([BAD, found])
    assert said == "use_ipvlan, dhcp, event: Unknown device type."


def test_no_agent_to_call(host: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(row, "AGENT", tmp_path)
    assert row_of(tmp_path, "IPaddr2").cell(change())["error"].startswith("no agent: ")


def test_how_long_the_host_held_on() -> None:
    """From the event to the first moment without the VIP."""
    assert row.held_on([(0, 13.5), (20, 30)], 10, 30) == 3.5
    assert row.held_on([(0, 30)], 10, 30) is None
    assert row.held_on([], 10, 30) is None


# The testbed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"how": "static"}, {"addresses": ["192.0.2.1/24", "2001:db8::1/64"]}),
        ({"how": "dhcp"}, {"addresses": ["2001:db8::1/64"], "dhcp4": True}),
        (
            {"how": "static", "address4": "192.0.2.7", "address6": "2001:db8::7"},
            {"addresses": ["192.0.2.7/24", "2001:db8::7/64"]},
        ),
        ({"how": "dhcp", "name": "wan"}, {"match": {"name": testbed.UPLINK}}),
    ],
)
def test_the_uplink_in_netplan(words: dict[str, Any], said: dict[str, Any]) -> None:
    made = yaml.safe_load(testbed.uplink_yaml(**words))["network"]["ethernets"]
    ((name, settings),) = made.items()
    assert name == words.get("name", testbed.UPLINK)
    assert settings.items() >= said.items()
    assert ("match" in settings) == (name != testbed.UPLINK)
    assert ("dhcp4" in settings) == (words["how"] == "dhcp")


def test_the_forms_own_netplan_follows_a_new_id() -> None:
    (text,) = FORMS["critical-pinned"].files("1.1", "wan").values()
    assert yaml.safe_load(text)["network"]["ethernets"] == {"wan": {"critical": True}}


def test_where_an_ipvlan_advertises_from() -> None:
    assert FORMS["ipvlan"].advertises == "192.0.2.3"
    assert FORMS["package"].advertises == testbed.ADDRESS4
