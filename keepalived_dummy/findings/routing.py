# SPDX-License-Identifier: MIT
"""Hazards of the host's policy routing rules."""

from __future__ import annotations

from collections.abc import Iterator

from keepalived_dummy import rules, vrfs
from keepalived_dummy.facts import Facts
from keepalived_dummy.findings.hazard import Found, Severity, hazard


@hazard(
    "main-rule-missing",
    Severity.CRITICAL,
    "no packet finds the routes of the main table, so replies of the VIPs, and of all else on this host, have no route",
    passing=True,
)
def main_rule_missing(facts: Facts) -> Iterator[Found]:
    """No rule looks up the main table, or the rules before it keep every packet from it."""
    for family, found in sorted(facts.rules.items()):
        if not _needs_main(facts, family) or rules.looks_up_routes(found):
            continue
        yield Found(
            f"no IPv{family} rule that a packet gets to looks up the main routing table",
            f"ip -{family} rule add pref 32766 lookup main",
        )


def _needs_main(facts: Facts, family: int) -> bool:
    """Whether a VIP of this family is to be reached outside of every VRF, which has a rule and a table of its own."""
    if not any(vip.family == family for vip in facts.seen.vips):
        return False
    addresses = (one for one in facts.addresses if one.version == family)
    if all(one.is_loopback or one.is_link_local for one in addresses):
        return False
    names = {one.interface for one in facts.seen.instances} | {
        one.name for one in facts.seen.uplinks
    }
    there = [name for name in names if name in facts.links]
    return not there or any(not vrfs.vrf_of(name, facts.links) for name in there)
