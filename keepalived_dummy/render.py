# SPDX-License-Identifier: MIT
"""The jinja2 environment that every template of the package is rendered in."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

TEMPLATES = Path(__file__).parent / "templates"


@cache
def template(name: str) -> Template:
    """A template by its file name; a name it uses and is not given raises, as StrictUndefined does."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["hex"] = _hex
    return environment.get_template(name)


def _hex(mac: str, first: int, end: int) -> str:
    """Bytes `first` to `end` (exclusive) of a MAC with colons, as tc takes a number after 0x."""
    return mac.replace(":", "")[2 * first : 2 * end]
