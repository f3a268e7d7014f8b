# SPDX-License-Identifier: MIT
"""The hazards that `check` looks for, grouped by what they are hazards of. Pure; docs/hazards.md explains each."""

from __future__ import annotations

from keepalived_dummy.facts import Facts
from keepalived_dummy.findings import (
    dummy,
    firewall,
    keepalived,
    routing,
    units,
    uplink,
    vip,
    wire,
)
from keepalived_dummy.findings.hazard import HAZARDS, Finding, Found, Hazard, Severity

__all__ = ["HAZARDS", "Finding", "Found", "Hazard", "Severity", "judge"]

# Imported for what they register.
_GROUPS = (dummy, firewall, keepalived, routing, units, uplink, vip, wire)


def judge(facts: Facts) -> tuple[Finding, ...]:
    """All that is found, the worst first."""
    found = [
        Finding(
            kind.name,
            kind.severity if one.severity is None else one.severity,
            one.what,
            one.where,
            kind.why,
            one.mend,
            kind.passing,
        )
        for kind in HAZARDS.values()
        for one in kind.find(facts)
    ]
    return tuple(sorted(found, key=lambda one: -one.severity))
