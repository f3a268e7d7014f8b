# SPDX-License-Identifier: MIT
"""What the documents have of code: blocks that stand by themselves, and what is marked as code within a line."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from commandline import TREE
from manual import PAGES

MANUALS = [TREE / f"docs/man/{page}.in" for page in PAGES]
CATALOG = TREE / "lib/systemd/catalog/keepalived-dummy.catalog"
TEXTS = [
    TREE / "README.md",
    *sorted((TREE / "docs").glob("*.md")),
    *sorted((TREE / "examples").glob("*/README.md")),
    TREE / "debian/README.Debian",
]
DOCUMENTS = [*TEXTS, *MANUALS, CATALOG]


class Code(NamedTuple):
    """A block of lines, or a piece within a line; `where` is the document."""

    where: str
    text: str
    block: bool


def code(path: Path) -> Iterator[Code]:
    """All code of a document."""
    where, text = str(path.relative_to(TREE)), _text(path)
    read = _manual if path in MANUALS else _catalog if path == CATALOG else _markdown
    for found, block in read(text):
        yield Code(where, found, block)


def _text(path: Path) -> str:
    """A man page is read as it is made of its template."""
    return PAGES[path.stem] if path in MANUALS else path.read_text()


def _markdown(text: str) -> Iterator[tuple[str, bool]]:
    """Fenced blocks, blocks indented by four after an empty line, and spans in backquotes."""
    rest = []
    for part in re.split(r"^(```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE):
        if part.startswith("```"):
            yield part.split("\n", 1)[1].removesuffix("```"), True
        else:
            rest.append(part)
    indented = re.compile(r"(?:(?<=\n\n)|\A)((?: {4}.*\n|\n)*(?: {4}.*\n))")
    for part in rest:
        for block in indented.findall(part):
            yield re.sub(r"^ {4}", "", block.strip("\n"), flags=re.MULTILINE), True
        for span in re.findall(r"`([^`]+)`", indented.sub("", part)):
            yield " ".join(span.split()), False


def _manual(text: str) -> Iterator[tuple[str, bool]]:
    for block in re.findall(r"^\.Bd -literal.*\n((?:.*\n)*?)\.Ed$", text, re.MULTILINE):
        yield block, True
    for span in re.findall(r"^\.Ql (.*?)(?: [.,:;])?$", text, re.MULTILINE):
        yield span.replace("\\&", ""), False


def _catalog(text: str) -> Iterator[tuple[str, bool]]:
    for span in re.findall(r"['\"]([^'\"]+)['\"]", re.sub(r"n't", "nt", text)):
        yield " ".join(span.split()), False


def seen(path: Path) -> str:
    """A document as its reader sees it, without the marks around words."""
    text = _text(path)
    if path in MANUALS:
        return re.sub(r"^\.(?:It )?(?:[A-Z][a-z] )+", "", text, flags=re.MULTILINE)
    return text.replace("`", "")


def commands_of(item: Code) -> list[list[str]]:
    """The commands of a piece of shell, without comments, pipes, loops and lists."""
    found: list[list[str]] = []
    for line in item.text.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
        lexer.whitespace_split, lexer.commenters = True, "#"
        command: list[str] = []
        for word in [*lexer, ";"]:
            if not set(word) <= set("|&;"):
                command.append(word)
            elif command:
                found.append(command)
                command = []
    return [command for one in found if (command := _plain(one))]


def _plain(command: list[str]) -> list[str]:
    """Without a loop's own words."""
    if command[0] in ("for", "done"):
        return []
    return command[1:] if command[0] == "do" else command
