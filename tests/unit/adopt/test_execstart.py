# SPDX-License-Identifier: MIT
"""Which file keepalived reads, by its command line as it was given, or as its unit would give it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from keepalived_dummy import keepalived, live, service
from keepalived_dummy.errors import UserError

SITE = "/etc/keepalived/site.conf"

# DAEMON_ARGS of /etc/default/keepalived, and the file that it names; empty: the default one.
GIVEN = [
    ("", ""),
    ("-D -n", ""),
    (f"-f {SITE}", SITE),
    (f"-f{SITE}", SITE),
    (f"-Df {SITE}", SITE),
    (f"-lnDf{SITE}", SITE),
    (f"--use-file {SITE}", SITE),
    (f"--use-file={SITE}", SITE),
    (f"--use-fil={SITE}", SITE),
    (f"--us {SITE}", SITE),
    ("-f site.conf", "/site.conf"),
    (f"-f /first -D -f {SITE}", SITE),
    ("-r -fvrrp.pid", ""),
    ("--vrrp_pid -fvrrp.pid", ""),
    ("--vrrp_p -fvrrp.pid", ""),
    (f"--vrrp -f {SITE}", SITE),
    ("--pid=-f -D", ""),
    ("-p-f /run/keepalived.pid", ""),
    ("-Mfile", ""),
    (f"-M -f {SITE}", SITE),
    (f"-Dg/var/log/f -Pf {SITE}", SITE),
    (f"--log-file -f {SITE}", SITE),
    (f"-- -f {SITE}", ""),
    (f"argument -f {SITE}", SITE),
]


@pytest.mark.parametrize(("given", "named"), GIVEN)
def test_file_of_the_one_that_runs(given: str, named: str) -> None:
    script = "import sys; print(flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-c", script, *given.split()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    process.stdout.readline()  # it runs
    try:
        # Of Python's own words -c takes the script; so it does to keepalived.
        assert file_of(service.Service(process.pid, False)) == (named or str(keepalived.CONFIG))
    finally:
        process.communicate()


@pytest.mark.parametrize(("given", "named"), GIVEN)
def test_file_of_one_that_is_stopped(
    given: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit(f'# options\nDAEMON_ARGS="{given}"\n', tmp_path, monkeypatch)
    assert file_of(service.Service(0, True)) == (named or str(keepalived.CONFIG))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (f"DAEMON_ARGS=-D -f {SITE}\n", SITE),
        (f"DAEMON_ARGS='-D -f {SITE}'\n", SITE),
        (f'DAEMON_ARGS="-D \\\n  -f {SITE}"\n', SITE),
        (f"  DAEMON_ARGS = -f {SITE}\n", SITE),
        (f"#DAEMON_ARGS=-f {SITE}\n", ""),
        (f";DAEMON_ARGS=-f {SITE}\n", ""),
        (f"DAEMON_ARGS=-f /first\nDAEMON_ARGS=-f {SITE}\n", SITE),
        (f"DAEMON_ARGS=\"-f '{SITE}'\"\n", SITE),
        ("CONFIG=/etc/keepalived/other.conf\n", ""),
    ],
)
def test_environment_file(
    text: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit(text, tmp_path, monkeypatch)
    assert file_of(service.Service(0, True)) == (named or str(keepalived.CONFIG))


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        (f"/usr/sbin/keepalived -n -f {SITE}", SITE),
        ("/usr/sbin/keepalived -f ${FOLDER}/site.conf", SITE),
        ("/usr/sbin/keepalived $MORE -n", "/etc/more.conf"),
        ("/usr/sbin/keepalived -f /etc/$$FOLDER", "/etc/$FOLDER"),
    ],
)
def test_exec_start_of_an_override(
    argv: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit("", tmp_path, monkeypatch, argv)
    assert file_of(service.Service(0, True)) == named


def test_nothing_is_refused_without_keepalived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit("", tmp_path, monkeypatch, "")
    live.reads(Path(SITE), service.Service(0, True))
    live.reads(Path(SITE), service.Service(0, False))


def file_of(running: service.Service) -> str:
    """The one file that adopt takes; another one is refused, and the right one named."""
    with pytest.raises(UserError, match=r"^keepalived.service reads /\S+ and not /no") as refused:
        live.reads(Path("/no"), running)
    path = str(refused.value).split()[2]
    live.reads(Path(path), running)
    return path


def unit(
    text: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    argv: str = "/usr/sbin/keepalived --dont-fork $DAEMON_ARGS",
) -> None:
    """A systemctl that shows a unit as systemd 252 to 262 do, and the unit's environment file."""
    file = folder / "default"
    file.write_text(text)
    rest = "ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null)"
    lines = [
        'Environment=FOLDER=/etc/keepalived "MORE=-D -f /etc/more.conf"',
        f"EnvironmentFiles={folder}/absent (ignore_errors=yes)",
        f"EnvironmentFiles={file} (ignore_errors=yes)",
    ]
    if argv:
        lines.append(
            f"ExecStart={{ path=/usr/sbin/keepalived ; argv[]={argv} ; {rest} ; status=0/0 }}"
        )
    (folder / "shown").write_text("\n".join(lines) + "\n")
    program = folder / "systemctl"
    program.write_text(f"#!/bin/sh\ncat {folder}/shown\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
