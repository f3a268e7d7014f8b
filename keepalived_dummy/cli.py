# SPDX-License-Identifier: MIT
"""The command line: chooses what runs, prints what it says, and ends with its status."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from keepalived_dummy import __version__
from keepalived_dummy.errors import UserError
from keepalived_dummy.text import shown

if TYPE_CHECKING:
    from keepalived_dummy import apply
    from keepalived_dummy.targets import IPAddress

_CONFIG = Path("/etc/keepalived/keepalived.conf")  # keepalived.CONFIG; its import takes time


def parser() -> argparse.ArgumentParser:
    """All commands and options; the man page is made of it, the completion checked against it."""
    top = argparse.ArgumentParser(
        prog="keepalived-dummy",
        description="Keep keepalived's virtual IP addresses on dummy interfaces, out of networkd's reach.",
        epilog="See keepalived-dummy(8).",
        allow_abbrev=False,
    )
    top.add_argument(
        "--version",
        action="version",
        version=f"%(prog)s {__version__}",
        help="show the version and exit",
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    generate = commands.add_parser(
        "generate", help="write networkd's files from keepalived-dummy.d", allow_abbrev=False
    )
    generate.add_argument(
        "--root", type=Path, default=Path("/"), metavar="DIR", help="work in DIR instead of /"
    )
    generate.set_defaults(run=run_generate)

    apply = commands.add_parser(
        "apply", help="generate, make the dummies, and wire them", allow_abbrev=False
    )
    how = apply.add_mutually_exclusive_group()
    how.add_argument("--remove", action="store_true", help="take away what this package made")
    how.add_argument("--daemon", action="store_true", help=argparse.SUPPRESS)
    apply.set_defaults(run=run_apply)

    wire = commands.add_parser(
        "wire", help="wire the dummies to their uplinks, show the tc script", allow_abbrev=False
    )
    wire.add_argument("--dry-run", action="store_true", help="show the script, run nothing")
    wire.set_defaults(run=run_wire)

    adopt = commands.add_parser(
        "adopt", help="move the VIPs of keepalived.conf onto dummies", allow_abbrev=False
    )
    _add_config(adopt)
    adopt.add_argument("--interface", metavar="NAME", help="the dummy to move them to")
    adopt.add_argument(
        "--dry-run",
        action="store_true",
        help="show the changes and make none; exit status 3 if there are any",
    )
    adopt.add_argument(
        "--partial", action="store_true", help="leave what cannot be changed with certainty"
    )
    adopt.add_argument(
        "--leave",
        type=_address,
        action="append",
        default=[],
        metavar="ADDRESS",
        help="leave this VIP where it is; may be given more than once",
    )
    adopt.add_argument(
        "--add-routes",
        action="store_true",
        help="write the routes that an uplink loses with its VIPs into virtual_routes",
    )
    adopt.add_argument("--no-pin-source", action="store_true", help="pin no source address of VRRP")
    adopt.add_argument(
        "--no-check", action="store_true", help="move VIPs to where they would not be served, too"
    )
    _add_consent(adopt)
    adopt.set_defaults(run=run_adopt)

    revert = commands.add_parser("revert", help="take back what adopt did", allow_abbrev=False)
    _add_config(revert)
    _add_consent(revert)
    revert.set_defaults(run=run_revert)

    status = commands.add_parser(
        "status", help="show the dummies, their VIPs, wires and uplinks", allow_abbrev=False
    )
    form = status.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON, for programs")
    form.add_argument("--brief", action="store_true", help="one line a VIP")
    form.add_argument("--prometheus", action="store_true", help="as metrics for Prometheus")
    status.add_argument(
        "--watch", action="store_true", help="show it again at each event, until ^C"
    )
    status.add_argument(
        "--into", type=Path, help=argparse.SUPPRESS
    )  # keepalived-dummy-metrics.service
    status.set_defaults(run=run_status)

    check = commands.add_parser(
        "check", help="look for what endangers the VIPs of this host", allow_abbrev=False
    )
    _add_config(check)
    check.add_argument("--json", action="store_true", help="as JSON, for programs")
    check.add_argument(
        "--probe", action="store_true", help="ask the LAN who else answers for a VIP"
    )
    check.set_defaults(run=run_check)

    daemon = commands.add_parser(
        "daemon", help="run by keepalived-dummy.service", allow_abbrev=False
    )
    daemon.set_defaults(run=run_daemon)
    return top


def _add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--config",
        type=Path,
        default=_CONFIG,
        metavar="FILE",
        help=f"take FILE instead of {_CONFIG}",
    )


def _add_consent(command: argparse.ArgumentParser) -> None:
    """What adopt and revert both take."""
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.add_argument("--no-reload", action="store_true", help="change the files alone")


def run_generate(options: argparse.Namespace) -> int:
    """The generator; exit status 1 where a conf is bad or a file could not be written."""
    from keepalived_dummy import config, files, foreign, units

    root: Path = options.root
    if not root.is_dir():
        raise UserError(f"--root: {root} is no directory")
    with files.lock(root):
        wanted = config.load(root)
        result = units.generate(root, wanted)
        others = foreign.generate(root, wanted, at_boot=True)
    problems = [*wanted.problems, *result.problems, *others.problems]
    for problem in problems:
        complain(str(problem))
    for name in result.written:
        say(f"/{units.FOLDER}/{name}: written")
    for name in result.removed:
        say(f"/{units.FOLDER}/{name}: removed")
    for line in [*others.changed, *others.notes]:
        say(line)
    return 1 if problems else 0


def run_apply(options: argparse.Namespace) -> int:
    """One pass of making the host as configured; exit status 1 where something could not be done."""
    from keepalived_dummy import apply

    if options.daemon:
        return _run_for_daemon(apply.apply(generate=False))
    result = apply.remove() if options.remove else apply.apply()
    for line in [*result.problems, *result.missing]:
        complain(line)
    for line in [*result.changed, *result.notes]:
        say(line)
    if not result.changed and not result.status:
        say("nothing to do")
    return result.status


def _run_for_daemon(result: apply.Result) -> int:
    """One JSON object on standard output."""
    import json

    said = {
        "rewired": result.rewired,
        "missing": result.missing,
        "problems": result.problems,
        "notes": result.notes,
        "changed": result.changed,
    }
    print(json.dumps({**result.plan, **said}))
    return result.status


def run_wire(options: argparse.Namespace) -> int:
    """Show the wire as a tc -batch script; unless it is a dry run, it is put in place first."""
    from keepalived_dummy import apply

    status = 0
    if not options.dry_run:
        result = apply.apply()
        status = result.status
        for line in [*result.problems, *result.missing]:
            complain(line)
    script, notes = apply.show()
    for note in notes:
        complain(note)
    if script:
        say(script.removesuffix("\n"))
    return status


def run_adopt(options: argparse.Namespace) -> int:
    """Exit status 3 where a dry run finds something to do."""
    from keepalived_dummy import adopt
    from keepalived_dummy.targets import Wish

    wanted = adopt.Options(
        _absolute(options.config),
        Wish(
            options.interface,
            not options.no_pin_source,
            options.add_routes,
            frozenset(options.leave),
        ),
        options.partial,
        options.dry_run,
        not options.no_reload,
        not options.no_check,
    )
    return adopt.run(wanted, adopt.Voice(say, complain, _asker(options.yes)))


def run_revert(options: argparse.Namespace) -> int:
    """Take back what adopt did."""
    from keepalived_dummy import adopt, revert

    voice = adopt.Voice(say, complain, _asker(options.yes))
    return revert.run(_absolute(options.config), not options.no_reload, voice)


def _address(text: str) -> IPAddress:
    """For argparse: an address without a prefix length."""
    import ipaddress

    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # not resolved: a link stays one


def _asker(yes: bool) -> Callable[[], bool]:
    """Asks on the terminal; without one, nobody has said yes."""

    def ask() -> bool:
        if yes:
            return True
        if not sys.stdin.isatty():
            raise UserError("this asks before it goes on, and there is no terminal", "say --yes")
        try:
            return input("Go on? [y/N] ").strip().lower() in ("y", "yes")
        except EOFError:
            return False

    return ask


def run_status(options: argparse.Namespace) -> int:
    """What was seen of the host; exit status 0 whatever it is."""
    from keepalived_dummy import status

    form = next((one for one in ("json", "brief", "prometheus") if getattr(options, one)), "text")
    return status.run(form, options.watch, options.into)


def run_check(options: argparse.Namespace) -> int:
    """Exit status as monitoring expects it: 0 ok, 1 warning, 2 critical, 3 could not tell."""
    from keepalived_dummy import check, keepalived

    path = _absolute(options.config)
    try:
        if path != keepalived.CONFIG and not path.exists():
            raise UserError(f"--config: {path} is not there")
        return check.run(path, options.json, options.probe)
    except BrokenPipeError:
        raise
    except (UserError, OSError) as error:
        complain(str(error))
    except Exception:  # a bug; 1 would be a warning
        import traceback

        traceback.print_exc()
    return check.UNKNOWN


def run_daemon(_: argparse.Namespace) -> int:
    """The resident process."""
    from keepalived_dummy import daemon

    return daemon.run()


def say(lines: str) -> None:
    """Lines to standard output, with what would steer a terminal made plain, and without passwords."""
    print(shown(lines))


def complain(line: str) -> None:
    """An error line to standard error, as `say`, with the journal's priority where it goes there (sd-daemon(3))."""
    prefix = "<3>" if os.environ.get("JOURNAL_STREAM") else "keepalived-dummy: "
    print(prefix + shown(line), file=sys.stderr)


def _find_tools() -> None:
    """tc, nft, iptables-save and keepalived are where cron, and su without a dash, do not look."""
    folders = os.environ.get("PATH", os.defpath).split(":")
    missing = [one for one in ("/usr/local/sbin", "/usr/sbin", "/sbin") if one not in folders]
    os.environ["PATH"] = ":".join([*folders, *missing])


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Exit status: 0 done, 1 something could not be done, 2 usage, 3 see adopt --dry-run; check has its own."""
    os.umask(0o022)
    _find_tools()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name may be any bytes
    options = parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except UserError as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:  # as it would end without Python, which tells of it by a traceback
        import signal

        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        complain(f"{where}{error.strerror or error}")
        return 1
    return status
