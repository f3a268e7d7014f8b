# SPDX-License-Identifier: MIT
"""Every command in the documents is one that there is, and is run: here, or by a test in a guest that is named."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from commandline import TREE, commands
from documents import DOCUMENTS, MANUALS, TEXTS, Code, code, commands_of, seen

from keepalived_dummy import cli, config, files, foreign, journal, lastgood, units
from keepalived_dummy.events import KINDS

OURS = "keepalived-dummy"
# Of others: what they do is theirs to hold.
FOREIGN = {
    *("add-apt-repository", "apt", "apt-get", "aptly", "dch", "debuild", "dput", "git", "reprepro"),
    *("ansible", "ansible-playbook", "chmod", "ln", "python3"),
    *("ip", "journalctl", "netplan", "networkctl", "systemctl", "tc"),
}
KNOWN = {OURS, "make", *FOREIGN}
# Blocks that are no shell, by what is in them: keepalived.conf, our conf, pictures, files of apt and of GitLab.
OTHER = re.compile(
    r"\A(?:vrrp_instance .*|virtual_ipaddress )\{|\A\[\w+\]|^ *\||\s->\s|\A# /etc/apt/sources|\Avariables:",
    re.MULTILINE,
)

# Not here, for they change the host or do not end: what runs them in a guest, and how it says so.
IN_A_GUEST = {
    "adopt": ("debian/tests/adopt_files.py", '["keepalived-dummy", "adopt"]'),
    "adopt --dry-run": ("debian/tests/adopt_live.py", 'command("adopt --dry-run")'),
    "adopt --yes": ("tests/field/life.py", "keepalived-dummy adopt --yes"),
    "apply": ("debian/tests/events.py", "keepalived-dummy apply"),
    "apply --remove": ("debian/tests/wire_place.py", 'apply("--remove")'),
    "check --probe": ("debian/tests/hazards.py", 'look("--probe")'),
    "revert": ("tests/field/life.py", "keepalived-dummy revert --yes"),
    "revert --yes": ("tests/field/life.py", "keepalived-dummy revert --yes"),
    "status --watch": ("debian/tests/status.py", '"status", "--brief", "--watch"'),
}


class Command(NamedTuple):
    """A command, where it stands, and whether in a block."""

    where: str
    block: bool
    name: str
    given: tuple[str, ...]


def pieces() -> Iterator[tuple[Code, list[str]]]:
    """Every command of every document: all of a block of shell, and of a line what is more than a name."""
    for path in DOCUMENTS:
        for item in code(path):
            if item.block and OTHER.search(item.text):
                continue
            first, *given = item.text.split()
            if item.block or (given and (first in KNOWN or first.startswith("tests/"))):
                yield from ((item, command) for command in commands_of(item))
            elif first in commands() and given and given[0].startswith("--"):
                yield item, [OURS, first, *given]


COMMANDS = sorted(
    {Command(item.where, item.block, words[0], tuple(words[1:])) for item, words in pieces()}
)


def each(*first: str) -> list[tuple[str, ...]]:
    """The distinct commands with this first word, without it."""
    return sorted({command.given for command in COMMANDS if command.name in first})


def test_there_are_commands_in_each_kind_of_document() -> None:
    where = {command.where for command in COMMANDS}
    assert {str(path.relative_to(TREE)) for path in MANUALS} <= where
    assert {"README.md", "docs/how-it-works.md", "debian/README.Debian"} <= where
    assert len(COMMANDS) > 80


def test_every_command_of_a_block_is_known() -> None:
    for command in COMMANDS:
        known = command.name in KNOWN or (TREE / command.name).is_file()
        assert known or not command.block, command


@pytest.mark.parametrize("given", each(OURS))
def test_the_parser_takes_it(given: tuple[str, ...]) -> None:
    cli.parser().parse_args(given)


@pytest.mark.parametrize("given", each("make"))
def test_make_has_the_target(given: tuple[str, ...]) -> None:
    """And what it needs: make itself goes through it, and runs nothing."""
    makefile = (TREE / "Makefile").read_text()
    targets = [word for word in given if "=" not in word]
    assert targets
    for target in targets:
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE)
    for variable in (word.partition("=")[0] for word in given if "=" in word):
        assert f"$({variable}" in makefile
    command = ["make", "--dry-run", "--silent", *given]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def units_there() -> set[str]:
    return {path.name for path in (TREE / "lib/systemd/system").iterdir() if path.is_file()}


@pytest.mark.parametrize("given", each("systemctl", "journalctl"))
def test_units_events_and_fields_are_ours(given: tuple[str, ...]) -> None:
    for word in given:
        if word.startswith(OURS):
            assert {word, f"{word}.service"} & units_there()
        if field := re.fullmatch(r"([A-Z]+)=(.*)", word):
            assert field[1] in {"EVENT", *(name for kind in KINDS.values() for name in kind.fields)}
            assert field[1] != "EVENT" or field[2] in KINDS


@pytest.mark.parametrize("given", each("apt", "apt-get"))
def test_a_package_is_one_that_debian_control_names(given: tuple[str, ...]) -> None:
    named = re.findall(r"[a-z0-9][a-z0-9.+-]+", (TREE / "debian/control").read_text())
    verb, *packages = [word for word in given if not word.startswith(("-", "./dist/"))]
    assert verb in ("install", "purge")
    assert set(packages) <= set(named)


@pytest.mark.parametrize("given", each("ansible-playbook"))
def test_a_playbook_is_there(given: tuple[str, ...]) -> None:
    books = [word for word in given if word.endswith(".yml")]
    assert len(books) == 2
    assert all((TREE / "examples/ansible" / book).is_file() for book in books)


SCRIPTS = sorted({command.name for command in COMMANDS if command.name.startswith("tests/")})


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_of_the_tree_can_be_run(script: str) -> None:
    assert os.access(TREE / script, os.X_OK)


@pytest.mark.parametrize("path", [path for path in MANUALS if path.name.endswith(".5.in")])
def test_an_example_of_a_conf_is_right(path: Path) -> None:
    blocks = [item.text for item in code(path) if item.block and item.text.startswith("[")]
    assert blocks
    for block in blocks:
        dummy, problems = config.parse(block.encode(), "example.conf", "example")
        assert (dummy is not None, problems) == (True, ())


# Run


def is_harmless(given: tuple[str, ...]) -> bool:
    """Whether it only reads, and ends."""
    if given[0] in ("generate", "status", "check"):
        return not {"--watch", "--probe"} & set(given)
    return given == ("wire", "--dry-run")


HERE = [given for given in each(OURS) if is_harmless(given)]


@pytest.mark.parametrize("given", [*HERE, ("--help",), ("--version",)])
def test_it_runs(given: tuple[str, ...], tmp_path: Path) -> None:
    """As the installed command does, on this host; a folder that is named is one of the test's own."""
    wanted = [0, 1, 2, 3] if given[0] == "check" else [0]
    arguments = [str(tmp_path) if word.startswith("/") else word for word in given]
    shutil.copytree(TREE / "etc/keepalived-dummy.d", tmp_path / "etc/keepalived-dummy.d")
    ran = [sys.executable, "-m", "keepalived_dummy", *arguments]
    done = subprocess.run(ran, cwd=TREE, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode in wanted, done.stderr
    assert "Traceback" not in done.stderr
    made = sorted(path.name for path in tmp_path.glob("run/systemd/network/*"))
    assert made == (sorted(units.names("keepalived")) if given[0] == "generate" else [])


def test_the_rest_is_run_in_a_guest() -> None:
    rest = {" ".join(given) for given in each(OURS)} - {" ".join(given) for given in HERE}
    assert rest == IN_A_GUEST.keys()
    for path, text in IN_A_GUEST.values():
        assert text in (TREE / path).read_text(), path


# What is named

NOT_THERE = {
    "debian/watch",  # docs/packaging.md says why
    "docs/evidence/field",  # `make field` makes it
}


def installed() -> set[str]:
    """The files of the package, by debian/, and their folders."""
    found: set[Path] = set()
    for line in (TREE / "debian/keepalived-dummy.install").read_text().splitlines():
        source, target = line.split()
        top = TREE / source
        for path in [top, *top.rglob("*")]:
            found.add(Path("/", target, path.relative_to(top.parent)))
    share = Path("/usr/share/doc/keepalived-dummy")
    for pattern in (TREE / "debian/keepalived-dummy.docs").read_text().split():
        for path in TREE.glob(pattern):
            found |= {share / path.name, share / f"{path.name}.gz"}
    found.add(share / "examples")
    return {str(path) for path in found}


def made() -> set[str]:
    """What the program makes or reads, by its own names."""
    files_of_confs = (
        "keepalived.conf",
        "NAME.conf",
        "*.conf",
        "keepalived-UPLINK.conf",
        "backend.conf",
    )
    return {
        *(
            f"/{units.FOLDER}/{name}"
            for stem in ("NAME", "keepalived")
            for name in units.names(stem)
        ),
        f"/{foreign.PATH}",
        str(journal.FOLDER),
        *(f"/{folder}" for folder in config.FOLDERS),
        *(f"/{folder}/{name}" for folder in config.FOLDERS for name in files_of_confs),
        f"/{files.RUNTIME}",
        *(
            f"/{files.RUNTIME}/{n}"
            for n in ("plan.json", "state.json", "memory.json", lastgood.NAME, "lock")
        ),
        "/var/lib/prometheus/node-exporter/keepalived-dummy.prom",  # by keepalived-dummy-metrics.service
        "/etc/apt/sources.list.d/keepalived-dummy.sources",  # by who publishes it
        "/etc/apt/keyrings/keepalived-dummy.asc",
    }


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_file_of_ours_is_in_the_package_or_made_by_it(path: Path) -> None:
    named = re.findall(r"(?<![\w.}/])/(?:etc|usr|lib|run|var)/[\w./*+-]*[\w*]", seen(path))
    ours = {name for name in named if OURS in name or re.search(r"/(05|90)-", name)}
    assert ours <= installed() | made()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_unit_of_ours_is_there(path: Path) -> None:
    named = re.findall(r"keepalived-dummy[\w-]*\.(?:service|path|timer)", seen(path))
    assert set(named) <= units_there()


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_a_file_of_the_tree_is_there(path: Path) -> None:
    text = seen(path)
    tops = "docs|debian|examples|tests|completions|keepalived_dummy|lib|sbin"
    named = re.findall(rf"(?<![\w/.-])(?:{tops})/[\w./-]*\w", text)
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    missing = [name for name in named if not (TREE / name).exists()]
    missing += [link for link in links if not (path.parent / link).exists()]
    assert set(missing) <= NOT_THERE


def anchors(path: Path) -> set[str]:
    """The names of a page's headings, as GitHub and GitLab make them."""
    heads = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(TREE)))
