# SPDX-License-Identifier: MIT
"""Ways to hold a VIP on a host of netplan and networkd: what each sets up, and how it is undone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import events
from guest import run, versions, wait_for, write
from testbed import ADDRESS4, DUMMY, PEER4, UPLINK, Instance, Pieces, Testbed

_NETPLAN = Path("/etc/netplan/20-form.yaml")  # merged with the uplink's, which sorts before
_NETWORK = Path("/etc/systemd/network")
_KEEP = _NETWORK / f"10-netplan-{UPLINK}.network.d" / "50-form.conf"
# The recipe as it is published, word for word. networkd makes the dummy and leaves it down.
RECIPE = Path("/lib/systemd/network/90-keepalived.netdev")
RECIPE_TEXT = f"[NetDev]\nName={DUMMY}\nKind=dummy\n"
# netplan < 0.107 has no dummy-devices; this is what later ones write for one without addresses.
_BY_HAND = {
    _NETWORK / f"10-netplan-{DUMMY}.netdev": RECIPE_TEXT,
    _NETWORK / f"10-netplan-{DUMMY}.network": f"[Match]\nName={DUMMY}\n\n"
    "[Network]\nLinkLocalAddressing=ipv6\nConfigureWithoutCarrier=yes\n",
}
PACKAGE = Path("/usr/sbin/keepalived-dummy")
VMAC, IPVLAN = "vrrp.51", "ipv.51"
_IPVLAN_ADDRESS = "192.0.2.3"  # an IPv4 instance has to have one there: keepalived.conf(5)
# What keepalived sets for a use_vmac instance and leaves behind.
_SYSCTLS = ("arp_ignore", "arp_filter", "accept_local")
_VMAC_LINES = (f"use_vmac {VMAC}", "vmac_xmit_base")


@dataclass(frozen=True)
class Form:
    """A way to hold a VIP.

    `lines` are further ones of the vrrp_instance, `pinned` is whether that has mcast_src_ip, `keep` a
    KeepConfiguration= of the uplink, `dummy` who makes the dummy: netplan, the recipe, "recipe, up" or the package.
    """

    name: str
    title: str
    lines: tuple[str, ...] = ()
    pinned: bool = False
    keep: str = ""
    critical: bool = False
    dummy: str = ""
    agent: bool = False

    @property
    def advertises(self) -> str:
        """Where its adverts come from."""
        return _IPVLAN_ADDRESS if self.name == "ipvlan" else ADDRESS4

    def instance(self, interval: float, unicast: bool = False) -> Instance:
        """The host's vrrp_instance; `interval` in seconds."""
        device = DUMMY if self.dummy else ""
        source = ADDRESS4 if self.pinned else ""
        other = PEER4 if unicast else ""
        return Instance(UPLINK, 200, interval, device, source, other, self.lines)

    def files(self, netplan: str, uplink: str = UPLINK) -> dict[Path, str]:
        """What it has on the host beside keepalived.conf, under this version of netplan.

        `uplink` is the uplink's id in netplan. A drop-in of networkd is named after the file that netplan first wrote.
        """
        made: dict[Path, str] = {}
        if self.keep:
            made[_KEEP] = f"[Network]\nKeepConfiguration={self.keep}\n"
        if self.critical:
            made[_NETPLAN] = netplan_yaml("ethernets", uplink, "{critical: true}")
        if self.dummy.startswith("recipe"):
            made[RECIPE] = RECIPE_TEXT
        if self.dummy == "netplan" and has_dummy_devices(netplan):
            made[_NETPLAN] = netplan_yaml("dummy-devices", DUMMY, "{}")
        elif self.dummy == "netplan":
            made |= _BY_HAND
        return made


