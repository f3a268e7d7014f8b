# SPDX-License-Identifier: MIT
"""Pairs of VRRP nodes in namespaces of one guest, a switch between them and a client, in four forms side by side.

A form is how a node holds its VIPs: on the uplink, with use_vmac, on a dummy as the published recipe has it (but up), and
on a dummy of this package. Each form has its own pair of nodes, its own VRID and VIPs, all on one switch,
so that they are measured in turn without being set up anew.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from guest import run, start, stop, wait_for, write

SWITCH, CLIENT = "kd-switch", "kd-client"
FORMS = ("uplink", "vmac", "recipe", "dummy")
UPLINK, DUMMY = "eth0", "keepalived0"
_STATE = re.compile(r"\(VI_1\) Entering (\w+) STATE")

# The nodes have /run for themselves, so that what runs in them does not meet the guest's own.
_PRIVATE = "mount -t tmpfs tmpfs /run && mkdir -p /run/keepalived /run/keepalived-dummy /run/systemd/network"


@dataclass(frozen=True)
class Plan:
    """What all nodes have in common: VIPs of each family, and the advert interval in s."""

    vips4: int = 1
    vips6: int = 1
    interval: float = 0.1
    nopreempt: bool = True


@dataclass
class Node:
    """One node of a pair."""

    form: str
    number: int  # 1 or 2
    vrid: int
    plan: Plan
    work: Path
    tracked: Path | None = None
    keepalived: subprocess.Popen[bytes] | None = None
    daemon: subprocess.Popen[bytes] | None = None
    _read: int = 0
    _seen: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its namespace."""
        return f"kd-{self.form}{self.number}"

    @property
    def port(self) -> str:
        """Its port of the switch."""
        return f"{self.form}{self.number}"

    @property
    def log(self) -> Path:
        return self.work / f"{self.name}.log"

    @property
    def device(self) -> str:
        return DUMMY if self.form in ("recipe", "dummy") else UPLINK

    def vips(self) -> tuple[list[str], list[str]]:
        return vips4(self.vrid, self.plan.vips4), vips6(self.vrid, self.plan.vips6)

    def conf(self) -> str:
        """Its keepalived.conf. The first 100 IPv4 VIPs are in the adverts, which have room for 255."""
        four, six = self.vips()
        device = "" if self.form == "vmac" else f" dev {self.device}"
        lines = [f"        {vip}/32{device}" for vip in four]
        excluded = [*lines[100:], *(f"        {vip}/128{device}" for vip in six)]
        vmac = f"    use_vmac vr{self.vrid}\n    vmac_xmit_base\n" if self.form == "vmac" else ""
        track = preempt = ""
        head = "global_defs {\n    vrrp_version 3\n}\n"
        priority = 100
        if self.plan.nopreempt:
            preempt = "    nopreempt\n"
        elif self.number == 2 and self.tracked:
            priority = 90
            head += f"track_file way {{\n    file {self.tracked}\n    weight 1\n}}\n"
            track = "    track_file {\n        way\n    }\n"
        return f"""{head}vrrp_instance VI_1 {{
    interface {UPLINK}
    state BACKUP
    virtual_router_id {self.vrid}
    priority {priority}
    advert_int {self.plan.interval}
    mcast_src_ip 10.9.{self.vrid}.{self.number}
{preempt}{vmac}{track}    virtual_ipaddress {{
{chr(10).join(lines[:100])}
    }}
    virtual_ipaddress_excluded {{
{chr(10).join(excluded)}
    }}
}}
"""

    def build(self) -> None:
        """Its namespace, its link to the switch, its configuration, and its dummy where the form has one."""
        etc = Path("/etc/netns") / self.name  # ip-netns(8) lays it over /etc
        (etc / "keepalived").mkdir(parents=True, exist_ok=True)
        for path in Path("/etc/keepalived").glob("*.config-opts"):  # 2.3 starts not without it
            shutil.copy(path, etc / "keepalived")
        write(etc / "keepalived" / "keepalived.conf", self.conf())
        run(f"""set -e
            ip netns add {self.name}
            ip -n {self.name} link set lo up
            ip -n {SWITCH} link add {self.port} type veth peer name {UPLINK} netns {self.name}
            ip -n {SWITCH} link set {self.port} master br0 up
            ip -n {self.name} link set {UPLINK} up
            ip -n {self.name} address add 10.9.{self.vrid}.{self.number}/16 dev {UPLINK}
            ip -n {self.name} address add fd09::{self.vrid:x}:{self.number}/64 dev {UPLINK} nodad""")
        if self.form == "recipe":
            run(
                f"ip -n {self.name} link add {DUMMY} type dummy; ip -n {self.name} link set {DUMMY} up"
            )
        if self.form == "dummy":
            write(etc / "keepalived-dummy.d" / "keepalived.conf", "[Interface]\n")
            self.daemon = self.inside(
                "exec keepalived-dummy daemon", self.work / f"{self.name}.daemon"
            )
            wait_for(f"{self.name} is wired", self.wired, 60)

    def wired(self) -> bool:
        return "mirred" in run(f"tc -n {self.name} filter show dev {UPLINK} ingress", check=False)

    def inside(self, command: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a command in the node, with a /run of its own."""
        words = ["ip", "netns", "exec", self.name, "unshare", "--mount", "sh", "-c"]
        return start([*words, f"{_PRIVATE} && {command}"], log)

    def up(self) -> None:
        """Start keepalived."""
        self.keepalived = self.inside("exec keepalived -n -l", self.log)

    def down(self, sig: int) -> None:
        """End keepalived and its children with a signal, at once: the event itself, so nothing is run for it."""
        if self.keepalived:
            for pid in (*children(self.keepalived.pid), self.keepalived.pid):
                with contextlib.suppress(ProcessLookupError):
                    if sig == signal.SIGKILL or pid == self.keepalived.pid:
                        os.kill(pid, sig)

    def reap(self) -> None:
        """Wait for a keepalived that was ended."""
        stop(self.keepalived)
        self.keepalived = None

    def states(self) -> list[str]:
        """All states it has entered; of its log only what is new is read."""
        if self.log.exists():
            with self.log.open("rb") as log:
                log.seek(self._read)
                new = log.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read += len(whole)
            self._seen += _STATE.findall(whole.decode(errors="replace"))
        return self._seen

    def state(self) -> str:
        """The state it entered last."""
        return (self.states() or [""])[-1]

    def reaches(self, state: str) -> None:
        """Wait until this is the state it entered last."""
        wait_for(f"{self.name} is {state}", lambda: self.state() == state)

    def forget(self) -> None:
        """What a machine that was reset does not have any more: VIPs and virtual interfaces."""
        four, six = self.vips()
        sizes = [(four, 32), (six, 128)]
        words = [f"address delete {v}/{n} dev {self.device}" for vips, n in sizes for v in vips]
        if self.form == "vmac":
            words = [f"link delete vr{self.vrid}"]
        batch = self.work / "batch"
        batch.write_text("\n".join(words) + "\n")
        run(f"ip -n {self.name} -force -batch {batch}", check=False)


def children(pid: int) -> list[int]:
    """The children of a process."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def vips4(vrid: int, count: int) -> list[str]:
    return [f"10.9.{vrid + 100 + n // 250}.{1 + n % 250}" for n in range(count)]


def vips6(vrid: int, count: int) -> list[str]:
    return [f"fd09::{vrid + 100:x}:{1 + n:x}" for n in range(count)]
