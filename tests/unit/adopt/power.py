# SPDX-License-Identifier: MIT
"""Power losses: what of a folder a disk has at any moment, by what was synced until then.

Three kinds of file system: one that keeps all, as after a kill only; one whose names are as they were last and
whose contents are those that were synced; one that has only what was synced, names (of a synced folder) and contents.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

MODELS = ("all", "names and synced contents", "only what was synced")
CALLS = ("open", "rename", "unlink", "mkdir", "rmdir", "symlink", "fsync")

Tree = dict[str, bytes | None]  # relative path to content, None: a folder


class PowerLoss(BaseException):
    """Nothing of the process runs any more."""


class Disk:
    """What would be there after a power loss, for the folder `top`; each call of CALLS before which power fails is a step.

    All that is there at the beginning is on the disk. Inodes are held open, so that no number is used again.
    """

    def __init__(self, top: Path) -> None:
        self.top, self.steps, self.last = top, 0, 0
        self.after: dict[str, Tree] = {}
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, dict[str, int]] = {}
        self._held: list[int] = []
        for path in (top, *top.rglob("*")):
            self._sync(os.open(path, os.O_RDONLY))

    def __enter__(self) -> Disk:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._held:
            os.close(descriptor)

    def fail(self, patch: pytest.MonkeyPatch, step: int) -> None:
        """Have power fail at this step, from 1; 0: never."""
        self.last = step
        for name in CALLS:
            patch.setattr(os, name, self._counted(name, getattr(os, name)))

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*given: Any, **more: Any) -> Any:
            changes = name != "open" or given[1] & os.O_CREAT
            if changes:
                if self.after:  # a handler or a finally: the machine is off
                    raise PowerLoss
                self.steps += 1
                if self.steps == self.last:
                    self.after = {model: dict(self._seen(model)) for model in MODELS}
                    raise PowerLoss
            done = call(*given, **more)
            if name == "fsync":
                self._sync(_OPEN(f"/proc/self/fd/{given[0]}", os.O_RDONLY))
            elif changes and name == "open":
                self._held.append(_OPEN(f"/proc/self/fd/{done}", os.O_RDONLY))
            return done

        return counted

    def _sync(self, descriptor: int) -> None:
        self._held.append(descriptor)
        inode = os.fstat(descriptor).st_ino
        try:
            names = os.listdir(descriptor)
        except NotADirectoryError:
            self._contents[inode] = b"".join(iter(lambda: os.read(descriptor, 1 << 16), b""))
        else:
            known = {name: os.lstat(name, dir_fd=descriptor).st_ino for name in names}
            self._names[inode] = known

    def _seen(self, model: str) -> Iterator[tuple[str, bytes | None]]:
        folders = {
            path.stat().st_ino: path for path in (self.top, *self.top.rglob("*")) if path.is_dir()
        }

        def below(inode: int, where: str) -> Iterator[tuple[str, bytes | None]]:
            names = self._names.get(inode, {})
            if model != MODELS[2] and inode in folders:
                there = folders[inode].iterdir()
                names = {path.name: path.lstat().st_ino for path in there}
            for name, number in names.items():
                path = f"{where}{name}"
                if number in folders or number in self._names:
                    yield path, None
                    yield from below(number, f"{path}/")
                elif model == MODELS[0]:
                    yield path, (self.top / path).read_bytes()
                else:
                    yield path, self._contents.get(number, b"")

        return below(self.top.stat().st_ino, "")


_OPEN = os.open  # before it is counted


def rebuild(top: Path, tree: Tree) -> None:
    """Make the folder hold just this."""
    shutil.rmtree(top)
    top.mkdir()
    for path, content in sorted(tree.items()):
        if content is None:
            (top / path).mkdir()
        else:
            (top / path).write_bytes(content)
