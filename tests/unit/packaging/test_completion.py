# SPDX-License-Identifier: MIT
"""The completions of bash and zsh offer just what the command line has."""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path

import pytest
from commandline import TREE, commands, options, subcommands

from keepalived_dummy import cli

BASH = TREE / "completions/bash/keepalived-dummy"
ZSH = TREE / "completions/zsh/_keepalived-dummy"


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


def in_zsh(*lines: str) -> list[list[str]]:
    """What zsh offers for the last word of each line, in a terminal."""
    script = Path(__file__).parent / "complete.zsh"
    command = ["zsh", "-f", str(script), str(ZSH.parent), *lines]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert done.stderr == ""
    return [line.split() for line in done.stdout.splitlines()]


def test_zsh_offers_the_commands() -> None:
    offered, before = in_zsh("keepalived-dummy ", "keepalived-dummy --")
    assert offered == list(commands())
    assert set(before) == options(cli.parser())


def test_zsh_offers_the_options_of_each_command() -> None:
    offered = in_zsh(*(f"keepalived-dummy {name} --" for name in commands()))
    found = {name: set(line) for name, line in zip(commands(), offered, strict=True)}
    assert found == {
        name: {option.split()[0] for option in options(parser)}
        for name, parser in commands().items()
    }


def test_zsh_offers_one_form_of_status() -> None:
    assert in_zsh("keepalived-dummy status --json --") == [["--watch", "--help"]]


def test_zsh_offers_folders_for_root_and_files_for_config(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "file").touch()
    lines = (f"{words} {tmp_path}/" for words in ("generate --root", "check --config"))
    folders, both = in_zsh(*(f"keepalived-dummy {line}" for line in lines))
    assert (set(folders), set(both)) == ({"image"}, {"image", "file"})


def test_zsh_says_what_help_says() -> None:
    """Commands and options with their words, in the order of the command line."""
    text = ZSH.read_text().replace("'\\''", "\0")
    found = [
        (name, said.replace("\0", "'"))
        for name, said in re.findall(r"'(?:\([^)]*\))?\*?([a-z-]+)[:\[]([^']*?)(?:\][^']*)?'", text)
    ]
    assert found == [
        *((choice.dest, choice.help) for choice in subcommands()._choices_actions),
        *(pair for parser in (cli.parser(), *commands().values()) for pair in described(parser)),
    ]


def described(parser: argparse.ArgumentParser) -> list[tuple[str, str | None]]:
    """The options and what is said of them, --help last where there is a command."""
    shown = [a for a in parser._actions if a.option_strings and a.help != argparse.SUPPRESS]
    pairs = [(a.option_strings[-1], a.help) for a in shown]
    return pairs if parser.prog == "keepalived-dummy" else [*pairs[1:], pairs[0]]
