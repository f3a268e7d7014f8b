# SPDX-License-Identifier: MIT
"""Who holds a VIP, and since when: the kernel's own word on addresses, from each node's namespace."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping

from guest import namespace

_RTM_NEWADDR, _RTM_DELADDR, _RTM_GETADDR = 20, 21, 22
_DUMP = 0x301  # NLM_F_REQUEST and NLM_F_DUMP
_GROUP = 1 << 4  # RTMGRP_IPV4_IFADDR
_HEADER, _ATTRIBUTE = struct.Struct("=IHHII"), struct.Struct("=HH")


class Holders:
    """Watches an IPv4 VIP in several network namespaces, from the moment it is made until `close`.

    `places`: each node's name and its namespace, empty for the one of this process.
    """

    def __init__(self, places: Mapping[str, str], vip: str) -> None:
        self._vip = socket.inet_aton(vip)
        self._sockets = {_listen(where): name for name, where in places.items()}
        self._now: set[str] = set()
        self._changes: list[tuple[float, frozenset[str]]] = [(time.monotonic(), frozenset())]
        self._end = False
        for sock in self._sockets:
            sock.send(
                _HEADER.pack(24, _RTM_GETADDR, _DUMP, 1, 0) + struct.pack("=BBBBi", 2, 0, 0, 0, 0)
            )
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the watch."""
        self._end = True
        self._thread.join()
        for sock in self._sockets:
            sock.close()

    def now(self) -> set[str]:
        """Return the nodes that hold the VIP now."""
        return set(self._now)

    def overlap(self, since: float = 0.0) -> float:
        """Return the longest time, in seconds, in which more than one node held it after `since` (steady clock)."""
        longest = 0.0
        begun: float | None = None
        for moment, who in [*self._changes, (time.monotonic(), frozenset[str]())]:
            if begun is not None and len(who) < 2:
                longest = max(longest, moment - max(begun, since))
                begun = None
            elif begun is None and len(who) > 1:
                begun = moment
        return longest

    def _watch(self) -> None:
        while not self._end:
            ready, _, _ = select.select(list(self._sockets), [], [], 0.2)
            for sock in ready:
                with contextlib.suppress(OSError):
                    self._read(sock, self._sockets[sock])

    def _read(self, sock: socket.socket, name: str) -> None:
        for kind, body in _messages(sock.recv(1 << 17)):
            if kind not in (_RTM_NEWADDR, _RTM_DELADDR) or _local(body) != self._vip:
                continue
            before = set(self._now)
            (self._now.add if kind == _RTM_NEWADDR else self._now.discard)(name)
            if self._now != before:
                self._changes.append((time.monotonic(), frozenset(self._now)))


def _listen(where: str) -> socket.socket:
    with namespace(where) if where else contextlib.nullcontext():
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    sock.bind((0, _GROUP))
    return sock


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, *_ = _HEADER.unpack_from(data, offset)
        yield kind, data[offset + _HEADER.size : offset + length]
        offset += max(_HEADER.size, length + 3 & ~3)


def _local(body: bytes) -> bytes:
    """Return the IFA_LOCAL of an address's message."""
    offset = 8
    while offset + _ATTRIBUTE.size <= len(body):
        length, kind = _ATTRIBUTE.unpack_from(body, offset)
        if kind == 2:
            return body[offset + _ATTRIBUTE.size : offset + length]
        offset += max(_ATTRIBUTE.size, length + 3 & ~3)
    return b""


def answering(where: str, interface: str, vip: str, sender: str, seconds: float = 1.5) -> set[str]:
    """Return the MACs that answer ARP requests for a VIP, asked three times from a namespace."""
    with namespace(where):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806))
    with sock:
        sock.bind((interface, 0x0806))
        mac = sock.getsockname()[4]
        ask = mac + socket.inet_aton(sender) + bytes(6) + socket.inet_aton(vip)
        frame = b"\xff" * 6 + mac + bytes.fromhex("08060001080006040001") + ask
        found: set[str] = set()
        for _ in range(3):
            sock.send(frame)
            until = time.monotonic() + seconds / 3
            while (left := until - time.monotonic()) > 0:
                if not select.select([sock], [], [], left)[0]:
                    continue
                came = sock.recv(2048)
                if came[20:22] == b"\0\2" and came[28:32] == socket.inet_aton(vip):
                    found.add(came[22:28].hex(":"))
        return found
