# SPDX-License-Identifier: MIT
"""Interface names as the kernel allows them, nearly any bytes: one such name takes nothing else down."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from idle import IDLE

from keepalived_dummy import (
    apply,
    config,
    files,
    hold,
    keepalived,
    lastgood,
    links,
    moves,
    netlink,
    observe,
    plan,
    probe,
    tc,
)
from keepalived_dummy.config import Config, Dummy
from keepalived_dummy.hold import Held
from keepalived_dummy.host import Host
from keepalived_dummy.inotify import Watches
from keepalived_dummy.interfaces import Link
from keepalived_dummy.keepalived import CONFIG, Memory, read_from
from keepalived_dummy.targets import Interface, Wish
from keepalived_dummy.wire import MARK

BAD = (
    b"e#1",
    b"e\xff1",
    "e\u20031".encode(),
    b"e\x1b1",
    b"e\x7f",
    b"e\xc2\xa01",
    b"e\xe2\x80\xa81",
)
FINE = (b"e'1", b'e"1', b"e\\1", b"-e1", b"e;1", b"e$1", b"e*1", b"dev", b"ingress", b"@e", b"123")

TEXT = b"""vrrp_instance A {
    interface "%s"
    virtual_ipaddress {
        192.0.2.10/32 dev bad0
    }
}
vrrp_instance B {
    interface ens4
    virtual_ipaddress {
        192.0.2.11/32 dev good0
    }
}
"""


def link(index: int, name: str, kind: str = "") -> Link:
    return Link(index, 0x43, name, kind, bytes([2, 0, 0, 0, 0, index]), 1500, 1, "", 1)


def wire_pass(
    raw: bytes, text: bytes, monkeypatch: pytest.MonkeyPatch
) -> tuple[apply.Result, list[str]]:
    """The part of a pass that looks at keepalived.conf and the host; and the lines that tc was given."""
    name = os.fsdecode(raw)
    found = [link(2, name), link(3, "ens4"), link(7, "bad0", "dummy"), link(8, "good0", "dummy")]
    document = read_from(Memory({str(CONFIG): text}), str(CONFIG))
    ran: list[str] = []
    monkeypatch.setattr(keepalived, "read", lambda: document)
    monkeypatch.setattr(links, "read", lambda: links.Host({one.name: one for one in found}, ()))
    monkeypatch.setattr(links, "announce", lambda _: None)
    monkeypatch.setattr(lastgood, "uplinks", lambda _: {})

    def run(lines: list[str]) -> str:
        ran.extend(lines)
        return ""

    monkeypatch.setattr(tc, "_run", run)
    monkeypatch.setattr(tc, "_remember", lambda _: None)
    result = apply.Result()
    wanted = Config(
        (Dummy("bad", "/etc/bad.conf", "bad0"), Dummy("good", "/etc/good.conf", "good0"))
    )
    with closing(links.Changer()) as change:
        apply._wire(wanted, keepalived.read(), change, result)
    return result, ran


@pytest.fixture(autouse=True)
def nothing_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(files, "RUNTIME", str(tmp_path)[1:])
    monkeypatch.setattr(tc, "read", lambda: tc.State({}, ()))


@pytest.mark.parametrize("raw", BAD)
def test_an_uplink_of_a_bad_name_is_a_problem_and_the_others_are_wired(
    raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, ran = wire_pass(raw, TEXT % raw, monkeypatch)
    (problem,) = [one for one in result.problems if "bad0" in one]
    assert problem.startswith(f"{CONFIG}:2: bad0 can't be wired to ")
    assert "rename it" in problem
    assert problem.isprintable()
    assert ran
    assert all("good0" in line or "ens4" in line for line in ran)
    assert all(line.isascii() and "#" not in line for line in ran)
    # The daemon looks after what it can.
    host = Host(IDLE)
    host.load(plan.read(json.dumps(result.plan).encode()), 1.0)
    watches = Watches()
    watches.replace(host.plan.watch, host.plan.sysctls)
    os.close(watches.fd)


@pytest.mark.parametrize("raw", FINE)
def test_an_uplink_of_an_odd_name_is_wired(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    text = TEXT.replace(b'"%s"', raw) if b'"' in raw or b"\\" in raw else TEXT % raw
    name = read_from(Memory({str(CONFIG): text}), str(CONFIG)).model.instances[0].interface
    assert name is not None
    result, ran = wire_pass(os.fsencode(name.text), text, monkeypatch)
    assert not result.problems
    assert any(name.text in line for line in ran)


@pytest.mark.parametrize("raw", BAD)
def test_a_link_of_the_host_with_a_bad_name_harms_nothing(
    raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was an uplink, is one no more, and has a filter and a clsact of ours still."""
    cookie = MARK + bytes(12)
    left = netlink.Filter(2, netlink.CLSACT_INGRESS, 0x80000800, 19268, 0x86DD, "u32", 0, (cookie,))
    monkeypatch.setattr(tc, "read", lambda: tc.State({2: "clsact"}, (left,)))
    (Path("/") / files.RUNTIME / "clsact-2").touch()
    text = (TEXT % b"ens4").replace(b"bad0", b"good0")
    result, ran = wire_pass(raw, text, monkeypatch)
    assert not result.problems
    assert "filter del dev if2 ingress pref 19268 protocol ipv6" in ran
    monkeypatch.setattr(tc, "read", lambda: tc.State({2: "clsact"}, ()))
    _, ran = wire_pass(raw, text, monkeypatch)
    assert "qdisc del dev if2 clsact" in ran


