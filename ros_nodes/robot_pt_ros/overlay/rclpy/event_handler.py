"""What an endpoint notices of the others: matches, missed deadlines, liveliness, QoS that does not fit, lost samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Any

from rclpy._rclpy_pybind11 import UnsupportedEventTypeError as UnsupportedEventTypeError
from rclpy.guard_condition import _nobody
from rclpy.logging import get_logger
from rclpy.qos import QoSPolicyKind, qos_policy_name_from_kind


class QoSPublisherEventType(IntEnum):
    RCL_PUBLISHER_OFFERED_DEADLINE_MISSED = 0
    RCL_PUBLISHER_LIVELINESS_LOST = 1
    RCL_PUBLISHER_OFFERED_INCOMPATIBLE_QOS = 2
    RCL_PUBLISHER_INCOMPATIBLE_TYPE = 3
    RCL_PUBLISHER_MATCHED = 4


class QoSSubscriptionEventType(IntEnum):
    RCL_SUBSCRIPTION_REQUESTED_DEADLINE_MISSED = 0
    RCL_SUBSCRIPTION_LIVELINESS_CHANGED = 1
    RCL_SUBSCRIPTION_REQUESTED_INCOMPATIBLE_QOS = 2
    RCL_SUBSCRIPTION_MESSAGE_LOST = 3
    RCL_SUBSCRIPTION_INCOMPATIBLE_TYPE = 4
    RCL_SUBSCRIPTION_MATCHED = 5


@dataclass
class _Counted:
    """How often it happened, and how often since the last callback."""

    total_count: int = 0
    total_count_change: int = 0


class QoSRequestedDeadlineMissedInfo(_Counted):
    pass


class QoSOfferedDeadlineMissedInfo(_Counted):
    pass


class QoSLivelinessLostInfo(_Counted):
    pass


class QoSMessageLostInfo(_Counted):
    pass


class IncompatibleTypeInfo(_Counted):
    pass


@dataclass
class QoSRequestedIncompatibleQoSInfo(_Counted):
    last_policy_kind: QoSPolicyKind = QoSPolicyKind.INVALID


QoSOfferedIncompatibleQoSInfo = QoSRequestedIncompatibleQoSInfo


@dataclass
class QoSSubscriptionMatchedInfo(_Counted):
    current_count: int = 0
    current_count_change: int = 0


QoSPublisherMatchedInfo = QoSSubscriptionMatchedInfo


@dataclass
class QoSLivelinessChangedInfo:
    alive_count: int = 0
    not_alive_count: int = 0
    alive_count_change: int = 0
    not_alive_count_change: int = 0


class EventHandler:
    """One callback on one kind of event of one endpoint; events that wait are merged, as DDS statuses are."""

    def __init__(self, *, callback_group: Any, callback: Callable[[Any], Any], event_type: IntEnum) -> None:
        self.callback_group = callback_group
        self.callback = callback
        self.event_type = event_type
        self._infos: deque[Any] = deque()
        self._matched = 0
        self._wake: Callable[[], None] = _nobody
        callback_group.add_entity(self)

    @property
    def _kind(self) -> str:
        return _WIRE_KINDS[self.event_type.name]

    def _happened(self, event: Any) -> None:
        self._infos.append(self._info(event))
        self._wake()

    def _info(self, event: Any) -> Any:
        counts = {"total_count": event.total, "total_count_change": event.change}
        kind = event.kind
        if kind == "incompatible_qos":
            last = QoSPolicyKind.__members__.get(event.policy.upper(), QoSPolicyKind.INVALID)
            return QoSRequestedIncompatibleQoSInfo(**counts, last_policy_kind=last)
        if kind == "matched":
            # The wire says how many there are and how that changed; those that ever came are counted here.
            came = max(0, event.change)
            self._matched += came
            return QoSSubscriptionMatchedInfo(self._matched, came, event.total, event.change)
        if kind == "liveliness_changed":
            return QoSLivelinessChangedInfo(event.alive, event.not_alive, event.alive_change, event.not_alive_change)
        infos: dict[str, type[_Counted]] = {
            "message_lost": QoSMessageLostInfo,
            "liveliness_lost": QoSLivelinessLostInfo,
            "deadline_missed": QoSOfferedDeadlineMissedInfo
            if isinstance(self.event_type, QoSPublisherEventType)
            else QoSRequestedDeadlineMissedInfo,
        }
        return infos[kind](**counts)

    def _is_ready(self) -> bool:
        return bool(self._infos)

    def _take(self) -> Callable[[], Any] | None:
        return partial(self.callback, self._infos.popleft()) if self._infos else None

    def destroy(self) -> None:
        self._infos.clear()


_WIRE_KINDS = {
    "RCL_PUBLISHER_OFFERED_DEADLINE_MISSED": "deadline_missed",
    "RCL_PUBLISHER_LIVELINESS_LOST": "liveliness_lost",
    "RCL_PUBLISHER_OFFERED_INCOMPATIBLE_QOS": "incompatible_qos",
    "RCL_PUBLISHER_MATCHED": "matched",
    "RCL_SUBSCRIPTION_REQUESTED_DEADLINE_MISSED": "deadline_missed",
    "RCL_SUBSCRIPTION_LIVELINESS_CHANGED": "liveliness_changed",
    "RCL_SUBSCRIPTION_REQUESTED_INCOMPATIBLE_QOS": "incompatible_qos",
    "RCL_SUBSCRIPTION_MESSAGE_LOST": "message_lost",
    "RCL_SUBSCRIPTION_MATCHED": "matched",
}


def _handlers_of(
    callbacks: Any, wanted: Mapping[str, Any], group: Any, complain: Callable[[QoSRequestedIncompatibleQoSInfo], Any]
) -> list[EventHandler]:
    """A handler of each kind in `wanted` that `callbacks` has something for under its name, and where asked for the complaint."""
    if callbacks.incompatible_type is not None:
        raise UnsupportedEventTypeError("rmw_cyclonedds reports no incompatible types; leave incompatible_type out")
    given = {kind: getattr(callbacks, name) for name, kind in wanted.items()}
    if callbacks.use_default_callbacks:
        given[wanted["incompatible_qos"]] = callbacks.incompatible_qos or complain
    return [EventHandler(callback_group=group, callback=c, event_type=kind) for kind, c in given.items() if c]


def _warn(logger_name: str, said: str, info: QoSRequestedIncompatibleQoSInfo) -> None:
    get_logger(logger_name).warning(f"{said} Policy: {qos_policy_name_from_kind(info.last_policy_kind)}")


class SubscriptionEventCallbacks:
    """Callbacks for a subscription's events; without one, QoS that does not fit is logged as a warning."""

    def __init__(
        self,
        *,
        deadline: Callable[[QoSRequestedDeadlineMissedInfo], Any] | None = None,
        incompatible_qos: Callable[[QoSRequestedIncompatibleQoSInfo], Any] | None = None,
        liveliness: Callable[[QoSLivelinessChangedInfo], Any] | None = None,
        message_lost: Callable[[QoSMessageLostInfo], Any] | None = None,
        incompatible_type: Callable[[IncompatibleTypeInfo], Any] | None = None,
        matched: Callable[[QoSSubscriptionMatchedInfo], Any] | None = None,
        use_default_callbacks: bool = True,
    ) -> None:
        self.deadline = deadline
        self.incompatible_qos = incompatible_qos
        self.liveliness = liveliness
        self.message_lost = message_lost
        self.incompatible_type = incompatible_type
        self.matched = matched
        self.use_default_callbacks = use_default_callbacks

    def _handlers(self, callback_group: Any, logger_name: str, topic_name: str) -> list[EventHandler]:
        kinds = QoSSubscriptionEventType
        wanted = {
            "deadline": kinds.RCL_SUBSCRIPTION_REQUESTED_DEADLINE_MISSED,
            "incompatible_qos": kinds.RCL_SUBSCRIPTION_REQUESTED_INCOMPATIBLE_QOS,
            "liveliness": kinds.RCL_SUBSCRIPTION_LIVELINESS_CHANGED,
            "message_lost": kinds.RCL_SUBSCRIPTION_MESSAGE_LOST,
            "matched": kinds.RCL_SUBSCRIPTION_MATCHED,
        }
        said = f"A publisher on {topic_name!r} offers QoS that does not fit; nothing will be received from it."
        return _handlers_of(self, wanted, callback_group, partial(_warn, logger_name, said))


