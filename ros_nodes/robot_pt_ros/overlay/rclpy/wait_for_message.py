"""Wait for one message without spinning the node."""

from __future__ import annotations

import time
from threading import Condition
from typing import Any

from rclpy.exceptions import NotInitializedException
from rclpy.qos import QoSProfile


def wait_for_message(
    msg_type: Any, node: Any, topic: str, *, qos_profile: QoSProfile | int = 1, time_to_wait: float | int = -1
) -> tuple[bool, Any]:
    """(True, message), or (False, None) after `time_to_wait` [s] (negative: until shutdown)."""
    if not node.context.ok():
        raise NotInitializedException("cannot wait for a message")
    arrived = Condition()

    def notify() -> None:
        with arrived:
            arrived.notify_all()

    received: list[Any] = []
    subscription = node.create_subscription(msg_type, topic, received.append, qos_profile)
    forget = node.context._call_on_invalid(notify)
    end_s = None if time_to_wait < 0 else time.monotonic() + time_to_wait
    try:
        subscription._wake = notify
        while not received and node.context.ok():
            call = subscription._take()
            if call is not None:
                call()
                continue
            left_s = None if end_s is None else end_s - time.monotonic()
            if left_s is not None and left_s <= 0:
                return False, None
            with arrived:
                if not subscription._is_ready():
                    arrived.wait(left_s)
        return (True, received[0]) if received else (False, None)
    finally:
        forget()
        node.destroy_subscription(subscription)
