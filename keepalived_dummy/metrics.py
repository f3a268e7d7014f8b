# SPDX-License-Identifier: MIT
"""What was seen of a host, as metrics for Prometheus.

Names and labels follow https://prometheus.io/docs/practices/naming/ ; counts of the daemon begin anew when it
starts, those of the wire when its filters are put in place, as counters may.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from keepalived_dummy.errors import UserError
from keepalived_dummy.observed import STATES, Dummy, Observation


class Metric(NamedTuple):
    """A metric without its prefix; a counter's name is to end in _total."""

    name: str
    help: str
    labels: tuple[str, ...] = ()

    @property
    def counter(self) -> bool:
        """Whether it only grows."""
        return self.name.endswith("_total")


PREFIX = "keepalived_dummy_"
_VIP = ("address", "device", "vrrp_instance")
_WIRE = ("dummy", "direction")
_WAY = ("uplink", "family")

VIP_HELD = Metric("vip_held", "Whether the VIP is on its interface in the kernel.", _VIP)
VIP_DUE = Metric("vip_due", "Whether keepalived says that it holds the VIP.", _VIP)
VIP_ELSEWHERE = Metric("vip_elsewhere", "Other interfaces of this host that have the VIP.", _VIP)
VIP_MEMBER = Metric(
    "vip_group_joined", "Whether each uplink is in the solicited-node group of the IPv6 VIP.", _VIP
)
INSTANCE_STATE = Metric(
    "instance_state",
    "1 for the state that the vrrp_instance is in, 0 for the others.",
    ("vrrp_instance", "state"),
)
INSTANCE_MASTERS = Metric(
    "instance_became_master_total", "How often the vrrp_instance became MASTER.", ("vrrp_instance",)
)
DUMMY_READY = Metric(
    "dummy_ready",
    "Whether the dummy is there, up, with ARP on, and not managed by networkd.",
    ("dummy",),
)
WIRE_WHOLE = Metric(
    "wire_whole", "Whether every filter between dummy and uplink is there.", ("dummy",)
)
WIRE_FRAMES = Metric(
    "wire_frames_total", "ARP and neighbour discovery that went over the wire.", _WIRE
)
WIRE_BYTES = Metric("wire_bytes_total", "Bytes of what went over the wire.", _WIRE)
UPLINK_UP = Metric("uplink_up", "Whether the uplink is up and has a carrier.", ("uplink",))
UPLINK_ADDRESSES = Metric(
    "uplink_addresses", "Addresses of the uplink itself, link-local ones left out.", _WAY
)
WAY_ACTIVE = Metric(
    "way_out_active", "Whether the uplink lacks an address and its routes were put back.", _WAY
)
WAY_KNOWN = Metric("way_out_routes", "Routes of the uplink that could be put back.", _WAY)
WAY_USES = Metric("way_out_uses_total", "How often the way out was used.", _WAY)
WAY_SECONDS = Metric("way_out_seconds_total", "How long the way out was in use, in all.", _WAY)
HEALS = Metric("heals_total", "How often a dummy was put right, by what was wrong.", ("what",))
MEMBERSHIPS_FAILED = Metric(
    "group_memberships_failed", "Solicited-node groups that could not be joined."
)
PROBLEMS = Metric("problems", "What is wrong with the configuration or could not be done.")
EVENTS = Metric("events_total", "Events that the journal has, by their EVENT= field.", ("event",))
LAST_EVENT = Metric("last_event_timestamp_seconds", "When the last of these events was.")
DAEMON = Metric("daemon_running", "Whether keepalived-dummy.service runs.")
KEEPALIVED = Metric("keepalived_running", "Whether keepalived.service runs.")
TOLD = Metric("keepalived_told", "Whether keepalived told its state.")

Labels = tuple[str, ...]


def text(seen: Observation) -> str:
    """The text format, version 0.0.4. UserError where prometheus_client is not installed."""
    try:
        from prometheus_client import exposition
    except ImportError as error:
        hint = "apt install python3-prometheus-client"
        raise UserError(
            "--prometheus needs prometheus_client, which is not installed", hint
        ) from error
    registry: Any = _Registry(seen)
    made: bytes = exposition.generate_latest(registry)
    return made.decode()


