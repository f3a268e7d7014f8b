# SPDX-License-Identifier: MIT
"""What files of others, the kernel's modules and tc's filters are read as."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from healthy import SEEN, link

from keepalived_dummy import (
    bpf,
    config,
    evidence,
    fronts,
    keepalived,
    lastgood,
    links,
    modules,
    netlink,
    observe,
    others,
    sysctls,
)
from keepalived_dummy.config import Config, Dummy
from keepalived_dummy.facts import Front, Named
from keepalived_dummy.keepalived import CONFIG, Memory, read_from
from keepalived_dummy.netlink import attribute
from keepalived_dummy.observed import Network, Unseen
from keepalived_dummy.wire import MARK, PREF


def write(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_netdevs(tmp_path: Path) -> None:
    folder = "systemd/network"
    write(tmp_path, f"usr/lib/{folder}/90-a.netdev", "# x\n[NetDev]\nName=hidden0\n")
    write(
        tmp_path, f"etc/{folder}/90-a.netdev", "[Match]\nName=no\n[NetDev]\n Name = a0 \n#Name=b\n"
    )
    write(tmp_path, f"run/{folder}/10-b.netdev", "[NetDev]\nKind=dummy\n")
    (tmp_path / f"etc/{folder}/20-c.netdev").symlink_to("/dev/null")
    assert others.netdevs(tmp_path) == (Named("a0", f"/etc/{folder}/90-a.netdev", 4),)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("network:\n  dummy-devices:\n    keepalived0:\n      addresses: []\n", 3),
        ("network:\n  ethernets:\n    'keepalived0': {}\n", 3),
        ('network: {dummy-devices: {"keepalived0": {addresses: []}}}\n', 1),
        ("network:\n  bridges:\n    br0:\n      interfaces: [keepalived0]\n", 0),
        ("network:\n  ethernets:\n  #  keepalived0:\n    keepalived00: {}\n", 0),
    ],
)
def test_netplan(text: str, line: int, tmp_path: Path) -> None:
    write(tmp_path, "etc/netplan/1.yaml", text)
    wanted = (Named("keepalived0", "/etc/netplan/1.yaml", line),) if line else ()
    assert others.netplan(tmp_path, ["keepalived0"]) == wanted


def test_network_manager(tmp_path: Path) -> None:
    folder = "etc/NetworkManager/system-connections"
    text = "[connection]\nid=x\ninterface-name=keepalived0\n[ethernet]\ninterface-name=other0\n"
    write(tmp_path, f"{folder}/x.nmconnection", text)
    write(tmp_path, f"{folder}/y.nmconnection", text.replace("keepalived0", "other0"))
    write(tmp_path, f"{folder}/old/x.nmconnection", text)  # which NetworkManager does not read
    wanted = (Named("keepalived0", f"/{folder}/x.nmconnection", 3),)
    assert others.network_manager(tmp_path, ["keepalived0"]) == wanted
    write(tmp_path, "run/NetworkManager/devices/3", "[device]\nmanaged=true\n")
    write(tmp_path, "run/NetworkManager/devices/4", "[device]\nmanaged=false\n")
    indexes = [("keepalived0", 3), ("keepalived1", 4), ("keepalived2", 5)]
    wanted = (Named("keepalived0", "/run/NetworkManager/devices/3", 2),)
    assert others.managed_by_network_manager(tmp_path, indexes) == wanted


@pytest.mark.parametrize(
    ("texts", "kept"),
    [
        (["[Network]\nKeepConfiguration=yes\n"], "yes"),
        (["[Network]\nKeepConfiguration=true\n"], "yes"),
        (["[Network]\nKeepConfiguration=static\n"], "static"),
        (["[Network]\nKeepConfiguration=dhcp\n"], ""),
        (["[Network]\nKeepConfiguration=yes\n", "[Network]\nKeepConfiguration=no\n"], ""),
        (["[Link]\nKeepConfiguration=yes\n"], ""),
        (["[DHCP]\nCriticalConnection=true\n"], "yes"),  # netplan 0.106
        (["[DHCPv4]\nCriticalConnection=no\n"], ""),
        (["[DHCP]\nCriticalConnection=true\n[Network]\nKeepConfiguration=static\n"], "static"),
        (["[DHCP]\nCriticalConnection=true\n", "[Network]\nKeepConfiguration=no\n"], ""),
        ([], ""),
    ],
)
def test_keeps(texts: list[str], kept: str, tmp_path: Path) -> None:
    paths = [write(tmp_path, f"{n}.network", text) for n, text in enumerate(texts)]
    assert others.keeps(paths) == kept


def test_the_files_that_networkd_goes_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As networkd writes them: the drop-ins in quotes, with colons between them."""
    monkeypatch.setattr(observe, "ROOT", tmp_path)
    folder = "run/systemd/netif/links"
    file, one, two = "/run/ens3.network", "/etc/ens3.network.d/1.conf", "/run/ens3.network.d/2.conf"
    head = f"# x\nADMIN_STATE=configured\nNETWORK_FILE={file}\nNETWORK_FILE_DROPINS="
    write(tmp_path, f"{folder}/2", f'{head}"{one}:{two}"\nDNS=\n')
    write(tmp_path, f"{folder}/3", f'{head}""\nDNS=\n')
    network = Network(file, "configured")
    assert observe.networkd(2) == (network, [Path(file), Path(one), Path(two)])
    assert observe.networkd(3) == (network, [Path(file)])
    assert observe.networkd(4) is None