FORMS = (
    Form("keepalived", "keepalived alone, VIP on the uplink"),
    Form("vmac", "use_vmac, vmac_xmit_base", lines=_VMAC_LINES),
    Form("vmac-pinned", "use_vmac, vmac_xmit_base, mcast_src_ip", lines=_VMAC_LINES, pinned=True),
    Form(
        "vmac-addr",
        "use_vmac, vmac_xmit_base, use_vmac_addr, mcast_src_ip",
        lines=(*_VMAC_LINES, "use_vmac_addr"),
        pinned=True,
    ),
    Form("ipvlan", "use_ipvlan", lines=(f"use_ipvlan {IPVLAN} {_IPVLAN_ADDRESS}",)),
    Form("keep-static", "VIP on the uplink, KeepConfiguration=static", keep="static"),
    Form("keep-dhcp", "VIP on the uplink, KeepConfiguration=dhcp", keep="dhcp"),
    Form("keep-yes", "VIP on the uplink, KeepConfiguration=yes", keep="yes"),
    Form(
        "keep-pinned",
        "VIP on the uplink, KeepConfiguration=yes, mcast_src_ip",
        keep="yes",
        pinned=True,
    ),
    Form("critical", "VIP on the uplink, netplan's critical: true", critical=True),
    Form(
        "critical-pinned",
        "VIP on the uplink, netplan's critical: true, mcast_src_ip",
        critical=True,
        pinned=True,
    ),
    Form("netplan-dummy", "VIP on a dummy of netplan's dummy-devices", dummy="netplan"),
    Form("recipe", "the published recipe", dummy="recipe"),
    Form("recipe-up", "the recipe, link set up", dummy="recipe, up"),
    Form("IPaddr2", "Pacemaker's IPaddr2, the agent alone", agent=True),
    Form("package", "this package", dummy="package", pinned=True),  # last: it is installed for it
)


def netplan_yaml(kind: str, name: str, settings: str) -> str:
    """A file of netplan's with one interface."""
    return f"network:\n  version: 2\n  {kind}:\n    {name}: {settings}\n"


def has_dummy_devices(netplan: str) -> bool:
    """Whether this version of netplan has dummy-devices: since 0.107. ValueError where it is no version."""
    found = re.match(r"(\d+)\.(\d+)", netplan)
    if not found:
        raise ValueError(f"netplan's version {netplan!r} is none")
    return (int(found[1]), int(found[2])) >= (0, 107)


def write_files(form: Form, uplink: str = UPLINK) -> None:
    """Put in place what the form has on the host beside keepalived.conf; `uplink` is the uplink's id in netplan."""
    for path, text in form.files(versions()["netplan.io"], uplink).items():
        write(path, text, 0o600 if path == _NETPLAN else 0o644)


def put_up(bed: Testbed, form: Form, how: str, unicast: bool = False) -> None:
    """The uplink, static or by DHCP, and what the form has on the host; keepalived too, where it is the form's."""
    write_files(form)
    bed.build(how)
    if form.dummy == "package" and not PACKAGE.exists():
        run(f"DEBIAN_FRONTEND=noninteractive dpkg -i {events.package()}")
    if form.dummy:
        wait_for(f"{DUMMY} is there", Path(f"/sys/class/net/{DUMMY}").exists)
    if form.dummy == "recipe, up":
        run(f"ip link set {DUMMY} up")
    if form.dummy == "package":
        bed.host_up(Pieces(unicast=unicast))
    elif not form.agent:
        bed.keepalived_up(form.instance(bed.interval, unicast))


def macvlans() -> list[str]:
    """The macvlans of the host; use_vmac_addr makes one for each other family, and names it itself."""
    shown = run("ip -o link show type macvlan", check=False)
    return [line.split()[1].partition("@")[0] for line in shown.splitlines()]


def take_down(bed: Testbed, form: Form) -> None:
    """All of it away; the uplink is nobody's, with no address."""
    run("systemctl stop keepalived", check=False)
    bed.close()
    for path in form.files(versions()["netplan.io"]):
        path.unlink(missing_ok=True)
    run("rm -f /run/systemd/network/10-netplan-*; nft flush ruleset", check=False)
    if form.dummy != "package":  # that one stays installed, and makes it anew at once
        run(f"ip link delete {DUMMY}", check=False)
    for name in (VMAC, IPVLAN, *macvlans()):
        run(f"ip link delete {name}", check=False)
    for where in ("all", "default", UPLINK):
        for key in _SYSCTLS:
            run(f"sysctl -q net.ipv4.conf.{where}.{key}=0", check=False)
    run("systemctl reset-failed systemd-networkd; systemctl restart systemd-networkd", check=False)
    run(f"ip address flush dev {UPLINK} scope global; ip route flush dev {UPLINK}", check=False)
