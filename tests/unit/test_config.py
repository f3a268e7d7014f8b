# SPDX-License-Identifier: MIT
"""The reader of confs: tables of what is right and wrong, and any bytes at all."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from keepalived_dummy import config
from keepalived_dummy.config import KEYS, Config, Dummy
from keepalived_dummy.errors import Problem
from keepalived_dummy.units import render

PATH = "/etc/keepalived-dummy.d/lan.conf"
SHIPPED = Path(__file__).parents[2] / "etc/keepalived-dummy.d/keepalived.conf"


def parse(data: bytes | str, stem: str = "lan") -> tuple[Dummy | None, tuple[Problem, ...]]:
    return config.parse(data.encode() if isinstance(data, str) else data, PATH, stem)


GOOD: list[tuple[str, Mapping[str, object]]] = [
    ("", {}),
    ("[Interface]\n[Uplink]\n[Interface]\n", {}),
    ("[Interface]\nName=x", {"name": "x"}),
    ("[Interface]\nName=fifteen-bytes-x\n", {"name": "fifteen-bytes-x"}),
    ("[Interface]\nName=vip.100_a+b@c~\n", {"name": "vip.100_a+b@c~"}),
    ("[Interface]\nName=0x10\n", {"name": "0x10"}),
    (
        "[Interface]\nName=\nMTUBytes=\nMACAddress=\n[Uplink]\nName=\nWire=\nWayOut=\nForeignRoutes=\nHoldSource=\n",
        {},
    ),
    ("[Interface]\nMTUBytes=68\n", {"mtu": 68}),
    ("[Interface]\nMTUBytes=65535\n", {"mtu": 65535}),
    ("[Interface]\nMACAddress=02:AB:cd:EF:00:01\n", {"mac": "02:ab:cd:ef:00:01"}),
    ("[Uplink]\nName=auto\n", {}),
    ("[Uplink]\nName=ens3 \t bond0.12 ens3\n", {"uplinks": ("ens3", "bond0.12")}),
    ("[Uplink]\nName=a b c d e f g h\n", {"uplinks": tuple("abcdefgh")}),
    *[
        (f"[Uplink]\nWire={word}\n", {"wire": False})
        for word in ["0", "no", "N", "false", "F", "off"]
    ],
    *[(f"[Uplink]\nWayOut={word}\n", {}) for word in ["1", "YES", "y", "true", "T", "on"]],
    ("[Uplink]\nWayOut=no\n", {"way_out": False}),
    ("[Uplink]\nForeignRoutes=no\n", {"foreign_routes": False}),
]


@pytest.mark.parametrize(("text", "fields"), GOOD)
def test_good(text: str, fields: Mapping[str, object]) -> None:
    wanted = Dummy(**{"stem": "lan", "path": PATH, "name": "lan", **fields})  # type: ignore[arg-type]
    assert parse(text) == (wanted, ())


WORDS = {
    "name": r"^Name=.* found, an interface name has no ",
    "pattern": r"^Name=.* found, networkd would read .* as a pattern or a quote$",
    "length": r"^Name=.* found, an interface name has 1 to 15 bytes$",
    "kept": r"^Name=.* found, the kernel keeps this name for itself$",
    "mtu": r"^MTUBytes=.* found, wanted: bytes, 68 to 65535",
    "mac": r"^MACAddress=.* found, wanted: six hexadecimal pairs",
    "unicast": r"^MACAddress=.* found, wanted: a unicast address",
    "boolean": r"^(Wire|WayOut|ForeignRoutes|HoldSource)=.* found, wanted: yes or no$",
    "control": r"^control character '.*' found, wanted: plain text$",
}


def interface(*lines: str) -> str:
    return "\n".join(["[Interface]", *lines, ""])


# What is in the file, and (line, expression its message matches) of each problem, in order.
WRONG: list[tuple[str | bytes, list[tuple[int, str]]]] = [
    *[(interface(f"Name={name}"), [(2, WORDS["name"])]) for name in ("a/b", "a b", "a%b", "a:b")],
    (interface("Name=ünder"), [(2, WORDS["name"])]),
    (interface("Name=eth\u20030"), [(2, WORDS["name"])]),
    *[(interface(f"Name={name}"), [(2, WORDS["pattern"])]) for name in ("a*", "v?", "[a]", "!a")],
    (interface("Name=sixteen-bytes-xx"), [(2, WORDS["length"])]),
    (interface("Name=" + 8 * "ü"), [(2, WORDS["length"])]),
    *[(interface(f"Name={name}"), [(2, WORDS["kept"])]) for name in (".", "..", "all", "default")],
    (interface("Name=4711"), [(2, "digits alone")]),
    *[
        (interface(f"MTUBytes={value}"), [(2, WORDS["mtu"])])
        for value in (
            "67",
            "65536",
            "-1",
            "+1500",
            "1k",
            "1_500",
            "1500.0",
            "0x600",
            "٩٠٠٠",
            "auto",
        )
    ],
    *[
        (interface(f"MACAddress={value}"), [(2, WORDS["mac"])])
        for value in (
            "02:00:5e:00:53",
            "02:00:5e:00:53:01:02",
            "02-00-5e-00-53-01",
            "2:0:5e:0:53:1",
        )
    ],
    *[
        (interface(f"MACAddress={value}"), [(2, WORDS["unicast"])])
        for value in ("00:00:00:00:00:00", "01:00:5e:00:53:01", "ff:ff:ff:ff:ff:ff")
    ],
    ("[Uplink]\nWire=perhaps\nWayOut=2\n", [(2, WORDS["boolean"]), (3, WORDS["boolean"])]),
    ("[Uplink]\nName=ens3 auto\n", [(2, "wanted: auto alone")]),
    ("[Uplink]\nName=a b c d e f g h i\n", [(2, "at most 8 uplinks")]),
    ("[Uplink]\nName=ens3 en/s4\n", [(2, WORDS["name"])]),
    (interface("mtubytes=1500"), [(2, r"^unknown key 'mtubytes' in .*, did you mean MTUBytes\?$")]),
    (interface("WayOut=no"), [(2, r"^unknown key 'WayOut' in \[Interface\]")]),
    (interface("=x"), [(2, r"^unknown key '' in .*knows Name, MTUBytes, MACAddress$")]),
    ("[interface]\n", [(1, r"^unknown section '\[interface\]', did you mean Interface\?$")]),
    ("[Colour]\n", [(1, r"^unknown section .*, wanted: \[Interface\] or \[Uplink\]$")]),
    ("[Interface] x\n", [(1, "^unknown section")]),
    ("Name=a\n", [(1, r"found before any \[Section\], wanted: \[Interface\]")]),
    (interface("Name"), [(2, r"^'Name' found, wanted: Key=value")]),
    (interface("Name=a", "Name=a"), [(3, "^Name= found again, it is set in line 2")]),
    (interface("Name=", "Name=a"), [(3, "^Name= found again, it is set in line 2")]),
    (interface("Name=a\\", "MTUBytes=1500"), [(2, "goes on in the next")]),
    (b"[Interface]\nName=a\xffb\n", [(2, "^byte 0xff found, wanted: UTF-8$")]),
    (b"[Interface]\n# caf\xe9 in a comment\n", [(2, "^byte 0xe9 found, wanted: UTF-8$")]),
    (interface("Name=a\0b"), [(2, WORDS["control"])]),
    (interface("Name=a\rMTUBytes=68"), [(2, WORDS["control"])]),
    *[
        (interface(f"Name=a{char}Kind=bridge"), [(2, WORDS["control"])])
        for char in "\x0b\x0c\x1b\x1c\x1d\x1e\x85\u2028\u2029"
    ],
    ("\ufeff\ufeff[Interface]\n", [(1, "")]),
    (
        "[Wrong]\nName=not looked at\n[Interface]\nMTUBytes=x\n\n[Uplink]\nWire=x\n",
        [(1, "^unknown section"), (4, WORDS["mtu"]), (7, WORDS["boolean"])],
    ),
]


@pytest.mark.parametrize(("data", "expected"), WRONG)
def test_wrong(data: str | bytes, expected: list[tuple[int, str]]) -> None:
    dummy, problems = parse(data)
    assert dummy is None
    assert [problem.line for problem in problems] == [line for line, _ in expected]
    for problem, (line, words) in zip(problems, expected, strict=True):
        assert re.search(words, problem.message), problem.message
        assert str(problem) == f"{PATH}:{line}: {problem.message}"


def test_file_as_a_whole_has_no_line() -> None:
    dummy, problems = parse("", stem="sixteen-bytes-xx")
    assert dummy is None
    assert str(problems[0]).startswith(f"{PATH}: no Name=, and 'sixteen-bytes-xx' is no interface")


def test_shipped_conf_is_all_defaults() -> None:
    """It is comments alone, and its commented settings are what the reader takes for defaults."""
    shipped = SHIPPED.read_text()
    default = Dummy(stem="keepalived", path=PATH, name="keepalived0")
    assert parse(shipped, "keepalived") == (default, ())
    commented = re.sub(r"^#(\w+=)", r"\1", shipped, flags=re.MULTILINE)
    assert parse(commented, "keepalived") == (default, ())
    for section, keys in KEYS.items():
        assert f"[{section}]\n" in shipped
        for key in keys:
            assert f"\n#{key}=" in shipped


# A slow builder is no failure.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

FIXED = {
    f"# Generated by keepalived-dummy from {PATH}; edit that file instead.",
    "# networkd must not manage this link: it would drop the addresses that keepalived puts there.",
    "Description=Virtual IP addresses of keepalived",
    "# Were the name a real interface's, networkd would leave that to itself too.",
    *["[NetDev]", "Kind=dummy", "[Match]", "Driver=dummy", "[Link]", "Unmanaged=yes", ""],
}
LINE = st.one_of(
    st.builds(
        "{}={}".format,
        st.sampled_from([key for keys in KEYS.values() for key in keys] + ["Nmae", " Name "]),
        st.one_of(
            st.sampled_from(["vip0", "1500", "02:00:5e:00:53:01", "ens3", "yes", "", "a\\", "%i"]),
            st.text(max_size=8),
            st.from_regex(r"[a-z0-9.\-]{1,16}", fullmatch=True),
        ),
    ),
    st.sampled_from(["[Interface]", "[Uplink]", "[NetDev]", "[", "#", ";", "\\", "\r", "\0", "="]),
    st.text(max_size=12),
)
FILE = st.one_of(
    st.binary(max_size=200),
    st.lists(LINE, max_size=10).map(lambda lines: "\n".join(["[Interface]", *lines]).encode()),
)


@UNHURRIED
@given(FILE)
@example(b"[Interface]\nName=a\nName=b\xe2\x80\xa8Kind=bridge")
@example(b"[Interface]\nName=a\r[NetDev]\rKind=bridge\n")
@example(b"\xef\xbb\xbf[Interface]\r\nName=a\r\n")
def test_any_bytes(data: bytes) -> None:
    """A dummy or problems, never an exception, and no line in the output that was not asked for."""
    dummy, problems = parse(data)
    assert (dummy is None) == bool(problems)
    for problem in problems:
        assert problem.path == PATH
        assert 1 <= problem.line <= data.count(b"\n") + 1
        assert str(problem).isprintable()
    if dummy is None:
        return
    asked = {
        (key.strip(), value.strip())
        for key, separator, value in (line.partition("=") for line in data.decode().split("\n"))
        if separator and value.strip()
    }
    for content in render(dummy).values():
        for line in set(content.decode().splitlines()) - FIXED:
            key, _, value = line.partition("=")
            if (key, value) == ("Name", "lan"):
                continue
            assert (key, value) in {
                (k, v.lower() if k == "MACAddress" else v) for k, v in asked
            } or (key == "MTUBytes" and any(k == key and int(v) == int(value) for k, v in asked))


@UNHURRIED
@given(st.text(max_size=20))
@example("keepalived")
def test_any_basename(stem: str) -> None:
    """The basename is a name only where both the kernel and networkd take it."""
    dummy, problems = parse("# all defaults\n", stem)
    if dummy is None:
        assert [(problem.path, problem.line) for problem in problems] == [(PATH, 0)]
        assert problems[0].message.isprintable()
    else:
        assert dummy.name == ("keepalived0" if stem == "keepalived" else stem)
        assert re.fullmatch(r"[!-~]{1,15}", dummy.name)
        assert not set("/:%*?[]!") & set(dummy.name)


@UNHURRIED
@given(FILE)
def test_any_file_in_a_folder(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Beside it the good conf is read, and the bad one's basename is known as bad."""
    root = tmp_path_factory.mktemp("root")
    folder = root / "etc/keepalived-dummy.d"
    folder.mkdir(parents=True)
    (folder / "lan.conf").write_bytes(data)
    (folder / "good.conf").write_bytes(b"[Interface]\nName=good-one-alone\n")
    loaded = config.load(root)
    assert "good" in [dummy.stem for dummy in loaded.dummies]
    states = [
        "lan" in [dummy.stem for dummy in loaded.dummies],
        "lan" in loaded.masked,
        "lan" in loaded.bad,
    ]
    assert states.count(True) == 1
    assert loaded.masked == ({"lan"} if not data else set())
    assert bool(loaded.bad) == bool(loaded.problems)


