# SPDX-License-Identifier: MIT
"""docs/how-it-works.md has the filters and the numbers of the code, and its picture is the one of its text."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from keepalived_dummy import routes, wayout, wire
from keepalived_dummy.wire import End, Joint

TREE = Path(__file__).resolve().parents[3]
PAGE = (TREE / "docs/how-it-works.md").read_text()
SOURCE = TREE / "docs/how-it-works.txt"
PICTURE = TREE / "docs/how-it-works.svg"
SVG = "{http://www.w3.org/2000/svg}"
LINES = "─│┌┐└┘┬┴┰┸━┃╌╎▲▼"


def draw(source: Path) -> bytes:
    script = TREE / "tests/packaging/picture.py"
    return subprocess.run([sys.executable, script, source], capture_output=True, check=True).stdout


def table(head: str) -> list[list[str]]:
    """The cells of the rows of the table with this first line."""
    rows = PAGE.partition(head + "\n")[2].partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_the_picture_is_drawn_from_its_text() -> None:
    assert PICTURE.read_bytes() == draw(SOURCE), "run `make picture`"


def test_another_text_is_another_picture(tmp_path: Path) -> None:
    for old, new in (("ens3", "ens4"), ("┰", "┬"), ("▲", "│")):
        changed = tmp_path / SOURCE.name
        changed.write_text(SOURCE.read_text().replace(old, new, 1))
        assert PICTURE.read_bytes() != draw(changed), old


def test_the_picture_has_all_words_of_the_text_in_their_place() -> None:
    rows = SOURCE.read_text().splitlines()
    wanted = {
        (word, column, row)
        for row, line in enumerate(rows)
        for word, column in (
            (m[0], m.start()) for m in re.finditer(rf"[^{LINES}\s]+(?: [^{LINES}\s]+)*", line)
        )
    }
    found = set()
    for item in ET.fromstring(PICTURE.read_bytes()).iter(f"{SVG}text"):
        column, row = (int(item.attrib["x"]) - 16) / 8, (int(item.attrib["y"]) - 29) / 17
        assert int(item.attrib["textLength"]) == 8 * len(item.text or "")
        found.add((item.text, column, row))
    assert found == wanted
    assert len(found) > 40


def test_the_picture_has_all_lines_of_the_text() -> None:
    """The length drawn is what the characters have, each half a character to a side."""
    drawn = {"light": 0.0, "heavy": 0.0, "dashed": 0.0}
    root = ET.fromstring(PICTURE.read_bytes())
    for item in root.iter(f"{SVG}path"):
        where, length = re.split("[hv]", item.attrib["d"])
        assert all(float(number) >= 16 for number in where[1:].split())
        drawn[item.attrib["class"]] += float(length)
    text = SOURCE.read_text()
    assert drawn["dashed"] > 17 * text.count("╎")
    assert drawn["heavy"] > 17 * text.count("┃")
    assert drawn["light"] > 8 * text.count("─") + 17 * text.count("│")
    heads = list(root.iter(f"{SVG}polygon"))
    assert len(heads) == text.count("▲") + text.count("▼")


def test_the_filters_are_those_of_the_template() -> None:
    uplink = End("ens3", 2, "52:54:00:00:00:01", ("fe80" + "0" * 27 + "1",))
    made = wire.render((Joint(End("keepalived0", 3, ""), (uplink,)),), frozenset(("ens3",)))
    roles = {"keepalived0": "dummy", "ens3": "uplink"}
    wanted = [(f"{roles[f.dev]} {f.direction}", str(f.pref)) for f in made.filters]
    assert [(at, pref) for at, pref, *_ in table("| at | pref | what | action |")] == wanted


def test_the_numbers_are_those_of_the_way_out() -> None:
    wanted = [
        routes.PROTOCOL,
        routes.METRIC,
        wayout.LIMIT,
        wayout.SETTLE,
        wayout.BRIDGE,
        wayout.GRACE,
        wayout.UNHELD,
        wayout.WARN,
    ]
    assert [float(number) for _, number in table("| what | number |")] == wanted
