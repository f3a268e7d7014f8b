# SPDX-License-Identifier: MIT
"""Time to read a keepalived.conf of 1 MB with 1,000 instances: python3 tests/bench/bench_keepalived_conf.py"""

from __future__ import annotations

import statistics
import sys
import time
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


def main() -> None:
    """Print the medians."""
    data = configuration()
    files = Memory({"/etc/keepalived/keepalived.conf": data})
    reading: list[float] = []
    lexing: list[float] = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        document = read_from(files, "/etc/keepalived/keepalived.conf")
        middle = time.perf_counter()
        assert b"".join(token.raw for token in tokenize(data)) == data
        lexing.append(time.perf_counter() - middle)
        reading.append(middle - begin)
    assert not document.problems
    assert len(document.model.instances) == 1000
    assert uplinks_of(document, "keepalived0") == ("ens0", "ens1", "ens2", "ens3")
    print(f"{len(data)} bytes, 1000 instances, {ROUNDS} rounds, seconds: median (slowest)")
    print(f"read:   {statistics.median(reading):.3f} ({max(reading):.3f})")
    print(f"tokens: {statistics.median(lexing):.3f} ({max(lexing):.3f})")


if __name__ == "__main__":
    main()
