# SPDX-License-Identifier: MIT
"""The dummies themselves: made, set as their confs ask, and removed, over netlink."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keepalived_dummy.config import Config, Dummy
from keepalived_dummy.errors import Problem

# linux/if.h and linux/if_link.h
IFF_UP = 0x1
IFF_NOARP = 0x80
ADDR_GEN_MODE_NONE = 1
NET_ADDR_SET = 3  # the MAC was set from user space, not drawn by the kernel

# The link's alias (IFLA_IFALIAS) says who made it, and from which conf.
ALIAS = "keepalived-dummy:"

# The dummy announces its addresses when its MAC is set, and answers for its own addresses alone.
SYSCTLS = {"ipv4": {"arp_notify": "1", "arp_ignore": "1"}, "ipv6": {"ndisc_notify": "1"}}


@dataclass
class Result:
    """What a pass over the links did (lines for people), and what it could not do."""

    changed: list[str] = field(default_factory=list)
    stays: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class Link:
    """A network interface as the kernel tells it; `kind` is empty for hardware, `mtu` in bytes."""

    index: int
    name: str
    kind: str
    flags: int
    mtu: int
    mac: str
    alias: str
    addr_gen_mode: int | None

    @property
    def made_from(self) -> str | None:
        """The conf (basename without .conf) this package made the link from; None: it did not."""
        return self.alias.removeprefix(ALIAS) if self.alias.startswith(ALIAS) else None


@contextmanager
def kernel() -> Iterator[Any]:
    """A pyroute2 IPRoute for the length of a pass; pyroute2 is imported here alone, at first use."""
    from pyroute2 import IPRoute

    ipr = IPRoute()
    try:
        yield ipr
    finally:
        ipr.close()


def links(ipr: Any) -> dict[str, Link]:
    """Every interface of the host by name."""
    found = (_link(message) for message in ipr.get_links())
    return {link.name: link for link in found}


def sync(ipr: Any, config: Config, settled: frozenset[str]) -> Result:
    """Make every configured dummy exist, set as its conf asks, and up; remove those without a conf.

    `settled` holds the basenames whose .netdev stood before this pass: of those alone may networkd
    have made the dummy already.
    """
    result = Result()
    present = links(ipr)
    for dummy in config.dummies:
        try:
            _sync_one(ipr, dummy, present.get(dummy.name), dummy.stem in settled, result)
        except OSError as error:
            result.problems.append(_refused(dummy, error))
        except Exception as error:  # NetlinkError is no OSError, and moved between releases
            if not hasattr(error, "code"):
                raise
            result.problems.append(_refused(dummy, error))
    names = {dummy.name for dummy in config.dummies}
    for link in present.values():
        if (
            link.made_from is not None
            and link.name not in names
            and link.made_from not in config.bad
            and not config.partial
        ):
            _remove(ipr, link, result)
    return result


def remove_all(ipr: Any) -> Result:
    """Remove every dummy this package made and that holds no address."""
    result = Result()
    for link in links(ipr).values():
        if link.made_from is not None:
            _remove(ipr, link, result)
    return result


def announce(ipr: Any, link: Link) -> None:
    """Have the kernel announce every address of the dummy.

    Setting a MAC, to the same value too, raises NETDEV_CHANGEADDR, which arp_notify (net/ipv4/devinet.c)
    and ndisc_notify (net/ipv6/ndisc.c) answer with gratuitous ARPs and unsolicited advertisements.
    """
    ipr.link("set", index=link.index, address=link.mac)


def _link(message: Any) -> Link:
    info = message.get_attr("IFLA_LINKINFO")
    spec = message.get_attr("IFLA_AF_SPEC")
    inet6 = spec.get_attr("AF_INET6") if spec else None
    return Link(
        index=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        kind=(info.get_attr("IFLA_INFO_KIND") if info else None) or "",
        flags=message["flags"],
        mtu=message.get_attr("IFLA_MTU") or 0,
        mac=message.get_attr("IFLA_ADDRESS") or "",
        alias=message.get_attr("IFLA_IFALIAS") or "",
        addr_gen_mode=inet6.get_attr("IFLA_INET6_ADDR_GEN_MODE") if inet6 else None,
    )


def _refused(dummy: Dummy, error: Exception) -> Problem:
    text = getattr(error, "strerror", None) or str(error)
    return Problem(dummy.path, 0, f"the kernel does not make or set {dummy.name}: {text}")


def _sync_one(ipr: Any, dummy: Dummy, link: Link | None, settled: bool, result: Result) -> None:
    name = dummy.name
    if link is not None and link.kind != "dummy":
        kind = link.kind or "hardware"
        message = f"{name} is there and is no dummy ({kind}); give Name= another interface name"
        result.problems.append(Problem(dummy.path, 0, message))
        return
    made = link is None
    if made:
        ipr.link("add", ifname=name, kind="dummy", **({"address": dummy.mac} if dummy.mac else {}))
        link = links(ipr)[name]
        result.changed.append(f"{name}: made")
    assert link is not None
    if made or (settled and not link.alias and _made_by_networkd(name)):
        _set(ipr, link, ifalias=ALIAS + dummy.stem)
    if dummy.mtu is not None and link.mtu != dummy.mtu:
        _set(ipr, link, mtu=dummy.mtu)
        result.changed.append(f"{name}: MTU {link.mtu} -> {dummy.mtu}")
    if dummy.mac is not None and link.mac != dummy.mac:
        _set(ipr, link, address=dummy.mac)
        result.changed.append(f"{name}: MAC {link.mac} -> {dummy.mac}")
    _bring_up(ipr, link, result)


def _bring_up(ipr: Any, link: Link, result: Result) -> None:
    """No link-local address, ARP on, announcing, up; in this order, so that it is never up and wrong."""
    if link.addr_gen_mode not in (None, ADDR_GEN_MODE_NONE):
        spec = {"attrs": [("IFLA_INET6_ADDR_GEN_MODE", ADDR_GEN_MODE_NONE)]}
        _set(ipr, link, IFLA_AF_SPEC={"attrs": [("AF_INET6", spec)]})
        result.changed.append(f"{link.name}: no link-local address of its own")
    if link.flags & IFF_NOARP:
        _set(ipr, link, flags=0, change=IFF_NOARP)
        result.changed.append(f"{link.name}: ARP on")
    for family, settings in SYSCTLS.items():
        for key, value in settings.items():
            _write_sysctl(Path(f"/proc/sys/net/{family}/conf/{link.name}/{key}"), value, result)
    if not link.flags & IFF_UP:
        _set(ipr, link, flags=IFF_UP, change=IFF_UP)
        result.changed.append(f"{link.name}: up")


def _set(ipr: Any, link: Link, **what: Any) -> None:
    ipr.link("set", index=link.index, **what)


def _write_sysctl(path: Path, value: str, result: Result) -> None:
    try:
        if path.read_text().strip() != value:
            path.write_text(value)
            result.changed.append(f"{path.parent.name}: {path.name} = {value}")
    except FileNotFoundError:
        pass  # no IPv6 in this kernel, or on this link
    except OSError as error:
        result.problems.append(Problem(str(path), 0, f"cannot be set to {value}: {error.strerror}"))


def _made_by_networkd(name: str) -> bool:
    """Whether networkd runs here and the dummy bears a MAC that was given to it, as networkd does."""
    try:
        given = Path(f"/sys/class/net/{name}/addr_assign_type").read_text().strip()
    except OSError:
        return False
    return given == str(NET_ADDR_SET) and Path("/run/systemd/netif/links").exists()


def _remove(ipr: Any, link: Link, result: Result) -> None:
    held = [_address(message) for message in ipr.get_addr(index=link.index)]
    if held:
        result.stays.append(
            f"{link.name}: no conf asks for it any more, but it holds {', '.join(held)}; it stays"
        )
        return
    ipr.link("del", index=link.index)
    result.changed.append(f"{link.name}: removed")


def _address(message: Any) -> str:
    return f"{message.get_attr('IFA_ADDRESS')}/{message['prefixlen']}"
