# SPDX-License-Identifier: MIT
"""The cases of tests/adopt: a tree with keepalived.conf and confs, the host's interfaces, the arguments."""

from __future__ import annotations

import ipaddress
import itertools
import os
from dataclasses import dataclass
from pathlib import Path

from keepalived_dummy import config
from keepalived_dummy.keepalived import CONFIG, Document, read_from
from keepalived_dummy.keepalived.disk import Disk
from keepalived_dummy.rewrite import Rewrite, rewrite
from keepalived_dummy.targets import Facts, Interface, Wish

CASES = Path(__file__).parents[2] / "adopt"
NAMES = sorted(path.name for path in CASES.iterdir())


def host(text: str) -> Facts:
    """Interfaces, one a line: name, addresses, kind=KIND, no-ethernet."""
    facts = {}
    for line in text.splitlines():
        name, *words = line.split()
        kind = next((w.removeprefix("kind=") for w in words if w.startswith("kind=")), "")
        addresses = tuple(ipaddress.ip_interface(word) for word in words if "/" in word)
        facts[name] = Interface(kind, "no-ethernet" not in words, addresses)
    return facts


@dataclass(frozen=True)
class Done:
    """A case planned: what was read, and what is to be done."""

    document: Document
    files: Disk
    plan: Rewrite
    partial: bool


def plan(tree: Path, facts: Facts, words: list[str]) -> Done:
    """Plan what adopt would do to a tree."""
    files = Disk(tree)
    path = words[words.index("--config") + 1] if "--config" in words else str(CONFIG)
    document = read_from(files, path)
    name = words[words.index("--interface") + 1] if "--interface" in words else None
    left = (after for before, after in itertools.pairwise(words) if before == "--leave")
    wish = Wish(
        name,
        "--no-pin-source" not in words,
        "--add-routes" in words,
        frozenset(map(ipaddress.ip_address, left)),
    )
    made = rewrite(document, files, config.load(tree), facts, wish)
    return Done(document, files, made, "--partial" in words)


def arguments(case: str) -> list[str]:
    """The words of a case's command line."""
    path = CASES / case / "in/arguments"
    return path.read_text().split() if path.exists() else []


def facts_of(case: str) -> Facts:
    """The host of a case."""
    return host((CASES / case / "in/host").read_text())


def said(done: Done) -> str:
    """What adopt says besides the diff."""
    refused = [f"refused: {problem}" for problem in done.plan.refused]
    moved = [f"{v.instance}: {v.address}: {v.before} -> {v.after}" for v in done.plan.vips]
    lines = [*done.plan.notes, *refused, *moved]
    return "".join(line.encode("utf-8", "backslashreplace").decode() + "\n" for line in lines)


def tree(top: Path) -> dict[str, bytes]:
    """Every file under a folder, links as where they point to."""
    return {
        str(path.relative_to(top)): os.readlink(path).encode()
        if path.is_symlink()
        else path.read_bytes()
        for path in sorted(top.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


def carry_out(tree_: Path, done: Done) -> None:
    """Write what is planned into a tree, as adopt does where nothing is refused, or with --partial."""
    if done.plan.refused and not done.partial:
        return
    for path, content in {**done.plan.confs, **done.plan.after}.items():
        file = tree_ / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
