# SPDX-License-Identifier: MIT
"""Hazards of keepalived and its configuration."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from keepalived_dummy.facts import Facts
from keepalived_dummy.findings.hazard import Found, Severity, hazard
from keepalived_dummy.keepalived import Instance
from keepalived_dummy.keepalived.model import endpoint
from keepalived_dummy.moves import alone, vips
from keepalived_dummy.observed import is_link_local

_ADOPT = "keepalived-dummy adopt"
UNIT = "keepalived-dummy.service"


@hazard(
    "source-not-pinned",
    Severity.WARNING,
    "keepalived goes to FAULT, and its VIPs with it, in the moment in which networkd takes the uplink's address away",
)
def not_pinned(facts: Facts) -> Iterator[Found]:
    """An instance with VIPs on a dummy, and neither mcast_src_ip nor unicast_src_ip."""
    for one in _on_dummies(facts):
        if one.mcast_src_ip is None and one.unicast_src_ip is None:
            keyword = "unicast_src_ip" if one.unicast_peer else "mcast_src_ip"
            what = f"vrrp_instance {one.name.text} has no {keyword}"
            yield Found(what, _ADOPT, one.name.where)


@hazard(
    "source-gone",
    Severity.CRITICAL,
    "VRRP is sent from an address that is none of this host: peers with a firewall or a unicast_peer list do not hear it",
)
def source_gone(facts: Facts) -> Iterator[Found]:
    """The pinned source is no address of the host any more. An interface that has none now is another matter."""
    moving = vips(facts.document)
    for one in _on_dummies(facts):
        pinned = one.unicast_src_ip or one.mcast_src_ip
        if pinned is None or not pinned.certain or one.interface is None:
            continue
        uplink = facts.seen.uplink(one.interface.text)
        if uplink is None or not uplink.index:
            continue
        address = endpoint(pinned.text)
        if not address:
            continue  # keepalived itself complains of it
        near = tuple(filter(is_link_local, uplink.addresses))
        held = near if is_link_local(address) else uplink.usable(one.family)
        source = ipaddress.ip_address(address)
        if held and (source in moving or source not in facts.addresses):
            is_what = "a VIP" if source in moving else "no address of this host"
            what = f"{address}, the source of {one.name.text}, is {is_what}"
            yield Found(what, _ADOPT, pinned.where)


@hazard(
    "keepalived-old",
    Severity.WARNING,
    "before 2.0 keepalived does not notice that a VIP was taken away, and tracks no device of a VIP",
)
def old(facts: Facts) -> Iterator[Found]:
    """1.3 and its like."""
    if facts.keepalived and facts.keepalived < (2,):
        version = ".".join(map(str, facts.keepalived))
        yield Found(f"keepalived is {version}", "apt install --only-upgrade keepalived")


@hazard(
    "keepalived-not-ordered",
    Severity.WARNING,
    "at boot keepalived may start before its dummy is there, and ends",
)
def not_ordered(facts: Facts) -> Iterator[Found]:
    """The drop-in of this package is masked, or the unit is another."""
    if facts.after is not None and UNIT not in facts.after:
        folder = "/etc/systemd/system/keepalived.service.d"
        mend = f"remove what masks keepalived-dummy.conf in {folder}, and systemctl daemon-reload"
        yield Found(f"keepalived.service is not ordered after {UNIT}", mend, "keepalived.service")


@hazard(
    "keepalived-in-namespace",
    Severity.CRITICAL,
    "the dummies and the uplinks that are looked at here are not those that keepalived has, and it does not find a dummy",
)
def in_namespace(facts: Facts) -> Iterator[Found]:
    """net_namespace: keepalived starts in a network namespace of its own. Without a VIP on a dummy nothing is lost."""
    word = facts.document.model.net_namespace
    if word is not None:
        what = "keepalived runs" if word.certain else "keepalived may run"
        critical = word.certain and any(_on_dummies(facts))
        yield Found(
            f"{what} in the network namespace {word.text}",
            f"take net_namespace out of {word.where}, and systemctl restart keepalived",
            word.where,
            None if critical else Severity.WARNING,
        )


@hazard("keepalived-not-running", Severity.CRITICAL, "this host takes no VIP over")
def not_running(facts: Facts) -> Iterator[Found]:
    """There are VIPs in keepalived.conf, and nobody to hold them."""
    if facts.after is not None and not facts.seen.keepalived.pid and any(_on_dummies(facts)):
        path = facts.seen.keepalived.config
        yield Found("keepalived.service does not run", "systemctl start keepalived", path)


@hazard(
    "instance-in-fault",
    Severity.CRITICAL,
    "it holds no VIP and takes none over",
    passing=True,
)
def in_fault(facts: Facts) -> Iterator[Found]:
    """keepalived says so."""
    for one in facts.seen.instances:
        if one.state == "FAULT":
            mend = f"mend what `journalctl -b -u keepalived | grep {one.name}` says"
            yield Found(f"vrrp_instance {one.name} is in FAULT", mend, one.where)


def _on_dummies(facts: Facts) -> Iterator[Instance]:
    """The instances with VIPs on dummies of ours."""
    dummies = facts.ours
    for one in facts.document.model.instances:
        devices = {vip.device.text for vip in one.vips if vip.device and vip.certain}
        if devices & dummies and not alone(one):
            yield one
