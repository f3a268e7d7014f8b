# SPDX-License-Identifier: MIT
"""Hazards of keepalived and its configuration."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator

from keepalived_dummy.facts import Facts
from keepalived_dummy.findings.hazard import Found, Severity, hazard
from keepalived_dummy.findings.who import another, ask_another
from keepalived_dummy.keepalived import Instance
from keepalived_dummy.keepalived.model import endpoint
from keepalived_dummy.moves import alone, vips
from keepalived_dummy.observed import is_link_local
from keepalived_dummy.pins import sends_from_link_local
from keepalived_dummy.targets import IPAddress

_ADOPT = "keepalived-dummy adopt"
UNIT = "keepalived-dummy.service"
_SERVICE = "keepalived.service"


@hazard(
    "source-not-pinned",
    Severity.WARNING,
    "keepalived goes to FAULT, and its VIPs with it, in the moment in which networkd takes the uplink's address away",
)
def not_pinned(facts: Facts) -> Iterator[Found]:
    """An instance with VIPs on a dummy, whoever made it, and neither mcast_src_ip nor unicast_src_ip.

    One that sends from a link-local address needs none: networkd leaves that alone.
    """
    others = {name for name, link in facts.links.items() if link.kind == "dummy"}
    for one in _on_dummies(facts, others):
        if (
            one.mcast_src_ip is None
            and one.unicast_src_ip is None
            and not sends_from_link_local(one)
        ):
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
            yield Found(_gone(one, address, source in moving), _ADOPT, pinned.where)
    yield from _source_gone_elsewhere(facts, moving)


def _source_gone_elsewhere(facts: Facts, moving: frozenset[IPAddress]) -> Iterator[Found]:
    """The same of instances whose VIPs are not on a dummy of ours."""
    here = {one.name.text for one in _on_dummies(facts)}
    for one in _with_vips(facts):
        pinned = one.unicast_src_ip or one.mcast_src_ip
        now = facts.sources.get(one.name.text)
        if one.name.text in here or pinned is None or not pinned.certain or now is None:
            continue
        address = endpoint(pinned.text)
        if not address:
            continue
        source = ipaddress.ip_address(address)
        if source in moving or source not in facts.addresses:
            mend = f"write {now} in its place" + ("" if alone(one) else f", or: {_ADOPT}")
            yield Found(_gone(one, address, source in moving), mend, pinned.where)


def _gone(instance: Instance, source: str, is_vip: bool) -> str:
    is_what = "a VIP" if is_vip else "no address of this host"
    return f"{source}, the source of {instance.name.text}, is {is_what}"


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
    unit = facts.seen.keepalived.unit
    if facts.after is None or UNIT in facts.after:
        return
    mend = f"remove what masks keepalived-dummy.conf in /etc/systemd/system/{unit}.d"
    if unit != _SERVICE:
        if not any(_on_dummies(facts)):
            return
        mend = f"write [Unit] Wants={UNIT} After={UNIT} into a file of /etc/systemd/system/{unit}.d"
        if not unit.endswith(".service"):
            mend = f"have what starts {unit} wait for {UNIT}"
    mend += "" if unit.endswith(".scope") else ", and systemctl daemon-reload"
    yield Found(f"{unit} is not ordered after {UNIT}", mend, unit)


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
    keepalived = facts.seen.keepalived
    if facts.after is None or keepalived.pid or not any(_with_vips(facts)):
        return
    what = "keepalived.service does not run"
    if keepalived.alone:
        yield Found(what, "systemctl start keepalived", keepalived.config)
        return
    # To start a second one beside it, with the same VIPs perhaps, is no remedy.
    what += f"; {another(keepalived)}"
    yield Found(what, ask_another(keepalived), keepalived.config, Severity.WARNING)


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


def _with_vips(facts: Facts) -> Iterator[Instance]:
    return (one for one in facts.document.model.instances if one.vips)


def _on_dummies(facts: Facts, others: Collection[str] = ()) -> Iterator[Instance]:
    """The instances with VIPs on dummies of ours, or on `others`."""
    dummies = facts.ours.union(others)
    for one in facts.document.model.instances:
        devices = {vip.device.text for vip in one.vips if vip.device and vip.certain}
        if devices & dummies and not alone(one):
            yield one


@hazard(
    "instance-cannot-hear",
    Severity.CRITICAL,
    "a node that does not hear a better one becomes MASTER beside it; the daemon keeps it in FAULT while it holds no VIP",
    passing=True,
)
def cannot_hear(facts: Facts) -> Iterator[Found]:
    """The address that keepalived.conf pins is away, and the kernel delivers no advert without it."""
    for one in _on_dummies(facts):
        why = facts.deaf.get(one.name.text)
        if why is None or one.interface is None:
            continue
        name = one.interface.text
        uplink = facts.seen.uplink(name)
        others = uplink.usable(one.family) if uplink else ()
        managed = name in facts.networks and facts.networks[name].managed
        mend = f"networkctl renew {name}" if managed else f"ip address add ... dev {name}"
        mend = _ADOPT if others else mend
        yield Found(
            f"vrrp_instance {one.name.text} can't hear its peers: {why}", mend, one.name.where
        )
