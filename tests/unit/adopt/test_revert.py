# SPDX-License-Identifier: MIT
"""Edits taken back from a file that an admin has edited since, and what is a conflict."""

from __future__ import annotations

from pathlib import Path

import pytest

from keepalived_dummy import revert
from keepalived_dummy.journal import Change, Generation, Journal
from keepalived_dummy.rewrite import Vip
from keepalived_dummy.undo import undo

BEFORE = """\
vrrp_instance V {
    interface e0
    virtual_ipaddress {
        192.0.2.10/24
        192.0.2.11/24
    }
}
"""
AFTER = """\
vrrp_instance V {
    interface e0
    mcast_src_ip 192.0.2.5
    virtual_ipaddress {
        192.0.2.10/32 dev k0
        192.0.2.11/32 dev k0
    }
}
"""
VIPS = (Vip("V", "192.0.2.10", "e0", "k0"), Vip("V", "192.0.2.11", "e0", "k0"))


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    return tmp_path / "keepalived.conf"


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "state")


def plan(conf: Path, journal: Journal, now: str) -> revert.Plan:
    conf.write_text(now)
    old, new = journal.keep(BEFORE.encode()), journal.keep(AFTER.encode())
    generation = Generation((Change(str(conf), old, new),), VIPS)
    return revert.plan(conf, (generation,), journal)


@pytest.mark.parametrize(
    ("now", "wanted"),
    [
        (AFTER, BEFORE),
        (BEFORE, BEFORE),
        (AFTER.replace("interface", "priority 7\n    interface"), BEFORE.replace("interface", "priority 7\n    interface")),
        (AFTER + "# end\n", BEFORE + "# end\n"),
        ("# top\n" + AFTER, "# top\n" + BEFORE),
        (AFTER.replace("        192.0.2.11/32 dev k0\n", ""), BEFORE.replace("        192.0.2.11/24\n", "")),
        (AFTER.replace("mcast_src_ip 192.0.2.5", "mcast_src_ip 192.0.2.6"), BEFORE.replace("e0\n", "e0\n    mcast_src_ip 192.0.2.6\n")),
        (AFTER.replace("    mcast_src_ip 192.0.2.5\n", ""), BEFORE),
        (AFTER.replace("10/32 dev k0\n", "10/32 dev k0\n        192.0.2.12/24\n"), BEFORE.replace("10/24\n", "10/24\n        192.0.2.12/24\n")),
    ],
)  # fmt: skip
def test_taken_back(conf: Path, journal: Journal, now: str, wanted: str) -> None:
    done = plan(conf, journal, now)
    assert done.conflicts == ()
    assert (done.after.get(str(conf)) or now.encode()).decode() == wanted


def test_lines_that_changed_places(conf: Path, journal: Journal) -> None:
    ten, eleven = "        192.0.2.10/32 dev k0\n", "        192.0.2.11/32 dev k0\n"
    done = plan(conf, journal, AFTER.replace(ten + eleven, eleven + ten))
    assert done.conflicts == ()
    text = (done.after[str(conf)] or b"").decode()
    assert text == BEFORE.replace("10/24\n        192.0.2.11", "11/24\n        192.0.2.10")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("192.0.2.10/32 dev k0", "192.0.2.10/32 dev k0 # the service", 5),
        ("192.0.2.11/32 dev k0", "192.0.2.11 dev k0", 6),
        ("vrrp_instance V {", "# new\nvrrp_instance W {", 0),
        ("192.0.2.11/32 dev k0", "192.0.2.99/32 dev k0", 6),
        ("11/32 dev k0\n", "11/32 dev k0\n        192.0.2.12/32 dev k0\n", 7),
        ("11/32 dev k0\n", "11/32 dev k0\n        192.0.2.12/32 dev k1\n", 0),
    ],
)
def test_conflicts_are_named(conf: Path, journal: Journal, old: str, new: str, line: int) -> None:
    done = plan(conf, journal, AFTER.replace(old, new))
    assert [(one.path, one.line) for one in done.conflicts] == ([(str(conf), line)] if line else [])


def pair(text: str) -> tuple[str, str]:
    """Two instances of one uplink, so with the same pin."""
    return text, text.replace("instance V", "instance W").replace("192.0.2.1", "192.0.2.2")


def test_instances_that_changed_places_keep_no_pin(conf: Path, journal: Journal) -> None:
    blocks = [f"vrrp_instance V{n} {{\n interface e0\n@ priority {n}\n}}\n" for n in range(6)]
    pin = " mcast_src_ip 192.0.2.5\n"
    old, new = ("".join(blocks).replace("@", what).encode() for what in ("", pin))
    order = (5, 2, 0, 4, 1, 3)
    conf.write_text("".join(blocks[n] for n in order).replace("@", pin))
    generation = Generation((Change(str(conf), journal.keep(old), journal.keep(new)),), ())
    done = revert.plan(conf, (generation,), journal)
    wanted = "".join(blocks[n] for n in order).replace("@", "").encode()
    assert done.after == {str(conf): wanted}
    assert (done.conflicts, done.notes) == ((), ())


