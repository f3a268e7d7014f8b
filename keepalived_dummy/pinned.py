# SPDX-License-Identifier: MIT
"""The sources that keepalived.conf pins for instances with VIPs on dummies of ours, for the daemon. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from keepalived_dummy.config import Config, Dummy
from keepalived_dummy.interfaces import Link
from keepalived_dummy.keepalived import Document, Instance, Word
from keepalived_dummy.keepalived.model import endpoint
from keepalived_dummy.plan import PinnedSource
from keepalived_dummy.routes import LOOPBACK, RT_TABLE_LOCAL


def sources(
    config: Config,
    document: Document,
    links: Mapping[str, Link],
    before: tuple[PinnedSource, ...] = (),
) -> tuple[PinnedSource, ...]:
    """Return the pinned source of each instance that has one, in the order of the file.

    An instance of which the interface or the source depends on a condition is left out: nobody knows it here.
    `before`: those of the last pass, for the instances that a bad keepalived.conf does not name. keepalived runs with
    them until it reads the file again.
    """
    dummies = {dummy.name: dummy for dummy in config.dummies}
    read = (_source(one, dummies, links) for one in document.model.instances)
    found = tuple(one for one in read if one is not None)
    if not document.files or not document.errors:
        return found
    named = {instance.name.text for instance in document.model.instances}
    kept = (one for one in before if one.instance not in named)
    return (*found, *(one for one in kept if set(one.dummies) <= dummies.keys()))


def _source(
    instance: Instance, dummies: Mapping[str, Dummy], links: Mapping[str, Link]
) -> PinnedSource | None:
    devices = (vip.device.text for vip in instance.vips if vip.device and vip.valid and vip.certain)
    on = tuple(name for name in dict.fromkeys(devices) if name in dummies)
    word = instance.unicast_src_ip or instance.mcast_src_ip
    interface = instance.interface
    if not on or word is None or not word.certain or interface is None or not interface.certain:
        return None
    address = _packed(word)
    if not address:
        return None
    peers = [
        packed for peer in instance.unicast_peers if peer.certain and (packed := _packed(peer))
    ]
    return PinnedSource(
        instance.name.text,
        interface.text,
        address,
        tuple(dict.fromkeys(peers)),
        on,
        all(dummies[name].hold_source for name in on),
        *_local(links.get(interface.text), links),
    )


def _packed(word: Word) -> bytes:
    """Return an address as bytes; empty where it is none."""
    address = endpoint(word.text)
    return ipaddress.ip_address(address).packed if address else b""


def _local(uplink: Link | None, links: Mapping[str, Link]) -> tuple[int, int]:
    """Return the table of an uplink's local addresses, and the index of the device that they are delivered through."""
    master = uplink.master if uplink else 0
    vrf = next((one for one in links.values() if one.ifindex == master and one.table), None)
    return (vrf.table, vrf.ifindex) if vrf else (RT_TABLE_LOCAL, LOOPBACK)
