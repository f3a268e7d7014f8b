# SPDX-License-Identifier: MIT
"""The man pages as docs/man/generate.py makes them."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from commandline import TREE

SCRIPT = TREE / "docs/man/generate.py"
sys.path.insert(0, str(SCRIPT.parent))
generate: Any = importlib.import_module(SCRIPT.stem)
PAGES: dict[str, str] = {path.stem: generate.render(path) for path in generate.templates()}
