"""Samples as the ROS 2 messages of a robot's topics, in CDR, and back. Needs rosbags, no ROS.

Topic names are relative to the robot's namespace. A request or command goes over two topics with one stamp; a half whose
other half does not come is counted. Everything from outside may be anything: what cannot be read is counted, never raised.
"""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast

import numpy as np

from robot_pt.commands import Float64, JointCommand, PoseTarget, Source
from robot_pt.errors import DataError, MissingExtraError
from robot_pt.rotations import matrix_to_quaternion, quaternion_to_matrix
from robot_pt.samples import (
    Frame,
    Gripper,
    Joints,
    Mode,
    PolicyStep,
    Request,
    Reward,
    Sample,
    ToolPose,
    Version,
)

POSE, TRAJECTORY = "geometry_msgs/msg/PoseStamped", "trajectory_msgs/msg/JointTrajectory"
STATE, COMPRESSED, RAW = "sensor_msgs/msg/JointState", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/Image"
STRING, STATUS, FLOAT = "std_msgs/msg/String", "diagnostic_msgs/msg/DiagnosticStatus", "std_msgs/msg/Float32"

TOPICS: Mapping[str, str] = {
    "joint_states": STATE,
    "ee_pose": POSE,
    "gripper/state": STATE,
    "policy/command_raw": POSE,
    "policy/gripper_raw": TRAJECTORY,
    "teleop/command_raw": POSE,
    "teleop/gripper_raw": TRAJECTORY,
    "command": TRAJECTORY,
    "command/pose": POSE,
    "safety/state": STATUS,
    "policy/version": STRING,
    "policy/step_info": STRING,
    "episode/reward": FLOAT,
}
"""Relative topic -> type of everything that a step is made of, less the cameras."""

LATCHED = ("safety/state", "policy/version", "command", "command/pose")
"""Topics whose last message from before an episode belongs to it."""

_PAIRS = {
    "policy/command_raw": "policy/gripper_raw",
    "teleop/command_raw": "teleop/gripper_raw",
    "command/pose": "command",
}
_HALVES = {half: pose for pose, half in _PAIRS.items()} | {pose: pose for pose in _PAIRS}
_TOPIC_OF: Mapping[type, str] = {
    Joints: "joint_states", Gripper: "gripper/state", ToolPose: "ee_pose", JointCommand: "command", Mode: "safety/state",
    Version: "policy/version", PolicyStep: "policy/step_info", Reward: "episode/reward",
}  # fmt: skip
_WAITING = 64  # halves kept per pair until the other comes


class Message(NamedTuple):
    """One message as it travels."""

    topic: str
    """Relative."""
    type: str
    cdr: bytes | memoryview


@lru_cache(1)
def typestore() -> Any:
    """The message types of ROS 2 Jazzy; raises MissingExtraError without rosbags."""
    try:
        from rosbags.typesys import Stores, get_typestore
    except ImportError:
        raise MissingExtraError("rosbags", "ros", "recording and reading ROS messages") from None
    return get_typestore(Stores.ROS2_JAZZY)


def camera_topic(camera: str) -> str:
    """Relative topic of a camera's compressed frames."""
    return f"camera/{camera}/image_raw/compressed"


def camera_of(topic: str) -> str | None:
    """Name of the camera whose frames come on a relative topic."""
    parts = topic.split("/")
    named = len(parts) >= 3 and parts[0] == "camera" and parts[2] == "image_raw" and parts[3:] in ([], ["compressed"])
    return parts[1] if named else None


