# SPDX-License-Identifier: MIT
"""Edges of a Host that lead nowhere."""

from keepalived_dummy.host import Edges


def _nothing(_: object) -> None:
    return None


IDLE = Edges(_nothing, _nothing, _nothing, _nothing, _nothing)
