# SPDX-License-Identifier: MIT
"""A service that is moved and moved back: nobody notices."""

from __future__ import annotations

import re
from pathlib import Path

import adopt_lan as lan
import host
from adopt_lan import CONF, OWN4, PEER4, SECOND, SECOND_VIP, UPLINK, VIP4, VIP6, command, done, on
from checks import check, edited, note
from host import DUMMY, run


def unnoticed(seen: lan.Pings) -> None:
    """No ping was lost, and keepalived entered no state."""
    note(str(seen))
    assert (seen.lost, seen.states) == (0, ()), seen


@check(*edited("service.py", '"reload" if running else "restart"', '"restart"'))
def adopt_and_revert() -> None:
    """No ping lost, no transition, the peer never master; and every byte as before."""
    before = CONF.read_bytes()
    with lan.peer() as log, lan.pinging() as seen:
        status, said = command("adopt --dry-run")
        assert (status, CONF.read_bytes()) == (3, before), said
        done("adopt --yes")
        assert on(DUMMY)
        assert f"mcast_src_ip {OWN4}" in CONF.read_text()
        done("revert --yes")
        assert on(UPLINK)
        assert CONF.read_bytes() == before
    unnoticed(seen)
    assert "MASTER" not in log.read_text()


@check(*edited("service.py", '"reload" if running else "restart"', '"restart"'))
def virtual_servers() -> None:
    """A director of LVS: each request to a VIP has its answer from the real server behind."""
    with lan.real_server():
        lan.start(lan.instance() + lan.director())
        host.wait_for(
            "the virtual servers serve", lambda: run("cat /proc/net/ip_vs").count("Masq") == 2
        )
        with lan.asking() as said:
            host.time.sleep(3)
            done("adopt --yes")
            assert on(DUMMY)
            host.time.sleep(3)
            done("revert --yes")
            host.time.sleep(1)
        failed = [line for line in said if " 200 " not in line]
        note(f"{len(failed)} of {len(said)} requests failed {failed[:3]}")
        assert not failed
        assert {line.split()[0] for line in said} == {VIP4, VIP6} and len(said) > 40, len(said)


LOCAL_ALONE = """\
table inet t {
    chain prerouting {
        type filter hook prerouting priority -300;
        fib daddr . iif type != { local, broadcast, multicast } drop
    }
}
"""


@check(*edited("adopt.py", "if options.check and _endangers(options, voice, done):", "if False:"))
def refused_where_vips_would_not_be_served() -> None:
    """A firewall that asks where an address is: nothing moves, and once it is mended as told all does."""
    before = CONF.read_bytes()
    host.write(Path("/run/adopt.nft"), LOCAL_ALONE)
    run("nft -f /run/adopt.nft")
    try:
        with lan.pinging() as seen:
            for words in ("adopt --dry-run", "adopt --yes"):
                status, said = command(words)
                assert (status, CONF.read_bytes()) == (1, before), said
            assert on(UPLINK)
            mends = re.findall(r"firewall-drops-vips.*mend: (nft .*)", said)
            assert len(mends) == 2, said
            for mend in mends:
                run(mend)
            done("adopt --yes")
            assert on(DUMMY)
        unnoticed(seen)
        assert lan.reached()
        done("revert --yes")
        run("nft flush ruleset; nft -f /run/adopt.nft")
        done("adopt --yes --no-check")
        assert on(DUMMY) and not lan.reached()
    finally:
        run("nft delete table inet t")


@check(*edited("apply.py", "_move(wanted, change, host, found.names, result)", "pass"))
def an_uplink_in_a_vrf() -> None:
    """The dummy is there before the VIPs are, and one that was deleted is made again there."""
    run(
        f"ip link add blue type vrf table 1007 && ip link set blue up && ip link set {UPLINK} master blue"
    )
    try:
        host.wait_for("both VIPs are on the uplink", lambda: on(UPLINK))
        host.wait_for("the client reaches both VIPs", lan.reached)
        with lan.pinging() as seen:
            done("adopt --yes")
            assert on(DUMMY)
        unnoticed(seen)
        assert " master blue " in run(f"ip link show dev {DUMMY}")
        host.wait_for("the client reaches both VIPs", lan.reached)
        run(f"ip link del {DUMMY}")
        host.wait_for("both VIPs are on a new one", lambda: on(DUMMY))
        assert " master blue " in run(f"ip link show dev {DUMMY}")
        host.wait_for("the client reaches both VIPs", lan.reached)
        with lan.pinging() as seen:
            done("revert --yes")
        unnoticed(seen)
    finally:
        run("ip link del blue")
        host.wait_for("the uplink has its address", lambda: host.holds(OWN4, UPLINK))


@check(*edited("service.py", '"reload" if running else "restart"', '"restart"'))
def first_wire_of_an_uplink() -> None:
    """With its first clsact an interface drops what it sends, in the kernel, for a moment (see architecture.md)."""
    run(f"tc qdisc del dev {UPLINK} clsact", check=False)
    with lan.peer() as log, lan.pinging() as seen:
        done("adopt --yes")
        assert on(DUMMY)
    note(str(seen))
    assert not seen.states
    assert seen.lost <= 3, seen  # a gap would measure how busy the guest is
    assert "MASTER" not in log.read_text()


