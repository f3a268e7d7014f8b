# SPDX-License-Identifier: MIT
"""The maintainer scripts, as far as they can be tried without an installation; debian/tests/package.py has the rest."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from keepalived_dummy import config, foreign, units

TREE = Path(__file__).resolve().parents[3]
TIMERS = ("keepalived-dummy-metrics.timer", "keepalived-dummy-tcx.timer")


def postrm(root: Path, action: str) -> None:
    """Run the postrm as dpkg does for a system under `root`."""
    script = TREE / "debian/keepalived-dummy.postrm"
    subprocess.run(["sh", script, action], env={**os.environ, "DPKG_ROOT": str(root)}, check=True)


def touch(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_timer_that_runs_goes_on_after_an_upgrade_and_ends_with_a_removal(tmp_path: Path) -> None:
    shutil.copytree(TREE / "debian", tmp_path / "debian", ignore=shutil.ignore_patterns("tests"))
    shutil.copytree(TREE / "lib/systemd", tmp_path / "debian/keepalived-dummy/usr/lib/systemd")
    for command in ("make -s -f debian/rules override_dh_installsystemd", "dh_installdeb"):
        subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    for timer in TIMERS:
        done = {
            path.name: re.findall(rf"deb-systemd-invoke (\S+) .*\b{timer}", joined(path))
            for path in (tmp_path / "debian/keepalived-dummy/DEBIAN").iterdir()
        }
        assert done == {"postinst": ["try-restart"], "prerm": ["stop"], "postrm": []}, timer


def joined(path: Path) -> str:
    """A script with the lines that go on in the next joined."""
    return path.read_text().replace("\\\n", "")


def test_a_purge_leaves_what_keeps_networkd_from_a_dummy_that_stays(tmp_path: Path) -> None:
    """`apt purge` with a VIP live is a removal and a purge at once; a catch-all would have the VIP dropped."""
    folder = tmp_path / units.FOLDER
    touch(tmp_path / "sys/class/net/held0/ifindex")
    for stem in ("held", "gone"):
        dummy = config.Dummy(stem, f"/etc/keepalived-dummy.d/{stem}.conf", f"{stem}0")
        for name, content in units.render(dummy).items():
            touch(folder / name, content.decode())
    drop_in = touch(tmp_path / foreign.PATH, foreign.render(["ManageForeignRoutes"]).decode())
    theirs = touch(folder / "90-theirs.netdev", "[NetDev]\n")
    postrm(tmp_path, "remove")
    assert len(os.listdir(folder)) == 5
    postrm(tmp_path, "purge")
    assert sorted(os.listdir(folder)) == ["05-held.network", theirs.name]
    assert not drop_in.exists()


def test_a_removal_takes_the_metrics_away(tmp_path: Path) -> None:
    """Prometheus' collector would show for ever what was held last."""
    folder = tmp_path / "var/lib/prometheus/node-exporter"
    for name in ("keepalived-dummy.prom", "keepalived-dummy.prom.new", "apt.prom"):
        touch(folder / name)
    postrm(tmp_path, "upgrade")
    assert len(os.listdir(folder)) == 3
    postrm(tmp_path, "remove")
    assert os.listdir(folder) == ["apt.prom"]


def test_an_upgrade_closes_the_ledger_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "var/lib/keepalived-dummy"
    script = TREE / "debian/keepalived-dummy.postinst"
    command = ["sh", str(script), "configure", "0.1.0"]
    subprocess.run(command, env={**os.environ, "DPKG_ROOT": str(tmp_path)}, check=True)
    for name in ("adopted.json", "transaction.json"):
        touch(folder / name).chmod(0o644)
    subprocess.run(command, env={**os.environ, "DPKG_ROOT": str(tmp_path)}, check=True)
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
