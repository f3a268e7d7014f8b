# SPDX-License-Identifier: MIT
"""One pass of making the host as configured: networkd's files, then the links."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from keepalived_dummy import config, files, links, units


@dataclass
class Result:
    """What a pass did and could not do, as lines for people."""

    changed: list[str] = field(default_factory=list)
    stays: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add_units(self, result: units.Result) -> None:
        self.changed += [f"/{units.FOLDER}/{name}: written" for name in result.written]
        self.changed += [f"/{units.FOLDER}/{name}: removed" for name in result.removed]
        self.problems += [str(problem) for problem in result.problems]

    def add_links(self, result: links.Result) -> None:
        self.changed += result.changed
        self.stays += result.stays
        self.problems += [str(problem) for problem in result.problems]


def apply() -> Result:
    """Generate, then make every dummy. Concurrent runs wait for each other."""
    root = Path("/")
    result = Result()
    with files.lock(root):
        wanted = config.load(root)
        result.problems += [str(problem) for problem in wanted.problems]
        generated = units.generate(root, wanted)
        result.add_units(generated)
        settled = frozenset(
            dummy.stem
            for dummy in wanted.dummies
            if units.names(dummy.stem)[0] not in generated.written
        )
        with links.kernel() as ipr:
            result.add_links(links.sync(ipr, wanted, settled))
    return result


def remove() -> Result:
    """Take away what this package made: generated files, and dummies that hold no address."""
    root = Path("/")
    result = Result()
    with files.lock(root):
        result.add_units(units.remove(root))
        with links.kernel() as ipr:
            result.add_links(links.remove_all(ipr))
    return result
