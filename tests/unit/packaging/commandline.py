# SPDX-License-Identifier: MIT
"""The commands and options that the command line has, for what must know just these."""

from __future__ import annotations

import argparse
from pathlib import Path

from keepalived_dummy import cli

TREE = Path(__file__).resolve().parents[3]


def subcommands() -> argparse._SubParsersAction[argparse.ArgumentParser]:
    (action,) = (a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction))
    return action


def commands() -> dict[str, argparse.ArgumentParser]:
    return dict(subcommands().choices)


def options(parser: argparse.ArgumentParser) -> set[str]:
    """The options as the man page writes them: `--root DIR`. Hidden ones are left out."""
    shown = [a for a in parser._actions if a.option_strings and a.help != argparse.SUPPRESS]
    return {f"{a.option_strings[-1]} {a.metavar or ''}".strip() for a in shown}
