"""Faults of a simulated robot, as parameters that may be set while it runs: what the fault matrix and operators' training need."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rcl_interfaces.msg import FloatingPointRange, ParameterDescriptor
from rclpy.node import Node

from robot_pt.commands import Float64
from robot_pt_ros.node import flag, number, text


class Faults:
    """Reads its parameters at every use: `ros2 param set /sim drop_image_p 0.5` works at once."""

    def __init__(self, node: Node):
        share = [FloatingPointRange(from_value=0.0, to_value=1.0, step=0.0)]
        declare = node.declare_parameter
        declare(
            "drop_image_p",
            0.0,
            ParameterDescriptor(description="Share of camera frames that are lost.", floating_point_range=share),
        )
        declare(
            "image_delay_s",
            0.0,
            ParameterDescriptor(description="Camera frames arrive this much later [s]; stamps stay true."),
        )
        declare(
            "freeze_images",
            False,
            ParameterDescriptor(description="Cameras repeat their last picture under new stamps."),
        )
        declare("black_images", False, ParameterDescriptor(description="Cameras show black."))
        declare("nan_state", False, ParameterDescriptor(description="Joint positions are NaN."))
        declare("freeze_joint_states", False, ParameterDescriptor(description="Joint states stop coming."))
        declare("wrong_joint", "", ParameterDescriptor(description="This joint has another name in joint_states."))
        declare(
            "reverse_joints",
            False,
            ParameterDescriptor(description="joint_states list joints from the last to the first."),
        )
        declare("stall_arm", False, ParameterDescriptor(description="The arm stays where it is, whatever it is sent."))
        declare(
            "clock_offset_s",
            0.0,
            ParameterDescriptor(description="Every stamp, and /clock, is off by this [s]; < 0: jumps back."),
        )
        self._node = node
        self._rng = np.random.default_rng(0)
        self._frozen: dict[str, NDArray[np.uint8]] = {}

    @property
    def delay_s(self) -> float:
        return number(self._node, "image_delay_s")

    @property
    def stalled(self) -> bool:
        return flag(self._node, "stall_arm")

    @property
    def clock_offset_ns(self) -> int:
        return round(1e9 * number(self._node, "clock_offset_s"))

    def image(self, camera: str, frame: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
        """The frame that is sent instead, None = lost."""
        if self._rng.random() < number(self._node, "drop_image_p"):
            return None
        if flag(self._node, "black_images"):
            return np.zeros_like(frame)
        if not flag(self._node, "freeze_images"):
            self._frozen[camera] = frame
        return self._frozen.setdefault(camera, frame)

    def joints(self, q: Float64) -> Float64 | None:
        """The joints that are sent instead, None = none."""
        if flag(self._node, "freeze_joint_states"):
            return None
        return np.full_like(q, np.nan) if flag(self._node, "nan_state") else q

    def listed(self, names: list[str], q: Float64) -> tuple[list[str], Float64]:
        """Names and positions in the order in which they are sent."""
        return (names[::-1], q[::-1]) if flag(self._node, "reverse_joints") else (names, q)

    def names(self, names: list[str]) -> list[str]:
        """The joint names that are sent instead."""
        wrong = text(self._node, "wrong_joint")
        return [f"{name}_x" if name == wrong else name for name in names]
