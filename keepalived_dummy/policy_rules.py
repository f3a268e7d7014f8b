# SPDX-License-Identifier: MIT
"""Rules of policy routing as rtnetlink messages: read, and put back in the place of networkd's.

Numbers: include/uapi/linux/fib_rules.h. See ip-rule(8).
"""

import struct
from typing import NamedTuple

from keepalived_dummy import routes
from keepalived_dummy.netlink import (
    AF_INET,
    AF_INET6,
    CREATE,
    DUMP,
    EXCL,
    attribute,
    attributes,
    message,
    u32,
    unpack,
)

RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34

MAIN = 32766  # the priority of the rule that leads to the main table
_FRA_PRIORITY, _FRA_TABLE, _FRA_PAD, _FRA_PROTOCOL = 6, 15, 18, 21
_FIB_RULE_INVERT = 2  # the only flag that is no state

_RULE = struct.Struct("=BBBBBBBBI")
_U32 = struct.Struct("=I")


class Rule(NamedTuple):
    """A rule. `selector` is all of it but its priority and protocol: two rules with one selector lead one packet to one table."""

    family: int
    table: int
    priority: int
    protocol: int
    selector: bytes


def rule(body: bytes) -> Rule | None:
    """Read the body of a rule's message; None where it is of neither IPv4 nor IPv6."""
    family, to, from_, tos, table, _, _, action, flags = unpack(_RULE, body)
    if family not in (AF_INET, AF_INET6):
        return None
    a = dict(attributes(body, _RULE.size))
    priority = u32(a.pop(_FRA_PRIORITY)) if _FRA_PRIORITY in a else 0
    protocol = a.pop(_FRA_PROTOCOL, b"\0")[:1] or b"\0"
    table = u32(a[_FRA_TABLE]) if _FRA_TABLE in a else table
    a.pop(_FRA_PAD, None)
    head: bytes = _RULE.pack(family, to, from_, tos, 0, 0, 0, action, flags & _FIB_RULE_INVERT)
    selector = head + b"".join(attribute(kind, a[kind]) for kind in sorted(a))
    return Rule(family, table, priority, protocol[0], selector)


def copy(r: Rule) -> Rule:
    """Return the rule of ours that stands for `r`, right after it.

    With the priority of `r` it would be in the way: the kernel does not look at the protocol when it is asked for a rule
    that is there (rule_exists(), net/core/fib_rules.c), and networkd takes that answer for success.
    """
    after = r.priority + 1
    beyond = r.priority < MAIN <= after  # the main table mostly has a route
    return r._replace(priority=r.priority - 1 if beyond else after, protocol=routes.PROTOCOL)


def put(r: Rule) -> bytes:
    """Add a rule, unless it is there."""
    return message(RTM_NEWRULE, CREATE | EXCL, _body(r))


def take(r: Rule) -> bytes:
    """Remove a rule of this priority and protocol, and no other."""
    return message(RTM_DELRULE, 0, _body(r))


def _body(r: Rule) -> bytes:
    body = r.selector + attribute(_FRA_PRIORITY, _U32.pack(r.priority))
    return body + attribute(_FRA_PROTOCOL, bytes([r.protocol]))


def dump(family: int) -> bytes:
    """Ask for all rules of a family."""
    return message(RTM_GETRULE, DUMP, _RULE.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))
