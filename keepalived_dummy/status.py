# SPDX-License-Identifier: MIT
"""`keepalived-dummy status`: what was seen of the host, for people and for programs."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from keepalived_dummy import files, observe, table
from keepalived_dummy.observed import Observation

VERSION = 1  # of the JSON: of one version, keys are added and none is changed or taken away


def run(form: str, watch: bool, into: Path | None = None) -> int:
    """Show the host in a form: text, brief, json or prometheus; with `watch` again at each event.

    `into`: it is written into this file instead.
    """
    if watch:
        from keepalived_dummy import watch as watching

        return watching.run(lambda: show(observe.read(), form, sys.stdout))
    if into:
        files.put_into(into.parent, into.name, show(observe.read(), form, sys.stdout).encode())
        return 0
    sys.stdout.write(show(observe.read(), form, sys.stdout))
    return 0


def show(seen: Observation, form: str, where: TextIO) -> str:
    """The text of a form; colours and a bullet only where `where` takes them."""
    if form == "json":
        return json.dumps(as_json(seen), indent=2) + "\n"
    if form == "prometheus":
        from keepalived_dummy import metrics

        return metrics.text(seen)
    return (table.brief if form == "brief" else table.table)(seen, style(where, os.environ))


def style(where: TextIO, environment: Mapping[str, str]) -> table.Style:
    """Colours on a terminal alone, and not where NO_COLOR is set (no-color.org) or the terminal is dumb."""
    plain = environment.get("NO_COLOR") or environment.get("TERM") == "dumb"
    unicode = (where.encoding or "").lower().replace("-", "") == "utf8"
    return table.Style(where.isatty() and not plain, "●" if unicode else "*")


def as_json(seen: Observation) -> dict[str, Any]:
    """What status.schema.json describes."""
    made = dataclasses.asdict(seen)
    for dummy, values in zip(seen.dummies, made["dummies"], strict=True):
        values["wire"] = {"state": dummy.wire.state, **values["wire"]}
    return {"version": VERSION, **made}
