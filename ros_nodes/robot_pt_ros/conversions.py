"""ROS messages <-> numpy and the core's vocabulary: the only file of the nodes that knows message fields.

What comes from the wire may be anything: readers raise ValueError, in a few words, on what cannot be meant; the caller counts it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from geometry_msgs.msg import Pose, PoseArray, PoseStamped
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image, JointState
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from robot_pt.commands import ArmState, Float64, JointCommand, PoseTarget
from robot_pt.rotations import matrix_to_quaternion, quaternion_to_matrix

GRIPPER = "gripper"
"""Name of the gripper in trajectories and states; its position is the opening, 0 closed .. 1 open."""

_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
_TO_RGB = {
    "bgr8": cv2.COLOR_BGR2RGB, "rgba8": cv2.COLOR_RGBA2RGB, "bgra8": cv2.COLOR_BGRA2RGB, "mono8": cv2.COLOR_GRAY2RGB,
}  # fmt: skip


def stamp(ns: int) -> Time:
    """int ns -> builtin_interfaces/Time."""
    return Time(sec=int(ns // 1_000_000_000), nanosec=int(ns % 1_000_000_000))


def nanoseconds(time: Any) -> int:
    """builtin_interfaces/Time -> int ns."""
    return int(time.sec) * 1_000_000_000 + int(time.nanosec)


def pose_message(stamp_ns: int, frame: str, T_base_tool: Float64) -> PoseStamped:
    """(4, 4) -> PoseStamped in `frame`."""
    message = PoseStamped()
    message.header.stamp, message.header.frame_id = stamp(stamp_ns), frame
    message.pose = _pose(T_base_tool)
    return message


def poses_message(stamp_ns: int, frame: str, T_base_tools: Sequence[Float64]) -> PoseArray:
    """Poses (4, 4) in a row -> PoseArray in `frame`."""
    message = PoseArray(poses=[_pose(T_base_tool) for T_base_tool in T_base_tools])
    message.header.stamp, message.header.frame_id = stamp(stamp_ns), frame
    return message


def _pose(T_base_tool: Float64) -> Pose:
    message = Pose()
    position, orientation = message.position, message.orientation
    position.x, position.y, position.z = (float(v) for v in T_base_tool[:3, 3])
    orientation.x, orientation.y, orientation.z, orientation.w = (
        float(v) for v in matrix_to_quaternion(T_base_tool[:3, :3])
    )
    return message


def pose_of(message: Any) -> Float64:
    """PoseStamped -> (4, 4); ValueError where it is not finite or its quaternion is far from a rotation."""
    p, o = message.pose.position, message.pose.orientation
    position = np.array([p.x, p.y, p.z])
    quaternion = np.array([o.x, o.y, o.z, o.w])
    if not (np.isfinite(position).all() and np.isfinite(quaternion).all()):
        raise ValueError("pose is not finite")
    if abs(float(np.linalg.norm(quaternion)) - 1) > 0.01:
        raise ValueError("quaternion is not of length 1")
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = quaternion_to_matrix(quaternion), position
    return T


def trajectory_message(
    stamp_ns: int, frame: str, names: Sequence[str], positions: Sequence[float] | Float64, duration_s: float
) -> JointTrajectory:
    """One point, positions only, to be reached `duration_s` after the stamp."""
    message = JointTrajectory()
    message.header.stamp, message.header.frame_id = stamp(stamp_ns), frame
    message.joint_names = list(names)
    point = JointTrajectoryPoint()
    point.positions = [float(v) for v in positions]
    whole = round(duration_s * 1e9)
    point.time_from_start.sec, point.time_from_start.nanosec = whole // 1_000_000_000, whole % 1_000_000_000
    message.points = [point]
    return message


def gripper_of(message: Any) -> float:
    """The opening in a trajectory with the joint "gripper" alone; ValueError on other names or shapes."""
    if list(message.joint_names) != [GRIPPER] or len(message.points) != 1 or len(message.points[0].positions) != 1:
        raise ValueError(f"gripper command has joints {list(message.joint_names)[:8]} and {len(message.points)} points")
    return float(message.points[0].positions[0])


def command_messages(command: JointCommand, frame: str, names: Sequence[str], duration_s: float) -> tuple[Any, Any]:
    """(JointTrajectory of arm joints and gripper, PoseStamped of what they reach), both of the command's stamp."""
    positions = [*command.q, command.gripper]
    return (
        trajectory_message(command.stamp_ns, frame, [*names, GRIPPER], positions, duration_s),
        pose_message(command.stamp_ns, frame, command.T_base_tool),
    )


def target_messages(target: PoseTarget, frame: str, duration_s: float) -> tuple[Any, Any]:
    """(PoseStamped, gripper JointTrajectory) of the target's stamp."""
    return (
        pose_message(target.stamp_ns, frame, target.T_base_tool),
        trajectory_message(target.stamp_ns, frame, [GRIPPER], [target.gripper], duration_s),
    )


