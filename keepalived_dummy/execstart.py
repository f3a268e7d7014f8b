# SPDX-License-Identifier: MIT
"""The command line of keepalived: what its unit makes of it, and which file it names. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

# parse_cmdline() in keepalived/core/main.c, all that any build has (2.0 to 2.4). getopt(3)'s optional values, which
# are in the same word or not there, are known to Python's getopt from 3.14 on only.
_VALUE = frozenset("ufpSisrcbA")
_OPTIONAL = frozenset("Mgt")
_LONG_VALUE = frozenset(
    (
        *("use-file", "log-facility", "umask", "pid", "vrrp_pid", "checkers_pid", "bfd_pid"),
        *("snmp-agent-socket", "namespace", "config-id", "signum", "config-fd"),
    )
)
_LONG = _LONG_VALUE.union(
    (
        *("vrrp", "check", "no_bfd", "all", "log-console", "log-detail", "log-file", "all-config"),
        *("flush-log-file", "no-syslog", "release-vips", "dont-release-vrrp", "dont-release-ipvs"),
        *("dont-respawn", "dont-fork", "dump-conf", "genhash", "address-monitoring", "snmp"),
        *("core-dump", "core-dump-pattern", "no-mem-check", "mem-check-log", "openssl-mem-check"),
        *("config-test", "ignore-sigint", "perf", "debug", "version", "help"),
    )
)
_ARGV = re.compile(r"\{ path=.*? ; argv\[\]=(.*?) ; (?:ignore_errors|flags)=")
_ENVIRONMENT_FILE = re.compile(r"^EnvironmentFiles=(.*) \(ignore_errors=\w+\)$", re.MULTILINE)
_SETTING = re.compile(r"\s*([A-Za-z_]\w*)\s*=(.*)")


def config_of(words: list[str]) -> str | None:
    """The file that the words after the program's name have it read; None: its default one."""
    rest = iter(words)
    told = None
    for word in rest:
        if word == "--":
            break
        if word.startswith("--"):
            told = _long(word[2:], rest) or told
        elif word.startswith("-"):
            told = _cluster(word[1:], rest) or told
    return told


def _long(word: str, rest: Iterator[str]) -> str | None:
    """A long option takes as little of its name as is no other's."""
    name, has_value, value = word.partition("=")
    meant = {name} if name in _LONG else {one for one in _LONG if one.startswith(name)}
    if not has_value and meant & _LONG_VALUE:
        value = next(rest, "")
    return value if meant == {"use-file"} else None


def _cluster(letters: str, rest: Iterator[str]) -> str | None:
    for place, letter in enumerate(letters, 1):
        if letter in _OPTIONAL:
            break
        if letter in _VALUE:
            value = letters[place:] or next(rest, "")
            return value if letter == "f" else None
    return None


def environment_files(shown: str) -> list[str]:
    """The paths, or patterns of paths, in the output of `systemctl show`."""
    return _ENVIRONMENT_FILE.findall(shown)


def words(shown: str, texts: list[str]) -> list[str]:
    """The words of ExecStart= in the output of `systemctl show`, its variables replaced; none where there is no unit.

    `texts`: the contents of the unit's environment files.
    """
    found = _ARGV.search(shown)
    if found is None:
        return []
    inline = re.search(r"^Environment=(.*)$", shown, re.MULTILINE)
    known = dict(one.partition("=")[::2] for one in _split(inline[1] if inline else ""))
    for text in texts:
        known.update(_settings(text))
    return [one for word in found[1].split() for one in _replaced(word, known)]


def _settings(text: str) -> Iterator[tuple[str, str]]:
    """Of an environment file; see EnvironmentFile= in systemd.exec(5)."""
    for line in text.replace("\\\n", "").splitlines():
        if found := _SETTING.fullmatch(line):
            yield found[1], " ".join(_split(found[2]))


def _replaced(word: str, known: Mapping[str, str]) -> list[str]:
    """$NAME alone becomes as many words as it has, ${NAME} stays one; see systemd.service(5)."""
    if alone := re.fullmatch(r"\$([A-Za-z_]\w*)", word):
        return _split(known.get(alone[1], ""))
    return [
        re.sub(r"\$(?:\$|\{(\w+)\})", lambda m: known.get(m[1], "") if m[1] else "$", word),
    ]


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quote without its other
        return text.split()
