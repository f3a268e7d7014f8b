# SPDX-License-Identifier: MIT
"""What happens on a host that its admin may want to know: one table of the kinds.

lib/systemd/catalog/keepalived-dummy.catalog explains each of them, under the same message id.
"""

from collections.abc import Iterable
from typing import NamedTuple

from keepalived_dummy.state import INFO, NOTICE, WARNING


class Kind(NamedTuple):
    """A kind of event: its message id, its priority, and the fields that each has."""

    id: str
    priority: int
    fields: tuple[str, ...] = ()


class Event(NamedTuple):
    """Something that happened. A field's name may come more than once."""

    kind: str
    text: str
    fields: tuple[tuple[str, str], ...] = ()


KINDS = {
    # the dummy
    "healed": Kind("3c9d2e73b7be404298374f514a4dc782", WARNING, ("DUMMY", "WHAT")),
    "name-taken": Kind("7bac4fc993fe43108f2657aa9d4b9749", WARNING, ("DUMMY",)),
    "vip-held": Kind("1302433ae53a4b5d8358b5626fd3ba4b", INFO, ("DUMMY", "VIP")),
    "vip-gone": Kind("dfb0c288490645cd9b4455c1eb06a4d0", INFO, ("DUMMY", "VIP")),
    "announced": Kind("d2e541bdf2984b63b9a5a2df56469ca2", INFO, ("DUMMY", "UPLINK", "VIP")),
    "group-not-joined": Kind("021ddb630d8e4f78bed5c491a639ae9c", WARNING, ("GROUP",)),
    # the wire
    "wire-fought": Kind("0343f5b2cc904040a11d4427d8525e89", WARNING, ("INTERFACE", "PORT")),
    # the way out
    "way-out-begins": Kind("33118c90d1d74242971701681266e46d", INFO, ("UPLINK", "FAMILY")),
    "way-out-ends": Kind("9ff5b390a6874fa98f68bfe3f65ee396", INFO, ("UPLINK", "FAMILY", "SECONDS")),
    "way-out-stays": Kind("08c4e37e1bd14c7eaef5baa8faa97130", WARNING, ("UPLINK", "FAMILY")),
    "way-out-closes": Kind("5558d7712e544747a566978fb2620962", INFO, ("UPLINK", "FAMILY")),
    "way-out-moves": Kind("87ad028603e243e7bc42cf8c08562aa2", INFO, ("UPLINK", "FAMILY")),
    "way-out-fought": Kind("f72ccea2618b4dfabc390b2d38a294f8", WARNING, ("UPLINK", "FAMILY")),
    "way-out-waits": Kind("c8f0a3b5d9124c7e8a61f2d74e50b39c", WARNING, ("UPLINK", "FAMILY")),
    "rule-put-back": Kind("5b1d6f0c2a7e4e0f9c3b8d1e6a945f27", INFO, ("FAMILY", "TABLE")),
    # pinned sources
    "source-away": Kind("5152f5d44f854c87a822965bfce9dae5", INFO, ("UPLINK", "SOURCE")),
    "source-back": Kind("daa9dbb565014d748b148a43a9e4c68d", INFO, ("UPLINK", "SOURCE", "SECONDS")),
    "kept-down": Kind("0f28ad90f3a44075ba36e4d5309cb99f", WARNING, ("DUMMY",)),
    "hears-again": Kind("472c485a5c5e4cd18c7ad4028cf83f20", NOTICE, ("DUMMY",)),
    "cannot-hear": Kind("53673848e1a54b97b6dc8732fa969050", WARNING, ("DUMMY",)),
    # a pass of apply
    "changed": Kind("e180ba2705b24f23846fb6ee3c62950a", NOTICE),
    "waiting": Kind("252ecb26246f498c99e7f5124373de6b", NOTICE),
    "problem": Kind("d147fbf59adf47b2a385345d5a5c4236", WARNING),
    "pass-failed": Kind("87b6f27486704d7780c891a360120a85", WARNING),
    "events-lost": Kind("d655ca14072c41f5ace14055fab0ff89", WARNING),
}

MOST = 200  # values of one field in one entry: a datagram holds them


def event(kind: str, text: str, **fields: str | Iterable[str]) -> Event:
    """An event; a field of several values is given as a list of them."""
    pairs = []
    for name, value in fields.items():
        values = [value] if isinstance(value, str) else list(value)[:MOST]
        pairs += [(name, one) for one in values]
    return Event(kind, text, tuple(pairs))


def some(words: list[str], most: int = 10) -> str:
    """The first few of a list, and how many more there are."""
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(words[:most]) + more
