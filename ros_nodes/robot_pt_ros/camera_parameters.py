"""The camera node's parameters -> what to open, how, and what its frames are called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.node import Node

from robot_pt.errors import UserError
from robot_pt_ros.camera_calibration import read_calibration
from robot_pt_ros.camera_sources import Source, Wanted, open_source
from robot_pt_ros.node import flag, number, size, text


def declare(node: Node) -> None:
    """Declare every parameter of a camera node, read-only after the start."""
    fixed = lambda words, **more: ParameterDescriptor(description=words, read_only=True, **more)  # noqa: E731
    quality = [IntegerRange(from_value=1, to_value=100, step=1)]
    rate = [FloatingPointRange(from_value=0.0, to_value=1000.0, step=0.0)]
    node.declare_parameter("camera", "primary", fixed("Role, as in the topics and the policy's cameras."))
    node.declare_parameter("source", "", fixed("Device (/dev/video0 or 0), stream address, video file or folder."))
    node.declare_parameter("image_size", [0, 0], fixed("Height and width asked of a device [px]; 0 leaves it."))
    node.declare_parameter("rate_hz", 0.0, fixed("Of a device or file [Hz]; 0 leaves it.", floating_point_range=rate))
    node.declare_parameter("fourcc", "", fixed("Format asked of a device, e.g. MJPG; empty leaves it."))
    node.declare_parameter("loop", True, fixed("Play a file or folder again and again."))
    node.declare_parameter("frame_id", "base_link", fixed("Of the arm; frames are named by optical_frame_id."))
    node.declare_parameter("optical_frame_id", "", fixed("Frame of the images; empty: camera_<role>_optical_frame."))
    node.declare_parameter("jpeg_quality", 95, fixed("1 to 100.", integer_range=quality))
    node.declare_parameter("camera_info_url", "", fixed("Calibration file; empty: not calibrated."))


class CameraSettings(NamedTuple):
    """One camera."""

    role: str
    link: str
    """Frame of the images."""
    jpeg_quality: int
    calibration: Any
    """CameraInfo, or None."""
    opener: Callable[[], Source]


def read(node: Node) -> CameraSettings:
    """Raises UserError for a role, format, size, calibration or source that cannot be meant."""
    role, fourcc, (height, width) = text(node, "camera"), text(node, "fourcc"), size(node, "image_size")
    if not role or "/" in role:
        raise UserError(f"camera is {role!r}; give a role such as primary or wrist.")
    if len(fourcc) not in (0, 4):
        raise UserError(f"fourcc is {fourcc!r}; give four letters such as MJPG, or leave it empty.")
    url = text(node, "camera_info_url")
    return CameraSettings(
        role,
        text(node, "optical_frame_id") or f"camera_{role}_optical_frame",
        int(number(node, "jpeg_quality")),
        read_calibration(url) if url else None,
        open_source(text(node, "source"), Wanted(height, width, number(node, "rate_hz"), fourcc, flag(node, "loop"))),
    )