def command_joints(message: Any, names: Sequence[str]) -> tuple[Float64, float]:
    """((J,) in the order of `names`, opening) of a command; ValueError unless it has just these joints and the gripper, finite."""
    found = list(message.joint_names)
    if sorted(found) != sorted([*names, GRIPPER]) or len(message.points) != 1:
        raise ValueError(f"command has joints {found[:10]}, expected {[*names, GRIPPER]}")
    values = np.asarray(message.points[0].positions, np.float64)
    if values.shape != (len(found),) or not np.isfinite(values).all():
        raise ValueError("command positions are not finite or not one per joint")
    at = {name: i for i, name in enumerate(found)}
    return values[[at[name] for name in names]], float(values[at[GRIPPER]])


def joint_state_message(stamp_ns: int, names: Sequence[str], q: Float64, frame: str = "") -> JointState:
    """Positions only, as drivers without velocity or effort send it."""
    message = JointState()
    message.header.stamp, message.header.frame_id = stamp(stamp_ns), frame
    message.name, message.position = list(names), [float(v) for v in q]
    return message


def joints_of(message: Any, names: Sequence[str]) -> tuple[Float64, Float64 | None]:
    """((J,) positions, (J,) efforts or None) in the order of `names`; names define meaning, not order.

    ValueError where a joint is missing or twice, or a position is not finite. Empty velocity and effort arrays are normal.
    """
    found = list(message.name)
    at = {name: i for i, name in enumerate(found)}
    missing = [name for name in names if name not in at]
    if missing or len(at) != len(found):
        raise ValueError(f"joint state lacks {missing}" if missing else f"joint state names a joint twice: {found}")
    order = [at[name] for name in names]
    position = np.asarray(message.position, np.float64)
    if len(position) != len(found) or not np.isfinite(position[order]).all():
        raise ValueError("joint positions are not finite or not one per name")
    effort = np.asarray(message.effort, np.float64)
    return position[order], effort[order] if len(effort) == len(found) else None


def arm_state_of(message: Any, names: Sequence[str], opening: float) -> ArmState:
    """JointState and the last known opening -> ArmState; ValueError as `joints_of`."""
    q, effort = joints_of(message, names)
    return ArmState(nanoseconds(message.header.stamp), q, opening, effort)


def image_message(stamp_ns: int, frame: str, rgb: NDArray[np.uint8]) -> Image:
    """(H, W, 3) uint8 RGB -> Image, rgb8."""
    message = Image()
    message.header.stamp, message.header.frame_id = stamp(stamp_ns), frame
    message.height, message.width = int(rgb.shape[0]), int(rgb.shape[1])
    message.encoding, message.is_bigendian, message.step = "rgb8", 0, 3 * int(rgb.shape[1])
    message.data = np.ascontiguousarray(rgb).tobytes()
    return message


def compressed_message(stamp_ns: int, frame: str, jpeg: bytes) -> CompressedImage:
    """JPEG bytes -> CompressedImage."""
    message = CompressedImage()
    message.header.stamp, message.header.frame_id = stamp(stamp_ns), frame
    message.format, message.data = "jpeg", jpeg
    return message


def image_of(message: Any) -> NDArray[np.uint8]:
    """Image -> (H, W, 3) uint8 RGB, rows without padding; ValueError on an encoding or size that cannot be meant."""
    channels = _CHANNELS.get(message.encoding)
    if channels is None:
        raise ValueError(f"image encoding {message.encoding!r} is none of {sorted(_CHANNELS)}")
    height, width, step = int(message.height), int(message.width), int(message.step)
    data = np.frombuffer(message.data, np.uint8)
    if not 0 < height <= 8192 or not 0 < width <= 8192 or step < width * channels or len(data) < height * step:
        raise ValueError(f"image of {height}x{width}, step {step}, has {len(data)} bytes")
    pixels = data[: height * step].reshape(height, step)[:, : width * channels].reshape(height, width, channels)
    if message.encoding == "rgb8":
        return np.ascontiguousarray(pixels)
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), _TO_RGB[message.encoding]), np.uint8)


def frame_digest(message: Any) -> int:
    """Checksum of an image's bytes: equal digests are equal pictures."""
    return crc32(memoryview(message.data).cast("B"))


def status_message(
    level: bytes, name: str, text: str, values: Mapping[str, Any], hardware_id: str = ""
) -> DiagnosticStatus:
    """DiagnosticStatus with every value as text."""
    message = DiagnosticStatus()
    message.level, message.name, message.message, message.hardware_id = level, name, text, hardware_id
    message.values = [KeyValue(key=str(k), value=str(v)) for k, v in values.items()]
    return message
