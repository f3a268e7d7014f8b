# SPDX-License-Identifier: MIT
"""Filters and qdiscs of the wire that somebody took away: when each interface gets them back. Pure.

A filter comes back at once. Where the qdisc itself went, its owner may be about to put another one there, which the
kernel refuses beside ours: `tc qdisc del dev X ingress; tc qdisc add dev X ingress` is how shapers start. So it gets
a moment first. Nothing is announced or answered anew over the wire in that time; known neighbours notice nothing.
"""

from keepalived_dummy.heal import Limit

GAP = 1.0  # for the owner of a qdisc to put his back
GAP_OURS = 0.2  # where the qdisc was ours: for somebody to put his own in its place
LONGEST = 8.0  # a qdisc that comes costs packets, so in a fight each gap is twice the last
FOUGHT = 3  # losses: from the third on somebody keeps at it
WITHIN = 60.0  # seconds
_ONE = 0.15  # seconds within which all that goes is one loss
_LATER = 0.1
_MOST = 10  # losses remembered


class Losses:
    """What was lost, by interface index."""

    def __init__(self) -> None:
        self._due: dict[int, float] = {}
        self._bare: set[int] = set()  # without a qdisc, as far as we know
        self._past: dict[int, list[float]] = {}
        self._qdiscs: dict[int, list[float]] = {}
        self._told: set[int] = set()
        self._limits: dict[int, Limit] = {}

    def filter_went(self, ifindex: int, now: float) -> None:
        """A filter of ours."""
        if ifindex not in self._bare:
            self._due.setdefault(ifindex, now)

    def qdisc_went(self, ifindex: int, gap: float, now: float) -> None:
        """The qdisc, and with it all filters."""
        past = self._qdiscs[ifindex] = _recent(self._qdiscs.get(ifindex, []), now)
        self._due[ifindex] = now + min(LONGEST, gap * 2 ** max(0, len(past) - FOUGHT))
        self._bare.add(ifindex)

    def qdisc_came(self, ifindex: int, now: float) -> None:
        """A qdisc is there again: what is lacking goes there, whoever put it there."""
        if ifindex in self._bare:
            self._bare.discard(ifindex)
            self._due[ifindex] = now

    def wait(self, ifindex: int, now: float) -> float:
        """Seconds until it is put back."""
        return max(0.0, self._due.get(ifindex, now) - now)

    def deadline(self) -> float | None:
        """When there is something to put back."""
        return min(self._due.values(), default=None)

    def due(self, now: float) -> list[tuple[int, bool]]:
        """The interfaces that get back what they lost, now; and whether their qdisc too."""
        found = []
        for ifindex in [i for i, due in self._due.items() if due <= now]:
            if not self._limits.setdefault(ifindex, Limit()).allow(now):
                self._due[ifindex] = now + _LATER
                continue
            del self._due[ifindex]
            found.append((ifindex, ifindex in self._bare))
            self._bare.discard(ifindex)
        return found

    def put_off(self, now: float) -> None:
        """What is due now is so a little later."""
        for ifindex, due in self._due.items():
            self._due[ifindex] = max(due, now + _LATER)

    def forget(self, ifindex: int) -> None:
        """The interface is gone."""
        self._due.pop(ifindex, None)
        self._past.pop(ifindex, None)
        self._qdiscs.pop(ifindex, None)
        self._limits.pop(ifindex, None)
        self._bare.discard(ifindex)
        self._told.discard(ifindex)

    def is_fought(self, ifindex: int, now: float) -> bool:
        """Counts one more loss, by somebody else; whether he keeps at it, which is told once in a fight."""
        past = self._past.get(ifindex, [])
        if past and now < past[-1] + _ONE:
            return False
        if not past or now >= past[-1] + WITHIN:
            self._told.discard(ifindex)
        self._past[ifindex] = _recent(past, now)
        if len(self._past[ifindex]) < FOUGHT or ifindex in self._told:
            return False
        self._told.add(ifindex)
        return True


def _recent(past: list[float], now: float) -> list[float]:
    """The times of the losses that still count, and this one's."""
    return [*(at for at in past if now < at + WITHIN), now][-_MOST:]
