# SPDX-License-Identifier: MIT
"""The kernel's modules: whether one can be had."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def lacking(names: Iterable[str], root: Path = Path("/"), release: str = "") -> tuple[str, ...]:
    """Those neither loaded, nor built in, nor in a file of the kernel that runs (modules.dep(5)).

    None where there are files of no kernel at all, as in a container: it is not known what the kernel has.
    """
    folder = _folder(root, release)
    try:
        known = any(folder.parent.iterdir())
    except OSError:
        known = False
    there = _listed(folder, "modules.builtin") | _files(folder)
    return tuple(name for name in _absent(names, root) if known and name not in there)


def unloaded(names: Iterable[str], root: Path = Path("/"), release: str = "") -> tuple[str, ...]:
    """Those that are in a file of the kernel that runs, and not loaded."""
    there = _files(_folder(root, release)) - _listed(_folder(root, release), "modules.builtin")
    return tuple(name for name in _absent(names, root) if name in there)


def _folder(root: Path, release: str) -> Path:
    return root / "lib/modules" / (release or os.uname().release)


def _absent(names: Iterable[str], root: Path) -> Iterator[str]:
    """Those that /sys does not know; it may not know one that is built in."""
    return (name for name in dict.fromkeys(names) if not (root / "sys/module" / name).exists())


def _files(folder: Path) -> set[str]:
    """The modules of modules.dep whose file is there."""
    lines = _lines(folder / "modules.dep")
    paths = (line.partition(":")[0] for line in lines)
    return {_name(path) for path in paths if (folder / path).exists()}


def _listed(folder: Path, name: str) -> set[str]:
    return {_name(line) for line in _lines(folder / name)}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _name(path: str) -> str:
    return path.rpartition("/")[2].partition(".")[0].replace("-", "_")
