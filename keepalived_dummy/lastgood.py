# SPDX-License-Identifier: MIT
"""What each conf last said when it was right, so that a bad edit takes no wire and no way out down."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from keepalived_dummy import files, plan, runtime
from keepalived_dummy.config import (
    DEFAULT_NAME,
    DEFAULT_STEM,
    Config,
    Dummy,
    parse_interface,
    parse_mac,
)
from keepalived_dummy.errors import Problem

NAME = "confs.json"  # in the runtime folder: the next boot starts from the confs alone


def keep(root: Path, wanted: Config) -> Config:
    """`known`, noted for the next time; call it with files.lock held.

    Where that cannot be written, the result has one more problem.
    """
    kept = known(root, wanted)
    path = root / files.RUNTIME / NAME
    content = json.dumps([dataclasses.asdict(dummy) for dummy in kept.dummies]).encode()
    if files.same(path, content):
        return kept
    try:
        files.write(path, content)
    except OSError as error:
        message = f"cannot be written: {error.strerror or error}"
        problem = Problem(f"/{path.relative_to(root)}", 0, message)
        return dataclasses.replace(kept, problems=(*kept.problems, problem))
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
        return plan.read(runtime.read(root / files.RUNTIME / "plan.json"))
    except (OSError, ValueError):
        return plan.Plan()  # no pass yet, or one of another version


def _read(path: Path) -> list[Dummy]:
    try:
        return list(map(_dummy, runtime.load(path)))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []  # none yet, or of another version


def _dummy(made: Any) -> Dummy:
    """The dummy of an entry that `keep` wrote. Any other exception than those caught above is a bug."""
    mtu, mac = made["mtu"], made["mac"]
    dummy = Dummy(
        **{
            **made,
            "name": parse_interface(made["name"]),
            "mac": None if mac is None else parse_mac(mac),
            "uplinks": tuple(map(parse_interface, made["uplinks"])),
        }
    )
    texts = (dummy.stem, dummy.path)
    switches = (dummy.wire, dummy.way_out, dummy.foreign_routes)
    if not (
        all(isinstance(one, str) and one.isprintable() for one in texts)
        and all(isinstance(one, bool) for one in switches)
        and (mtu is None or type(mtu) is int)
    ):
        raise ValueError(made)
    return dummy
