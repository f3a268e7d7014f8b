# SPDX-License-Identifier: MIT
"""What `keepalived-dummy generate` costs a boot, as a whole process: python3 tests/bench/bench_generate.py

In one run, taken in turn: a bare interpreter, the floor of the modules it cannot do without, and the generator with
1, 100 and 1,000 confs, its output folder empty as at boot, and with a keepalived.conf, without and with virtual_routes. The bounds are on processor time, which other work on the machine
moves least. Exit status 1 where one is exceeded.
"""

from __future__ import annotations

import compileall
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

TREE = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"
MODULES = "/usr/lib/python3/dist-packages"
ROUNDS = 21
CONFS = (1, 100, 1000)
FLOOR_FACTOR = 1.5  # one conf, to the floor
MS_PER_CONF = 0.5
MOONSHOT = 3  # one conf, to the bare interpreter

ROUTES_FACTOR = 2.0  # one conf and virtual_routes, for which the reader of keepalived.conf is imported, to the floor
INSTANCE = "vrrp_instance V {\n    interface ens3\n    virtual_ipaddress {\n        192.0.2.10\n    }\n%s}\n"
ROUTES = "    virtual_routes {\n        203.0.113.0/24 via 192.0.2.1\n    }\n"
KEEPALIVED = {"keepalived.conf": "", "virtual_routes": ROUTES}

BARE = [PYTHON, "-I", "-S", "-c", "pass"]
FLOOR = [PYTHON, "-c", "import jinja2, argparse, configparser"]


def generator(package: Path, root: Path) -> list[str]:
    """As sbin/keepalived-dummy, with the package of the tree."""
    text = f"import sys; sys.path += [{str(package)!r}, {MODULES!r}]; from keepalived_dummy.cli import main; "
    return [PYTHON, "-BIS", "-c", text + "sys.exit(main())", "generate", "--root", str(root)]


def confs(root: Path, count: int) -> None:
    """A root with this many confs."""
    folder = root / "etc" / "keepalived-dummy.d"
    folder.mkdir(parents=True)
    (folder / "keepalived.conf").write_text("# all as it is by default\n")
    for number in range(1, count):
        (folder / f"vips{number}.conf").write_text("[Interface]\nMTUBytes=1500\n")


def with_keepalived(root: Path, routes: str) -> None:
    """A root with one conf and a keepalived.conf."""
    confs(root, 1)
    path = root / "etc" / "keepalived" / "keepalived.conf"
    path.parent.mkdir()
    path.write_text(INSTANCE % routes)


@dataclass(frozen=True)
class Cost:
    """What one or the median process took, ms of the clock and of a processor."""

    wall: float
    processor: float


def cost(words: list[str]) -> Cost:
    """A whole process. Raises CalledProcessError where it fails."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(1000 * wall, 1000 * processor)


def median(costs: list[Cost]) -> Cost:
    return Cost(
        statistics.median(one.wall for one in costs),
        statistics.median(one.processor for one in costs),
    )


Roots = dict[int | str, Path]


def measure(package: Path, roots: Roots) -> tuple[Cost, Cost, dict[int | str, Cost]]:
    """Medians: the bare interpreter, the floor, the generator by number of confs, or by what it has besides one."""
    bare, floor = [], []
    ours: dict[int | str, list[Cost]] = {count: [] for count in roots}
    for _ in range(ROUNDS):
        bare.append(cost(BARE))
        floor.append(cost(FLOOR))
        for count, root in roots.items():
            shutil.rmtree(root / "run", ignore_errors=True)
            ours[count].append(cost(generator(package, root)))
            made = len(list((root / "run" / "systemd" / "network").glob("90-*.netdev")))
            if made != (1 if isinstance(count, str) else count):
                raise RuntimeError(f"{made} files of {count} confs")
    return median(bare), median(floor), {count: median(costs) for count, costs in ours.items()}


def show(name: str, one: Cost) -> None:
    print(f"  {name:<52} {one.wall:8.1f} {one.processor:10.1f}")


def main() -> int:
    # In memory where that can be had, as /run is at boot.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        work = Path(name)
        package = work / "package"
        shutil.copytree(TREE / "keepalived_dummy", package / "keepalived_dummy")
        compileall.compile_dir(package, quiet=1)  # as dpkg does when it installs
        roots: Roots = {}
        for count in CONFS:
            roots[count] = work / f"root{count}"
            confs(roots[count], count)
        for what, text in KEEPALIVED.items():
            roots[what] = work / what
            with_keepalived(roots[what], text)
        bare, floor, ours = measure(package, roots)
    one, many = ours[1], ours[CONFS[-1]]
    factor = one.processor / floor.processor
    growth = (many.processor - one.processor) / (CONFS[-1] - 1)
    print(f"whole processes, medians of {ROUNDS} rounds, ms              clock  processor")
    show("python3 -I -S -c pass", bare)
    show("python3 -c 'import jinja2, argparse, configparser'", floor)
    for key, each in ours.items():
        kind = f"1 conf, {key}" if isinstance(key, str) else f"{key} conf{'s'[: key - 1]}"
        show(f"generate, {kind}", each)
    print(f"one conf: {factor:.2f} times the floor (bound {FLOOR_FACTOR})", end="; ")
    print(f"{one.processor / bare.processor:.1f} times a bare interpreter (moonshot {MOONSHOT})")
    routes = ours["virtual_routes"].processor / floor.processor
    print(f"with virtual_routes: {routes:.2f} times the floor (bound {ROUTES_FACTOR})")
    print(f"each further conf: {growth:.2f} ms (bound {MS_PER_CONF})")
    good = factor <= FLOOR_FACTOR and growth <= MS_PER_CONF and routes <= ROUTES_FACTOR
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
