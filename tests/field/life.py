# SPDX-License-Identifier: MIT
"""The package's whole life on a host that serves VIPs, a client pinging all along."""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from functools import partial
from pathlib import Path

import client
import snapshot
from apt import UPLINK
from client import VIPS
from cloud import held, served
from guest import Guest, wait_for
from report import Report

CONF = "/etc/keepalived-dummy.d/keepalived.conf"
DEBS = "/root/debs"
THIS, NEXT, FIRST = f"{DEBS}/this.deb", f"{DEBS}/next.deb", f"{DEBS}/first.deb"
KEEPALIVED = """\
vrrp_instance VI_1 {
    interface ens3
    state BACKUP
    virtual_router_id 51
    priority 100
    advert_int 0.5
    virtual_ipaddress {
        192.0.2.10/24
    }
    virtual_ipaddress_excluded {
        2001:db8::10/64
    }
}
"""
# A later version with another conffile.
REPACK = f"""\
cd {DEBS} && rm -rf tree && dpkg-deb -R {THIS} tree && sed -i '/^Version:/s/$/+next/' tree/DEBIAN/control &&
echo '# A line of the next version.' >> tree{CONF} && sed -i '\\#{CONF[1:]}#d' tree/DEBIAN/md5sums &&
dpkg-deb --root-owner-group -b tree {NEXT} > /dev/null && rm -r tree
"""
FETCH = "python3 -c \"import urllib.request as u; u.urlretrieve('http://packages.example.org/{}', '{}')\""
KILLS = 8


def prepare(guest: Guest) -> str:
    """A host in use: uplink by DHCP, keepalived with its VIPs on it, a client."""
    guest.wait_for_agent()
    guest.booted()
    guest.write("/etc/netplan/10-uplink.yaml", UPLINK)
    guest.run("chmod 600 /etc/netplan/10-uplink.yaml && netplan apply")
    guest.run("timeout 60 /lib/systemd/systemd-networkd-wait-online -i ens3")
    guest.run(
        "apt-get update && apt-get -y install keepalived python3-jinja2 python3-pyroute2 iproute2"
    )
    client.join(guest)
    guest.write("/etc/keepalived/keepalived.conf", KEEPALIVED)
    guest.run("systemctl restart keepalived")
    wait_for("the client reaches both VIPs", lambda: client.all_answered(guest))
    # What failed before there was a network; nothing_left() forgets failures too.
    guest.run("systemctl reset-failed")
    versions = "systemd netplan.io keepalived"
    return guest.run(f"dpkg-query -W -f '${{Package}} ${{Version}} ' {versions}").strip()


def fetch_packages(guest: Guest, archive: Path) -> None:
    """This version and the next one, in the guest."""
    this = next(archive.glob("pool/**/*.deb"))
    guest.run(f"mkdir -p {DEBS}")
    guest.run(FETCH.format(this.relative_to(archive), THIS))
    guest.run(REPACK)


def networkd_said(guest: Guest, cursor: str) -> list[str]:
    """What networkd logged of a reload or of configuring the uplink."""
    words = f"-u systemd-networkd --since='{cursor}'"
    said = guest.run(f"journalctl -q --no-pager {words} || true").splitlines()
    return [line for line in said if "eload" in line or ("ens3" in line and "onfigur" in line)]


# With its first clsact, and with the last thing of it, the kernel drops what an uplink sends for a moment (qdisc_graft()).
CLSACT = 3


def undisturbed(guest: Guest, command: str, lost: int = 0, among: Collection[str] = VIPS) -> str:
    """The client, keepalived and networkd notice nothing of the command, but for so many pings of each VIP."""
    cursor = guest.cursor()
    runs = "systemctl show -p InvocationID systemd-networkd keepalived"
    before = guest.run(runs)
    with client.pinging(guest) as seen:
        guest.run(command)
    assert all(seen.vips[vip].lost <= lost for vip in among) and not seen.states, seen
    assert guest.run(runs) == before, "networkd or keepalived was restarted"
    assert not networkd_said(guest, cursor), networkd_said(guest, cursor)
    return str(seen)


def adopt(guest: Guest) -> str:
    """The VIPs go to the dummy."""
    with client.pinging(guest) as seen:
        guest.run("keepalived-dummy adopt --yes")
    served(guest)
    assert not seen.states, seen
    assert all(one.lost <= CLSACT for one in seen.vips.values()), seen
    return str(seen)


def conffile(guest: Guest) -> str:
    """What the admin wrote outlives an upgrade to a version with another conffile, and is in force."""
    guest.run(f"printf '[Interface]\\nMTUBytes=1400\\n# ours\\n' > {CONF}")
    wait_for("the edit is in force", lambda: "mtu 1400" in guest.run("ip link show keepalived0"))
    figures = undisturbed(guest, f"dpkg --force-confdef --force-confold -i {NEXT}")
    assert "# ours" in guest.run(f"cat {CONF}")
    assert "mtu 1400" in guest.run("ip link show keepalived0")
    assert guest.run("dpkg-query -W -f '${Version}' keepalived-dummy").endswith("+next")
    return figures


