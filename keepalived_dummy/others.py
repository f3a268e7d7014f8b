# SPDX-License-Identifier: MIT
"""What the files of networkd, netplan and NetworkManager say of an interface's name; read as far as that."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from keepalived_dummy.facts import Named

# In the order in which they override each other, by basename (systemd.netdev(5)).
_NETWORKD = tuple(f"{top}/systemd/network" for top in ("etc", "run", "usr/local/lib", "usr/lib"))
_NETPLAN = ("run/netplan", "etc/netplan", "usr/lib/netplan")  # netplan-generate(8)
_NM = tuple(
    f"{top}/NetworkManager/system-connections" for top in ("etc", "run", "usr/local/lib", "usr/lib")
)
_YAML_KEY = re.compile(r"""\s+["']?([^\s"'#:]+)["']?\s*:""")
_YAML_FLOW = re.compile(r"""[{,]\s*["']?([^\s"'#:{},]+)["']?\s*:\s*(?=\{)""")
_TRUE = frozenset(("yes", "true", "1", "on", "y", "t"))


def netdevs(root: Path) -> tuple[Named, ...]:
    """The .netdev files in force, each with its Name= where it has one."""
    found = []
    for path in _in_force(root, _NETWORKD, ".netdev"):
        for number, section, key, value in _settings(path):
            if section == "NetDev" and key == "Name":
                found.append(Named(value, _shown(root, path), number))
    return tuple(found)


def netplan(root: Path, names: Iterable[str]) -> tuple[Named, ...]:
    """Where netplan's YAML has one of these names as a key. A reader of lines: YAML itself is not needed."""
    wanted = frozenset(names)
    found = []
    for path in _in_force(root, _NETPLAN, ".yaml"):
        for number, line in enumerate(_lines(path), 1):
            code = line.partition("#")[0]
            start = _YAML_KEY.match(code)
            keys = {start[1]} if start else set()
            keys.update(_YAML_FLOW.findall(code))
            found += [Named(name, _shown(root, path), number) for name in sorted(keys & wanted)]
    return tuple(found)


def network_manager(root: Path, names: Iterable[str]) -> tuple[Named, ...]:
    """NetworkManager's keyfiles for one of these names (nm-settings-keyfile(5)). PermissionError where they can't be read."""
    wanted = frozenset(names)
    found = []
    for path in _in_force(root, _NM, ""):
        for number, section, key, value in _settings(path, readable=True):
            if section == "connection" and key == "interface-name" and value in wanted:
                found.append(Named(value, _shown(root, path), number))
    return tuple(found)


def managed_by_network_manager(root: Path, indexes: Iterable[tuple[str, int]]) -> tuple[Named, ...]:
    """The interfaces (name, index) that NetworkManager itself says to manage, from its state in /run."""
    found = []
    for name, index in indexes:
        path = root / f"run/NetworkManager/devices/{index}"
        for number, section, key, value in _settings(path):
            if section == "device" and key == "managed" and value in ("true", "1"):
                found.append(Named(name, _shown(root, path), number))
    return tuple(found)


def keeps(paths: Iterable[Path]) -> str:
    """yes or static: how a .network with its drop-ins, in their order, has networkd keep the addresses of others.

    CriticalConnection=, which netplan before 1.0 writes for `critical: true`, counts where the other is not set
    (network_verify() in systemd's networkd-network.c).
    """
    kept, critical = None, ""
    for path in paths:
        for _, section, key, value in _settings(path):
            word = value.lower()
            if (section, key) == ("Network", "KeepConfiguration"):
                kept = "static" if word == "static" else "yes" if word in _TRUE else ""
            elif section.startswith("DHCP") and key == "CriticalConnection":
                critical = "yes" if word in _TRUE else ""
    return critical if kept is None else kept


def _in_force(root: Path, folders: Iterable[str], suffix: str) -> Iterator[Path]:
    """The files of this suffix, those hidden by one of the same basename left out, in the order of the basenames."""
    found: dict[str, Path] = {}
    for folder in folders:
        try:
            names = os.listdir(root / folder)
        except FileNotFoundError:
            continue
        for name in names:
            if name.endswith(suffix) and not name.startswith("."):
                found.setdefault(name, root / folder / name)
    return (path for _, path in sorted(found.items()))


def _settings(path: Path, readable: bool = False) -> Iterator[tuple[int, str, str, str]]:
    """Line number, section, key and value of each setting."""
    section = ""
    for number, line in enumerate(_lines(path, readable), 1):
        text = line.strip()
        if text.startswith("[") and text.endswith("]"):
            section = text[1:-1]
        elif "=" in text and text[0] not in "#;":
            key, _, value = text.partition("=")
            yield number, section, key.strip(), value.strip()


def _lines(path: Path, readable: bool = False) -> list[str]:
    """The lines of a file; none where it can't be read, or PermissionError where it has to be `readable`."""
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError as error:  # a folder, mostly
        if readable and isinstance(error, PermissionError):
            raise
        return []


def _shown(root: Path, path: Path) -> str:
    return f"/{path.relative_to(root)}"
