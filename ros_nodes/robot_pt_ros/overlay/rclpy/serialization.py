"""Messages to bytes and back."""

from __future__ import annotations

from typing import Any

from rclpy.type_support import check_is_valid_msg_type
from robot_pt_ros.wire import cdr


def serialize_message(message: Any) -> bytes:
    """The CDR bytes of a message, with their header. Raises RuntimeError on anything but a message."""
    check_is_valid_msg_type(type(message))
    return bytes(cdr.serialize(message))


def deserialize_message(serialized_message: bytes, message_type: Any) -> Any:
    """The message in CDR bytes. Raises DataError where they are no such message."""
    check_is_valid_msg_type(message_type)
    return cdr.deserialize(serialized_message, message_type)
