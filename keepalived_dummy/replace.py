# SPDX-License-Identifier: MIT
"""Files of the admin replaced whole, with owner, mode, ACL and other attributes kept."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path

from keepalived_dummy import mounts
from keepalived_dummy.errors import UserError
from keepalived_dummy.files import sync_folder

TEMPORARY = ".keepalived-dummy-"  # a dot: no include's glob matches it
_HINTS = {
    **dict.fromkeys((errno.EPERM, errno.EROFS), "chattr -i, or a mount"),
    errno.EBUSY: "edit what is mounted there, or umount it first",
}
_NO_ATTRIBUTES = (errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ENODATA)


def content(path: Path) -> bytes | None:
    """What is in a file; None where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def put(path: Path, data: bytes | None) -> None:
    """Make a file have this content, None: be gone. Whole or not at all; raises OSError.

    `path` is no symbolic link: what a link points to is replaced, the link stays.
    """
    if data is None:
        path.unlink(missing_ok=True)
        sync_folder(path.parent)
        return
    temporary = path.parent / f"{TEMPORARY}{os.getpid()}.tmp"
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(temporary, flags, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            _take_after(path, file.fileno())
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _take_after(path: Path, descriptor: int) -> None:
    """Owner, mode, ACL and security label of the file that is there."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        os.fchmod(descriptor, 0o644)
        return
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    os.fchown(descriptor, status.st_uid, status.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return
    for name in names:
        try:
            os.setxattr(descriptor, name, os.getxattr(path, name, follow_symlinks=False))
        except OSError as error:
            if error.errno not in _NO_ATTRIBUTES:
                raise


def check(path: Path) -> None:
    """Find out beforehand whether a file can be replaced; raises UserError that says why not."""
    temporary = path.parent / f"{TEMPORARY}{os.getpid()}.tmp"
    try:
        if os.path.lexists(path):
            _is_mutable(path)
        with open(temporary, "xb"):
            pass
    except OSError as error:
        hint = _HINTS.get(error.errno or 0, "")
        raise UserError(f"{path} cannot be replaced: {error.strerror}", hint) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _is_mutable(path: Path) -> None:
    """A file that is immutable or append-only refuses to be opened so; one on a read-only mount too."""
    os.close(os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW))
    if mounts.is_point(path):
        raise OSError(errno.EBUSY, "it is a mount of its own")


def clean(folder: Path) -> None:
    """Remove what a killed run left in a folder."""
    for path in folder.glob(f"{TEMPORARY}*.tmp"):
        path.unlink(missing_ok=True)
