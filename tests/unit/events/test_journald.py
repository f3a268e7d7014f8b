# SPDX-License-Identifier: MIT
"""An event on its way to the journal: its own socket, or a line on standard error."""

from __future__ import annotations

import os
import random
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepalived_dummy import journald
from keepalived_dummy.events import KINDS, event
from keepalived_dummy.teller import Teller

TREE = Path(__file__).resolve().parents[3]
EVENT = event("healed", "keepalived0: was down and noarp; put right", DUMMY="k", WHAT=["down", "x"])
FIELDS = [
    ("SYSLOG_IDENTIFIER", "keepalived-dummy"),
    ("MESSAGE", EVENT.text),
    ("MESSAGE_ID", KINDS["healed"].id),
    ("PRIORITY", "4"),
    ("EVENT", "healed"),
    ("DUMMY", "k"),
    ("WHAT", "down"),
    ("WHAT", "x"),
]


def read(data: bytes) -> Iterator[tuple[str, bytes]]:
    """An entry as journald reads it (journald-native.c)."""
    while data:
        line, _, rest = data.partition(b"\n")
        name, given, value = line.partition(b"=")
        if given:
            data = rest
        else:
            (length,) = struct.unpack("<Q", rest[:8])
            value, data = rest[8 : 8 + length], rest[9 + length :]
            assert rest[8 + length : 9 + length] == b"\n"
        yield name.decode(), value


@given(st.lists(st.tuples(st.sampled_from(["MESSAGE", "VIP"]), st.text())))
def test_any_text_is_read_as_it_was(fields: list[tuple[str, str]]) -> None:
    fields = [
        (name, "".join(c for c in text if not "\ud800" <= c <= "\udfff")) for name, text in fields
    ]
    assert list(read(journald.entry(fields))) == [(n, v.encode()) for n, v in fields]


HOSTILE = (
    "\n",
    "=",
    "PRIORITY=0",
    "\0",
    "\udcff",
    "a",
    "\r",
    "é",
    "_UID=0\n",
    "MESSAGE\n",
    "\u2028",
    " ",
)
SEED = int(os.environ.get("MUTATIONS_SEED", "7"))


def test_a_hostile_value_makes_no_field_of_its_own() -> None:
    """As the name of an interface, or a line of keepalived.conf; 2,000 of them."""
    draw = random.Random(SEED)
    print(f"MUTATIONS_SEED={SEED}")
    longest = 0
    for _ in range(2_000):
        values = ["".join(draw.choices(HOSTILE, k=draw.randint(0, 12))) for _ in range(2)]
        fields = [("MESSAGE", values[0]), ("VIP", values[1]), ("PRIORITY", "6")]
        wanted = [(name, value.encode("utf-8", "surrogateescape")) for name, value in fields]
        assert list(read(journald.entry(fields))) == wanted
        longest = max(longest, *map(len, values))
    assert longest > 40


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "journal"))
        sock.settimeout(5)
        yield sock


def test_an_event_goes_with_its_fields(
    journal: socket.socket, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    monkeypatch.setattr(journald.send, "__defaults__", (journal.getsockname(),))
    teller = Teller()
    teller.tell(EVENT)
    got = [(name, value.decode()) for name, value in read(journal.recv(1 << 16))]
    assert got == FIELDS
    assert capfd.readouterr().err == ""
    assert (teller.counts, teller.last, teller.told) == ({"healed": 1}, EVENT.text, True)


@pytest.mark.parametrize("stream", [None, "", "1:2", "x"])
def test_elsewhere_it_is_a_line(
    stream: str | None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    if stream is None:
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    else:
        monkeypatch.setenv("JOURNAL_STREAM", stream)
    Teller().tell(EVENT)
    assert capfd.readouterr().err == f"<4>{EVENT.text}\n"


def test_a_journal_that_is_away_or_full_holds_nothing_up(
    journal: socket.socket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    monkeypatch.setattr(journald.send, "__defaults__", (str(tmp_path / "absent"),))
    Teller().tell(EVENT)
    assert capfd.readouterr().err == f"<4>{EVENT.text}\n"
    path = journal.getsockname()
    taken = 0
    while journald.send(FIELDS, path):
        taken += 1
        assert taken < 100_000
    monkeypatch.setattr(journald.send, "__defaults__", (path,))
    Teller().tell(EVENT)
    assert capfd.readouterr().err == f"<4>{EVENT.text}\n"


def test_the_largest_event_fits_a_datagram(journal: socket.socket) -> None:
    vips = [f"2001:db8:1111:2222:3333:4444:5555:{n:x}" for n in range(1000)]
    made = event("vip-held", "x" * 1000, DUMMY="k", UPLINK=vips, VIP=vips)
    assert journald.send(made.fields, journal.getsockname())
    assert len(list(read(journal.recv(1 << 20)))) == 402


def test_it_costs_the_resident_process_no_module() -> None:
    """What it imports is what the daemon has anyway."""
    script = "import sys, keepalived_dummy.teller; print(*sorted(sys.modules))"
    words = [sys.executable, "-S", "-c", script]
    done = subprocess.run(words, cwd=TREE, capture_output=True, text=True, check=True)
    assert not {"pathlib", "dataclasses", "logging"} & set(done.stdout.split())
