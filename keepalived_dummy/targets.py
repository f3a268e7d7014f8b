# SPDX-License-Identifier: MIT
"""Which dummy the VIPs of an uplink move to, and the confs of those still to be made. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from keepalived_dummy.config import Config, Dummy, parse_interface
from keepalived_dummy.errors import UserError
from keepalived_dummy.keepalived import (
    CONFIG,
    Address,
    Document,
    Instance,
    unsure_of,
    uplinks_of,
)

FOLDER = "/etc/keepalived-dummy.d"

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@dataclass(frozen=True)
class Interface:
    """An interface of the host: its addresses in the kernel's order, so the primary one first."""

    kind: str = ""
    ethernet: bool = True
    addresses: tuple[IPInterface, ...] = ()


Facts = Mapping[str, Interface]


@dataclass(frozen=True)
class Wish:
    """What was asked for: the one dummy to use, whether sources are pinned, whether routes are written, VIPs to leave."""

    dummy: str | None = None
    pin: bool = True
    routes: bool = False
    leave: frozenset[IPAddress] = frozenset()


@dataclass(frozen=True)
class Targets:
    """Device of a VIP to the dummy it moves to; the confs to be written for them: path to content."""

    names: Mapping[str, str] = field(default_factory=dict)
    confs: Mapping[str, bytes] = field(default_factory=dict)


Moving = list[tuple[Instance, Address, str]]  # the last one is the device the VIP is on


def choose(document: Document, config: Config, facts: Facts, moving: Moving) -> Targets:
    """A dummy for each device that VIPs are moved from.

    One that serves this uplink already, then one that serves none and follows keepalived.conf, then
    a new one. Raises UserError where the conf of a new one can't be written.
    """
    names: dict[str, str] = {}
    confs: dict[str, bytes] = {}
    ours = {dummy.name for dummy in config.dummies}
    for device in dict.fromkeys(device for _, _, device in moving if device not in ours):
        follows = _follows(document, moving, device)
        taken = set(names.values())
        fit = [d for d in config.dummies if _serves(document, d, device, follows)]
        fit += [d for d in config.dummies if follows and _is_free(document, d)]
        fit = [d for d in fit if d.uplinks or d.name not in taken]
        if fit:
            names[device] = fit[0].name
            continue
        name = _new_name(config, facts, taken)
        names[device] = name
        confs.update(_conf(config, device, name))
    return Targets(names, confs)


def named(document: Document, config: Config, facts: Facts, moving: Moving, name: str) -> Targets:
    """The one dummy that was asked for. Raises UserError where it can't serve what is moved."""
    ours = {dummy.name for dummy in config.dummies}
    devices = list(dict.fromkeys(device for _, _, device in moving if device not in ours))
    known = next((dummy for dummy in config.dummies if dummy.name == name), None)
    if known is None:
        try:
            parse_interface(name)
        except ValueError as error:
            raise UserError(f"--interface {name}: {error}") from error
        if name in facts:
            raise UserError(f"--interface {name}: it is there and no dummy of this package")
        if len(devices) > 1:
            wanted = f"its conf has to name them: [Uplink] Name={' '.join(devices)}"
            raise UserError(f"--interface {name}: VIPs are on {' and '.join(devices)}", wanted)
        confs = _conf(config, devices[0], name) if devices else {}
        return Targets(dict.fromkeys(devices, name), confs)
    for device in devices:
        follows = _follows(document, moving, device) and len(devices) == 1
        serves = _serves(document, known, device, follows)
        if not serves and not (follows and _is_free(document, known)):
            wanted = f"write [Uplink] Name={' '.join(devices)} into {known.path}, or leave out --interface"
            raise UserError(f"--interface {name}: its uplink is not {device}", wanted)
    return Targets(dict.fromkeys(devices, name))


def _follows(document: Document, moving: Moving, device: str) -> bool:
    """Whether [Uplink] Name=auto finds the device: it goes by the `interface` of the instances in keepalived.conf."""
    return document.path == str(CONFIG) and all(
        instance.interface is not None and instance.interface.text == device
        for instance, _, where in moving
        if where == device
    )


def _serves(document: Document, dummy: Dummy, device: str, follows: bool) -> bool:
    if dummy.uplinks:
        return device in dummy.uplinks
    return follows and uplinks_of(document, dummy.name) == (device,)


def _is_free(document: Document, dummy: Dummy) -> bool:
    used = uplinks_of(document, dummy.name) or unsure_of(document, dummy.name)
    return not dummy.uplinks and not used


def _new_name(config: Config, facts: Facts, taken: set[str]) -> str:
    """keepalivedN: the shipped .network keeps networkd from all that begin so."""
    used = taken | set(facts) | {dummy.name for dummy in config.dummies} | {"keepalived0"}
    return next(name for n in range(1, 10000) if (name := f"keepalived{n}") not in used)


def _conf(config: Config, device: str, name: str) -> dict[str, bytes]:
    stem = f"keepalived-{device}"
    path = f"{FOLDER}/{stem}.conf"
    known = {dummy.stem for dummy in config.dummies} | config.masked | config.bad
    if stem in known:
        raise UserError(f"{path} is there, and not for the VIPs on {device}", "remove it")
    text = f"[Interface]\nName={name}\n\n[Uplink]\nName={device}\n"
    return {path: text.encode()}
