# SPDX-License-Identifier: MIT
"""The command that lets something through a chain, in the words of the program that owns the chain. Pure.

What is put into a table behind its owner's back is gone at the owner's next reload, and a table with the flag `owner`,
such as that of firewalld from 2.2 on, refuses it (NFT_TABLE_F_OWNER, linux/netfilter/nf_tables.h).
"""

from __future__ import annotations

from dataclasses import dataclass

from keepalived_dummy.firewall import Chain

_FIREWALLD = frozenset(("INPUT_ZONES", "PREROUTING_ZONES"))  # its chains in iptables' tables
_KEEP = "  # now; and write it into what loads this table"


@dataclass(frozen=True)
class Permit:
    """What is to come in on an interface: a rule of nft without that, matches of iptables, options of firewall-cmd.

    `family`: 4 or 6. `zone`: firewalld's zone for it; empty: that of the interface.
    """

    interface: str
    nft: str
    iptables: str
    firewalld: str
    family: int = 4
    zone: str = ""


def command(chain: Chain, permit: Permit) -> str:
    """What lets it through."""
    if _is_firewalld(chain):
        return _firewall_cmd(permit)
    if _is_ufw(chain):
        return _ufw(permit)
    if chain.tool != "nft":
        table = "" if chain.table == "filter" else f"-t {chain.table} "
        matches = f"-i {permit.interface} {permit.iptables}"
        return f"{chain.tool} {table}-I {chain.name} {matches} -j ACCEPT{_KEEP}"
    # The device of such a chain is the chain's own.
    device = "" if chain.hook == "ingress" else f'iifname "{permit.interface}" '
    rule = f"{device}{permit.nft} accept"
    if chain.owned:
        return f"have the program that owns the table {chain.family} {chain.table} accept: {rule}"
    return f"nft insert rule {chain.family} {chain.table} {chain.name} {rule}{_KEEP}"


def _is_firewalld(chain: Chain) -> bool:
    if chain.tool == "nft" and chain.table == "firewalld":
        return True
    return not _FIREWALLD.isdisjoint(chain.others)


def _firewall_cmd(permit: Permit) -> str:
    zone = permit.zone
    if not zone:
        asked = f"firewall-cmd --get-zone-of-interface={permit.interface}"
        zone = f'"$({asked} || firewall-cmd --get-default-zone)"'
    return f"firewall-cmd --permanent --zone={zone} {permit.firewalld} && firewall-cmd --reload"


def _is_ufw(chain: Chain) -> bool:
    return any(name.startswith(("ufw-", "ufw6-")) for name in chain.others)


def _ufw(permit: Permit) -> str:
    """Not every release of ufw allows protocols other than tcp and udp by a command, so before its first rule."""
    name, file = ("ufw-before-input", "before.rules")
    if permit.family == 6:
        name, file = ("ufw6-before-input", "before6.rules")
    rule = f"-A {name} -i {permit.interface} {permit.iptables} -j ACCEPT"
    return f"sed -i '0,/^-A {name} /s//{rule}\\n&/' /etc/ufw/{file} && ufw reload"
