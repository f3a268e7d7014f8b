# SPDX-License-Identifier: MIT
"""The man pages, as made, and the commented conf say just what the command line, the conf reader and the daemon have."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from commandline import TREE, commands, options
from manual import PAGES

from keepalived_dummy import cli, config, files, lastgood, routes
from keepalived_dummy.child import TIMEOUT
from keepalived_dummy.events import KINDS
from keepalived_dummy.state import INFO, NOTICE, WARNING

CONFFILE = TREE / "etc/keepalived-dummy.d/keepalived.conf"
SYSTEM = TREE / "lib/systemd/system"
PRIORITIES = {"warning": WARNING, "notice": NOTICE, "info": INFO}


def section(page: str, name: str) -> str:
    """The mdoc(7) of a section."""
    found = re.search(
        rf"^\.Sh {re.escape(name)}\n(.*?)(?=^\.Sh |\Z)", PAGES[page], re.DOTALL | re.MULTILINE
    )
    assert found, name
    return found[1]


def entries(text: str, macro: str) -> list[tuple[str, str]]:
    """The entries of lists, as what stands after `.It MACRO` and the mdoc up to the next one."""
    parts = re.split(rf"^\.It {macro} (.*)\n", text, flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def plain(text: str) -> str:
    """mdoc as the words that a reader sees, on one line; the end of a list ends it."""
    lines = text.partition("\n.El")[0].splitlines()
    said = " ".join(re.sub(r"^\.[A-Z][a-z] ", "", line) for line in lines)
    return re.sub(r" ([,.;:])(?= |$)", r"\1", said)


# keepalived-dummy(8) and the command line


def test_manual_has_the_commands_and_options_of_the_command_line() -> None:
    found: dict[str, set[str]] = {}
    for kind, words in re.findall(
        r"^\.It (Cm|Fl) (.*)$", section("keepalived-dummy.8", "COMMANDS"), re.MULTILINE
    ):
        if kind == "Cm":
            found[words] = {"--help"}
        else:
            found[list(found)[-1]].add("-" + words.replace(" Ar ", " "))
    assert found == {name: options(parser) for name, parser in commands().items()}


def test_manual_has_the_options_without_a_command() -> None:
    found = entries(section("keepalived-dummy.8", "OPTIONS"), "Fl")
    assert {f"-{option}" for option, _ in found} == options(cli.parser())


def test_synopsis_has_the_commands_and_options_of_the_command_line() -> None:
    synopsis = section("keepalived-dummy.8", "SYNOPSIS")
    found: dict[str, set[str]] = {}
    for part in filter(None, synopsis.split(".Nm\n")):
        lines = part.strip().splitlines()
        name = lines.pop(0).removeprefix(".Cm ") if lines[0].startswith(".Cm ") else ""
        shown = [one for line in lines for one in line.removeprefix(".Op Fl ").split(" | Fl ")]
        found[name] = {"-" + one.replace(" Ar ", " ") for one in shown}
    wanted = {name: options(parser) - {"--help"} for name, parser in commands().items()}
    assert found == {**wanted, "": options(cli.parser())}


@pytest.mark.parametrize("name", ["", *commands()])
def test_help_says_what_the_manual_says(name: str) -> None:
    """The real command in the tree, not the parser."""
    words = [sys.executable, "-m", "keepalived_dummy", *filter(None, [name]), "--help"]
    done = subprocess.run(words, cwd=TREE, capture_output=True, text=True, check=True)
    said = set(re.findall(r"^  (?:-h, )?(--[\w-]+(?: [A-Z]+)?)", done.stdout, re.MULTILINE))
    assert said == options(commands()[name] if name else cli.parser())
    if not name:
        listed = re.findall(r"^    ([a-z]\S*)", done.stdout, re.MULTILINE)
        assert listed == [n for n, _ in entries(section("keepalived-dummy.8", "COMMANDS"), "Cm")]


# keepalived-dummy.conf(5), the commented conf, and the conf reader


def manual_keys() -> dict[str, dict[str, str]]:
    """Sections, keys, and the default of each: the last sentence of its text."""
    found: dict[str, dict[str, str]] = {}
    for name in re.findall(
        r"^\.Sh \[(\w+)\] SECTION$", PAGES["keepalived-dummy.conf.5"], re.MULTILINE
    ):
        keys = found[name] = {}
        for key, text in entries(section("keepalived-dummy.conf.5", f"[{name}] SECTION"), "Va"):
            said, _, default = plain(text).rpartition("The default is ")
            assert said, key
            assert key not in keys, key
            keys[key.removesuffix("=")] = default.removesuffix(".")
    return found


def conffile_keys() -> dict[str, dict[str, str]]:
    """Sections, keys and values of the commented conf."""
    found: dict[str, dict[str, str]] = {}
    for name, key, value in re.findall(
        r"^\[(\w+)\]$|^#(\w+)=(.*)$", CONFFILE.read_text(), re.MULTILINE
    ):
        if name:
            found[name] = {}
        else:
            found[list(found)[-1]][key] = value
    return found


def default_of(key: config.Key) -> object:
    """What a conf of comments gives."""
    dummy, problems = config.parse(b"# nothing\n", "keepalived.conf", config.DEFAULT_STEM)
    assert not problems
    return getattr(dummy, key.field)


KEYS = [(name, key) for name, keys in config.KEYS.items() for key in keys]


def test_manual_has_the_keys_and_defaults_of_the_conf_reader() -> None:
    known = {
        name.upper(): {key: known.default for key, known in keys.items()}
        for name, keys in config.KEYS.items()
    }
    found = manual_keys()
    assert found == known
    assert {name: list(keys) for name, keys in found.items()} == {
        name: list(keys) for name, keys in known.items()
    }


def test_the_commented_conf_has_the_keys_of_the_conf_reader() -> None:
    wanted = {name: list(keys) for name, keys in config.KEYS.items()}
    assert {name: list(keys) for name, keys in conffile_keys().items()} == wanted


@pytest.mark.parametrize(("name", "key"), KEYS)
def test_a_default_is_the_one_of_the_code(name: str, key: str) -> None:
    """In the table, from which the manual is checked, and in the commented conf."""
    known = config.KEYS[name][key]
    value = conffile_keys()[name][key]
    default = default_of(known)
    if default is None:  # the kernel's or networkd's own
        assert value == ""
        assert re.match("the kernel's|networkd's", known.default)
    else:
        assert known.parse(known.default.split()[0]) == default
        assert known.parse(value) == default


# keepalived-dummyd(8) and the daemon

DAEMON = "keepalived-dummyd.8"


def daemon_sources() -> str:
    """What the resident process imports."""
    script = (
        "import sys; import keepalived_dummy.daemon\n"
        "for name, module in sys.modules.items():\n"
        "    if name.startswith('keepalived_dummy.'): print(module.__file__)\n"
    )
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, cwd=TREE, capture_output=True, text=True, check=True)
    return "".join(Path(path).read_text() for path in done.stdout.split())


def test_manual_has_the_events() -> None:
    found = {}
    for name, text in entries(section(DAEMON, "JOURNAL"), "Li"):
        said = re.match(r"(\w{32}), (\w+)((?:, \w+=)*)\. [\w].*\.$", plain(text.split(".Ss")[0]))
        assert said, name
        fields = tuple(field.removesuffix("=") for field in said[3].split(", ")[1:])
        found[name] = (said[1], PRIORITIES[said[2]], fields)
    assert found == {name: tuple(kind) for name, kind in KINDS.items()}
    assert list(found) == list(KINDS)


def test_manual_has_the_signals() -> None:
    (registered,) = re.findall(r"for sig in \(([^)]*)\)", daemon_sources())
    names = re.findall(r"SIG\w+", section(DAEMON, "SIGNALS"))
    assert sorted(names) == sorted(re.findall(r"SIG\w+", registered))


def test_manual_has_the_environment() -> None:
    read = set(re.findall(r"""environ\.get\(\s*["'](\w+)""", daemon_sources()))
    named = re.findall(r"Ev (\w+)", section(DAEMON, "ENVIRONMENT"))
    assert sorted(named) == sorted(read)