def test_a_heading_that_is_linked_is_there(path: Path) -> None:
    for page, name in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", path.read_text()):
        assert name in anchors(path.parent / page if page else path), f"{page}#{name}"


def test_the_readme_is_read_in_three_minutes() -> None:
    assert len((TREE / "README.md").read_text().splitlines()) <= 120


def test_the_index_has_every_page() -> None:
    folder = TREE / "docs"
    linked = set(re.findall(r"\]\(([^)#:]+)\)", (folder / "README.md").read_text()))
    pages = {path.name for path in folder.iterdir() if path.suffix in (".md", ".json")}
    assert pages - {"README.md"} <= linked


def test_the_package_has_every_page_but_those_of_the_source() -> None:
    """What debian/README.Debian says."""
    named = (TREE / "debian/keepalived-dummy.docs").read_text().split()
    shipped = {path.name for pattern in named for path in TREE.glob(pattern)}
    pages = {path.name for path in (TREE / "docs").glob("*.md")} - {"README.md"}
    assert pages - shipped == {"CODING_STYLE.md", "packaging.md"}


def test_architecture_has_every_module() -> None:
    text = (TREE / "docs/architecture.md").read_text()
    rows = text.partition("| module |")[2].partition("\n\n")[0].splitlines()[2:]
    named = [name for row in rows for name in re.findall(r"`(\w+)/?`", row.split("|")[1])]
    package = TREE / "keepalived_dummy"
    there = {path.stem for path in package.glob("*.py")} - {"__init__", "__main__"}
    there |= {path.parent.name for path in package.glob("*/__init__.py")}
    assert sorted(named) == sorted(there)
