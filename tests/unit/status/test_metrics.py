# SPDX-License-Identifier: MIT
"""status --prometheus of every host, compared whole; UPDATE=1 writes what is there."""

from __future__ import annotations

import sys

import hosts
import pytest
from hosts import HOSTS, Made
from prometheus_client import parser
from test_table import compare

from keepalived_dummy import metrics
from keepalived_dummy.assembly import assemble
from keepalived_dummy.errors import UserError
from keepalived_dummy.metrics import Metric

METRICS = [one for one in vars(metrics).values() if isinstance(one, Metric)]


@pytest.mark.parametrize(("name", "made"), HOSTS.items(), ids=HOSTS)
def test_metrics(name: str, made: Made) -> None:
    compare(f"{name}.prom", metrics.text(assemble(hosts.sources(made))))


@pytest.mark.parametrize("name", ["two", "odd"])
def test_the_text_is_read_again_with_every_label(name: str) -> None:
    seen = assemble(hosts.sources(HOSTS[name]))
    families = list(parser.text_string_to_metric_families(metrics.text(seen)))  # type: ignore[no-untyped-call]
    read = [(s.name, s.labels, s.value) for family in families for s in family.samples]
    wanted = [
        (metrics.PREFIX + metric.name, dict(zip(metric.labels, labels, strict=True)), value)
        for metric, samples in metrics.collect(seen).items()
        for labels, value in samples.items()
    ]
    assert read == wanted
    assert len({(name, *labels.items()) for name, labels, _ in read}) == len(read)


def test_every_metric_is_of_some_host() -> None:
    found = {m for made in HOSTS.values() for m in metrics.collect(assemble(hosts.sources(made)))}
    assert found == set(METRICS)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)  # type: ignore[misc]
    with pytest.raises(UserError, match="apt install python3-prometheus-client"):
        metrics.text(assemble(hosts.sources(HOSTS["master"])))
