# SPDX-License-Identifier: MIT
"""The dummy put right by itself: what is wrong with it, and the messages that mend it."""

import struct

from keepalived_dummy import interfaces
from keepalived_dummy.interfaces import (
    ADDR_GEN_NONE,
    IFAPROT_KERNEL_LL,
    IFF_NOARP,
    IFF_UP,
    Address,
    Link,
)
from keepalived_dummy.netlink import AF_INET6
from keepalived_dummy.plan import Dummy

_BURST, _REFILL = 50.0, 2.0


def wrong(link: Link, stays_down: bool = False) -> list[str]:
    """What of a dummy's link is not as it must be, as the names it is counted under.

    `stays_down`: it may be down.
    """
    return [
        name
        for name, is_wrong in (
            ("down", not link.flags & IFF_UP and not stays_down),
            ("noarp", bool(link.flags & IFF_NOARP)),
            ("addrgenmode", link.addr_gen_mode not in (None, ADDR_GEN_NONE)),
        )
        if is_wrong
    ]


def create(dummy: Dummy, before: Link | None, up: bool = True) -> bytes:
    """Makes a dummy that was deleted: as configured, else with the MAC that it had, where it was, known again as ours."""
    mac = dummy.mac or (before.mac if before else b"")
    return (
        interfaces.create_dummy(dummy.name, mac, dummy.mtu, before.master if before else 0)
        + interfaces.set_alias(dummy.name, dummy.alias)
        + interfaces.set_dummy(dummy.name, up)
    )


def made_by_kernel(address: Address, mac: bytes, told: bool) -> bool:
    """Whether an address of a dummy is the link-local one the kernel gave it, and so no VIP.

    `told`: the kernel says who made an address (5.18 and later). Before that only its form tells: the MAC's
    EUI-64 (RFC 4291 appendix A) in a /64, which no VIP has.
    """
    if address.family != AF_INET6 or told:
        return address.proto == IFAPROT_KERNEL_LL
    if len(mac) != 6 or address.prefixlen != 64:
        return False
    eui64 = struct.pack("8x") + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
    return address.address == b"\xfe\x80" + eui64[2:]


class Limit:
    """How often somebody who keeps breaking one dummy is answered at once; then twice a second."""

    def __init__(self) -> None:
        self._tokens, self._at = _BURST, 0.0

    def allow(self, now: float) -> bool:
        """Takes one of what is left."""
        self._tokens = min(_BURST, self._tokens + (now - self._at) * _REFILL)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
