# SPDX-License-Identifier: MIT
"""Dummies that no conf asks for any more are removed, and one that can't be keeps nothing else from being done."""

from __future__ import annotations

import errno
import os
import sys

import pytest
from pyroute2 import NetlinkError

from keepalived_dummy import config, interfaces, kernel, links, netlink
from keepalived_dummy.interfaces import Link

GONE = tuple(
    Link(index, 0x43, name, "dummy", b"", 1500, 1, f"keepalived-dummy:{name}", 1)
    for index, name in ((7, "first0"), (8, "second0"))
)


def test_a_link_that_cannot_be_removed_is_said_and_the_others_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bytes] = []

    def answer(_: object, request: bytes) -> list[netlink.Message]:
        asked.append(request)
        if request == interfaces.delete_link(7):
            raise kernel.Refused(errno.EPERM, os.strerror(errno.EPERM))
        return []

    monkeypatch.setattr(links, "read", lambda: links.Host({it.name: it for it in GONE}, ()))
    monkeypatch.setattr(kernel, "dump", answer)
    result = links.sync(links.Changer(), config.Config(), frozenset())
    assert asked == [interfaces.delete_link(7), interfaces.delete_link(8)]
    assert [*map(str, result.problems)] == ["first0: cannot be removed: Operation not permitted"]
    assert result.changed == ["second0: removed"]


class Refusing:
    """pyroute2's, of which the error's text is its arguments."""

    def link(self, *_: object, **__: object) -> None:
        raise NetlinkError(errno.EPERM, "Operation not permitted")


def test_a_change_that_is_refused_says_why_in_the_kernels_words() -> None:
    change = links.Changer()
    change.__dict__["_ipr"] = Refusing()
    with pytest.raises(OSError, match="Operation not permitted") as raised:
        change.link("set", index=7)
    assert raised.value.strerror == os.strerror(errno.EPERM)


def test_a_removal_bears_no_flag_of_another_meaning() -> None:
    """NLM_F_EXCL is NLM_F_BULK there (linux/netlink.h), which the kernel refuses for one link."""
    (message,) = netlink.messages(interfaces.delete_link(7))
    assert message.type == interfaces.RTM_DELLINK
    assert message.flags == netlink.REQUEST | netlink.ACK
    assert message.body[4:8] == (7).to_bytes(4, sys.byteorder)