class _Registry:
    """What generate_latest takes for a registry."""

    def __init__(self, seen: Observation) -> None:
        self._seen = seen

    def collect(self) -> Iterator[Any]:
        """The families of prometheus_client."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for metric, samples in collect(self._seen).items():
            kind = CounterMetricFamily if metric.counter else GaugeMetricFamily
            family = kind(PREFIX + metric.name, metric.help, labels=metric.labels)
            for labels, value in samples.items():
                family.add_metric(labels, value)
            yield family


def collect(seen: Observation) -> Mapping[Metric, Mapping[Labels, float]]:
    """Every metric with its samples: labels in their order, and the value. What could not be seen has none."""
    found: dict[Metric, dict[Labels, float]] = {}
    for part in (_vips, _instances, _dummies, _uplinks, _services):
        for metric, labels, value in part(seen):
            found.setdefault(metric, {})[tuple(map(_utf8, labels))] = float(value)
    return found


def _utf8(label: str) -> str:
    """A name of keepalived.conf may hold any bytes, a label may not."""
    return label.encode("utf-8", "backslashreplace").decode()


Seen = Iterable[tuple[Metric, Labels, float]]


def _vips(seen: Observation) -> Seen:
    for vip in seen.vips:
        labels = (vip.address, vip.device, vip.instance)
        yield VIP_HELD, labels, vip.held
        if vip.due is not None:
            yield VIP_DUE, labels, vip.due
        yield VIP_ELSEWHERE, labels, len(vip.elsewhere)
        if vip.member is not None:
            yield VIP_MEMBER, labels, vip.member


def _instances(seen: Observation) -> Seen:
    for one in seen.instances:
        if one.state is None:
            continue
        for state in STATES.values():
            yield INSTANCE_STATE, (one.name, state), state == one.state
        yield INSTANCE_MASTERS, (one.name,), one.masters or 0


def _dummies(seen: Observation) -> Seen:
    for dummy in seen.dummies:
        yield DUMMY_READY, (dummy.name,), _is_ready(dummy)
        wire = dummy.wire
        if wire.state in ("whole", "broken"):
            yield WIRE_WHOLE, (dummy.name,), wire.state == "whole"
            yield WIRE_FRAMES, (dummy.name, "out"), wire.frames_out
            yield WIRE_FRAMES, (dummy.name, "in"), wire.frames_in
            yield WIRE_BYTES, (dummy.name, "out"), wire.octets_out
            yield WIRE_BYTES, (dummy.name, "in"), wire.octets_in


def _is_ready(dummy: Dummy) -> bool:
    managed = dummy.network is not None and dummy.network.managed
    return dummy.kind == "dummy" and dummy.up and dummy.arp and not managed


def _uplinks(seen: Observation) -> Seen:
    for uplink in seen.uplinks:
        yield UPLINK_UP, (uplink.name,), uplink.up and uplink.carrier
        for family in (4, 6):
            labels = (uplink.name, _family(family))
            yield UPLINK_ADDRESSES, labels, len(uplink.usable(family))
        for way in uplink.ways:
            labels = (uplink.name, _family(way.family))
            yield WAY_ACTIVE, labels, way.since is not None
            yield WAY_KNOWN, labels, way.known
            yield WAY_USES, labels, way.times
            now = seen.time - way.since if way.since is not None else 0.0
            yield WAY_SECONDS, labels, way.seconds + max(0.0, now)


def _family(family: int) -> str:
    return f"ipv{family}"


def _services(seen: Observation) -> Seen:
    yield DAEMON, (), seen.daemon.running
    yield KEEPALIVED, (), seen.keepalived.pid != 0
    yield TOLD, (), seen.keepalived.told
    yield PROBLEMS, (), len({*seen.problems, *seen.daemon.problems})
    for what, times in sorted(seen.daemon.heals.items()):
        yield HEALS, (what,), times
    yield MEMBERSHIPS_FAILED, (), seen.daemon.memberships_failed
    for event, times in sorted(seen.daemon.events.items()):
        yield EVENTS, (event,), times
    if seen.daemon.last_event:
        yield LAST_EVENT, (), seen.daemon.last_event
