# SPDX-License-Identifier: MIT
"""The running host as adopt and revert see it: the kernel, keepalived, and what apply does."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from keepalived_dummy import execstart, hold, journal, keepalived, links, processes, service
from keepalived_dummy.errors import UserError
from keepalived_dummy.hold import Held
from keepalived_dummy.proof import Picture
from keepalived_dummy.rewrite import Vip
from keepalived_dummy.targets import Facts, Interface, IPInterface
from keepalived_dummy.transaction import Signals

_SECONDARY, _DADFAILED, _TENTATIVE = 0x01, 0x08, 0x40  # linux/if_addr.h
_ARPHRD_ETHER = 1
_LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass
class Live:
    """See transaction.Host; `say` takes what is worth knowing and no error.

    `needs_states`: nothing moves where something keeps keepalived from telling its state.
    """

    config: Path
    say: Callable[[str], None]
    service: service.Service = field(default_factory=service.find)
    needs_states: bool = False

    def picture(self, states: bool = True) -> Picture:
        """See transaction.Host."""
        if not service.runs(self.service.pid):
            self.service = service.find()
        pid = self.service.pid
        said = service.states(pid) if states and pid else None
        host = links.read_patiently()
        places = (
            (_normal(socket.inet_ntop(item.family, item.address)), host.names[item.ifindex])
            for item in host.addresses
            if item.ifindex in host.names
        )
        return Picture(pid, said, frozenset(places))

    def reload(self, running: bool) -> str:
        """See transaction.Host."""
        return service.reload(running)

    def apply(self, signals: Signals = ()) -> list[str]:
        """See transaction.Host. Without systemd, in a chroot, the network is not this system's."""
        if not self.service.systemd:
            return []
        from keepalived_dummy import apply

        result = apply.apply(signals=signals)
        for line in result.changed:
            self.say(line)
        return [*result.problems, *result.missing]

    def test(self, contents: Mapping[str, bytes]) -> list[str]:
        """See transaction.Host."""
        if not contents or not self.service.systemd:
            return []
        before = service.test(str(self.config), {})
        after = service.test(str(self.config), contents)
        if before.status is None or after.status is None:
            self.say("keepalived -t could not be asked: " + "; ".join(before.lines + after.lines))
            return []
        return service.worse(before, after)

    def holds(self, vips: tuple[Vip, ...], before: Picture) -> list[Held]:
        """See transaction.Host."""
        untold = self.needs_states and before.states is None
        if untold and (
            wrong := service.obstacle(self.service.pid)
        ):  # there since it was looked for
            raise UserError(wrong)
        return hold.needed(keepalived.read(self.config), vips, before)


def _normal(address: str) -> str:
    return str(ipaddress.ip_address(address))


def facts(host: links.Host) -> Facts:
    """The host's interfaces, each one's primary addresses first, those that duplicate detection refused left out."""
    found: dict[str, list[tuple[bool, IPInterface]]] = {name: [] for name in host.links}
    for item in host.addresses:
        name = host.names.get(item.ifindex)
        if name is not None and not item.flags & (_DADFAILED | _TENTATIVE):
            address = ipaddress.ip_interface((item.address, item.prefixlen))
            found[name].append((bool(item.flags & _SECONDARY), address))
    return {
        name: Interface(
            link.kind,
            link.hardware == _ARPHRD_ETHER,
            tuple(address for _, address in sorted(found[name], key=lambda pair: pair[0])),
        )
        for name, link in host.links.items()
    }


def reads(config: Path, running: service.Service) -> None:
    """Refuse where the keepalived that runs, or is to be started, reads another file."""
    words = service.words(running)
    told = execstart.config_of(words[1:])
    path = Path("/", told) if told else keepalived.CONFIG  # / is where systemd starts it
    if words and path != config:
        hint = f"say --config {path}, or --no-reload"
        raise UserError(f"keepalived.service reads {path} and not {config}", hint)


def reaches(config: Path, running: service.Service, reload: bool) -> None:
    """Refuse where keepalived runs in another network namespace, or can't be reloaded as keepalived.service.

    In another namespace it ends at its next reload, since the dummy is not there, and leaves its VIPs behind.
    """
    every = processes.find()
    own = [p for p in every if p.unit == service.UNIT or p.pid == running.pid]
    for one in every:
        if one.apart and (one in own or processes.reads(one, config)):
            hint = "networkd takes no VIP there, so leave them as they are"
            raise UserError(f"keepalived ({one}) runs in another network namespace", hint)
    near = [p for p in every if p.here is not False and p not in own]
    if not running.systemd:
        if inside := [p for p in (*own, *near) if p.inside is not False]:
            hint = "its dummy would be missing at its next reload, and keepalived end"
            raise UserError(f"keepalived ({inside[0]}) runs, but systemd does not", hint)
        return
    mine = [p for p in near if processes.reads(p, config) is not False]
    if reload and mine and not own:
        hint = "--no-reload changes the files; reload that keepalived yourself then"
        raise UserError(f"keepalived runs as {mine[0]} and not as {service.UNIT}", hint)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One adopt or revert at a time: a second one is refused, for the first may wait for its answer.

    In root's own folder: in /run/keepalived-dummy the unprivileged daemon could remove or replace it.
    """
    path = journal.FOLDER / "lock"
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(path, _LOCK, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise UserError("another adopt or revert is running") from error
    finally:
        os.close(descriptor)


def must_be_root() -> None:
    """Refuse early and in plain words."""
    if os.geteuid() != 0:
        raise UserError("this needs root")
