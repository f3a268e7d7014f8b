#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Confs come, go, are masked and are wrong, while a VIP is live."""

from __future__ import annotations

import sys
import time

import checks
import host
from checks import check, edited, note
from host import CONFS, DUMMY, SECOND, SECOND_VIP, UPLINK, VIP, apply, run

CONF, OTHER = CONFS / "keepalived.conf", CONFS / "second.conf"
NO_COMMAND = "systemctl stop keepalived-dummy; mount --bind /bin/true /usr/sbin/keepalived-dummy"
COMMAND_BACK = "umount /usr/sbin/keepalived-dummy; systemctl start keepalived-dummy"
BOTH_VIPS = (f"{VIP}/32 dev {DUMMY}", f"{SECOND_VIP}/32 dev {SECOND}")


def begin() -> None:
    """The default conf alone, its dummy alone, and the VIP live; whatever a failed check left."""
    host.cable_up()
    if host.flags(SECOND):
        host.keepalived_conf()
        run("systemctl stop keepalived")
    OTHER.unlink(missing_ok=True)
    CONF.unlink(missing_ok=True)
    CONF.write_text("# all defaults\n")
    run(f"keepalived-dummy apply; ip link del {SECOND}", check=False)
    host.live()


def reload_keepalived(*vips: str) -> None:
    """keepalived with these address lines, without a restart."""
    host.keepalived_conf(*vips)
    run("systemctl reload keepalived")


def second_up() -> None:
    """The second dummy with a VIP that answers."""
    OTHER.write_text(f"[Interface]\nName={SECOND}\nMTUBytes=1400\nMACAddress=02:00:5e:00:53:01\n")
    apply()
    assert host.flags(SECOND) >= {"UP", "LOWER_UP"}, f"{SECOND} is not up"
    reload_keepalived(*BOTH_VIPS)
    host.wait_for("the second VIP is there", lambda: host.holds(SECOND_VIP, SECOND))
    host.wait_for("the second VIP answers", lambda: host.reachable(SECOND_VIP))


@check(without=NO_COMMAND, back=COMMAND_BACK)
def second_dummy() -> None:
    """It is as its conf asks, holds a VIP of its own, and outlives networkd as the first does."""
    with host.watching() as seen:
        second_up()
    assert seen.untouched(), seen
    shown = run(f"ip -d link show dev {SECOND}")
    for wanted in ("mtu 1400 ", "ether 02:00:5e:00:53:01 ", " dummy "):
        assert wanted in shown, f"no '{wanted.strip()}' in {shown}"
    assert {"90-second.netdev", "05-second.network"} <= host.generated()
    with host.watching(SECOND_VIP) as seen:
        run("systemctl restart systemd-networkd")
    note(f"the second VIP through a restart of networkd: {seen}")
    assert not seen.transitions
    assert seen.lost == 0 or host.networkd_version() < 257, seen
    assert "unmanaged" in run(f"networkctl --no-pager list {SECOND}")


@check(*edited("units.py", "for stem in config.bad:", "for stem in ():"))
def bad_conf_beside_a_good_one() -> None:
    """The bad one's dummy and files stay as they were, the good one's are made, the exit status says so."""
    before = {name: (host.GENERATED / name).read_bytes() for name in host.generated()}
    wired = f"tc filter show dev {DUMMY} egress"
    host.wait_for("the dummy is wired", lambda: bool(run(wired)))
    with host.watching() as seen:
        CONF.write_text("[Interface]\nNmae=other0\n")
        OTHER.write_text(f"[Interface]\nName={SECOND}\n")
        status, said = apply()
        run("systemctl restart systemd-networkd")
    assert status == 1, f"exit status {status}: {said}"
    assert f"{CONF}:2: unknown key 'Nmae' in [Interface], did you mean Name?" in said, said
    assert "Traceback" not in said, said
    after = {name: (host.GENERATED / name).read_bytes() for name in host.generated()}
    changed = {name: after.get(name) for name in before if before[name] != after.get(name)}
    assert not changed, f"{before} became {after}"
    assert run(wired), "the wire of the dummy went"
    assert "90-second.netdev" in after
    assert host.flags(SECOND) >= {"UP", "LOWER_UP"}
    assert not seen.kernel, seen.kernel
    assert not seen.transitions, seen
    assert seen.lost == 0 or host.networkd_version() < 257, seen


