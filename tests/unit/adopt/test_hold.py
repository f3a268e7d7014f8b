# SPDX-License-Identifier: MIT
"""What is held on its new device during the move, and in which words for ip(8)."""

from __future__ import annotations

import pytest

from keepalived_dummy import hold
from keepalived_dummy.hold import Held
from keepalived_dummy.keepalived import Memory, read_from
from keepalived_dummy.proof import Picture
from keepalived_dummy.rewrite import Vip

MOVED4 = Vip("V", "192.0.2.10", "e0", "k0")
MOVED6 = Vip("V", "2001:db8::10", "e0", "k0")
STAYS = Vip("V", "192.0.2.11", "e1", "e1")


def needed(lines: str, *places: tuple[str, str]) -> list[Held]:
    text = f"vrrp_instance V {{\n interface e0\n virtual_ipaddress {{\n{lines}\n }}\n}}\n"
    document = read_from(
        Memory({"/etc/keepalived/keepalived.conf": text.encode()}),
        "/etc/keepalived/keepalived.conf",
    )
    return hold.needed(document, [MOVED4, MOVED6, STAYS], Picture(7, None, frozenset(places)))


@pytest.mark.parametrize(
    ("line", "command", "added"),
    [
        (
            "192.0.2.10/32 dev k0",
            "address replace 192.0.2.10/32 dev k0 valid_lft 60 preferred_lft 60\n",
            "address change 192.0.2.10/32 dev k0 valid_lft forever preferred_lft forever\n",
        ),
        (
            "192.0.2.10/24 brd 192.0.2.255 scope link no_track dev k0",
            "address replace 192.0.2.10/24 dev k0 brd 192.0.2.255 scope link valid_lft 60 preferred_lft 60\n",
            "address change 192.0.2.10/24 dev k0 brd 192.0.2.255 scope link valid_lft forever"
            " preferred_lft forever\n",
        ),
        (
            "2001:DB8::10/128 dev k0",
            "address replace 2001:db8::10/128 dev k0 nodad valid_lft 60 preferred_lft 0\n",
            "address change 2001:db8::10/128 dev k0 nodad valid_lft forever preferred_lft 0\n",
        ),
        (
            "2001:db8::10/64 dev k0 noprefixroute preferred_lft 7",
            "address replace 2001:db8::10/64 dev k0 noprefixroute nodad valid_lft 60 preferred_lft 60\n",
            "address change 2001:db8::10/64 dev k0 noprefixroute nodad valid_lft forever preferred_lft 7\n",
        ),
    ],
)
def test_as_keepalived_has_it(line: str, command: str, added: str) -> None:
    held = needed(line, ("192.0.2.10", "e0"), ("2001:db8::10", "e0"))
    assert hold.script("replace", held, 60) == command
    assert hold.script("change", held) == added


def test_what_stays_or_is_not_held_is_left_alone() -> None:
    assert needed("192.0.2.11/32 dev e1", ("192.0.2.11", "e1")) == []
    assert needed("192.0.2.10/32 dev k0") == []


def test_what_a_killed_run_moved_is_kept_for_ever_and_not_taken_away() -> None:
    (held,) = needed("192.0.2.10/32 dev k0", ("192.0.2.10", "k0"))
    assert not held.added
    (again,) = needed("192.0.2.10/32 dev k0", ("192.0.2.10", "k0"), ("192.0.2.10", "e0"))
    assert again.added


def test_only_what_was_added_is_touched_but_for_its_lifetime(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches: list[str] = []
    monkeypatch.setattr(hold, "_run", batches.append)
    held = [
        Held("192.0.2.10/32", "k0", (), "forever", False),
        Held("192.0.2.11/32", "k0", (), "forever", True),
    ]
    hold.add(held)
    hold.keep(held)
    hold.drop(held)
    assert [batch.count("\n") for batch in batches] == [1, 2, 1]
    assert batches[0].startswith("address replace 192.0.2.11/32 dev k0 valid_lft 60")
    assert batches[2] == "address del 192.0.2.11/32 dev k0\n"
