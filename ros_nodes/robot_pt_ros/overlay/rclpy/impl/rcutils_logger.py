"""The logger that nodes hold: severities, and the filters once, skip_first and throttle_duration_sec."""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Any, NamedTuple

from rclpy import _logging_state
from rclpy.clock import Clock
from rclpy.impl.logging_severity import LoggingSeverity

_OPTIONS = ("throttle_duration_sec", "throttle_time_source_type", "skip_first", "once")
_HERE = os.path.realpath(__file__)


class _Site(NamedTuple):
    """A place in the source that logs; filters count per place."""

    function: str
    file: str
    line: int
    instruction: int


class _Filters:
    """What has been said at one site, and how it asked to be filtered."""

    def __init__(self, severity: int, name: str, options: dict[str, Any]) -> None:
        self.severity = severity
        self.name = name
        self.options = options
        self.calls = 0
        self.last_ns = 0

    def check_unchanged(self, severity: int, name: str, options: dict[str, Any]) -> None:
        if severity != self.severity:
            raise ValueError("Logger severity cannot be changed between calls.")
        if name != self.name:
            raise ValueError("Logger name cannot be changed between calls.")
        if options.keys() != self.options.keys():
            raise ValueError("Requested logging filters cannot be changed between calls.")
        if options != self.options:
            raise ValueError("Logging filter parameters cannot be changed between calls.")

    def pass_through(self) -> bool:
        self.calls += 1
        period_s = self.options.get("throttle_duration_sec")
        if period_s:
            now_ns = self.options["throttle_time_source_type"].now().nanoseconds
            # A clock that went back (simulated time, a new run) must not mute a line for as long as it went back.
            if self.last_ns <= now_ns < self.last_ns + period_s * 1e9 and self.last_ns:
                return False
            self.last_ns = now_ns
        said = self.calls - 1 if self.options.get("skip_first") else self.calls
        if said == 0:
            return False
        return not (self.options.get("once") and said > 1)


class RcutilsLogger:
    """A named logger; names form a hierarchy by dots."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.contexts: dict[_Site, _Filters] = {}

    def get_child(self, name: str) -> RcutilsLogger:
        """The logger below this one. Raises ValueError on an empty name."""
        if not name:
            raise ValueError("Child logger name must not be empty.")
        return RcutilsLogger(f"{self.name}.{name}" if self.name else name)

    def set_level(self, level: LoggingSeverity | int) -> None:
        _logging_state.set_level(self.name, LoggingSeverity(level))

    def get_effective_level(self) -> LoggingSeverity:
        return LoggingSeverity(_logging_state.effective_level(self.name))

    def is_enabled_for(self, severity: LoggingSeverity | int) -> bool:
        return LoggingSeverity(severity) >= _logging_state.effective_level(self.name)

    def log(self, message: Any, severity: LoggingSeverity | int, **kwargs: Any) -> bool:
        """Log a line; False where the level or a filter kept it back.

        Keywords: `throttle_duration_sec` [s] with `throttle_time_source_type` (a Clock), `skip_first`, `once`, `name`.
        Raises TypeError on other keywords and ValueError where one place in the source changes its own.
        """
        severity = LoggingSeverity(severity)
        if not self.is_enabled_for(severity):
            return False
        name = kwargs.pop("name", self.name)
        options = _checked_options(kwargs)
        site = _caller(sys._getframe(1))
        if options:
            filters = self.contexts.get(site)
            if filters is None:
                filters = self.contexts[site] = _Filters(severity, name, options)
            else:
                filters.check_unchanged(severity, name, options)
            if not filters.pass_through():
                return False
        _logging_state.log(name, severity, str(message), site.function, site.file, site.line)
        return True

    def debug(self, message: Any, **kwargs: Any) -> bool:
        return self.log(message, LoggingSeverity.DEBUG, **kwargs)

    def info(self, message: Any, **kwargs: Any) -> bool:
        return self.log(message, LoggingSeverity.INFO, **kwargs)

    def warning(self, message: Any, **kwargs: Any) -> bool:
        return self.log(message, LoggingSeverity.WARN, **kwargs)

    def warn(self, message: Any, **kwargs: Any) -> bool:
        """As `warning`, by its old name."""
        return self.log(message, LoggingSeverity.WARN, **kwargs)

    def error(self, message: Any, **kwargs: Any) -> bool:
        return self.log(message, LoggingSeverity.ERROR, **kwargs)

    def fatal(self, message: Any, **kwargs: Any) -> bool:
        return self.log(message, LoggingSeverity.FATAL, **kwargs)


def _checked_options(kwargs: dict[str, Any]) -> dict[str, Any]:
    for option in kwargs:
        if option not in _OPTIONS:
            raise TypeError(f'parameter "{option}" is not one of the recognized logging options "{list(_OPTIONS)}"')
    options = {name: value for name, value in kwargs.items() if value}
    clock = options.get("throttle_time_source_type")
    if clock is not None and "throttle_duration_sec" not in options:
        raise TypeError('required parameter "throttle_duration_sec" not specified but is required for throttling')
    if clock is not None and not isinstance(clock, Clock):
        raise ValueError(f'Received throttle_time_source_type of "{clock}" is not a clock instance')
    if "throttle_duration_sec" in options:
        options.setdefault("throttle_time_source_type", _SYSTEM_CLOCK)
    return options


_SYSTEM_CLOCK = Clock()


def _caller(frame: FrameType | None) -> _Site:
    while frame is not None and os.path.realpath(frame.f_code.co_filename) == _HERE:
        frame = frame.f_back
    if frame is None:
        return _Site("", "", 0, 0)
    return _Site(frame.f_code.co_name, frame.f_code.co_filename, frame.f_lineno, frame.f_lasti)
