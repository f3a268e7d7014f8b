# SPDX-License-Identifier: MIT
"""Which files a pattern names: tables against glob(3), and the C library itself as the judge."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from keepalived_dummy.keepalived.disk import Disk
from keepalived_dummy.keepalived.includes import MAX_ALTERNATIVES, braces, find

GLOB_MARK, GLOB_BRACE = 1 << 1, 1 << 10  # glob.h of glibc


class Found(ctypes.Structure):
    """glob_t of glibc."""

    _fields_ = [
        ("count", ctypes.c_size_t),
        ("paths", ctypes.POINTER(ctypes.c_char_p)),
        ("offset", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("calls", ctypes.c_void_p * 5),
    ]


def by_glibc(folder: Path, pattern: str) -> list[str]:
    """What glob(3) finds as keepalived calls it, relative to a folder."""
    libc = ctypes.CDLL(None)
    found = Found()
    here = Path.cwd()
    os.chdir(folder)
    try:
        flags = GLOB_MARK | GLOB_BRACE
        if libc.glob(os.fsencode(pattern), flags, None, ctypes.byref(found)):
            return []
        names = [os.fsdecode(found.paths[n]) for n in range(found.count)]
        libc.globfree(ctypes.byref(found))
        return names
    finally:
        os.chdir(here)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("tree")
    for name in (
        "a.conf", "b.conf", "c.conf.bak", ".h.conf", "x1", "x2", "x-", "x]", "[x]", "a b.conf", "*", "{}", "x{}1", "{,}x1",
        "{a,b}", "d/a.conf", "d/b.conf", "e/a.conf", "e/f/a.conf", ".g/a.conf", "A.conf", "\u00fc.conf",
    ):  # fmt: skip
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    return top


PATTERNS = [
    "a.conf", "*.conf", "*", ".*.conf", "*/a.conf", "*/*/a.conf", "./*.conf", "d/../*.conf", "x?", "x[12]",
    "x[!12]", "x[^12]", "x[0-9]", "x[]]", "x[!]]", "x[[:digit:]]", "x[-a]", "x[2-1]", "[[]x]", "\\*",
    "{b,a}.conf", "{b,a}", "{a,{b,c}}*", "{,e/}a.conf", "{a}.conf", "{}", "{a", "a}", "\\{a,b\\}", "{*,a.conf}",
    "*.{conf,bak}", "{d,e}/{a,b}.conf", "a b.conf", "missing", "missing/*.conf", "a.conf/*", "x[", "x[1",
    "?.conf", "", "[A-b].conf", "d//a.conf", "e/**/a.conf", "*[.]conf", "\\a.conf", ".g/*", "{.g,d}/*",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_as_glibc_does(tree: Path, pattern: str) -> None:
    found = find(Disk(tree), "/", pattern)
    paths = [path.lstrip("/") for path in found.paths]
    expected = [name.rstrip("/").lstrip("/") for name in by_glibc(tree, pattern)]
    assert [os.path.normpath(p) for p in paths] == [os.path.normpath(p) for p in expected]
    assert bool(found.missing) == (not found.paths) or "{" in pattern


def test_alternatives_have_a_bound() -> None:
    assert braces("{a,b}{c,d}") == ["ac", "ad", "bc", "bd"]
    assert len(braces("{a,b}" * 100)) <= MAX_ALTERNATIVES
