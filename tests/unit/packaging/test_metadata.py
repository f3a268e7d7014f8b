# SPDX-License-Identifier: MIT
"""debian/ says what pyproject.toml and the code say; stdeb's derivation stands for the former."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import tomllib

import keepalived_dummy

TREE = Path(__file__).resolve().parents[3]
Fields = dict[str, str]


def control(path: Path) -> tuple[Fields, Fields]:
    """The source paragraph and the one binary paragraph of a debian/control (deb822(5))."""
    paragraphs = [
        {
            name.lower(): " ".join(value.split("\n", 1)[0].split()) + joined(value)
            for name, value in re.findall(r"^(\S+?):[ \t]*(.*(?:\n[ \t].*)*)", text, re.MULTILINE)
        }
        for text in path.read_text().strip().split("\n\n")
    ]
    source, binary = paragraphs
    return source, binary


def joined(value: str) -> str:
    """The continuation lines of a field, as one line."""
    rest = value.partition("\n")[2]
    return " " + " ".join(rest.split()) if rest else ""


def relations(field: str) -> set[str]:
    """The entries of a dependency field, without the variables that debhelper fills in."""
    entries = {" ".join(entry.split()) for entry in field.split(",")}
    return {entry for entry in entries if entry and not entry.startswith("${")}


@pytest.fixture(scope="module")
def derived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fields, Fields]:
    folder = tmp_path_factory.mktemp("stdeb") / "debian"
    script = TREE / "tests/packaging/debianize"
    done = subprocess.run([script, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return control(folder / "control")


@pytest.fixture(scope="module")
def maintained() -> tuple[Fields, Fields]:
    return control(TREE / "debian/control")


def test_version_is_the_changelogs() -> None:
    command = ["dpkg-parsechangelog", "-l", str(TREE / "debian/changelog"), "-S", "Version"]
    version = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert version == keepalived_dummy.__version__


@pytest.mark.parametrize("field", ["depends", "recommends", "suggests"])
def test_relations_are_the_derived_ones(
    derived: tuple[Fields, Fields], maintained: tuple[Fields, Fields], field: str
) -> None:
    assert relations(maintained[1][field]) == relations(derived[1][field])


def test_python_dependencies_are_there_for_the_tests_of_the_build(
    derived: tuple[Fields, Fields], maintained: tuple[Fields, Fields]
) -> None:
    modules = {name for name in relations(derived[1]["depends"]) if name.startswith("python3-")}
    assert modules == {"python3-jinja2", "python3-pyroute2"}
    # The man pages are made with jinja2, also where no test is run.
    wanted = {"python3-jinja2", "python3-pyroute2 <!nocheck>"}
    assert wanted <= relations(maintained[0]["build-depends"])


def test_the_oldest_python_is_the_code_s(maintained: tuple[Fields, Fields]) -> None:
    """dh_python3 makes no dependency of requires-python, but of this field."""
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    assert maintained[0]["x-python3-version"].strip() == project["requires-python"]


def test_name_and_section_are_the_derived_ones(
    derived: tuple[Fields, Fields], maintained: tuple[Fields, Fields]
) -> None:
    assert maintained[1]["package"] == derived[1]["package"]
    assert maintained[0]["section"] == derived[0]["section"]
    assert maintained[1]["architecture"] == derived[1]["architecture"]


def test_the_licence_in_copyright_is_LICENSE() -> None:
    text = (TREE / "debian/copyright").read_text().rpartition("License: Expat\n")[2]
    lines = [line.removeprefix(" ") for line in text.splitlines()]
    given = [line if line != "." else "" for line in lines]
    licence = (TREE / "LICENSE").read_text()
    assert "\n".join(given) == licence[licence.index("Permission") :].rstrip("\n")
