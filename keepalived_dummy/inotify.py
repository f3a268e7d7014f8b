# SPDX-License-Identifier: MIT
"""inotify(7): says when a watched directory or sysctl has changed.

A directory that is not there yet is awaited in its nearest parent. A file of /proc/sys is kept open, since its
inode, on which the watch is, lives only as long as somebody holds it (fs/proc/proc_sysctl.c); a write to it is
seen as to any file.
"""

import ctypes
import os
import struct
from collections.abc import Iterable

_NONBLOCK_CLOEXEC = os.O_NONBLOCK | os.O_CLOEXEC
_MODIFY, _ATTRIB, _CLOSE_WRITE, _MOVED, _CREATE, _DELETE = 0x2, 0x4, 0x8, 0xC0, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _IGNORED, _ONLYDIR = 0x400, 0x800, 0x8000, 0x1000000
_CONTENT = (
    _CLOSE_WRITE | _ATTRIB | _MOVED | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF | _ONLYDIR
)
_PARENT = _CREATE | _MOVED | _ONLYDIR
_EVENT = struct.Struct("=iIII")


class Watches:
    """A set of watches behind one file descriptor."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd: int = self._libc.inotify_init1(_NONBLOCK_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._names: dict[int, frozenset[str]] = {}  # of a parent: the names awaited in it
        self._files: dict[int, int] = {}  # watch -> the descriptor that holds its inode

    def replace(self, directories: Iterable[str], files: Iterable[str]) -> None:
        """Watches these and no others."""
        names: dict[int, frozenset[str]] = {}
        held: dict[int, int] = {}
        for path in directories:
            self._directory(path, names)
        for file in files:
            self._file(file, held)
        for wd in (self._names.keys() | self._files.keys()) - names.keys() - held.keys():
            self._libc.inotify_rm_watch(self.fd, wd)
        for fd in self._files.values():
            os.close(fd)
        self._names, self._files = names, held

    def read(self) -> bool:
        """Whether what was read concerns what is watched; the descriptor is empty then."""
        concerned = False
        while True:
            try:
                data = os.read(self.fd, 65536)
            except BlockingIOError:
                return concerned
            offset = 0
            while offset < len(data):
                wd, mask, _, length = _EVENT.unpack_from(data, offset)
                offset += _EVENT.size + length
                name = os.fsdecode(data[offset - length : offset].rstrip(b"\0"))
                awaited = self._names.get(wd, frozenset())
                known = wd in self._files or wd in self._names or wd < 0  # < 0: events were lost
                if known and not mask & _IGNORED and (not awaited or name in awaited):
                    concerned = True

    def _directory(self, path: str, names: dict[int, frozenset[str]]) -> None:
        place, awaited = path, ""
        while (wd := self._add(place, _PARENT if awaited else _CONTENT)) < 0:
            if place in ("/", ""):
                return
            place, awaited = os.path.split(place)
        whole = names.get(wd) == frozenset()  # by another entry
        if awaited and not whole:
            names[wd] = names.get(wd, frozenset()) | {awaited}
        else:
            self._add(place, _CONTENT)
            names[wd] = frozenset()

    def _file(self, file: str, held: dict[int, int]) -> None:
        try:
            fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError):  # not there; a NUL in its name
            return
        wd = self._add(f"/proc/self/fd/{fd}", _MODIFY)
        if wd < 0 or wd in held:
            os.close(fd)
        else:
            held[wd] = fd

    def _add(self, path: str, mask: int) -> int:
        return int(self._libc.inotify_add_watch(self.fd, os.fsencode(path), mask))
