# SPDX-License-Identifier: MIT
"""kill -9 at each step of adopt and of revert."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import adopt_lan as lan
import host
from adopt_lan import CONF, UPLINK, VIP4, VIP6, done, on
from checks import check, edited, note
from host import DUMMY, run

# Files put in place, files taken away, questions to keepalived: the first two before the reload, the others after it.
CALLS = ("rename", "unlink", "kill")
TRACE = Path("/run/adopt.strace")


def counted(words: str) -> dict[str, int]:
    """How often a command makes each of these calls, done under strace."""
    which = "|".join(CALLS)
    run(f"strace -qq -o {TRACE} -e trace='/^({which})(at2?)?$' keepalived-dummy {words}")
    made = re.findall(rf"^({which})", TRACE.read_text(), re.MULTILINE)
    return {call: made.count(call) for call in CALLS}


def steps(calls: dict[str, int]) -> Iterator[tuple[str, int]]:
    """Each rename, the last of what is removed, before and after the reload; tests/unit/adopt has every step."""
    yield from (("rename", number) for number in range(1, calls["rename"] + 1))
    yield "unlink", calls["unlink"]
    yield from (("kill", number) for number in (1, 2, 3))


def killed(call: str, number: int, words: str) -> bool:
    """Run a command that is killed as it makes its n-th such call; whether it was."""
    which = f"/^{call}(at2?)?$"
    inject = f"-e trace='{which}' -e inject='{which}:signal=KILL:when={number}'"
    ended = host.status(f"strace -qq -o {TRACE} {inject} keepalived-dummy {words}")
    assert ended in (0, 137), f"{words}, {call} {number}: {ended}"
    host.wait_for("both VIPs are in one place", lambda: on(UPLINK) or on(DUMMY), 10)
    run("keepalived -t")
    return ended == 137


def expire() -> bool:
    """Whether a VIP has a lifetime."""
    lines = [line for line in run("ip -o address show").splitlines() if " dynamic" in line]
    return any(f" {vip}/" in line for line in lines for vip in (VIP4, VIP6))


@check(*edited("transaction.py", "hold.keep(taken)", "pass"))
def killed_and_kept() -> None:
    """Killed between the reload and the proof: no VIP is left to expire, whether anybody runs it again or not."""
    assert killed("kill", 3, "adopt --yes")
    assert on(DUMMY)
    host.wait_for("no VIP has a lifetime", lambda: not expire(), 10)
    done("revert --yes")
    assert on(UPLINK)


@check(*edited("transaction.py", "left = journal.under_way()", "left = None"))
def killed_and_finished() -> None:
    """At each step keepalived can start, no VIP is lost, and the next run finishes."""
    before = CONF.read_bytes()
    calls = counted("adopt --yes")
    assert on(DUMMY)
    done("revert --yes")
    kills = []
    with lan.pinging() as seen:
        for call, number in steps(calls):
            kills.append(killed(call, number, "adopt --yes"))
            # the next run finishes, be it of the other command, which is killed at the same step in turn
            kills.append(killed(call, number, "revert --yes"))
            done("revert --yes")
            assert on(UPLINK)
            assert CONF.read_bytes() == before
        assert killed("kill", calls["kill"], "adopt --yes")
        done("adopt --yes")
        assert on(DUMMY)
        assert "dynamic" not in run(f"ip address show dev {DUMMY}"), "it would expire"
    note(f"{calls} in one adopt; {kills.count(True)} kills; {seen}")
    assert kills.count(True) > len(list(steps(calls))), kills
    assert (seen.lost, seen.states) == (0, ()), seen
