# SPDX-License-Identifier: MIT
"""The kernel's settings of an interface (Documentation/networking/ip-sysctl.rst), read."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def path(family: str, interface: str, key: str) -> str:
    """The file of a setting; `family` is ipv4 or ipv6."""
    return f"/proc/sys/net/{family}/conf/{interface}/{key}"


def number(family: str, interface: str, key: str) -> int | None:
    """A setting's value; None where there is no such interface, or no such family."""
    try:
        return int(Path(path(family, interface, key)).read_text())
    except (OSError, ValueError):
        return None


def silent(uplinks: Iterable[str]) -> frozenset[str]:
    """Those of the uplinks that do not answer for a dummy's IPv4 addresses by themselves.

    The kernel goes by the larger of the interface's arp_ignore and that of `all`.
    """
    every = bool(number("ipv4", "all", "arp_ignore"))
    return frozenset(name for name in uplinks if every or number("ipv4", name, "arp_ignore"))
