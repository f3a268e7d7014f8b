# SPDX-License-Identifier: MIT
"""Time to read a keepalived.conf of 1 MB with 1,000 instances: python3 tests/bench/bench_keepalived_conf.py"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from keepalived_dummy.keepalived import Memory, read_from, tokenize, uplinks_of

ROUNDS = 9


def configuration(instances: int = 1000) -> bytes:
    """A configuration as people write them, about 1 kB an instance."""
    text = ["global_defs {\n    router_id bench\n    vrrp_version 3\n}\n"]
    for i in range(instances):
        a, b = divmod(i, 250)
        vips = "".join(
            f"        10.{a}.{b}.{n}/32 dev keepalived0 no_track\n" for n in range(1, 11)
        )
        text.append(
            f"""
# instance number {i} of the bench: what it is there for is said in a comment like this one
vrrp_instance VI_{i} {{
    state BACKUP
    interface ens{i % 4}
    virtual_router_id {i % 255 + 1}
    priority 100
    advert_int 1            ! seconds
    mcast_src_ip 192.0.2.{i % 250 + 1}
    garp_master_delay 5
    garp_master_repeat 3
    authentication {{
        auth_type PASS
        auth_pass "secret#{i}"
    }}
    track_interface {{
        ens{i % 4} weight -10
    }}
    virtual_ipaddress {{
{vips}    }}
    virtual_routes {{
        198.51.100.0/24 via 192.0.2.254 dev ens{i % 4}
    }}
    notify "/usr/local/bin/notify VI_{i}"
}}
"""
        )
    return "".join(text).encode()


def show(name: str, wall: list[float], processor: list[float]) -> None:
    """One line of the table, in seconds."""
    figures = [statistics.median(wall), max(wall), statistics.median(processor), max(processor)]
    print(f"{name:8}" + "".join(f"{figure:10.3f}" for figure in figures))


def measure(work: Callable[[], object]) -> tuple[list[float], list[float]]:
    """Wall and processor time of each round."""
    wall: list[float] = []
    processor: list[float] = []
    for _ in range(ROUNDS):
        begin, spent = time.perf_counter(), time.process_time()
        work()
        processor.append(time.process_time() - spent)
        wall.append(time.perf_counter() - begin)
    return wall, processor


def main() -> None:
    """Print the medians and the slowest of ROUNDS."""
    data = configuration()
    files = Memory({"/etc/keepalived/keepalived.conf": data})
    document = read_from(files, "/etc/keepalived/keepalived.conf")
    assert not document.problems
    assert len(document.model.instances) == 1000
    assert uplinks_of(document, "keepalived0") == ("ens0", "ens1", "ens2", "ens3")
    assert b"".join(token.raw for token in tokenize(data)) == data
    del document
    print(f"{len(data)} bytes, 1000 instances, {ROUNDS} rounds, seconds")
    print(f"{'':8}{'wall':>10}{'slowest':>10}{'processor':>10}{'slowest':>10}")
    show("read", *measure(lambda: read_from(files, "/etc/keepalived/keepalived.conf")))
    show("tokens", *measure(lambda: sum(1 for _ in tokenize(data))))


if __name__ == "__main__":
    main()
