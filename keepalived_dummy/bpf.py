# SPDX-License-Identifier: MIT
"""bpf(2), as far as the programs at a network interface's tcx hooks go (kernel 6.6 and later).

A tcx program runs before every filter of tc at its hook, and decides whether they see the packet. The kernel's
own description is include/uapi/linux/bpf.h; the numbers below are its.
"""

from __future__ import annotations

import errno
import os
import struct
from dataclasses import dataclass

TCX_INGRESS, TCX_EGRESS = 46, 47
HOOKS = {"ingress": TCX_INGRESS, "egress": TCX_EGRESS}

_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH = 5, 8, 9
_PROG_GET_FD_BY_ID, _OBJ_GET_INFO_BY_FD, _PROG_QUERY = 13, 15, 16
_SCHED_CLS, _BEFORE = 3, 1 << 3  # BPF_PROG_TYPE_SCHED_CLS, BPF_F_BEFORE
_LICENSE = b"Dual MIT/GPL"
_MOST = 64  # programs at a hook: BPF_MPROG_MAX in linux/bpf_mprog.h
_QUERY = struct.Struct("=IIIIQII")
_INFO = struct.Struct("=IIQ")
_LOAD = struct.Struct("=IIQQIIQII16s")
_ATTACH = struct.Struct("=IIIIII")
_NAME = slice(64, 80)  # of struct bpf_prog_info
_ATTRIBUTES = 128  # as many bytes as union bpf_attr will have for long

# The number of bpf(2) by machine and size of a pointer: a process of 32 bits has that of its own.
_NUMBERS = {
    ("x86_64", 8): 321,
    ("x86_64", 4): 357,
    ("i686", 4): 357,
    ("aarch64", 8): 280,
    ("aarch64", 4): 386,
    ("armv8l", 4): 386,
    ("armv7l", 4): 386,
    ("armv6l", 4): 386,
    ("riscv64", 8): 280,
    ("loongarch64", 8): 280,
    ("ppc64le", 8): 361,
    ("ppc64", 8): 361,
    ("s390x", 8): 351,
}


@dataclass(frozen=True)
class Program:
    """A program at a hook; `name` is empty where it has none, and None where it is not told."""

    id: int
    name: str | None = ""


def programs(ifindex: int, hook: int) -> tuple[Program, ...]:
    """The programs at TCX_INGRESS or TCX_EGRESS of an interface, the first to run first; none before kernel 6.6.

    PermissionError without CAP_NET_ADMIN. Their names take CAP_SYS_ADMIN.
    """
    import ctypes

    ids = (ctypes.c_uint32 * _MOST)()
    asked = _QUERY.pack(ifindex, hook, 0, 0, ctypes.addressof(ids), _MOST, 0)
    try:
        _, answer = _bpf(_PROG_QUERY, asked)
    except OSError as problem:
        if problem.errno in (errno.EINVAL, errno.ENOSYS, errno.ENODEV):
            return ()
        raise
    count = min(_QUERY.unpack_from(answer)[5], _MOST)
    return tuple(Program(number, _name(number)) for number in ids[:count])


def attach_first(ifindex: int, hook: int, instructions: bytes, name: str) -> None:
    """Load a program and put it before all others of a hook, without a link: it stays until it is detached.

    Takes CAP_BPF and CAP_NET_ADMIN.
    """
    import ctypes

    code = ctypes.create_string_buffer(instructions, len(instructions))
    text = ctypes.create_string_buffer(_LICENSE)
    count = len(instructions) // 8
    where = ctypes.addressof(code), ctypes.addressof(text)
    loaded = _LOAD.pack(_SCHED_CLS, count, *where, 0, 0, 0, 0, 0, name.encode())
    fd, _ = _bpf(_PROG_LOAD, loaded)
    try:
        _bpf(_PROG_ATTACH, _ATTACH.pack(ifindex, fd, hook, _BEFORE, 0, 0))
    finally:
        os.close(fd)


def detach(ifindex: int, hook: int, program: Program) -> None:
    """Take a program from a hook. Takes CAP_SYS_ADMIN."""
    fd, _ = _bpf(_PROG_GET_FD_BY_ID, struct.pack("=I", program.id))
    try:
        _bpf(_PROG_DETACH, _ATTACH.pack(ifindex, fd, hook, 0, 0, 0))
    finally:
        os.close(fd)


def _name(number: int) -> str | None:
    """The name of the program with this id; None where the kernel does not tell."""
    import ctypes

    try:
        fd, _ = _bpf(_PROG_GET_FD_BY_ID, struct.pack("=I", number))
    except OSError:
        return None
    try:
        info = ctypes.create_string_buffer(_NAME.stop)
        _bpf(_OBJ_GET_INFO_BY_FD, _INFO.pack(fd, len(info), ctypes.addressof(info)))
        return info.raw[_NAME].split(b"\0", 1)[0].decode("ascii", "replace")
    except OSError:
        return None
    finally:
        os.close(fd)


def _bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """One call: what it returns, and the attributes as the kernel left them. EOPNOTSUPP on an unknown machine."""
    import ctypes

    number = _NUMBERS.get((os.uname().machine, ctypes.sizeof(ctypes.c_void_p)))
    if number is None:
        raise OSError(errno.EOPNOTSUPP, "it is not known how to ask on this machine")
    buffer = ctypes.create_string_buffer(attributes, _ATTRIBUTES)
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    done = call(ctypes.c_long(number), ctypes.c_long(command), buffer, ctypes.c_long(_ATTRIBUTES))
    if done < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(done), buffer.raw
