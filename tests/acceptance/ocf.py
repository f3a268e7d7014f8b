# SPDX-License-Identifier: MIT
"""Pacemaker's IPaddr2 without Pacemaker: the agent, called as a cluster's local executor calls it."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

from guest import run
from testbed import UPLINK, VIP4, VIP6

EVERY = 10  # seconds between monitors: what the agent's own metadata suggests
NOT_RUNNING = 7  # OCF_NOT_RUNNING of the OCF resource agent API
_LIMIT = 20  # seconds an action may take, by the same metadata
_VIPS = {VIP4: 24, VIP6: 64}


def environment(root: Path, vip: str, prefix: int) -> dict[str, str]:
    """What the agent is told (OCF resource agent API): `root` is an unpacked resource-agents.

    Its own senders of announcements are left out, whose libraries a guest does not have: arping does it for IPv4, and for
    IPv6 the agent then sends none.
    """
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "OCF_ROOT": str(root / "usr/lib/ocf"),
        "OCF_RESOURCE_INSTANCE": f"vip-{prefix}",
        "HA_BIN": "/nonexistent",
        "OCF_RESKEY_ip": vip,
        "OCF_RESKEY_cidr_netmask": str(prefix),
        "OCF_RESKEY_nic": UPLINK,
        "OCF_RESKEY_arp_sender": "libnet_arping",
    }


class Agent:
    """One resource for each VIP, monitored; one that is not running is stopped and started, as a cluster recovers it."""

    def __init__(self, root: Path, log: Path) -> None:
        self._root = root
        self._script = root / "usr/lib/ocf/resource.d/heartbeat/IPaddr2"
        self._log = log
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.recovered = 0
        if not self._script.exists():
            raise RuntimeError(f"no agent: {self._script}")

    def _call(self, action: str, vip: str) -> int:
        """Call the agent; its exit status, or that of a failure where it did not end."""
        words = [str(self._script), action]
        with self._log.open("ab") as log:
            log.write(f"{time.time():.3f} {action} {vip}\n".encode())
            log.flush()
            try:
                ended = subprocess.run(
                    words,
                    env=environment(self._root, vip, _VIPS[vip]),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    timeout=_LIMIT,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return os.EX_TEMPFAIL
        return ended.returncode

    def up(self) -> None:
        """Start the resources, and watch them."""
        run("mkdir -p /run/resource-agents")
        for vip in _VIPS:
            status = self._call("start", vip)
            if status:
                raise RuntimeError(f"IPaddr2 start {vip}: {status}; see {self._log}")
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(EVERY):
            for vip in _VIPS:
                if not self._over.is_set() and self._call("monitor", vip):
                    self.recovered += 1
                    self._call("stop", vip)
                    self._call("start", vip)

    def down(self) -> None:
        """Watch no longer, and stop the resources."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(4 * _LIMIT)
        for vip in _VIPS:
            self._call("stop", vip)
