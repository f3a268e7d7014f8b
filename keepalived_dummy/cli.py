# SPDX-License-Identifier: MIT
"""The command line: chooses what runs, prints what it says, and ends with its status."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from keepalived_dummy import __version__
from keepalived_dummy.errors import UserError


def parser() -> argparse.ArgumentParser:
    """All commands and options; the man page and the completion are checked against it."""
    top = argparse.ArgumentParser(
        prog="keepalived-dummy",
        description="Keep keepalived's virtual IP addresses on dummy interfaces, out of networkd's reach.",
        epilog="See keepalived-dummy(8).",
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    generate = commands.add_parser(
        "generate", help="write networkd's files from keepalived-dummy.d", allow_abbrev=False
    )
    generate.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="work in DIR instead of /"
    )
    generate.set_defaults(run=run_generate)

    apply = commands.add_parser(
        "apply", help="generate, and make the dummies as configured", allow_abbrev=False
    )
    apply.add_argument("--remove", action="store_true", help="take away what this package made")
    apply.set_defaults(run=run_apply)
    return top


def run_generate(options: argparse.Namespace) -> int:
    """The generator; exit status 1 where a conf is bad or a file could not be written."""
    from keepalived_dummy import config, files, units

    root: Path = options.root
    if not root.is_dir():
        raise UserError(f"--root: {root} is no directory")
    with files.lock(root):
        wanted = config.load(root)
        result = units.generate(root, wanted)
    problems = [*wanted.problems, *result.problems]
    for problem in problems:
        complain(str(problem))
    for name in result.written:
        print(f"/{units.FOLDER}/{name}: written")
    for name in result.removed:
        print(f"/{units.FOLDER}/{name}: removed")
    return 1 if problems else 0


def run_apply(options: argparse.Namespace) -> int:
    """One pass of making the host as configured; exit status 1 where something could not be done."""
    from keepalived_dummy import apply

    result = apply.remove() if options.remove else apply.apply()
    for line in result.problems:
        complain(line)
    for line in [*result.changed, *result.stays]:
        print(line)
    if not result.changed and not result.problems:
        print("nothing to do")
    return 1 if result.problems else 0


def complain(line: str) -> None:
    """An error line to standard error, with the journal's priority where it goes there (sd-daemon(3))."""
    prefix = "<3>" if os.environ.get("JOURNAL_STREAM") else "keepalived-dummy: "
    print(prefix + line, file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Exit status: 0 done, 1 something could not be done, 2 usage."""
    os.umask(0o022)
    options = parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except UserError as error:
        complain(str(error))
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        complain(f"{where}{error.strerror or error}")
        return 1
    return status
