# SPDX-License-Identifier: MIT
"""The rules of policy routing that lead to an uplink's routes, put back while networkd has taken them.

Up to systemd 256 networkd drops a link's rules (netplan's routing-policy) when it reconfigures the link, and so no
packet gets to the table that the way out has filled. networkd also drops rules that others have set, and neither
keepalived nor a notify script sets them again while nothing changes for keepalived.

- A rule that networkd or NetworkManager deletes is put back at once where it leads to a table of an uplink's routes, or
  where a script, an admin or keepalived had set it and a VIP is held. What an admin deletes stays deleted.
- Ours goes as soon as one with the same selector and protocol is back.
- What does not come back: of networkd's own, ours goes GRACE seconds later, but not while routes of the way out are in
  that table. Of others, the rule is then restored as it was, where a VIP was held all the time.

It is told what happens and answers with the bytes to send; it does no I/O and reads no clock.
"""

from collections.abc import Callable, Collection

from keepalived_dummy import managers, netlink, policy_rules, routes
from keepalived_dummy.events import Event, event
from keepalived_dummy.policy_rules import Rule

GRACE = 10.0
_AGAIN = 200  # how often a rule of ours that somebody deletes is put back in one use
LIMIT = 200  # rules of ours at once: each costs every packet a comparison


class _Place:
    """A rule of ours: the one that it stands for, when that was deleted, and whether a VIP was held ever since."""

    def __init__(self, stands_for: Rule, since: float, held: bool) -> None:
        self.stands_for, self.since, self.held = stands_for, since, held
        self.again = 0


class Steering:
    """The rules of ours. Times are seconds of any one steady clock."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._places: dict[Rule, _Place] = {}

    @property
    def placed(self) -> tuple[Rule, ...]:
        """The rules of ours that are in place."""
        return tuple(self._places)

    def added(self, r: Rule) -> bytes:
        """A rule is there: ours goes where it stands for this one."""
        if r.protocol == routes.PROTOCOL:
            return b""
        found = [ours for ours, place in self._places.items() if _is_back(place.stands_for, r)]
        for ours in found:
            del self._places[ours]
        return b"".join(map(policy_rules.take, found))

    def deleted(self, r: Rule, port: int, tables: Collection[int], held: bool, now: float) -> bytes:
        """A rule was deleted. `port`: by whom, `tables`: those of uplinks' routes, `held`: whether a VIP is."""
        if (place := self._places.get(r)) is not None:
            place.again += 1
            if place.again > _AGAIN:
                del self._places[r]
                return b""
            return policy_rules.put(r)
        if r.protocol == routes.PROTOCOL or len(self._places) >= LIMIT:
            return b""
        if not (r.table in tables or (held and _is_added(r))) or not managers.is_manager(port):
            return b""
        ours = policy_rules.copy(r)
        self._places[ours] = _Place(r, now, held)
        family = "IPv4" if r.family == netlink.AF_INET else "IPv6"
        text = f"{family} rule {r.priority} that leads to table {r.table} is gone, put back"
        self._tell(event("rule-put-back", text, FAMILY=family, TABLE=str(r.table)))
        return policy_rules.put(ours)

    def picture(self, found: list[Rule], now: float) -> bytes:
        """Take all rules there are, after a start or lost events."""
        there = {r for r in found if r.protocol == routes.PROTOCOL}
        lost = self._places.keys() - there
        for r in there - self._places.keys():  # of an earlier run
            self._places[r] = _Place(r, now, False)
        send = b"".join(map(policy_rules.put, lost))
        return send + b"".join(self.added(r) for r in found)

    def vips(self, held: bool) -> None:
        """A VIP is held, or none is any more."""
        for place in self._places.values():
            place.held = place.held and held

    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        return min((place.since + GRACE for place in self._places.values()), default=None)

    def tick(self, in_use: Collection[int], now: float) -> bytes:
        """The deadline has come; `in_use`: tables that have routes of the way out."""
        send = b""
        for ours, place in list(self._places.items()):
            if now < place.since + GRACE:
                continue
            if ours.table in in_use:
                place.since = now
                continue
            if place.held and _is_added(place.stands_for):
                send += policy_rules.put(place.stands_for)
            del self._places[ours]
            send += policy_rules.take(ours)
        return send

    def stop(self, in_use: Collection[int]) -> bytes:
        """The daemon stops: ours go unless the routes that they lead to stay."""
        return b"".join(policy_rules.take(r) for r in self._places if r.table not in in_use)


def _is_back(gone: Rule, r: Rule) -> bool:
    """Tell whether a rule is the one that went; networkd may have given it another priority."""
    return r.selector == gone.selector and gone.protocol in (r.protocol, routes.PROTOCOL)


def _is_added(r: Rule) -> bool:
    """Tell whether a script, an admin or keepalived has set a rule: `ip rule add` names no protocol."""
    return r.protocol == 0 or routes.is_restored(r.protocol)
