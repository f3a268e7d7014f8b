# SPDX-License-Identifier: MIT
"""Hazards of a VIP: where it is, and where it should be."""

from __future__ import annotations

from collections.abc import Iterator

from keepalived_dummy.facts import Facts
from keepalived_dummy.findings.hazard import Found, Severity, hazard
from keepalived_dummy.findings.ways import ADOPT, way
from keepalived_dummy.findings.who import another, ask_another, reloading
from keepalived_dummy.moves import broadcast, clearing
from keepalived_dummy.observed import Vip, is_link_local

_KEEP = "KeepConfiguration=static under [Network] of its .network file (netplan: critical: true), with systemd 257 or later"


@hazard(
    "vip-on-managed-interface",
    Severity.CRITICAL,
    "networkd takes it, or the address keepalived sends from, when it restarts or configures the interface anew",
)
def on_managed_interface(facts: Facts) -> Iterator[Found]:
    """What this package is for. Other ways keep it as well, on some releases and with some settings."""
    for vip in facts.seen.vips:
        one = way(vip, facts)
        if one and one.severity is not None:
            what = f"{_shown(vip)} is {one.what}" + (f": {one.lacks}" if one.lacks else "")
            mend = _KEEP if is_link_local(vip.address) else one.mend
            yield Found(what, mend, vip.where, one.severity)


@hazard(
    "vip-prefix",
    Severity.WARNING,
    "the network's own route is then on the dummy too, and what takes it does not leave the host",
)
def prefix(facts: Facts) -> Iterator[Found]:
    """On a dummy it is /32 or /128."""
    dummies = facts.ours
    for vip in facts.seen.vips:
        longest = 32 if vip.family == 4 else 128
        if vip.device in dummies and vip.certain and vip.prefix < longest:
            what = f"{_shown(vip)} on {vip.device} has the prefix /{vip.prefix}"
            yield Found(what, f"write /{longest}, or: {ADOPT}", vip.where)


@hazard(
    "vip-broadcast",
    Severity.WARNING,
    "once networkd has set the uplink's address anew, what this host broadcasts to that network ends in the dummy",
)
def broadcast_on_dummy(facts: Facts) -> Iterator[Found]:
    """`brd ADDRESS` on its line: the kernel makes a route to that address on the dummy."""
    dummies = facts.ours
    for instance in facts.document.model.instances:
        for line in instance.vips:
            address, device = broadcast(line), line.device
            if not address or not line.valid or not line.certain or device is None:
                continue
            if device.text in dummies:
                what = f"{line.address} ({instance.name.text}) on {device.text} has brd {address}"
                mend = (
                    f"take brd {address} out of {line.where}, and systemctl reload keepalived;"
                    f" if the VIP is held here: {clearing(line, device.text)}"
                )
                yield Found(what, mend, line.where)


@hazard(
    "vip-not-tracked",
    Severity.WARNING,
    "keepalived stays MASTER when the dummy is gone or down, and no other node takes over",
)
def not_tracked(facts: Facts) -> Iterator[Found]:
    """`no_track` on its line."""
    dummies = facts.ours
    for instance in facts.document.model.instances:
        for line in instance.vips:
            word = next((o.keyword for o in line.options if o.keyword.text == "no_track"), None)
            if word and word.certain and line.device and line.device.text in dummies:
                what = f"{line.address} ({instance.name.text}) on {line.device.text} has no_track"
                mend = f"take no_track out of {word.where}, and systemctl reload keepalived"
                yield Found(what, mend, word.where)


@hazard(
    "vip-device-missing",
    Severity.CRITICAL,
    "keepalived (2.0 and later) ends when it starts or reloads without this device",
)
def device_missing(facts: Facts) -> Iterator[Found]:
    """`dev` of an interface that is not there and that no conf makes."""
    dummies = facts.ours
    vmac = _with_interface_of_their_own(facts)
    for vip in facts.seen.vips:
        absent = vip.device and vip.device not in facts.links and vip.device not in dummies
        if absent and vip.certain and vip.instance not in vmac:
            what = f"{_shown(vip)} is to be on {vip.device}, which is not there and no conf makes"
            mend = f"correct `dev {vip.device}`, or write /etc/keepalived-dummy.d/{vip.device}.conf"
            yield Found(what, mend, vip.where)


