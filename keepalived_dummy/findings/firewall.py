# SPDX-License-Identifier: MIT
"""Hazards of a packet filter. Only what surely drops is found (keepalived_dummy.firewall)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from keepalived_dummy.events import some
from keepalived_dummy.facts import Facts
from keepalived_dummy.findings.hazard import Found, Severity, hazard
from keepalived_dummy.findings.permit import Permit, command
from keepalived_dummy.firewall import (
    Chain,
    Packet,
    advertisement,
    dropping,
    looks_at_interfaces,
    opening,
    request,
    solicitation,
)
from keepalived_dummy.keepalived import Instance


@hazard(
    "firewall-drops-neighbour-discovery",
    Severity.CRITICAL,
    "what comes in over the wire comes in on the dummy, so its IPv6 VIPs are not answered",
    foreseen=True,
)
def neighbour_discovery(facts: Facts) -> Iterator[Found]:
    """Accepted on the uplink alone, mostly."""
    for one in facts.dummies:
        if one.wire.wanted and facts.vips_of(one, 6):
            packet = _tracked(solicitation(one.name), facts)
            if chain := dropping(facts.chains, packet):
                what = f"{_shown(chain)} drops neighbour solicitations from {one.name}"
                yield Found(what, command(chain, _discovery(one.name)))


@hazard(
    "firewall-drops-vips",
    Severity.CRITICAL,
    "it takes an address for this host's only on the interface that has it, and a VIP is on a dummy",
    foreseen=True,
)
def vips(facts: Facts) -> Iterator[Found]:
    """What comes in on an uplink for a VIP, and would not be dropped were the VIP on the uplink."""
    # Seldom any does, and else each VIP goes through all rules.
    if not looks_at_interfaces(facts.chains):
        return
    for uplink in facts.uplinks:
        for family_ in (4, 6):
            lost: dict[int, list[str]] = {}
            for dummy in facts.served(uplink.name):
                for vip in facts.vips_over(uplink.name, dummy, family_):
                    number = _dropping(facts, uplink.name, vip.address)
                    if number is not None:
                        lost.setdefault(number, []).append(vip.address)
            for number, addresses in lost.items():
                chain = facts.chains[number]
                what = f"{_shown(chain)} drops what comes in on {uplink.name} for {some(addresses)}"
                yield Found(what, command(chain, _to(uplink.name, addresses, family_)))


def _dropping(facts: Facts, uplink: str, vip: str) -> int | None:
    """The place of the chain that drops what is for a VIP, and would not were that on the uplink."""
    there = opening(uplink, vip, is_there=True)
    chain = dropping(facts.chains, _tracked(opening(uplink, vip), facts))
    if chain is None or dropping(facts.chains, _tracked(there, facts)):
        return None
    return facts.chains.index(chain)


@hazard(
    "firewall-drops-vrrp",
    Severity.CRITICAL,
    "this node does not hear the master, and makes itself one beside it",
)
def vrrp(facts: Facts) -> Iterator[Found]:
    """Advertisements of another node, of whichever address, that come in on an instance's interface."""
    said: set[str] = set()
    for one in facts.document.model.instances:
        name = one.interface.text if one.interface and one.interface.certain else ""
        if name not in facts.links or name in said:
            continue
        unicast = bool(one.unicast_peer or one.unicast_peers)
        packet = advertisement(name, one.family, unicast)
        if _has_another_group(one, facts):
            packet = _without(packet, "ip daddr", "ip6 daddr")
        packet = _tracked(packet, facts)
        if chain := dropping(facts.chains, packet):
            said.add(name)
            what = f"{_shown(chain)} drops VRRP that comes in on {name}"
            words = ("meta l4proto vrrp", "-p vrrp", "--add-protocol=vrrp")
            yield Found(what, command(chain, Permit(name, *words, one.family)), one.name.where)


@hazard("firewall-drops-arp", Severity.CRITICAL, "IPv4 VIPs are not answered for")
def arp(facts: Facts) -> Iterator[Found]:
    """ARP requests that come in on an uplink."""
    for one in facts.uplinks:
        if facts.carries(one.name, 4) and (chain := dropping(facts.chains, request(one.name))):
            what = f"{_shown(chain)} drops ARP requests that come in on {one.name}"
            rule = "arp operation { request, reply }"
            yield Found(what, command(chain, Permit(one.name, rule, "", "")))


def _tracked(packet: Packet, facts: Facts) -> Packet:
    """The packet; with a rule that turns conntrack off somewhere, what it says of it is not known."""
    every = [rules for chain in facts.chains for rules in (chain.rules, *chain.others.values())]
    if not any("notrack" in expression for rules in every for rule in rules for expression in rule):
        return packet
    return _without(packet, "ct state")


def _has_another_group(instance: Instance, facts: Facts) -> bool:
    """Whether its advertisements may go to another group than that of RFC 5798."""
    defs = (one for one in facts.document.statements if one.keyword == "global_defs")
    everywhere = (line.keyword for block in defs for line in block.children)
    here = instance.statement.find("mcast_dst_ip")
    return any(here) or any(word.startswith("vrrp_mcast_group") for word in everywhere)


def _without(packet: Packet, *fields: str) -> Packet:
    """The packet, with these not known of it."""
    rest = {key: value for key, value in packet.fields.items() if key not in fields}
    return dataclasses.replace(packet, fields=rest)


def _shown(chain: Chain) -> str:
    return f"{chain.tool}: {chain.family} {chain.table} {chain.name}"


def _discovery(dummy: str) -> Permit:
    """All that comes in on a dummy came over the wire, so firewalld may trust it."""
    types = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }"
    words = (types, "-p icmpv6", f"--add-interface={dummy}")
    return Permit(dummy, *words, family=6, zone="trusted")


def _to(uplink: str, addresses: list[str], family_: int) -> Permit:
    layer, name = ("ip", "ipv4") if family_ == 4 else ("ip6", "ipv6")
    nft = f"{layer} daddr {{ {', '.join(addresses)} }}"
    rules = (f'rule family="{name}" destination address="{one}" accept' for one in addresses)
    options = " ".join(f"--add-rich-rule='{rule}'" for rule in rules)
    return Permit(uplink, nft, f"-d {','.join(addresses)}", options, family_)
