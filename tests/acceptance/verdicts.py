# SPDX-License-Identifier: MIT
"""What is wrong with a matrix."""

from __future__ import annotations

from typing import Any

import guest


def needed(how: str, pieces: str) -> bool:
    """Whether this networkd takes the uplink's address away, so that the piece is missed.

    From 257 on it keeps what is static (systemd pull request 34989), and keepalived and the replies with it.
    """
    return guest.networkd() < 257 or how == "dhcp" or pieces == "VIP on the uplink"


# A client does not notice one ping of a thousand; the emulated machine loses some with nothing going on.
SINGLE = 0.001


def of(rows: list[dict[str, Any]]) -> list[str]:
    """What is wrong with the rows; empty where all is as it should be."""
    wrong = []
    for one in rows:
        where = f"{one['uplink']}, {one['pieces']}"
        wrong += [f"{where}: {e['event']}: {e['error']}" for e in one["events"] if e["error"]]
        moved = [e for e in one["events"] if e["host"] or e["peer"] or e["keepalived restarted"]]
        lost = {
            family: sum(e[family]["lost"] for e in one["events"] if family in e)
            for family in ("IPv4", "IPv6")
        }
        sent = sum(e["IPv4"]["sent"] for e in one["events"])
        if one["whole"]:
            wrong += [f"{where}: {e['event']}: {e['host']} {e['peer']}" for e in moved]
            wrong += [
                f"{where}: {n} of {sent} {family} pings lost"
                for family, n in lost.items()
                if n > sent * SINGLE
            ]
        elif needed(one["uplink"], one["pieces"]) and not moved and not max(lost.values()):
            wrong.append(f"{where}: nothing failed, so the row above proves nothing")
    return wrong