@pytest.mark.parametrize(
    ("error", "runs"), [(PermissionError, True), (ProcessLookupError, False), (None, False)]
)
def test_a_daemon_that_proc_does_not_show(
    error: type[OSError] | None, runs: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As to anybody but root with hidepid=2."""

    def kill(pid: int, number: int) -> None:
        assert number == 0
        if error:
            raise error

    monkeypatch.setattr(os, "kill", kill)
    assert observe._is_daemon(1 << 30) == runs


def test_a_closed_folder_is_named_and_the_rest_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_: object) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", closed)
    sources: Any = None
    looking = evidence._Looking(sources, SEEN)
    assert (looking.netdevs(), looking.netplan(), looking.network_manager()) == ((), (), ())
    whats = [one.what.partition(" ")[0] for one in looking.unseen]
    assert whats == ["networkd's", "netplan's", "NetworkManager's"]


def test_the_elements_of_named_sets_are_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A set of some 100,000 networks is not unusual, and takes nft seconds and hundreds of megabytes."""
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(evidence, "_said", lambda *command: asked.append(command))
    sources: Any = None
    evidence._Looking(sources, SEEN).chains()
    assert [one for one in asked if one[0] == "nft"] == [
        ("nft", "--json", "--terse", "list", "ruleset")
    ]


def test_both_iptables_of_the_kernel_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """iptables-save of one says nothing of the other's rules but on standard error."""

    def said(command: str, *_: str) -> str | None:
        texts = {"nft": '{"nftables": []}', "ip6tables-legacy-save": "*filter\n:INPUT DROP [0:0]\n"}
        return texts.get(command)

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(evidence, "_said", said)
    sources: Any = None
    chains = evidence._Looking(sources, SEEN).chains()
    assert [(one.tool, one.family, one.policy) for one in chains] == [
        ("ip6tables-legacy", "ip6", "drop")
    ]


def wired_host(monkeypatch: pytest.MonkeyPatch, asked: Exception | None = None) -> Any:
    """Sources of a host with ens3 and keepalived0, and tcx programs at both hooks of both; or nobody may ask."""
    both = {"ens3": link("ens3", 2), "keepalived0": link("keepalived0", 3, "dummy")}

    def programs(ifindex: int, hook: int) -> tuple[bpf.Program, ...]:
        if asked:
            raise asked
        return (bpf.Program(7, f"at-{ifindex}-{hook}"),)

    monkeypatch.setattr(bpf, "programs", programs)
    monkeypatch.setattr(sysctls, "silent", lambda uplinks: frozenset())
    return SimpleNamespace(host=links.Host(both, ()), new=frozenset())


def test_the_programs_of_uplink_and_dummy_are_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the hooks that the wire uses. ARP reaches an uplink's ingress without the wire; a dummy announces by it."""
    sources = wired_host(monkeypatch)
    looking = evidence._Looking(sources, SEEN)
    assert [(one.device, one.hook, one.what, one.programs) for one in looking.fronts()] == [
        ("ens3", "ingress", ND, ("at-2-46",)),
        ("keepalived0", "egress", ND, ("at-3-47",)),
        ("keepalived0", "egress", "ARP", ("at-3-47",)),
    ]
    assert looking.unseen == []
    monkeypatch.setattr(evidence, "_keeps_first", lambda: True)
    devices = [one.device for one in evidence._Looking(sources, SEEN, is_foresight=True).fronts()]
    assert devices == ["keepalived0"] * 2, "the move itself puts the wire's program before others"
    monkeypatch.setattr(evidence, "_keeps_first", lambda: False)
    devices = [one.device for one in evidence._Looking(sources, SEEN, is_foresight=True).fronts()]
    assert devices[0] == "ens3", "and after a boot nobody would"
    sources.new = frozenset(("keepalived0",))  # one that is to be made: its index is nobody's yet
    assert [one.device for one in evidence._Looking(sources, SEEN).fronts()] == ["ens3"]


def test_programs_that_may_not_be_looked_for_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    looking = evidence._Looking(wired_host(monkeypatch, PermissionError(1, "no")), SEEN)
    assert list(looking.fronts()) == []
    assert looking.unseen == [Unseen("tcx programs", "only root may see it")]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("include vips.conf\n", ["vips.conf: there is no such file"]),
        ("vrrp_instance A {\n", ["this brace is never closed"]),
        ("include conf.d/*.conf\n", []),
        ("", []),
        (None, []),
    ],
)
def test_what_of_keepalived_conf_is_not_read(text: str | None, why: list[str]) -> None:
    path = str(CONFIG)
    document = read_from(Memory({} if text is None else {path: text.encode()}), path)
    assert list(observe.unread(document)) == [Unseen(f"{path}:1", one) for one in why]


