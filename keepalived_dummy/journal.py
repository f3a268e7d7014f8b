# SPDX-License-Identifier: MIT
"""What adopt and revert must not forget: contents by their digest, the change under way, what was adopted.

All under /var/lib/keepalived-dummy. Every write is whole and synced before the next step. Only root can read the
files: a digest of keepalived.conf lets a password in it be guessed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from keepalived_dummy import files
from keepalived_dummy.errors import UserError
from keepalived_dummy.rewrite import Vip

FOLDER = Path("/var/lib/keepalived-dummy")
VERSION = 1
_MODE = 0o600
FORWARD, BACK = "forward", "back"
ADOPT, REVERT = "adopt", "revert"


@dataclass(frozen=True)
class Change:
    """A file's content before and after, as digests; None: no such file."""

    path: str
    old: str | None
    new: str | None


@dataclass(frozen=True)
class Generation:
    """What one adopt did, with this --config; empty: not known, as of an earlier release."""

    changes: tuple[Change, ...]
    vips: tuple[Vip, ...]
    config: str = ""


@dataclass(frozen=True)
class Transaction:
    """A change under way. `direction`: BACK once it was found to fail. `then`: the ledger at its end.

    `reload`: keepalived ran when it began, and is to follow. `config`: see Generation.
    """

    kind: str
    changes: tuple[Change, ...]
    vips: tuple[Vip, ...]
    then: tuple[Generation, ...]
    direction: str = FORWARD
    reload: bool = True
    config: str = ""


@dataclass
class Journal:
    """The folder, and access to it. Raises OSError where it can't be written, UserError where it is damaged."""

    folder: Path = field(default_factory=lambda: FOLDER)

    def keep(self, content: bytes | None) -> str | None:
        """Store a content; returns its digest."""
        if content is None:
            return None
        digest = hashlib.sha256(content).hexdigest()
        path = self._backup / digest
        if not files.same(path, content):
            self._backup.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._backup.chmod(0o700)  # keepalived.conf may hold a password
            files.write(path, content, _MODE)
            files.sync_folder(self._backup)
        return digest

    def content(self, digest: str | None) -> bytes | None:
        """A stored content."""
        if digest is None:
            return None
        path = self._backup / digest
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise UserError(f"{path} is gone: what was adopted is not known any more") from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise UserError(f"{path} is damaged: its content is not that of its name")
        return content

    def begin(self, transaction: Transaction) -> None:
        """Note what is under way; also to change its direction."""
        self._write("transaction.json", asdict(transaction))
        files.sync_folder(self.folder.parent)  # a folder just made is an entry there

    def under_way(self) -> Transaction | None:
        """What a run that was killed left."""
        made = self._read("transaction.json")
        if made is None:
            return None
        return Transaction(
            made["kind"],
            _changes(made["changes"]),
            _vips(made["vips"]),
            tuple(_generation(one) for one in made["then"]),
            made["direction"],
            made["reload"],
            made.get("config", ""),
        )

    def adopted(self) -> tuple[Generation, ...]:
        """What was adopted and not reverted, the oldest first."""
        made = self._read("adopted.json")
        return tuple(_generation(one) for one in made["generations"]) if made else ()

    def end(self, generations: tuple[Generation, ...] | None) -> None:
        """Nothing is under way any more; the ledger is this now, None: as it was."""
        if generations is not None:
            self._write("adopted.json", {"generations": [asdict(one) for one in generations]})
        (self.folder / "transaction.json").unlink(missing_ok=True)
        files.sync_folder(self.folder)

    @property
    def _backup(self) -> Path:
        return self.folder / "backup"

    def _write(self, name: str, what: dict[str, Any]) -> None:
        self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        text = json.dumps({"version": VERSION, **what}, indent=1, sort_keys=True) + "\n"
        files.write(self.folder / name, text.encode("utf-8", "surrogateescape"), _MODE)
        files.sync_folder(self.folder)

    def _read(self, name: str) -> Any:
        path = self.folder / name
        try:
            with open(path, "rb") as file:
                _close_to_others(file.fileno())
                made = json.loads(file.read())
        except FileNotFoundError:
            return None
        except PermissionError as error:
            raise UserError(f"only root can read {path}", "run this as root") from error
        except ValueError as error:
            raise UserError(f"{path} is damaged: {error}") from error
        if made.get("version") != VERSION:
            raise UserError(
                f"{path} is of another release of this package, version {VERSION} wanted"
            )
        return made


def _close_to_others(descriptor: int) -> None:
    """Set the mode of a file that an earlier release has written."""
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != _MODE:
        with contextlib.suppress(OSError):  # not its owner, or a read-only file system
            os.fchmod(descriptor, _MODE)


def _changes(made: Any) -> tuple[Change, ...]:
    return tuple(Change(**one) for one in made)


def _vips(made: Any) -> tuple[Vip, ...]:
    return tuple(Vip(**one) for one in made)


def _generation(made: Any) -> Generation:
    return Generation(_changes(made["changes"]), _vips(made["vips"]), made.get("config", ""))
