# SPDX-License-Identifier: MIT
"""What the message of the day costs a login: python3 tests/bench/bench_motd.py

The whole of the snippet, taken in turn with a bare Python interpreter, which is 8 ms on quiet hardware: with the host's
own ip(8), and with one that says a thousand VIPs. The bound is 150 ms on such hardware. It also tells what a
`status --brief` in its place would cost. Exit status 1 where the bound is exceeded.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
SNIPPET = str(TREE / "etc/update-motd.d/60-keepalived-dummy")
BARE = ["/usr/bin/python3", "-I", "-S", "-c", "pass"]
BRIEF = ["/usr/bin/python3", "-m", "keepalived_dummy", "status", "--brief"]
ROUNDS = 15
BOUND = 150 / 8  # bare interpreters
VIPS = 1000
DUMMY = "7: keepalived0: <UP> mtu 1500\n    alias keepalived-dummy:keepalived\n"


def cost(words: list[str], path: str) -> float:
    """Milliseconds of a whole process. Raises CalledProcessError where it fails."""
    start = time.perf_counter()
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(TREE)}
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, env=environment)
    return 1000 * (time.perf_counter() - start)


def main() -> int:
    """Print the medians; 1 where one exceeds the bound."""
    path = os.environ["PATH"]
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder, "said")
        lines = (
            f"    inet 10.0.{n // 256}.{n % 256}/32 scope global\n       valid_lft forever\n"
            for n in range(VIPS)
        )
        said.write_text(DUMMY + "".join(lines))
        ip = Path(folder, "ip")
        ip.write_text(f"#!/bin/sh\nexec cat {said}\n")
        ip.chmod(0o755)
        runs = {
            "bare interpreter": (BARE, path),
            "snippet": ([SNIPPET], path),
            f"snippet, {VIPS} VIPs": ([SNIPPET], f"{folder}:{path}"),
            "status --brief": (BRIEF, path),
        }
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(ROUNDS):
            for name, (words, where) in runs.items():
                taken[name].append(cost(words, where))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    bare = medians["bare interpreter"]
    bad = 0
    for name, median in medians.items():
        exceeded = name.startswith("snippet") and median > BOUND * bare
        bad += exceeded
        times = f"{median / bare:.1f} times a bare interpreter"
        print(f"{name}: {median:.1f} ms, {times}{', TOO LONG' if exceeded else ''}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