def test_a_bad_keepalived_conf_is_seen_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The place is told, and the dummy has the uplinks that the daemon's last pass left it."""
    bad = read_from(Memory({str(CONFIG): b"global_defs {\n"}), str(CONFIG))
    dummy = Dummy("keepalived", "/etc/keepalived-dummy.d/keepalived.conf", "keepalived0")
    monkeypatch.setattr(keepalived, "read", lambda _: bad)
    monkeypatch.setattr(config, "load", lambda _: Config(dummies=(dummy,)))
    monkeypatch.setattr(lastgood, "known", lambda _, wanted: wanted)
    monkeypatch.setattr(lastgood, "uplinks", lambda _: {"keepalived0": ("ens3",)})
    seen = observe.sources(ask=False)
    assert Unseen(f"{CONFIG}:1", "this brace is never closed") in seen.unseen
    assert seen.found.names == {"keepalived0": ("ens3",)}


def test_modules(tmp_path: Path) -> None:
    folder = "lib/modules/6.1"
    write(tmp_path, f"{folder}/modules.builtin", "kernel/net/sched/cls_u32.ko\n")
    text = "kernel/net/sched/act-pedit.ko.xz: kernel/x.ko\nkernel/net/sched/act_csum.ko:\n"
    write(tmp_path, f"{folder}/modules.dep", text)
    write(tmp_path, f"{folder}/kernel/net/sched/act-pedit.ko.xz", "")
    (tmp_path / "sys/module/dummy").mkdir(parents=True)
    wanted = ["cls_u32", "act_pedit", "act_csum", "dummy", "act_mirred", "act_csum"]
    assert modules.lacking(wanted, tmp_path, "6.1") == ("act_csum", "act_mirred")
    assert modules.unloaded(wanted, tmp_path, "6.1") == ("act_pedit",)
    assert modules.lacking(["dummy", "x"], tmp_path, "7.0") == ("x",)
    assert modules.unloaded(["dummy", "x"], tmp_path, "7.0") == ()


