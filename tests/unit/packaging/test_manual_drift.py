# SPDX-License-Identifier: MIT
"""docs/man/generate.py makes the same pages everywhere, and none where a template and the code part."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from commandline import TREE
from manual import PAGES, SCRIPT, generate

from keepalived_dummy import __version__, cli, config, events

PROGRAM, CONF, DAEMON = "keepalived-dummy.8", "keepalived-dummy.conf.5", "keepalived-dummyd.8"


def template(page: str) -> Path:
    return SCRIPT.parent / f"{page}.in"


def drift(path: Path) -> str:
    with pytest.raises(generate.Drift) as raised:
        generate.render(path)
    return str(raised.value)


# A template that is not as the code is


@pytest.mark.parametrize(
    ("page", "old", "new", "said"),
    [
        (PROGRAM, '"adopt --yes"', '"adopt --no"', "a text for adopt --no, which"),
        (PROGRAM, '"generate"', '"generated"', "a text for generated, which"),
        (PROGRAM, '"apply --remove"', '"apply --daemon"', "a text for apply --daemon, which"),
        (CONF, '"[Uplink] Wire"', '"[Interface] Wire"', "a text for [Interface] Wire, which"),
        (CONF, '"[Uplink] Wire"', '"[Interface] Wire"', "nothing is said of [Uplink] Wire"),
        (DAEMON, 'text("healed")', 'text("heeled")', "a text for heeled, which"),
        (DAEMON, 'text("healed")', 'text("heeled")', "nothing is said of healed"),
        (DAEMON, 'text("vip-gone")', 'text("vip-held")', "vip-held has two texts"),
        (DAEMON, '"healed": "The', '"changed": "The', "'dict object' has no attribute 'healed'"),
        (DAEMON, "routes.PROTOCOL", "routes.PROTO", "has no attribute 'PROTO'"),
        (CONF, "{% endcall %}", "{% endcal %}", "unknown tag 'endcal'"),
    ],
)
def test_a_template_with_another_key_is_an_error(
    tmp_path: Path, page: str, old: str, new: str, said: str
) -> None:
    text = template(page).read_text()
    assert old in text
    path = tmp_path / template(page).name
    path.write_text(text.replace(old, new))
    wrong = [line for line in drift(path).splitlines() if said in line]
    assert wrong
    assert wrong[0].startswith(f"{path.name}: ")


def test_a_text_after_its_place_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "page.8.in"
    path.write_text('{{ about("a", "A.") }}\n{% call text("a") %}More.{% endcall %}\n')
    assert drift(path) == "page.8.in: the text for a stands after its place"


# Code that is not as a template is


def consent(*words: str, **rest: str) -> Callable[[argparse.ArgumentParser], None]:
    """Something else in place of what adopt and revert both take."""

    def add(command: argparse.ArgumentParser) -> None:
        command.add_argument(*words, action="store_true", **rest)  # type: ignore[arg-type]

    return add


def test_an_option_that_is_gone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_add_consent", consent("--sure", help="do not ask"))
    said = "keepalived-dummy.8.in: a text for adopt --yes, which the code does not have"
    assert drift(template(PROGRAM)) == said


def test_an_option_that_is_hidden_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_add_consent", consent("--yes", help=argparse.SUPPRESS))
    assert "a text for adopt --yes" in drift(template(PROGRAM))


def test_an_option_without_help_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    was = cli._add_consent
    monkeypatch.setattr(cli, "_add_consent", lambda c: (was(c), consent("--sure")(c)))
    assert drift(template(PROGRAM)).splitlines() == [
        f"keepalived-dummy.8.in: nothing is said of {name} --sure" for name in ("adopt", "revert")
    ]


def test_an_argument_that_no_page_has_a_form_for_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cli, "_add_consent", lambda command: command.add_argument("what"))
    assert "keepalived-dummy.8.in: adopt what: " in drift(template(PROGRAM))


def test_a_new_option_is_in_the_page_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    was = cli._add_consent
    more = consent("--sure", help="be 100%% sure of FILE")
    monkeypatch.setattr(cli, "_add_consent", lambda c: (was(c), more(c)))
    page = generate.render(template(PROGRAM))
    assert page.count("\n.Op Fl -no-reload\n.Op Fl -sure\n.Nm\n") == 2
    assert page.count("\n.It Fl -sure\nBe 100% sure of FILE.\n.El\n.It Cm ") == 2


def test_a_key_that_is_new_or_gone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = config.KEYS["Uplink"]
    monkeypatch.setitem(config.KEYS, "Uplink", {**keys, "Cable": keys["Wire"]})
    assert drift(template(CONF)) == f"{CONF}.in: nothing is said of [Uplink] Cable"
    less = {name: key for name, key in keys.items() if name != "Wire"}
    monkeypatch.setitem(config.KEYS, "Uplink", less)
    said = f"{CONF}.in: a text for [Uplink] Wire, which the code does not have"
    assert drift(template(CONF)) == said


def test_another_default_is_another_page(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = config.KEYS["Uplink"]
    monkeypatch.setitem(keys, "Wire", replace(keys["Wire"], default="no"))
    page = generate.render(template(CONF))
    before, after = ("The default is\n.Li yes .\n", "The default is\n.Li no .\n")
    assert (PAGES[CONF].count(before), PAGES[CONF].count(after)) == (4, 0)
    assert (page.count(before), page.count(after)) == (3, 1)


def test_an_event_that_is_new_or_gone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = events.KINDS
    monkeypatch.setattr(events, "KINDS", {**kinds, "bored": events.Kind("0" * 32, 6)})
    assert drift(template(DAEMON)) == f"{DAEMON}.in: nothing is said of bored"
    less = {name: kind for name, kind in kinds.items() if name != "waiting"}
    monkeypatch.setattr(events, "KINDS", less)
    said = f"{DAEMON}.in: a text for waiting, which the code does not have"
    assert drift(template(DAEMON)) == said


# mdoc from what the code says


@pytest.mark.parametrize(
    ("text", "value", "wanted"),
    [
        ("", "", ""),
        ("do not ask", "", "Do not ask."),
        ("work in DIR instead of /", "DIR", "Work in\n.Ar DIR\ninstead of\n.Pa / ."),
        ("take FILE, else a.conf", "FILE", "Take\n.Ar FILE ,\nelse\n.Xr a 5 ."),
        ("a.conf is read", "", ".Xr a 5\nis read."),
        ("until ^C, in ~ or \\", "", "Until \\(haC, in \\(ti or \\e."),
        ("not in .d or 'd", "", "Not in \\&.d or \\&'d."),
        ("a full stop.", "", "A full stop."),
    ],
)
def test_sentence(text: str, value: str, wanted: str) -> None:
    marks = {"/": "Pa /", "a.conf": "Xr a 5"}
    assert generate.sentence(text, marks, value) == wanted


@pytest.mark.parametrize(
    ("stamp", "day"),
    [
        ("Wed, 25 Nov 2026 01:00:00 +0000", "November 25, 2026"),
        ("Wed, 25 Nov 2026 01:00:00 +0200", "November 24, 2026"),
        ("Fri, 01 Jan 2027 09:00:00 +0000", "January 1, 2027"),
    ],
)
def test_the_day_is_that_of_the_newest_entry_in_utc(stamp: str, day: str) -> None:
    entry = "keepalived-dummy (1) unstable; urgency=low\n\n  * Said.\n\n -- A <a@b>  {}\n\n"
    old = entry.format("Mon, 01 Jan 2024 00:00:00 +0000")
    assert generate.day(entry.format(stamp) + old) == day


def test_a_changelog_without_a_date_is_an_error() -> None:
    with pytest.raises(generate.Drift, match="no entry with a date"):
        generate.day("keepalived-dummy (1) unstable; urgency=low\n")


# The program


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what the pages are made of."""
    copy = tmp_path / "tree"
    for folder in ("docs/man", "keepalived_dummy"):
        shutil.copytree(TREE / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "debian").mkdir()
    shutil.copy(TREE / "debian/changelog", copy / "debian")
    return copy


