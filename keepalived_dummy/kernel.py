# SPDX-License-Identifier: MIT
"""The rtnetlink socket: the only module here that talks to the kernel's netlink.

netlink(7), rtnetlink(7).
"""

import errno
import itertools
import os
import socket
import time
from collections.abc import Callable

from keepalived_dummy import netlink

_SO_RCVBUFFORCE = 33
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_GET_STRICT_CHK = 270, 10, 12
_DATAGRAM = 1 << 18  # a dump's datagrams are 32 KiB at most, an event is one message
TRIES = 5
PAUSE = 0.005  # between them, s
_MANY = 10_000  # messages of an answer
# Of the requests: what is left of an answer that broke off bears another.
_numbers = itertools.count(1)


class Refused(OSError):
    """The kernel's own answer that it does not do what it was asked for; nothing follows it on the socket."""


def open_socket(groups: int = 0, buffer: int = 0) -> socket.socket:
    """A socket that listens to `groups`; `buffer` bytes of events are kept for it (with CAP_NET_ADMIN beyond net.core.rmem_max)."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
    if buffer:
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer)
        except PermissionError:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)  # a refusal does not repeat what was refused
    sock.bind((0, groups))
    return sock


def open_dump_socket() -> socket.socket:
    """A socket for `dump`: the kernel filters what it is asked for (5.0 and later), and must answer in time."""
    sock = open_socket()
    sock.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
    sock.settimeout(5)
    return sock


def receive(sock: socket.socket, size: int = _DATAGRAM) -> list[netlink.Message]:
    """The messages of one datagram. OSError ENOBUFS where events were lost.

    The kernel fills a dump's next datagram up to the largest `size` that the socket was read with.
    """
    return list(netlink.messages(sock.recv(size)))


def request(sock: socket.socket, asked: bytes) -> int:
    """Send a request, and return the number that its answers bear."""
    seq = next(_numbers) & 0xFFFFFFFF
    sock.send(netlink.numbered(asked, seq))
    return seq


Thin = Callable[[list[netlink.Message]], list[netlink.Message]]


def dump(
    sock: socket.socket, request: bytes, thin: Thin | None = None, pause: float = PAUSE
) -> list[netlink.Message]:
    """What the kernel answers to a dump request, asked again after `pause` where it changed meanwhile.

    `thin` is given what was read whenever that is much, and tells what of it to keep.
    Refused where it refuses. After any other OSError the kernel may still be answering on the socket; its errno is
    EINTR where every one of TRIES answers was interrupted by a change, and so may lack what was there all the time.
    """
    for number in range(TRIES):
        if number:
            time.sleep(pause)
        seq = next(_numbers) & 0xFFFFFFFF
        sock.send(netlink.numbered(request, seq))
        answer, whole = _answer(sock, seq, thin)
        if whole:
            return answer
    raise OSError(errno.EINTR, f"what the kernel listed changed under way, {TRIES} times in a row")


def ask(sock: socket.socket, request: bytes) -> netlink.Message | None:
    """Return the kernel's answer to a request for one thing; None where it refuses, or has no such thing.

    After an OSError the kernel may still be answering on the socket.
    """
    seq = next(_numbers) & 0xFFFFFFFF
    sock.send(netlink.numbered(request, seq))
    while True:
        for message in receive(sock):
            if message.seq == seq:
                return None if message.type == netlink.NLMSG_ERROR else message


def _answer(sock: socket.socket, seq: int, thin: Thin | None) -> tuple[list[netlink.Message], bool]:
    answer: list[netlink.Message] = []
    whole = True
    while True:
        if thin and len(answer) > _MANY:
            answer = thin(answer)
        for message in receive(sock):
            if message.seq != seq:
                continue
            whole = whole and not message.flags & netlink.DUMP_INTR
            if message.type in (netlink.NLMSG_DONE, netlink.NLMSG_ERROR):
                if code := netlink.error(message.body):
                    raise Refused(code, os.strerror(code))
                return answer, whole
            if message.type == netlink.NLMSG_OVERRUN:
                raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
            answer.append(message)
