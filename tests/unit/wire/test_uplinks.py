# SPDX-License-Identifier: MIT
"""Which dummy is wired to what: tables over hosts."""

from __future__ import annotations

import ipaddress

import pytest

from keepalived_dummy import apply, config, keepalived, lastgood, links
from keepalived_dummy.config import Config, Dummy
from keepalived_dummy.interfaces import Address, Link
from keepalived_dummy.keepalived import CONFIG, Document, Memory, read_from
from keepalived_dummy.uplinks import Uplinks, resolve
from keepalived_dummy.wire import render

INSTANCE = """vrrp_instance %s {
  interface %s
  virtual_router_id 51
  virtual_ipaddress {
    192.0.2.10/32 dev %s
  }
}
"""


def document(text: str) -> Document:
    return read_from(Memory({str(CONFIG): text.encode()}), str(CONFIG))


def link(name: str, index: int, kind: str = "", mac: str = "", hardware: int = 1) -> Link:
    raw = bytes.fromhex(mac.replace(":", "")) if mac else bytes([2, 0, 0, 0, 0, index])
    return Link(index, 0x43, name, kind, raw, 1500, 1, "", hardware)


def address(index: int, text: str) -> Address:
    interface = ipaddress.ip_interface(text)
    family = 2 if interface.version == 4 else 10
    return Address(family, index, interface.network.prefixlen, interface.ip.packed, 0, 0)


LINKS = {
    item.name: item
    for item in (
        link("ens3", 2),
        link("ens4", 3),
        link("wg0", 4, "wireguard", hardware=65534),
        link("keepalived0", 7, "dummy"),
        link("vips", 8, "dummy"),
    )
}
DEFAULT = Dummy("keepalived", "/etc/keepalived-dummy.d/keepalived.conf", "keepalived0")


def found(text: str, dummy: Dummy = DEFAULT, addresses: tuple[Address, ...] = ()) -> Uplinks:
    return resolve(Config(dummies=(dummy,)), document(text), LINKS, addresses)


def wired(result: Uplinks) -> list[tuple[str, list[str]]]:
    return [(j.dummy.name, [uplink.name for uplink in j.uplinks]) for j in result.joints]


def test_auto_takes_the_interface_of_the_instances_on_the_dummy() -> None:
    text = INSTANCE % ("A", "ens3", "keepalived0") + INSTANCE % ("B", "ens4", "elsewhere")
    result = found(text)
    assert wired(result) == [("keepalived0", ["ens3"])]
    assert (result.waiting, result.problems) == ((), ())
    assert result.joints[0].uplinks[0].mac == "02:00:00:00:00:02"


def test_two_instances_two_uplinks() -> None:
    text = INSTANCE % ("A", "ens3", "keepalived0") + INSTANCE % ("B", "ens4", "keepalived0")
    result = found(text, addresses=(address(2, "192.0.2.5/24"), address(3, "198.51.100.5/24")))
    assert wired(result) == [("keepalived0", ["ens3", "ens4"])]
    assert result.problems == ()


def test_two_uplinks_in_one_network_are_an_error_that_says_what_to_do() -> None:
    text = INSTANCE % ("A", "ens3", "keepalived0") + INSTANCE % ("B", "ens4", "keepalived0")
    result = found(text, addresses=(address(2, "192.0.2.5/24"), address(3, "192.0.2.6/25")))
    assert result.joints == ()
    assert [str(p) for p in result.problems] == [
        "/etc/keepalived-dummy.d/keepalived.conf: keepalived0 can't be wired: ens3 and ens4 are both"
        " in 192.0.2.0/25, and its addresses would be announced there with two MACs; give each"
        " uplink a dummy of its own"
    ]


def test_the_conf_wins_over_keepalived_conf() -> None:
    dummy = Dummy("keepalived", DEFAULT.path, "keepalived0", uplinks=("ens4",))
    assert wired(found(INSTANCE % ("A", "ens3", "keepalived0"), dummy)) == [
        ("keepalived0", ["ens4"])
    ]


def test_wire_no_makes_no_joint_and_keeps_the_uplink_for_the_way_out() -> None:
    dummy = Dummy("keepalived", DEFAULT.path, "keepalived0", wire=False)
    result = found(INSTANCE % ("A", "ens3", "keepalived0"), dummy)
    assert (wired(result), result.names) == ([], {"keepalived0": ("ens3",)})


@pytest.mark.parametrize(
    ("uplink", "said"),
    [
        ("wg0", "wg0 is no Ethernet interface"),
        ("keepalived0", "keepalived0 is a dummy itself"),
    ],
)
def test_what_is_no_uplink(uplink: str, said: str) -> None:
    result = found(INSTANCE % ("A", uplink, "keepalived0"))
    assert result.joints == ()
    assert said in str(result.problems[0])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no uplink yet"),
        (INSTANCE % ("A", "ens9", "keepalived0"), "its uplink ens9 is not there yet"),
        ("$IF=ens3\n@node1 " + INSTANCE % ("A", "ens3", "keepalived0"), "name it in"),
    ],
)
def test_no_uplink_yet_is_said_and_no_error(text: str, said: str) -> None:
    result = found(text)
    assert (result.joints, result.problems) == ((), ())
    assert any(said in line for line in result.waiting), result.waiting


