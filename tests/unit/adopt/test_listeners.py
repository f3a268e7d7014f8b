# SPDX-License-Identifier: MIT
"""Services that serve a VIP by the name of its interface: told before the move, and after it."""

from __future__ import annotations

from pathlib import Path

import pytest

from keepalived_dummy import listeners
from keepalived_dummy.listeners import Listener
from keepalived_dummy.rewrite import Vip

# As ss of iproute2 6.1 shows them.
SS = """\
udp   UNCONN 0      0      192.0.2.10:53      0.0.0.0:* users:(("dnsmasq",pid=2788,fd=4))
udp   UNCONN 0      0      0.0.0.0%e0:7001    0.0.0.0:* users:(("x y",pid=1,fd=3))
tcp   LISTEN 0      128    192.0.2.10%e0:443  0.0.0.0:* users:(("nginx",pid=5,fd=6),("nginx",pid=6,fd=6))
tcp   LISTEN 0      128            [::]:22       [::]:* users:(("sshd",pid=5,fd=6))
tcp   LISTEN 0      128   [2001:db8::10]:53      [::]:*
udp   UNCONN 0      0   [fe80::1]%e0:53       [::]:* users:(("dnsmasq",pid=2788,fd=10))

tcp   LISTEN
"""
DNS = Listener("dnsmasq", "udp", "192.0.2.10", "53")
WEB = Listener("nginx", "tcp", "192.0.2.10", "443")
SIX = Listener("", "tcp", "2001:db8::10", "53")
MOVES = Vip("VI_1", "192.0.2.10", "ens3", "keepalived0")
STAYS = Vip("VI_1", "192.0.2.11", "ens3", "ens3")


def test_what_ss_shows() -> None:
    assert list(listeners.parse(SS)) == [
        DNS,
        Listener("x y", "udp", "0.0.0.0", "7001"),
        WEB,
        Listener("sshd", "tcp", "::", "22"),
        SIX,
        Listener("dnsmasq", "udp", "fe80::1", "53"),
    ]


@pytest.mark.parametrize(
    ("script", "found"),
    [
        (f"cat <<'E'\n{SS}E", {DNS, WEB, SIX}),
        ("exit 1", set()),
        (None, set()),
    ],
)
def test_only_what_is_bound_to_a_vip(
    script: str | None, found: set[Listener], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ss"
    if script is not None:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    path = f"{tmp_path}:/bin:/usr/bin" if script is not None else str(tmp_path)
    monkeypatch.setenv("PATH", path)
    assert listeners.read({"192.0.2.10", "2001:db8::10"}) == found


def test_what_is_said_before(tmp_path: Path) -> None:
    (tmp_path / "etc/dnsmasq.d").mkdir(parents=True)
    (tmp_path / "etc/dnsmasq.d/lan.conf").write_text(
        "# interface=ens3\nbind-dynamic\ninterface=ens3\n"
    )
    bound, known = listeners.before([MOVES, STAYS], [WEB, SIX, DNS], tmp_path)
    assert bound.startswith(
        "bound to VIPs that move: somebody (tcp [2001:db8::10]:53), dnsmasq (udp 192.0.2.10:53),"
        " nginx (tcp 192.0.2.10:443): these sockets stay;"
    )
    assert known == (
        "/etc/dnsmasq.d/lan.conf:3: dnsmasq serves addresses of ens3 by its name, and may not serve"
        " those on keepalived0: name keepalived0 there too, and restart it"
    )


def test_nothing_is_said_where_nothing_moves(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/dnsmasq.conf").write_text("interface=ens3\n")
    assert list(listeners.before([STAYS], [], tmp_path)) == []


NAMED = [
    ("etc/dnsmasq.conf", "port=53\ninterface = ens3 # the LAN\n", 2),
    ("etc/dnsmasq.conf", "interface=ens30\n", 0),
    ("etc/dnsmasq.conf", "interface=lo,ens3\ninterface=keepalived0\n", 0),
    ("etc/dnsmasq.conf", "except-interface=ens3\n", 0),
    ("etc/pihole/pihole.toml", '[dns]\n  interface = "ens3"\n', 2),
    ("etc/samba/smb.conf", "[global]\n   interfaces = 127.0.0.0/8 ens3\n", 2),
    ("etc/samba/smb.conf", "[global]\n;  interfaces = ens3\n", 0),
    ("etc/ntpsec/ntp.conf", "interface ignore wildcard\ninterface listen ens3\n", 2),
    ("etc/strongswan.d/charon.conf", "charon {\n    interfaces_use = ens3, lo\n}\n", 2),
    ("etc/strongswan.d/charon.conf", "charon {\n    # interfaces_use = ens3\n}\n", 0),
    ("etc/unbound/unbound.conf.d/a.conf", "server:\n    interface: ens3\n", 2),
    ("etc/unbound/unbound.conf.d/a.conf", "server:\n    interface: 192.0.2.10\n", 0),
    ("etc/avahi/avahi-daemon.conf", "[server]\nallow-interfaces=ens3\n", 2),
]


@pytest.mark.parametrize(("path", "text", "line"), NAMED)
def test_where_a_known_service_names_the_uplink(
    path: str, text: str, line: int, tmp_path: Path
) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    found = [where for where, _ in listeners.named(tmp_path, "ens3", "keepalived0")]
    assert found == ([f"/{path}:{line}"] if line else [])


def test_every_known_service_has_its_case(tmp_path: Path) -> None:
    found: set[str] = set()
    for number, (path, text, _) in enumerate(NAMED):
        file = tmp_path / str(number) / path
        file.parent.mkdir(parents=True)
        file.write_text(text)
        named = listeners.named(tmp_path / str(number), "ens3", "keepalived0")
        found |= {service for _, service in named}
    assert found == {service for service, _, _ in listeners.KNOWN}


def test_what_is_said_after() -> None:
    assert list(listeners.after([DNS, WEB], [WEB, SIX])) == [
        "no more bound to a VIP since it moved: dnsmasq (udp 192.0.2.10:53): have it name the dummy too"
    ]
    assert list(listeners.after([WEB], [WEB])) == []