def test_a_pin_that_is_not_surely_ours_is_named_and_stays(conf: Path, journal: Journal) -> None:
    (old, old_other), (new, new_other) = pair(BEFORE), pair(AFTER)
    mine = "vrrp_instance X {\n    interface e0\n    mcast_src_ip 192.0.2.5\n}\n"
    change = Change(
        str(conf),
        journal.keep((old + old_other).encode()),
        journal.keep((new + new_other).encode()),
    )
    moved = tuple(Vip("W", vip.address.replace(".1", ".2"), "e0", "k0") for vip in VIPS)
    conf.write_text(mine + new_other + "# between\n" + mine.replace(" X", " Y") + new)
    done = revert.plan(conf, (Generation((change,), VIPS + moved),), journal)
    assert done.conflicts == ()
    text = (done.after[str(conf)] or b"").decode()
    where = [n for n, line in enumerate(text.splitlines(), 1) if "mcast_src_ip" in line]
    assert len(where) == 4
    assert [(one.path, one.line) for one in done.notes] == [(str(conf), n) for n in where]
    assert "mcast_src_ip 192.0.2.5" in done.notes[0].message


def test_an_instance_copied_since_is_a_conflict(conf: Path, journal: Journal) -> None:
    copy = AFTER.replace("instance V", "instance W").replace("192.0.2.1", "192.0.2.2")
    done = plan(conf, journal, AFTER + copy)
    assert [one.line for one in done.conflicts] == [13, 14]
    assert "192.0.2.20 is on k0 still" in done.conflicts[0].message
    assert "e0" in done.conflicts[0].message


def test_what_was_on_the_dummy_before_adopt_stays(conf: Path, journal: Journal) -> None:
    own = b"        192.0.2.12/32 dev k0\n    }\n}\n"
    before, after = (text.encode().replace(b"    }\n}\n", own) for text in (BEFORE, AFTER))
    change = Change(str(conf), journal.keep(before), journal.keep(after))
    conf.write_bytes(b"# top\n" + after)
    done = revert.plan(conf, (Generation((change,), VIPS),), journal)
    assert done.conflicts == ()
    assert done.after == {str(conf): b"# top\n" + before}


def test_two_generations(conf: Path, journal: Journal) -> None:
    more = BEFORE.replace("11/24\n", "11/24\n        192.0.2.12/24\n").encode()
    mixed = AFTER.replace("11/32 dev k0\n", "11/32 dev k0\n        192.0.2.12/24\n").encode()
    last = mixed.replace(b"12/24", b"12/32 dev k0")
    first = Change(str(conf), journal.keep(BEFORE.encode()), journal.keep(AFTER.encode()))
    second = Change(str(conf), journal.keep(mixed), journal.keep(last))
    conf.write_bytes(last)
    third = Vip("V", "192.0.2.12", "e0", "k0")
    generations = (Generation((first,), VIPS), Generation((second,), (third,)))
    assert revert.plan(conf, generations, journal).after == {str(conf): more}


def test_confs_go_unless_they_were_edited(conf: Path, journal: Journal) -> None:
    made = conf.with_name("keepalived-e0.conf")
    change = Change(str(made), None, journal.keep(b"[Interface]\n"))
    conf.write_text(BEFORE)
    generation = Generation((change,), VIPS)
    made.write_bytes(b"[Interface]\n")
    assert revert.plan(conf, (generation,), journal).after == {str(made): None}
    made.write_bytes(b"[Interface]\nMTUBytes=9000\n")
    assert revert.plan(conf, (generation,), journal).after == {}


def test_what_another_config_was_adopted_with_stays(conf: Path, journal: Journal) -> None:
    """Its lines, and the conf of a dummy that its VIPs are on too."""
    made, other = conf.with_name("keepalived-e0.conf"), conf.with_name("other.conf")
    old, new = journal.keep(BEFORE.encode()), journal.keep(AFTER.encode())
    conf_made = Change(str(made), None, journal.keep(b"[Interface]\n"))
    for path in (conf, other):
        path.write_text(AFTER)
    made.write_bytes(b"[Interface]\n")
    generations = (
        Generation((conf_made, Change(str(conf), old, new)), VIPS, str(conf)),
        Generation((Change(str(other), old, new),), VIPS, str(other)),
    )
    assert revert.plan(conf, generations, journal).after == {str(conf): BEFORE.encode()}
    assert revert.plan(other, generations, journal).after == {str(other): BEFORE.encode()}
    mine = revert.plan(conf, generations[:1], journal)
    assert mine.after == {str(made): None, str(conf): BEFORE.encode()}


def test_of_an_earlier_release_it_is_not_known_with_which_config(
    conf: Path, journal: Journal
) -> None:
    done = plan(conf, journal, AFTER)
    assert done.after == {str(conf): BEFORE.encode()}


def test_undo_of_a_large_file_is_quick() -> None:
    block = BEFORE * 1000
    after = AFTER * 1000
    assert undo(block.encode(), after.encode(), b"# top\n" + after.encode()) == (
        b"# top\n" + block.encode()
    )
