# SPDX-License-Identifier: MIT
"""The dummies themselves: made, set as their confs ask, and removed, over netlink.

Read by our own reader, changed by pyroute2: a pass that finds everything right, as nearly all do,
does not pay for importing it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from keepalived_dummy import interfaces, kernel
from keepalived_dummy.config import Config, Dummy
from keepalived_dummy.errors import Problem
from keepalived_dummy.interfaces import ADDR_GEN_NONE, IFF_NOARP, IFF_UP, Address, Link

_PATIENCE, _LOOK = 5.0, 0.1
NET_ADDR_SET = "3"  # linux/netdevice.h: the MAC was set from user space, not drawn by the kernel

# The link's alias (IFLA_IFALIAS) says who made it, and from which conf.
ALIAS = "keepalived-dummy:"

# The dummy announces its addresses when its MAC is set, and answers for its own addresses alone. An ARP request over
# the wire comes in where no route to its sender is: with a strict rp_filter on `all`, the larger of which and the
# dummy's own counts, the kernel would drop it, so the dummy's is the loose one.
SYSCTLS = {
    "ipv4": {"arp_notify": "1", "arp_ignore": "1", "rp_filter": "2"},
    "ipv6": {"ndisc_notify": "1"},
}


@dataclass
class Result:
    """What a pass over the links did (lines for people), and what it could not do."""

    changed: list[str] = field(default_factory=list)
    stays: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class Host:
    """The host's interfaces by name, and their IPv4 and IPv6 addresses, at one moment."""

    links: Mapping[str, Link]
    addresses: tuple[Address, ...]

    @cached_property
    def names(self) -> dict[int, str]:
        """Interface index to name."""
        return {link.ifindex: link.name for link in self.links.values()}

    def held(self, link: Link) -> list[str]:
        """The addresses of a link, with their prefix length."""
        return [
            f"{socket.inet_ntop(item.family, item.address)}/{item.prefixlen}"
            for item in self.addresses
            if item.ifindex == link.ifindex
        ]


def read() -> Host:
    """The host as it is now. Raises OSError where it could not be read whole."""
    with kernel.open_dump_socket() as sock:
        found = [interfaces.link(item.body) for item in kernel.dump(sock, interfaces.dump_links())]
        dumped = kernel.dump(sock, interfaces.dump_addresses())
        addresses = [address for item in dumped if (address := interfaces.address_of(item))]
    return Host({link.name: link for link in found}, tuple(addresses))


def read_patiently() -> Host:
    """As `read`, asked for again for some seconds where links and addresses change while they are read."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return read()
        except InterruptedError:
            if time.monotonic() > end:
                raise
            time.sleep(_LOOK)


class Changer:
    """The kernel's links, to be changed: pyroute2, imported and opened at the first change."""

    def close(self) -> None:
        """Close the socket, if one was opened."""
        if "_ipr" in self.__dict__:
            self._ipr.close()

    @cached_property
    def _ipr(self) -> Any:
        from pyroute2 import IPRoute

        return IPRoute()

    def delete(self, index: int) -> None:
        """One RTM_DELLINK. OSError with the kernel's errno where it refuses.

        Not by pyroute2, which before 0.6.10 (Ubuntu 22.04) bears a flag that Linux 5.19 and later refuse there.
        """
        with kernel.open_dump_socket() as sock:
            kernel.dump(sock, interfaces.delete_link(index))

    def link(self, command: str, **what: Any) -> None:
        """One RTM_NEWLINK. OSError with the kernel's errno where it refuses."""
        try:
            self._ipr.link(command, **what)
        except (
            Exception
        ) as error:  # pyroute2's NetlinkError is no OSError, and moved between releases
            code = getattr(error, "code", None)
            if not isinstance(code, int):
                raise
            raise OSError(code, os.strerror(code)) from error


def made_from(link: Link) -> str | None:
    """The conf (basename without .conf) this package made the link from; None: it did not."""
    return link.alias.removeprefix(ALIAS) if link.alias.startswith(ALIAS) else None


def sync(
    change: Changer,
    config: Config,
    settled: frozenset[str],
    deaf: Mapping[str, str] = MappingProxyType({}),
) -> Result:
    """Make every configured dummy exist, set as its conf asks, and up; remove those without a conf.

    `settled` holds the basenames whose .netdev stood before this pass: of those alone may networkd
    have made the dummy already. `deaf`: dummies that are not set up, and why.
    """
    result = Result()
    host = read()
    for dummy in config.dummies:
        try:
            link = host.links.get(dummy.name)
            if ready := _sync_one(change, dummy, link, dummy.stem in settled, result):
                _bring_up(change, ready, result, deaf.get(dummy.name, ""))
        except OSError as error:
            message = f"the kernel does not make or set {dummy.name}: {error.strerror}"
            result.problems.append(Problem(dummy.path, 0, message))
    names = {dummy.name for dummy in config.dummies}
    for link in host.links.values():
        stem = made_from(link)
        if stem is not None and link.name not in names and stem not in config.bad:
            _remove(change, host, link, result)
    return result


