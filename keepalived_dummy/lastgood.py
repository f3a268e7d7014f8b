# SPDX-License-Identifier: MIT
"""What each conf last said when it was right, so that a bad edit takes no wire and no way out down."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from keepalived_dummy import files, plan
from keepalived_dummy.config import DEFAULT_NAME, DEFAULT_STEM, Config, Dummy

NAME = "confs.json"  # in the runtime folder: the next boot starts from the confs alone


def keep(root: Path, wanted: Config) -> Config:
    """`known`, noted for the next time; call it with files.lock held."""
    kept = known(root, wanted)
    path = root / files.RUNTIME / NAME
    content = json.dumps([dataclasses.asdict(dummy) for dummy in kept.dummies]).encode()
    if not files.same(path, content):
        files.write(path, content)
    return kept


def known(root: Path, wanted: Config) -> Config:
    """The configuration with each bad conf as it last was.

    The default conf, bad since the boot, is as if it were empty: the static files make that dummy anyway.
    """
    path = root / files.RUNTIME / NAME
    default = Dummy(DEFAULT_STEM, f"/etc/keepalived-dummy.d/{DEFAULT_STEM}.conf", DEFAULT_NAME)
    before = {DEFAULT_STEM: default, **{dummy.stem: dummy for dummy in _read(path)}}
    names = {dummy.name for dummy in wanted.dummies}
    kept = tuple(
        before[stem]
        for stem in sorted(wanted.bad)
        if stem in before and before[stem].name not in names
    )
    return dataclasses.replace(wanted, dummies=(*wanted.dummies, *kept))


def uplinks(root: Path) -> dict[str, tuple[str, ...]]:
    """The uplinks of each dummy as the daemon's last pass found them."""
    return {dummy.name: dummy.uplinks for dummy in _plan(root).dummies}


def sources(root: Path) -> tuple[plan.PinnedSource, ...]:
    """Return the pinned sources as the daemon's last pass found them."""
    return _plan(root).sources


def _plan(root: Path) -> plan.Plan:
    try:
        return plan.read((root / files.RUNTIME / "plan.json").read_bytes())
    except (OSError, ValueError):
        return plan.Plan()  # no pass yet, or one of another version


def _read(path: Path) -> list[Dummy]:
    try:
        made = json.loads(path.read_bytes())
        return [Dummy(**{**one, "uplinks": tuple(one["uplinks"])}) for one in made]
    except (OSError, ValueError, TypeError, KeyError):
        return []  # none yet, or of another version
