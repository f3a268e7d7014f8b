#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What networkd does to the routes and rules of keepalived, by event, with and without the drop-in.

usage: foreign.py --results FOLDER         in a guest, as root, without the package
       foreign.py --table JSON...          anywhere: the table of results, as Markdown

A cell is what `ip monitor` saw deleted of each kind while keepalived ran, whether it was back three seconds later, and
the states that the instance entered. `written`: the drop-in is there, and networkd runs since before. `package`: the
package is installed, which writes it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from events import package
from guest import cursor, now, run, say, versions, wait_for, write

UPLINK, OWN, VIP, GATEWAY = "up0", "198.51.100.5", "198.51.100.10", "198.51.100.1"
NETPLAN = f"network:\n  version: 2\n  ethernets:\n    {UPLINK}:\n      addresses: [{OWN}/24]\n"
PACKAGE = Path("/usr/sbin/keepalived-dummy")
DROP_IN = Path("/run/systemd/networkd.conf.d/90-keepalived-dummy.conf")
SETTINGS = "[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n"
KEEPALIVED = f"""\
static_routes {{
    203.0.113.0/26 via {GATEWAY} dev {UPLINK}
}}
static_rules {{
    from 203.0.113.1 lookup 101
}}
vrrp_instance VI_1 {{
    interface {UPLINK}
    state BACKUP
    virtual_router_id 51
    priority 100
    advert_int 0.1
    mcast_src_ip {OWN}
    virtual_ipaddress {{
        {VIP}/32 dev keepalived0
    }}
    virtual_routes {{
        203.0.113.64/26 via {GATEWAY} dev {UPLINK}
    }}
    virtual_rules {{
        from {VIP} lookup 102
    }}
}}
"""
# Of each kind: the command that shows it, and what it is known by there and in `ip monitor`.
KINDS = {
    "virtual_routes": ("ip route show", "203.0.113.64/26"),
    "virtual_rules": ("ip rule show", f"from {VIP} lookup 102"),
    "static_routes": ("ip route show", "203.0.113.0/26"),
    "static_rules": ("ip rule show", "from 203.0.113.1 lookup 101"),
}
EVENTS = {
    "netplan apply": "netplan apply",
    "networkd restart": "systemctl restart systemd-networkd",
    "networkctl reconfigure": f"networkctl reconfigure {UPLINK}",
    "networkctl reload": f"touch /run/systemd/network/*{UPLINK}*.network; networkctl reload",
}
MODES = (
    "none",
    "written",
    "in force",
    "package",
)  # the last: installed, so its daemon is at work too
SECONDS = 3.0


def build() -> None:
    """An uplink of networkd's, by netplan; a dummy that is not."""
    run(
        f"modprobe -a veth dummy; ip link add {UPLINK} type veth peer name far0; ip link set far0 up"
    )
    write(
        Path("/etc/systemd/network/05-off.network"),
        "[Match]\nName=far0 keepalived0\n\n[Link]\nUnmanaged=yes\n",
    )
    write(Path("/etc/netplan/10-uplink.yaml"), NETPLAN, 0o600)
    run(
        "ip link add keepalived0 type dummy; ip link set keepalived0 up; netplan apply", check=False
    )
    wait_for("the uplink is configured", lambda: OWN in run(f"ip address show dev {UPLINK}"))
    write(Path("/etc/keepalived/keepalived.conf"), KEEPALIVED)


def present() -> set[str]:
    """The kinds that are there."""
    return {kind for kind, (show, mark) in KINDS.items() if mark in run(show)}


def begin(mode: str) -> None:
    """networkd started with or without the drop-in, and keepalived with all it sets."""
    run("systemctl stop keepalived", check=False)
    installed = PACKAGE.exists()
    if not installed:
        DROP_IN.unlink(missing_ok=True)
    if mode == "in force":
        write(DROP_IN, SETTINGS)
    if mode == "package" and not installed:
        run(f"DEBIAN_FRONTEND=noninteractive dpkg -i {package()}")
        wait_for("generate has written the drop-in", DROP_IN.exists)
    run("systemctl reset-failed systemd-networkd; systemctl restart systemd-networkd")
    wait_for("the uplink is configured", lambda: OWN in run(f"ip address show dev {UPLINK}"))
    wait_for("networkd is done", lambda: "(configured)" in run(f"networkctl status {UPLINK}"))
    run("systemctl reset-failed keepalived; systemctl start keepalived")
    wait_for("all is there", lambda: len(present()) == len(KINDS))
    time.sleep(1)
    if mode == "written":
        write(DROP_IN, SETTINGS)


def measure(mode: str, event: str) -> dict[str, Any]:
    """One cell."""
    begin(mode)
    start = cursor()
    monitor = subprocess.Popen(
        ["ip", "-o", "monitor", "route", "rule"], stdout=subprocess.PIPE, text=True
    )
    time.sleep(0.3)
    run(EVENTS[event])
    time.sleep(SECONDS)
    there = present()
    monitor.terminate()
    seen = monitor.communicate()[0]
    gone = {
        kind: kind in there
        for kind, (_, mark) in KINDS.items()
        if any(mark in line and "Deleted" in line for line in seen.splitlines())
        or kind not in there
    }
    said = run(f"journalctl -q --no-pager -u keepalived --since='{start}'", check=False)
    states = re.findall(r"Entering (\w+) STATE", said)
    cell = {"drop-in": mode, "event": event, "vanished": gone, "transitions": states}
    say(f"{mode}, {event}: {shown(cell)}")
    return cell


def shown(cell: dict[str, Any]) -> str:
    """A cell of the table: what vanished, with a star where it was back three seconds later."""
    gone: dict[str, bool] = cell["vanished"]
    states: list[str] = cell["transitions"]
    names = ", ".join(f"{kind}{'*' if back else ''}" for kind, back in gone.items()) or "none"
    return names + (f" ({'/'.join(states)})" if states else "")


def table(results: Sequence[dict[str, Any]]) -> str:
    """Events down, modes across, a block of rows a stack."""
    lines = [
        "| stack | event | no drop-in | written, networkd not yet restarted | in force | this package |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        found: dict[str, str] = result["versions"]
        stack = ", ".join(
            f"{name} {found[name]}"
            for name in ("systemd", "netplan.io", "keepalived")
            if name in found
        )
        cells: list[dict[str, Any]] = result["cells"]
        for event in EVENTS:
            row = [
                next(
                    (shown(c) for c in cells if (c["event"], c["drop-in"]) == (event, mode)),
                    "not measured",
                )
                for mode in MODES
            ]
            lines.append(f"| {stack} | {event} | {' | '.join(row)} |")
            stack = ""
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--table", type=Path, nargs="+")
    args = parser.parse_args()
    if args.table:
        print(table([json.loads(path.read_text()) for path in args.table]))
        return 0
    build()
    cells = [measure(mode, event) for mode in MODES for event in EVENTS]
    made = {"made": now(), "versions": versions(), "cells": cells}
    (args.results / "foreign.json").write_text(json.dumps(made, indent=1) + "\n")
    print(table([made]))
    kept = [cell for cell in cells if cell["drop-in"] == "package"]
    # Up to systemd 256 they go with the uplink's address, whatever networkd is told, and are restored.
    wrong = [c for c in kept if c["transitions"] or not all(c["vanished"].values())]
    return 1 if wrong or not kept else 0


if __name__ == "__main__":
    sys.exit(main())
