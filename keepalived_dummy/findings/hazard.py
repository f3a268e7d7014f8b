# SPDX-License-Identifier: MIT
"""What a hazard is: a name that stays, why it is one, and a function from facts to what was found."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from keepalived_dummy.facts import Facts


class Severity(enum.IntEnum):
    """WARNING: it takes one more thing for a VIP to be lost. CRITICAL: one is, or will be at the next ordinary event.

    The values are the exit statuses of a monitoring plugin.
    """

    WARNING = 1
    CRITICAL = 2


@dataclass(frozen=True)
class Found:
    """One thing found: what, where (FILE, FILE:LINE or empty), and the command that mends it."""

    what: str
    mend: str
    where: str = ""
    severity: Severity | None = None  # where it is another than that of the hazard


@dataclass(frozen=True)
class Hazard:
    """A kind of danger; `passing`: it may be one for the moment of a failover, so it is looked for twice.

    `foreseen`: it is the host's, whether VIPs are on the dummy yet or not, and theirs once they are.
    """

    name: str
    severity: Severity
    why: str
    find: Callable[[Facts], Iterator[Found]]
    passing: bool = False
    foreseen: bool = False


@dataclass(frozen=True)
class Finding:
    """A hazard that a host has."""

    name: str
    severity: Severity
    what: str
    where: str
    why: str
    mend: str
    passing: bool = False


HAZARDS: dict[str, Hazard] = {}

_Find = Callable[[Facts], Iterator[Found]]


def hazard(
    name: str, severity: Severity, why: str, passing: bool = False, foreseen: bool = False
) -> Callable[[_Find], _Find]:
    """Register a function as what finds this hazard."""

    def register(find: _Find) -> _Find:
        assert name not in HAZARDS
        HAZARDS[name] = Hazard(name, severity, why, find, passing, foreseen)
        return find

    return register