def test_what_tc_says_may_be_any_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "tc"
    tool.write_text("#!/bin/sh\nprintf 'Error: \\377\\n' >&2\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert tc._run(["filter del dev e0"]).startswith("Error: ")


@pytest.mark.parametrize("raw", BAD)
def test_a_conf_refuses_such_a_name(raw: bytes) -> None:
    for name in {os.fsdecode(raw), raw.decode(errors="replace")}:
        with pytest.raises(ValueError, match=r"an interface name has no|tc can be told no"):
            config.parse_interface(name)


@pytest.mark.parametrize("raw", BAD)
def test_who_looks_at_a_host_with_such_a_name_sees_the_groups_of_all(
    raw: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/proc/net/igmp6 has the names as they are."""
    path = tmp_path / "igmp6"
    lines = (
        b"2    %-15s ff020000000000000000000000000001     1 0000000C 0\n" % n for n in (raw, b"x")
    )
    path.write_bytes(b"".join(lines))
    monkeypatch.setattr(observe, "_IGMP6", path)
    assert observe._members() == {(2, bytes.fromhex("ff02" + "0" * 27 + "1"))}


@pytest.mark.parametrize("raw", BAD)
def test_a_vip_is_held_on_such_a_name(raw: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """revert moves it there; what ip(8) can't do shows in the proof."""
    given: list[bytes] = []
    monkeypatch.setattr(subprocess, "run", lambda *_, input, **__: given.append(input))
    hold.add([Held("192.0.2.10/32", os.fsdecode(raw), (), "forever", True)])
    assert raw in given[0]


def test_the_plan_that_a_pass_gives_has_no_nul(monkeypatch: pytest.MonkeyPatch) -> None:
    watches = Watches()
    watches.replace(["/etc/\0"], ["/proc/sys/net/ipv4/conf/e\0/arp_ignore"])
    os.close(watches.fd)


def test_who_asks_on_such_a_name_says_that_it_was_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from keepalived_dummy import evidence
    from keepalived_dummy.observed import Unseen

    name = os.fsdecode(b"e\xff1")
    looking = evidence._Looking.__new__(evidence._Looking)
    looking.unseen = []
    there = links.Host({name: link(2, name)}, ())
    looking.sources = type("Sources", (), {"host": there})()
    looking.seen = type("Seen", (), {})()
    monkeypatch.setattr(evidence, "_probed", lambda _: {name: ["192.0.2.10"]})

    def ask(*_: object) -> list[object]:
        raise UnicodeEncodeError("utf-8", name, 1, 2, "surrogates not allowed")

    monkeypatch.setattr(probe, "ask", ask)
    assert looking.answers() == ()
    assert looking.unseen == [Unseen(f"who answers on {name}", "its name is not UTF-8")]


@pytest.mark.parametrize("raw", BAD)
def test_adopt_refuses_a_vip_on_such_a_name_and_moves_the_others(raw: bytes) -> None:
    text = TEXT.replace(b" dev bad0", b"").replace(b" dev good0", b"") % raw
    document = read_from(Memory({str(CONFIG): text}), str(CONFIG))
    own = Interface("", True, (ipaddress.ip_interface("192.0.2.5/24"),))
    found = moves.find(document, Config(), {os.fsdecode(raw): own, "ens4": own}, Wish())
    (refused,) = found.refused
    assert (refused.path, refused.line) == (str(CONFIG), 4)
    assert "tc can be told no interface name" in refused.message
    assert [device for _, _, device in found.moving] == ["ens4"]
