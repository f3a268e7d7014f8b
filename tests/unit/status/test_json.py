# SPDX-License-Identifier: MIT
"""status --json is what its schema says, and the schema says it all."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hosts
import jsonschema
import pytest
from hosts import HOSTS, Made

from keepalived_dummy import status
from keepalived_dummy.assembly import assemble

SCHEMA = json.loads((Path(__file__).resolve().parents[3] / "docs/status.schema.json").read_text())


def objects(node: Any) -> Iterator[dict[str, Any]]:
    """Every object of the schema that lists its keys."""
    if isinstance(node, dict):
        if isinstance(node.get("properties"), dict):
            yield node
        for value in node.values():
            yield from objects(value)


def strict() -> Any:
    """The schema without keys that it does not name."""
    made = copy.deepcopy(SCHEMA)
    for node in objects(made):
        node["additionalProperties"] = False
    return made


def shown(made: Made) -> Any:
    return json.loads(json.dumps(status.as_json(assemble(hosts.sources(made)))))


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    for node in objects(SCHEMA):
        assert sorted(node["required"]) == sorted(node["properties"])


@pytest.mark.parametrize("made", HOSTS.values(), ids=HOSTS)
def test_what_is_shown_is_what_the_schema_says(made: Made) -> None:
    jsonschema.validate(shown(made), strict())


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every key and item."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def test_another_type_in_any_place_is_against_the_schema() -> None:
    good = shown(HOSTS["no-address"])
    validator = jsonschema.Draft7Validator(strict())
    tried = 0
    for *path, last in places(good):
        bad = copy.deepcopy(good)
        node = bad
        for key in path:
            node = node[key]
        node[last] = {"another": "type"}
        assert not validator.is_valid(bad), (*path, last)
        tried += 1
    assert tried > 100


def test_the_version_is_that_of_the_schema() -> None:
    assert SCHEMA["properties"]["version"]["const"] == status.VERSION


@pytest.mark.parametrize("word", ["192.0.2.5", "192.0.2.5/24", "192.0.2.5-9"])
def test_a_source_is_shown_as_keepalived_takes_it(word: str) -> None:
    conf = hosts.CONF.replace("mcast_src_ip 192.0.2.5", f"mcast_src_ip {word}")
    assert [one["source"] for one in shown(Made(conf=conf))["instances"]] == ["192.0.2.5"]
