# SPDX-License-Identifier: MIT
"""What an interface loses when a VIP leaves it: a route to the VIP's network, or every IPv4 route. Pure."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from keepalived_dummy.keepalived import Address, Document, Instance, Statement
from keepalived_dummy.onlink import (
    Network,
    Route,
    covers,
    is_routed,
    on_links,
    source,
    static_route,
)
from keepalived_dummy.targets import Facts, IPAddress, IPInterface


@dataclass(frozen=True)
class Losses:
    """Judges by the file, the host and all VIPs; `add`: a route that is lost is to be written into virtual_routes."""

    document: Document
    facts: Facts
    vips: frozenset[IPAddress]
    add: bool

    def routes(self, instance: Instance, vip: Address, device: str) -> Iterator[Route]:
        """The route to its network that a device loses with a VIP: no other address gives it, nor does the file."""
        if vip.prefix in (None, vip.longest) or _gives_none(vip):
            return
        network = _network(vip)
        given = any(covers(one.network, network) for one in self._own(device))
        if not given and not self._is_routed(instance, device, network):
            yield Route(instance, vip, network, device)

    def refusal(self, instance: Instance, vip: Address, device: str) -> str:
        """Why a VIP can't leave the device; empty where it can, or where the route that is lost is to be written."""
        for route in self.routes(instance, vip, device):
            return self._alone(route)
        if vip.family == 6 or self._has_ipv4(device):
            return ""
        if is_routed(instance, device, ipaddress.ip_network(vip.address)):
            return ""
        return (
            f"{vip.address}: {device} has no IPv4 address of its own now, and with the last one the kernel drops"
            f" every route over {device}; give it one, or write the network of its clients into virtual_routes"
            f" (NETWORK dev {device} scope link)"
        )

    def _own(self, device: str) -> Iterator[IPInterface]:
        """The addresses of a device that are no VIPs."""
        return (one for one in self.facts[device].addresses if one.ip not in self.vips)

    def _has_ipv4(self, device: str) -> bool:
        return any(one.version == 4 for one in self._own(device))

    def _is_routed(self, instance: Instance, device: str, network: Network) -> bool:
        if is_routed(instance, device, network):
            return True
        route = static_route(self.document, device, network)
        return route is not None and not self._dropped(route, device, network)

    def _dropped(self, route: Statement, device: str, network: Network) -> str:
        """With what the kernel drops a route of static_routes when VIPs leave a device; empty where it does not."""
        given = source(route)
        if given and any(given == str(vip) for vip in self.vips):
            return f"with {given}, its src"
        if network.version == 4 and not self._has_ipv4(device):
            return f"with the last IPv4 address of {device}"
        return ""

    def _alone(self, route: Route) -> str:
        """Why a VIP that is alone in its network can't be moved; empty where its route is to be written, and can be."""
        vip, network, device = route.vip, route.network, route.device
        lost = (
            f"{vip.address}/{vip.prefix} is what gives {device} its route to {network}, which goes"
            " with it"
        )
        address = f"give {device} an address of its own in that network"
        if other := next(self._others(route), None):
            return (
                f"{lost}, and vrrp_instance {other} has that route too, so that either would take it from the"
                f" other; {address}, then run this again"
            )
        if self.add:
            return ""
        static = static_route(self.document, device, network)
        if static is not None and (why := self._dropped(static, device, network)):
            where = static.words[0].where
            lost += f"; the kernel drops the route of {where} {why}, and keepalived does not set it again"
        return f"{lost}; {address}, or have --add-routes write virtual_routes {{ {route.line} }}"

    def _others(self, route: Route) -> Iterator[str]:
        """The other instances that have the same route, in virtual_routes or by a VIP."""
        names = self._having[route.device, route.network]
        return (name for name in names if name != route.instance.name.text)

    @cached_property
    def _having(self) -> defaultdict[tuple[str, Network], list[str]]:
        """Device and network to the instances that have a route to it."""
        found: defaultdict[tuple[str, Network], list[str]] = defaultdict(list)
        for instance in self.document.model.instances:
            given = (one for vip in instance.vips for one in _given(instance, vip))
            for one in {*given, *on_links(instance)}:
                found[one].append(instance.name.text)
        return found


def _given(instance: Instance, vip: Address) -> Iterator[tuple[str, Network]]:
    """The device of a VIP, and the network to which the VIP gives it a route."""
    device = vip.device or instance.interface
    if vip.valid and vip.prefix not in (None, vip.longest) and device is not None:
        yield device.text, _network(vip)


def _network(vip: Address) -> Network:
    return ipaddress.ip_network((vip.address, vip.prefix or 0), strict=False)


def _gives_none(vip: Address) -> bool:
    return any(option.keyword.text == "noprefixroute" for option in vip.options)