def move(change: Changer, dummy: Link, vrf: Link | None) -> None:
    """Put a dummy into a VRF, or out of all; OSError where the kernel refuses.

    The kernel sets it down and up for that, and so takes its IPv6 addresses (cycle_netdev() in drivers/net/vrf.c).
    """
    change.link("set", index=dummy.ifindex, master=vrf.ifindex if vrf else 0)


def remove_all(change: Changer) -> Result:
    """Remove every dummy this package made and that holds no address."""
    result = Result()
    host = read()
    for link in host.links.values():
        if made_from(link) is not None:
            _remove(change, host, link, result)
    return result


def in_use(host: Host) -> bool:
    """Whether a dummy this package made holds an address."""
    return any(made_from(link) is not None and host.held(link) for link in host.links.values())


def announce(link: Link) -> None:
    """Have the kernel announce every address of the dummy.

    Setting a MAC, to the same value too, raises NETDEV_CHANGEADDR, which arp_notify (net/ipv4/devinet.c)
    and ndisc_notify (net/ipv6/ndisc.c) answer with gratuitous ARPs and unsolicited advertisements.
    """
    with kernel.open_socket() as sock:
        sock.send(interfaces.set_mac(link.ifindex, link.mac))


def _sync_one(
    change: Changer, dummy: Dummy, link: Link | None, settled: bool, result: Result
) -> Link | None:
    """Make a dummy exist as its conf asks; None where its name is taken."""
    name = dummy.name
    if link is not None and link.kind != "dummy":
        kind = link.kind or "hardware"
        message = f"{name} is there and is no dummy ({kind}); give Name= another interface name"
        result.problems.append(Problem(dummy.path, 0, message))
        return None
    made = link is None
    if link is None:
        mac = {"address": dummy.mac} if dummy.mac else {}
        change.link("add", ifname=name, kind="dummy", **mac)
        link = read().links[name]
        result.changed.append(f"{name}: made")
    if made or (settled and not link.alias and made_by_networkd(name)):
        change.link("set", index=link.ifindex, ifalias=ALIAS + dummy.stem)
    if dummy.mtu is not None and link.mtu != dummy.mtu:
        change.link("set", index=link.ifindex, mtu=dummy.mtu)
        result.changed.append(f"{name}: MTU {link.mtu} -> {dummy.mtu}")
    if dummy.mac is not None and link.mac.hex(":") != dummy.mac:
        change.link("set", index=link.ifindex, address=dummy.mac)
        result.changed.append(f"{name}: MAC {link.mac.hex(':')} -> {dummy.mac}")
    return link


def _bring_up(change: Changer, link: Link, result: Result, deaf: str) -> None:
    """No link-local address, ARP on, announcing, up; in this order, so that it is never up and wrong."""
    if link.addr_gen_mode not in (None, ADDR_GEN_NONE):
        spec = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", ADDR_GEN_NONE)]}
        change.link("set", index=link.ifindex, IFLA_AF_SPEC={"attrs": [("AF_INET6", spec)]})
        result.changed.append(f"{link.name}: no link-local address of its own")
    if link.flags & IFF_NOARP:
        change.link("set", index=link.ifindex, flags=0, change=IFF_NOARP)
        result.changed.append(f"{link.name}: ARP on")
    for family, settings in SYSCTLS.items():
        for key, value in settings.items():
            _write_sysctl(Path(f"/proc/sys/net/{family}/conf/{link.name}/{key}"), value, result)
    if not link.flags & IFF_UP and deaf:
        result.stays.append(f"{link.name}: stays down, so that keepalived is in FAULT: {deaf}")
    elif not link.flags & IFF_UP:
        change.link("set", index=link.ifindex, flags=IFF_UP, change=IFF_UP)
        result.changed.append(f"{link.name}: up")


def _write_sysctl(path: Path, value: str, result: Result) -> None:
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
            result.changed.append(f"{path.parent.name}: {path.name} = {value}")
    except FileNotFoundError:
        pass  # no IPv6 in this kernel, or on this link
    except OSError as error:
        result.problems.append(Problem(str(path), 0, f"cannot be set to {value}: {error.strerror}"))


def made_by_networkd(name: str) -> bool:
    """Whether networkd runs here and the dummy bears a MAC that was given to it, as networkd does."""
    try:
        given = Path(f"/sys/class/net/{name}/addr_assign_type").read_text().strip()
    except OSError:
        return False
    return given == NET_ADDR_SET and Path("/run/systemd/netif/links").exists()


def _remove(change: Changer, host: Host, link: Link, result: Result) -> None:
    if held := host.held(link):
        result.stays.append(
            f"{link.name}: no conf asks for it any more, but it holds {', '.join(held)}; it stays"
        )
        return
    try:
        change.delete(link.ifindex)
    except OSError as error:
        result.problems.append(Problem(link.name, 0, f"cannot be removed: {error.strerror}"))
    else:
        result.changed.append(f"{link.name}: removed")
