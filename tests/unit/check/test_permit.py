# SPDX-License-Identifier: MIT
"""Each firewall finding gives the command of the program that owns the chain."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from pathlib import Path

import pytest
from healthy import VIP4, VIP6, facts, vip

from keepalived_dummy import iptables, nft
from keepalived_dummy.findings import judge
from keepalived_dummy.findings.permit import Permit, command
from keepalived_dummy.firewall import Chain

RULESETS = Path(__file__).parent / "rulesets"
STRONG = {"match": {"op": "!=", "left": {"fib": {"result": "type", "flags": ["daddr", "iif"]}}}}
STRONG["match"]["right"] = "local"
VRRP4 = Permit("ens3", "meta l4proto vrrp", "-p vrrp", "--add-protocol=vrrp", 4)
VRRP6 = dataclasses.replace(VRRP4, family=6)
ZONE = '"$(firewall-cmd --get-zone-of-interface=ens3 || firewall-cmd --get-default-zone)"'


def closed(table: str, family: str = "inet", flags: object = None, **others: object) -> Chain:
    """A chain that drops all, with the names of others in its table."""
    of = {"family": family, "table": table}
    base = {"type": "filter", "hook": "input", "prio": 0, "policy": "drop", "name": "filter_INPUT"}
    made: list[object] = [{"table": {"family": family, "name": table, "flags": flags or []}}]
    made += [{"chain": {**of, **base}}, *({"chain": {**of, "name": name}} for name in others)]
    (chain,) = nft.parse(json.dumps({"nftables": made}))
    return chain


def mends(chain: Chain) -> dict[str, list[str]]:
    seen = (VIP4, vip(address="192.0.2.11"), VIP6)
    found = judge(facts(chains=(chain,), seen_vips=seen))
    return {
        name: [one.mend for one in found if one.name == name] for name in {o.name for o in found}
    }


def test_of_firewalld() -> None:
    strong = dataclasses.replace(
        closed("firewalld"), policy="accept", rules=((STRONG, {"drop": None}),)
    )
    found = {**mends(strong), **mends(closed("firewalld"))}
    apply = "firewall-cmd --permanent"
    assert found.pop("firewall-drops-vrrp") == [
        f"{apply} --zone={ZONE} --add-protocol=vrrp && firewall-cmd --reload"
    ]
    assert found.pop("firewall-drops-neighbour-discovery") == [
        f"{apply} --zone=trusted --add-interface=keepalived0 && firewall-cmd --reload"
    ]
    rule = '--add-rich-rule=\'rule family="{}" destination address="{}" accept\''.format
    four = f"{rule('ipv4', '192.0.2.10')} {rule('ipv4', '192.0.2.11')}"
    assert found.pop("firewall-drops-vips") == [
        f"{apply} --zone={ZONE} {four} && firewall-cmd --reload",
        f"{apply} --zone={ZONE} {rule('ipv6', '2001:db8::10')} && firewall-cmd --reload",
    ]
    assert not found


def test_of_a_ruleset_that_firewalld_made() -> None:
    """With nftables, whose every chain is in its table, and with iptables (FirewallBackend=)."""
    chains = nft.parse((RULESETS / "firewalld.nft.json").read_text())
    assert chains
    zones = ":INPUT DROP [0:0]\n:INPUT_ZONES - [0:0]\n-A INPUT -j INPUT_ZONES\n"
    old = iptables.parse(f"*filter\n{zones}COMMIT\n", "ip", "iptables")
    for chain in (*chains, *old):
        assert command(chain, VRRP4).startswith("firewall-cmd --permanent")


@pytest.mark.parametrize(
    ("file", "permit", "rules"),
    [("ufw.iptables", VRRP4, "before.rules"), ("ufw.ip6tables", VRRP6, "before6.rules")],
)
def test_of_ufw(file: str, permit: Permit, rules: str, tmp_path: Path) -> None:
    """The rule comes before all that are there, and nothing else is changed."""
    family = "ip" if permit.family == 4 else "ip6"
    (chain,) = (
        one
        for one in iptables.parse((RULESETS / file).read_text(), family, f"{family}tables")
        if one.table == "filter"
    )
    edit, also, reload = command(chain, permit).partition(" && ")
    assert (also, reload) == (" && ", "ufw reload")
    name = "ufw-before-input" if permit.family == 4 else "ufw6-before-input"
    before = f"*nat\nCOMMIT\n*filter\n:{name} - [0:0]\n-A {name} -i lo -j ACCEPT\n-A {name} -j X\n"
    path = tmp_path / rules
    path.write_text(f"{before}COMMIT\n")
    assert f"/etc/ufw/{rules}" in edit
    subprocess.run(edit.replace("/etc/ufw", str(tmp_path)), shell=True, check=True)
    first = f"-A {name} -i lo"
    wanted = before.replace(first, f"-A {name} -i ens3 -p vrrp -j ACCEPT\n{first}")
    assert path.read_text() == f"{wanted}COMMIT\n"


def test_of_ufw_as_nft_shows_it() -> None:
    """iptables-nft has its rules in tables of nftables, which ufw writes anew."""
    chain = closed("filter", "ip", **{"ufw-before-input": 1})
    assert command(chain, VRRP4).startswith("sed -i '0,/^-A ufw-before-input /")


@pytest.mark.parametrize("flags", ["owner", ["owner", "persist"]])
def test_of_a_table_that_another_process_owns(flags: object) -> None:
    """To insert a rule there fails with EPERM."""
    (mend,) = mends(closed("theirs", flags=flags))["firewall-drops-vrrp"]
    program = "have the program that owns the table inet theirs accept:"
    assert mend == f'{program} iifname "ens3" meta l4proto vrrp accept'


@pytest.mark.parametrize("flags", [None, "dormant", ["persist"]])
def test_of_a_table_by_hand(flags: object) -> None:
    found = mends(closed("t", flags=flags))
    start = 'nft insert rule inet t filter_INPUT iifname "ens3" meta l4proto vrrp accept  #'
    assert found["firewall-drops-vrrp"][0].startswith(start)
    chain = closed("t", "arp")
    (arp,) = mends(chain)["firewall-drops-arp"]
    rule = 'iifname "ens3" arp operation { request, reply } accept'
    assert arp.startswith(f"nft insert rule arp t filter_INPUT {rule}  #")


def test_of_iptables_by_hand() -> None:
    (chain,) = iptables.parse("*filter\n:INPUT DROP [0:0]\nCOMMIT\n", "ip", "iptables-legacy")
    assert command(chain, VRRP4).startswith("iptables-legacy -I INPUT -i ens3 -p vrrp -j ACCEPT  #")
