# SPDX-License-Identifier: MIT
"""What is said of what was found: lines, JSON by its schema, and the exit status."""

from __future__ import annotations

import copy
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from healthy import CONF, HEALTHY, facts, vip

from keepalived_dummy import check, cli, evidence
from keepalived_dummy.cli import main
from keepalived_dummy.errors import UserError
from keepalived_dummy.facts import Facts
from keepalived_dummy.findings import judge
from keepalived_dummy.observed import Unseen

SCHEMA = json.loads((Path(__file__).resolve().parents[3] / "docs/check.schema.json").read_text())
UNSEEN = (Unseen("the firewall", "only root may see it"),)
OLD, DOWN = facts(keepalived=(1, 3, 9)), facts(dummy_up=False)
KEPT = facts(  # in another way
    conf=CONF.replace("dev keepalived0", "dev ens3"),
    seen_vips=(vip(device="ens3"),),
    kept={"ens3": "yes"},
    systemd=257,
)
FAULT = facts(instance_state="FAULT")


def unseen(of: Facts) -> Facts:
    return dataclasses.replace(of, unseen=UNSEEN)


CASES = [
    (HEALTHY, 0, "ok"),
    (OLD, 1, "warning"),
    (DOWN, 2, "critical"),
    (unseen(HEALTHY), 3, "unknown"),
    (unseen(OLD), 1, "warning"),
    (unseen(DOWN), 2, "critical"),
    (KEPT, 0, "ok"),
]
SEVERAL = dataclasses.replace(KEPT, keepalived=(1, 3, 9))


@pytest.mark.parametrize(("given", "exit_status", "word"), CASES)
def test_the_exit_status(
    given: Facts,
    exit_status: int,
    word: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(evidence, "gather", lambda *_: given)
    assert main(["check"]) == exit_status
    said = capsys.readouterr().out.splitlines()
    assert said[0].split()[0] == word.upper()
    assert main(["check", "--json"]) == exit_status
    shown = json.loads(capsys.readouterr().out)
    assert (shown["exit_status"], shown["status"]) == (exit_status, word)


@pytest.mark.parametrize("error", [UserError("no"), OSError(5, "no"), KeyError("no")])
def test_what_fails_is_unknown(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> Facts:
        raise error

    monkeypatch.setattr(evidence, "gather", fail)
    assert main(["check"]) == check.UNKNOWN
    assert "no" in capsys.readouterr().err


def test_the_tools_are_found_where_cron_does_not_look(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def gather(*_: object) -> Facts:
        seen.append(os.environ["PATH"])
        return HEALTHY

    monkeypatch.setattr(evidence, "gather", gather)
    for path in ("/usr/bin:/bin", "/opt/sbin:/usr/local/sbin:/usr/sbin:/sbin"):
        monkeypatch.setenv("PATH", path)
        assert main(["check"]) == 0
    assert seen == ["/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin", path]


def test_who_reads_no_further_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of `check | head -1`, where there is much to say."""
    many = dataclasses.replace(HEALTHY, unseen=UNSEEN * 2000)
    monkeypatch.setattr(evidence, "gather", lambda *_: many)
    complaints: list[str] = []
    monkeypatch.setattr(cli, "complain", complaints.append)
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        assert main(["check"]) == 1
    assert complaints == []


def test_a_configuration_that_is_not_there_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A monitoring of nothing would find nothing."""
    assert main(["check", "--config", str(tmp_path / "absent")]) == check.UNKNOWN
    assert capsys.readouterr() == (
        "",
        f"keepalived-dummy: --config: {tmp_path}/absent is not there\n",
    )


@pytest.mark.parametrize(("later", "exit_status"), [(HEALTHY, 0), (DOWN, 2), (FAULT, 2)])
def test_what_passes_is_looked_for_twice(
    later: Facts, exit_status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, slept = [FAULT, later], list[float]()
    monkeypatch.setattr(evidence, "gather", lambda *_: looks.pop(0))
    monkeypatch.setattr(check.time, "sleep", slept.append)  # type: ignore[attr-defined]
    assert check.run(Path("/x"), False, False) == exit_status
    assert (looks, len(slept)) == ([], 1)


def test_what_comes_up_only_later_is_no_finding_yet() -> None:
    assert check.lasting(judge(DOWN), judge(FAULT)) == ()
    assert check.lasting((), judge(DOWN)) == judge(DOWN)


def test_one_line_a_finding() -> None:
    given = unseen(facts(keepalived=(1, 3, 9), dummy_up=False))
    assert check.lines(judge(given), given) == [
        "CRITICAL dummy-down /etc/keepalived-dummy.d/keepalived.conf: keepalived0 is down: keepalived goes to"
        " FAULT and withdraws every VIP on the dummy; mend: keepalived-dummy apply",
        "WARNING keepalived-old: keepalived is 1.3.9: before 2.0 keepalived does not notice that a VIP was taken"
        " away, and tracks no device of a VIP; mend: apt install --only-upgrade keepalived",
        "UNKNOWN the firewall could not be looked at: only root may see it",
    ]
    assert check.lines((), HEALTHY) == ["OK 2 VIPs, 1 dummy, no hazard found"]


def test_a_name_does_not_steer_the_terminal() -> None:
    given = facts(dummy_up=False, dummy_name="\x1b[2Jx")
    (line,) = check.lines(judge(given), given)[:1]
    assert line.isprintable() and r"\x1b[2Jx is down" in line


def strict() -> Any:
    """The schema without keys that it does not name."""
    made = copy.deepcopy(SCHEMA)
    nodes = [made, *(made["properties"][key]["items"] for key in ("findings", "unseen", "ways"))]
    for node in nodes:
        assert sorted(node["required"]) == sorted(node["properties"])
        node["additionalProperties"] = False
    return made


@pytest.mark.parametrize("given", [case[0] for case in CASES])
def test_what_is_shown_is_what_the_schema_says(given: Facts) -> None:
    shown = json.loads(json.dumps(check.shown(judge(given), given)))
    jsonschema.validate(shown, strict())


@pytest.mark.parametrize(
    "path",
    [
        ("version",),
        ("status",),
        ("exit_status",),
        ("findings",),
        ("findings", 0),
        ("unseen", 0),
        ("ways",),
        ("ways", 0),
        *(("ways", 0, key) for key in ("what", "lacks")),
        *(("findings", 0, key) for key in ("name", "severity", "what", "where", "why", "mend")),
        *(("unseen", 0, key) for key in ("what", "why")),
    ],
)
def test_another_type_in_any_place_is_against_the_schema(path: tuple[Any, ...]) -> None:
    shown = json.loads(json.dumps(check.shown(judge(SEVERAL), unseen(SEVERAL))))
    node = shown
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = {"another": "type"}
    assert not jsonschema.Draft7Validator(strict()).is_valid(shown)


def test_the_version_is_that_of_the_schema() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["version"]["const"] == check.VERSION