class Decoder:
    """Messages -> samples.

    Args:
        cameras: role -> camera name in the topics.
        joint_names: which joints of `joint_states`, in which order; none where joints are not asked for.
    """

    def __init__(self, cameras: Mapping[str, str], joint_names: Sequence[str] = ()):
        self._roles = {name: role for role, name in cameras.items()}
        self._joint_names = list(joint_names)
        self._halves: dict[str, dict[int, Any]] = {}
        self._store = typestore()
        self.faults: Counter[str] = Counter()
        """Topic -> messages that could not be used."""
        self.reasons: dict[str, str] = {}
        """Topic -> what was wrong with the last of them."""

    def decode(self, message: Message, received_ns: int) -> Sample | None:
        """The sample in a message, None where there is none (another topic, half a pair, unreadable).

        `received_ns` is the stamp of what carries none.
        """
        camera = camera_of(message.topic)
        expected = TOPICS.get(message.topic) or (camera in self._roles and message.type)
        if not expected:
            return None
        if message.type != expected:
            self._refuse(message.topic, f"type {message.type}")
            return None
        try:
            content = self._store.deserialize_cdr(message.cdr, message.type)
            if camera is not None:
                return _frame(content, message.type, self._roles[camera])
            return self._sample(message.topic, content, received_ns)
        except (
            ValueError,
            KeyError,
            IndexError,
            TypeError,
            AssertionError,
            struct.error,
            OverflowError,
            AttributeError,
            StopIteration,
        ) as error:
            self._refuse(message.topic, str(error)[:80] or type(error).__name__)
            return None
        except serde_error() as error:
            self._refuse(message.topic, str(error)[:80])
            return None

    def unpaired(self) -> int:
        """Halves that still wait for the other."""
        return sum(len(waiting) for waiting in self._halves.values())

    def _refuse(self, topic: str, reason: str) -> None:
        self.faults[topic] += 1
        self.reasons[topic] = reason

    def _sample(self, topic: str, content: Any, received_ns: int) -> Sample | None:
        if topic in _HALVES:
            return self._paired(topic, content)
        match topic:
            case "joint_states":
                return self._joints(content)
            case "gripper/state":
                return Gripper(_stamp(content), float(content.position[content.name.index("gripper")]))
            case "ee_pose":
                return ToolPose(_stamp(content), _pose(content))
            case "safety/state":
                values = {pair.key: pair.value for pair in content.values}
                return Mode(int(values.get("stamp_ns", received_ns)), (values.get("mode") or content.message).lower())
            case "policy/version":
                return Version(received_ns, _version(content.data))
            case "policy/step_info":
                return _policy_step(_json(content.data))
        return Reward(received_ns, float(content.data))

    def _joints(self, content: Any) -> Joints | None:
        if not self._joint_names:
            return None
        at = {name: i for i, name in enumerate(content.name)}
        return Joints(_stamp(content), np.array([content.position[at[name]] for name in self._joint_names]))

    def _paired(self, topic: str, content: Any) -> Sample | None:
        pair, stamp = _HALVES[topic], _stamp(content)
        waiting = self._halves.setdefault(pair, {})
        other = waiting.get(stamp)
        if other is None or other[0] == topic:
            waiting[stamp] = (topic, content)
            if len(waiting) > _WAITING:
                del waiting[min(waiting)]
                self._refuse(pair, "half a pair")
            return None
        del waiting[stamp]
        pose, joints = (content, other[1]) if topic == pair else (other[1], content)
        gripper = float(joints.points[0].positions[joints.joint_names.index("gripper")])
        if pair != "command/pose":
            return Request(PoseTarget(stamp, _pose(pose), gripper), cast(Source, pair.split("/")[0]))
        named = dict(zip(joints.joint_names, joints.points[0].positions.tolist(), strict=True))
        q = [named[name] for name in self._joint_names] or [v for name, v in named.items() if name != "gripper"]
        return JointCommand(stamp, np.array(q), gripper, _pose(pose))


def encode(sample: Sample, joint_names: Sequence[str] = (), cameras: Mapping[str, str] | None = None) -> list[Message]:
    """The messages of a sample; joints are called joint_1.. where no names are given.

    Raises DataError for values that no message can carry.
    """
    try:
        return _encoded(sample, joint_names, cameras)
    except (struct.error, ValueError, TypeError, AttributeError, OverflowError, serde_error()) as error:
        raise DataError(f"a sample of {topic_of(sample, cameras)} fits no message: {str(error)[:80]}.") from None


def _encoded(sample: Sample, joint_names: Sequence[str], cameras: Mapping[str, str] | None) -> list[Message]:
    match sample:
        case Frame(stamp, role, image):
            topic = camera_topic((cameras or {}).get(role, role))
            header = _header(stamp, f"camera_{role}_optical_frame")
            kind = "png" if bytes(image[:4]) == b"\x89PNG" else "jpeg"
            return [_message(topic, header, kind, np.frombuffer(image, np.uint8), type=COMPRESSED)]
        case Joints(stamp, q):
            return [_state("joint_states", stamp, _names(joint_names, q), q)]
        case Gripper(stamp, opening):
            return [_state("gripper/state", stamp, ["gripper"], [opening])]
        case ToolPose(stamp, pose):
            return [_pose_message("ee_pose", stamp, pose)]
        case Request(target, source):
            asked = _pose_message(f"{source}/command_raw", target.stamp_ns, target.T_base_tool)
            half = _trajectory(f"{source}/gripper_raw", target.stamp_ns, ["gripper"], [target.gripper])
            seen = PolicyStep(target.stamp_ns, target.observation_ns)
            return [asked, half, *(encode(seen) if target.observation_ns else [])]
        case JointCommand(stamp, q, gripper, pose):
            names = [*_names(joint_names, q), "gripper"]
            return [_trajectory("command", stamp, names, [*q, gripper]), _pose_message("command/pose", stamp, pose)]
        case PolicyStep():
            values = sample._asdict()
            action = None if sample.action is None else [float(v) for v in sample.action]
            return [_text("policy/step_info", {**values, "action": action})]
        case Version(_, version):
            return [_text("policy/version", {"sha256": version})]
        case Mode(stamp, name):
            pairs = [_new("diagnostic_msgs/msg/KeyValue", k, v) for k, v in (("mode", name), ("stamp_ns", str(stamp)))]
            return [_message("safety/state", 0, "safety", name, "", pairs, type=STATUS)]
        case Reward(_, value):
            return [_message("episode/reward", value, type=FLOAT)]


