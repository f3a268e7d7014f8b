# SPDX-License-Identifier: MIT
"""Which instances can't hear their peers now, as the kernel says."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

from keepalived_dummy import hearing, kernel, links
from keepalived_dummy.interfaces import IFF_UP
from keepalived_dummy.plan import PinnedSource


def find(sources: Iterable[PinnedSource], host: links.Host) -> Iterator[tuple[PinnedSource, str]]:
    """Yield the pinned sources of instances that can't hear, and why. An uplink that is down is FAULT to keepalived."""
    with kernel.open_dump_socket() as sock:
        ask = functools.partial(kernel.ask, sock)
        for one in sources:
            uplink = host.links.get(one.uplink)
            if uplink is None or not uplink.flags & IFF_UP or hearing.is_link_local(one.address):
                continue
            own = [item.address for item in host.addresses if item.ifindex == uplink.ifindex]
            if why := hearing.why_deaf(one, uplink.ifindex, own, ask):
                yield one, why
