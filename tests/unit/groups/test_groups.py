# SPDX-License-Identifier: MIT
"""Memberships over several sockets that hold few each."""

import errno
import socket
from dataclasses import dataclass, field

import pytest

from keepalived_dummy import groups
from keepalived_dummy.groups import Groups

CAPACITY = 3


@dataclass
class Kernel:
    """What the kernel keeps: memberships per socket, `CAPACITY` at most."""

    held: dict[int, set[bytes]] = field(default_factory=dict)
    stored: list[int] = field(default_factory=list)
    gone: set[int] = field(default_factory=set)

    def total(self) -> int:
        return sum(map(len, self.held.values()))


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    it = Kernel()

    class Socket:
        def __init__(self, *_: int) -> None:
            self.number = len(it.held)
            it.held[self.number] = set()

        def fileno(self) -> int:
            return self.number

        def setsockopt(self, level: int, option: int, value: bytes) -> None:
            assert level == socket.IPPROTO_IPV6
            mine = it.held[self.number]
            if value[16] in it.gone:
                raise OSError(errno.ENODEV, "gone")
            if option == socket.IPV6_JOIN_GROUP:
                if len(mine) >= CAPACITY:
                    raise OSError(errno.ENOMEM, "full")
                assert value not in mine
                mine.add(value)
            else:
                mine.remove(value)

    monkeypatch.setattr(socket, "socket", Socket)
    return it


def members(*numbers: int, ifindex: int = 2) -> set[groups.Membership]:
    return {(ifindex, groups.group(bytes(13) + n.to_bytes(3, "big"))) for n in numbers}


def test_the_group_of_an_address() -> None:
    address = socket.inet_pton(socket.AF_INET6, "2001:db8::12:3456")
    assert groups.group(address) == socket.inet_pton(socket.AF_INET6, "ff02::1:ff12:3456")


def test_a_full_socket_is_followed_by_another_that_is_stored_too(kernel: Kernel) -> None:
    held = Groups(kernel.stored.append)
    assert held.replace(members(*range(10))) == []
    assert (len(held), held.sockets, kernel.total()) == (10, 4, 10)
    assert kernel.stored == [0, 1, 2, 3]


def test_what_is_not_wanted_any_more_is_left_and_its_room_used_again(kernel: Kernel) -> None:
    held = Groups(kernel.stored.append)
    for start in range(50):
        held.replace(members(*range(start, start + 6)))
        assert kernel.total() == len(held) == 6
    assert held.sockets == 2


def test_an_interface_that_came_back_under_its_number_is_joined_again(kernel: Kernel) -> None:
    held = Groups(kernel.stored.append)
    held.replace(members(1, 2))
    kernel.gone = {2}
    held.forget(2)
    for each in kernel.held.values():
        each.clear()
    kernel.gone = set()
    held.replace(members(1, 2))
    assert kernel.total() == 2


def test_what_fails_is_said_once_and_tried_again(kernel: Kernel) -> None:
    held = Groups(kernel.stored.append)
    kernel.gone = {2}
    wrong = "interface 2: cannot join ff02::1:ff00:1: No such device"
    assert held.replace(members(1)) == [(wrong, "ff02::1:ff00:1")]
    assert held.replace(members(1)) == []
    assert held.failed == members(1)
    kernel.gone = set()
    assert held.replace(members(1)) == []
    assert (len(held), held.failed) == (1, set())
