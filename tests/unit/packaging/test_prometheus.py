# SPDX-License-Identifier: MIT
"""Metrics, alert rules and dashboard, by Prometheus' own tool (`make unit` gets it) and against each other."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keepalived_dummy import metrics
from keepalived_dummy.metrics import PREFIX, Metric

TREE = Path(__file__).resolve().parents[3]
PROMTOOL = TREE / "build/promtool/usr/bin/promtool"
RULES = TREE / "examples/prometheus/keepalived-dummy.rules.yml"
TESTS = RULES.with_name("keepalived-dummy.test.yml")
DASHBOARD = TREE / "examples/grafana/keepalived-dummy.json"
SHOWN = sorted((TREE / "tests/unit/status/expected").glob("*.prom"))
NAMES = {PREFIX + one.name for one in vars(metrics).values() if isinstance(one, Metric)}
ALERTS = re.findall(r"^      - alert: (\w+)$", RULES.read_text(), re.MULTILINE)


def promtool(*words: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROMTOOL, *words], input=given, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("path", SHOWN, ids=[path.stem for path in SHOWN])
def test_names_and_help_are_as_prometheus_asks(path: Path) -> None:
    done = promtool("check", "metrics", given=path.read_text())
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("good", "bad"),
    [("wire_frames_total", "wire_frames"), ("# HELP keepalived_dummy_vip_held", "# nothing")],
)
def test_a_bad_name_or_no_help_is_found(good: str, bad: str) -> None:
    text = (TREE / "tests/unit/status/expected/master.prom").read_text()
    assert good in text
    assert promtool("check", "metrics", given=text.replace(good, bad)).returncode != 0


def test_the_rules_pass_their_tests() -> None:
    for words in (("check", "rules", RULES), ("test", "rules", TESTS)):
        done = promtool(*words)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_a_rule_that_is_not_there_fails_its_test(alert: str, tmp_path: Path) -> None:
    text = RULES.read_text().replace(f"- alert: {alert}\n", "- alert: Another\n")
    (tmp_path / RULES.name).write_text(text)
    (tmp_path / TESTS.name).write_text(TESTS.read_text())
    done = promtool("test", "rules", tmp_path / TESTS.name)
    assert done.returncode != 0
    assert f"name: {alert}," in done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS)
def test_a_rule_is_silent_on_a_healthy_host(alert: str) -> None:
    healthy = TESTS.read_text().split("  - name: ")[1]
    assert healthy.startswith("a healthy host\n")
    assert f"alertname: {alert}, exp_alerts: []" in healthy


def test_rules_and_dashboard_know_the_metrics() -> None:
    for path in (RULES, DASHBOARD):
        used = set(re.findall(rf"\b{PREFIX}\w+", path.read_text()))
        assert used
        assert used <= NAMES, path


# The dashboard


def panels(node: Any) -> Iterator[dict[str, Any]]:
    for panel in node.get("panels", ()):
        yield panel
        yield from panels(panel)


def test_the_dashboard_is_one() -> None:
    """As grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model asks."""
    board = json.loads(DASHBOARD.read_text())
    assert board["id"] is None
    assert board["schemaVersion"] >= 36
    assert re.fullmatch(r"[\w-]{1,40}", board["uid"])
    found = list(panels(board))
    assert len({panel["id"] for panel in found}) == len(found)
    places: set[tuple[int, int]] = set()
    for panel in found:
        spot = panel["gridPos"]
        assert spot["x"] + spot["w"] <= 24
        cells = {(spot["x"] + x, spot["y"] + y) for x in range(spot["w"]) for y in range(spot["h"])}
        assert not cells & places, f"{panel['title']} lies over another panel"
        places |= cells
        assert panel["title"]
        assert panel["description"]
        assert [t["refId"] for t in panel["targets"]] == sorted(
            {t["refId"] for t in panel["targets"]}
        )
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"]


def test_every_query_of_the_dashboard_is_one(tmp_path: Path) -> None:
    """Prometheus reads each as the expression of a rule."""
    board = json.loads(DASHBOARD.read_text())
    lines = ["groups:", "  - name: dashboard", "    rules:"]
    count = 0
    for panel in panels(board):
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "5m")
            lines.append(f"      - record: a:b{count}\n        expr: {json.dumps(query)}")
            count += 1
    path = tmp_path / "rules.yml"
    path.write_text("\n".join(lines) + "\n")
    done = promtool("check", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{count} rules found" in done.stdout
