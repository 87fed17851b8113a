"""Logger levels from outside: ``~/get_logger_levels`` and ``~/set_logger_levels``."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import LoggerLevel, SetLoggerLevelsResult
from rcl_interfaces.srv import GetLoggerLevels, SetLoggerLevels

from rclpy.impl.logging_severity import LoggingSeverity
from rclpy.logging import get_logger_level, set_logger_level
from rclpy.qos import qos_profile_services_default


class LoggingService:
    """Made by a node with ``enable_logger_service``."""

    def __init__(self, node: Any) -> None:
        for srv_type, name, callback in (
            (GetLoggerLevels, "get_logger_levels", self._get),
            (SetLoggerLevels, "set_logger_levels", self._set),
        ):
            node.create_service(srv_type, f"~/{name}", callback, qos_profile=qos_profile_services_default)

    def _get(self, request: Any, response: Any) -> Any:
        response.levels = [LoggerLevel(name=name, level=int(get_logger_level(name))) for name in request.names]
        return response

    def _set(self, request: Any, response: Any) -> Any:
        for wanted in request.levels:
            result = SetLoggerLevelsResult(successful=True)
            try:
                set_logger_level(wanted.name, LoggingSeverity(wanted.level))
            except ValueError as error:
                result = SetLoggerLevelsResult(successful=False, reason=str(error))
            response.results.append(result)
        return response
