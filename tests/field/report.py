# SPDX-License-Identifier: MIT
"""What a field test did, a line a step: printed, and kept as evidence."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from pathlib import Path


class Report:
    """Steps in order, each building on those before it: the first that fails ends the test."""

    def __init__(self, test: str, suite: str, folder: Path) -> None:
        self.path = folder / f"{test}-{suite}.log"
        self.passed = 0
        self.start = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        self.path.write_text("")
        self.say(f"{test} on {suite}, {datetime.date.today().isoformat()}")

    def say(self, line: str) -> None:
        """One line, here and in the evidence."""
        print(line, flush=True)
        with self.path.open("a") as file:
            file.write(line + "\n")

    def step(self, name: str, run: Callable[[], str | None]) -> None:
        """Run one step; what it returns are its figures."""
        start = time.monotonic()
        try:
            figures = run()
        except BaseException as error:
            self.say(f"FAIL    {name}: {str(error).splitlines()[0] if str(error) else error!r}")
            self.say(f"{self.path.stem}: {self.passed} passed, 1 failed")
            raise
        self.passed += 1
        took = f"{time.monotonic() - start:.0f} s"
        self.say(f"ok      {name}: {figures + '; ' if figures else ''}{took}")

    def end(self) -> None:
        """All passed."""
        self.say(
            f"{self.path.stem}: {self.passed} passed, 0 failed, {time.monotonic() - self.start:.0f} s"
        )
