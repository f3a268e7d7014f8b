# SPDX-License-Identifier: MIT
"""Reads keepalived-dummy.d/*.conf: bytes in, frozen dataclasses and problems out.

The syntax is that of systemd's own files (systemd.syntax(7)) without line continuation. The
reader is our own because configparser stops at the first error and knows no line of a key, while
an admin wants all errors of all files at once, each with its line.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from keepalived_dummy import files
from keepalived_dummy.errors import Problem

# Where confs are looked for; a basename found in an earlier folder hides it in the later ones.
FOLDERS = ("etc/keepalived-dummy.d", "run/keepalived-dummy.d", "usr/lib/keepalived-dummy.d")
DEFAULT_STEM = "keepalived"
DEFAULT_NAME = "keepalived0"
TAKEN = "has already"  # in the problem of a second conf of one name
MAX_UPLINKS = 8  # the wire has a filter with four actions for each, and the kernel takes 32
# Each line of what is no conf would be a problem, and all of them one answer to the daemon.
MAX_BYTES = 1 << 20
_WRITING = 0.2  # seconds in which an editor has filled what it truncated
MAX_STEM = 200  # bytes: it is kept in the link's alias, of which the kernel takes 256


@dataclass(frozen=True)
class Dummy:
    """One dummy as its conf asks for it. `uplinks` empty: taken from keepalived.conf."""

    stem: str
    path: str
    name: str
    mtu: int | None = None
    mac: str | None = None
    uplinks: tuple[str, ...] = ()
    wire: bool = True
    way_out: bool = True
    foreign_routes: bool = True
    hold_source: bool = True


@dataclass(frozen=True)
class Config:
    """All confs of a host: `masked` and `bad` hold basenames without .conf.

    `partial`: a folder could not be listed, so what is not here may be asked for all the same.
    """

    dummies: tuple[Dummy, ...] = ()
    masked: frozenset[str] = frozenset()
    bad: frozenset[str] = frozenset()
    partial: bool = False
    problems: tuple[Problem, ...] = ()


def parse_interface(value: str) -> str:
    """An interface name both the kernel and networkd take.

    Kernel: dev_valid_name() in net/core/dev.c; networkd: ifname_valid_full() in systemd's
    socket-util; tc: see misnamed(). Raises ValueError that says what is wrong.
    """
    if not 1 <= len(os.fsencode(value)) <= 15:
        raise ValueError("an interface name has 1 to 15 bytes")
    if value in (".", "..", "all", "default"):
        raise ValueError("the kernel keeps this name for itself")
    if wrong := sorted({c for c in value if not "!" <= c <= "~" or c in "/:%"}):
        raise ValueError(f"an interface name has no {' '.join(map(ascii, wrong))}")
    if wrong := sorted(set(value) & set("*?[]!\\\"'")):
        raise ValueError(f"networkd would read {' '.join(wrong)} as a pattern or a quote")
    if value.isdigit():
        raise ValueError("networkd reads a name of digits alone as an interface index")
    if wrong_for_tc := misnamed(value):
        raise ValueError(wrong_for_tc)
    return value


def misnamed(name: str) -> str:
    """Why an interface that the kernel has can't be named in a script for tc; empty where it can.

    The kernel takes nearly any bytes as a name. `tc -batch` takes all after a # for a comment (getcmdline() in
    iproute2's lib/utils.c).
    """
    wrong = sorted({c for c in name if not "!" <= c <= "~" or c == "#"})
    return f"tc can be told no interface name with {' '.join(map(ascii, wrong))}" if wrong else ""


def parse_mtu(value: str) -> int:
    """An MTU in bytes; IPv4 needs 68 (RFC 791), and under 1280 the kernel runs no IPv6."""
    if not re.fullmatch(r"[0-9]{1,5}", value, re.ASCII) or not 68 <= int(value) <= 65535:
        raise ValueError("wanted: bytes, 68 to 65535 (1280 or more for IPv6)")
    return int(value)


def parse_mac(value: str) -> str:
    """A unicast Ethernet address in six hexadecimal pairs, returned in lower case."""
    if not re.fullmatch(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}", value, re.ASCII):
        raise ValueError("wanted: six hexadecimal pairs with colons, 02:00:5e:00:53:01")
    if int(value[:2], 16) & 1 or int(value.replace(":", ""), 16) == 0:
        raise ValueError("wanted: a unicast address (first byte even, not all zero)")
    return value.lower()


def parse_uplinks(value: str) -> tuple[str, ...]:
    """Interface names with blanks between, or auto (the empty tuple)."""
    if value == "auto":
        return ()
    names = tuple(dict.fromkeys(parse_interface(word) for word in value.split()))
    if "auto" in names:
        raise ValueError("wanted: auto alone, or interfaces")
    if len(names) > MAX_UPLINKS:
        raise ValueError(f"wanted: at most {MAX_UPLINKS} uplinks")
    return names


def parse_boolean(value: str) -> bool:
    """A boolean in systemd's words."""
    word = value.lower()
    if word in ("1", "yes", "y", "true", "t", "on"):
        return True
    if word in ("0", "no", "n", "false", "f", "off"):
        return False
    raise ValueError("wanted: yes or no")


