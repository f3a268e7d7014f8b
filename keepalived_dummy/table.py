# SPDX-License-Identifier: MIT
"""What was seen of a host, as text for people. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from keepalived_dummy.observed import (
    Daemon,
    Dummy,
    Network,
    Observation,
    Route,
    Uplink,
    Vip,
    WayOut,
)
from keepalived_dummy.text import plain

WIDTH = 80
_INDENT, _LABEL = 4, 10
_LABELLED = f"{'':{_INDENT}}{'VIPs':{_LABEL}} "
_FEW = 6  # routes of an uplink that are shown
_GOOD, _WARN, _BAD = "32", "33", "31"  # SGR colours (ECMA-48)


@dataclass(frozen=True)
class Style:
    """How to write: colours, and the bullet that bears them."""

    colour: bool = False
    bullet: str = "*"

    def paint(self, text: str, colour: str) -> str:
        """The text in a colour, where there are any."""
        return f"\x1b[{colour}m{text}\x1b[0m" if self.colour and colour else text


def table(seen: Observation, style: Style = Style()) -> str:
    """All of it, in lines of WIDTH columns unless a single word is longer."""
    dummies = {dummy.name for dummy in seen.dummies}
    blocks = [_dummy(one, seen, style) for one in seen.dummies]
    blocks += [_others(seen, dummies, style)]
    blocks += [_uplink(one, style) for one in seen.uplinks]
    blocks += [_daemon(seen.daemon, seen.time, style), _keepalived(seen, style)]
    blocks += [_problems(seen, style), _unseen(seen)]
    return "".join(f"{line}\n" for block in blocks for line in block)


def brief(seen: Observation, style: Style = Style()) -> str:
    """One line a VIP."""
    rows = [
        ((_address(vip), vip.device or "-", _held(vip), _state(vip, seen)), _colour(vip))
        for vip in seen.vips
    ]
    return "".join(f"{style.paint(text, colour)}\n" for text, _, colour in _aligned(rows))


# Blocks


def _dummy(dummy: Dummy, seen: Observation, style: Style) -> Iterator[str]:
    wrong = _wrong(dummy)
    yield _head(dummy.name, ", ".join(wrong) or "up", _BAD if wrong else _GOOD, style)
    yield from _row("conf", dummy.path)
    if dummy.index:
        yield from _row(
            "link", f"made by {dummy.maker}, MTU {dummy.mtu}, MAC {dummy.mac or 'none'}"
        )
        yield from _network(dummy)
    if dummy.kept_down:
        yield from _row("kept down", dummy.kept_down)
    yield from _row("uplink", ", ".join(dummy.uplinks) or "none yet")
    yield from _row("wire", _wire(dummy))
    vips = seen.vips_on(dummy.name)
    rows = [((_address(vip), _held(vip), _state(vip, seen)), _colour(vip)) for vip in vips]
    if rows:
        yield from _columns(rows, _LABELLED, style)
    else:
        yield from _row("VIPs", "none")


def _wrong(dummy: Dummy) -> list[str]:
    if not dummy.index:
        return ["not there"]
    if dummy.kind != "dummy":
        return [f"no dummy but {dummy.kind or 'hardware'}"]
    found = {
        "down": not dummy.up,
        "NOARP": not dummy.arp,
        "managed by networkd": dummy.network is not None and dummy.network.managed,
        "wire broken": dummy.wire.state == "broken",
    }
    return [word for word, is_so in found.items() if is_so]


def _wire(dummy: Dummy) -> str:
    wire = dummy.wire
    if wire.state == "off":
        return "off (Wire=no)"
    if wire.state == "none":
        return "none, there is no uplink to be wired to"
    counted = f"{count(wire.frames_out, 'frame')} out, {wire.frames_in} in"
    lacking = f", not there: {'; '.join(dict.fromkeys(wire.lacking))}" if wire.lacking else ""
    return f"{wire.state}, {counted}{lacking}"


def _others(seen: Observation, dummies: set[str], style: Style) -> Iterator[str]:
    vips = [vip for vip in seen.vips if vip.device not in dummies]
    if vips:
        yield _head("not on a dummy", count(len(vips), "VIP"), _WARN, style)
        rows = [
            ((_address(vip), vip.device or "-", _held(vip), _state(vip, seen)), _colour(vip))
            for vip in vips
        ]
        yield from _columns(rows, _LABELLED, style)


def _uplink(uplink: Uplink, style: Style) -> Iterator[str]:
    if not uplink.index:
        yield _head(uplink.name, "not there", _BAD, style)
        return
    state = "down" if not uplink.up else "up" if uplink.carrier else "no carrier"
    lost = any(way.since is not None for way in uplink.ways)
    colour = _BAD if state != "up" else _WARN if lost else _GOOD
    yield _head(uplink.name, f"{state}{', way out in use' if lost else ''}", colour, style)
    yield from _row("link", f"MAC {uplink.mac or 'none'}")
    yield from _row("addresses", ", ".join(uplink.addresses) or "none")
    yield from _network(uplink)
    own = [route for route in uplink.routes if not route.ours]
    yield from _row("routes", _routes(own))
    if ours := [route for route in uplink.routes if route.ours]:
        yield from _row("put back", _routes(ours))
    for way in uplink.ways:
        yield from _row("way out", _way(way))


def _network(link: Dummy | Uplink) -> Iterator[str]:
    if link.network is not None:
        yield from _row("networkd", _networkd(link.network))


def _networkd(network: Network) -> str:
    return f"{network.state or 'unknown'}{f' by {network.file}' if network.file else ''}"


def _way(way: WayOut) -> str:
    now = "not in use" if way.since is None else f"{way.in_use} in use"
    used = f"used {count(way.times, 'time')}, {way.seconds:.3f} s" if way.times else "never used"
    return f"IPv{way.family}: {count(way.known, 'route')} known, {now}, {used}"


def _daemon(daemon: Daemon, now: float, style: Style) -> Iterator[str]:
    state = f"running, pid {daemon.pid}" if daemon.running else "not running"
    yield _head("keepalived-dummy.service", state, _GOOD if daemon.running else _BAD, style)
    heals = ", ".join(f"{what} {times}" for what, times in sorted(daemon.heals.items()))
    yield from _row("put right", heals or "nothing yet")
    if daemon.last_event:
        yield from _row("last event", f"{_ago(now - daemon.last_event)} ago, {daemon.last}")


def _keepalived(seen: Observation, style: Style) -> Iterator[str]:
    running = seen.keepalived.pid != 0
    state = f"running, pid {seen.keepalived.pid}" if running else "not running"
    fault = any(one.state == "FAULT" for one in seen.instances)
    colour = _BAD if not running else _WARN if fault else _GOOD
    yield _head(seen.keepalived.unit or "keepalived", state, colour, style)
    for one in seen.instances:
        source = f", source {one.source}" if one.source else ", no pinned source"
        if one.away_since is not None:
            source += f", away for {_ago(seen.time - one.away_since)}"
            source += ", held" if one.held else ", not held" if one.unicast else ""
        where = f"on {one.interface}" if one.interface else "without interface"
        yield from _row(one.state or "?", f"{one.name} {where}{source}")
    for other in seen.keepalived.others:
        unit = other.unit or "no unit"
        yield from _row("another", f"pid {other.pid}, {unit}, reads {other.config}")


def _problems(seen: Observation, style: Style) -> Iterator[str]:
    found = dict.fromkeys((*seen.problems, *seen.daemon.problems))
    if found:
        yield _head("problems", str(len(found)), _BAD, style)
        for line in found:
            yield from _fold(line, " " * _INDENT, " " * (_INDENT + 2))


def _unseen(seen: Observation) -> Iterator[str]:
    for one in seen.unseen:
        yield from _fold(f"Not seen: {one.what} ({one.why})", "", "  ")


# Words


def _address(vip: Vip) -> str:
    return f"{vip.address}/{vip.prefix}"


def _held(vip: Vip) -> str:
    words = ["held" if vip.held else "not held"]
    words += [f"on {device}{' too' if vip.held else ''}" for device in vip.elsewhere]
    if vip.member is False and vip.held:
        words.append("group not joined")
    return ", ".join(words)


def _state(vip: Vip, seen: Observation) -> str:
    if not vip.instance:
        return "no vrrp_instance" if seen.keepalived.readable else "?"
    instance = seen.instance(vip.instance)
    return f"{vip.instance} {(instance.state if instance else None) or '?'}"


def _colour(vip: Vip) -> str:
    """Red where keepalived and the kernel differ."""
    if vip.due is not None and vip.due != vip.held:
        return _BAD
    odd = vip.elsewhere or (vip.member is False and vip.held)
    return _WARN if odd else ""


def _routes(found: list[Route]) -> str:
    words = [f"{r.destination}{f' via {r.gateway}' if r.gateway else ''}" for r in found[:_FEW]]
    if len(found) > _FEW:
        words.append(f"{len(found) - _FEW} more")
    return ", ".join(words) or "none"


def count(number: int, one: str, several: str = "") -> str:
    """How many there are of something."""
    return f"{number} {one if number == 1 else several or one + 's'}"


def _ago(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


# Layout


def _head(name: str, text: str, colour: str, style: Style) -> str:
    return f"{style.paint(style.bullet, colour)} {plain(name)}  {style.paint(plain(text), colour)}"


def _row(label: str, text: str) -> Iterator[str]:
    return _fold(text, f"{'':{_INDENT}}{label:{_LABEL}} ", " " * (_INDENT + _LABEL + 1))


def _fold(text: str, first: str, rest: str) -> Iterator[str]:
    yield from textwrap.wrap(
        plain(text.replace("\n", " ")),
        WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _columns(
    rows: Iterable[tuple[tuple[str, ...], str]], first: str, style: Style
) -> Iterator[str]:
    """Rows of cells under each other, within WIDTH: one that is too wide goes on in the next line."""
    rest = " " * len(first)
    for number, (text, wide, colour) in enumerate(_aligned(rows)):
        indent = rest if number else first
        if len(indent) + len(text) <= WIDTH:
            yield indent + style.paint(text, colour)
            continue
        plain = "  ".join(wide)
        if len(indent) + len(plain) <= WIDTH:
            yield indent + style.paint(plain, colour)
            continue
        yield indent + style.paint(wide[0], colour)
        for line in _fold("  ".join(wide[1:]), f"{rest}  ", f"{rest}  "):
            yield style.paint(line, colour)


def _aligned(
    rows: Iterable[tuple[tuple[str, ...], str]],
) -> Iterator[tuple[str, tuple[str, ...], str]]:
    """Each row with its cells under those of the others, and as it was."""
    rows = [(tuple(map(plain, cells)), colour) for cells, colour in rows]
    widths = [max(map(len, cells)) for cells in zip(*(cells for cells, _ in rows), strict=True)]
    for cells, colour in rows:
        text = "  ".join(f"{c:{w}}" for c, w in zip(cells, widths, strict=True))
        yield text.rstrip(), cells, colour
