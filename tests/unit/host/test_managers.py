# SPDX-License-Identifier: MIT
"""Who is a network manager, by the port that a notification names."""

from pathlib import Path

import pytest

from keepalived_dummy import managers


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(managers, "_HIERARCHIES", (str(tmp_path / "v2"), str(tmp_path / "v1")))
    return tmp_path


def runs(cgroups: Path, service: str, text: str, hierarchy: str = "v2") -> None:
    path = cgroups / hierarchy / f"system.slice/{service}.service/cgroup.procs"
    path.parent.mkdir(parents=True)
    path.write_text(text)


@pytest.mark.parametrize("hierarchy", ["v1", "v2"])
@pytest.mark.parametrize("service", ["systemd-networkd", "NetworkManager"])
def test_a_manager_is_known_by_its_process(cgroups: Path, service: str, hierarchy: str) -> None:
    runs(cgroups, service, "700\n712\n", hierarchy)
    assert managers.is_manager(712)
    assert not managers.is_manager(71)
    assert not managers.is_manager(0)


def test_port_1_is_networkds_where_networkd_runs(cgroups: Path) -> None:
    """systemd has opened its socket."""
    runs(cgroups, "systemd-networkd", "700\n")
    assert managers.is_manager(1)


@pytest.mark.parametrize(
    ("service", "text"), [("systemd-networkd", ""), ("NetworkManager", "700\n")]
)
def test_port_1_is_anybodys_where_networkd_does_not_run(
    cgroups: Path, service: str, text: str
) -> None:
    """As process 1 of a container with the host's network."""
    runs(cgroups, service, text)
    assert not managers.is_manager(1)


def test_port_1_is_anybodys_without_networkd(cgroups: Path) -> None:
    assert not managers.is_manager(1)
