# SPDX-License-Identifier: MIT
"""The wire as a script: golden files under tests/wire; a new case is a new folder.

A missing out.tc is written, and the test fails once, so that the author reads and commits it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from keepalived_dummy.wire import MARK, PREF, End, Filter, Joint, Wire, render

CASES = sorted(path for path in (Path(__file__).parents[2] / "wire").iterdir() if path.is_dir())


def end(name: str, index: int, mac: str, local: tuple[str, ...] = ()) -> End:
    return End(name, index, mac, tuple(local))


def wire(case: Path) -> Wire:
    given = json.loads((case / "in.json").read_text())
    joints = tuple(
        Joint(end(*joint["dummy"]), tuple(end(*uplink) for uplink in joint["uplinks"]))
        for joint in given["joints"]
    )
    return render(joints, frozenset(given["arp"]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_script_is_the_golden_one(case: Path) -> None:
    script = wire(case).script
    golden = case / "out.tc"
    if not golden.exists():
        golden.write_text(script)
        pytest.fail(f"{golden} is written: read it, and commit it")
    assert script == golden.read_text()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_filters_are_the_lines_of_the_script(case: Path) -> None:
    made = wire(case)
    lines = [line for line in made.script.splitlines() if line.startswith("filter ")]
    assert [item.line for item in made.filters] == lines
    assert len({item.place for item in made.filters}) == len(lines), "each has a place of its own"
    assert len({item.cookie for item in made.filters}) == len(lines)
    for item in made.filters:
        assert item.cookie.startswith(MARK)
        assert len(item.cookie) == 16
        assert PREF <= item.pref < PREF + 64
        assert "skip_hw" in item.line


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_kernel_refuses_a_filter_that_is_there_already(case: Path) -> None:
    """By its handle: whoever adds it a second time, at the same moment too, adds nothing."""
    made = wire(case)
    handles = [re.search(r" handle ::([0-9a-f]+) u32 ", item.line) for item in made.filters]
    assert all(handles)
    there = {
        (item.index, item.direction, item.pref, item.protocol, found and found[1])
        for item, found in zip(made.filters, handles, strict=True)
    }
    assert len(there) == len(made.filters)
    assert all(found and 0 < int(found[1], 16) < 0x800 for found in handles), (
        "the kernel's begin there"
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_preference_of_an_interface_has_one_hook_and_one_protocol(case: Path) -> None:
    """The kernel lists u32 filters of both hooks of a clsact together where their preference is the same."""
    at: dict[tuple[int, int], set[tuple[str, str]]] = {}
    for item in wire(case).filters:
        at.setdefault((item.index, item.pref), set()).add((item.direction, item.protocol))
    assert all(len(kinds) == 1 for kinds in at.values()), at


def selector(item: Filter) -> str:
    """What a filter matches."""
    return item.line.partition(" u32 skip_hw ")[2].partition(" action ")[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_priority_tag_changes_nothing(case: Path) -> None:
    """Each ingress filter is there for `protocol 802.1Q` too, where the tag has no protocol to go by but the packet's."""
    made = [item for item in wire(case).filters if item.direction == "ingress"]
    plain = {
        (item.index, selector(item), item.line.partition(" action ")[2].partition(" cookie ")[0])
        for item in made
        if item.protocol != "802.1Q"
    }
    version = {"match u8 0x60 0xf0 at 0 ": "", "match u32 0x00010800 0xffffffff at 0 ": ""}
    tagged = set()
    for item in made:
        if item.protocol == "802.1Q":
            words = selector(item)
            for more, less in version.items():
                words = words.replace(more, less)
            action = item.line.partition(" action ")[2].partition(" cookie ")[0]
            tagged.add((item.index, words, action))
            assert words != selector(item) or "0xffffffff at 24" in words, (
                "another protocol's packet"
            )
    assert tagged == plain


def test_nobody_elses_filter_on_the_uplink_is_hidden() -> None:
    """What the wire takes on the uplink goes on to the next filter; redirect or ok would end it."""
    made = wire(CASES[2])
    for item in made.filters:
        if item.dev == "ens3":
            assert item.line.rsplit(" cookie ", 1)[0].endswith(" continue")
            assert " redirect " not in item.line


DUMMY = End("keepalived0", 7, "02:00:00:00:00:07")
UPLINK = End("ens3", 2, "52:54:00:12:34:56")


@pytest.mark.parametrize(
    "other",
    [
        End("ens3", 3, "52:54:00:12:34:56"),  # unplugged and plugged again
        End("ens3", 2, "52:54:00:12:34:57"),
        End("ens4", 2, "52:54:00:12:34:56"),  # renamed
    ],
)
def test_a_changed_uplink_changes_every_cookie_out_of_the_dummy(other: End) -> None:
    before = render((Joint(DUMMY, (UPLINK,)),), frozenset()).filters
    after = render((Joint(DUMMY, (other,)),), frozenset()).filters
    sent = {i.cookie for i in before if i.dev == "keepalived0" and "mirred" in i.line}
    assert len(sent) == 4
    assert sent.isdisjoint({i.cookie for i in after})


def test_no_joint_no_wire() -> None:
    assert render((), frozenset()) == Wire("", ())


def test_filters_name_the_modules_they_take() -> None:
    """What apply tells an admin whose kernel lacks one; the kernel says that one is missing, not which."""
    needed = {
        item.pref - PREF: item.modules
        for item in wire(CASES[0]).filters
        if item.direction == "egress"
    }
    assert needed[0] == ("cls_u32", "act_pedit", "act_mirred")
    assert needed[1] == ("cls_u32", "act_pedit", "act_csum", "act_mirred")
    assert needed[3] == ("cls_u32", "act_gact")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_one_classifier_does_it_all(case: Path) -> None:
    """The kernels of Raspberry Pi OS have u32, but neither matchall nor flower."""
    assert {item.modules[0] for item in wire(case).filters} == {"cls_u32"}