@dataclass(frozen=True)
class Key:
    """One setting: the field of Dummy it fills, its reader, and its default as the man page says it."""

    field: str
    parse: Callable[[str], object]
    default: str


KEYS: dict[str, dict[str, Key]] = {
    "Interface": {
        "Name": Key(
            "name", parse_interface, "keepalived0 in keepalived.conf, else the file's basename"
        ),
        "MTUBytes": Key("mtu", parse_mtu, "the kernel's, 1500"),
        "MACAddress": Key("mac", parse_mac, "networkd's stable one, or the kernel's random one"),
    },
    "Uplink": {
        "Name": Key("uplinks", parse_uplinks, "auto"),
        "Wire": Key("wire", parse_boolean, "yes"),
        "WayOut": Key("way_out", parse_boolean, "yes"),
        "ForeignRoutes": Key("foreign_routes", parse_boolean, "yes"),
        "HoldSource": Key("hold_source", parse_boolean, "yes"),
    },
}


@dataclass
class _Reader:
    """The state of reading one file: what was found, and what is wrong."""

    path: str
    section: str | None = None
    values: dict[str, object] = field(default_factory=dict)
    lines: dict[tuple[str, str], int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def wrong(self, line: int, message: str) -> None:
        self.problems.append(Problem(self.path, line, message))


def parse(data: bytes, path: str, stem: str) -> tuple[Dummy | None, tuple[Problem, ...]]:
    """Read one conf. `path` is how messages name it, `stem` its basename without .conf.

    Returns the dummy, or None and every problem of the file.
    """
    reader = _Reader(path)
    for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        line = _decode(reader, number, raw)
        if line and line[0] not in "#;":
            _read_line(reader, number, line)
    if "name" not in reader.values and not reader.problems:
        try:
            reader.values["name"] = DEFAULT_NAME if stem == DEFAULT_STEM else parse_interface(stem)
        except ValueError as error:
            reader.wrong(0, f"no Name=, and {stem!a} is no interface name: {error}")
    if reader.problems:
        return None, tuple(reader.problems)
    return Dummy(stem=stem, path=path, **reader.values), ()  # type: ignore[arg-type]


def _decode(reader: _Reader, number: int, raw: bytes) -> str:
    """One line as text without its blanks; empty where there is nothing to read or it is wrong."""
    try:
        line = raw.removesuffix(b"\r").decode()
    except UnicodeDecodeError as error:
        byte = raw[error.start]
        reader.wrong(number, f"byte 0x{byte:02x} found, wanted: UTF-8")
        return ""
    for char in line:
        if char != "\t" and unicodedata.category(char) in ("Cc", "Zl", "Zp"):
            reader.wrong(number, f"control character {char!a} found, wanted: plain text")
            return ""
    return line.strip(" \t")


def _read_line(reader: _Reader, number: int, line: str) -> None:
    """One line that is neither empty nor a comment: a section or a setting."""
    if line.endswith("\\"):
        reader.wrong(number, "a line that goes on in the next found, wanted: one setting a line")
    elif line.startswith("["):
        _read_section(reader, number, line)
    elif "=" not in line:
        reader.wrong(number, f"{line!a} found, wanted: Key=value, [Section] or a comment")
    elif reader.section is None:
        reader.wrong(number, f"{line!a} found before any [Section]{_sections()}")
    elif reader.section in KEYS:
        key, value = (part.strip(" \t") for part in line.split("=", 1))
        _read_setting(reader, number, key, value)


def _read_section(reader: _Reader, number: int, line: str) -> None:
    reader.section = line[1:-1] if line.endswith("]") else line
    if reader.section not in KEYS:
        reader.wrong(
            number, f"unknown section {line!a}{_nearest(reader.section, KEYS) or _sections()}"
        )


def _read_setting(reader: _Reader, number: int, key: str, value: str) -> None:
    section = reader.section or ""
    known = KEYS[section]
    if key not in known:
        where = _nearest(key, known) or f", [{section}] knows {', '.join(known)}"
        reader.wrong(number, f"unknown key {key!a} in [{section}]{where}")
        return
    first = reader.lines.setdefault((section, key), number)
    if first != number:
        reader.wrong(number, f"{key}= found again, it is set in line {first} already")
    elif value:  # an empty value asks for the default, as in systemd
        try:
            reader.values[known[key].field] = known[key].parse(value)
        except ValueError as error:
            reader.wrong(number, f"{key}={ascii(value)[1:-1]} found, {error}")


def _nearest(word: str, known: dict[str, dict[str, Key]] | dict[str, Key]) -> str:
    from difflib import get_close_matches  # only where something is wrong: boot does not pay for it

    folded = {name.lower(): name for name in known}
    close = get_close_matches(word.lower(), folded, 1, 0.5)
    return f", did you mean {folded[close[0]]}?" if close else ""


def _sections() -> str:
    return ", wanted: " + " or ".join(f"[{name}]" for name in KEYS)


def load(root: Path) -> Config:
    """Read every conf under `root`. Files that cannot be read are problems, never exceptions."""
    dummies: list[Dummy] = []
    masked: set[str] = set()
    bad: set[str] = set()
    problems: list[Problem] = []
    found, partial = _find(root, problems)
    for stem, path in _confs(root, found, problems):
        shown = f"/{path.relative_to(root)}"
        try:
            data = _read(path)
        except OSError as error:
            bad.add(stem)
            problems.append(Problem(shown, 0, f"cannot be read: {error.strerror}"))
            continue
        if not data:
            masked.add(stem)
            continue
        dummy, wrong = parse(data, shown, stem)
        if dummy is not None and (twin := next((d for d in dummies if d.name == dummy.name), None)):
            wrong = (_twin_problem(data, dummy, twin),)
        problems.extend(wrong)
        if dummy is None or wrong:
            bad.add(stem)
        else:
            dummies.append(dummy)
    return Config(tuple(dummies), frozenset(masked), frozenset(bad), partial, tuple(problems))


def _twin_problem(data: bytes, dummy: Dummy, twin: Dummy) -> Problem:
    number, section = 0, b""
    for n, line in enumerate(map(bytes.strip, data.split(b"\n")), 1):
        section = line if line.startswith(b"[") else section
        if section == b"[Interface]" and line.split(b"=")[0].strip() == b"Name":
            number = n
    return Problem(
        dummy.path,
        number,
        f"Name={dummy.name} found, which {twin.path} {TAKEN}; wanted: another name",
    )


def _find(root: Path, problems: list[Problem]) -> tuple[dict[str, Path], bool]:
    """Each conf in force by its basename without .conf, and whether a folder could not be listed.

    What such a folder overrides in the later ones is not known, so these are not read at all.
    """
    found: dict[str, Path] = {}
    for folder in FOLDERS:
        try:
            names = os.listdir(root / folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            problems.append(Problem(f"/{folder}", 0, f"cannot be read: {error.strerror}"))
            return found, True
        for name in names:
            if name.endswith(".conf") and not name.startswith("."):
                found.setdefault(name.removesuffix(".conf"), root / folder / name)
    return found, False


def _confs(
    root: Path, found: dict[str, Path], problems: list[Problem]
) -> Iterator[tuple[str, Path]]:
    """Those of a usable basename, in the order of the basenames."""
    for stem, path in sorted(found.items()):
        if stem.isprintable() and len(stem.encode()) <= MAX_STEM:
            yield stem, path
        else:
            shown = f"/{path.parent.relative_to(root)}"
            wanted = f"wanted: printable UTF-8 of at most {MAX_STEM} bytes"
            problems.append(Problem(shown, 0, f"file name {path.name!a}, {wanted}"))


def _read(path: Path) -> bytes:
    """The bytes of a conf; none for a link to /dev/null, which masks as a file of zero bytes does."""
    if path.is_symlink() and os.readlink(path) == "/dev/null":
        return b""
    with open(path, "rb", opener=files.at_once) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(0, "it is no regular file")
        data = file.read(MAX_BYTES + 1)
        while not data and _just_changed(file.fileno()):
            time.sleep(_WRITING / 10)
            data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MAX_BYTES} bytes")
    return data


def _just_changed(descriptor: int) -> bool:
    """Whether a file that is empty may be one that its editor has truncated and is about to fill, and no mask."""
    return 0 <= time.time() - os.fstat(descriptor).st_mtime < _WRITING
