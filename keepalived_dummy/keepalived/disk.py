# SPDX-License-Identifier: MIT
"""The one module of the reader that touches the disk."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from dataclasses import dataclass, field
from pathlib import Path

MAX_BYTES = 16 << 20
MAX_LINKS = 40  # as the kernel's MAXSYMLINKS (include/linux/namei.h)


@dataclass(frozen=True)
class Disk:
    """The files under `root`, named as if it were /; symbolic links stay under it.

    What is on an automount in `closed` is not looked at, and the automount is noted in `skipped`.
    """

    root: Path = Path("/")
    closed: frozenset[str] = frozenset()
    skipped: set[str] = field(default_factory=set, compare=False)

    def read(self, path: str) -> bytes:
        """The bytes of a file; raises OSError also for all that keepalived skips."""
        name = self._inside(self.real(path)[0])
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is no regular file")
            if status.st_mode & 0o111:
                raise OSError(errno.EINVAL, "it is executable, and keepalived skips such files")
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise OSError(errno.EFBIG, f"it has more than {MAX_BYTES} bytes")
        return data

    def names(self, folder: str) -> list[str]:
        """What is in a folder."""
        return os.listdir(self._inside(self.real(folder)[0]))

    def real(self, path: str) -> tuple[str, frozenset[str]]:
        """The path without symbolic links, and the folders in which the links on the way are."""
        done = "/"
        links: set[str] = set()
        todo = [part for part in reversed(path.split("/")) if part]
        followed = 0
        while todo:
            part = todo.pop()
            if part in (".", ".."):
                done = posixpath.dirname(done) if part == ".." else done
                continue
            here = posixpath.join(done, part)
            if here in self.closed:
                self.skipped.add(here)
                raise OSError(errno.EAGAIN, "it is on an automount that is not mounted yet", here)
            if not stat.S_ISLNK(os.lstat(self._inside(here)).st_mode):
                done = here
                continue
            followed += 1
            if followed > MAX_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            links.add(done)
            target = os.readlink(self._inside(here))
            done = "/" if target.startswith("/") else done
            todo += [part for part in reversed(target.split("/")) if part]
        return done, frozenset(links)

    def _inside(self, path: str) -> str:
        return os.path.join(self.root, path.lstrip("/"))
