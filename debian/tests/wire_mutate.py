# SPDX-License-Identifier: MIT
"""Pieces of the wire taken out of the installed package, for MUTATE=1 (see checks.py)."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
from pathlib import Path

_spec = importlib.util.find_spec("keepalived_dummy")
assert _spec and _spec.origin
PACKAGE = Path(_spec.origin).parent
SAVED = Path("/run/wire-saved")
BACK = f"cp -a {SAVED}/. {PACKAGE}/"


def save() -> None:
    """Keep the package as installed, for BACK."""
    shutil.copytree(PACKAGE, SAVED, dirs_exist_ok=True)


def edit(file: str, expression: str) -> str:
    """The shell that edits a file of the package with sed, and fails where that changes nothing."""
    path = shlex.quote(str(PACKAGE / file))
    saved = shlex.quote(str(SAVED / file))
    return f"sed -i -E {shlex.quote(expression)} {path} && ! cmp -s {path} {saved}"


def cut(pattern: str) -> str:
    """The shell that takes the template's filters out whose line matches."""
    return edit("templates/wire.tc.j2", f"/^filter add .*{pattern}/d")


def change(pattern: str, old: str, new: str) -> str:
    """The shell that replaces words in the template's lines that match."""
    return edit("templates/wire.tc.j2", f"/{pattern}/s/{old}/{new}/")
