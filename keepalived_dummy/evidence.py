# SPDX-License-Identifier: MIT
"""Gathers what `check` judges. Changes nothing; what could not be read is named as unseen."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from keepalived_dummy import (
    assembly,
    bpf,
    deaf,
    firewall,
    foreign,
    fronts,
    iptables,
    kernel,
    links,
    live,
    modules,
    netlink,
    nft,
    observe,
    others,
    pinned,
    pins,
    rules,
    sysctls,
)
from keepalived_dummy.assembly import Sources
from keepalived_dummy.facts import TIMER, Answer, Facts, Front, Gateway, Named
from keepalived_dummy.observe import Intent
from keepalived_dummy.observed import Network, Observation, Unseen

ROOT = Path("/")
FIREWALL, RULESET = "the firewall", "nftables' ruleset"  # as `unseen` names them
_KEYS = ("arp_ignore", "arp_filter", "rp_filter")
_IFA_F_PERMANENT = 0x80  # linux/if_addr.h
_USUAL_RULES = frozenset((0, 32766, 32767))  # ip-rule(8): those of every host
# Either of the kernel's two may have rules, whichever of them plain iptables is.
_IPTABLES = tuple(
    (family, f"{name}{kind}")
    for kind in ("", "-legacy")
    for family, name in (("ip", "iptables"), ("ip6", "ip6tables"))
)
_PARENTS = {"ingress": netlink.CLSACT_INGRESS, "egress": netlink.CLSACT_EGRESS}
_WANTED = "etc/systemd/system/timers.target.wants"
_TIMEOUT = 60.0
_ROOT_ONLY = "only root may see it"


def gather(file: Path, probe: bool = False, intent: Intent | None = None) -> Facts:
    """All there is to judge; `file` is keepalived's configuration. With `probe` the LAN is asked for the VIPs."""
    sources = observe.sources(file, intent=intent)
    seen = assembly.assemble(sources)
    looking = _Looking(sources, seen, intent is not None)
    networks = dict(looking.networks())
    version, after = looking.keepalived()
    rules_ = dict(_rules())
    return Facts(
        seen=seen,
        document=sources.document,
        problems=sources.config.problems,
        unwired=sources.found.problems,
        waiting=sources.found.waiting,
        links=sources.host.links,
        networks={name: network for name, (network, _) in networks.items()},
        addresses=frozenset(ipaddress.ip_address(a.address) for a in sources.host.addresses),
        kept=dict(_kept(networks)),
        leased=frozenset(_leased(sources.host)),
        sources=pins.sources(sources.document, live.facts(sources.host)),
        systemd=foreign.release(ROOT),
        settings=dict(looking.settings()),
        netdevs=looking.netdevs(),
        netplan=looking.netplan(),
        network_manager=looking.network_manager(),
        lacking=looking.lacking(),
        keeps_first=_keeps_first(),
        fronts=tuple(looking.fronts()),
        chains=looking.chains(),
        gateways=_gateways(rules_.get(4)),
        rules=rules_,
        keepalived=version,
        after=after,
        answers=looking.answers() if probe else (),
        deaf=dict(looking.deaf()),
        unseen=(*seen.unseen, *looking.unseen),
    )


