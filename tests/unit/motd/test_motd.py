# SPDX-License-Identifier: MIT
"""The message of the day, with an ip(8) that says what a host's would."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SNIPPET = Path(__file__).resolve().parents[3] / "etc/update-motd.d/60-keepalived-dummy"
HEAD = "Virtual IP addresses held by this host:"
OURS = """7: keepalived0: <BROADCAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UNKNOWN group default qlen 1000
    link/ether 02:00:00:00:00:07 brd ff:ff:ff:ff:ff:ff promiscuity 0 allmulti 0 minmtu 0 maxmtu 0
    dummy numtxqueues 1 numrxqueues 1 gso_max_size 65536 gso_max_segs 65535
    alias keepalived-dummy:a conf with blanks
"""
SECOND = OURS.replace("7: keepalived0", "8: second0")
OTHER = """9: dummy0: <BROADCAST,NOARP> mtu 1500 qdisc noop state DOWN group default qlen 1000
    link/ether 02:00:00:00:00:09 brd ff:ff:ff:ff:ff:ff
    inet 198.51.100.9/32 scope global dummy0
       valid_lft forever preferred_lft forever
"""
LIFE = "       valid_lft forever preferred_lft forever\n"
IPV4 = f"    inet 192.0.2.10/32 scope global keepalived0\n{LIFE}"
IPV6 = f"    inet6 2001:db8::10/128 scope global deprecated nodad\n{LIFE}"


def run(folder: Path, script: str) -> str:
    """The snippet with a PATH of one ip; it must succeed and say nothing else."""
    ip = folder / "ip"
    ip.write_text(f"#!/bin/sh\n{script}\n")
    ip.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", str(SNIPPET)],
        env={"PATH": f"{folder}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("", ""),
        (OTHER, ""),
        (OURS, f"{HEAD} none on keepalived0\n"),
        (OURS + SECOND + OTHER, f"{HEAD} none on keepalived0 second0\n"),
        (
            OTHER + OURS + IPV4 + IPV6 + SECOND + IPV4.replace("10/", "11/") + OTHER,
            f"{HEAD}\n  192.0.2.10/32 on keepalived0\n  2001:db8::10/128 on keepalived0\n"
            "  192.0.2.11/32 on second0\n",
        ),
    ],
)
def test_what_is_shown(said: str, shown: str, tmp_path: Path) -> None:
    (tmp_path / "said").write_text(said)
    wanted = '[ "$*" = "-details address show type dummy" ] || exit 1'
    assert run(tmp_path, f'{wanted}; cat "{tmp_path}/said"') == shown


@pytest.mark.parametrize(("count", "more"), [(20, 0), (21, 1), (1000, 980)])
def test_many_are_counted(count: int, more: int, tmp_path: Path) -> None:
    lines = "".join(IPV4.replace("2.10/", f"{n // 256}.{n % 256}/") for n in range(count))
    (tmp_path / "said").write_text(OURS + lines)
    shown = run(tmp_path, f'cat "{tmp_path}/said"').splitlines()
    last = [f"  and {more} more: keepalived-dummy status --brief"] if more else []
    assert shown[0] == HEAD
    assert len(shown[1:21]) == 20
    assert shown[21:] == last


@pytest.mark.parametrize("script", ["exit 1", "echo nonsense >&2; exit 255", "kill -9 $$"])
def test_a_login_never_fails(script: str, tmp_path: Path) -> None:
    assert run(tmp_path, script) == ""


def test_without_ip(tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", str(SNIPPET)], env={"PATH": str(tmp_path)}, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_it_is_run_as_a_program() -> None:
    """run-parts(8) takes names of letters, digits, _ and - alone, and what is executable."""
    assert SNIPPET.name.replace("-", "").isalnum()
    assert SNIPPET.stat().st_mode & 0o111 == 0o111