def made(tree: Path, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-B", str(tree / "docs/man/generate.py"), str(folder)]
    given = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(
        command, cwd=tree.parent, env=given, capture_output=True, text=True, check=False, umask=0o77
    )


@pytest.mark.parametrize(
    "environment",
    [
        {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "PYTHONHASHSEED": "1"},
        {"TZ": "Pacific/Pago_Pago", "LC_ALL": "de_DE.UTF-8", "PYTHONHASHSEED": "2"},
        {"SOURCE_DATE_EPOCH": "0", "COLUMNS": "20", "FORCE_COLOR": "1"},
    ],
)
def test_the_same_bytes_everywhere(tree: Path, environment: dict[str, str]) -> None:
    folder = tree.parent / "a/b"
    done = made(tree, folder, **environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {path.name: path.read_text() for path in folder.iterdir()} == PAGES


def test_no_page_is_written_where_one_is_wrong(tree: Path) -> None:
    path = tree / "keepalived_dummy/cli.py"
    path.write_text(path.read_text().replace('"--partial"', '"--part"'))
    done = made(tree, tree.parent / "man")
    said = "keepalived-dummy.8.in: a text for adopt --partial, which the code does not have\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
    assert not (tree.parent / "man").exists()


def test_it_says_how_it_is_used() -> None:
    done = subprocess.run([SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: generate.py FOLDER\n")


def test_each_page_has_the_version_and_the_day() -> None:
    command = ["dpkg-parsechangelog", "-l", str(TREE / "debian/changelog"), "-S", "Timestamp"]
    stamp = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    when = datetime.fromtimestamp(stamp, timezone.utc)
    for page in PAGES.values():
        assert f"\n.Dd {when:%B} {when.day}, {when.year}\n" in page
        assert f"\n.Os keepalived-dummy {__version__}\n" in page
