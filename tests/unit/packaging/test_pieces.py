# SPDX-License-Identifier: MIT
"""The pieces that MUTATE=1 takes out of the installed program: each is there, or its check could not be seen to fail."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[3]
PACKAGE = TREE / "keepalived_dummy"


def calls(name: str, count: int) -> Iterator[tuple[str, ...]]:
    """The arguments of every call of `name` in the guest tests, where they are written out."""
    for path in sorted((TREE / "debian/tests").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == name:
                words = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
                if len(words) == count:
                    yield tuple(map(str, words))


@pytest.mark.parametrize(("module", "old", "new"), calls("edited", 3))
def test_a_line_that_is_replaced(module: str, old: str, new: str) -> None:
    text = (PACKAGE / module).read_text()
    assert old in text
    assert text.replace(old, new) != text


@pytest.mark.parametrize(("file", "expression"), calls("edit", 2))
def test_an_edit_by_sed(file: str, expression: str) -> None:
    path = PACKAGE / file
    ran = subprocess.run(["sed", "-E", expression, path], capture_output=True, check=True)
    assert ran.stdout != path.read_bytes()