def test_nothing_is_lacking_where_no_kernel_has_files(tmp_path: Path) -> None:
    """A container: a kernel that has all of it built in can't be told from one that has none of it."""
    assert modules.lacking(["cls_u32"], tmp_path, "6.1") == ()
    (tmp_path / "lib/modules").mkdir(parents=True)
    assert modules.lacking(["cls_u32"], tmp_path, "6.1") == ()


# tc's filters, as the kernel dumps them

ALL, ARP, IPV6, IP = 0x0003, 0x0806, 0x86DD, 0x0800
OK, SHOT, CONTINUE, PIPE, CHAIN = 0, 2, -1, 3, 2 << 28


def action(verdict: int, kind: str = "gact", cookie: bytes = b"") -> bytes:
    generic = struct.pack("=IIiii", 1, 0, verdict, 1, 1)
    parameters = attribute(1 if kind == "csum" else 2, generic)
    body = attribute(1, kind.encode() + b"\0") + attribute(2, parameters)
    return body + (attribute(6, cookie) if cookie else b"")


def filter_(
    kind: str, protocol: int, options: bytes, pref: int = 10, handle: int = 0x80000800
) -> bytes:
    info = pref << 16 | int.from_bytes(struct.pack("!H", protocol), "little")
    head = struct.pack("=BxxxiIII", 0, 2, handle, netlink.CLSACT_INGRESS, info)
    return head + attribute(1, kind.encode() + b"\0") + attribute(2, options)


def actions(kind: str, *verdicts: int) -> bytes:
    several = b"".join(attribute(n, action(v)) for n, v in enumerate(verdicts, 1))
    return attribute({"u32": 7, "flower": 3, "matchall": 2}[kind], several)


def u32(*keys: tuple[int, int, int], flags: int = 1, verdict: int = SHOT) -> bytes:
    head = struct.pack("=BBBxHHhhI", flags, 0, len(keys), 0, 0, 0, 0, 0)
    body = b"".join(
        struct.pack("!II", mask, value) + struct.pack("=ii", at, 0) for mask, value, at in keys
    )
    return attribute(5, head + body) + actions("u32", verdict)


def flower(*extra: bytes, verdict: int = OK, ethertype: int = IPV6) -> bytes:
    return attribute(8, struct.pack("!H", ethertype)) + b"".join(extra) + actions("flower", verdict)


ND = "IPv6 neighbour discovery"
BOTH = f"{ND}+ARP"
TYPE_136 = (0xFF000000, 136 << 24, 40)
TYPE_135, NEXT_58 = (0xFF000000, 135 << 24, 40), (0x0000FF00, 58 << 8, 4)
FILTERS = [
    (filter_("matchall", ALL, actions("matchall", OK)), BOTH),
    (filter_("matchall", IPV6, actions("matchall", SHOT)), ND),
    (filter_("matchall", ARP, actions("matchall", SHOT)), "ARP"),
    (filter_("matchall", IP, actions("matchall", SHOT)), ""),
    (filter_("matchall", ALL, actions("matchall", CONTINUE)), ""),
    (filter_("matchall", ALL, actions("matchall", PIPE, CONTINUE)), ""),
    (filter_("matchall", ALL, actions("matchall", PIPE, PIPE)), BOTH),
    (filter_("matchall", ALL, actions("matchall", CHAIN)), ""),
    (filter_("matchall", ALL, b""), BOTH),
    (filter_("matchall", ALL, actions("matchall", OK), pref=PREF), ""),
    (filter_("matchall", ALL, actions("matchall", OK), handle=0), ""),
    (filter_("matchall", ALL, attribute(2, attribute(1, action(OK, cookie=MARK)))), ""),
    (filter_("matchall", ALL, attribute(2, attribute(1, action(OK, "csum")))), BOTH),
    (filter_("matchall", ALL, attribute(2, attribute(1, action(OK, "police")))), ""),
    (filter_("flower", IPV6, flower()), ND),
    (filter_("flower", IPV6, flower(attribute(9, b"\x3a"))), ND),
    (filter_("flower", IPV6, flower(attribute(9, b"\x06"))), ""),
    (filter_("flower", IPV6, flower(attribute(14, bytes(16)))), ""),
    (filter_("flower", ALL, flower(ethertype=IP)), ""),
    (filter_("flower", ARP, flower(ethertype=ARP)), "ARP"),
    (filter_("u32", IPV6, u32((0, 0, 0))), ND),
    (filter_("u32", IPV6, u32(NEXT_58, TYPE_135)), ND),
    (filter_("u32", IPV6, u32(NEXT_58, TYPE_135, verdict=CONTINUE)), ""),
    (filter_("u32", IPV6, u32(NEXT_58, (0xFF000000, 128 << 24, 40))), ""),
    (filter_("u32", IPV6, u32((0xFFFFFFFF, 0x20010DB8, 24))), ""),
    (filter_("u32", IPV6, u32((0xFF, 1, 120))), ""),
    (filter_("u32", IPV6, u32(TYPE_135, flags=0)), ""),
    (filter_("u32", IPV6, u32(TYPE_135), handle=0x80000000), ""),
    (filter_("u32", ARP, u32((0xFFFF, 1, 4))), "ARP"),
    (filter_("u32", ARP, u32((0xFFFF, 2, 4))), ""),
    (filter_("basic", ALL, b""), ""),
]


