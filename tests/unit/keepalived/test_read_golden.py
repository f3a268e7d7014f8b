# SPDX-License-Identifier: MIT
"""Whole trees of files under cases/NN-name/in, and what is read of them in expected.

A new case is a new folder. KEEPALIVED_DUMMY_ACCEPT=1 writes expected anew; read the diff then.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from keepalived_dummy.keepalived import (
    Document,
    Instance,
    Statement,
    Word,
    read,
    sources,
    tokenize,
    unsure_of,
    uplinks_of,
)

CASES = sorted(path for path in (Path(__file__).parent / "cases").iterdir() if path.is_dir())

SETTINGS = (
    "interface",
    "state",
    "virtual_router_id",
    "mcast_src_ip",
    "unicast_src_ip",
    "use_vmac",
    "use_ipvlan",
    "native_ipv6",
    "unicast_peer",
)


def show_word(word: Word) -> str:
    if word.literal and word.certain:
        return ascii(word.text)
    return f"{word.text!a}{'~' if word.certain else '?'}"


def show_statement(statement: Statement, depth: int) -> Iterator[str]:
    words = statement.words
    first = words[0] if words else statement.opened
    assert first is not None
    last = words[-1] if words else first
    name = first.path.rsplit("/", 1)[-1]
    place = f"{name}:{first.line}:{first.column}-{last.end}"
    tail = " {" if statement.opened else ""
    notes = dict.fromkeys(word.origin for word in words if word.origin)
    note = f"    <- {' | '.join(notes)}" if notes else ""
    text = " ".join(map(show_word, words))
    yield f"{'    ' * depth}{text}{tail}    [{place}]{note}"
    for child in statement.children:
        yield from show_statement(child, depth + 1)
    if statement.opened:
        end = (
            f"}}    [{statement.closed.where.rsplit('/', 1)[-1]}]"
            if statement.closed
            else "missing }"
        )
        yield f"{'    ' * depth}{end}"


def show_instance(instance: Instance) -> Iterator[str]:
    yield f"instance {show_word(instance.name)}"
    for name in SETTINGS:
        if (word := getattr(instance, name)) is not None:
            yield f"    {name}: {show_word(word)}"
    for peer in instance.unicast_peers:
        yield f"    peer: {show_word(peer)}"
    for vip in instance.vips:
        options = " ".join(
            show_word(o.keyword) + (f"={show_word(o.value)}" if o.value else "")
            for o in vip.options
        )
        device = show_word(vip.device) if vip.device else "none"
        yield (
            f"    {'excluded' if vip.excluded else 'vip'}: {vip.address} prefix {vip.prefix}"
            f" family {vip.family} dev {device} ({options})"
            f"{'' if vip.valid else ' INVALID'}{'' if vip.literal else ' not literal'}"
            f"{'' if vip.certain else ' not certain'}"
        )
    for name in ("virtual_routes", "virtual_rules", "track_interface"):
        for line in getattr(instance, name):
            yield f"    {name}: {' '.join(map(show_word, line.words))}"


def show(document: Document) -> str:
    lines = ["== statements"]
    for statement in document.statements:
        lines += show_statement(statement, 0)
    lines.append("== model")
    model = document.model
    for instance in model.instances:
        lines += show_instance(instance)
    for group in model.sync_groups:
        lines.append(f"group {show_word(group.name)}: {' '.join(map(show_word, group.members))}")
    for address in model.static_addresses:
        lines.append(f"static address: {address.address} prefix {address.prefix}")
    for route in model.static_routes:
        lines.append(f"static route: {' '.join(map(show_word, route.words))}")
    for rule in model.static_rules:
        lines.append(f"static rule: {' '.join(map(show_word, rule.words))}")
    for name in ("dynamic_interfaces", "vrrp_version"):
        if (word := getattr(model, name)) is not None:
            lines.append(f"{name}: {show_word(word)}")
    for dummy in ("keepalived0", "keepalived1"):
        lines.append(f"uplinks of {dummy}: {' '.join(uplinks_of(document, dummy)) or 'none'}")
        lines += [f"  unsure: {w.text}: {w.origin}" for w in unsure_of(document, dummy)]
    lines.append("== files")
    lines += [ascii(path)[1:-1] for path, _ in document.files]
    lines.append("== sources")
    lines += sorted(ascii(str(path))[1:-1] for path in sources(document))
    lines.append("== problems")
    lines += map(str, document.problems)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.name))
def test_case(case: Path) -> None:
    document = read(root=case / "in")
    for path, data in document.files:
        assert data == (case / "in" / path.lstrip("/")).read_bytes()
        assert b"".join(token.raw for token in tokenize(data)) == data
    found = show(document)
    expected = case / "expected"
    if os.environ.get("KEEPALIVED_DUMMY_ACCEPT"):
        expected.write_text(found)
    assert found == expected.read_text()


def test_there_are_cases() -> None:
    assert len(CASES) >= 25
