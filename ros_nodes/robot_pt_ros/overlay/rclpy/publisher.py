"""Publishers."""

from __future__ import annotations

import time
from typing import Any

from rclpy._endpoint import Endpoint
from rclpy._rclpy_pybind11 import RCLError
from rclpy.duration import Duration
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.logging import get_logger
from rclpy.qos import QoSProfile
from robot_pt.errors import UserError

_SLICE_S = 0.1
"""Python runs signal handlers between slices, and shutdown is seen."""


class Publisher(Endpoint):
    """Made by `Node.create_publisher`."""

    def __init__(
        self,
        publisher_impl: Any,
        msg_type: type,
        topic: str,
        qos_profile: QoSProfile,
        event_callbacks: PublisherEventCallbacks,
        callback_group: Any,
    ) -> None:
        wire, session, context, logger_name = publisher_impl
        super().__init__(wire, session, callback_group)
        self._context = context
        self._logger_name = logger_name
        self.msg_type = msg_type
        self.topic = topic
        self.qos_profile = qos_profile
        self.event_handlers = event_callbacks._handlers(callback_group, logger_name, wire.topic)
        if self.event_handlers:
            self._watch()

    def _arrived(self) -> None:
        self._take_events()

    def publish(self, msg: Any) -> None:
        """Send a message, or the bytes of one.

        Raises TypeError on another type, InvalidHandle after destruction and RCLError after shutdown.
        """
        # Without the lock: a write that blocks must not keep others from asking; `close` waits for Cyclone itself.
        wire = self._check()
        if not self._context._is_up:
            raise RCLError("Failed to publish: publisher's context is invalid")
        if not isinstance(msg, (self.msg_type, bytes)):
            raise TypeError(f"Expected {self.msg_type}, got {type(msg)}")
        try:
            sent = wire.write_raw(msg) if isinstance(msg, bytes) else wire.write(msg)
        except UserError as error:
            raise RCLError(f"Failed to publish on {wire.topic!r}: {error}") from error
        if not sent:
            get_logger(self._logger_name).warning(
                f"A message on {wire.topic!r} was not taken in time by a reliable subscription and is lost.",
                throttle_duration_sec=1.0,
            )

    def get_subscription_count(self) -> int:
        return self._check().matched()

    @property
    def topic_name(self) -> str:
        """Fully qualified and remapped."""
        return self._check().topic

    @property
    def logger_name(self) -> str:
        return self._logger_name

    def assert_liveliness(self) -> None:
        self._check().assert_liveliness()

    def wait_for_all_acked(self, timeout: Duration = Duration(seconds=-1)) -> bool:  # noqa: B008  # rclpy's default
        """Whether every reliable subscription has what was published, within `timeout` (negative: for ever)."""
        writer = self._check()
        end_s = float("inf") if timeout.nanoseconds < 0 else time.monotonic() + timeout.nanoseconds / 1e9
        while True:
            left_s = max(0.0, end_s - time.monotonic())
            if writer.acknowledged(min(left_s, _SLICE_S)):
                return True
            if left_s <= 0:
                return False
            if not self._context._is_up:
                raise RCLError("Failed to wait for all acknowledged: publisher's context is invalid")
