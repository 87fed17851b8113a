"""Whether a class is a message or a service."""

from __future__ import annotations

from typing import Any

from rclpy.exceptions import NoTypeSupportImportedException as NoTypeSupportImportedException
from robot_pt.errors import UserError
from robot_pt_ros.wire.messages import type_name


def _kind(candidate: Any) -> str | None:
    try:
        return type_name(candidate).split("/")[1] if isinstance(candidate, type) else None
    except UserError:
        return None


def check_is_valid_msg_type(msg_type: Any) -> None:
    """Raises RuntimeError on anything but a message class."""
    if _kind(msg_type) != "msg":
        raise RuntimeError(
            f"The message type provided is not valid: {msg_type!r}; give a class such as std_msgs.msg.String."
        )


def check_is_valid_srv_type(srv_type: Any) -> None:
    """Raises RuntimeError on anything but a service class."""
    if _kind(srv_type) != "srv" or not hasattr(srv_type, "Request"):
        raise RuntimeError(
            f"The service type provided is not valid: {srv_type!r}; give a class such as std_srvs.srv.Trigger."
        )