@pytest.mark.parametrize(("body", "what"), FILTERS)
def test_a_filter_in_front(body: bytes, what: str) -> None:
    found = list(fronts.find_fronts("ens3", [body], arp=True))
    assert [(one.what, one.sure) for one in found] == [(w, True) for w in what.split("+") if w]


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (filter_("matchall", ALL, actions("matchall", SHOT)), BOTH),
        (filter_("u32", IPV6, u32(NEXT_58, TYPE_136)), ND),
        (filter_("u32", IPV6, u32(NEXT_58, TYPE_135)), ""),  # a dummy announces by advertisements
        (filter_("u32", ARP, u32((0xFFFF0000, 0x00010000, 0))), "ARP"),
        (filter_("u32", ARP, u32((0xFFFF, 1, 4))), ""),  # a request: an answer passes
    ],
)
def test_a_filter_in_front_at_the_egress_of_a_dummy(body: bytes, what: str) -> None:
    found = list(fronts.find_fronts("keepalived0", [body], True, "egress"))
    assert [(one.what, one.hook) for one in found] == [(w, "egress") for w in what.split("+") if w]


def test_tcx_programs_in_front() -> None:
    """What they do can't be read; one without a name has a number."""
    two = (bpf.Program(7, "cil_from_netdev"), bpf.Program(9))
    names = ("cil_from_netdev", "number 9")
    nd = Front("ens3", 0, "tcx", ND, False, "ingress", names)
    assert list(fronts.of_programs("ens3", two, arp=False)) == [nd]
    arp = Front("keepalived0", 0, "tcx", "ARP", False, "egress", names)
    assert list(fronts.of_programs("keepalived0", two, True, "egress"))[1] == arp
    assert list(fronts.of_programs("ens3", (), arp=True)) == []


def test_tcx_programs_behind_that_of_the_wire() -> None:
    """It stays there until the next boot; then only a timer puts it there again."""
    ours, theirs = bpf.Program(8, "kdmy_0123456789"), bpf.Program(7, "cil_from_netdev")
    assert list(fronts.of_programs("ens3", (ours, theirs), arp=False)) == []
    assert list(fronts.of_programs("ens3", (ours,), arp=False, lasts=False)) == []
    (front,) = fronts.of_programs("ens3", (ours, theirs), arp=False, lasts=False)
    assert front == Front("ens3", 0, "tcx", ND, False, "ingress", ("cil_from_netdev",), True)
    (front,) = fronts.of_programs("ens3", (theirs, ours), arp=False)
    assert (front.programs, front.until_boot) == (("cil_from_netdev",), False)


def test_arp_counts_where_it_goes_over_the_wire() -> None:
    body = filter_("matchall", ARP, actions("matchall", SHOT))
    assert list(fronts.find_fronts("ens3", [body], arp=False)) == []


def test_a_program_may_take_it() -> None:
    wanted = Front("ens3", 10, "bpf", ND, False)
    assert list(fronts.find_fronts("ens3", [filter_("bpf", ALL, b"")], arp=False)) == [wanted]
