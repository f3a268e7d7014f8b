# SPDX-License-Identifier: MIT
"""Each way of holding a VIP without this package: by what was measured, on which releases and with which settings."""

from __future__ import annotations

from typing import Any

import pytest
from healthy import CONF, UNMANAGED, VIP6, facts, vip

from keepalived_dummy import check
from keepalived_dummy.facts import Facts
from keepalived_dummy.findings import Finding, Severity, judge
from keepalived_dummy.keepalived import CONFIG

WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL
PIN = "  mcast_src_ip 192.0.2.5\n"
PINNED = CONF.replace("192.0.2.10/32 dev keepalived0", "192.0.2.10/24").replace(
    "2001:db8::10/128 dev keepalived0", "192.0.2.11/24"
)
BARE = PINNED.replace(PIN, "")
DUAL = PINNED.replace("192.0.2.11/24", "2001:db8::10/64")
VMAC, VMAC_BARE, VMAC_DUAL = (
    text.replace("interface ens3\n", "interface ens3\n  use_vmac\n")
    for text in (PINNED, BARE, DUAL)
)
VMAC_BOTH = VMAC_DUAL.replace("  use_vmac\n", "  use_vmac\n  use_vmac_addr\n")
IPVLAN = BARE.replace("interface ens3\n", "interface ens3\n  use_ipvlan 192.0.2.7\n")
UNICAST = BARE.replace("interface ens3\n", "interface ens3\n  unicast_peer {\n192.0.2.6\n}\n")
ADOPT = "keepalived-dummy adopt"
TO_PIN = "write mcast_src_ip 192.0.2.5 into vrrp_instance VI_1"
ON_ENS3 = vip(device="ens3", prefix=24, where=f"{CONFIG}:5")
SIX_ON_ENS3 = vip(VIP6, device="ens3", prefix=64, where=f"{CONFIG}:9")
LEASED = frozenset((("ens3", 4),))
NOT_MEASURED = (249, 252, 254, 256, None)


def host(conf: str, systemd: int | None, kept: str = "", **changed: Any) -> Facts:
    """A host that never adopted; its uplink has its address by DHCP unless `leased` says otherwise."""
    given: dict[str, Any] = {"seen_vips": (ON_ENS3,), "leased": LEASED, "seen_dummies": ()}
    return facts(
        conf=conf,
        systemd=systemd,
        kept={"ens3": kept} if kept else {},
        sources={"VI_1": "192.0.2.5"},
        **{**given, **changed},
    )


def found(given: Facts) -> list[Finding]:
    return [one for one in judge(given) if one.name == "vip-on-managed-interface"]


@pytest.mark.parametrize("systemd", [255, 257, 262])
@pytest.mark.parametrize(
    ("conf", "kept"),
    [(PINNED, "yes"), (PINNED, "static"), (VMAC, ""), (VMAC_BOTH, ""), (IPVLAN, "yes")],
)
def test_what_was_measured_and_lost_nothing(conf: str, kept: str, systemd: int) -> None:
    given = host(conf, systemd, kept)
    assert judge(given) == ()
    (ok, note) = check.lines((), given)
    assert ok == "OK 1 VIP, 0 dummies, no hazard found"
    assert note.startswith("NOTE 192.0.2.10 is ") and "; not covered: " in note


@pytest.mark.parametrize("systemd", NOT_MEASURED)
@pytest.mark.parametrize(("conf", "kept"), [(PINNED, "yes"), (PINNED, "static"), (VMAC_BOTH, "")])
def test_the_same_where_it_was_not_measured(conf: str, kept: str, systemd: int | None) -> None:
    (one,) = found(host(conf, systemd, kept))
    assert one.severity == WARNING
    assert f"this was not measured with systemd {systemd or 'of an unknown release'}" in one.what
    assert (ADOPT in one.mend) == ("use_vmac" not in conf)  # adopt leaves that alone


