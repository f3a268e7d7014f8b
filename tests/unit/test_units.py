# SPDX-License-Identifier: MIT
"""The generator where a tree of files is not enough: failing writes, and taking everything away."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from keepalived_dummy import files, units
from keepalived_dummy.config import Config, Dummy
from keepalived_dummy.errors import Problem

DEFAULT = Dummy("keepalived", "/etc/keepalived-dummy.d/keepalived.conf", "keepalived0")
LAN = Dummy("lan", "/etc/keepalived-dummy.d/lan.conf", "lan0")


def test_network_file_sorts_before_every_netplan_file() -> None:
    for stem in ("keepalived", "zz", "~"):
        netdev, network = units.names(stem)
        assert network < "10-netplan-all-en.network"
        assert netdev.endswith(f"-{stem}.netdev")


def test_static_files_are_those_the_package_ships() -> None:
    shipped = Path(__file__).parents[2] / "lib/systemd/network"
    assert sorted(os.listdir(shipped)) == sorted(units.STATIC)
    assert units.names(DEFAULT.stem) == units.STATIC


def test_full_disk_stops_no_other_dummy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = files.write

    def write(path: Path, content: bytes) -> None:
        if "lan" in path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, content)

    monkeypatch.setattr(files, "write", write)
    result = units.generate(tmp_path, Config((LAN, DEFAULT)))
    assert sorted(result.written) == sorted(units.names("keepalived"))
    assert result.problems == [
        Problem(f"/{units.FOLDER}/{name}", 0, "cannot be written: No space left on device")
        for name in units.names("lan")
    ]


def test_order_of_dummies_changes_nothing(tmp_path: Path) -> None:
    units.generate(tmp_path, Config((DEFAULT, LAN)))
    again = units.generate(tmp_path, Config((LAN, DEFAULT)))
    assert (again.written, again.removed, again.problems) == ([], [], [])


def test_remove_takes_ours_and_the_masks_alone(tmp_path: Path) -> None:
    assert units.remove(tmp_path) == units.Result()
    units.generate(tmp_path, Config((LAN,)))
    folder = tmp_path / units.FOLDER
    (folder / "10-netplan-ens3.network").write_text("[Match]\nName=ens3\n")
    (folder / "05-theirs.network").symlink_to("/dev/null")
    result = units.remove(tmp_path)
    assert sorted(result.removed) == sorted([*units.names("lan"), *units.STATIC])
    assert sorted(os.listdir(folder)) == ["05-theirs.network", "10-netplan-ens3.network"]


def test_a_folder_removed_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`netplan try` reverts by removing /run/systemd/network, at any moment."""
    folder = tmp_path / units.FOLDER
    write, calls = files.write, []

    def removed_first(path: Path, content: bytes) -> None:
        calls.append(path.name)
        if len(calls) == 1:
            shutil.rmtree(folder)
        write(path, content)

    monkeypatch.setattr(files, "write", removed_first)
    dummy = Dummy("vips", "/etc/keepalived-dummy.d/vips.conf", "vips")
    result = units.generate(tmp_path, Config(dummies=(dummy,)))
    assert result.problems == []
    assert sorted(path.name for path in folder.iterdir() if not path.is_symlink()) == [
        "05-vips.network",
        "90-vips.netdev",
    ]
