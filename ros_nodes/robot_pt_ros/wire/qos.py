"""QoS profiles and what rmw_cyclonedds makes of them in DDS.

One difference: its reliable writers wait without end for a slow reader; ours for `max_blocking_ns`, since writing holds the GIL.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from robot_pt.errors import MissingExtraError, UserError

try:
    from cyclonedds.core import Policy
    from cyclonedds.core import Qos as DdsQos
except ImportError as error:
    raise MissingExtraError("cyclonedds", "ros", "A ROS 2 node without ROS 2") from error

INFINITE_NS = 2**63 - 1  # DDS_INFINITY


class QoS(NamedTuple):
    """One endpoint's profile; durations in ns, None = infinite."""

    reliability: Literal["reliable", "best_effort"] = "reliable"
    durability: Literal["volatile", "transient_local"] = "volatile"
    history: Literal["keep_last", "keep_all"] = "keep_last"
    depth: int = 10
    deadline_ns: int | None = None
    lifespan_ns: int | None = None
    liveliness: Literal["automatic", "manual_by_topic"] = "automatic"
    lease_ns: int | None = None
    max_blocking_ns: int = 50_000_000

    def checked(self) -> QoS:
        """Itself; UserError: a value that DDS has no meaning for."""
        allowed = {
            "reliability": ("reliable", "best_effort"),
            "durability": ("volatile", "transient_local"),
            "history": ("keep_last", "keep_all"),
            "liveliness": ("automatic", "manual_by_topic"),
        }
        for name, words in allowed.items():
            if getattr(self, name) not in words:
                raise UserError(f"QoS {name} is {getattr(self, name)!r}; allowed are {' and '.join(words)}.")
        if self.history == "keep_last" and not 1 <= self.depth < 2**31:
            raise UserError(f"QoS depth is {self.depth}; keep_last keeps 1 or more samples.")
        for name in ("deadline_ns", "lifespan_ns", "lease_ns", "max_blocking_ns"):
            value = getattr(self, name)
            if (value is None and name == "max_blocking_ns") or (value is not None and value <= 0):
                raise UserError(
                    f"QoS {name} is {value}; give a positive number of nanoseconds{', or None for infinite' if name != 'max_blocking_ns' else ''}."
                )
        return self


DEFAULT = QoS()
SENSOR_DATA = QoS(reliability="best_effort", depth=5)
SERVICES = QoS()
PARAMETERS = QoS(depth=1000)
PARAMETER_EVENTS = QoS(depth=1000)
ROSOUT = QoS(durability="transient_local", depth=1000, lifespan_ns=10_000_000_000)
DISCOVERY = QoS(durability="transient_local", depth=1)

POLICY_NAMES = {
    2: "durability",
    4: "deadline",
    8: "liveliness",
    11: "reliability",
    23: "data representation",
}  # DDS policy ids


def to_dds(qos: QoS, user_data: bytes = b"", *, writer: bool, ignore_local: bool = False) -> DdsQos:
    """DDS policies of an endpoint; UserError: see `QoS.checked`."""
    qos.checked()
    history = Policy.History.KeepAll if qos.history == "keep_all" else Policy.History.KeepLast(qos.depth)
    policies: list[Any] = [
        history,
        Policy.Reliability.Reliable(qos.max_blocking_ns)
        if qos.reliability == "reliable"
        else Policy.Reliability.BestEffort,
        Policy.Durability.TransientLocal if qos.durability == "transient_local" else Policy.Durability.Volatile,
        Policy.Deadline(_ns(qos.deadline_ns)),
        _liveliness(qos),
        Policy.DataRepresentation(use_cdrv0_representation=True, use_xcdrv2_representation=False),
        Policy.Userdata(user_data),
    ]
    if writer:
        policies += [Policy.WriterDataLifecycle(autodispose=False), Policy.Lifespan(_ns(qos.lifespan_ns))]
        if qos.durability == "transient_local":
            policies.append(Policy.DurabilityService(0, history, -1, -1, -1))
    if ignore_local:
        policies.append(Policy.IgnoreLocal.Participant)
    return DdsQos(*policies)


def _ns(duration: int | None) -> int:
    return INFINITE_NS if duration is None else duration


def _liveliness(qos: QoS) -> Any:
    kind = Policy.Liveliness.ManualByTopic if qos.liveliness == "manual_by_topic" else Policy.Liveliness.Automatic
    return kind(_ns(qos.lease_ns))


def from_dds(dds: DdsQos) -> tuple[QoS, bytes]:
    """(profile, USER_DATA) of a discovered endpoint. Its history and depth are not sent on the wire: DDS' default, 1, where absent."""
    found = {policy.__scope__: policy for policy in dds.policies}
    durability = found.get("Durability", Policy.Durability.Volatile)
    history = found.get("History", Policy.History.KeepLast(1))
    reliability = found.get("Reliability", Policy.Reliability.BestEffort)
    liveliness = found.get("Liveliness", Policy.Liveliness.Automatic(INFINITE_NS))
    lifespan, deadline = found.get("Lifespan"), found.get("Deadline")
    profile = QoS(
        reliability="best_effort" if reliability == Policy.Reliability.BestEffort else "reliable",
        durability="volatile" if durability == Policy.Durability.Volatile else "transient_local",
        history="keep_all" if history == Policy.History.KeepAll else "keep_last",
        depth=getattr(history, "depth", 0),
        deadline_ns=_finite(deadline.deadline if deadline else INFINITE_NS),
        lifespan_ns=_finite(lifespan.lifespan if lifespan else INFINITE_NS),
        liveliness="manual_by_topic" if isinstance(liveliness, Policy.Liveliness.ManualByTopic) else "automatic",
        lease_ns=_finite(liveliness.lease_duration),
    )
    user_data = found.get("Userdata")
    return profile, bytes(user_data.data) if user_data else b""


def _finite(duration: int) -> int | None:
    return None if duration >= INFINITE_NS else duration


def incompatible(offered: QoS, requested: QoS) -> str | None:
    """The first policy by which a writer's offer falls short of a reader's request, None: they connect (DDS 1.4, 2.2.3)."""
    if offered.reliability == "best_effort" and requested.reliability == "reliable":
        return "reliability"
    if offered.durability == "volatile" and requested.durability == "transient_local":
        return "durability"
    if _ns(offered.deadline_ns) > _ns(requested.deadline_ns):
        return "deadline"
    if (offered.liveliness, requested.liveliness) == ("automatic", "manual_by_topic") or _ns(offered.lease_ns) > _ns(
        requested.lease_ns
    ):
        return "liveliness"
    return None
