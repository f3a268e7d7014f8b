# SPDX-License-Identifier: MIT
"""keepalived started again and again: a client has its IPv6 answer once the VIP is there, whatever it knew before."""

from __future__ import annotations

import ipaddress
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path

import wire_lan
from checks import check, note
from host import run, wait_for, write
from wire_groups import JOIN_OUT, on_nics
from wire_lan import DUMMY, KEEPALIVED, C
from wire_mutate import BACK

VIP = C.ip6("ab:cdef")
STARTS, FIRST_STARTS = 50, 5
LATEST = 1.0  # seconds from the VIP to the first answer
OTHER_NODE = "02:4b:44:00:00:99"
CONF = f"""
global_defs {{
    vrrp_version 3
}}
vrrp_instance VI_1 {{
    interface {C.uplink}
    state BACKUP
    virtual_router_id 51
    priority 100
    advert_int 0.1
    virtual_ipaddress {{
        {C.vip4}/32 dev {DUMMY}
    }}
    virtual_ipaddress_excluded {{
        {VIP}/128 dev {DUMMY}
    }}
}}
"""
FORGET = f"ip -n {C.ns} neighbour flush dev {C.dev}"
ELSEWHERE = f"neighbour replace {VIP} lladdr {OTHER_NODE} nud stale dev {C.dev}"
# What the client has of the VIP before a start, the shell that makes it so, and whether it asks for the VIP meanwhile.
CLIENTS = (
    ("has no entry", FORGET, False),
    ("has the entry of the last start", "true", False),
    ("has the other node's MAC", f"ip -n {C.ns} {ELSEWHERE}", False),
    ("has no entry and asks", FORGET, True),
    ("is unknown to the host and asks", f"{FORGET}; ip neighbour flush dev {C.uplink}", True),
)


class Client:
    """ping at ten a second in the client's namespace."""

    def __init__(self) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 # closed by stop
        words = f"ip netns exec {C.ns} stdbuf -oL ping -n -D -i 0.1 {VIP}"
        self._process = subprocess.Popen(words.split(), stdout=self._said, stderr=self._said)

    def first(self) -> float | None:
        """The clock at the first answer; None as long as there is none."""
        self._said.seek(0)
        found = re.search(r"^\[([\d.]+)\] .*time=", self._said.read(), re.MULTILINE)
        return float(found[1]) if found else None

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        self._said.close()


def holder(address: str) -> Callable[[], str]:
    """Who has an IPv6 address, by /proc: an ip(8) for each look would take longer than the answer."""
    packed = ipaddress.ip_address(address).packed.hex()
    path = Path("/proc/net/if_inet6")

    def find() -> str:
        lines = (line.split() for line in path.read_text().splitlines())
        return next((words[5] for words in lines if words[0] == packed), "")

    return find


def late(before: str, asks: bool, conf: str = "") -> float:
    """A start of keepalived: the seconds from the VIP, or the first ping after it, to the first answer.

    `conf` is the keepalived.conf that comes right before.
    """
    has = holder(VIP)
    run("systemctl stop keepalived; systemctl reset-failed keepalived", check=False)
    wait_for("the VIP is gone", lambda: not has(), 20)
    run(before)
    client = Client() if asks else None
    if conf:
        write(KEEPALIVED, conf)
    try:
        run("systemctl start --no-block keepalived")
        end = time.monotonic() + 60
        while not has():
            assert time.monotonic() < end, "keepalived does not become master"
            time.sleep(0.005)
        since = time.time()
        client = client or Client()
        wait_for("the client has an answer", client.first, 30)
        return max(0.0, (client.first() or 0.0) - since)
    finally:
        if client:
            client.stop()


@check(without=JOIN_OUT, back=BACK)
def answers_right_after_each_start() -> None:
    """Without the membership only keepalived's second round of announcements, five seconds later, gets it an answer."""
    on_nics(lambda _: _starts())


def _starts() -> None:
    KEEPALIVED.write_text(CONF)
    took: dict[str, list[float]] = {}
    for what, before, asks in islice(cycle(CLIENTS), STARTS):
        took.setdefault(what, []).append(in_time(late(before, asks), what))
    for what, seconds in took.items():
        note(
            f"a client that {what}: the latest of {len(seconds)} answers after {max(seconds):.2f} s"
        )


def in_time(seconds: float, what: str) -> float:
    assert seconds <= LATEST, f"a client that {what}: an answer after {seconds:.2f} s"
    return seconds


NO_PASS = Path("/run/systemd/system/keepalived.service.d/zz-no-pass.conf")


@check(
    without=f"mkdir -p {NO_PASS.parent}; printf '[Service]\\nExecStartPre=\\n' > {NO_PASS}; systemctl daemon-reload",
    back=f"rm {NO_PASS}; systemctl daemon-reload",
)
def answers_right_after_the_first_start() -> None:
    """keepalived.conf is written and keepalived started at once: the wire is there before the VIP."""
    on_nics(lambda _: _first_starts())


def _first_starts() -> None:
    took = []
    for _ in range(FIRST_STARTS):
        run("systemctl stop keepalived")
        KEEPALIVED.unlink(missing_ok=True)
        (wire_lan.CONFS / "keepalived.conf").write_text("# all by default\n")
        wait_for("nothing is wired", lambda: "cookie 6b646d79" not in _filters(), 60)
        wire_lan.rest()
        took.append(in_time(late(FORGET, False, CONF), "has no entry"))
    note(f"answers after {', '.join(f'{seconds:.2f}' for seconds in took)} s")


def _filters() -> str:
    return run(f"tc filter show dev {C.uplink} ingress", check=False)