def killed(guest: Guest) -> str:
    """dpkg and all it started are killed in the middle of configure; it is resumed."""
    unpack = f"dpkg --force-confdef --force-confold --unpack {NEXT}"
    guest.run(unpack)
    start = time.monotonic()
    guest.run("dpkg --configure keepalived-dummy")
    whole = time.monotonic() - start
    states = []
    with client.pinging(guest) as seen:
        for kill in range(KILLS):
            guest.run(unpack)
            pause = whole * (kill + 0.5) / KILLS
            guest.run(
                "set -m; dpkg --configure keepalived-dummy > /dev/null 2>&1 & "
                f"sleep {pause:.2f}; kill -9 -- -$!; wait; true"
            )
            shown = "dpkg-query -W -f '${db:Status-Status}' keepalived-dummy"
            states.append(guest.run(shown))
            guest.run("dpkg --configure -a")
            assert guest.run(shown) == "installed"
            guest.run(
                "systemctl is-active keepalived-dummy.service keepalived-dummy-generator.path"
            )
    assert "half-configured" in states, f"none was in the middle: {states}"
    assert seen.lost() == 0 and not seen.states, seen
    assert len(held(guest)) == len(VIPS)
    middle = states.count("half-configured")
    return f"{middle} of {KILLS} in the middle of {whole:.1f} s; {seen}"


def removed(guest: Guest) -> str:
    """The VIPs stay with the dummy, and the conffile with the admin's change."""
    figures = undisturbed(guest, "dpkg -r keepalived-dummy")
    assert len(held(guest)) == len(VIPS)
    assert "# ours" in guest.run(f"cat {CONF}")
    return figures


def installed_again(guest: Guest) -> str:
    """All is as before the removal."""
    figures = undisturbed(guest, f"dpkg --force-confdef --force-confold -i {THIS}")
    assert "mtu 1400" in guest.run("ip link show keepalived0")
    served(guest)
    return figures


def reverted(guest: Guest) -> str:
    """The VIPs go back to the uplink."""
    with client.pinging(guest) as seen:
        guest.run("keepalived-dummy revert --yes")
    assert not seen.states, seen
    assert guest.run("cat /etc/keepalived/keepalived.conf") == KEEPALIVED
    return str(seen)


def nothing_left(guest: Guest, before: list[str]) -> str:
    """The host is as it was before the package came."""
    guest.run("systemctl reset-failed")
    time.sleep(3)
    after = snapshot.take(guest)
    left = snapshot.differences(before, after)
    assert not left, "left or lost:\n" + "\n".join(left[:60])
    return f"compared: {snapshot.kinds(after)}"


def first_version(guest: Guest) -> str:
    """The first version that built, with the VIPs on its dummy; without a wire nobody can ask for that of IPv6."""
    guest.run(FETCH.format("first.deb", FIRST))
    guest.run(f"dpkg -i {FIRST}")
    on_dummy = re.sub(r"(\S+)/(24|64)$", r"\1 dev keepalived0", KEEPALIVED, flags=re.MULTILINE)
    guest.write("/etc/keepalived/keepalived.conf", on_dummy)
    guest.run("systemctl reload keepalived")
    wait_for("the VIPs are on the dummy", lambda: len(held(guest)) == len(VIPS))
    guest.run("ip -n lan neighbour flush all")
    assert [client.answered(guest, vip) for vip in VIPS] == [True, False], "it has a wire"
    return guest.run("dpkg-query -W -f '${Version}' keepalived-dummy")


def upgraded(guest: Guest) -> str:
    """Nobody notices but of the uplink's first clsact, and the VIP that nobody could ask for is served by the wire."""
    upgrade = f"dpkg --force-confdef --force-confold -i {THIS}"
    figures = undisturbed(guest, upgrade, lost=CLSACT, among=VIPS[:1])
    served(guest)
    return figures


def purged(guest: Guest) -> str:
    """With the VIPs back on the uplink nobody notices but of the uplink's clsact, which goes."""
    return undisturbed(guest, "dpkg -P keepalived-dummy", lost=CLSACT)


def purged_after_upgrade(guest: Guest) -> str:
    """With keepalived as it was before."""
    guest.write("/etc/keepalived/keepalived.conf", KEEPALIVED)
    guest.run("systemctl reload keepalived")
    wait_for("no VIP is on the dummy", lambda: not held(guest))
    return purged(guest)


def test(guest: Guest, archive: Path, report: Report) -> None:
    """From the first installation to the last purge."""
    report.step("a host that serves VIPs", lambda: prepare(guest))
    fetch_packages(guest, archive)
    before = snapshot.take(guest)
    report.step("install", lambda: undisturbed(guest, f"dpkg -i {THIS}"))
    left = snapshot.differences(before, snapshot.take(guest))
    assert left, "the comparison does not see the package"
    report.step("adopt", lambda: adopt(guest))
    report.step("reinstall", lambda: undisturbed(guest, f"dpkg -i {THIS}"))
    for name, step in (
        ("upgrade with a changed conffile", conffile),
        ("killed in the middle of configure, and resumed", killed),
        ("remove", removed),
        ("install again", installed_again),
        ("revert", reverted),
        ("purge", purged),
    ):
        report.step(name, partial(step, guest))
    report.step("nothing left", lambda: nothing_left(guest, before))


def upgrade(guest: Guest, archive: Path, report: Report) -> None:
    """From the first version that built to the last purge."""
    report.step("a host that serves VIPs", lambda: prepare(guest))
    fetch_packages(guest, archive)
    before = snapshot.take(guest)
    report.step("the first version that built", lambda: first_version(guest))
    report.step("upgrade from it", lambda: upgraded(guest))
    report.step("purge", lambda: purged_after_upgrade(guest))
    report.step("nothing left", lambda: nothing_left(guest, before))
