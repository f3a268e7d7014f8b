# SPDX-License-Identifier: MIT
"""The ways of holding a VIP without a dummy of ours: which one a host uses, and whether it keeps the VIP. Pure.

A VIP is lost in two ways: networkd takes it off an interface that it manages, or takes the address that keepalived
sends from, and keepalived goes to FAULT. docs/comparison.md has what was measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from keepalived_dummy.facts import Facts
from keepalived_dummy.findings.hazard import Severity
from keepalived_dummy.keepalived import Instance
from keepalived_dummy.observed import Vip
from keepalived_dummy.pins import sends_from_link_local

ADOPT = "keepalived-dummy adopt"
_STAYS = 257  # from here on networkd keeps static addresses of its own at a reconfigure, and with `yes` those of DHCP
_MEASURED = 255  # the one release before at which keeping and pinning together were measured
_SECOND_MAC = "the network has to accept a second MAC"
_KEPT_TOO = "an address of DHCP outlives its lease, and what else was ever added there stays"
_NO_ROUTE = "replies have no route while {} has no address"


@dataclass(frozen=True)
class Way:
    """How a VIP is held. `severity`: how grave it is that this does not keep it, None: it does.

    `what`: the way in words. `lacks`: what it leaves uncovered at an ordinary event, or, where it keeps the VIP,
    otherwise. `mend`: the line that is missing.
    """

    device: str
    what: str
    lacks: str
    mend: str = ""
    severity: Severity | None = None


def way(vip: Vip, facts: Facts) -> Way | None:
    """None: the VIP is on a dummy of ours, or on an interface that networkd does not manage."""
    network = facts.networks.get(vip.device)
    instance = next((i for i in _instances(facts) if i.name.text == vip.instance), None)
    if not vip.certain or instance is None or vip.device in facts.ours:
        return None
    if network is None or not network.managed:
        return None
    if _is_on_its_own(vip, instance):
        return _own_interface(vip, instance, facts)
    return _on_the_uplink(vip, instance, facts)


def all_ways(facts: Facts) -> Iterator[tuple[tuple[str, ...], Way]]:
    """Each way in which VIPs of this host are kept, and their addresses."""
    found: dict[Way, list[str]] = {}
    for vip in facts.seen.vips:
        one = way(vip, facts)
        if one and one.severity is None:
            found.setdefault(one, []).append(vip.address)
    return ((tuple(addresses), one) for one, addresses in found.items())


def _instances(facts: Facts) -> tuple[Instance, ...]:
    return facts.document.model.instances


def _is_on_its_own(vip: Vip, instance: Instance) -> bool:
    """Whether keepalived makes a macvlan for it; an ipvlan is for adverts only (vrrp_complete_instance() in vrrp.c)."""
    if instance.use_vmac:
        return vip.family == instance.family or any(instance.statement.find("use_vmac_addr"))
    marked = (v for v in instance.vips if any(o.keyword.text == "use_vmac" for o in v.options))
    return any(line.where == vip.where for line in marked)


def _own_interface(vip: Vip, instance: Instance, facts: Facts) -> Way:
    what, lacks = f"by use_vmac over {vip.device}", f"{_SECOND_MAC}; {_NO_ROUTE.format(vip.device)}"
    if _is_pinned(instance):
        one = Way(vip.device, f"{what}, with a pinned source", lacks)
        return _measured(one, facts, f"try it once: networkctl reconfigure {vip.device}")
    if _stays(vip.device, instance, facts):
        return Way(vip.device, what, lacks)
    return _unpinned(Way(vip.device, what, ""), instance, facts, "")


def _on_the_uplink(vip: Vip, instance: Instance, facts: Facts) -> Way:
    device = vip.device
    kept = facts.kept.get(device)
    if not kept:
        return _unkept(vip, instance, facts)
    what = f"on {device}, with KeepConfiguration={kept}"
    if _is_pinned(instance):
        one = Way(device, f"{what} and a pinned source", _KEPT_TOO)
        return _measured(one, facts, f"{ADOPT}; or try it once: networkctl reconfigure {device}")
    if _stays(device, instance, facts):
        return Way(device, what, _KEPT_TOO)
    return _unpinned(Way(device, what, ""), instance, facts, f", or: {ADOPT}")


def _unkept(vip: Vip, instance: Instance, facts: Facts) -> Way:
    """Nothing keeps networkd from the VIP itself."""
    device = vip.device
    if instance.use_vmac:
        mend = f"write use_vmac_addr into vrrp_instance {instance.name.text}"
        lacks = f"of use_vmac, it is of the other family than {instance.name.text}"
    else:
        mend = f"`critical: true` for {device} in netplan (KeepConfiguration=yes in its .network)"
        lacks = ""
    if not _is_pinned(instance) and not _stays(device, instance, facts, "yes"):
        mend += f", and {_pin(instance, facts)}"
    if not (instance.use_vmac or instance.use_ipvlan):  # these adopt leaves alone
        mend = f"{ADOPT}; or {mend}"
    return Way(device, f"on {device}, which networkd manages", lacks, mend, Severity.CRITICAL)


def _unpinned(one: Way, instance: Instance, facts: Facts, also: str) -> Way:
    lacks = f"networkd takes the own address of {one.device}, and keepalived goes to FAULT"
    return Way(one.device, one.what, lacks, _pin(instance, facts) + also, Severity.CRITICAL)


def _measured(one: Way, facts: Facts, mend: str) -> Way:
    """With a pinned source all ways are good where that was measured."""
    release = facts.systemd
    if release is not None and (release == _MEASURED or release >= _STAYS):
        return one
    lacks = f"this was not measured with systemd {release or 'of an unknown release'}"
    return Way(one.device, one.what, lacks, mend, Severity.WARNING)


def _stays(device: str, instance: Instance, facts: Facts, kept: str = "") -> bool:
    """Whether the address that keepalived chose itself stays at a reconfigure."""
    if facts.systemd is None or facts.systemd < _STAYS:
        return False
    kept = kept or facts.kept.get(device, "")
    return kept == "yes" or (device, instance.family) not in facts.leased


def _is_pinned(instance: Instance) -> bool:
    """An ipvlan is given its address in the configuration, so that is the source; a link-local one stays by itself."""
    given = instance.mcast_src_ip or instance.unicast_src_ip or instance.use_ipvlan
    return bool(given) or sends_from_link_local(instance)


def _pin(instance: Instance, facts: Facts) -> str:
    keyword = "unicast_src_ip" if instance.unicast_peer else "mcast_src_ip"
    address = facts.sources.get(instance.name.text, "ADDRESS")
    return f"write {keyword} {address} into vrrp_instance {instance.name.text}"