@pytest.mark.parametrize("systemd", [*NOT_MEASURED, 255])
@pytest.mark.parametrize(
    ("conf", "kept", "pin"),
    [
        (BARE, "yes", TO_PIN),
        (BARE, "static", TO_PIN),
        (VMAC_BARE, "", TO_PIN),
        (UNICAST, "yes", TO_PIN.replace("mcast", "unicast")),
    ],
)
def test_without_a_pinned_source(conf: str, kept: str, pin: str, systemd: int | None) -> None:
    (one,) = found(host(conf, systemd, kept))
    assert one.severity == CRITICAL
    assert "networkd takes the own address of ens3, and keepalived goes to FAULT" in one.what
    assert one.mend == (pin if "use_vmac" in conf else f"{pin}, or: {ADOPT}")


@pytest.mark.parametrize(
    ("conf", "kept", "leased", "severity"),
    [
        (BARE, "yes", LEASED, None),
        (BARE, "static", LEASED, CRITICAL),
        (BARE, "static", frozenset(), None),
        (VMAC_BARE, "", LEASED, CRITICAL),
        (VMAC_BARE, "", frozenset(), None),
    ],
)
def test_without_a_pinned_source_from_257_on(
    conf: str, kept: str, leased: frozenset[tuple[str, int]], severity: Severity | None
) -> None:
    """networkd then keeps static addresses of its own at a reconfigure, and with `yes` those of DHCP too."""
    wanted = [severity] if severity else []
    assert [one.severity for one in found(host(conf, 257, kept, leased=leased))] == wanted


@pytest.mark.parametrize(
    ("conf", "systemd", "mend"),
    [
        (PINNED, 255, f"{ADOPT}; or `critical: true` for ens3 in netplan"),
        (BARE, 255, f"{ADOPT}; or `critical: true` for ens3 in netplan"),
        (IPVLAN, 255, "`critical: true` for ens3 in netplan"),
    ],
)
def test_a_vip_that_nothing_keeps(conf: str, systemd: int, mend: str) -> None:
    (one,) = found(host(conf, systemd))
    assert one.severity == CRITICAL
    assert one.what == "192.0.2.10 (VI_1) is on ens3, which networkd manages"
    assert one.mend.startswith(mend)
    assert one.mend.endswith(f", and {TO_PIN}") == (conf is BARE)


def test_critical_true_is_enough_from_257_on() -> None:
    (one,) = found(host(BARE, 257))
    assert "mcast_src_ip" not in one.mend


def test_a_vip_of_the_other_family_is_not_on_the_macvlan() -> None:
    given = host(VMAC_DUAL, 257, seen_vips=(ON_ENS3, SIX_ON_ENS3))
    (one,) = found(given)
    assert (one.severity, one.mend) == (
        CRITICAL,
        "write use_vmac_addr into vrrp_instance VI_1",
    )
    assert "2001:db8::10" in one.what
    assert found(host(VMAC_BOTH, 257, seen_vips=(ON_ENS3, SIX_ON_ENS3))) == []
    assert found(host(VMAC_DUAL, 257, "yes", seen_vips=(ON_ENS3, SIX_ON_ENS3))) == []


def test_use_vmac_on_the_line_of_an_address() -> None:
    conf = PINNED.replace("192.0.2.10/24", "192.0.2.10/24 use_vmac")
    assert found(host(conf, 257)) == []


def test_an_interface_that_networkd_leaves_alone_is_no_matter() -> None:
    given = host(BARE, 255, networks={"ens3": UNMANAGED})
    assert found(given) == [] and check.lines((), given) == ["OK 1 VIP, 0 dummies, no hazard found"]


def test_the_source_of_an_instance_that_never_moved_may_go_too() -> None:
    """The pinned source is what keeps the VIP, so it is looked after as on a dummy."""
    conf = PINNED.replace("mcast_src_ip 192.0.2.5", "mcast_src_ip 192.0.2.9")
    (one,) = (f for f in judge(host(conf, 255, "yes")) if f.name == "source-gone")
    assert "192.0.2.9, the source of VI_1, is no address of this host" in one.what
    assert one.mend == f"write 192.0.2.5 in its place, or: {ADOPT}"


def test_a_host_with_dummies_says_nothing_more() -> None:
    assert check.lines((), facts()) == ["OK 2 VIPs, 1 dummy, no hazard found"]
