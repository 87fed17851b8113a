"""Subscriptions: a bounded queue of raw samples, made into messages only when a callback runs."""

from __future__ import annotations

import inspect
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any

from rclpy._endpoint import Endpoint
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.logging import get_logger
from rclpy.qos import HistoryPolicy, QoSProfile
from robot_pt.errors import DataError
from robot_pt_ros.wire import cdr

_AT_ONCE = 64
"""Samples taken from DDS in one go."""


class Subscription(Endpoint):
    """Made by `Node.create_subscription`. Depth d keeps the newest d samples; KEEP_ALL keeps all."""

    class CallbackType(Enum):
        MessageOnly = 0
        WithMessageInfo = 1

    def __init__(
        self,
        subscription_impl: Any,
        msg_type: type,
        topic: str,
        callback: Callable[..., Any],
        callback_group: Any,
        qos_profile: QoSProfile,
        raw: bool,
        event_callbacks: SubscriptionEventCallbacks,
    ) -> None:
        wire, session, logger_name = subscription_impl
        super().__init__(wire, session, callback_group)
        self.msg_type = msg_type
        self.topic = topic
        self.callback = callback
        self.qos_profile = qos_profile
        self.raw = raw
        self._logger_name = logger_name
        keep_all = qos_profile.history == HistoryPolicy.KEEP_ALL
        self._queue: deque[tuple[bytes, int, int, int]] = deque(maxlen=None if keep_all else wire.qos.depth)
        self._received = 0
        self.event_handlers = event_callbacks._handlers(callback_group, logger_name, wire.topic)

    @property
    def callback(self) -> Callable[..., Any]:
        return self._callback

    @callback.setter
    def callback(self, value: Callable[..., Any]) -> None:
        self._callback = value
        self._callback_type = Subscription.CallbackType.MessageOnly
        try:
            signature = inspect.signature(value)
        except ValueError:  # some builtins say nothing of themselves
            return
        for arguments, kind in (
            ((None,), Subscription.CallbackType.MessageOnly),
            ((None, None), Subscription.CallbackType.WithMessageInfo),
        ):
            try:
                signature.bind(*arguments)
            except TypeError:
                continue
            self._callback_type = kind
            return
        raise RuntimeError(
            "Subscription.__init__(): callback should be either be callable with one argument "
            "(to get only the message) or two (to get message and message info)"
        )

    def _arrived(self) -> None:
        while True:
            samples = self._wire.take_raw(_AT_ONCE)
            received_ns = time.time_ns()
            for sample in samples:
                self._received += 1
                self._queue.append((sample.raw, sample.source_ns, received_ns, self._received))
            if len(samples) < _AT_ONCE:
                break
        self._take_events()
        if self._queue:
            self._wake()

    def _is_ready(self) -> bool:
        return bool(self._queue) and not self._destroyed

    def _take(self) -> Callable[[], Any] | None:
        try:
            sample = self._queue.popleft()
        except IndexError:
            return None
        return partial(self._deliver, *sample)

    def _deliver(self, raw: bytes, source_ns: int, received_ns: int, number: int) -> Any:
        """What the callback returns: maybe a coroutine."""
        try:
            message = bytes(raw) if self.raw else cdr.deserialize(raw, self.msg_type)
        except DataError as error:
            get_logger(self._logger_name).error(
                f"A sample on {self._wire.topic!r} is dropped: {error}", throttle_duration_sec=1.0
            )
            return None
        if self._callback_type is Subscription.CallbackType.MessageOnly:
            return self._callback(message)
        return self._callback(
            message,
            {
                "source_timestamp": source_ns,
                "received_timestamp": received_ns,
                "publication_sequence_number": None,
                "reception_sequence_number": number,
            },
        )

    @property
    def topic_name(self) -> str:
        """Fully qualified and remapped."""
        return self._check().topic

    def get_publisher_count(self) -> int:
        return self._check().matched()