@dataclass
class _Looking:
    """Looks for one thing each, and notes what it could not see."""

    sources: Sources
    seen: Observation
    is_foresight: bool = False
    unseen: list[Unseen] = field(default_factory=list)

    def deaf(self) -> Iterator[tuple[str, str]]:
        """The instances that can't hear their peers, and why."""
        known = self.sources
        found = pinned.sources(known.config, known.document, known.host.links)
        for one, why in deaf.find(found, known.host):
            yield one.instance, why

    def names(self) -> list[str]:
        """The dummies and uplinks."""
        uplinks = sorted(self.sources.found.every)
        return [*(dummy.name for dummy in self.seen.dummies), *uplinks]

    def networks(self) -> Iterator[tuple[str, tuple[Network, list[Path]]]]:
        """networkd's word on each interface, and the files it goes by."""
        for name, link in self.sources.host.links.items():
            if (said := observe.networkd(link.ifindex)) is not None:
                yield name, said

    def settings(self) -> Iterator[tuple[tuple[str, str, str], int]]:
        """The sysctls that decide over ARP and IPv6."""
        for name in ("all", *self.names()):
            keys = [("ipv4", key) for key in _KEYS] + [("ipv6", "disable_ipv6")]
            for family, key in keys:
                value = sysctls.number(family, name, key)
                if value is None and name in self.sources.new:
                    value = _as_made(family, key)
                if value is not None:
                    yield (family, name, key), value

    def netdevs(self) -> tuple[Named, ...]:
        """networkd's .netdev files; a folder of them may be closed, for the keys in it."""
        try:
            return others.netdevs(ROOT)
        except PermissionError:
            self.unseen.append(Unseen("networkd's .netdev files", _ROOT_ONLY))
            return ()

    def netplan(self) -> tuple[Named, ...]:
        """netplan's files are root's from 0.106 on; what it wrote of them is not."""
        names = [dummy.name for dummy in self.seen.dummies]
        try:
            found = others.netplan(ROOT, names)
            closed = os.geteuid() != 0 and any((ROOT / "etc/netplan").glob("*.yaml"))
        except PermissionError:  # of the folder
            found, closed = (), True
        if closed:
            self.unseen.append(Unseen("netplan's YAML", _ROOT_ONLY))
        return found

    def network_manager(self) -> tuple[Named, ...]:
        """Its connections, and its word on the interface."""
        names = [dummy.name for dummy in self.seen.dummies]
        indexes = [(dummy.name, dummy.index) for dummy in self.seen.dummies if dummy.index]
        managed = others.managed_by_network_manager(ROOT, indexes)
        try:
            return (*others.network_manager(ROOT, names), *managed)
        except PermissionError:
            self.unseen.append(Unseen("NetworkManager's connections", _ROOT_ONLY))
            return managed

    def lacking(self) -> tuple[str, ...]:
        """Looked for only where something is not there."""
        needed = [] if all(dummy.index for dummy in self.seen.dummies) else ["dummy"]
        if any(dummy.wire.lacking for dummy in self.seen.dummies):
            needed.append("sch_ingress")
            needed += (name for one in self.sources.wire.filters for name in one.modules)
        return modules.lacking(needed) if needed else ()

    def fronts(self) -> Iterator[Front]:
        """The filters and programs before the wire's, on each uplink and dummy that is wired."""
        wired = {name for d in self.seen.dummies if d.wire.wanted for name in d.uplinks}
        silent = sysctls.silent(wired)
        places = [(name, "ingress", name in silent) for name in sorted(wired)]
        places += [
            (d.name, "egress", True)
            for d in self.seen.dummies
            if d.wire.wanted and d.uplinks and d.name not in self.sources.new
        ]
        untold = ""
        with kernel.open_dump_socket() as sock:
            for name, hook, arp in places:
                if name not in self.sources.host.links:
                    continue
                index = self.sources.host.links[name].ifindex
                try:
                    there = bpf.programs(index, bpf.HOOKS[hook])
                    if hook == "egress":
                        yield from fronts.of_programs(name, there, arp, hook)
                    elif (
                        not self.is_foresight or not _keeps_first()
                    ):  # else the move itself sees to it
                        yield from fronts.of_programs(name, there, arp, hook, _keeps_first())
                except OSError as error:
                    untold = _ROOT_ONLY if error.errno == errno.EPERM else str(error.strerror)
                try:
                    answer = kernel.dump(sock, netlink.dump_filters(index, _PARENTS[hook]))
                except kernel.Refused:
                    continue  # no qdisc, and so no filter
                except OSError as error:
                    self.unseen.append(
                        Unseen(f"the filters of {name}", error.strerror or str(error))
                    )
                    continue
                bodies = [message.body for message in answer]
                yield from fronts.find_fronts(name, bodies, arp, hook)
        if untold:
            self.unseen.append(Unseen("tcx programs", untold))

    def chains(self) -> tuple[firewall.Chain, ...]:
        """Every ruleset of the host, of nft and of iptables."""
        if os.geteuid() != 0:
            self.unseen.append(Unseen(FIREWALL, _ROOT_ONLY))
            return ()
        found: list[firewall.Chain] = []
        # --terse leaves the elements of named sets out, which are many and not judged; nft has it from 0.9.3 on.
        ruleset = _said("nft", "--json", "--terse", "list", "ruleset")
        try:
            found += nft.parse(ruleset) if ruleset is not None else ()
        except ValueError as error:
            self.unseen.append(Unseen(RULESET, str(error)))
        if ruleset is None and (ROOT / "sys/module/nf_tables").exists():
            self.unseen.append(Unseen(RULESET, "nft is not there, or fails"))
        for family, tool in _IPTABLES:
            found += iptables.parse(_said(f"{tool}-save") or "", family, tool)
        return tuple(found)

    def keepalived(self) -> tuple[tuple[int, ...] | None, frozenset[str] | None]:
        """Its version, and what its unit is ordered after; None for a keepalived that is in no unit."""
        told = re.search(r"Keepalived v(\d+)\.(\d+)\.(\d+)", _said("keepalived", "--version") or "")
        version = tuple(map(int, told.groups())) if told else None
        unit = self.seen.keepalived.unit
        show = ("show", "--property=LoadState", "--property=After", "--", unit)
        lines = ((_said("systemctl", *show) if unit else None) or "").splitlines()
        values = dict(line.split("=", 1) for line in lines if "=" in line)
        loaded = values.get("LoadState") == "loaded"
        return version, frozenset(values.get("After", "").split()) if loaded else None

    def answers(self) -> tuple[Answer, ...]:
        """Who answers for the VIPs on the LAN of each uplink."""
        from keepalived_dummy import probe

        found: list[Answer] = []
        for name, vips in _probed(self.seen).items():
            link = self.sources.host.links[name]
            local = [
                one.address for one in self.sources.host.addresses if one.ifindex == link.ifindex
            ]
            try:
                found += probe.ask(link, local, vips)
            except OSError as error:
                self.unseen.append(Unseen(f"who answers on {name}", error.strerror or str(error)))
            except UnicodeEncodeError:  # socket.bind() takes no other name
                self.unseen.append(Unseen(f"who answers on {name}", "its name is not UTF-8"))
        return tuple(found)


