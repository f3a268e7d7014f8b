# SPDX-License-Identifier: MIT
"""Rulesets as tools write them: what surely drops is told, and what may not is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keepalived_dummy import iptables, nft
from keepalived_dummy.firewall import (
    Chain,
    advertisement,
    dropping,
    looks_at_interfaces,
    opening,
    request,
    solicitation,
)

HERE = Path(__file__).parent / "rulesets"
SOLICITATION = solicitation("keepalived0")
VRRP4 = advertisement("ens3", 4, False)
VRRP6 = advertisement("ens3", 6, False)
UNICAST = advertisement("ens3", 4, True)
ARP = request("ens3")
HERE4, HERE6 = opening("ens3", "192.0.2.10", True), opening("ens3", "2001:db8::10", True)
VIP4, VIP6 = opening("ens3", "192.0.2.10"), opening("ens3", "2001:db8::10")
PACKETS = {"nd": SOLICITATION, "vrrp4": VRRP4, "vrrp6": VRRP6, "unicast": UNICAST, "arp": ARP}


def meta(key: str, right: Any, operator: str = "==") -> dict[str, Any]:
    return {"match": {"op": operator, "left": {"meta": {"key": key}}, "right": right}}


def payload(protocol: str, field: str, right: Any, operator: str = "==") -> dict[str, Any]:
    left = {"payload": {"protocol": protocol, "field": field}}
    return {"match": {"op": operator, "left": left, "right": right}}


def fib(result: str, flags: str | list[str], right: Any, operator: str = "==") -> dict[str, Any]:
    left = {"fib": {"result": result, "flags": flags}}
    return {"match": {"op": operator, "left": left, "right": right}}


def state(*right: str) -> dict[str, Any]:
    return {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": list(right)}}


ACCEPT: dict[str, Any] = {"accept": None}
DROP: dict[str, Any] = {"drop": None}
LIMIT: dict[str, Any] = {"limit": {"rate": 1, "per": "second"}}


def chain(*rules: list[dict[str, Any]], policy: str = "drop", **others: Any) -> Chain:
    made = {name: tuple(tuple(rule) for rule in inner) for name, inner in others.items()}
    return Chain("inet", "t", "input", "input", policy, tuple(map(tuple, rules)), made)


# Rules before a policy of drop, and whether a solicitation that comes in on keepalived0 is surely dropped.
SOLICITED = [
    ([], True),
    ([[ACCEPT]], False),
    ([[meta("iifname", "keepalived0"), ACCEPT]], False),
    ([[meta("iifname", "keepalived*"), ACCEPT]], False),
    ([[meta("iifname", "keepalived1*"), ACCEPT]], True),
    ([[meta("iifname", "ens3"), ACCEPT]], True),
    ([[meta("iifname", "ens3", "!="), ACCEPT]], False),
    ([[meta("iifname", {"set": ["lo", "keepalived0"]}), ACCEPT]], False),
    ([[meta("iifname", {"set": ["lo", "ens3"]}), ACCEPT]], True),
    ([[meta("iifname", "@names"), ACCEPT]], False),
    ([[meta("iif", 7), ACCEPT]], False),
    ([[meta("iif", "lo"), ACCEPT]], True),
    ([[meta("l4proto", "ipv6-icmp"), ACCEPT]], False),
    ([[meta("l4proto", 58), ACCEPT]], False),
    ([[meta("l4proto", {"set": ["icmp", "icmpv6"]}), ACCEPT]], False),
    ([[meta("l4proto", {"set": ["tcp", "esp"]}), ACCEPT]], True),
    ([[meta("nfproto", "ipv4"), ACCEPT]], True),
    ([[meta("protocol", "ip6"), ACCEPT]], False),
    ([[meta("protocol", {"range": [1500, 1600]}), ACCEPT]], False),
    ([[payload("ether", "type", {"set": ["arp", "ip"]}), ACCEPT]], True),
    ([[meta("mark", 1), ACCEPT]], False),
    ([[meta("mark", 1), DROP]], True),
    ([[meta("mark", 1), DROP], [ACCEPT]], False),
    ([[payload("icmpv6", "type", "nd-neighbor-solicit"), ACCEPT]], False),
    ([[payload("icmpv6", "type", {"set": ["nd-router-advert", "echo-request"]}), ACCEPT]], True),
    ([[payload("icmpv6", "type", {"range": ["nd-router-solicit", "nd-redirect"]}), ACCEPT]], False),
    ([[payload("icmpv6", "type", {"range": [1, 4]}), ACCEPT]], True),
    ([[payload("icmp", "type", "echo-request"), ACCEPT]], True),
    ([[payload("tcp", "dport", 22), ACCEPT]], True),
    ([[payload("th", "dport", 22), ACCEPT]], False),
    ([[payload("ip6", "nexthdr", "ipv6-icmp"), ACCEPT]], False),
    ([[payload("ip6", "hoplimit", 255), ACCEPT]], False),
    ([[payload("ip6", "hoplimit", 1), ACCEPT]], True),
    ([[payload("ip6", "hoplimit", 255, "<"), ACCEPT]], False),
    ([[payload("ip6", "daddr", {"prefix": {"addr": "ff02::", "len": 16}}), ACCEPT]], False),
    ([[payload("ip", "daddr", "224.0.0.18"), ACCEPT]], True),
    ([[state("established", "related"), ACCEPT]], True),
    ([[state("untracked"), ACCEPT]], False),
    ([[{"match": {"op": "==", "left": {"ct": {"key": "mark"}}, "right": 1}}, ACCEPT]], False),
    ([[{"match": {"op": "==", "left": {"fib": {}}, "right": False}}, ACCEPT]], False),
    ([[fib("oif", ["saddr", "iif"], False, "!="), ACCEPT]], True),
    ([[fib("oif", ["iif", "saddr"], 0), DROP], [ACCEPT]], True),
    ([[fib("oif", ["saddr", "mark", "iif"], False), DROP], [ACCEPT]], True),
    ([[fib("oif", "saddr", False), DROP], [ACCEPT]], False),
    ([[fib("oif", ["saddr", "iif"], "lo"), DROP], [ACCEPT]], False),
    ([[fib("oif", ["saddr", "iif"], "lo", "!="), DROP], [ACCEPT]], False),
    ([[{"match": {"op": "==", "left": {"concat": []}, "right": {"concat": []}}}, ACCEPT]], False),
    ([[LIMIT, ACCEPT]], False),
    ([[LIMIT, DROP]], True),
    ([[{"counter": {}}, {"log": {}}, ACCEPT]], False),
    ([[{"counter": {}}]], True),
    ([[{"xt": {"type": "match", "name": "icmp6"}}, ACCEPT]], False),
    ([[{"xt": {"type": "target", "name": "X"}}]], False),
    ([[{"queue": {}}]], False),
    ([[{"continue": None}]], True),
    ([[{"return": None}]], True),
    ([[{"jump": {"target": "nowhere"}}]], False),
]


@pytest.mark.parametrize(("rules", "dropped"), SOLICITED, ids=lambda v: json.dumps(v)[:90])
def test_a_solicitation(rules: list[list[dict[str, Any]]], dropped: bool) -> None:
    assert bool(dropping([chain(*rules)], SOLICITATION)) == dropped


def vmap(*pairs: tuple[Any, dict[str, Any]]) -> dict[str, Any]:
    data = {"set": [list(pair) for pair in pairs]}
    return {"vmap": {"key": {"meta": {"key": "iifname"}}, "data": data}}


JUMP, GOTO = {"jump": {"target": "sub"}}, {"goto": {"target": "sub"}}
JUMPS = [
    ([[JUMP]], [[ACCEPT]], False),
    ([[JUMP]], [[DROP]], True),
    ([[JUMP], [ACCEPT]], [[{"return": None}], [DROP]], False),
    ([[JUMP], [ACCEPT]], [], False),
    ([[GOTO], [ACCEPT]], [], True),
    ([[meta("mark", 1), JUMP], [ACCEPT]], [[DROP]], False),
    ([[meta("mark", 1), JUMP]], [[ACCEPT]], False),
    ([[JUMP]], [[JUMP]], False),
    ([[vmap(("lo", ACCEPT), ("keepalived0", JUMP))]], [[ACCEPT]], False),
    ([[vmap(("lo", ACCEPT), ("ens3", JUMP))]], [[ACCEPT]], True),
    ([[vmap(("@names", ACCEPT))]], [], False),
    ([[{"vmap": {"key": {"meta": {"key": "iifname"}}, "data": "@map"}}]], [], False),
]


@pytest.mark.parametrize(("rules", "sub", "dropped"), JUMPS)
def test_a_jump(rules: list[Any], sub: list[Any], dropped: bool) -> None:
    assert bool(dropping([chain(*rules, sub=sub)], SOLICITATION)) == dropped


@pytest.mark.parametrize(
    ("packet", "rules", "dropped"),
    [
        ("vrrp4", [[meta("l4proto", "vrrp"), ACCEPT]], False),
        ("vrrp4", [[meta("l4proto", 112), ACCEPT]], False),
        ("vrrp4", [[payload("ip", "protocol", 112), ACCEPT]], False),
        ("vrrp6", [[payload("ip", "protocol", 112), ACCEPT]], True),
        ("vrrp6", [[payload("ip6", "nexthdr", 112), ACCEPT]], False),
        ("vrrp4", [[payload("ip", "daddr", "224.0.0.18"), ACCEPT]], False),
        (
            "vrrp4",
            [[payload("ip", "daddr", {"prefix": {"addr": "224.0.0.0", "len": 4}}), ACCEPT]],
            False,
        ),
        ("vrrp4", [[payload("ip", "daddr", {"range": ["224.0.0.1", "224.0.0.9"]}), ACCEPT]], True),
        ("vrrp4", [[payload("ip", "saddr", "192.0.2.6"), ACCEPT]], False),
        ("vrrp4", [[state("established", "related"), ACCEPT]], True),
        ("unicast", [[state("established", "related"), ACCEPT]], False),
        ("unicast", [[meta("iifname", "lo"), ACCEPT]], True),
        ("vrrp4", [[meta("iifname", "ens3"), ACCEPT]], False),
        ("vrrp4", [[meta("pkttype", "multicast"), ACCEPT]], False),
        ("arp", [], False),
    ],
)
def test_others(packet: str, rules: list[Any], dropped: bool) -> None:
    assert bool(dropping([chain(*rules)], PACKETS[packet])) == dropped


LOCAL = {"set": ["local", "broadcast", "multicast"]}
STRONG = fib("type", ["daddr", "iif"], LOCAL, "!=")

# Rules before a policy of accept, and whether the first packet to a VIP is surely dropped, where that is on a dummy and
# where it is on the uplink.
OPENED = [
    ([[STRONG, DROP]], True, False),
    ([[fib("type", ["iif", "daddr"], "local", "!="), DROP]], True, False),
    ([[fib("type", ["daddr", "iif"], "unicast"), DROP]], True, False),
    ([[fib("type", ["daddr", "iif"], 2, "!="), DROP]], False, False),
    ([[fib("type", ["daddr", "iif"], "@types", "!="), DROP]], False, False),
    ([[fib("type", ["daddr", "oif"], LOCAL, "!="), DROP]], False, False),
    ([[fib("type", "daddr", LOCAL, "!="), DROP]], False, False),
    ([[fib("type", ["daddr"], "local"), DROP]], True, True),
    ([[state("established", "related"), ACCEPT], [STRONG, DROP]], True, False),
    ([[meta("iifname", "lo"), ACCEPT], [STRONG, DROP]], True, False),
    ([[meta("iifname", "ens4"), STRONG, DROP]], False, False),
    ([[payload("tcp", "dport", 22), ACCEPT], [STRONG, DROP]], False, False),
    ([[payload("tcp", "dport", 22), DROP], [STRONG, DROP]], True, False),
    ([[payload("arp", "operation", "request"), ACCEPT], [STRONG, DROP]], True, False),
    ([[STRONG, payload("ip", "daddr", "192.0.2.0"), DROP]], False, False),
    ([[DROP]], True, True),
]


@pytest.mark.parametrize(("rules", "elsewhere", "here"), OPENED, ids=lambda v: json.dumps(v)[:90])
def test_the_first_packet_to_a_vip(rules: list[Any], elsewhere: bool, here: bool) -> None:
    chains = [chain(*rules, policy="accept")]
    assert [bool(dropping(chains, packet)) for packet in (VIP4, VIP6)] == [elsewhere] * 2
    assert [bool(dropping(chains, packet)) for packet in (HERE4, HERE6)] == [here] * 2


def test_whether_rules_look_at_the_interface_of_an_address() -> None:
    for rule in ([STRONG, DROP], [fib("type", "daddr", "local"), ACCEPT]):
        assert looks_at_interfaces([chain(rule)])
        assert looks_at_interfaces([chain([ACCEPT], sub=[rule])])
    for rule in ([fib("oif", ["saddr", "iif"], False), DROP], [ACCEPT]):
        assert not looks_at_interfaces([chain(rule)])


def test_a_chain_for_a_device_counts_for_that_device() -> None:
    def on(device: str) -> Chain:
        return Chain("netdev", "t", "c", "ingress", "drop", (), {}, device)

    assert dropping([on("ens3")], ARP) and dropping([on("ens3")], VRRP4)
    assert dropping([on("keepalived0")], SOLICITATION)
    for device in ("ens4", ""):
        assert not any(dropping([on(device)], packet) for packet in PACKETS.values())


# What surely drops in rulesets as they are written by hand and by firewalls.
WRITTEN: dict[str, set[str]] = {
    "by-hand.nft.json": {"nd"},
    "firewalld.nft.json": set(),
    "ufw.ip6tables": {"vrrp6"},
    "ufw.iptables": set(),
    "closed.iptables": {"vrrp4", "unicast"},
    "by-hand.ip6tables": {"nd", "vrrp6"},
    "netdev.nft.json": {"arp"},
    "netdev-1.0.nft.json": set(),  # does not say for which device
    "empty.nft.json": set(),
}


def read(name: str) -> tuple[Chain, ...]:
    text = (HERE / name).read_text()
    if name.endswith(".nft.json"):
        return nft.parse(text)
    six = name.endswith(".ip6tables")
    return iptables.parse(text, "ip6" if six else "ip", "ip6tables" if six else "iptables")


def test_every_ruleset_is_judged() -> None:
    assert {path.name for path in HERE.iterdir() if not path.name.endswith(".nft")} == set(WRITTEN)


@pytest.mark.parametrize("name", WRITTEN)
def test_written(name: str) -> None:
    chains = read(name)
    assert {key for key, packet in PACKETS.items() if dropping(chains, packet)} == WRITTEN[name]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"nftables": [{"chain": {"type": "filter"}}]}'])
def test_what_is_no_ruleset(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        nft.parse(text)


def test_a_statement_that_is_text() -> None:
    """As nft 1.0.6 writes `jump { accept; }`, and 1.0.2 a match of xtables."""
    for text in ("jump {\n\t\t\taccept\n\t\t}", 'xt match "conntrack"'):
        made = {"family": "inet", "table": "t"}
        base = {**made, "name": "c", "type": "filter", "hook": "input", "policy": "drop"}
        match = meta("l4proto", "ipv6-icmp")
        rule = {**made, "chain": "c", "expr": [match, text]}
        chains = nft.parse(json.dumps({"nftables": [{"chain": base}, {"rule": rule}]}))
        assert not dropping(chains, SOLICITATION)
        assert dropping(chains, VRRP4)


@pytest.mark.parametrize(
    ("rule", "accepted"),
    [
        ("-i keepalived0 -j ACCEPT", True),
        ("-i keepalived+ -j ACCEPT", True),
        ("-i ens3 -j ACCEPT", False),
        ("! -i ens3 -j ACCEPT", True),
        ("-p ipv6-icmp -j ACCEPT", True),
        ("-p icmpv6 -m icmp6 --icmpv6-type 135 -j ACCEPT", True),
        ("-p icmpv6 -m icmp6 --icmpv6-type 128 -j ACCEPT", False),
        ("-p icmpv6 -m icmp6 --icmpv6-type 135 -m hl --hl-eq 255 -j ACCEPT", None),
        ("-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", False),
        ("-m conntrack --ctstate UNTRACKED -j ACCEPT", True),
        ("-d ff02::/16 -j ACCEPT", None),
        ("-p tcp -m multiport --dports 22,80 -j ACCEPT", False),
        ("-p all -j ACCEPT", True),
        ('-m comment --comment "a -j DROP" -j ACCEPT', True),
        ('-m comment --comment "of two\n-A INPUT\u2028lines" -j ACCEPT', True),
        ("-m comment --comment -j -j ACCEPT", True),
        (r'-m comment --comment "it\'s \"5\" wide" -i ens3 -j ACCEPT', False),
        ("-m comment --comment --comment -i ens3 -j ACCEPT", False),
        ("-m comment --comment rpfilter -i ens3 -j ACCEPT", False),
        ("-m rpfilter --invert -j ACCEPT", True),
        ("-m rpfilter --validmark --invert -j ACCEPT", True),
        ("-m rpfilter --invert -i ens3 -j ACCEPT", False),
        ("-m rpfilter --loose --invert -j ACCEPT", None),
        ("-m rpfilter -j ACCEPT", None),
        ("-m addrtype --dst-type LOCAL -j ACCEPT", None),
        ("-m addrtype --src-type LOCAL -j ACCEPT", None),
        ("-j LOG --log-prefix x", False),
        ("-j NFQUEUE --queue-num 1", None),
        ("-g nowhere", None),
    ],
)
def test_a_rule_of_ip6tables(rule: str, accepted: bool | None) -> None:
    """Dropped by the policy of drop where it is not accepted; None: not told, and so not dropped either."""
    chains = iptables.parse(
        f"*filter\n:INPUT DROP [0:0]\n-A INPUT {rule}\nCOMMIT\n", "ip6", "ip6tables"
    )
    assert bool(dropping(chains, SOLICITATION)) == (accepted is False)
    surely = f"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT {rule.replace('ACCEPT', 'DROP')}\nCOMMIT\n"
    assert bool(dropping(iptables.parse(surely, "ip6", "ip6tables"), SOLICITATION)) == (
        accepted is True
    )


@pytest.mark.parametrize(
    ("rule", "elsewhere", "here"),
    [
        ("-m addrtype ! --dst-type LOCAL --limit-iface-in -j DROP", True, False),
        ("-i ens3 -m addrtype ! --dst-type LOCAL,MULTICAST --limit-iface-in -j DROP", True, False),
        ("-m addrtype ! --dst-type LOCAL --limit-iface-in -i ens4 -j DROP", False, False),
        ("-m addrtype --dst-type UNICAST --limit-iface-in -j DROP", True, False),
        ("-m addrtype ! --dst-type LOCAL -j DROP", False, False),
        ("-m addrtype --dst-type LOCAL -j DROP", True, True),
        ("-m addrtype ! --dst-type LOCAL --limit-iface-out -j DROP", False, False),
        ("-m addrtype --src-type LOCAL ! --dst-type LOCAL --limit-iface-in -j DROP", False, False),
    ],
)
def test_a_rule_of_iptables_by_the_type_of_an_address(
    rule: str, elsewhere: bool, here: bool
) -> None:
    chains = iptables.parse(
        f"*filter\n:INPUT ACCEPT [0:0]\n-A INPUT {rule}\nCOMMIT\n", "ip", "iptables"
    )
    assert bool(dropping(chains, VIP4)) == elsewhere
    assert bool(dropping(chains, HERE4)) == here
