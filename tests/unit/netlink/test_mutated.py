# SPDX-License-Identifier: MIT
"""Messages of a real kernel, damaged at random: each reader tells a Malformed, or what it read, and nothing else.

The same 20,000 at every run; MUTATIONS_SEED draws others. The seed is printed, and with a failure shown.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from idle import IDLE

from keepalived_dummy import fronts, interfaces, netlink, probe, routes
from keepalived_dummy.host import Host
from keepalived_dummy.netlink import Malformed, Message
from keepalived_dummy.plan import Dummy, Filter, Plan
from keepalived_dummy.wayout import preferred

COUNT = 20_000
SEED = int(os.environ.get("MUTATIONS_SEED", "7"))
FOLDERS = (Path(__file__).parent, Path(__file__).parents[1] / "routes")
EDGES = (0, 1, 2, 3, 4, 0x7F, 0x80, 0xFF)
INDEX = 2
KINDS = (
    16,
    17,
    20,
    21,
    24,
    25,
    36,
    37,
    44,
    45,
)  # RTM_NEW and RTM_DEL of links, addresses, routes, tc


def captured() -> list[bytes]:
    """The bodies of messages, and whole datagrams; a capture is one or the other."""
    found: list[bytes] = []
    for path in sorted(path for folder in FOLDERS for path in folder.glob("*.hex")):
        data = bytes.fromhex(path.read_text())
        found.append(data)
        with contextlib.suppress(Malformed):
            found += [message.body for message in netlink.messages(data)]
    arp = bytes.fromhex("0001080006040002020000000001c000020a020000000002c0000205")
    found.append(b"\xff" * 12 + b"\x08\x06" + arp)  # an answer that check --probe hears
    return found


def mutated(seeds: list[bytes], draw: random.Random) -> bytes:
    data = bytearray(draw.choice(seeds))
    for _ in range(draw.randint(0, 6)):
        how, place = draw.random(), draw.randrange(len(data) + 1)
        if how < 0.5 and place < len(data):
            data[place] = draw.choice((*EDGES, draw.randrange(256)))
        elif how < 0.7:
            del data[place:]
        elif how < 0.8:
            data[place:] = draw.choice(seeds)[place:]
        else:
            data[place:place] = draw.randbytes(draw.randint(1, 8))
    return bytes(data)


def daemon() -> Host:
    """One that looks after the links of the captures."""
    host = Host(IDLE)
    dummies = (Dummy("keepalived0", 1500, b"\2" * 6, True, True, ("ens3",), "keepalived-dummy:a"),)
    filters = (Filter(INDEX, "ingress", b"kdmy" + bytes(12), "filter add dev ens3"),)
    host.load(Plan(dummies, filters=filters), 1.0)
    return host


HOST = daemon()


def by_the_daemon(body: bytes) -> None:
    """Each kind of message in turn. Malformed where all are."""
    well = 0
    for kind in KINDS:
        with contextlib.suppress(Malformed):
            hear(Message(kind, 0x100, 0, 1, body))
            well += 1
    if not well:
        raise Malformed("to each of them")


def hear(message: Message) -> None:
    if message.type in (24, 25):
        HOST.route(message, 7, 2.0)
    elif message.type >= 36:
        HOST.tc(message, False, 1.0)
    else:
        HOST.message(message, 2.0)
        links = [message] if message.type == interfaces.RTM_NEWLINK else []
        HOST.picture(links, [message] if message.type == interfaces.RTM_NEWADDR else [], 3.0)


READERS: dict[str, Callable[[bytes], object]] = {
    "link": interfaces.link,
    "link_of": lambda body: [interfaces.link_of(Message(kind, 0, 0, 0, body)) for kind in KINDS],
    "address": interfaces.address,
    "address_of": lambda body: [
        a and interfaces.is_link_local(a)
        for kind in KINDS
        for a in [interfaces.address_of(Message(kind, 0, 0, 0, body))]
    ],
    "route": lambda body: [routes.route(body, index) for index in (0, INDEX)],
    "route of ours": lambda body: (r := routes.of_way_out(body)) and routes.take(r),
    "route put back": lambda body: (
        (r := routes.route(body, INDEX)) and (routes.put(r), routes.restore(r))
    ),
    "routes thinned": lambda body: preferred([Message(24, 0, 0, 0, body)], INDEX),
    "route's interface": routes.interface,
    "route's protocol": routes.protocol,
    "filter": netlink.filter_of,
    "tc": netlink.tc,
    "error": netlink.error,
    "filters before ours": lambda body: list(fronts.find_fronts("e0", [body], True)),
    "datagram": lambda body: [list(netlink.messages(body)), list(netlink.filters(body))],
    "frame": probe.answer,
    "daemon": by_the_daemon,
}


def test_a_damaged_message_is_read_or_malformed() -> None:
    draw, seeds = random.Random(SEED), captured()
    print(f"MUTATIONS_SEED={SEED}, {COUNT} messages from {len(seeds)}")
    wrong: Counter[tuple[str, str]] = Counter()
    first: dict[tuple[str, str], str] = {}
    well: Counter[str] = Counter()
    for _ in range(COUNT):
        body = mutated(seeds, draw)
        for name, read in READERS.items():
            try:
                read(body)
            except Malformed:
                continue
            except Exception as error:  # what is looked for here
                kind = name, type(error).__name__
                wrong[kind] += 1
                first.setdefault(kind, f"{error!r} of {body.hex()}")
            else:
                well[name] += 1
    assert not wrong, first
    assert len(seeds) > 10
    assert all(well[name] > COUNT // 50 for name in READERS), "the messages are too damaged to tell"


@pytest.mark.parametrize("name", READERS)
def test_the_captures_themselves_are_read(name: str) -> None:
    done = 0
    for body in captured():
        try:
            READERS[name](body)
        except Malformed:
            continue
        done += 1
    assert done