def serde_error() -> type[Exception]:
    """What rosbags raises on values or bytes that are not of a type."""
    from rosbags.serde import SerdeError

    return SerdeError


def topic_of(sample: Sample, cameras: Mapping[str, str] | None = None) -> str:
    """Relative topic of a sample's (first) message."""
    if isinstance(sample, Frame):
        return camera_topic((cameras or {}).get(sample.camera, sample.camera))
    if isinstance(sample, Request):
        return f"{sample.source}/command_raw"
    return _TOPIC_OF[type(sample)]


def header_stamp(cdr: bytes | memoryview) -> int:
    """Stamp [ns] of a little-endian message that starts with a Header."""
    seconds, nanoseconds = struct.unpack_from("<iI", cdr, 4)
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


def _json(text: str) -> dict[str, Any]:
    values = json.loads(text)
    if not isinstance(values, dict):
        raise ValueError("the JSON is no object")
    return values


def _version(text: str) -> str:
    """The hash in {"sha256": ..}, or the text itself where it is no JSON."""
    if not text.lstrip().startswith("{"):
        return text.strip()
    values = _json(text)
    return str(next(values[key] for key in ("sha256", "policy_version", "version") if key in values))


def _policy_step(info: Mapping[str, Any]) -> PolicyStep:
    action = info.get("action")
    return PolicyStep(
        int(info["stamp_ns"]),
        int(info.get("observation_ns", 0)),
        float(info.get("inference_ms", 0.0)),
        float(info.get("tick_interval_ms", 0.0)),
        None if action is None else np.array(action, np.float64),
    )


def _stamp(content: Any) -> int:
    stamp = content.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def _pose(content: Any) -> Float64:
    p, q = content.pose.position, content.pose.orientation
    quaternion = np.array([q.x, q.y, q.z, q.w])
    if not 0.5 < float(np.linalg.norm(quaternion)) < 2:  # NaN fails too
        raise ValueError("the orientation is no unit quaternion")
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = quaternion_to_matrix(quaternion), (p.x, p.y, p.z)
    return pose


def _frame(content: Any, type: str, role: str) -> Frame:
    if type == COMPRESSED:
        return Frame(_stamp(content), role, content.data)
    height, width, encoding = int(content.height), int(content.width), str(content.encoding)
    if type != RAW or encoding not in ("rgb8", "bgr8"):
        raise ValueError(f"frames of type {type} {encoding!r}; rgb8, bgr8 and compressed ones are read")
    rows = np.asarray(content.data, np.uint8)[: height * int(content.step)].reshape(height, int(content.step))
    pixels = rows[:, : width * 3].reshape(height, width, 3)
    return Frame(_stamp(content), role, pixels if encoding == "rgb8" else pixels[..., ::-1])


def _names(joint_names: Sequence[str], q: Float64) -> list[str]:
    return list(joint_names) or [f"joint_{i + 1}" for i in range(len(q))]


def _new(type: str, *values: Any) -> Any:
    return typestore().types[type](*values)


def _header(stamp_ns: int, frame: str = "base_link") -> Any:
    return _new("std_msgs/msg/Header", _new("builtin_interfaces/msg/Time", *divmod(stamp_ns, 1_000_000_000)), frame)


def _message(topic: str, *values: Any, type: str) -> Message:
    return Message(topic, type, typestore().serialize_cdr(_new(type, *values), type))


def _text(topic: str, values: Mapping[str, Any]) -> Message:
    return _message(topic, json.dumps(values), type=STRING)


def _state(topic: str, stamp: int, names: list[str], position: Any) -> Message:
    nothing = np.zeros(0)
    return _message(topic, _header(stamp), names, np.asarray(position, float), nothing, nothing, type=STATE)


def _pose_message(topic: str, stamp: int, T_base_tool: Float64) -> Message:
    position = _new("geometry_msgs/msg/Point", *T_base_tool[:3, 3].tolist())
    turned = _new("geometry_msgs/msg/Quaternion", *matrix_to_quaternion(T_base_tool[:3, :3]).tolist())
    return _message(topic, _header(stamp), _new("geometry_msgs/msg/Pose", position, turned), type=POSE)


def _trajectory(topic: str, stamp: int, names: list[str], positions: Any) -> Message:
    nothing, now = np.zeros(0), _new("builtin_interfaces/msg/Duration", 0, 0)
    point = _new("trajectory_msgs/msg/JointTrajectoryPoint", np.asarray(positions, float), *[nothing] * 3, now)
    return _message(topic, _header(stamp), names, [point], type=TRAJECTORY)
