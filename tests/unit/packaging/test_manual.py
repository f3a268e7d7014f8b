# SPDX-License-Identifier: MIT
"""The man pages and the bash completion know just what the command line and the conf reader know."""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path

import pytest

from keepalived_dummy import cli, config
from keepalived_dummy.events import KINDS

TREE = Path(__file__).resolve().parents[3]
COMPLETION = TREE / "completions/bash/keepalived-dummy"


def commands() -> dict[str, argparse.ArgumentParser]:
    (action,) = (a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(action.choices)


def options(parser: argparse.ArgumentParser) -> set[str]:
    """The options of a command as the man page writes them: `--root DIR`. Hidden ones are left out."""
    shown = [a for a in parser._actions if a.option_strings and a.help != argparse.SUPPRESS]
    return {f"{a.option_strings[-1]} {a.metavar or ''}".strip() for a in shown} - {"--help"}


def manual_commands() -> dict[str, set[str]]:
    """Commands and their options from the COMMANDS section of keepalived-dummy(8), mdoc(7)."""
    text = (TREE / "docs/man/keepalived-dummy.8").read_text()
    section = re.search(r"^\.Sh COMMANDS\n(.*?)^\.Sh ", text, re.DOTALL | re.MULTILINE)
    assert section
    found: dict[str, set[str]] = {}
    for kind, words in re.findall(r"^\.It (Cm|Fl) (.*)$", section[1], re.MULTILINE):
        if kind == "Cm":
            found[words] = set()
        else:
            found[list(found)[-1]].add("-" + words.replace(" Ar ", " "))
    return found


def manual_keys() -> dict[str, list[str]]:
    """Sections and keys of keepalived-dummy.conf(5)."""
    text = (TREE / "docs/man/keepalived-dummy.conf.5").read_text()
    found: dict[str, list[str]] = {}
    for section, key in re.findall(r"^\.Sh \[(\w+)\] SECTION|^\.It Va (\w+)=$", text, re.MULTILINE):
        if section:
            found[section] = []
        else:
            found[list(found)[-1]].append(key)
    return found


def complete(*words: str) -> set[str]:
    """What bash offers for the last of the words."""
    line = " ".join(words)
    script = f"""
        . /usr/share/bash-completion/bash_completion && . {COMPLETION} || exit 9
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE={line!r} COMP_POINT={len(line)}
        _keepalived_dummy keepalived-dummy && printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    command = ["bash", "-c", script, "bash", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_manual_has_the_commands_and_options_of_the_command_line() -> None:
    assert manual_commands() == {name: options(parser) for name, parser in commands().items()}


def test_synopsis_has_the_commands_and_options_of_the_command_line() -> None:
    text = (TREE / "docs/man/keepalived-dummy.8").read_text()
    synopsis = text.partition(".Sh SYNOPSIS\n")[2].partition(".Sh ")[0]
    found = {}
    for part in synopsis.split(".Nm\n")[1:]:
        name, *rest = part.strip().splitlines()
        given = {"-" + line.removeprefix(".Op Fl ").replace(" Ar ", " ") for line in rest}
        found[name.removeprefix(".Cm ")] = given
    assert found == {name: options(parser) for name, parser in commands().items()}


def test_manual_has_the_keys_of_the_conf_reader() -> None:
    known = {section.upper(): list(keys) for section, keys in config.KEYS.items()}
    assert manual_keys() == known


def test_manual_has_the_events() -> None:
    text = (TREE / "docs/man/keepalived-dummy.8").read_text()
    section = (
        text.partition(".Sh JOURNAL\n")[2].partition(".Sh ")[0].partition("The events are\n")[2]
    )
    assert re.findall(r"^\.Li ([a-z-]+)", section, re.MULTILINE) == list(KINDS)


def test_completion_offers_the_commands() -> None:
    assert complete("keepalived-dummy", "") == {*commands(), "--help", "--version"}


@pytest.mark.parametrize("name", commands())
def test_completion_offers_the_options_of_a_command(name: str) -> None:
    wanted = {option.split()[0] for option in options(commands()[name])}
    assert complete("keepalived-dummy", name, "--") == {*wanted, "--help"}


def test_completion_offers_folders_for_root(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "file").touch()
    offered = complete("keepalived-dummy", "generate", "--root", f"{tmp_path}/")
    assert offered == {f"{tmp_path}/image"}


@pytest.mark.parametrize("page", ["keepalived-dummy.8", "keepalived-dummy.conf.5"])
def test_groff_renders_the_manual_without_a_warning(page: str) -> None:
    command = ["groff", "-mandoc", "-Tutf8", "-P-cbou", "-ww", str(TREE / "docs/man" / page)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "SEE ALSO" in done.stdout
