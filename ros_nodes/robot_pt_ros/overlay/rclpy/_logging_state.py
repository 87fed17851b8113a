"""Severities by logger name, the console line, and who sends log messages to ``/rosout``. Process-wide, as rcutils is.

Facts: rcutils' environment: RCUTILS_CONSOLE_OUTPUT_FORMAT, RCUTILS_COLORIZED_OUTPUT, RCUTILS_LOGGING_USE_STDOUT; logger
names are a hierarchy with dots, a level holds for everything below it.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Mapping
from threading import RLock

from rclpy.impl.logging_severity import LoggingSeverity

_DEFAULT_FORMAT = "[{severity}] [{time}] [{name}]: {message}"
_COLOURS = {10: "\033[32m", 20: "\033[0m", 30: "\033[33m", 40: "\033[31m", 50: "\033[31m"}
RosoutSink = Callable[[int, int, str, str, str, str, int], None]
"""stamp_ns, severity, logger name, message, file, function, line."""

_lock = RLock()
_levels: dict[str, int] = {}
_sinks: dict[str, RosoutSink] = {}
_format = _DEFAULT_FORMAT
_colours: bool | None = None
_to_stdout = False
_to_console = True


def configure(levels: Mapping[str, int], *, to_console: bool, environment: Mapping[str, str]) -> None:
    """Take levels from the command line and the console's form from the environment."""
    global _format, _colours, _to_stdout, _to_console
    with _lock:
        _levels.update(levels)
        _to_console = to_console
        _format = environment.get("RCUTILS_CONSOLE_OUTPUT_FORMAT") or _DEFAULT_FORMAT
        _colours = {"0": False, "1": True}.get(environment.get("RCUTILS_COLORIZED_OUTPUT", ""))
        _to_stdout = environment.get("RCUTILS_LOGGING_USE_STDOUT", "") == "1"


def set_level(name: str, level: int) -> None:
    with _lock:
        _levels[name] = level


def clear() -> None:
    """Forget all levels."""
    with _lock:
        _levels.clear()


def own_level(name: str) -> int:
    """The level set for exactly this logger, 0 where none is."""
    return _levels.get(name, 0)


def effective_level(name: str) -> int:
    """Of the nearest logger upwards that has one, INFO at last."""
    while name:
        level = _levels.get(name, 0)
        if level:
            return level
        name = name.rpartition(".")[0]
    return _levels.get("", 0) or int(LoggingSeverity.INFO)


def add_sink(name: str, sink: RosoutSink) -> None:
    """Send what this logger and those below it say to `sink` too."""
    with _lock:
        _sinks[name] = sink


def remove_sink(name: str, sink: RosoutSink) -> None:
    with _lock:
        if _sinks.get(name) == sink:  # two bindings of one method are equal, not the same
            del _sinks[name]


def log(name: str, severity: int, message: str, function: str = "", file: str = "", line: int = 0) -> None:
    """Print and publish one line, whatever the level."""
    stamp_ns = time.time_ns()
    if _to_console:
        _print(stamp_ns, name, severity, message, function, file, line)
    owner = name
    while owner:
        sink = _sinks.get(owner)
        if sink is not None:
            sink(stamp_ns, severity, name, message, file, function, line)
            return
        owner = owner.rpartition(".")[0]


def _print(stamp_ns: int, name: str, severity: int, message: str, function: str, file: str, line: int) -> None:
    seconds, rest = divmod(stamp_ns, 10**9)
    fields = {
        "severity": LoggingSeverity(severity).name,
        "name": name,
        "message": message,
        "function_name": function,
        "file_name": file,
        "line_number": str(line),
        "time": f"{seconds}.{rest:09d}",
        "time_as_nanoseconds": str(stamp_ns),
        "date_time_with_ms": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) + f".{rest // 10**6:03d}",
    }
    text = re.sub(r"\{(\w+)\}", lambda match: fields.get(match[1], match[0]), _format)
    stream = sys.stdout if _to_stdout else sys.stderr
    if _colours or (_colours is None and stream.isatty()):
        text = f"{_COLOURS[severity]}{text}\033[0m"
    try:
        stream.write(text + "\n")
        stream.flush()
    except (OSError, ValueError):  # a closed terminal must not stop a robot's node
        pass
