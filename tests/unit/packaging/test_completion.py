# SPDX-License-Identifier: MIT
"""The completions of bash and zsh offer just what the command line has."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from commandline import TREE, commands, options

BASH = TREE / "completions/bash/keepalived-dummy"


def in_bash(*words: str) -> set[str]:
    """What bash offers for the last of the words."""
    line = " ".join(words)
    script = f"""
        . /usr/share/bash-completion/bash_completion && . {BASH} || exit 9
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE={line!r} COMP_POINT={len(line)}
        _keepalived_dummy keepalived-dummy && printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    command = ["bash", "-c", script, "bash", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_bash_offers_the_commands() -> None:
    assert in_bash("keepalived-dummy", "") == {*commands(), "--help", "--version"}


@pytest.mark.parametrize("name", commands())
def test_bash_offers_the_options_of_a_command(name: str) -> None:
    wanted = {option.split()[0] for option in options(commands()[name])}
    assert in_bash("keepalived-dummy", name, "--") == wanted


def test_bash_offers_folders_for_root(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "file").touch()
    offered = in_bash("keepalived-dummy", "generate", "--root", f"{tmp_path}/")
    assert offered == {f"{tmp_path}/image"}
