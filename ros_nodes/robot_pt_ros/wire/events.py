"""Status changes of readers and writers, polled: reading one clears it.

No listener is used: Cyclone would call it from a receive thread, which needs the GIL while a writing thread that holds the GIL may
wait for that thread.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from cyclonedds.core import DDSStatus

from robot_pt_ros.wire.qos import POLICY_NAMES

KEPT = 100  # events that an endpoint holds until they are taken; the oldest go first
_Get = Callable[[Any], Any]
# kind -> (status bit, which public call of cyclonedds reads and clears it)
WRITER: dict[str, tuple[int, _Get]] = {
    "incompatible_qos": (DDSStatus.OfferedIncompatibleQos, lambda e: e.get_offered_incompatible_qos_status()),
    "deadline_missed": (DDSStatus.OfferedDeadlineMissed, lambda e: e.get_offered_deadline_missed_status()),
    "liveliness_lost": (DDSStatus.LivelinessLost, lambda e: e.get_liveliness_lost_status()),
    "matched": (DDSStatus.PublicationMatched, lambda e: e.get_publication_matched_status()),
}
READER: dict[str, tuple[int, _Get]] = {
    "incompatible_qos": (DDSStatus.RequestedIncompatibleQos, lambda e: e.get_requested_incompatible_qos_status()),
    "deadline_missed": (DDSStatus.RequestedDeadlineMissed, lambda e: e.get_requested_deadline_missed_status()),
    "liveliness_changed": (DDSStatus.LivelinessChanged, lambda e: e.get_liveliness_changed_status()),
    "message_lost": (DDSStatus.SampleLost, lambda e: e.get_sample_lost_status()),
    "matched": (DDSStatus.SubscriptionMatched, lambda e: e.get_subscription_matched_status()),
}


class Event(NamedTuple):
    """`total` ever and `change` since the last reading; of "matched": peers now and the change in them."""

    kind: str
    total: int
    change: int
    policy: str = ""  # incompatible_qos: the last policy that kept a peer away
    alive: int = 0  # liveliness_changed: writers alive now
    not_alive: int = 0
    alive_change: int = 0
    not_alive_change: int = 0


def mask(kinds: dict[str, tuple[int, _Get]]) -> int:
    """The statuses of `kinds` as one DDS mask."""
    return sum(bit for bit, _ in kinds.values())


def take(entity: Any, kinds: dict[str, tuple[int, _Get]]) -> list[Event]:
    """What changed since the last call."""
    changed = entity.get_status_changes()
    if not changed:
        return []
    return [_event(kind, get(entity)) for kind, (bit, get) in kinds.items() if changed & bit]


def _event(kind: str, status: Any) -> Event:
    if kind == "liveliness_changed":
        alive, gone = status.alive_count, status.not_alive_count
        changes = (status.alive_count_change, status.not_alive_count_change)
        return Event(kind, alive + gone, sum(changes), "", alive, gone, *changes)
    if kind == "matched":
        return Event(kind, status.current_count, status.current_count_change)
    policy = (
        POLICY_NAMES.get(status.last_policy_id, f"policy {status.last_policy_id}") if kind == "incompatible_qos" else ""
    )
    return Event(kind, status.total_count, status.total_count_change, policy)


def drain(held: deque[Event]) -> list[Event]:
    """All of them, oldest first; those that arrive meanwhile stay."""
    return [held.popleft() for _ in range(len(held))]