WELL = "global_defs {\n}\n" + INSTANCE % ("A", "ens3", "keepalived0")


def test_a_bad_keepalived_conf_takes_no_wire_down() -> None:
    """keepalived itself, which is not reloaded yet, goes on with what it has."""
    before = found(WELL)
    bad = document(WELL.replace("{\n}\n", "{\n", 1))
    result = resolve(Config(dummies=(DEFAULT,)), bad, LINKS, (), before.names)
    assert (wired(result), result.names) == (wired(before), before.names)
    (said,) = result.waiting
    assert said.startswith("keepalived0: ")
    assert "keepalived.conf:1: this brace is never closed" in said
    assert said.endswith("it stays ens3")


def test_apply_knows_the_uplinks_of_the_last_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "read", lambda: links.Host(LINKS, ()))
    monkeypatch.setattr(config, "load", lambda _: Config(dummies=(DEFAULT,)))
    monkeypatch.setattr(keepalived, "read", lambda: document("global_defs {\n"))
    monkeypatch.setattr(lastgood, "uplinks", lambda _: {"keepalived0": ("ens3",)})
    script, notes = apply.show()
    assert "filter add dev ens3 ingress" in script
    assert notes[0].endswith("it stays ens3")


def test_no_keepalived_conf_names_no_uplink() -> None:
    none = read_from(Memory({}), str(CONFIG))
    result = resolve(Config(dummies=(DEFAULT,)), none, LINKS, (), found(WELL).names)
    assert (wired(result), result.names) == ([], {"keepalived0": ()})


@pytest.mark.parametrize(
    "more", ["", "include /etc/keepalived/conf.d/*.conf\n"], ids=["", "a pattern of no file"]
)
def test_a_keepalived_conf_that_is_well_is_believed(more: str) -> None:
    before = found(WELL)
    text = more + WELL.replace(" dev keepalived0", "")
    result = resolve(Config(dummies=(DEFAULT,)), document(text), LINKS, (), before.names)
    assert (wired(result), result.names) == ([], {"keepalived0": ()})


def test_link_local_addresses_of_the_uplink_come_along() -> None:
    text = INSTANCE % ("A", "ens3", "keepalived0")
    addresses = (address(2, "fe80::5/64"), address(2, "2001:db8::5/64"), address(3, "fe80::6/64"))
    result = found(text, addresses=addresses)
    assert result.joints[0].uplinks[0].local == ("fe800000000000000000000000000005",)


def test_a_conf_that_names_the_uplink_takes_no_wire_down() -> None:
    wrong = Dummy("other", "/etc/keepalived-dummy.d/other.conf", "ens3")
    text = INSTANCE % ("A", "ens3", "keepalived0")
    result = resolve(Config(dummies=(DEFAULT, wrong)), document(text), LINKS, ())
    assert wired(result) == [("keepalived0", ["ens3"])]
    assert result.problems == ()


KERNEL = 32  # "Only 32 actions supported per filter."


def most_actions(result: Uplinks) -> int:
    """Of the filter that has the most, each uplink's arp_ignore asking for ARP too."""
    filters = render(result.joints, result.every).filters
    return max(item.line.count(" action ") for item in filters)


def test_the_dummy_that_an_uplink_has_no_room_for_takes_no_wire_down() -> None:
    """It is the one made last, wherever its conf sorts."""
    dummies = [Dummy(f"d{n}", f"/d{n}.conf", f"d{n}", uplinks=("ens3",)) for n in range(KERNEL)]
    made = {dummy.name: link(dummy.name, n, "dummy") for n, dummy in enumerate(dummies, 10)}
    before = resolve(Config(tuple(dummies)), document(""), LINKS | made, ())
    more = Dummy("a", "/a.conf", "a", uplinks=("ens3", "ens4"))
    made["a"] = link("a", 99, "dummy")
    result = resolve(Config((more, *dummies)), document(""), LINKS | made, ())
    assert most_actions(result) == KERNEL
    assert wired(before) == [(dummy.name, ["ens3"]) for dummy in dummies]
    assert before.problems == ()
    assert wired(result) == [("a", ["ens4"]), *wired(before)]
    assert [str(problem) for problem in result.problems] == [
        "/a.conf: a can't be wired to ens3: that has 32 dummies, and the kernel takes no more; put"
        " its VIPs on another dummy, which can hold several"
    ]


def test_the_uplink_that_a_dummy_has_no_room_for_takes_no_wire_down() -> None:
    names = [f"eth{n}" for n in range(9)]
    there = LINKS | {name: link(name, n) for n, name in enumerate(names, 20)}
    text = "".join(INSTANCE % (name, name, "keepalived0") for name in names)
    result = resolve(Config((DEFAULT,)), document(text), there, ())
    assert most_actions(result) == KERNEL
    assert wired(result) == [("keepalived0", names[:-1])]
    assert [str(problem) for problem in result.problems] == [
        "/etc/keepalived-dummy.d/keepalived.conf: keepalived0 can't be wired to eth8: it has 8"
        " uplinks, and the kernel takes no more; give eth8 a dummy of its own"
    ]
