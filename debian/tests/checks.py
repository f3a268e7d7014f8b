# SPDX-License-Identifier: MIT
"""The runner: each check is a small function, and each names the piece without which it fails.

With MUTATE=1 in the environment every check runs with its piece taken out, and passes when it fails;
that shows that it can. ONLY=NAME,NAME runs these checks alone.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

import host


@dataclass(frozen=True)
class Check:
    """A function that raises AssertionError; `without` is the shell that takes its piece out.

    `before` makes the state it begins from, where that is another than the runner's.
    """

    name: str
    run: Callable[[], None]
    without: str
    back: str
    before: Callable[[], None] | None


CHECKS: list[Check] = []
MUTATE = os.environ.get("MUTATE") == "1"


def check(
    without: str, back: str = "", before: Callable[[], None] | None = None
) -> Callable[[Callable[[], None]], Callable[[], None]]:
    """Register a check. `without` takes out the piece it shows at work, `back` puts it back."""

    def register(function: Callable[[], None]) -> Callable[[], None]:
        CHECKS.append(Check(function.__name__, function, without, back, before))
        return function

    return register


def edited(module: str, old: str, new: str) -> tuple[str, str]:
    """`without` and `back` for a piece that is a line of the installed program."""
    path = f"/usr/lib/python3/dist-packages/keepalived_dummy/{module}"
    change = f"import sys; t = open('{path}').read(); assert sys.argv[1] in t, sys.argv[1]; "
    change += f"open('{path}', 'w').write(t.replace(sys.argv[1], sys.argv[2]))"
    words = f'python3 -c "{change}" {shlex.quote(old)} {shlex.quote(new)}'
    service = "systemctl restart keepalived-dummy.service"
    return f"cp {path} {path}.orig && {words} && {service}", f"mv {path}.orig {path}; {service}"


def note(text: str) -> None:
    """A line about the check that runs."""
    print(f"        {text}", flush=True)


def failure_of(run: Callable[[], None]) -> str:
    """What is wrong, in short and then at length; empty where nothing is."""
    try:
        run()
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        short = str(error).splitlines()[0] if str(error) else where.line
        return f"{short}\n{traceback.format_exc()}"
    return ""


def run_one(one: Check, before: Callable[[], None], taken_out: bool) -> bool:
    """Run a check from the state `before` makes; False where it did not do what it should."""
    start = time.monotonic()

    def begin() -> None:
        (one.before or before)()
        if MUTATE and not taken_out:
            host.run(one.without)

    wrong = failure_of(begin)
    if wrong:
        print(f"FAIL    {one.name}: cannot begin: {wrong}{host.state()}", flush=True)
        return False
    failed = failure_of(one.run)
    passed = bool(failed) if MUTATE else not failed
    took = f"{time.monotonic() - start:.0f} s"
    print(f"{'ok' if passed else 'FAIL':7} {one.name} ({took})", flush=True)
    if MUTATE:
        note(f"without: {one.without}")
        note(f"saw: {failed.splitlines()[0]}" if failed else "saw nothing wrong")
        host.run(one.back, check=False)
    elif failed:
        print(f"{failed}\n{host.state()}", flush=True)
    return passed


def main(before: Callable[[], None] = host.live, taken_out: bool = False) -> int:
    """Run every check from the state `before` makes; 1 where one did not do what it should.

    `taken_out`: with MUTATE the pieces are out already.
    """
    only = [name for name in os.environ.get("ONLY", "").split(",") if name]
    chosen = [one for one in CHECKS if not only or one.name in only]
    start = time.monotonic()
    results = [run_one(one, before, taken_out) for one in chosen]
    passed = results.count(True)
    words = "failed without their piece, as they should" if MUTATE else "passed"
    took = f"{time.monotonic() - start:.0f} s"
    print(f"{sys.argv[0]}: {passed} {words}, {len(results) - passed} did not, {took}", flush=True)
    return 0 if results and all(results) else 1