@check(without=NO_COMMAND, back=COMMAND_BACK)
def conf_removed_without_an_address() -> None:
    """The dummy and its files go, and nothing else does."""
    OTHER.write_text(f"[Interface]\nName={SECOND}\n")
    apply()
    assert host.flags(SECOND), f"{SECOND} is not there"
    with host.watching() as seen:
        OTHER.unlink()
        apply()
    assert not host.flags(SECOND), f"{SECOND} is still there"
    assert host.generated() == {"90-keepalived.netdev", "05-keepalived.network"}
    assert seen.untouched(), seen


@check(*edited("links.py", "held := host.held(link)", "held := ()"))
def conf_removed_with_an_address() -> None:
    """The dummy stays while it holds the VIP, a line says why, and it goes once the VIP is gone."""
    second_up()
    with host.watching(SECOND_VIP) as seen:
        OTHER.unlink()
        status, said = apply()
    assert status == 0, said
    assert f"{SECOND}: no conf asks for it any more, but it holds {SECOND_VIP}/32; it stays" in said
    assert seen.untouched(), seen
    reload_keepalived()
    host.wait_for("the second VIP is gone", lambda: not host.holds(SECOND_VIP, SECOND))
    apply()
    assert not host.flags(SECOND), f"{SECOND} is still there"


@check(*edited("links.py", 'link.kind != "dummy":', "False:"))
def links_of_others_are_not_touched() -> None:
    """A dummy that somebody else made, and a link of another kind that a conf names."""
    run("ip link add theirs0 type dummy && udevadm settle")  # udev gives it a MAC of its own
    try:
        before = run(f"ip link show dev {UPLINK}"), run("ip -d link show dev theirs0")
        OTHER.write_text(f"[Interface]\nName={UPLINK}\nMTUBytes=1400\n")
        with host.watching() as seen:
            status, said = apply()
        assert status == 1, said
        assert f"{UPLINK} is there and is no dummy (veth)" in said, said
        after = run(f"ip link show dev {UPLINK}"), run("ip -d link show dev theirs0")
        assert after == before, f"{before} became {after}"
        assert run(f"tc filter show dev {UPLINK} ingress"), "the wire of the good conf went"
        assert seen.untouched(), seen
        OTHER.unlink()
        apply()
        assert host.flags("theirs0"), "a dummy of somebody else was removed"
    finally:
        run("ip link del theirs0", check=False)


@check(*edited("units.py", "_mask_static(folder, config, wanted, result)", "pass"))
def default_masked() -> None:
    """With the default conf masked its dummy goes, and networkd does not make it from /usr/lib again."""
    run("systemctl stop keepalived")
    host.wait_for("the VIP is gone", lambda: not host.holds(VIP))
    CONF.unlink()
    CONF.symlink_to("/dev/null")
    status, said = apply()
    assert status == 0, said
    assert not host.flags(DUMMY), f"{DUMMY} is still there"
    run("systemctl restart systemd-networkd")
    time.sleep(1)
    assert not host.flags(DUMMY), f"networkd made {DUMMY} again"
    CONF.unlink()
    CONF.write_text("# all defaults\n")
    apply()
    assert host.flags(DUMMY) >= {"UP", "LOWER_UP"}, "unmasked, it is not back"


@check(
    without="mkdir -p /etc/systemd/system/keepalived.service.d && ln -sf /dev/null"
    " /etc/systemd/system/keepalived.service.d/keepalived-dummy.conf && systemctl daemon-reload",
    back="rm -r /etc/systemd/system/keepalived.service.d; systemctl daemon-reload",
)
def no_networkd() -> None:
    """As with ifupdown or NetworkManager: starting keepalived is enough, the dummy is made for it."""
    run("systemctl stop keepalived keepalived-dummy")
    run(
        "systemctl mask --now systemd-networkd.service && systemctl stop 'systemd-networkd*.socket'"
    )
    try:
        run(f"ip link del {DUMMY}")
        run(f"ip address replace {host.ADDRESS}/24 dev {UPLINK} && ip link set {UPLINK} up")
        run("systemctl start keepalived")
        host.wait_for("the VIP is there", lambda: host.holds(VIP))
        host.wait_for("the client reaches the VIP", host.reachable)
    finally:
        run("systemctl unmask systemd-networkd.service && systemctl start systemd-networkd.socket")
        run("systemctl start systemd-networkd.service")


if __name__ == "__main__":
    sys.exit(checks.main(begin))
