# SPDX-License-Identifier: MIT
"""A lossless, read-only reader of keepalived.conf (keepalived.conf(5)); standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from keepalived_dummy.errors import Problem
from keepalived_dummy.keepalived.disk import Disk
from keepalived_dummy.keepalived.document import Statement, Word
from keepalived_dummy.keepalived.includes import Files, Memory
from keepalived_dummy.keepalived.model import Address, Instance, Model, Option, SyncGroup, model
from keepalived_dummy.keepalived.reader import Reader
from keepalived_dummy.keepalived.stack import NO_MATCH
from keepalived_dummy.keepalived.tokens import Kind, Token, tokenize

__all__ = [
    "CONFIG",
    "Address",
    "Document",
    "Instance",
    "Kind",
    "Memory",
    "Model",
    "Option",
    "Statement",
    "SyncGroup",
    "Token",
    "Word",
    "read",
    "read_from",
    "sources",
    "tokenize",
    "unsure_of",
    "uplink_words",
    "uplinks_of",
]

CONFIG = Path("/etc/keepalived/keepalived.conf")


@dataclass(frozen=True)
class Document:
    """keepalived.conf and all it includes.

    `files`: path and bytes of each file read, in the order in which keepalived first opens it; empty
    where there is no keepalived.conf. `looked`: all paths the reading depended on.
    """

    path: str
    files: tuple[tuple[str, bytes], ...]
    statements: tuple[Statement, ...]
    problems: tuple[Problem, ...]
    looked: frozenset[str] = field(repr=False)
    model: Model = field(repr=False)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that can hide something: a pattern that no file matches does not."""
        return tuple(one for one in self.problems if not one.message.endswith(NO_MATCH))

    def tokens(self, path: str) -> Iterator[Token]:
        """The tokens of one of the files; joined they give its bytes back."""
        return tokenize(dict(self.files)[path], path)


def read(path: Path = CONFIG, root: Path = Path("/")) -> Document:
    """Read a configuration. `path` and all paths in the result are as seen under `root`.

    Raises nothing: what cannot be read is among the problems.
    """
    return read_from(Disk(root), str(path))


def read_from(files: Files, path: str) -> Document:
    """Read a configuration from `files`; pure but for those."""
    reader = Reader(files)
    statements = reader.run(path)
    contents = tuple(reader.stack.contents.items())
    made = model(statements, reader.problems)
    looked = frozenset(reader.stack.looked)
    return Document(path, contents, statements, tuple(reader.problems), looked, made)


def uplinks_of(document: Document, dummy: str) -> tuple[str, ...]:
    """The interfaces of the instances with a VIP on the dummy, in the order of the file.

    Only those that are certain; the others are in unsure_of().
    """
    return tuple(dict.fromkeys(word.text for word in uplink_words(document, dummy)))


def uplink_words(document: Document, dummy: str) -> tuple[Word, ...]:
    """Where keepalived.conf names the interfaces that uplinks_of() returns."""
    return tuple(word for word, certain in _interfaces(document, dummy) if certain)


def unsure_of(document: Document, dummy: str) -> tuple[Word, ...]:
    """Interfaces that may be uplinks of the dummy: on the VIP or the interface something hangs.

    The origin of each word says what.
    """
    return tuple(word for word, certain in _interfaces(document, dummy) if not certain)


def _interfaces(document: Document, dummy: str) -> Iterator[tuple[Word, bool]]:
    for instance in document.model.instances:
        named = [v for v in instance.vips if v.device is not None and v.device.text == dummy]
        vips = [v for v in named if v.valid or not v.certain]
        if instance.interface is None or not vips:
            continue
        sure = next((v for v in vips if v.certain), None)
        word = instance.interface
        if word.certain and not sure:
            word = word._replace(certain=False, origin=vips[0].statement.words[0].origin)
        yield word, word.certain


def sources(document: Document) -> frozenset[Path]:
    """Files and folders whose change can change the result, to be watched with inotify.

    With each file goes its folder, since editors replace files, and the target of a link with its
    own. What is looked for and not there is named too, with the nearest folder above it that is.
    """
    return frozenset(map(Path, document.looked))