@check(*edited("transaction.py", "hold.keep(held)", "pass"))
def what_was_moved_is_keepalived_s() -> None:
    """A VIP held for the move has no lifetime afterwards, and goes when keepalived does, to the other node."""
    with lan.peer() as log:
        done("adopt --yes")
        assert on(DUMMY)
        assert "dynamic" not in run(f"ip address show dev {DUMMY}")
        run("systemctl stop keepalived")
        left = run(f"ip -o address show dev {DUMMY}")
        assert VIP4 not in left and VIP6 not in left, left
        host.wait_for("the peer is master", lambda: "Entering MASTER" in log.read_text(), 30)


@check(*edited("apply.py", "_candidates(wanted, document, host)", "frozenset()"))
def later_ones_find_it_wired() -> None:
    """revert leaves the uplink its clsact, so that neither it nor the next adopt costs anything."""
    done("adopt --yes")
    done("revert --yes")
    assert "clsact" in run(f"tc qdisc show dev {UPLINK}")
    assert "mirred" not in run(f"tc filter show dev {UPLINK} ingress")


@check(*edited("adopt.py", "if not done.after:", "if False:"))
def twice_changes_nothing() -> None:
    done("adopt --yes")
    adopted = CONF.stat()
    for words in ("adopt --yes", "adopt --dry-run"):
        assert "nothing to do" in done(words)
    assert CONF.stat() == adopted
    done("revert --yes")
    reverted = CONF.stat()
    assert "nothing to do" in done("revert --yes")
    assert CONF.stat() == reverted


@check(*edited("transaction.py", "hold.add(held)", "pass"))
def routes_stay() -> None:
    """Routes with a VIP as their source outlive the move, so keepalived stays master."""
    lan.start(lan.instance(more=lan.ROUTES))
    wanted = run("ip route show proto keepalived; ip rule show")
    with lan.pinging() as seen:
        done("adopt --yes")
        assert on(DUMMY)
        assert run("ip route show proto keepalived; ip rule show") == wanted
        done("revert --yes")
        assert run("ip route show proto keepalived; ip rule show") == wanted
    unnoticed(seen)


@check(*edited("foreign.py", "if not _HINT.search(text):", "if True:"))
def routes_and_rules_outlive_networkd() -> None:
    """adopt says what it does about them; networkd drops none, from its first restart on."""
    lan.start(lan.instance(more=lan.ROUTES))
    said = done("adopt --yes")
    assert f"virtual_routes at {CONF}:8" in said, said
    wanted = run("ip route show proto keepalived; ip rule show")
    assert len(re.findall(VIP4, wanted)) == 3, wanted
    cursor = host.cursor()
    for event in ("systemctl restart systemd-networkd", f"networkctl reconfigure {UPLINK}"):
        run(event)
        host.wait_for(
            "networkd is done", lambda: "(configured)" in run(f"networkctl status {UPLINK}")
        )
        host.time.sleep(2)
        assert run("ip route show proto keepalived; ip rule show") == wanted, event
    assert "Entering" not in host.journal(f"-u keepalived --since='{cursor}'")


@check(*edited("transaction.py", "_prove(host, before, what.vips, held)", "pass"))
def put_back_when_keepalived_does_not_follow() -> None:
    before = CONF.read_bytes()
    lan.instead_of_reload("/bin/true")
    with lan.pinging() as seen:
        status, said = command("adopt --yes")
    note(f"said: {lan.last(said)}")
    assert status == 1, said
    assert f"{VIP4} is on {UPLINK} too" in said
    assert CONF.read_bytes() == before
    assert on(UPLINK)
    unnoticed(seen)


@check(*edited("revert.py", "reload and host.service.pid != 0", "host.service.pid != 0"))
def stopped_keepalived_and_no_reload() -> None:
    run("systemctl stop keepalived")
    assert "does not run" in done("adopt --yes")
    run("systemctl start keepalived")
    host.wait_for("both are on the dummy", lambda: on(DUMMY))
    done("revert --yes --no-reload")
    assert on(DUMMY)
    run("systemctl reload keepalived")
    host.wait_for("both are on the uplink", lambda: on(UPLINK))


# Neither what it did not hold before, nor what keepalived's own account calls no MASTER, is passed over.
ALL_HELD = """continue  # a BACKUP does not hold it
        if before.states is not None:
            state = before.states.get(vip.instance)
            if state is None or state.state != MASTER:
                continue
"""


@check(*edited("proof.py", ALL_HELD, "pass\n"))
def backup_node() -> None:
    """A BACKUP is adopted, stays one, and then takes over from a node in the old form."""
    with lan.peer(200) as log:
        host.wait_for("the peer is master", lambda: "Entering MASTER" in log.read_text(), 30)
        host.wait_for("this is none", lambda: not host.holds(VIP4, UPLINK))
        done("adopt --yes")
        assert not host.holds(VIP4, DUMMY)
        assert f"dev {DUMMY}" in CONF.read_text()
    host.wait_for("both are on the dummy", lambda: on(DUMMY), 30)
    host.wait_for("the client reaches both", lan.reached)


