"""What an endpoint notices of the others: matches, missed deadlines, liveliness, QoS that does not fit, lost samples."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
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


def _refuse_incompatible_type(callback: Any) -> None:
    if callback is not None:
        raise UnsupportedEventTypeError("rmw_cyclonedds reports no incompatible types; leave incompatible_type out")


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
        _refuse_incompatible_type(self.incompatible_type)
        incompatible = self.incompatible_qos
        if incompatible is None and self.use_default_callbacks:

            def incompatible(info: QoSRequestedIncompatibleQoSInfo) -> None:
                get_logger(logger_name).warning(
                    f"A publisher on {topic_name!r} offers QoS that does not fit; nothing will be received from it. "
                    f"Policy: {qos_policy_name_from_kind(info.last_policy_kind)}"
                )

        kinds = QoSSubscriptionEventType
        wanted = (
            (self.deadline, kinds.RCL_SUBSCRIPTION_REQUESTED_DEADLINE_MISSED),
            (incompatible, kinds.RCL_SUBSCRIPTION_REQUESTED_INCOMPATIBLE_QOS),
            (self.liveliness, kinds.RCL_SUBSCRIPTION_LIVELINESS_CHANGED),
            (self.message_lost, kinds.RCL_SUBSCRIPTION_MESSAGE_LOST),
            (self.matched, kinds.RCL_SUBSCRIPTION_MATCHED),
        )
        return [EventHandler(callback_group=callback_group, callback=c, event_type=k) for c, k in wanted if c]


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
        _refuse_incompatible_type(self.incompatible_type)
        incompatible = self.incompatible_qos
        if incompatible is None and self.use_default_callbacks:

            def incompatible(info: QoSRequestedIncompatibleQoSInfo) -> None:
                get_logger(logger_name).warning(
                    f"A subscription on {topic_name!r} requests QoS that does not fit; nothing will be sent to it. "
                    f"Policy: {qos_policy_name_from_kind(info.last_policy_kind)}"
                )

        kinds = QoSPublisherEventType
        wanted = (
            (self.deadline, kinds.RCL_PUBLISHER_OFFERED_DEADLINE_MISSED),
            (self.liveliness, kinds.RCL_PUBLISHER_LIVELINESS_LOST),
            (incompatible, kinds.RCL_PUBLISHER_OFFERED_INCOMPATIBLE_QOS),
            (self.matched, kinds.RCL_PUBLISHER_MATCHED),
        )
        return [EventHandler(callback_group=callback_group, callback=c, event_type=k) for c, k in wanted if c]