@hazard(
    "vip-lost",
    Severity.CRITICAL,
    "keepalived is MASTER and no other node takes over, but nobody answers",
    passing=True,
)
def lost(facts: Facts) -> Iterator[Found]:
    """keepalived says that it holds it, and the kernel has it on no interface."""
    for vip in facts.seen.vips:
        if vip.due and vip.certain and not vip.held and not vip.elsewhere:
            what = f"{_shown(vip)} is not on {vip.device}, and keepalived says that it holds it"
            yield Found(what, "systemctl restart keepalived", vip.where)


@hazard(
    "vip-left-behind",
    Severity.CRITICAL,
    "this host answers for an address that is, or will be, another node's",
    passing=True,
)
def left_behind(facts: Facts) -> Iterator[Found]:
    """The kernel has it, and keepalived does not say that it holds it.

    To delete an address that a keepalived holds is an outage, so that is proposed only where surely none does.
    """
    keepalived = facts.seen.keepalived
    for vip in facts.seen.vips:
        why, mend = _left_behind(vip, facts) if vip.held and vip.certain else ("", "")
        if not why:
            continue
        what = f"{_shown(vip)} is on {vip.device}, and {why}"
        if keepalived.alone:
            yield Found(what, mend, vip.where, Severity.WARNING if vip.due else None)
            continue
        what += f"; {another(keepalived)}, and may hold it: do not delete it"
        yield Found(what, ask_another(keepalived), vip.where, Severity.WARNING)


def _left_behind(vip: Vip, facts: Facts) -> tuple[str, str]:
    """Why a VIP that is there is not keepalived's, and what to do where no other keepalived runs."""
    delete = f"ip address del {vip.address}/{vip.prefix} dev {vip.device}"
    reload = reloading(facts.seen.keepalived)
    if not vip.instance:
        return _of_no_instance(vip, facts, delete, reload)
    if not facts.seen.keepalived.pid:
        unit = "" if facts.seen.keepalived.alone else ".service"
        return f"keepalived{unit} does not run", delete
    if vip.due is not False:
        return "", ""
    one = facts.seen.instance(vip.instance)
    if one and one.state:
        return f"to keepalived {vip.instance} is {one.state}", delete
    return f"to keepalived {vip.instance} is not one it knows of", reload


def _of_no_instance(vip: Vip, facts: Facts, delete: str, reload: str) -> tuple[str, str]:
    if _is_explained(vip, facts):
        return "", ""
    why, mend = "no vrrp_instance has it", delete
    if facts.seen.keepalived.pid:
        # It may be of a keepalived.conf that was not read again yet.
        unsure = vip.due or not facts.seen.keepalived.told
        mend = reload if unsure else f"{reload}; if that leaves it, {delete}"
    return why, mend


@hazard(
    "vip-elsewhere",
    Severity.CRITICAL,
    "two hosts answer for one address, and each client reaches either of them by chance",
    passing=True,
)
def elsewhere(facts: Facts) -> Iterator[Found]:
    """A probe was answered with another MAC than ours, or with more than one."""
    places = dict.fromkeys((one.address, one.uplink) for one in facts.answers)
    for address, uplink in places:
        macs = {a.mac for a in facts.answers if (a.address, a.uplink) == (address, uplink)}
        held = any(vip.address == address and vip.held for vip in facts.seen.vips)
        own = facts.seen.uplink(uplink)
        others = sorted(macs - {own.mac if own else ""})
        if others and (held or len(macs) > 1):
            who = " and ".join(others) + (", and this host" if held else "")
            mend = f"on the host with {others[0]}: journalctl -u keepalived, ip address"
            yield Found(f"{address} on the LAN of {uplink} is answered by {who}", mend)


def _shown(vip: Vip) -> str:
    return f"{vip.address} ({vip.instance})" if vip.instance else vip.address


def _with_interface_of_their_own(facts: Facts) -> frozenset[str]:
    """The instances whose VIPs keepalived puts on a macvlan or ipvlan that it makes."""
    every = facts.document.model.instances
    return frozenset(one.name.text for one in every if one.use_vmac or one.use_ipvlan)


def _is_explained(vip: Vip, facts: Facts) -> bool:
    """Whether it may be there by right: keepalived.conf could not be read, or has it as a static address."""
    if not facts.seen.keepalived.readable or vip.address.startswith("fe80:"):
        return True
    return any(line.address == vip.address for line in facts.document.model.static_addresses)