def _kept(networks: Mapping[str, tuple[Network, list[Path]]]) -> Iterator[tuple[str, str]]:
    """Where networkd keeps the addresses of others, and by which value."""
    for name, (_, paths) in networks.items():
        if value := others.keeps(paths):
            yield name, value


def _leased(host: links.Host) -> Iterator[tuple[str, int]]:
    """Where there are addresses that end by themselves."""
    for one in host.addresses:
        if one.ifindex in host.names and not one.flags & _IFA_F_PERMANENT:
            yield host.names[one.ifindex], 4 if one.family == netlink.AF_INET else 6


def _keeps_first() -> bool:
    """Whether a timer keeps the wire's program before those of others, after a boot too."""
    return (ROOT / _WANTED / TIMER).is_symlink()


def _as_made(family: str, key: str) -> int | None:
    """What a setting of a new dummy will be."""
    ours = links.SYSCTLS[family].get(key)
    return sysctls.number(family, "default", key) if ours is None else int(ours)


def _probed(seen: Observation) -> dict[str, list[str]]:
    """Uplink to the VIPs to be asked for on it."""
    found: dict[str, list[str]] = {}
    for uplink in seen.uplinks:
        dummies = {dummy.name for dummy in seen.dummies if uplink.name in dummy.uplinks}
        vips = [v.address for v in seen.vips if v.device in {*dummies, uplink.name} and v.certain]
        if uplink.index and uplink.up and vips:
            found[uplink.name] = list(dict.fromkeys(vips))
    return found


def _rules() -> Iterator[tuple[int, tuple[rules.Rule, ...]]]:
    """The policy routing rules by family (4, 6), where ip tells them."""
    for family in (4, 6):
        with contextlib.suppress(ValueError):
            yield family, rules.parse(_said("ip", "-json", f"-{family}", "rule") or "")


def _gateways(found: tuple[rules.Rule, ...] | None) -> tuple[Gateway, ...] | None:
    """The IPv4 default routes; None where rules other than the usual ones decide, or ip does not say."""
    if found is None or {rule.priority for rule in found} - _USUAL_RULES:
        return None
    try:
        routes = json.loads(_said("ip", "-json", "-4", "route", "show", "default") or "[]")
        return tuple(_hops(routes))
    except (ValueError, KeyError, TypeError):
        return None


def _hops(routes: Iterable[dict[str, object]]) -> Iterator[Gateway]:
    for route in routes:
        metric = int(str(route.get("metric", 0)))
        nexthops = route.get("nexthops")
        for hop in nexthops if isinstance(nexthops, list) else [route]:
            if "dev" in hop:
                yield Gateway(str(hop["dev"]), metric)


def _said(*command: str) -> str | None:
    """What a command said on both its outputs; None where it is not there or fails."""
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = done.stdout or done.stderr
    return said if done.returncode == 0 else None