@check(
    *edited("pins.py", 'if instance.unicast_peer else "mcast_src_ip"', 'if not instance else ""')
)
def unicast_peers() -> None:
    """Adverts to the other node alone: unicast_src_ip is what is pinned."""
    lan.start(lan.instance(more=lan.unicast("", PEER4)))
    with lan.peer(more=lan.unicast(PEER4, OWN4)) as log, lan.pinging() as seen:
        done("adopt --yes")
        assert on(DUMMY)
        assert f"\tunicast_src_ip {OWN4}\n" in CONF.read_text()
        done("revert --yes")
    unnoticed(seen)
    assert "MASTER" not in log.read_text()


OTHER = f"""\
vrrp_instance OTHER {{
\tinterface {SECOND}
\tstate BACKUP
\tvirtual_router_id 78
\tadvert_int 1
\tvirtual_ipaddress {{
\t\t{SECOND_VIP}/24
\t}}
}}
vrrp_sync_group BOTH {{
\tgroup {{
\t\tPAIR
\t\tOTHER
\t}}
}}
"""


@check(*edited("targets.py", "confs.update(_conf(config, device, name))", "pass"))
def several_uplinks_in_a_sync_group() -> None:
    """Each uplink gets a dummy, whose conf goes again with revert; the group stays master as one."""
    with lan.second_uplink():
        lan.start(lan.instance() + OTHER)
        host.wait_for("the group is master", lambda: host.holds(SECOND_VIP, SECOND))
        with lan.pinging(SECOND_VIP) as seen:
            said = done("adopt --yes")
            assert on(DUMMY)
            conf = host.CONFS / f"keepalived-{SECOND}.conf"
            assert "Name=keepalived1" in conf.read_text(), said
            assert host.holds(SECOND_VIP, "keepalived1")
            assert not host.holds(SECOND_VIP, SECOND)
            done("revert --yes")
            assert host.holds(SECOND_VIP, SECOND)
            assert not conf.exists()
            assert not host.flags("keepalived1")
        unnoticed(seen)
        lan.start(lan.instance())


ALONE = f"""\
vrrp_instance ALONE {{
\tinterface {UPLINK}
\tstate BACKUP
\tvirtual_router_id 79
\tadvert_int 1
\tvirtual_ipaddress {{
\t\t{SECOND_VIP}/24 dev {SECOND}
\t}}
}}
"""


@check(
    *edited("moves.py", "found.routes += known.losses.routes(instance, vip, device.text)", "pass")
)
def alone_in_its_network() -> None:
    """The uplink has no address; keepalived sets the route that adopt writes, and revert takes it back."""
    with lan.second_uplink():
        lan.networkd(SECOND)
        host.wait_for("it has no address", lambda: not host.holds(lan.SECOND_OWN, SECOND))
        lan.start(lan.instance() + ALONE)
        host.wait_for("the VIP is there", lambda: host.holds(SECOND_VIP, SECOND))
        before = CONF.read_bytes()
        status, said = command("adopt --yes")
        assert (status, CONF.read_bytes()) == (1, before) and "--add-routes" in said, said
        with lan.pinging(SECOND_VIP) as seen:
            done("adopt --yes --add-routes")
            assert host.holds(SECOND_VIP, "keepalived1")
            assert not host.holds(SECOND_VIP, SECOND)
            route = f"203.0.113.0/24 dev {SECOND} scope link src {SECOND_VIP}"
            assert f"virtual_routes {{ {route} }}" in CONF.read_text()
            _, said = command("check")
            assert "uplink-without-address" not in said, said
            done("revert --yes")
            assert host.holds(SECOND_VIP, SECOND)
            assert CONF.read_bytes() == before
        note(str(seen))
        assert not seen.states and seen.lost < 5, seen
        lan.start(lan.instance())


@check(*edited("pins.py", "if pinned is None and sends_from_link_local(instance):", "if False:"))
def native_ipv6_is_in_fault_without_its_link_local_address() -> None:
    """Without it the kernel sends no advert: pinned, it would stay MASTER beside the node that takes over."""
    run("systemctl stop keepalived")
    host.write(CONF, lan.instance(vip4=f"{VIP6}/64", vip6=""))
    run("systemctl start keepalived")
    held = lambda device: f" {VIP6}/" in run(f"ip -6 -o address show dev {device}")  # noqa: E731
    host.wait_for("the VIP is there", lambda: held(UPLINK))
    done("adopt --yes")
    assert held(DUMMY)
    assert "_src_ip" not in CONF.read_text()
    shown = run(f"ip -6 -o address show dev {UPLINK} scope link")
    local = shown.split()[3].removesuffix("/64")
    run(f"ip address del {local}/64 dev {UPLINK}")
    host.wait_for("it gives the VIP up", lambda: not held(DUMMY), 10)
    run(f"ip address add {local}/64 dev {UPLINK} nodad")
    host.wait_for("it has the VIP again", lambda: held(DUMMY), 20)
