# SPDX-License-Identifier: MIT
"""Services that serve a VIP for the sake of the interface that it is on, and so not on a dummy.

A socket that is bound to a VIP stays so when the address moves, and one that is bound to the uplink's device goes on too,
since what is for the VIP still comes in there. What a move can end is a service that asks which addresses an interface
has, and binds those: dnsmasq with bind-dynamic closes its socket at once, others do not open it again at their next start.
"""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from keepalived_dummy.events import some
from keepalived_dummy.rewrite import Vip

_SS = ("ss", "--no-header", "--listening", "--numeric", "--processes", "--tcp", "--udp")
_TIMEOUT = 20.0
_USER = re.compile(r'\("((?:[^"\\]|\\.)*)",pid=')
_NAME = re.compile(r"[^\s,;\"'\[\](){}=]+")

# Who asks for the addresses of an interface by its name, in which files and after which word.
KNOWN = (
    ("dnsmasq", ("etc/dnsmasq.conf", "etc/dnsmasq.d/*"), r"interface\s*="),
    ("Pi-hole", ("etc/pihole/pihole.toml",), r"interface\s*="),
    ("Samba", ("etc/samba/smb.conf",), r"interfaces\s*="),
    ("ntpd", ("etc/ntp.conf", "etc/ntpsec/ntp.conf"), r"(?:interface|nic)\s+listen\s"),
    (
        "strongSwan",
        ("etc/strongswan.conf", "etc/strongswan.d/*.conf", "etc/strongswan.d/charon/*.conf"),
        r"(?:charon\.)?interfaces_use\s*=",
    ),
    ("unbound", ("etc/unbound/unbound.conf", "etc/unbound/unbound.conf.d/*.conf"), "interface:"),
    ("avahi-daemon", ("etc/avahi/avahi-daemon.conf",), r"allow-interfaces\s*="),
)


@dataclass(frozen=True, order=True)
class Listener:
    """A socket that waits for whoever comes. `user`: the program that has it, or empty."""

    user: str
    protocol: str
    address: str
    port: str

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.protocol} {host}:{self.port}"


def read(addresses: Collection[str]) -> frozenset[Listener]:
    """The sockets bound to one of these addresses; none where ss(8) does not tell."""
    try:
        done = subprocess.run(
            _SS, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return frozenset()
    return frozenset(one for one in parse(done.stdout) if one.address in addresses)


def parse(text: str) -> Iterator[Listener]:
    """The lines of ss: protocol, state, two queues, the local address, the other, the users. Pure."""
    for line in text.splitlines():
        words = line.split(maxsplit=6)
        if len(words) < 6:
            continue
        host, _, port = words[4].rpartition(":")
        address = host.partition("%")[0].strip("[]")
        user = _USER.search(words[6]) if len(words) > 6 else None
        yield Listener(user[1] if user else "", words[0], address, port)


def before(vips: Iterable[Vip], bound: Collection[Listener], root: Path) -> Iterator[str]:
    """What adopt says before the move."""
    moving = [vip for vip in vips if vip.before != vip.after]
    if bound:
        yield (
            f"bound to VIPs that move: {_shown(bound)}: these sockets stay; a service that binds the addresses"
            " of an interface by its name does not bind them again at its next start"
        )
    places = sorted({(vip.before, vip.after) for vip in moving})
    for uplink, dummy in places:
        for where, service in named(root, uplink, dummy):
            yield (
                f"{where}: {service} serves addresses of {uplink} by its name, and may not serve those on"
                f" {dummy}: name {dummy} there too, and restart it"
            )


def after(then: Collection[Listener], now: Collection[Listener]) -> Iterator[str]:
    """What adopt says after it: what was bound to a VIP and is not any more."""
    if gone := set(then) - set(now):
        yield f"no more bound to a VIP since it moved: {_shown(gone)}: have it name the dummy too"


def _shown(bound: Collection[Listener]) -> str:
    users: dict[str, list[str]] = defaultdict(list)
    for one in sorted(bound):
        users[one.user or "somebody"].append(str(one))
    return some([f"{user} ({some(places, 4)})" for user, places in users.items()])


def named(root: Path, uplink: str, dummy: str) -> Iterator[tuple[str, str]]:
    """Where a known service names the uplink, as FILE:LINE, and the service; not where it names the dummy as well."""
    for service, patterns, word in KNOWN:
        found: list[str] = []
        names: set[str] = set()
        for path in sorted(path for pattern in patterns for path in root.glob(pattern)):
            for number, values in _settings(path, re.compile(rf"\s*{word}(.*)")):
                names |= values
                if uplink in values:
                    found.append(f"/{path.relative_to(root)}:{number}")
        if dummy not in names:
            yield from ((where, service) for where in found)


def _settings(path: Path, line: re.Pattern[str]) -> Iterator[tuple[int, set[str]]]:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:  # a folder, mostly
        return
    for number, text in enumerate(lines, 1):
        if found := line.match(text):
            yield number, set(_NAME.findall(re.split(r"\s[#;]", found[1])[0]))
