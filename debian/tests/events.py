#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The VIP outlives what netplan and networkd do to the uplink, with a client pinging."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import checks
import host
from checks import check, edited, note
from host import DUMMY, GENERATED, NETWORKD, UPLINK, VIP, run

# Without the dummy: the VIP where keepalived puts it by default.
ON_UPLINK = (
    f"sed -i 's/{VIP}.*/{VIP}\\/32 dev {UPLINK}/' /etc/keepalived/keepalived.conf"
    " && systemctl restart keepalived && sleep 2"
)
BACK = "rm -f /etc/keepalived/keepalived.conf; systemctl stop keepalived"


def outlives(event: str) -> None:
    """No ping lost, no transition, nothing seen on the dummy. Before networkd 257 the uplink's own address
    goes for a moment, so there the figure is printed.
    """
    with host.watching() as seen:
        run(event)
    note(f"{event}: {seen}")
    assert not seen.kernel, f"{event} touched the dummy: {seen.kernel}"
    assert not seen.transitions, f"{event}: {seen}"
    assert seen.sent > 0
    assert seen.lost == 0 or host.networkd_version() < 257, f"{event}: {seen}"
    assert seen.lost < seen.sent / 2, f"{event}: {seen}"


@check(without=ON_UPLINK, back=BACK)
def netplan_apply_twice() -> None:
    outlives("netplan apply && netplan apply")


@check(without=ON_UPLINK, back=BACK)
def networkd_restart() -> None:
    outlives("systemctl restart systemd-networkd")


@check(without=ON_UPLINK, back=BACK)
def networkctl_reconfigure() -> None:
    outlives(f"networkctl reconfigure {UPLINK}")


@check(without=f"{ON_UPLINK}; touch /run/systemd/network/10-netplan-{UPLINK}.network", back=BACK)
def networkctl_reload() -> None:
    (GENERATED / f"10-netplan-{UPLINK}.network").touch()  # else it has nothing to do
    outlives("networkctl reload")


UNMANAGED_OUT = (
    "systemctl stop keepalived-dummy-generator.path;"
    " rm -f /run/systemd/network/05-keepalived.network;"
    " mkdir -p /etc/systemd/network && ln -sf /dev/null /etc/systemd/network/05-keepalived.network"
)
UNMANAGED_BACK = (
    "rm -f /etc/systemd/network/05-keepalived.network; networkctl reload;"
    " systemctl start keepalived-dummy-generator.path; keepalived-dummy apply"
)


def catch_all(match: str) -> None:
    """A .network that matches every link, the dummy too, and gives it an address of its own."""
    path = NETWORKD / "50-catch-all.network"
    host.write(path, f"[Match]\n{match}\n\n[Network]\nAddress=198.51.100.1/24\n")
    try:
        outlives(f"networkctl reload && networkctl reconfigure {UPLINK}")
        outlives("netplan apply")
        assert "unmanaged" in run(f"networkctl --no-pager list {DUMMY}")
    finally:
        path.unlink()
        run("networkctl reload")


@check(without=UNMANAGED_OUT, back=UNMANAGED_BACK)
def catch_all_by_name() -> None:
    catch_all("Name=*")


@check(without=UNMANAGED_OUT, back=UNMANAGED_BACK)
def catch_all_by_type() -> None:
    catch_all("Type=ether")


def regenerations() -> int:
    """How often the path unit has started its service in this boot."""
    said = host.journal("-b -u keepalived-dummy-regenerate.service")
    return said.count("Starting keepalived-dummy-regenerate.service")


def comes_to_rest(once: float) -> None:
    """The generator ends its runs: a run asks for one more by what it writes, and that one writes nothing.

    `once` is how many seconds a run takes; a loop starts the next one less than a second after that.
    """
    quiet = 2 + 3 * once
    count, since = regenerations(), time.monotonic()
    assert count, "the generator was not started"
    end = since + 10 * quiet
    while time.monotonic() - since < quiet:
        assert time.monotonic() < end, f"the generator is started again and again: {count} times"
        time.sleep(0.2)
        if (now := regenerations()) != count:
            count, since = now, time.monotonic()
    note(f"{count} runs, and none in the last {quiet:.1f} s (a run takes {once:.1f} s)")


def generator_takes() -> float:
    """The seconds that a run of the generator takes here."""
    began = time.monotonic()
    run("keepalived-dummy generate")
    return time.monotonic() - began


@contextlib.contextmanager
def netplan_try() -> Iterator[set[str]]:
    """`netplan try` with one more address, reverted, after a dummy was added meanwhile.

    Yields the files that were generated for it, and takes the dummy away.
    """
    trial = Path("/tmp/trial.yaml")
    trial.write_text(f"network: {{ethernets: {{{UPLINK}: {{addresses: [192.0.2.2/24]}}}}}}\n")
    ready = Path("/run/netplan/netplan-try.ready")
    primary, secondary = pty.openpty()  # it asks a person on a terminal
    conf = host.CONFS / "second.conf"
    try:
        trying = subprocess.Popen(
            ["netplan", "try", "--timeout", "60", "--config-file", str(trial)],
            stdin=secondary,
            stdout=secondary,
            stderr=secondary,
        )
        host.wait_for("netplan try waits for its answer", ready.exists)
        conf.write_text(f"[Interface]\nName={host.SECOND}\n")
        run("keepalived-dummy apply")
        expected = host.generated()
        assert "90-second.netdev" in expected
        trying.send_signal(signal.SIGINT)
        trying.wait(host.SLOW)
        yield expected
    finally:
        os.close(primary)
        os.close(secondary)
        conf.unlink(missing_ok=True)
        trial.unlink()
        run("keepalived-dummy apply")


@check(
    without="systemctl stop keepalived-dummy-generator.path",
    back="systemctl start keepalived-dummy-generator.path; keepalived-dummy apply",
)
def netplan_try_reverted() -> None:
    """Its revert takes away what was generated meanwhile; that is back within a second."""
    once = generator_takes()
    with host.watching() as seen, netplan_try() as expected:
        # A second on hardware, where a run of the generator takes a tenth of that.
        took = host.wait_for(
            "what was generated is back", lambda: host.generated() == expected, 1 + 3 * once
        )
    note(f"back {took:.1f} s after netplan try was done (a run takes {once:.1f} s); {seen}")
    assert not seen.kernel, seen.kernel
    assert not seen.transitions, seen
    assert seen.lost == 0 or host.networkd_version() < 257, seen


@check(
    *edited("files.py", "return os.read(descriptor, len(content) + 1) == content", "return False")
)
def netplan_try_reverted_is_no_loop() -> None:
    """Put back, the files ask for one more run, and that is the last: it finds them as they have to be."""
    once = generator_takes()
    with netplan_try():
        comes_to_rest(once)


if __name__ == "__main__":
    sys.exit(checks.main())