def test_load_of_nothing(tmp_path: Path) -> None:
    assert config.load(tmp_path) == Config()


def test_load_waits_for_an_editor_that_truncates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file just truncated is about to be filled; one that stays empty, or has long been, masks."""
    folder = tmp_path / "etc/keepalived-dummy.d"
    folder.mkdir(parents=True)
    for name in ("edited", "touched", "old"):
        (folder / f"{name}.conf").touch()
    os.utime(folder / "old.conf", (0, 0))
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        (folder / "edited.conf").write_text("# all defaults\n")
        if len(waited) == 3:
            os.utime(folder / "touched.conf", (0, 0))

    monkeypatch.setattr("time.sleep", sleep)
    loaded = config.load(tmp_path)
    assert [dummy.stem for dummy in loaded.dummies] == ["edited"]
    assert loaded.masked == {"touched", "old"}
    assert 1 < len(waited) <= 4, waited


def test_load_names_what_it_cannot_read(tmp_path: Path) -> None:
    folder = tmp_path / "run/keepalived-dummy.d"
    folder.mkdir(parents=True)
    (folder / "\udcff.conf").touch()
    (folder / f"{201 * 'x'}.conf").touch()
    (folder / "loop.conf").symlink_to("loop.conf")
    os.mkfifo(folder / "fifo.conf")
    with (folder / "image.conf").open("wb") as image:
        image.truncate(1 << 40)  # bytes, of which none is on the disk
    loaded = config.load(tmp_path)
    assert loaded.dummies == ()
    assert (loaded.masked, loaded.bad, loaded.partial) == (
        frozenset(),
        frozenset({"fifo", "image", "loop"}),
        False,
    )
    wanted = "wanted: printable UTF-8 of at most 200 bytes"
    assert [str(problem) for problem in loaded.problems] == [
        "/run/keepalived-dummy.d/fifo.conf: cannot be read: it is no regular file",
        "/run/keepalived-dummy.d/image.conf: cannot be read: it has more than 1048576 bytes",
        "/run/keepalived-dummy.d/loop.conf: cannot be read: Too many levels of symbolic links",
        f"/run/keepalived-dummy.d: file name '{201 * 'x'}.conf', {wanted}",
        f"/run/keepalived-dummy.d: file name '\\udcff.conf', {wanted}",
    ]
