# SPDX-License-Identifier: MIT
"""The admin's files: replaced whole with what they bear, or not at all; edits since are the admin's."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import adopt_lan as lan
import host
from adopt_lan import CONF, UPLINK, VIP4, command, done, on
from checks import check, edited, note
from host import DUMMY, run

ACL = "system.posix_acl_access"
GETFLAGS, SETFLAGS, IMMUTABLE = 0x80086601, 0x40086602, 0x10  # FS_IOC_* of linux/fs.h


def with_acl(path: Path, user: int) -> None:
    """Let one more user read a file (linux/posix_acl_xattr.h: tag, permissions, id)."""
    none = 0xFFFFFFFF
    entries = (
        (0x01, 6, none),
        (0x02, 4, user),
        (0x04, 4, none),
        (0x10, 4, none),
        (0x20, 0, none),
    )
    os.setxattr(
        path, ACL, struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries)
    )


def immutable(path: Path, yes: bool) -> None:
    """chattr +i, or -i."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        flags = struct.unpack("i", fcntl.ioctl(descriptor, GETFLAGS, b"\0" * 4))[0]
        flags = flags | IMMUTABLE if yes else flags & ~IMMUTABLE
        fcntl.ioctl(descriptor, SETFLAGS, struct.pack("i", flags))
    finally:
        os.close(descriptor)


@check(
    *edited("replace.py", "    if not stat.S_ISREG(status.st_mode):", "    return\n    if True:")
)
def link_owner_mode_and_acl_are_kept() -> None:
    real = CONF.with_name("real.conf")
    CONF.rename(real)
    CONF.symlink_to("real.conf")
    os.chown(real, 0, 1)
    with_acl(real, 2)
    os.setxattr(real, "user.note", b"kept")

    def borne() -> list[object]:
        status = real.stat()
        names = sorted(os.listxattr(real))
        ids = status.st_uid, status.st_gid, oct(status.st_mode)
        return [ids, *((name, os.getxattr(real, name)) for name in names)]

    wanted = borne()
    for words in ("adopt --yes", "revert --yes"):
        done(words)
        assert CONF.is_symlink()
        assert borne() == wanted
        assert (f"dev {DUMMY}" in real.read_text()) == (words == "adopt --yes")


def full() -> None:
    """/etc/keepalived on a file system without room."""
    run(
        "mkdir -p /run/full && mount -t tmpfs -o size=32k none /run/full && cp -a /etc/keepalived/. /run/full/"
        " && { cat /dev/zero > /run/full/filling || true; } && mount --bind /run/full /etc/keepalived"
    )


REFUSED: tuple[tuple[str, str, Callable[[], object], Callable[[], object]], ...] = (
    (
        "immutable",
        "cannot be replaced: Operation not permitted",
        lambda: immutable(CONF, True),
        lambda: immutable(CONF, False),
    ),
    (
        "read-only",
        "cannot be replaced: Read-only file system",
        lambda: run("mount --bind -o ro /etc/keepalived /etc/keepalived"),
        lambda: run("umount /etc/keepalived"),
    ),
    (
        "no room for what is to be remembered",
        "No space left on device",
        lambda: run(f"mount -t tmpfs -o size=4k,nr_inodes=2 none {lan.STATE}"),
        lambda: run(f"umount {lan.STATE}"),
    ),
    (
        "no room beside keepalived.conf",
        "No space left on device",
        full,
        lambda: run("umount /etc/keepalived /run/full"),
    ),
)


@check(*edited("replace.py", "raise UserError(f", "print(f"))
def refused_where_it_cannot_be_written() -> None:
    """Immutable, read-only, full: said, and nothing changed."""
    before = CONF.read_bytes()
    lan.STATE.mkdir(exist_ok=True)
    with lan.pinging() as seen:
        for what, why, make, back in REFUSED:
            make()
            try:
                status, said = command("adopt --yes")
                there = sorted(path.name for path in CONF.parent.iterdir())
            finally:
                back()
            note(f"{what}: {lan.last(said)}")
            assert status == 1, said
            assert why in said, said
            assert CONF.read_bytes() == before
            assert not [name for name in there if name.startswith(".")], there
            assert on(UPLINK)
    note(str(seen))
    assert (seen.lost, seen.states) == (0, ()), seen


@check(*edited("revert.py", "undo(old, new, now)", "old"))
def revert_leaves_the_edits_of_the_admin() -> None:
    done("adopt --yes")
    text = CONF.read_text()
    CONF.write_text(text.replace("priority 150", "priority 151") + "# mine\n")
    done("revert --yes")
    wanted = lan.instance().replace("priority 150", "priority 151") + "# mine\n"
    assert CONF.read_text() == wanted
    assert on(UPLINK)


@check(*edited("revert.py", "if done.conflicts:", "if False:"))
def revert_names_a_conflict_and_changes_nothing() -> None:
    done("adopt --yes")
    edited_line = CONF.read_text().replace(
        f"{VIP4}/32 dev {DUMMY}", f"{VIP4}/32  dev {DUMMY} scope link"
    )
    CONF.write_text(edited_line)
    number = next(n for n, line in enumerate(edited_line.splitlines(), 1) if VIP4 in line)
    status, said = command("revert --yes")
    assert status == 1, said
    assert f"{CONF}:{number}: {VIP4} is on {DUMMY} still" in said, said
    assert CONF.read_text() == edited_line
    assert on(DUMMY)


@check(*edited("live.py", "fcntl.LOCK_EX", "fcntl.LOCK_SH"))
def two_at_once() -> None:
    """While one waits for its answer, another is refused."""
    terminal, its = pty.openpty()
    first = subprocess.Popen(["keepalived-dummy", "adopt"], stdin=its, stdout=its, stderr=its)
    said = b""
    while b"Go on?" not in said:
        said += os.read(terminal, 4096)
    status, other = command("adopt --yes")
    os.write(terminal, b"n\n")
    ended = first.wait(60)
    os.close(its)
    os.close(terminal)
    assert (status, ended) == (1, 1), other
    assert "another adopt or revert is running" in other
    assert CONF.read_text() == lan.instance()
    assert host.holds(VIP4, UPLINK)
