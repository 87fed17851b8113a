"""Messages that are sent many times a second and differ in stamp and numbers alone: serialized once, patched for every publish.

Publishers take the bytes of a message in its place (`rclpy.publisher.Publisher.publish`). Building a message of messages and walking
through it again to serialize it costs more than everything else in a tick of the supervisor but inverse kinematics.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from rclpy.serialization import serialize_message

from robot_pt.commands import Float64
from robot_pt.rotations import matrix_to_quaternion
from robot_pt_ros.conversions import pose_message, trajectory_message

_STAMP = struct.Struct("=iI")
_STAMP_AT = 4  # every message with a header begins with it, after four bytes that name the encoding
_PROBE_NS = 123_456_789_987_654_321


class Prepared:
    """The bytes of one message; `at` gives them for another time and other numbers."""

    def __init__(self, message: Any, numbers: Sequence[float]):
        """`message`, stamped `_PROBE_NS`, holds `numbers` in a row somewhere; they must stand there once."""
        self._raw = bytearray(serialize_message(message))
        self._numbers = struct.Struct(f"={len(numbers)}d")
        probe = self._numbers.pack(*numbers)
        assert self._raw.count(probe) == 1, f"{type(message).__name__} does not hold the numbers once in a row"
        self._numbers_at = self._raw.index(probe)
        probed = _STAMP.unpack_from(self._raw, _STAMP_AT)
        assert probed == divmod(_PROBE_NS, 1_000_000_000), f"{type(message).__name__} does not begin with its stamp"

    def at(self, stamp_ns: int, numbers: Iterable[float]) -> bytes:
        """The message of that time with these numbers, as many as it was made with."""
        _STAMP.pack_into(self._raw, _STAMP_AT, *divmod(stamp_ns, 1_000_000_000))
        self._numbers.pack_into(self._raw, self._numbers_at, *numbers)
        return bytes(self._raw)


class PreparedPose:
    """`conversions.pose_message` in one frame."""

    def __init__(self, frame: str):
        message = pose_message(_PROBE_NS, frame, np.eye(4))
        p, o, probe = message.pose.position, message.pose.orientation, _probe(7)
        (p.x, p.y, p.z), (o.x, o.y, o.z, o.w) = probe[:3], probe[3:]
        self._prepared = Prepared(message, probe)

    def at(self, stamp_ns: int, T_base_tool: Float64) -> bytes:
        """(4, 4) -> PoseStamped."""
        quaternion = matrix_to_quaternion(T_base_tool[:3, :3])
        return self._prepared.at(stamp_ns, [*T_base_tool[:3, 3].tolist(), *quaternion.tolist()])


class PreparedTrajectory:
    """`conversions.trajectory_message` of these joints: one point."""

    def __init__(self, frame: str, names: Sequence[str], duration_s: float):
        probe = _probe(len(names))
        self._prepared = Prepared(trajectory_message(_PROBE_NS, frame, names, probe, duration_s), probe)

    def at(self, stamp_ns: int, positions: Iterable[float]) -> bytes:
        """One position per name -> JointTrajectory."""
        return self._prepared.at(stamp_ns, positions)


def _probe(count: int) -> list[float]:
    return [1.2345678 + 0.7 * i for i in range(count)]
