"""What a node's loggers say, on ``/rosout``."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import Log

from rclpy import _logging_state
from rclpy.qos import _qos_profile_rosout_default
from rclpy.time import Time


class Rosout:
    """From its making to `close`, sends lines of the node's logger and of those below it."""

    def __init__(self, node: Any) -> None:
        self._context = node.context
        self._logger_name = node.get_logger().name
        self._publisher = node.create_publisher(Log, "/rosout", _qos_profile_rosout_default)
        _logging_state.add_sink(self._logger_name, self._send)

    def _send(self, stamp_ns: int, severity: int, name: str, message: str, file: str, function: str, line: int) -> None:
        if not self._context.ok() or self._publisher._destroyed:
            return
        stamp = Time(nanoseconds=stamp_ns).to_msg()
        log = Log(stamp=stamp, level=int(severity), name=name, msg=message, file=file, function=function, line=line)
        self._publisher._wire.write(log)

    def close(self) -> None:
        _logging_state.remove_sink(self._logger_name, self._send)
