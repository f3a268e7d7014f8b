# SPDX-License-Identifier: MIT
"""What an administrator, a package manager or a server does to a host: the columns of the matrix."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from guest import run, wait_for
from testbed import DUMMY, KEEPALIVED, UPLINK, VIP4, VIP6, devices_of, has_addresses, holds

_DEBS = Path("/srv/debs")  # the guest's own packages of systemd
_NETPLAN = Path("/etc/netplan")
_TRIED = "198.51.100.9"
_TRY_READY = Path("/run/netplan/netplan-try.ready")


@dataclass(frozen=True)
class Event:
    """`quick` ones need no package and no terminal, and are for the rows with a piece taken out too."""

    name: str
    run: Callable[[], None]
    quick: bool = True
    dhcp_only: bool = False


def shell(command: str) -> Callable[[], None]:
    """What runs a shell command."""

    def event() -> None:
        run(command)

    return event


def _networkd_is(state: str) -> bool:
    return run("systemctl is-active systemd-networkd", check=False).strip() == state


def _kill_networkd() -> None:
    before = _networkd_pid()
    run("systemctl kill -s KILL systemd-networkd")
    # systemd 262 has it queued ("auto-restart-queued") for half a minute and more.
    wait_for("networkd is back", lambda: _networkd_is("active") and _networkd_pid() != before, 120)


def _networkd_pid() -> str:
    return run("systemctl show --value -p MainPID systemd-networkd").strip()


def _reinstall_systemd() -> None:
    """The .debs of the release that is installed: its maintainer scripts restart networkd."""
    debs = sorted(map(str, _DEBS.glob("*.deb")))
    if not debs:
        raise RuntimeError(f"no packages in {_DEBS}")
    run(f"DEBIAN_FRONTEND=noninteractive dpkg -i {' '.join(debs)}", timeout=600)


def _reinstall_this() -> None:
    run(f"DEBIAN_FRONTEND=noninteractive dpkg -i {package()}")


def package() -> Path:
    """The package under test, which the harness was handed."""
    found = sorted(Path(os.environ.get("DEB_FOLDER", "/job")).glob("keepalived-dummy_*_all.deb"))
    if not found:
        raise RuntimeError("no keepalived-dummy_*_all.deb; DEB_FOLDER= says where")
    return found[-1]


def _netplan_try(accept: bool) -> None:
    """`netplan try` with one more address, on a terminal; Enter keeps it, an interrupt reverts it."""
    before = set(_NETPLAN.iterdir())
    primary, secondary = pty.openpty()
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "trial.yaml"
        trial.write_text(f"network: {{ethernets: {{{UPLINK}: {{addresses: [{_TRIED}/24]}}}}}}\n")
        words = ["netplan", "try", "--timeout", "60", "--config-file", str(trial)]
        trying = subprocess.Popen(words, stdin=secondary, stdout=secondary, stderr=secondary)
        try:
            wait_for("netplan try waits for its answer", _TRY_READY.exists, 60)
            time.sleep(2)
            if accept:
                os.write(primary, b"\n")
            else:
                trying.send_signal(signal.SIGINT)
            trying.wait(60)
        finally:
            if trying.poll() is None:
                trying.kill()
                trying.wait()
            os.close(primary)
            os.close(secondary)
    over()
    if accept != holds(_TRIED):
        raise RuntimeError(f"netplan try {'accepted' if accept else 'reverted'}: not so")
    if accept:  # netplan put the trial into its folder, under some name
        for path in set(_NETPLAN.iterdir()) - before:
            path.unlink()
        run("netplan apply")


EVENTS = (
    Event("nothing", shell("sleep 5")),
    Event("netplan apply, twice", shell("netplan apply && netplan apply")),
    Event("networkd restarted", shell("systemctl restart systemd-networkd")),
    Event("networkctl reconfigure", shell(f"networkctl reconfigure {UPLINK}")),
    Event(
        "touch, networkctl reload",
        shell(f"touch /run/systemd/network/10-netplan-{UPLINK}.network; networkctl reload"),
    ),
    Event("networkctl renew", shell(f"networkctl renew {UPLINK}"), dhcp_only=True),
    Event("networkd kill -9", _kill_networkd),
    Event("daemon-reload, netplan apply", shell("systemctl daemon-reload && netplan apply")),
    Event("this package reinstalled", _reinstall_this, quick=False),
    Event("systemd reinstalled", _reinstall_systemd, quick=False),
    Event("netplan try, accepted", lambda: _netplan_try(True), quick=False),
    Event("netplan try, reverted", lambda: _netplan_try(False), quick=False),
)


def adoption(work: Path) -> tuple[Event, Event]:
    """The first and the last event of a host whose VIPs were on its uplink: onto the dummy, and back to the byte."""
    first = work / "keepalived.conf.first"

    def adopt() -> None:
        first.write_bytes(KEEPALIVED.read_bytes())
        run("keepalived-dummy adopt --yes")
        _vips_on(DUMMY)

    def revert() -> None:
        run("keepalived-dummy revert --yes")
        _vips_on(UPLINK)
        if KEEPALIVED.read_bytes() != first.read_bytes():
            raise RuntimeError(f"{KEEPALIVED} is not as it was")

    return Event("adopted", adopt), Event("reverted", revert)


def _vips_on(device: str) -> None:
    for vip in (VIP4, VIP6):
        if (found := devices_of(vip)) != [device]:
            raise RuntimeError(f"{vip} is on {found}, not on {device}")


SHORT = ("netplan apply, twice", "networkd restarted", "networkctl reconfigure", "networkctl renew")
DECISIVE = ("netplan apply, twice", "networkctl reconfigure")


def over() -> None:
    """Wait until networkd is done with an event and the uplink has what it had."""
    wait_for("networkd runs", lambda: _networkd_is("active"))
    wait_for("the uplink has its addresses", has_addresses)
