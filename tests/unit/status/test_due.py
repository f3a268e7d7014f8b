# SPDX-License-Identifier: MIT
"""Whether keepalived says that it holds an address: by its instance, or by what it read of its file before."""

from __future__ import annotations

import dataclasses

import hosts
import pytest

from keepalived_dummy.assembly import assemble
from keepalived_dummy.service import InstanceState

PLACE = frozenset((("192.0.2.10", "keepalived0"),))
MASTER, BACKUP = InstanceState(2, 1, PLACE), InstanceState(1, 1, PLACE)


@pytest.mark.parametrize(
    ("states", "due"),
    [
        ({"VI_1": MASTER}, True),
        ({"VI_1": BACKUP}, False),
        ({"VI_1": BACKUP, "VI_2": MASTER}, True),
        ({"VI_OLD": MASTER}, True),  # renamed in the file, which was not read again yet
        ({"VI_OLD": InstanceState(2, 1)}, False),
        (None, None),
    ],
)
def test_of_an_instance(states: dict[str, InstanceState] | None, due: bool | None) -> None:
    seen = assemble(hosts.sources(dataclasses.replace(hosts.BASE, states=states)))
    assert next(vip.due for vip in seen.vips if vip.address == "192.0.2.10") is due


@pytest.mark.parametrize(("states", "due"), [({"VI_1": MASTER}, True), ({}, None), (None, None)])
def test_of_an_address_that_the_file_has_no_more(
    states: dict[str, InstanceState] | None, due: bool | None
) -> None:
    given = dataclasses.replace(hosts.BASE, conf="# none\n", states=states)
    seen = assemble(hosts.sources(given))
    assert next(vip.due for vip in seen.vips if vip.address == "192.0.2.10") is due
