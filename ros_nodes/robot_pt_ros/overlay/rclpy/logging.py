"""Loggers and their levels, by rclpy's names."""

from __future__ import annotations

import os
from pathlib import Path

from rclpy import _logging_state
from rclpy.impl.logging_severity import LoggingSeverity as LoggingSeverity
from rclpy.impl.rcutils_logger import RcutilsLogger


def get_logger(name: str) -> RcutilsLogger:
    """The logger of a name. Raises ValueError on an empty one."""
    if not name:
        raise ValueError("Logger name must not be empty.")
    return RcutilsLogger(name=name)


def initialize() -> None:
    """Nothing to start here."""


def shutdown() -> None:
    """Nothing to stop here."""


def clear_config() -> None:
    """Forget all levels."""
    _logging_state.clear()


def set_logger_level(name: str, level: int | LoggingSeverity, detailed_error: bool = False) -> None:
    _logging_state.set_level(name, LoggingSeverity(level))


def get_logger_level(name: str) -> LoggingSeverity:
    """What was set for this logger itself, UNSET where nothing was."""
    return LoggingSeverity(_logging_state.own_level(name))


def get_logger_effective_level(name: str) -> LoggingSeverity:
    return LoggingSeverity(_logging_state.effective_level(name))


def get_logging_severity_from_string(log_severity: str) -> LoggingSeverity:
    """The severity of a name. Raises RuntimeError on an unknown one."""
    try:
        return LoggingSeverity[log_severity.upper()]
    except KeyError:
        raise RuntimeError(f"Failed to get severity from string: {log_severity!r}") from None


def get_logging_directory() -> Path:
    """Where ROS keeps log files; none are written from here."""
    home = os.environ.get("ROS_HOME") or str(Path.home() / ".ros")
    return Path(os.environ.get("ROS_LOG_DIR") or Path(home) / "log")