class PublisherEventCallbacks:
    """Callbacks for a publisher's events; without one, QoS that does not fit is logged as a warning."""

    def __init__(
        self,
        *,
        deadline: Callable[[QoSOfferedDeadlineMissedInfo], Any] | None = None,
        liveliness: Callable[[QoSLivelinessLostInfo], Any] | None = None,
        incompatible_qos: Callable[[QoSRequestedIncompatibleQoSInfo], Any] | None = None,
        incompatible_type: Callable[[IncompatibleTypeInfo], Any] | None = None,
        matched: Callable[[QoSPublisherMatchedInfo], Any] | None = None,
        use_default_callbacks: bool = True,
    ) -> None:
        self.deadline = deadline
        self.liveliness = liveliness
        self.incompatible_qos = incompatible_qos
        self.incompatible_type = incompatible_type
        self.matched = matched
        self.use_default_callbacks = use_default_callbacks

    def _handlers(self, callback_group: Any, logger_name: str, topic_name: str) -> list[EventHandler]:
        kinds = QoSPublisherEventType
        wanted = {
            "deadline": kinds.RCL_PUBLISHER_OFFERED_DEADLINE_MISSED,
            "liveliness": kinds.RCL_PUBLISHER_LIVELINESS_LOST,
            "incompatible_qos": kinds.RCL_PUBLISHER_OFFERED_INCOMPATIBLE_QOS,
            "matched": kinds.RCL_PUBLISHER_MATCHED,
        }
        said = f"A subscription on {topic_name!r} requests QoS that does not fit; nothing will be sent to it."
        return _handlers_of(self, wanted, callback_group, partial(_warn, logger_name, said))
