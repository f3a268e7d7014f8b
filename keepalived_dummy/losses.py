# SPDX-License-Identifier: MIT
"""What an interface loses when a VIP leaves it: a route to the VIP's network, or every IPv4 route. Pure."""

from __future__ import annotations

import ipaddress
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
            yield Route(instance, vip, network, device, self._numbers[instance.name.text])

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
        if other := self._without_source.get((device, network)):
            return (
                f"{lost}; vrrp_instance {other} has that route without src, and would take a second one along"
                f" with its own; {address}, or write src into that route"
            )
        if self.add:
            return ""
        static = static_route(self.document, device, network)
        if static is not None and (why := self._dropped(static, device, network)):
            where = static.words[0].where
            lost += f"; the kernel drops the route of {where} {why}, and keepalived does not set it again"
        return f"{lost}; {address}, or have --add-routes write virtual_routes {{ {route.line} }}"

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """The instances by their place in the file, from 0."""
        return {one.name.text: n for n, one in enumerate(self.document.model.instances)}

    @cached_property
    def _without_source(self) -> dict[tuple[str, Network], str]:
        """Device and network to an instance that has an IPv4 route to it without `src`: it takes any other along."""
        return {
            one: instance.name.text
            for instance in self.document.model.instances
            for one in on_links(instance)
        }


def _network(vip: Address) -> Network:
    return ipaddress.ip_network((vip.address, vip.prefix or 0), strict=False)


def _gives_none(vip: Address) -> bool:
    return any(option.keyword.text == "noprefixroute" for option in vip.options)
