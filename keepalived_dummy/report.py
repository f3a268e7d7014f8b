# SPDX-License-Identifier: MIT
"""What the daemon knows, for `status` and monitoring: /run/keepalived-dummy/state.json."""

import json
import os
import time

from keepalived_dummy.hearing import text
from keepalived_dummy.host import Host
from keepalived_dummy.netlink import AF_INET
from keepalived_dummy.state import VERSION
from keepalived_dummy.teller import Teller


def report(host: Host, teller: Teller, now: float) -> bytes:
    """The file's content; times in it are seconds since 1970. `now` is the steady clock of the way out."""
    wall = time.time()
    ways = [
        {
            "uplink": way.uplink,
            "family": "inet" if family == AF_INET else "inet6",
            "known": way.known,
            "in_use": way.placed,
            "since": None if way.since is None else round(wall - (now - way.since), 3),
            "times": way.times,
            "seconds": round(way.seconds, 3),
        }
        for (_, family), way in host.ways.items()
    ]
    sources = [
        {
            "instance": one.instance,
            "uplink": one.uplink,
            "address": text(one.address),
            "held": any(held.address == one.address for held in host.hearing.held),
            "since": None if since is None else round(wall - (now - since), 3),
        }
        for one in host.hearing.sources
        for since in (host.hearing.away.get((one.uplink, one.address)),)
    ]
    content = {
        "version": VERSION,
        "pid": os.getpid(),
        "heals": host.heals,
        "way_out": ways,
        "sources": sources,
        "kept_down": host.hearing.down,
        "memberships": len(host.groups),
        "memberships_failed": len(host.groups.failed),
        "sockets": host.groups.sockets,
        "missing": list(host.plan.missing),
        "problems": list(host.plan.problems),
        "events": teller.counts,
        "last": teller.last,
        "last_event": round(teller.at, 3),
    }
    return json.dumps(content, indent=1).encode() + b"\n"
