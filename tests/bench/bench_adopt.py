# SPDX-License-Identifier: MIT
"""How long adopt plans, and revert takes back, for 1,000 instances: python3 tests/bench/bench_adopt.py."""

from __future__ import annotations

import ipaddress
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from keepalived_dummy.config import Config, Dummy
from keepalived_dummy.keepalived import Memory, read_from
from keepalived_dummy.rewrite import rewrite, verify
from keepalived_dummy.targets import Interface, Wish
from keepalived_dummy.undo import undo

PATH = "/etc/keepalived/keepalived.conf"
INSTANCES, VIPS, ROUNDS = 1000, 5, 5


def configuration() -> bytes:
    """1,000 instances of five addresses each."""
    made = []
    for number in range(INSTANCES):
        vips = "".join(
            f"        10.{n}.{number >> 8}.{number & 255}/8\n" for n in range(1, VIPS + 1)
        )
        made.append(
            f"vrrp_instance VI_{number} {{\n    interface ens3\n    virtual_router_id {number % 255 + 1}\n"
            f"    priority 100\n    virtual_ipaddress {{\n{vips}    }}\n}}\n"
        )
    return "".join(made).encode()


def median(what: Callable[[], object]) -> float:
    """Seconds."""
    took = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        what()
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def main() -> None:
    data = configuration()
    files = Memory({PATH: data})
    config = Config(
        (Dummy("keepalived", "/etc/keepalived-dummy.d/keepalived.conf", "keepalived0"),)
    )
    facts = {"ens3": Interface(addresses=(ipaddress.ip_interface("10.0.0.5/8"),))}
    document = read_from(files, PATH)
    done = rewrite(document, files, config, facts, Wish())
    assert len(done.vips) == INSTANCES * VIPS
    assert verify(document, files, done) == []
    after = done.after[PATH]
    edited = b"# top\n" + after.replace(b"priority 100", b"priority 99", 7)
    print(
        f"{len(data)} bytes, {INSTANCES} instances, {INSTANCES * VIPS} addresses; medians of {ROUNDS}"
    )
    print(f"read    {median(lambda: read_from(files, PATH)):6.3f} s")
    print(f"plan    {median(lambda: rewrite(document, files, config, facts, Wish())):6.3f} s")
    print(f"verify  {median(lambda: verify(document, files, done)):6.3f} s")
    print(
        f"undo    {median(lambda: undo(data, after, edited)):6.3f} s, the file edited in 8 places"
    )


if __name__ == "__main__":
    main()