def test_manual_has_the_files() -> None:
    written = set(re.findall(r'state\.write\("([\w.]+)"', daemon_sources()))
    by_a_pass = {lastgood.NAME, "lock"}
    named = [name for name, _ in entries(section(DAEMON, "FILES"), "Pa")]
    assert sorted(named) == sorted(f"/{files.RUNTIME}/{name}" for name in written | by_a_pass)


def test_manual_has_the_numbers() -> None:
    said = plain(PAGES[DAEMON].partition(".Sh SIGNALS")[0].replace("\n.El", ""))
    assert f"protocol {routes.PROTOCOL} and metric {routes.METRIC}." in said
    assert f"killed after {TIMEOUT:g} seconds" in said


def test_manual_names_settings_that_the_unit_has() -> None:
    unit = (SYSTEM / "keepalived-dummy.service").read_text().splitlines()
    text = section(DAEMON, "SANDBOX") + section(DAEMON, "EXIT STATUS")
    named = re.findall(r"Li ([A-Z]\w+=\S+)", text)
    assert len(named) > 5
    assert set(named) <= set(unit)
    (given,) = (line for line in unit if line.startswith("AmbientCapabilities="))
    assert re.findall(r"CAP_\w+", text) == given.partition("=")[2].split()


def test_manual_has_the_drop_in_of_keepalived() -> None:
    drop_in = (SYSTEM / "keepalived.service.d/keepalived-dummy.conf").read_text()
    wanted = re.findall(r"^[A-Z]\w+=.*$", drop_in, re.MULTILINE)
    wanted = [one.partition("=")[0] + "=" if " " in one else one for one in wanted]  # a command
    named = re.findall(r"Li ([A-Z]\w+=\S*)", section(DAEMON, "KEEPALIVED.SERVICE"))
    assert named == wanted


# all


def test_each_page_is_in_the_package() -> None:
    listed = (TREE / "debian/keepalived-dummy.manpages").read_text().split()
    assert sorted(listed) == [f"build/man/{page}" for page in sorted(PAGES)]


@pytest.mark.parametrize("page", PAGES)
def test_groff_renders_the_manual_without_a_warning(page: str) -> None:
    command = ["groff", "-mandoc", "-Tutf8", "-P-cbou", "-ww"]
    done = subprocess.run(command, input=PAGES[page], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "SEE ALSO" in done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_mandoc_has_nothing_to_warn_of(page: str) -> None:
    command = ["mandoc", "-T", "lint", "-W", "warning"]
    done = subprocess.run(command, input=PAGES[page], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("page", PAGES)
def test_references_between_our_pages_are_right(page: str) -> None:
    known = {tuple(name.rsplit(".", 1)) for name in PAGES}
    named = re.findall(r"^\.Xr (keepalived-dummy\S*) (\d)", PAGES[page], re.MULTILINE)
    assert named
    assert set(named) <= known
