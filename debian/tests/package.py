#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The package installed, upgraded, removed and purged, on a host that is in use."""

from __future__ import annotations

import sys
from pathlib import Path

import checks
import host
from checks import check, edited, note
from host import DUMMY, VIP, run

WORK = Path("/tmp/keepalived-dummy-packages")
DEB, UPGRADE = WORK / "this.deb", WORK / "next.deb"
INFO = "/var/lib/dpkg/info/keepalived-dummy"
UNITS = (
    "keepalived-dummy.service",
    "keepalived-dummy-generator.service",
    "keepalived-dummy-generator.path",
)
TIMER = "keepalived-dummy-metrics.timer"  # not enabled, but an admin may have started it
METRICS = Path("/var/lib/prometheus/node-exporter/keepalived-dummy.prom")
STEMS = ("keepalived", "second")
POLICY = Path("/usr/sbin/policy-rc.d")


def repacked(target: Path, changes: str) -> str:
    """Shell that makes `target` of this package, with changes made in its unpacked tree."""
    tree = WORK / "tree"
    return (
        f"rm -rf {tree} && dpkg-deb -R {DEB} {tree} && (cd {tree} && {changes})"
        f" && dpkg-deb --root-owner-group -b {tree} {target}.new && mv {target}.new {target}"
    )


def find_packages() -> None:
    """This package's file, from autopkgtest's own folder or from the archive, and one of a later version."""
    WORK.mkdir(exist_ok=True)
    if not DEB.exists():
        found = sorted(Path("/tmp").glob("autopkgtest*/binaries/keepalived-dummy_*.deb"))
        if not found:
            run(f"cd {WORK} && apt-get download keepalived-dummy")
            found = list(WORK.glob("keepalived-dummy_*.deb"))
        run(f"cp {found[0]} {DEB}")
    run(repacked(UPGRADE, "sed -i '/^Version:/s/$/+next/' DEBIAN/control"))


def installed() -> str:
    """The version in place, or nothing."""
    shown = run("dpkg-query -W -f '${db:Status-Status} ${Version}' keepalived-dummy", check=False)
    return shown.removeprefix("installed ") if shown.startswith("installed ") else ""


def begin() -> None:
    """Installed, and the VIP live."""
    find_packages()
    if not installed():
        run(f"dpkg --force-confnew -i {DEB}")
    (host.CONFS / "second.conf").unlink(missing_ok=True)
    host.live()


def begin_without() -> None:
    """Not installed, and no trace of it."""
    find_packages()
    host.cable_up()
    run("systemctl stop keepalived; dpkg -P keepalived-dummy", check=False)
    # It would name the uplink, whose first clsact can cost a ping (docs/limits.md).
    Path("/etc/keepalived/keepalived.conf").unlink(missing_ok=True)
    assert not host.flags(DUMMY), host.flags(DUMMY)


def runs() -> dict[str, str]:
    """What would change if a service were restarted or reloaded."""
    return {
        "networkd": host.property_of("systemd-networkd.service", "InvocationID"),
        "keepalived": host.property_of("keepalived.service", "InvocationID"),
        "ifindex": run(f"cat /sys/class/net/{DUMMY}/ifindex", check=False).strip(),
    }


def networkd_said(start: str) -> list[str]:
    """What networkd logged of a reload or of configuring a link, since a cursor of the journal."""
    said = host.journal(f"-u systemd-networkd --since='{start}'").splitlines()
    return [line for line in said if "onfiguring" in line or "eload" in line]


@check(without=f"sed -i '2i systemctl restart keepalived' {INFO}.prerm", back="true")
def upgrade_with_a_vip_live() -> None:
    """The link and the VIP stay, nothing but our own service is restarted."""
    run(f"systemctl start {TIMER}")
    before, start = runs(), host.cursor()
    with host.watching() as seen:
        run(f"dpkg -i {UPGRADE}")
    note(f"upgrade to {installed()}: {seen}")
    assert installed().endswith("+next")
    assert runs() == before, f"{before} became {runs()}"
    assert not networkd_said(start), networkd_said(start)
    assert seen.untouched(), seen
    host.wait_for("our units are active", lambda: all(map(host.is_active, (*UNITS, TIMER))))


