# SPDX-License-Identifier: MIT
"""Which sources a keepalived.conf pins: a table of files."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from keepalived_dummy import (
    apply,
    files,
    kernel,
    lastgood,
    links,
    netlink,
    pinned,
    plan,
    routes,
)
from keepalived_dummy.config import Config, Dummy
from keepalived_dummy.interfaces import IFF_UP, Address, Link
from keepalived_dummy.keepalived import CONFIG, Document, Memory, read_from
from keepalived_dummy.plan import PinnedSource

DUMMY = Dummy("keepalived", "/etc/keepalived-dummy.d/keepalived.conf", "keepalived0")
OWN, PEER = socket.inet_aton("192.0.2.5"), socket.inet_aton("192.0.2.6")
ENS3 = Link(2, IFF_UP, "ens3", "", b"", 1500, 1, "", 1)
LINKS = {"ens3": ENS3}
UNICAST = "unicast_src_ip 192.0.2.5\n unicast_peer {\n 192.0.2.6\n }"
PINNED = PinnedSource("VI_1", "ens3", OWN, (PEER,), ("keepalived0",), True, 255, 1)


def document(lines: str, vip: str = "192.0.2.10/32 dev keepalived0", after: str = "") -> Document:
    text = f"""vrrp_instance VI_1 {{
 interface ens3
 virtual_router_id 51
 {lines}
 virtual_ipaddress {{
  {vip}
 }}
}}
{after}"""
    return read_from(Memory({str(CONFIG): text.encode()}), str(CONFIG))


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        pytest.param(document(UNICAST), PINNED, id="unicast"),
        pytest.param(document("mcast_src_ip 192.0.2.5"), PINNED._replace(peers=()), id="multicast"),
        pytest.param(
            document("mcast_src_ip 192.0.2.5/24"), PINNED._replace(peers=()), id="with a prefix"
        ),
        pytest.param(document(""), None, id="not pinned"),
        pytest.param(document(UNICAST, "192.0.2.10/24"), None, id="VIP on the uplink"),
        pytest.param(document("mcast_src_ip here"), None, id="no address"),
        pytest.param(
            document("@one mcast_src_ip 192.0.2.5"), None, id="a source under a condition"
        ),
        pytest.param(document("unicast_src_ip"), None, id="no value"),
    ],
)
def test_which_source_is_pinned(made: Document, wanted: PinnedSource | None) -> None:
    found = pinned.sources(Config((DUMMY,)), made, LINKS)
    assert found == ((wanted,) if wanted else ())


def test_a_dummy_may_refuse_to_hold_sources() -> None:
    no = Dummy("keepalived", "", "keepalived0", hold_source=False)
    (found,) = pinned.sources(Config((no,)), document(UNICAST), LINKS)
    assert found == PINNED._replace(hold=False)


def test_the_source_of_an_uplink_in_a_vrf_is_local_there() -> None:
    vrf = Link(9, IFF_UP, "blue", "vrf", b"", 1500, 1, "", 1, 0, 10)
    inside = {"ens3": ENS3._replace(master=9), "blue": vrf}
    (found,) = pinned.sources(Config((DUMMY,)), document(UNICAST), inside)
    assert (found.table, found.device) == (10, 9)
    bridge = vrf._replace(kind="bridge", table=0)
    (found,) = pinned.sources(Config((DUMMY,)), document(UNICAST), {**inside, "blue": bridge})
    assert (found.table, found.device) == (255, 1)


def test_a_bad_file_keeps_the_sources_of_the_last_pass() -> None:
    """keepalived runs with them until it reads the file again."""
    bad = read_from(Memory({str(CONFIG): b"vrrp_instance {\n"}), str(CONFIG))
    assert bad.errors
    assert pinned.sources(Config((DUMMY,)), bad, LINKS, (PINNED,)) == (PINNED,)
    assert pinned.sources(Config(()), bad, LINKS, (PINNED,)) == ()
    assert pinned.sources(Config((DUMMY,)), document(""), LINKS, (PINNED,)) == ()
    none = read_from(Memory({}), str(CONFIG))
    assert pinned.sources(Config((DUMMY,)), none, LINKS, (PINNED,)) == ()


def test_a_source_goes_through_the_plan_as_it_is(tmp_path: Path) -> None:
    made = {"dummies": [], "sources": [plan.source(PINNED)]}
    text = json.dumps(made)
    assert plan.read(text.encode()).sources == (PINNED,)
    (tmp_path / files.RUNTIME).mkdir(parents=True)
    (tmp_path / files.RUNTIME / "plan.json").write_text(text)
    assert lastgood.sources(tmp_path) == (PINNED,)
    assert lastgood.sources(tmp_path / "nowhere") == ()


@pytest.mark.parametrize(
    ("flags", "addresses", "wanted"),
    [(IFF_UP, (), {"keepalived0"}), (IFF_UP, (OWN,), set()), (0, (), set())],
    ids=["away", "there", "uplink down"],
)
def test_a_pass_finds_who_cannot_hear(
    monkeypatch: pytest.MonkeyPatch, flags: int, addresses: tuple[bytes, ...], wanted: set[str]
) -> None:
    own = tuple(Address(netlink.AF_INET, 2, 24, a, 0, 0) for a in addresses)
    host = links.Host({"ens3": ENS3._replace(flags=flags)}, own)
    monkeypatch.setattr(links, "read", lambda: host)
    monkeypatch.setattr(kernel, "ask", lambda sock, request: None)
    assert apply._deaf(Config((DUMMY,)), document(UNICAST)).keys() == wanted


def test_a_dummy_of_a_deaf_instance_is_not_set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    changed: list[dict[str, Any]] = []
    change = links.Changer()
    monkeypatch.setattr(change, "link", lambda command, **what: changed.append(what))
    monkeypatch.setattr(links, "_write_sysctl", lambda *_: None)
    down = Link(7, 0, "keepalived0", "dummy", b"", 1500, 1, "keepalived-dummy:keepalived", 1)
    monkeypatch.setattr(links, "read", lambda: links.Host({"keepalived0": down}, ()))
    config = Config((DUMMY,))
    result = links.sync(change, config, frozenset(), {"keepalived0": "VI_1 is deaf"})
    assert changed == []
    said = "keepalived0: stays down, so that keepalived is in FAULT: VI_1 is deaf"
    assert (result.stays, result.changed) == ([said], [])
    links.sync(change, config, frozenset())
    assert changed == [{"index": 7, "flags": IFF_UP, "change": IFF_UP}]


def test_the_kernel_itself_is_asked() -> None:
    """It delivers 127.0.0.1, takes no packet whose source is its own address, and knows no such interface."""
    one, two = socket.inet_aton("127.0.0.1"), socket.inet_aton("127.0.0.2")
    with kernel.open_dump_socket() as sock:
        found = kernel.ask(sock, routes.ask_output(one, routes.LOOPBACK))
        assert found is not None
        assert routes.is_local(found.body)
        assert routes.interface(found.body) == routes.LOOPBACK
        assert kernel.ask(sock, routes.ask_input(two, one, routes.LOOPBACK)) is None
        assert kernel.ask(sock, routes.ask_output(two, 0x7FFFFFFF)) is None
