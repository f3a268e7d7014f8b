# SPDX-License-Identifier: MIT
"""`apply --remove` and the way out: after it there is no daemon that would take its routes away."""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType

import pytest

from keepalived_dummy import apply, kernel, links, netlink, policy_rules, routes, tc
from keepalived_dummy.interfaces import Address, Link
from keepalived_dummy.netlink import AF_INET, AF_INET6, Message
from keepalived_dummy.policy_rules import Rule
from keepalived_dummy.routes import Held, Key, Route

UPLINK = Link(3, 0x43, "ens3", "", b"", 1500, 1, "", 1)
DUMMY = Link(7, 0x43, "keepalived0", "dummy", b"", 1500, 1, "keepalived-dummy:keepalived", 1)
VIP = Address(AF_INET, 7, 32, socket.inet_aton("192.0.2.10"), 0, 0)


def route(family: int, length: int) -> Route:
    key = Key(254, bytes(4 if family == AF_INET else 16), length, 0)
    return Route(family, key, routes.PROTOCOL, 0, routes.METRIC, 3, b"", b"", b"")


HELD: list[Held] = []
RULES: list[Rule] = []


def answer(r: Rule) -> list[Message]:
    return list(netlink.messages(policy_rules.put(r)))


OURS = [route(AF_INET, 24), route(AF_INET, 16), route(AF_INET6, 64)]


class Kernel:
    """Stands for the kernel's routes: asked by dumps, changed by what is sent; one of another's is among them."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def __enter__(self) -> Kernel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        pass

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def dump(self, sock: object, request: bytes) -> list[Message]:
        if request == routes.dump_held():
            return [m for held in HELD for m in netlink.messages(routes.hold(held))]
        (asked,) = netlink.messages(request)
        if asked.type == policy_rules.RTM_GETRULE:
            return [m for r in RULES if r.family == asked.body[0] for m in answer(r)]
        family = asked.body[0]
        assert request == routes.dump_routes(family, 0)
        if family == AF_INET6 and not any(r.family == AF_INET6 for r in OURS):
            raise OSError(97, "Address family not supported by protocol")
        found = [m for r in OURS if r.family == family for m in netlink.messages(routes.put(r))]
        body = bytearray(found[0].body)
        body[5] = 16  # networkd's; a kernel before 5.0 gives all routes
        return [*found, found[0]._replace(body=bytes(body))]


def removed(
    monkeypatch: pytest.MonkeyPatch, root: Path, addresses: tuple[Address, ...]
) -> tuple[apply.Result, list[bytes]]:
    host = links.Host({link.name: link for link in (UPLINK, DUMMY)}, addresses)
    double = Kernel()
    monkeypatch.setattr(apply, "ROOT", root)
    monkeypatch.setattr(links, "read", lambda: host)
    monkeypatch.setattr(links, "remove_all", lambda change: links.Result())
    monkeypatch.setattr(tc, "sync", lambda *_: tc.Result())
    for name in ("open_socket", "open_dump_socket"):
        monkeypatch.setattr(kernel, name, lambda: double)
    monkeypatch.setattr(kernel, "dump", double.dump)
    return apply.remove(), double.sent


def test_a_way_out_that_nobody_needs_goes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result, sent = removed(monkeypatch, tmp_path, ())
    assert sent == [routes.take(r) for r in OURS]
    assert result.changed == [
        "ens3: IPv4 routes of the way out removed",
        "ens3: IPv6 routes of the way out removed",
    ]
    assert (result.notes, result.status) == ([], 0)


def test_a_vip_that_is_held_keeps_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result, sent = removed(monkeypatch, tmp_path, (VIP,))
    assert (sent, result.changed) == ([], [])
    assert result.notes == [
        "ens3: IPv4 routes of the way out stay, a VIP is held; to remove them:"
        " ip -4 route flush table all proto 75",
        "ens3: IPv6 routes of the way out stay, a VIP is held; to remove them:"
        " ip -6 route flush table all proto 75",
    ]


SOURCE = socket.inet_aton("192.0.2.5")


@pytest.mark.parametrize(
    ("addresses", "goes"),
    [((), True), ((VIP, Address(AF_INET, 3, 24, SOURCE, 0, 0)), True), ((VIP,), False)],
    ids=["no VIP", "the address is there", "a VIP, and the address is away"],
)
def test_a_held_source_goes_unless_a_vip_needs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, addresses: tuple[Address, ...], goes: bool
) -> None:
    held = Held(SOURCE)
    monkeypatch.setattr(f"{__name__}.HELD", [held])
    result, sent = removed(monkeypatch, tmp_path, addresses)
    assert (routes.release(held) in sent) == goes
    said = "192.0.2.5: the local route of the pinned source "
    assert (f"{said}removed" in result.changed) == goes
    command = "ip route flush table all type local proto 75"
    kept = f"{said}stays, a VIP is held; to remove it: {command}"
    assert (kept in result.notes) != goes


def test_a_kernel_without_ipv6(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(f"{__name__}.OURS", OURS[:2])
    result, sent = removed(monkeypatch, tmp_path, ())
    assert sent == [routes.take(r) for r in OURS]
    assert result.changed == ["ens3: IPv4 routes of the way out removed"]


@pytest.mark.parametrize("held", [True, False])
def test_rules_of_the_way_out_go_unless_a_vip_needs_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, held: bool
) -> None:
    selector = bytes((AF_INET, 0, 0, 0, 0, 0, 0, 1)) + bytes(4)
    ours, others = Rule(AF_INET, 101, 301, 75, selector), Rule(AF_INET, 101, 300, 4, selector)
    monkeypatch.setattr(f"{__name__}.RULES", [ours, others])
    monkeypatch.setattr(f"{__name__}.OURS", [OURS[0]])
    result, sent = removed(monkeypatch, tmp_path, (VIP,) if held else ())
    assert (policy_rules.take(ours) in sent) == (not held)
    assert policy_rules.take(others) not in sent
    said = result.notes if held else result.changed
    assert any("IPv4 rule 301 of the way out" in line for line in said)
