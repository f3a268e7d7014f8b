# SPDX-License-Identifier: MIT
"""Solicited-node memberships (RFC 4291 2.7.1) of IPv6 VIPs on the uplinks.

A NIC's filter and a switch with MLD snooping pass a solicitation only to members of ff02::1:ffXX:XXXX. The sockets
that hold the memberships have no port and receive nothing. The kernel counts members, so those of a new process
and of the one before it, whose sockets systemd's store keeps, stand beside each other until the new ones are all
there. One socket holds no more than net.core.optmem_max allows (365 at 20480), hence several.
"""

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable

Membership = tuple[int, bytes]  # interface index, group

_MOST = 64  # sockets


def group(address: bytes) -> bytes:
    """The solicited-node group of an IPv6 address."""
    return bytes.fromhex("ff0200000000000000000001ff") + address[13:]


class Groups:
    """The memberships there are, and the sockets that hold them; `store` is told of each new one."""

    def __init__(self, store: Callable[[int], None]) -> None:
        self._store = store
        self._sockets: list[socket.socket] = []
        self._full: set[int] = set()
        self._held: dict[Membership, int] = {}
        self.failed: set[Membership] = set()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def sockets(self) -> int:
        """How many sockets it takes."""
        return len(self._sockets)

    def replace(self, wanted: set[Membership]) -> list[tuple[str, str]]:
        """Joins what is wanted and leaves the rest; returns what failed now and did not before, and its group."""
        for membership in self._held.keys() - wanted:
            place = self._held.pop(membership)
            self._full.discard(place)
            self._leave(place, membership)
        failed: dict[Membership, str] = {}
        for membership in sorted(wanted - self._held.keys()):
            try:
                self._join(membership)
            except OSError as problem:
                failed[membership] = os.strerror(problem.errno or 0)
        names = {m: socket.inet_ntop(socket.AF_INET6, m[1]) for m in failed.keys() - self.failed}
        new = [
            (f"interface {m[0]}: cannot join {name}: {failed[m]}", name)
            for m, name in sorted(names.items())
        ]
        self.failed = set(failed)
        return new

    def forget(self, ifindex: int) -> None:
        """An interface is gone, and its memberships with it; its index may come again."""
        for membership in [m for m in self._held if m[0] == ifindex]:
            place = self._held.pop(membership)
            self._full.discard(place)
            self._leave(place, membership)

    def _join(self, membership: Membership) -> None:
        for place in range(_MOST):
            if place in self._full:
                continue
            if place == len(self._sockets):
                self._open()
            try:
                self._set(place, socket.IPV6_JOIN_GROUP, membership)
            except OSError as problem:
                if problem.errno not in (errno.ENOMEM, errno.ENOBUFS):
                    raise
                self._full.add(place)
                continue
            self._held[membership] = place
            return
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    def _leave(self, place: int, membership: Membership) -> None:
        with contextlib.suppress(OSError):  # the interface is gone, and the membership with it
            self._set(place, socket.IPV6_LEAVE_GROUP, membership)

    def _open(self) -> None:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._sockets.append(sock)
        self._store(sock.fileno())

    def _set(self, place: int, option: int, membership: Membership) -> None:
        ifindex, address = membership
        request = address + struct.pack("=i", ifindex)
        self._sockets[place].setsockopt(socket.IPPROTO_IPV6, option, request)
