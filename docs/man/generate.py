#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Render the man pages: `generate.py FOLDER` writes each docs/man/PAGE.in to FOLDER/PAGE.

A template is mdoc(7) with jinja2. Its prose is written there; commands, options, keys, events and numbers come from the
code's own tables, so one that is new is in the page by itself. `{% call text(KEY) %}` says more of one, in front of the
list that has it. A text for what the code does not have, and an entry of which nothing is said, are errors.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import NamedTuple

import jinja2

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # not what the host has installed

from keepalived_dummy import __version__, child, cli, config, events, files, routes, state

MAN = Path(__file__).resolve().parent
TREE = MAN.parents[1]
PRIORITIES = {state.WARNING: "warning", state.NOTICE: "notice", state.INFO: "info"}
Marks = dict[str, str]  # a word, and the mdoc macro that stands for it


class Drift(Exception):
    """A template and the code do not have the same; one line each."""


class Option(NamedTuple):
    """`key` names it to `text`; `form` is its mdoc, `value` the word that stands for its argument."""

    key: str
    form: str
    value: str
    help: str


class Command(NamedTuple):
    """`synopsis` is mdoc, an item for each pair of brackets; of several options in one, one can be given."""

    name: str
    help: str
    options: list[Option]
    synopsis: list[str]


def command(name: str, help: str, parser: argparse.ArgumentParser) -> Command:
    """A command as its parser knows it, or the program with the empty name. Hidden options are left out.

    So is a command's --help, which the program's own stands for.
    """
    shown: dict[argparse.Action, Option] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction) or action.help == argparse.SUPPRESS:
            continue
        if not action.option_strings:
            raise Drift(f"{name} {action.dest}: an argument without an option, which no page has")
        if not name or not isinstance(action, argparse._HelpAction):
            shown[action] = option(name, action)
    groups = [group._group_actions for group in parser._mutually_exclusive_groups]
    brackets: dict[str, None] = {}
    for action in shown:
        group = next((group for group in groups if action in group), [action])
        brackets[" | ".join(shown[one].form for one in group if one in shown)] = None
    return Command(name, help, list(shown.values()), list(brackets))


def option(name: str, action: argparse.Action) -> Option:
    """An option by its long name, as `--root DIR` has the form `Fl -root Ar DIR`."""
    flag = action.option_strings[-1]
    value = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
    form = f"Fl {flag[1:]}" + (f" Ar {value}" if value else "")
    return Option(f"{name} {flag}".strip(), form, value, (action.help or "") % vars(action))


def commands(parser: argparse.ArgumentParser) -> list[Command]:
    """The commands in the order of --help."""
    (sub,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    helps = {choice.dest: choice.help or "" for choice in sub._choices_actions}
    return [command(name, helps.get(name, ""), each) for name, each in sub.choices.items()]


def day(changelog: str) -> str:
    """The day, in UTC, of the newest entry of a debian/changelog, as .Dd takes it: the same at each build."""
    stamp = re.search(r"^ -- .*>  (.*)$", changelog, re.MULTILINE)
    if not stamp:
        raise Drift("debian/changelog: no entry with a date")
    when: datetime = parsedate_to_datetime(stamp[1]).astimezone(timezone.utc)
    return f"{when:%B} {when.day}, {when.year}"  # nothing here sets a locale, so %B is English


def sentence(text: str, marks: Marks, value: str = "") -> str:
    """What the code says, as a sentence of mdoc: words that `marks` has, and `value`, become macros."""
    if not text:
        return ""
    macros = {**marks, value: f"Ar {value}"} if value else marks
    lines = [""]
    for word, end in re.findall(r"(\S+?)([,;:.]*)(?:\s+|$)", f"{text.rstrip('.')}."):
        if word in macros:
            lines += [f".{macros[word]} {end}".rstrip(), ""]
        else:
            plain = word if any(lines) else word[0].upper() + word[1:]
            lines[-1] += f" {_escaped(plain)}{end}"
    return "\n".join(filter(None, map(str.strip, lines)))


def _escaped(word: str) -> str:
    """A word with what mdoc(7) would take for its own, or groff draw otherwise, escaped."""
    word = word.translate({ord("\\"): r"\e", ord("^"): r"\(ha", ord("~"): r"\(ti"})
    return f"\\&{word}" if word[0] in ".'" else word


def known() -> dict[str, object]:
    """What the code knows, by the names that templates have for it."""
    parser = cli.parser()
    return {
        "version": __version__,
        "day": day((TREE / "debian/changelog").read_text(encoding="utf-8")),
        "program": command("", "", parser),
        "commands": commands(parser),
        "config": config,
        "events": events.KINDS,
        "priorities": PRIORITIES,
        "routes": routes,
        "runtime": f"/{files.RUNTIME}",
        "timeout": child.TIMEOUT,
    }


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    environment.filters["sentence"] = sentence
    return environment


def render(template: Path) -> str:
    """A page. Raises Drift, with the template's name in each line."""
    texts: dict[str, str] = {}
    used: set[str] = set()
    wrong: list[str] = []

    def text(key: str, caller: Callable[[], str]) -> str:
        if key in texts:
            wrong.append(f"{key} has two texts")
        if key in used:
            wrong.append(f"the text for {key} stands after its place")
        texts[key] = caller().strip("\n")
        return ""

    def about(key: str, said: str = "") -> str:
        used.add(key)
        if not (lines := [part for part in (said, texts.get(key)) if part]):
            wrong.append(f"nothing is said of {key}")
        return "\n".join(lines)

    try:
        source = _environment().from_string(template.read_text(encoding="utf-8"))
        page = source.render(known(), text=text, about=about)
    except (jinja2.TemplateError, Drift) as error:
        raise Drift(f"{template.name}: {error}") from error
    wrong += [f"a text for {key}, which the code does not have" for key in texts.keys() - used]
    if wrong:
        raise Drift("\n".join(f"{template.name}: {one}" for one in sorted(wrong)))
    return page


def templates() -> list[Path]:
    return sorted(MAN.glob("*.in"))


def main(arguments: list[str]) -> int:
    """Writes all pages, or none where one is wrong."""
    if len(arguments) != 1:
        print("usage: generate.py FOLDER", file=sys.stderr)
        return 2
    pages: dict[str, str] = {}
    status = 0
    for template in templates():
        try:
            pages[template.stem] = render(template)
        except Drift as error:
            print(error, file=sys.stderr)
            status = 1
    if not status:
        folder = Path(arguments[0])
        folder.mkdir(parents=True, exist_ok=True)
        for name, page in pages.items():
            (folder / name).write_text(page, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
