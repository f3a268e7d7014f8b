# SPDX-License-Identifier: MIT
"""Properties that hold for any configuration, by hypothesis."""

from __future__ import annotations

import cases
from hypothesis import given, settings
from hypothesis import strategies as st

from keepalived_dummy.config import Config, Dummy
from keepalived_dummy.keepalived import Document, Memory, read_from
from keepalived_dummy.rewrite import Overlay, Rewrite, rewrite, verify
from keepalived_dummy.targets import Interface, Wish
from keepalived_dummy.undo import undo

PATH = "/etc/keepalived/keepalived.conf"
FACTS = cases.host("ens3 192.0.2.5/24 2001:db8::5/64 fe80::5/64\nens4 198.51.100.5/24 fe80::4/64\n")
CONFIG = Config((Dummy("keepalived", "/etc/keepalived-dummy.d/keepalived.conf", "keepalived0"),))

blanks = st.sampled_from([b" ", b"  ", b"\t", b" \t "])
comments = st.sampled_from([b"", b" # text", b"! text", b" ! \xff\xfe", b"\t#{ }", b" # dev ens3"])
ends = st.sampled_from([b"\n", b"\r\n"])
addresses = st.one_of(
    st.integers(10, 250).map(lambda n: b"192.0.2.%d" % n),
    st.integers(10, 250).map(lambda n: b"198.51.100.%d" % n),
    st.integers(10, 250).map(lambda n: b"2001:db8::%x" % n),
    st.sampled_from(
        [b"fe80::10", b"192.0.2.300", b"$VIP", b"@id 192.0.2.9", b"${X}", b'"192.0.2.8"']
    ),
)
prefixes = st.sampled_from([b"", b"/32", b"/24", b"/64", b"/128", b"/33", b"/"])
OPTIONS = [
    *(b"dev ens3", b"dev ens4", b"dev keepalived0", b"dev ens9", b"label ens3:1", b"brd +"),
    *(b"scope link", b"no_track", b"-nodad", b"home", b"use_vmac", b"peer 192.0.2.99"),
]
ROUTES = b"""virtual_routes {
  192.0.2.0/24 dev ens4 scope link src 192.0.2.10
  2001:db8::/64 dev ens4 metric 256
  default via 192.0.2.1 # text
}
"""
options = st.lists(
    st.sampled_from(OPTIONS),
    max_size=2,
    unique_by=lambda option: option.split()[0],
)


@st.composite
def address_lines(draw: st.DrawFn) -> bytes:
    """One line of virtual_ipaddress."""
    words = [draw(addresses) + draw(prefixes), *draw(options)]
    return draw(blanks) + draw(blanks).join(words) + draw(comments) + draw(ends)


@st.composite
def instances(draw: st.DrawFn) -> bytes:
    """A vrrp_instance in one of many forms."""
    end = draw(ends)
    settings_ = [
        b"interface" + draw(blanks) + draw(st.sampled_from([b"ens3", b"ens4", b"$DEV", b'"ens3"'])),
        b"virtual_router_id %d" % draw(st.integers(1, 255)),
        draw(
            st.sampled_from(
                [b"", b"use_vmac", b"native_ipv6", b"mcast_src_ip 192.0.2.4", b"@a priority 1"]
            )
        ),
    ]
    if draw(st.booleans()):
        settings_.append(b"unicast_peer {" + end + b"192.0.2.6" + end + b"}")
    body = end.join(
        draw(blanks) + line + draw(comments) for line in draw(st.permutations(settings_))
    )
    blocks = b"".join(
        keyword + b" {" + end + b"".join(draw(st.lists(address_lines(), max_size=4))) + b"}" + end
        for keyword in draw(
            st.lists(
                st.sampled_from([b"virtual_ipaddress", b"virtual_ipaddress_excluded"]), max_size=3
            )
        )
    )
    routes = draw(
        st.sampled_from(
            [b"", ROUTES, b"virtual_routes {}" + end, b"virtual_routes {" + end + b"}" + end]
        )
    )
    blocks = draw(st.sampled_from([routes + blocks, blocks + routes]))
    name = b"V%d" % draw(st.integers(0, 10**9))
    return b"vrrp_instance " + name + b" {" + end + body + end + blocks + b"}" + end


configurations = st.lists(instances(), min_size=1, max_size=3).map(
    lambda made: b"$VIP=192.0.2.77\n$DEV=ens3\n" + b"".join(made)
)


def plan(data: bytes, pin: bool = True, routes: bool = True) -> tuple[Document, Memory, Rewrite]:
    """The document, its files and what adopt would do."""
    files = Memory({PATH: data})
    document = read_from(files, PATH)
    return document, files, rewrite(document, files, CONFIG, FACTS, Wish(None, pin, routes))


@settings(max_examples=300, deadline=None)
@given(configurations, st.booleans(), st.booleans())
def test_adopt_once_and_for_all(data: bytes, pin: bool, routes: bool) -> None:
    document, files, done = plan(data, pin, routes)
    assert verify(document, files, done) == []
    after = done.after.get(PATH, data)
    assert undo(data, after, after) == data
    dummies = [
        Dummy(path.rsplit("/", 1)[1][:-5], path, *_of(content))
        for path, content in done.confs.items()
    ]
    config = Config((*CONFIG.dummies, *dummies))
    facts = {**FACTS, **{d.name: Interface("dummy") for d in config.dummies}}
    memory = Memory({PATH: after})
    again = rewrite(read_from(memory, PATH), memory, config, facts, Wish(None, pin, routes))
    assert (again.after, again.confs) == ({}, {})


def _of(content: bytes) -> tuple[str, None, None, tuple[str, ...]]:
    values = [line.split("=")[1] for line in content.decode().splitlines() if "=" in line]
    return values[0], None, None, (values[1],)


@settings(max_examples=200, deadline=None)
@given(configurations, st.lists(st.integers(0, 10**6), max_size=3))
def test_edits_of_the_admin_outlive_an_undo(data: bytes, places: list[int]) -> None:
    _, _, done = plan(data)
    after = done.after.get(PATH, data)
    lines, wanted = after.split(b"\n"), data
    current = list(lines)
    for place in places:
        current.insert(place % len(current), b"# an admin's line %d" % place)
    undone = undo(data, after, b"\n".join(current))
    kept = [line for line in undone.split(b"\n") if not line.startswith(b"# an admin's line")]
    assert b"\n".join(kept) == wanted
    assert undone.count(b"# an admin's line") == len(places)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_stood(data: bytes) -> None:
    document, files, done = plan(data)
    assert verify(document, files, done) == []
    assert read_from(Overlay(files, done.after), PATH).model.instances is not None
