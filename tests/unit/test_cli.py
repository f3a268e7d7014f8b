# SPDX-License-Identifier: MIT
"""The command line: exit statuses, where words go, and what a run imports."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keepalived_dummy import __version__, adopt
from keepalived_dummy.cli import main
from keepalived_dummy.targets import Wish

TOP = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "status", "stdout", "stderr"),
    [
        (["--version"], 0, f"keepalived-dummy {__version__}\n", ""),
        (["--help"], 0, "generate", ""),
        (["generate", "--help"], 0, "--root", ""),
        ([], 2, "", "usage: keepalived-dummy"),
        (["no-such-command"], 2, "", "no-such-command"),
        (["generate", "--roo", "/"], 2, "", "unrecognized arguments"),
        (["generate", "--root"], 2, "", "expected one argument"),
        (["generate", "x"], 2, "", "unrecognized arguments"),
    ],
)
def test_usage(
    arguments: list[str], status: int, stdout: str, stderr: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    assert ended.value.code == status
    assert stdout in out
    assert stderr in err
    assert bool(out) != bool(err)


def test_root_that_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "--root", str(tmp_path / "absent")]) == 1
    wanted = f"keepalived-dummy: --root: {tmp_path}/absent is no directory\n"
    assert capsys.readouterr() == ("", wanted)


def test_what_is_in_the_way_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").write_text("a file where a folder belongs")
    assert main(["generate", "--root", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"keepalived-dummy: {tmp_path}/run")
    assert len(err.splitlines()) == 1


def test_journal_gets_a_priority_instead_of_a_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "8:4711")
    main(["generate", "--root", str(tmp_path / "absent")])
    assert capsys.readouterr().err.startswith("<3>--root: ")


def run_module(
    *words: str | Path, stdout: int = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=TOP,
        env={**os.environ, **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )


def test_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ran = run_module("-m", "keepalived_dummy", "generate", "--root", tmp_path, stdout=writing)
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (1, "")


def test_an_interrupt_is_no_traceback() -> None:
    """^C is what most will say to `Go on?`."""
    script = (
        "import signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored where `make` is in the background
        "from keepalived_dummy import cli\n"
        "cli.run_status = lambda _: signal.raise_signal(signal.SIGINT)\n"
        "cli.main(['status'])\n"
    )
    ran = run_module("-c", script)
    assert (ran.returncode, ran.stdout, ran.stderr) == (-signal.SIGINT, "", "")


def test_name_that_is_no_utf8_is_said(tmp_path: Path) -> None:
    conf = tmp_path / "keepalived.conf"
    conf.write_bytes(
        b"vrrp_instance VI_B\xfcro {\n interface no-such0\n use_vmac\n virtual_ipaddress {\n"
        b" 192.0.2.10\n }\n}\n"
    )
    words = ("-m", "keepalived_dummy", "adopt", "--dry-run", "--config", conf)
    ran = run_module(*words, PYTHONIOENCODING="utf-8:strict")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert r"VI_B\udcfcro" in ran.stdout


@pytest.mark.parametrize(
    ("conf", "wanted", "unwanted"),
    [
        ("# a dummy\n", ["jinja2"], ["pyroute2", "difflib"]),
        ("", [], ["pyroute2", "difflib", "jinja2"]),
    ],
)
def test_generate_imports_what_it_needs(
    conf: str, wanted: list[str], unwanted: list[str], tmp_path: Path
) -> None:
    """It runs before the network at every boot: no netlink library, and no templates for no dummy."""
    folder = tmp_path / "etc/keepalived-dummy.d"
    folder.mkdir(parents=True)
    (folder / "keepalived.conf").write_text(conf)
    script = (
        "import json, sys\n"
        "from keepalived_dummy.cli import main\n"
        "status = main(['generate', '--root', sys.argv[1]])\n"
        "print(json.dumps([status, sorted(sys.modules)]))\n"
    )
    ran = run_module("-c", script, tmp_path)
    assert ran.stderr == ""
    status, modules = json.loads(ran.stdout.splitlines()[-1])
    assert status == 0
    assert set(wanted) <= set(modules)
    assert not set(unwanted) & set(modules)


def test_adopt_is_told_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[adopt.Options] = []

    def run(options: adopt.Options, _: adopt.Voice) -> int:
        given.append(options)
        return 0

    monkeypatch.setattr(adopt, "run", run)
    words = ["--leave", "fe80::1", "--add-routes", "--leave", "192.0.2.10"]
    assert main(["adopt", *words]) == main(["adopt", "--no-pin-source"]) == 0
    wishes = [one.wish for one in given]
    left = frozenset(map(ipaddress.ip_address, ("fe80::1", "192.0.2.10")))
    assert wishes == [Wish(None, True, True, left), Wish(None, False, False, frozenset())]


def test_adopt_leaves_addresses_only(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["adopt", "--leave", "fe80::1/64"])
    assert "--leave: 'fe80::1/64' does not appear to be an IPv4 or IPv6" in capsys.readouterr().err


ODD = "e\x1b]0;title\x07 auth_pass s3cret \udcff"
SAFE = "e\\x1b]0;title\\x07 auth_pass *** \\udcff"


@pytest.mark.parametrize(
    "command", [["apply"], ["apply", "--remove"], ["wire"], ["wire", "--dry-run"]]
)
def test_what_a_pass_says_steers_no_terminal(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from keepalived_dummy import apply

    result = apply.Result([ODD], [ODD], [ODD], [ODD])
    for name in ("apply", "remove"):
        monkeypatch.setattr(apply, name, lambda: result)
    monkeypatch.setattr(apply, "show", lambda: (f"{ODD}\n\t{ODD}\n", [ODD]))
    main(command)
    for text in capsys.readouterr():
        assert SAFE in text
        assert "s3cret" not in text
        assert all(char.isprintable() or char in "\t\n" for char in text)


def test_what_adopt_says_steers_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "keepalived.conf"
    text = """vrrp_instance "V\x1b[31m" {
    interface "e\x1b]0;x\x07"
    virtual_ipaddress {
        192.0.2.10/24
        192.0.2.11/24 brd + use_vmac "\x1b[2J"
        192.0.2.300
    }
}
~LST(P x) auth_pass s3cret \x1b
"""
    path.write_text(text)
    main(["adopt", "--dry-run", "--config", str(path)])
    out, err = capsys.readouterr()
    assert "\\x1b" in out + err
    assert "s3cret" not in out + err
    assert all(char.isprintable() or char == "\n" for char in out + err)


def test_no_wire_is_no_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from keepalived_dummy import apply

    monkeypatch.setattr(apply, "show", lambda: ("", []))
    assert main(["wire", "--dry-run"]) == 0
    assert capsys.readouterr() == ("", "")
