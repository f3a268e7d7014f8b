# SPDX-License-Identifier: MIT
"""A made-up /proc, with the processes that a test asks for."""

from __future__ import annotations

from pathlib import Path

HOST_NET, OTHER_NET = "net:[4026531840]", "net:[4026532999]"
HOST_MNT, OTHER_MNT = "mnt:[4026531841]", "mnt:[4026532888]"
HOST_USER, OTHER_USER = "user:[4026531837]", "user:[4026532777]"


def make(folder: Path) -> Path:
    """A /proc with its own process and process 1 alone."""
    proc = folder / "proc"
    add(proc, 1, comm="systemd", exe="/usr/lib/systemd/systemd", words=["/sbin/init"])
    add(proc, 900, 1, comm="python3", exe="/usr/bin/python3.11", words=["python3", "check"])
    (proc / "self").symlink_to("900")
    return proc


def add(  # noqa: PLR0913 - as many as /proc has
    proc: Path,
    pid: int,
    parent: int = 1,
    *,
    comm: str = "keepalived",
    exe: str | None = "/usr/sbin/keepalived",
    words: list[str] | None = None,
    net: str | None = HOST_NET,
    mnt: str | None = HOST_MNT,
    user: str | None = HOST_USER,
    root: str | None = "/",
    uid: int = 0,
    caps: str = "000001ffffffffff",
    cgroup: str = "0::/system.slice/keepalived.service",
    state: str = "S",
) -> Path:
    """One process; None: what only root may read of it."""
    home = proc / str(pid)
    (home / "ns").mkdir(parents=True)
    (home / "comm").write_text(f"{comm}\n")
    (home / "stat").write_text(f"{pid} ({comm}) {state} {parent} 0 0 0\n")
    (home / "status").write_text(
        f"Name:\t{comm}\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapEff:\t{caps}\n"
    )
    (home / "cmdline").write_bytes("\0".join(words or ["keepalived", "-n"]).encode() + b"\0")
    (home / "cgroup").write_text(f"{cgroup}\n")
    for name, target in (("exe", exe), ("root", root), ("cwd", root)):
        if target is not None:
            (home / name).symlink_to(target)
    for name, target in (("net", net), ("mnt", mnt), ("user", user)):
        if target is not None:
            (home / "ns" / name).symlink_to(target)
    return home
