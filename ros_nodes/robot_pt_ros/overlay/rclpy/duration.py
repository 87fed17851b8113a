"""Signed spans of time, int nanoseconds inside."""

from __future__ import annotations

import builtin_interfaces.msg

from rclpy.constants import S_TO_NS

_LARGEST_NS = 2**63 - 1


class Duration:
    """A signed span of time. Raises OverflowError where it does not fit 64 bits."""

    def __init__(self, *, seconds: float = 0, nanoseconds: float = 0) -> None:
        total_ns = int(seconds * S_TO_NS) + int(nanoseconds)
        if not -_LARGEST_NS - 1 <= total_ns <= _LARGEST_NS:
            raise OverflowError(f"{total_ns} ns does not fit the 64 bits of a duration.")
        self._nanoseconds = total_ns

    @property
    def nanoseconds(self) -> int:
        return self._nanoseconds

    def __repr__(self) -> str:
        return f"Duration(nanoseconds={self._nanoseconds})"

    def __str__(self) -> str:
        return "Infinite" if self._nanoseconds == _LARGEST_NS else f"{self._nanoseconds} nanoseconds"

    def __eq__(self, other: object) -> bool:
        return self._nanoseconds == other.nanoseconds if isinstance(other, Duration) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # as in rclpy 7.1

    def __lt__(self, other: Duration) -> bool:
        return self._nanoseconds < other.nanoseconds if isinstance(other, Duration) else NotImplemented

    def __le__(self, other: Duration) -> bool:
        return self._nanoseconds <= other.nanoseconds if isinstance(other, Duration) else NotImplemented

    def __gt__(self, other: Duration) -> bool:
        return self._nanoseconds > other.nanoseconds if isinstance(other, Duration) else NotImplemented

    def __ge__(self, other: Duration) -> bool:
        return self._nanoseconds >= other.nanoseconds if isinstance(other, Duration) else NotImplemented

    def to_msg(self) -> builtin_interfaces.msg.Duration:
        seconds, nanoseconds = divmod(self._nanoseconds, S_TO_NS)
        return builtin_interfaces.msg.Duration(sec=seconds, nanosec=nanoseconds)

    @classmethod
    def from_msg(cls, msg: builtin_interfaces.msg.Duration) -> Duration:
        if not isinstance(msg, builtin_interfaces.msg.Duration):
            raise TypeError("Must pass a builtin_interfaces.msg.Duration object")
        return cls(nanoseconds=msg.sec * S_TO_NS + msg.nanosec)


Infinite = Duration(nanoseconds=_LARGEST_NS)
