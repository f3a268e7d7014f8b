# SPDX-License-Identifier: MIT
"""What the demo measures, the table of it, and the line that says what the table shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Client:
    """What one client saw of the VIP. `outage` is its longest time without an answer in ms; None: to the end."""

    sent: int
    lost: int
    outage: int | None


@dataclass(frozen=True)
class Cell:
    """One event on one host. `transitions` are the states the VRRP instance entered meanwhile, `state` is its last."""

    approach: str
    uplink: str
    event: str
    ipv4: Client
    ipv6: Client
    transitions: tuple[str, ...]
    state: str


HEAD = ("approach", "uplink", "event", "IPv4 lost", "outage", "IPv6 lost", "outage", "transitions")
LEFT = 3  # columns of text; numbers stand at the right


def _outage(client: Client) -> str:
    return "no answer" if client.outage is None else f"{client.outage} ms"


def _row(cell: Cell) -> tuple[str, ...]:
    lost = (f"{it.lost} of {it.sent}" for it in (cell.ipv4, cell.ipv6))
    lost4, lost6 = lost
    states = " ".join(cell.transitions) or ", ".join(filter(None, ("none", cell.state)))
    outages = _outage(cell.ipv4), _outage(cell.ipv6)
    return (cell.approach, cell.uplink, cell.event, lost4, outages[0], lost6, outages[1], states)


def table(cells: Sequence[Cell]) -> str:
    """The cells side by side: for each uplink and event, every approach."""
    uplinks = list(dict.fromkeys(cell.uplink for cell in cells))
    events = list(dict.fromkeys(cell.event for cell in cells))
    ordered = sorted(cells, key=lambda it: (uplinks.index(it.uplink), events.index(it.event)))
    rows = [HEAD, *map(_row, ordered)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    last = len(HEAD) - 1

    def line(row: Sequence[str]) -> str:
        words = [
            word.ljust(width) if column < LEFT or column == last else word.rjust(width)
            for column, (word, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(words).rstrip()

    lines = [line(HEAD), line(["-" * width for width in widths])]
    before: Cell | None = None
    for cell in ordered:
        if before and (before.uplink, before.event) != (cell.uplink, cell.event):
            lines.append("")
        lines.append(line(_row(cell)))
        before = cell
    return "\n".join(lines)


def summary(cells: Sequence[Cell]) -> str:
    """One line that says what the table shows."""
    parts = []
    for approach in dict.fromkeys(cell.approach for cell in cells):
        mine = [cell for cell in cells if cell.approach == approach]
        clients = [client for cell in mine for client in (cell.ipv4, cell.ipv6)]
        lost, sent = (sum(getattr(it, what) for it in clients) for what in ("lost", "sent"))
        states = sum(len(cell.transitions) for cell in mine)
        parts.append(f"{approach}: {lost} of {sent} pings lost, {states} transitions")
    return f"Over all events: {'; '.join(parts)}."


def story(cells: Sequence[Cell], uplink: str, event: str) -> str:
    """The last line: one event of one uplink, from the first approach to the last."""
    same = [cell for cell in cells if (cell.uplink, cell.event) == (uplink, event)]
    told = []
    for cell in (same[0], same[-1]):
        lost = " and ".join(f"{it.lost} of {it.sent}" for it in (cell.ipv4, cell.ipv6))
        told.append(
            f"{cell.approach}: {lost} pings lost, {' '.join(cell.transitions) or 'no transition'}"
        )
    return f"{uplink} uplink, {event}. {'; '.join(told)}."
