#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""`adopt` and `revert` on a live pair of nodes, with a client that pings both VIPs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import adopt_lan as lan
import checks
import host
from adopt_lan import CONF, UPLINK, VIP4, VIP6
from checks import check, note
from host import DUMMY, run

LIBRARY = "/usr/lib/python3/dist-packages/keepalived_dummy"
STATE = Path("/var/lib/keepalived-dummy")
DROP_IN = Path("/run/systemd/system/keepalived.service.d/50-test.conf")
CASES = Path(__file__).resolve().parents[2] / "tests/adopt"


def command(words: str) -> tuple[int, str]:
    """Run keepalived-dummy; exit status, and what it said."""
    ran = subprocess.run(
        ["keepalived-dummy", *words.split()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    return ran.returncode, ran.stdout


def done(words: str) -> str:
    """Run a command that must be done."""
    status, said = command(words)
    assert status == 0, f"{words} ended with {status}:\n{said}"
    return said


def begin() -> None:
    """Nothing adopted, and this host master with its VIPs on the uplink."""
    lan.cable_up()
    DROP_IN.unlink(missing_ok=True)
    run(
        "systemctl daemon-reload; chattr -i /etc/keepalived/*.conf; systemctl stop keepalived",
        check=False,
    )
    shutil.rmtree(STATE, ignore_errors=True)
    for path in Path("/etc/keepalived").glob("*.conf"):
        path.unlink()
    lan.start(lan.instance())
    host.wait_for(
        "the client reaches both VIPs", lambda: host.reachable(VIP4) and host.reachable(VIP6)
    )


def on(device: str) -> bool:
    """Whether both VIPs are on the device, and nowhere else."""
    other = UPLINK if device == DUMMY else DUMMY
    both = run(f"ip -o address show dev {device}", check=False)
    none = run(f"ip -o address show dev {other}", check=False)
    return all(f" {vip}/" in both and f" {vip}/" not in none for vip in (VIP4, VIP6))


def instead_of_reload(what: str) -> None:
    """Have `systemctl reload keepalived` do something else."""
    host.write(DROP_IN, f"[Service]\nExecReload=\nExecReload={what}\n")
    run("systemctl daemon-reload")


RELOAD_OUT = (
    f"mkdir -p {DROP_IN.parent}; printf '[Service]\\nExecReload=\\nExecReload=/bin/kill -TERM $MAINPID\\n'"
    f" > {DROP_IN}; systemctl daemon-reload"
)
COMMAND_OUT = "mount --bind /bin/true /usr/sbin/keepalived-dummy"
COMMAND_BACK = "umount /usr/sbin/keepalived-dummy"


@check(without=RELOAD_OUT)
def adopt_and_revert() -> None:
    """No ping lost, no transition, the peer never master; and every byte as before."""
    before = CONF.read_bytes()
    with lan.peer() as log, lan.pinging() as seen:
        status, said = command("adopt --dry-run")
        assert (status, CONF.read_bytes()) == (3, before), said
        done("adopt --yes")
        assert on(DUMMY)
        assert f"mcast_src_ip {lan.OWN4}" in CONF.read_text()
        assert "nothing to do" in done("adopt --yes")
        done("adopt --dry-run")
        done("revert --yes")
        assert on(UPLINK)
        assert CONF.read_bytes() == before
        assert "nothing to do" in done("revert --yes")
    note(str(seen))
    assert (seen.lost, seen.states) == (0, ()), seen
    assert "MASTER" not in log.read_text()


@check(
    without=f"sed -i 's/hold.add(held)/pass/' {LIBRARY}/transaction.py",
    back=f"sed -i 's/^        pass$/        hold.add(held)/' {LIBRARY}/transaction.py",
)
def routes_stay() -> None:
    """Routes with a VIP as their source outlive the move, so keepalived stays master."""
    lan.start(lan.instance(more=lan.ROUTES))
    wanted = run("ip route show proto keepalived; ip rule show")
    with lan.pinging() as seen:
        done("adopt --yes")
        assert on(DUMMY)
        assert run("ip route show proto keepalived; ip rule show") == wanted
        assert "valid_lft forever" in run(f"ip address show dev {DUMMY}")
        assert "dynamic" not in run(f"ip address show dev {DUMMY}")
        done("revert --yes")
        assert run("ip route show proto keepalived; ip rule show") == wanted
    note(str(seen))
    assert (seen.lost, seen.states) == (0, ()), seen


@check(without=COMMAND_OUT, back=COMMAND_BACK)
def put_back_when_keepalived_does_not_follow() -> None:
    before = CONF.read_bytes()
    instead_of_reload("/bin/true")
    with lan.pinging() as seen:
        status, said = command("adopt --yes")
    note(f"{seen}; said: {said.splitlines()[-1]}")
    assert status == 1, said
    assert f"{VIP4} is not on {DUMMY}" in said
    assert CONF.read_bytes() == before
    assert on(UPLINK)
    assert (seen.lost, seen.states) == (0, ()), seen


@check(without=COMMAND_OUT, back=COMMAND_BACK)
def killed_and_finished() -> None:
    """kill -9 at each rename in turn: keepalived can start, no VIP is lost, the next run finishes."""
    before = CONF.read_bytes()
    with lan.pinging() as seen:
        for number in range(1, 20):
            strace = f"strace -qq -f -o /dev/null -e trace=rename -e inject=rename:signal=KILL:when={number}"
            killed = host.status(f"{strace} keepalived-dummy adopt --yes") != 0
            assert on(UPLINK) or on(DUMMY)
            run("keepalived -t")
            done("adopt --yes")
            assert on(DUMMY)
            done("revert --yes")
            assert CONF.read_bytes() == before
            if not killed:
                break
    note(f"{number - 1} kills; {seen}")
    assert number > 3
    assert (seen.lost, seen.states) == (0, ()), seen


@check(without=COMMAND_OUT, back=COMMAND_BACK)
def stopped_keepalived_and_no_reload() -> None:
    run("systemctl stop keepalived")
    assert "does not run" in done("adopt --yes")
    run("systemctl start keepalived")
    host.wait_for("both are on the dummy", lambda: on(DUMMY))
    done("revert --yes --no-reload")
    assert on(DUMMY)
    run("systemctl reload keepalived")
    host.wait_for("both are on the uplink", lambda: on(UPLINK))


@check(without=COMMAND_OUT, back=COMMAND_BACK)
def backup_node() -> None:
    """A BACKUP is adopted, stays one, and then takes over from a node in the old form."""
    with lan.peer(200) as log:
        host.wait_for("the peer is master", lambda: "Entering MASTER" in log.read_text(), 30)
        host.wait_for("this is none", lambda: not host.holds(VIP4, UPLINK))
        done("adopt --yes")
        assert not host.holds(VIP4, DUMMY)
        assert f"dev {DUMMY}" in CONF.read_text()
    host.wait_for("both are on the dummy", lambda: on(DUMMY), 30)
    host.wait_for("the client reaches both", lambda: host.reachable(VIP4) and host.reachable(VIP6))


@check(
    without=f"sed -i 's/ pins.pin(document/ () if 1 else pins.pin(document/' {LIBRARY}/rewrite.py",
    back=f"sed -i 's/ () if 1 else pins.pin(/ pins.pin(/' {LIBRARY}/rewrite.py",
)
def native_ipv6_needs_its_link_local_address_pinned() -> None:
    """keepalived goes to FAULT when the link-local address goes, unless mcast_src_ip names it."""
    text = (
        lan.instance()
        .replace(f"{VIP4}/24", f"{VIP6}/64")
        .replace(f"\t{VIP6}/64\n\t}}\n}}", "\t}\n}")
    )
    host.write(CONF, text)
    run("systemctl restart keepalived")
    host.wait_for(
        "the VIP is there", lambda: f" {VIP6}/" in run(f"ip -6 -o address show dev {UPLINK}")
    )
    done("adopt --yes")
    shown = run(f"ip -6 -o address show dev {UPLINK} scope link")
    local = shown.split()[3].removesuffix("/64")
    cursor = host.cursor()
    run(f"ip address del {local}/64 dev {UPLINK}")
    host.time.sleep(3)
    run(f"ip address add {local}/64 dev {UPLINK}")
    entered = host.journal(f"-u keepalived --after-cursor='{cursor}'")
    assert "Entering" not in entered, entered
    assert f"mcast_src_ip {local}" in CONF.read_text()


@check(without=COMMAND_OUT, back=COMMAND_BACK)
def link_owner_and_mode_are_kept() -> None:
    real = CONF.with_name("real.conf")
    CONF.rename(real)
    CONF.symlink_to("real.conf")
    run(
        f"chmod 640 {real}; chown root:daemon {real}; setfattr -n user.note -v kept {real}",
        check=False,
    )
    wanted = run(f"stat -c '%a %U:%G' {real}; getfattr -d {real}", check=False)
    done("adopt --yes")
    assert CONF.is_symlink()
    assert run(f"stat -c '%a %U:%G' {real}; getfattr -d {real}", check=False) == wanted
    assert f"dev {DUMMY}" in real.read_text()


@check(without=COMMAND_OUT, back=COMMAND_BACK)
def refused_where_it_cannot_be_written() -> None:
    """Immutable, read-only, full: said, and nothing changed."""
    before = CONF.read_bytes()
    STATE.mkdir(exist_ok=True)
    for make, back in (
        (f"chattr +i {CONF}", f"chattr -i {CONF}"),
        ("mount --bind -o ro /etc/keepalived /etc/keepalived", "umount /etc/keepalived"),
        (f"mount -t tmpfs -o size=4k,nr_inodes=2 none {STATE}", f"umount {STATE}"),
    ):
        run(make)
        try:
            status, said = command("adopt --yes")
        finally:
            run(back)
        note(said.splitlines()[-1])
        assert status == 1, said
        assert CONF.read_bytes() == before
        assert on(UPLINK)


@check(
    without=f"rm -rf /tmp/gone; mount --bind /bin/false {shutil.which('keepalived')}",
    back="umount /usr/sbin/keepalived",
)
def keepalived_accepts_what_it_accepted() -> None:
    """keepalived -t on each case of tests/adopt, as it was and adopted: nothing new is held against it."""
    sys.path.insert(0, str(Path(LIBRARY).parent))
    from keepalived_dummy import service

    accepted = 0
    for case in sorted(CASES.iterdir()):
        verdicts = []
        for tree in ("in", "out"):
            names = [line.split()[0] for line in (case / "in/host").read_text().splitlines()]
            names += [n for n in (f"keepalived{i}" for i in range(4)) if n not in names]
            names += [n for n in ("out0", "vips0") if n not in names]
            script = "".join(
                f"ip link add {n} type dummy; ip address add 192.0.2.{200 + i}/32 dev {n}; ip link set {n} up;"
                for i, n in enumerate(names)
                if n != "lo"
            )
            script += (
                f"mount --bind {case}/{tree}/etc/keepalived /etc/keepalived; exec keepalived -t"
            )
            ran = subprocess.run(
                ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", script],
                capture_output=True,
                text=True,
                check=False,
            )
            lines = tuple((ran.stdout + ran.stderr).splitlines())
            verdicts.append(service.Verdict(ran.returncode, lines))
        wrong = service.worse(*verdicts)
        assert not wrong, f"{case.name}: {wrong}"
        accepted += verdicts[1].status == 0
    note(f"{accepted} of {len(list(CASES.iterdir()))} are accepted without a word")
    assert accepted > 30


if __name__ == "__main__":
    sys.exit(checks.main(begin))
