# SPDX-License-Identifier: MIT
"""The comparison's pure parts: what each form writes, what is judged, the tables and their place in the docs."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from keepalived_dummy.keepalived import Instance, Memory, read_from

TOP = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(TOP / "tests" / "acceptance"))
comparison: Any = importlib.import_module("comparison")
forms: Any = importlib.import_module("forms")
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
    asked = "keepalived vmac ipvlan keep-static keep-dhcp keep-yes critical netplan-dummy recipe IPaddr2 package"
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


def entry(lost: int = 0, host: str = "", back: bool = True, error: str = "") -> dict[str, Any]:
    """An event of a row; `host` the states it entered, split at the slash."""
    count = {"sent": 500, "lost": lost, "gap": 10}
    return {
        "event": "netplan apply",
        "host": host.split("/") if host else [],
        "peer": ["MASTER", "BACKUP"] if host else [],
        "keepalived restarted": False,
        "back": back,
        "error": error,
        "IPv4": count,
        "IPv6": dict(count),
    }


def row(form: str, *events: dict[str, Any], **more: Any) -> dict[str, Any]:
    base = {"form": form, "title": FORMS[form].title, "uplink": "dhcp", "events": list(events)}
    both = ["IPv4", "IPv6"]
    on = ["ens3", "ens3"]
    told = {"served": both, "on": on, "held": both, "recovered": None, "error": ""}
    return {**base, **told, **more}


BAD = row("keepalived", entry(lost=180, host="FAULT/BACKUP/MASTER"))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([BAD, row("package", entry())], []),
        ([row("keepalived", entry())], ["proves nothing", "prove nothing"]),
        ([BAD, row("package", entry(lost=2))], ["4 of 1000 pings lost"]),
        ([BAD, row("package", entry(host="FAULT"))], ["changed their states"]),
        ([BAD, row("package", entry(), held=["IPv4"])], ["held at the end ['IPv4']"]),
        ([BAD, row("package", served=["IPv4"], held=["IPv4"])], ["served ['IPv4']"]),
        ([BAD, row("vmac", entry(lost=400, host="FAULT", back=False))], []),
        ([BAD, row("vmac", error="no such link")], ["no such link"]),
        ([BAD, row("vmac", entry(error="ended with 1"))], ["ended with 1"]),
    ],
)
def test_what_is_wrong(rows: list[dict[str, Any]], said: list[str]) -> None:
    """Only what this package does, what could not be measured, and a bed in which nothing fails."""
    found = comparison.wrong(rows)
    assert bool(found) == bool(said)
    assert all(any(words in text for words in said) for text in found)


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (entry(), "0 of 500, 0 of 500; none"),
        (entry(500), "all, all; none"),
        (entry(7, "FAULT/BACKUP"), "7 of 500, 7 of 500; FAULT/BACKUP, other node MASTER/BACKUP"),
        (entry(7, back=False), "7 of 500, 7 of 500; none; **not back by itself**"),
    ],
)
def test_a_cell(one: dict[str, Any], text: str) -> None:
    assert comparison.cell(one) == text


def test_a_table() -> None:
    """A block for each uplink; a row without events says why in every cell of it."""
    rows = [BAD, row("recipe", served=[], on=["", ""], held=[])]
    rows += [row("vmac", error="no\nlink", on=["vrrp.51", "ens3"], held=["IPv4"])]
    rows += [row("IPaddr2", entry(), recovered=3), {**row("package", entry()), "uplink": "static"}]
    lines = list(comparison.table({"rows": rows}))
    assert lines[0] == "| uplink dhcp | VIPs on | netplan apply | held at the end |"
    assert lines[3] == "| the published recipe | none | not served, before any event | none |"
    assert lines[4].endswith("| vrrp.51, ens3 | not measured: no link | IPv4 |")
    assert "(VIPs set again 3 times)" in lines[5]
    assert lines[7] == "| uplink static | VIPs on | netplan apply | held at the end |"
    tabled = [text for text in lines if text]
    assert len({text.count("|") for text in tabled}) == 1


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


class Bed:
    """A testbed that does nothing."""

    def __init__(self, work: Path) -> None:
        self.work = work

    def peer_up(self) -> None:
        pass


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A host by its doubles: it holds what `held` says, and `said` are the commands and steps it was told."""
    told: dict[str, Any] = {"held": set(comparison.VIPS.values()), "said": []}

    class Client:
        def __init__(self, where: str, target: str) -> None:
            self.began = comparison.time.time()

        def stop(self) -> Any:
            pings = importlib.import_module("pings").Pings
            return pings(0, {}, self.began, comparison.time.time())

    def window(bed: Any, event: Any) -> Any:
        event.run()
        now = comparison.time.time()
        return comparison.matrix.Window(event.name, now, now, now, [], [], False)

    def command(text: str, check: bool = True) -> str:
        told["said"].append(text)
        return ""

    doubles: dict[str, Any] = {
        "Pinger": Client,
        "BACK": 0.2,
        "run": command,
        "holds": lambda vip: vip in told["held"],
        "reachable": lambda vip: vip in told["held"],
        "devices_of": lambda vip: ["ens3"] if vip in told["held"] else [],
        "put_up": lambda bed, form, how: told["said"].append(f"up {form.name}"),
        "take_down": lambda bed, form: told["said"].append(f"down {form.name}"),
    }
    for name, double in doubles.items():
        monkeypatch.setattr(comparison, name, double)
    monkeypatch.setattr(comparison.matrix, "window", window)
    monkeypatch.setattr(comparison.time, "sleep", lambda seconds: None)
    return told


