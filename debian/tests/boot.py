#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A reboot: all is there again, in the right order, with a catch-all .network in the way."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import checks
import host
from checks import check, note
from host import DUMMY, NETWORKD, SECOND, VIP, run

MARK = "rebooted"
CATCH_ALL = NETWORKD / "50-catch-all.network"
# It takes the machine's own NICs too, which have no router to wait for.
TAKES_ALL = """\
[Match]
Name=*

[Link]
RequiredForOnline=no

[Network]
Address=198.51.100.1/24
IPv6AcceptRA=no
"""
OTHER = host.CONFS / "second.conf"
GENERATOR = "keepalived-dummy-generator.service"
GENERATOR_OUT = f"systemctl mask {GENERATOR}"
SERVICE_OUT = "systemctl mask keepalived-dummy.service"
BACK = f"systemctl unmask {GENERATOR} keepalived-dummy.service"
NOT_UNMANAGED = NETWORKD / "05-keepalived.network"
CYCLE = host.SYSTEM / "keepalived-dummy-generator.path.d"


def prepare() -> None:
    """The state to boot with."""
    host.live()
    OTHER.write_text(f"[Interface]\nName={SECOND}\n")
    host.write(CATCH_ALL, TAKES_ALL)
    run("systemctl enable keepalived")
    if checks.MUTATE:
        for one in checks.CHECKS:
            run(one.without)


def booted() -> None:
    """The boot is over, and the LAN is there."""
    run("timeout 500 systemctl is-system-running --wait", check=False)
    host.cable_up()


def since_boot(unit: str, name: str) -> float:
    """When the unit did something, in seconds since the kernel started; it has to have done it."""
    stamp = int(host.property_of(unit, f"{name}Monotonic"))
    assert stamp, f"{unit} has no {name} in this boot"
    return stamp / 1e6


@check(without=GENERATOR_OUT, back=BACK)
def generator_ran_before_networkd() -> None:
    assert host.property_of(GENERATOR, "Result") == "success"
    generated = since_boot(GENERATOR, "ExecMainExitTimestamp")
    networkd = since_boot("systemd-networkd.service", "ExecMainStartTimestamp")
    note(
        f"the generator was done {generated:.2f} s after the kernel, networkd began at {networkd:.2f} s"
    )
    assert generated <= networkd
    assert {"90-keepalived.netdev", "90-second.netdev"} <= host.generated()


@check(without=f"{GENERATOR_OUT}; {SERVICE_OUT}", back=BACK)
def networkd_made_the_second_dummy() -> None:
    """From the generated file: its MAC was given to it, as networkd does and the kernel does not."""
    assigned = Path(f"/sys/class/net/{SECOND}/addr_assign_type")
    assert assigned.exists(), f"no {SECOND}"
    assert assigned.read_text().strip() == "3"
    assert host.flags(SECOND) >= {"UP", "LOWER_UP"}


@check(without=SERVICE_OUT, back=BACK)
def link_was_up_before_keepalived() -> None:
    ready = since_boot("keepalived-dummy.service", "ActiveEnterTimestamp")
    keepalived = since_boot("keepalived.service", "ExecMainStartTimestamp")
    note(f"the dummies were up at {ready:.2f} s, keepalived began at {keepalived:.2f} s")
    assert ready <= keepalived
    # What comes after is the test's own: it moves the cable's end into a namespace.
    said, master, _ = host.journal("-b -u keepalived").partition("Entering MASTER STATE")
    assert master, said
    assert "Entering FAULT" not in said, said
    assert "does" + "n't exist" not in said, said


@check(without=SERVICE_OUT, back=BACK)
def vip_is_back() -> None:
    host.wait_for("the VIP is there", lambda: host.holds(VIP))
    host.wait_for("the client reaches the VIP", host.reachable)
    flags = host.flags(DUMMY)
    assert flags >= {"UP", "LOWER_UP"}, flags
    assert "NOARP" not in flags, flags


@check(without=f"ln -sf /dev/null {NOT_UNMANAGED}", back=f"rm {NOT_UNMANAGED}")
def networkd_left_the_dummy_alone() -> None:
    """Though the catch-all matches it."""
    listed = run(f"networkctl --no-pager list {DUMMY}")
    assert "unmanaged" in listed, listed
    assert not host.holds("198.51.100.1"), "it has the catch-all's address"
    assert " fe80:" not in run(f"ip -6 -o address show dev {DUMMY}")


@check(
    without=f"mkdir -p {CYCLE}; printf '[Unit]\\nBefore=sysinit.target\\n' > {CYCLE}/cycle.conf",
    back=f"rm -r {CYCLE}",
)
def no_ordering_cycle() -> None:
    # Not by _PID=1: what is said before there is a journal comes into it from the kernel's log.
    said = host.journal("-b SYSLOG_IDENTIFIER=systemd")
    assert "systemd" in said, "the journal has nothing of the service manager"
    found = [
        line for line in said.splitlines() if re.search("ordering cycle|dependency cycle", line)
    ]
    assert not found, found[0]


@check(
    without=f"{SERVICE_OUT}; sed -i s/^/wrong/ /etc/keepalived/keepalived.conf",
    back=f"{BACK}; sed -i s/^wrong// /etc/keepalived/keepalived.conf; systemctl daemon-reload",
)
def no_unit_failed() -> None:
    ours = "keepalived.service 'keepalived-dummy*' 'systemd-networkd*'"
    failed = run(f"systemctl --no-pager --no-legend list-units --state=failed {ours}")
    assert not failed.strip(), failed
    assert host.is_active("keepalived.service")
    assert host.is_active("keepalived-dummy.service")


def restore() -> None:
    """The next test begins with a host as installed."""
    CATCH_ALL.unlink()
    OTHER.unlink()
    run("keepalived-dummy apply; networkctl reload", check=False)


if __name__ == "__main__":
    if os.environ.get("AUTOPKGTEST_REBOOT_MARK") != MARK:
        if wrong := checks.failure_of(prepare):
            sys.exit(f"cannot begin: {wrong}{host.state()}")
        # A child of ours: it looks among its parents for the test, and ends that.
        subprocess.run(["/tmp/autopkgtest-reboot", MARK], check=True)
    status = checks.main(booted, taken_out=True)
    restore()
    sys.exit(status)