@check(*edited("links.py", "held := host.held(link)", "held := ()"))
def remove_with_a_vip_live() -> None:
    """The link stays with its VIP, reachable, and the removal says so; metrics that would be shown for ever go."""
    host.write(METRICS, "")
    run(f"systemctl start {TIMER}")
    before = runs()
    with host.watching() as seen:
        said = run("dpkg -r keepalived-dummy")
    note(f"removal: {seen}")
    assert f"{DUMMY}: " in said, said
    assert f"it holds {VIP}/32; it stays" in said, said
    assert runs() == before, f"{before} became {runs()}"
    # Empty; taking it away drops what the uplink sends in that moment.
    assert "clsact" in run(f"tc qdisc show dev {host.UPLINK}")
    assert not run(f"tc filter show dev {host.UPLINK} ingress").strip()
    # The one file that stays: without it a catch-all would take the dummy over.
    assert host.generated() == {"05-keepalived.network"}, host.generated()
    assert not seen.lost, seen
    assert not seen.transitions, seen
    assert not METRICS.exists()
    assert not host.is_active(TIMER)
    assert host.holds(VIP)
    assert host.reachable()


def leftovers() -> list[str]:
    """Every path that bears the package's name or is of its making; not logs, nor what systemd keeps of a unit."""
    stems = [f"-o -name '90-{stem}.netdev' -o -name '05-{stem}.network'" for stem in STEMS]
    names = f"-iname '*keepalived[-_]dummy*' {' '.join(stems)}"
    found = run(f"find /etc /run /usr /var \\( {names} \\)", check=False).splitlines()
    skipped = (
        "/var/log/",
        "/var/cache/apt/",
        "/var/lib/apt/",
        "/run/systemd/units/",
        "/run/systemd/propagate/",
    )
    return [path for path in found if path.startswith("/") and not path.startswith(skipped)]


@check(without=f"rm {INFO}.postrm", back=f"rm -rf {host.CONFS}")
def purge_leaves_nothing() -> None:
    """No file, and no dummy once it holds no address."""
    (host.CONFS / "second.conf").write_text("[Interface]\nName=second0\n")
    run("keepalived-dummy apply")
    assert "/run/systemd/network/90-second.netdev" in leftovers()
    run("systemctl stop keepalived && dpkg -P keepalived-dummy")
    assert not leftovers(), leftovers()
    links = run("ip -o link")
    assert DUMMY not in links, links
    assert "second0" not in links, links


@check(
    without=repacked(DEB, "sed -i 's/keepalived-dummy apply/true/' DEBIAN/postinst")
    + f" && printf '#!/bin/sh\\nexit 101\\n' > {POLICY} && chmod 755 {POLICY}",
    back=f"rm {POLICY} {DEB}; dpkg -P keepalived-dummy",
    before=begin_without,
)
def install_on_a_running_host() -> None:
    """The dummy is there at once, as it is to be, and networkd and the uplink notice nothing."""
    before, start = host.property_of("systemd-networkd.service", "InvocationID"), host.cursor()
    with host.watching(host.ADDRESS) as seen:
        run(f"DEBIAN_FRONTEND=noninteractive dpkg -i {DEB}")
    note(f"install, a client pinging the uplink: {seen}")
    assert seen.sent > 0 == seen.lost, seen
    assert host.property_of("systemd-networkd.service", "InvocationID") == before
    assert not networkd_said(start), networkd_said(start)
    flags = host.flags(DUMMY)
    assert flags >= {"UP", "LOWER_UP"}, flags
    assert "NOARP" not in flags, flags
    assert " fe80:" not in run(f"ip -6 -o address show dev {DUMMY}")
    assert "unmanaged" in run(f"networkctl --no-pager list {DUMMY}")
    assert run(f"systemctl is-enabled {' '.join(UNITS)}").split() == ["enabled"] * len(UNITS)
    host.wait_for("our units are active", lambda: all(map(host.is_active, UNITS)))
    host.keepalived_up()
    host.wait_for("the client reaches the VIP", host.reachable)


@check(
    without=repacked(
        DEB, "sed -i 's/keepalived-dummy apply ||/keepalived-dummy apply; :/' DEBIAN/postinst"
    ),
    back=f"rm {DEB} /run/modprobe.d/dummy.conf; dpkg -P --force-all keepalived-dummy",
    before=begin_without,
)
def install_without_the_dummy_driver() -> None:
    """A kernel that cannot make a dummy fails no installation; what is missing is said."""
    run("modprobe -r dummy")
    blocked = Path("/run/modprobe.d/dummy.conf")
    host.write(blocked, "install dummy /bin/false\n")
    try:
        said = run(f"DEBIAN_FRONTEND=noninteractive dpkg -i {DEB}")
        assert f"does not make or set {DUMMY}" in said, said
        assert installed()
    finally:
        blocked.unlink()
    run("keepalived-dummy apply")
    assert host.flags(DUMMY) >= {"UP", "LOWER_UP"}


if __name__ == "__main__":
    sys.exit(checks.main(begin))
