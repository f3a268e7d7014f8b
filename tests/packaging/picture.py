#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Draw a picture made of text as SVG: `picture.py FILE.txt > FILE.svg`.

The text is the source, and can be read as it is. Box-drawing characters become lines (the heavy and the dashed ones in
a colour of their own), triangles arrow heads, all else stays text. The same text gives the same bytes.
"""

import html
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

WIDTH, HEIGHT = 8, 17  # of a character, in pixels
MARGIN = 16

LIGHT, HEAVY, DASHED = "light", "heavy", "dashed"
# Where a character's lines go from its middle: left, right, up, down.
LINES = {
    "─": {"l": LIGHT, "r": LIGHT},
    "│": {"u": LIGHT, "d": LIGHT},
    "┌": {"r": LIGHT, "d": LIGHT},
    "┐": {"l": LIGHT, "d": LIGHT},
    "└": {"r": LIGHT, "u": LIGHT},
    "┘": {"l": LIGHT, "u": LIGHT},
    "┬": {"l": LIGHT, "r": LIGHT, "d": LIGHT},
    "┴": {"l": LIGHT, "r": LIGHT, "u": LIGHT},
    "┰": {"l": LIGHT, "r": LIGHT, "d": HEAVY},
    "┸": {"l": LIGHT, "r": LIGHT, "u": HEAVY},
    "━": {"l": HEAVY, "r": HEAVY},
    "┃": {"u": HEAVY, "d": HEAVY},
    "╌": {"l": DASHED, "r": DASHED},
    "╎": {"u": DASHED, "d": DASHED},
}
# Of an arrow head: the row of its shaft beside its own, and on which side of the head that is.
HEADS = {"▲": (1, "d"), "▼": (-1, "u")}

# A ground of its own: it is read on a white page and on a dark one.
STYLE = """
rect { fill: #ffffff; stroke: #d0d7de }
text { font: 13px "DejaVu Sans Mono", "Liberation Mono", Menlo, Consolas, monospace; fill: #1f2328 }
path { fill: none; stroke-width: 1.5 }
path.light { stroke: #57606a } path.heavy { stroke: #bc4c00; stroke-width: 3 }
path.dashed { stroke: #0550ae; stroke-dasharray: 5 4 }
polygon.light { fill: #57606a } polygon.heavy { fill: #bc4c00 } polygon.dashed { fill: #0550ae }
"""


class Line(NamedTuple):
    """A straight line from (x, y) on, to the right or down; all in halves of a character."""

    weight: str
    down: bool
    x: int
    y: int
    length: int


def draw(path: Path) -> str:
    """The SVG of a file."""
    rows = path.read_text(encoding="utf-8").splitlines()
    width = WIDTH * max(map(len, rows)) + 2 * MARGIN
    height = HEIGHT * len(rows) + 2 * MARGIN
    head = [
        f"<!-- SPDX-License-Identifier: MIT. Drawn from {path.name} by `make picture`: edit that. -->",
        '<svg xmlns="http://www.w3.org/2000/svg"'
        f' viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<style>{STYLE}</style>",
        f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="6"/>',
    ]
    shapes = [*map(shape, join(lines(rows))), *arrows(rows), *texts(rows)]
    return "".join(f"{item}\n" for item in [*head, *shapes, "</svg>"])


def lines(rows: list[str]) -> Iterator[Line]:
    """Every line of every character, each half a character long."""
    for y, row in enumerate(rows):
        for x, char in enumerate(row):
            sides = LINES.get(char, {})
            if char in HEADS:
                sides = dict.fromkeys(
                    "ud" if touches(rows, x, y) else HEADS[char][1], weight(rows, x, y)
                )
            for side, kind in sides.items():
                yield Line(kind, side in "ud", 2 * x + (side != "l"), 2 * y + (side != "u"), 1)


def weight(rows: list[str], x: int, y: int) -> str:
    """The weight of an arrow's shaft."""
    step, side = HEADS[rows[y][x]]
    return LINES[rows[y + step][x]]["u" if side == "d" else "d"]


def touches(rows: list[str], x: int, y: int) -> bool:
    """Whether a line is right before an arrow head."""
    before = y - HEADS[rows[y][x]][0]
    return 0 <= before < len(rows) and rows[before][x : x + 1] in LINES


def join(found: Iterator[Line]) -> list[Line]:
    """Those that go on in each other, as one."""
    made: list[Line] = []
    for line in sorted(found, key=lambda i: (i.weight, i.down, i.x if i.down else i.y, i)):
        if made and line == _next(made[-1]):
            made[-1] = made[-1]._replace(length=made[-1].length + 1)
        else:
            made.append(line)
    return made


def _next(line: Line) -> Line:
    if line.down:
        return line._replace(y=line.y + line.length, length=1)
    return line._replace(x=line.x + line.length, length=1)


def shape(line: Line) -> str:
    """A line as SVG."""
    x, y = MARGIN + line.x * WIDTH / 2, MARGIN + line.y * HEIGHT / 2
    to = f"v{line.length * HEIGHT / 2:g}" if line.down else f"h{line.length * WIDTH / 2:g}"
    return f'<path class="{line.weight}" d="M{x:g} {y:g}{to}"/>'


def arrows(rows: list[str]) -> Iterator[str]:
    """Arrow heads, in the colour of their shaft; the point touches a line that is before it."""
    for y, row in enumerate(rows):
        for x, char in enumerate(row):
            if char in HEADS:
                back = HEADS[char][0]
                over = HEIGHT / 2 - 1 if touches(rows, x, y) else 0
                middle = MARGIN + (x + 0.5) * WIDTH
                point = MARGIN + (y + (back < 0)) * HEIGHT - back * over
                base = point + back * 10
                points = f"{middle:g},{point:g} {middle - 5:g},{base:g} {middle + 5:g},{base:g}"
                yield f'<polygon class="{weight(rows, x, y)}" points="{points}"/>'


def texts(rows: list[str]) -> Iterator[str]:
    """Runs of text, each with its width, so that another font changes no place."""
    drawn = "".join([*LINES, *HEADS])
    for y, row in enumerate(rows):
        for run in re.finditer(rf"[^\s{drawn}]+(?: [^\s{drawn}]+)*", row):
            x, base = MARGIN + run.start() * WIDTH, MARGIN + y * HEIGHT + 13
            size = len(run[0]) * WIDTH
            yield f'<text x="{x}" y="{base}" textLength="{size}">{html.escape(run[0])}</text>'


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.stdout.write(draw(Path(sys.argv[1])))
