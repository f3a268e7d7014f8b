# SPDX-License-Identifier: MIT
"""A host in memory for transactions: files are real, keepalived and the kernel are not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from signal import Signals

from keepalived_dummy.hold import Held
from keepalived_dummy.keepalived import read_from
from keepalived_dummy.keepalived.disk import Disk
from keepalived_dummy.proof import Picture
from keepalived_dummy.rewrite import Vip, normal
from keepalived_dummy.service import MASTER, InstanceState


@dataclass
class World:
    """A keepalived that is MASTER of every instance, and does what its file says when it is reloaded.

    `tells`: where its VIPs are to be, too. `reloads`: what each reload does instead: "ignored", "dies", "backup", "refused".
    """

    config: Path
    pid: int = 100
    state: int = MASTER
    masters: int = 1
    reloads: list[str] = field(default_factory=list)
    refuses: list[str] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    places: frozenset[tuple[str, str]] = frozenset()
    names: tuple[str, ...] = ()
    vips: frozenset[tuple[str, str]] = frozenset()
    tells: bool = True

    def __post_init__(self) -> None:
        self._take()

    def _take(self) -> None:
        document = read_from(Disk(Path("/")), str(self.config))
        model = document.model
        self.names = tuple(instance.name.text for instance in model.instances)
        places = {
            (normal(vip), (vip.device or instance.interface).text)  # type: ignore[union-attr]
            for instance in model.instances
            for vip in instance.vips
        }
        self.vips = frozenset(places)
        self.places = self.vips if self.state == MASTER and self.pid else frozenset()

    def picture(self, states: bool = True) -> Picture:
        vips = self.vips if self.tells else frozenset()
        said = {name: InstanceState(self.state, self.masters, vips) for name in self.names}
        return Picture(self.pid, said if states and self.pid else None, self.places)

    def reload(self, running: bool) -> str:
        self.log.append("reload" if running else "restart")
        how = self.reloads.pop(0) if self.reloads else ""
        if how == "refused":
            return "Job failed"
        if how == "dies":
            self.pid = 0
            return ""
        if not running:
            self.pid = 200
        if how == "backup":
            self.state = 1
        if how == "master":
            self.state = MASTER
        if how == "flaps":
            self.masters += 1
        if how != "ignored":
            self._take()
        return ""

    def apply(self, signals: Collection[Signals] = ()) -> list[str]:
        self.log.append("apply")
        return self.undone.pop(0).split() if self.undone else []

    def test(self, contents: Mapping[str, bytes]) -> list[str]:
        self.log.append("test")
        return self.refuses

    def holds(self, vips: tuple[Vip, ...], before: Picture) -> list[Held]:
        return []
