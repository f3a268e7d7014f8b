# SPDX-License-Identifier: MIT
"""What `check` would find once VIPs are on their dummies, so that `adopt` can refuse before one has moved.

The host is looked at as it is, keepalived.conf and the confs as they are to be.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from keepalived_dummy import config, evidence
from keepalived_dummy.config import Config
from keepalived_dummy.facts import Facts
from keepalived_dummy.findings import HAZARDS, Finding, Severity, judge
from keepalived_dummy.keepalived import read_from
from keepalived_dummy.keepalived.disk import Disk
from keepalived_dummy.observe import Intent
from keepalived_dummy.observed import Unseen
from keepalived_dummy.rewrite import Overlay, Rewrite

_RULES = frozenset((evidence.FIREWALL, evidence.RULESET))


def look(root: Path, file: Path, done: Rewrite) -> tuple[tuple[Finding, ...], tuple[Unseen, ...]]:
    """What the move would bring, and what of it could not be looked at; nothing where no VIP goes to another device."""
    if all(vip.before == vip.after for vip in done.vips):
        return (), ()
    document = read_from(Overlay(Disk(root), done.after), str(file))
    facts = evidence.gather(file, intent=Intent(document, _with(config.load(root), done)))
    unseen = tuple(one for one in facts.unseen if one.what in _RULES)
    found = tuple(_foreseen(facts))
    if found:  # seldom, so the host of now is looked at only then
        now = {(one.name, one.what) for one in _foreseen(evidence.gather(file))}
        found = tuple(one for one in found if (one.name, one.what) not in now)
    return found, unseen


def _with(wanted: Config, done: Rewrite) -> Config:
    """The configuration, with the confs that are still to be written."""
    made = (config.parse(text, path, Path(path).stem)[0] for path, text in done.confs.items())
    return dataclasses.replace(wanted, dummies=(*wanted.dummies, *filter(None, made)))


def _foreseen(facts: Facts) -> Iterator[Finding]:
    """What is critical, of the hazards that a host has whether VIPs are on its dummies yet or not."""
    for one in judge(facts):
        if HAZARDS[one.name].foreseen and one.severity == Severity.CRITICAL:
            yield one
