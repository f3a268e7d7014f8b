# SPDX-License-Identifier: MIT
"""The generator: every conf turned into networkd's files under /run/systemd/network."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path

from keepalived_dummy import files
from keepalived_dummy.config import DEFAULT_STEM, Config, Dummy
from keepalived_dummy.errors import Problem

FOLDER = "run/systemd/network"
STATIC = (f"90-{DEFAULT_STEM}.netdev", f"05-{DEFAULT_STEM}.network")  # shipped in /usr/lib too


@dataclass
class Result:
    """What a run of the generator did: names of files, and what it could not do."""

    written: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def names(stem: str) -> tuple[str, str]:
    """The .netdev and the .network of a conf.

    05- sorts before netplan's 10-, so Unmanaged=yes wins over any catch-all (systemd.network(5)).
    """
    return f"90-{stem}.netdev", f"05-{stem}.network"


def render(dummy: Dummy) -> dict[str, bytes]:
    """The files of one dummy: name to content. Pure."""
    from keepalived_dummy.render import template  # jinja2 costs 40 ms: only where there is a dummy

    netdev, network = names(dummy.stem)
    return {
        netdev: template("netdev.j2").render(dummy=dummy).encode(),
        network: template("network.j2").render(dummy=dummy).encode(),
    }


def generate(root: Path, config: Config) -> Result:
    """Make /run/systemd/network what the confs ask for; call it with files.lock held.

    Only files of ours are replaced or removed; those of a bad conf stay as they are.
    """
    folder = root / FOLDER
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    present = os.listdir(folder)
    files.remove_leftovers(present, folder)
    result = Result()
    wanted: set[str] = set()
    for dummy in config.dummies:
        for name, content in render(dummy).items():
            wanted.add(name)
            _put(folder / name, content, dummy, result)
    for stem in config.bad:
        wanted.update(names(stem))
    if not config.partial:
        wanted.update(_needed(root, set(present) - wanted))
        _mask_static(folder, config, wanted, result)
        for name in sorted(set(present) - wanted):
            if name.startswith(("90-", "05-")) and files.is_ours(folder / name):
                _remove(folder / name, result)
    if result.written or result.removed:
        with contextlib.suppress(FileNotFoundError):
            files.sync_folder(folder)
    return result


def remove(root: Path) -> Result:
    """Take away what the generator wrote, but for what a dummy that stays needs; call it with files.lock held."""
    result = Result()
    folder = root / FOLDER
    try:
        present = os.listdir(folder)
    except FileNotFoundError:
        return result
    files.remove_leftovers(present, folder)
    for name in sorted(set(present) - _needed(root, set(present))):
        if files.is_ours(folder / name) or (name in STATIC and files.is_mask(folder / name)):
            _remove(folder / name, result)
    return result


def _needed(root: Path, stale: set[str]) -> set[str]:
    """Those of the stale files that keep networkd from a link that is still there, with VIPs perhaps.

    Without its .network a catch-all of somebody else would take the link over at the next reload.
    """
    return {name for name in stale if name.startswith("05-") and _has_link(root, name)}


def _has_link(root: Path, name: str) -> bool:
    path = root / FOLDER / name
    if not files.is_ours(path):
        return False
    lines = path.read_text().splitlines()
    links = (line.removeprefix("Name=") for line in lines if line.startswith("Name="))
    return any((root / "sys/class/net" / link).exists() for link in links)


def _put(path: Path, content: bytes, dummy: Dummy, result: Result) -> None:
    if files.same(path, content):
        return
    masked = path.name in STATIC and files.is_mask(path)
    if os.path.lexists(path) and not masked and not files.is_ours(path):
        shown = f"/{FOLDER}/{path.name}"
        message = f"{shown} is there and not of keepalived-dummy; remove it, or rename this file"
        result.problems.append(Problem(dummy.path, 0, message))
        return
    try:
        try:
            files.write(path, content)
        except FileNotFoundError:  # `netplan try` reverts by removing the folder, just now
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            files.write(path, content)
    except OSError as error:
        result.problems.append(
            Problem(f"/{FOLDER}/{path.name}", 0, f"cannot be written: {error.strerror}")
        )
    else:
        result.written.append(path.name)


def _mask_static(folder: Path, config: Config, wanted: set[str], result: Result) -> None:
    """Where the default conf is masked or deleted, mask the files shipped for it too."""
    masked = names(DEFAULT_STEM)[0] not in wanted
    for name in STATIC:
        path = folder / name
        if masked and name not in wanted:
            if not files.is_mask(path) and (files.is_ours(path) or not os.path.lexists(path)):
                files.write_mask(path)
                result.written.append(name)
            wanted.add(name)


def _remove(path: Path, result: Result) -> None:
    path.unlink(missing_ok=True)
    result.removed.append(path.name)