def events_of(host: dict[str, Any], *gone: bool) -> list[Any]:
    """Events at which the host loses its VIPs, or not."""
    event: Any = comparison.events.Event
    return [
        event(f"event {n}", host["held"].clear if lost else lambda: None)
        for n, lost in enumerate(gone)
    ]


def test_a_vip_that_does_not_come_back(host: dict[str, Any], tmp_path: Path) -> None:
    """keepalived is started anew, once, and the row says at which event it was."""
    row = comparison.measure(Bed(tmp_path), FORMS["vmac"], "dhcp", events_of(host, False, True))
    assert [entry["back"] for entry in row["events"]] == [True, False]
    restarts = [text for text in host["said"] if "restart keepalived" in text]
    assert len(restarts) == 1
    assert row["held"] == []
    assert host["said"][0] == "up vmac"
    assert host["said"][-1] == "down vmac"


def test_a_form_that_serves_nothing(host: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    """No event is tried with it."""
    host["held"].clear()
    monkeypatch.setattr(comparison, "wait_for", _never)
    row = comparison.measure(Bed(tmp_path), FORMS["recipe"], "dhcp", events_of(host, False))
    assert row["events"] == row["served"] == row["held"] == []
    assert not row["error"]


def _never(what: str, test: Any, seconds: float = 30, step: float = 0.1) -> float:
    if test():
        return 0
    raise RuntimeError(what)


def test_a_form_that_fails(host: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    """It says why, and is taken down like any other."""

    def failing(bed: Any, form: Any, how: str) -> None:
        raise RuntimeError("Unknown device type.")

    monkeypatch.setattr(comparison, "put_up", failing)
    row = comparison.measure(Bed(tmp_path), FORMS["ipvlan"], "dhcp", events_of(host, False))
    assert row["error"] == "Unknown device type."
    assert host["said"][-1] == "down ipvlan"
    assert comparison.wrong([BAD, row]) == ["use_ipvlan, dhcp: Unknown device type."]


def test_no_agent_to_call(host: dict[str, Any], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(comparison, "AGENT", tmp_path)
    row = comparison.measure(Bed(tmp_path), FORMS["IPaddr2"], "dhcp", events_of(host, False))
    assert row["error"].startswith("no agent: ")
