"""What every simulated arm shows of an episode, and when one ends: the same for robosuite's Panda and the kitchens' WidowX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np

from robot_pt.errors import UserError
from robot_pt.robots import Arm
from robot_pt.rotations import Array, matrix_to_rpy
from robot_pt.schema import CAMERA_ROLES, Float, Image, Observation
from robot_pt.simulator import StepResult
from robot_pt_sim.rendering import CameraRenderer
from robot_pt_sim.scene import Pose, SceneState

HOLD_STEPS = 3
"""Control steps the success test must keep holding after it first holds; PTR rewards an episode's last three steps."""
SETTLE_S = 0.4
"""Simulated time between placing everything and the first observation [s]."""


@final
class Progress:
    """How far an episode is: it succeeds when its success test has held `hold_steps` steps longer than once, and ends at `horizon`."""

    def __init__(self, hold_steps: int, horizon: int):
        self.hold_steps, self._horizon = hold_steps, horizon
        self.steps = self._held = 0

    def begin(self) -> None:
        """The first observation of an episode."""
        self.steps = self._held = 0

    def step(self, holds: bool) -> None:
        """One more control step; `holds`: the success test, after it."""
        self.steps += 1
        self._held = self._held + 1 if holds else 0

    def result(self, observation: Observation, sent_action: Float) -> StepResult:
        """Of the last step."""
        success = self._held > self.hold_steps
        return StepResult(
            observation=observation,
            sent_action=sent_action,
            reward=1.0 if success else 0.0,
            success=success,
            terminated=success,
            truncated=not success and self.steps >= self._horizon,
        )


def observation(
    arm: Arm, q: Array, opening: float, images: Mapping[str, Image], time_s: float, shown: Sequence[Pose] = ()
) -> Observation:
    """Proprio by the kinematics of a robot's runtime, where policies see the same bits; then x, y, z of what is `shown`."""
    T_base_tool = arm.fk(q)
    proprio = np.concatenate(
        [T_base_tool[:3, 3], matrix_to_rpy(T_base_tool[:3, :3]), [opening], *(pose.position for pose in shown)]
    )
    return Observation(
        images=images, proprio=proprio.astype(np.float32), time_ns=round(time_s * 1e9), joint_positions=q
    )


def frames(
    renderer: CameraRenderer | None, data: Any, cameras: Mapping[str, int], sizes: Mapping[str, tuple[int, int]]
) -> dict[str, Image]:
    """Role -> (H, W, 3) uint8; black without a renderer."""
    if renderer is None:
        return {role: np.zeros((*sizes[role], 3), np.uint8) for role in cameras}
    return {role: renderer.render(data, camera) for role, camera in cameras.items()}


def described(state: SceneState) -> dict[str, Any]:
    """JSON values for people: positions [m], roll pitch yaw [rad], base frame, rounded."""
    return {
        "tool_position": state.tool.position.round(5).tolist(),
        "joints": {name: round(value, 5) for name, value in state.joints.items()},
        "objects": {
            name: {"position": p.position.round(5).tolist(), "rpy": matrix_to_rpy(p.rotation).round(5).tolist()}
            for name, p in state.objects.items()
        },
    }


def require_cameras(cameras: Sequence[str], image_size: tuple[int, int]) -> None:
    """Raise UserError for no camera, an unknown role, or a silly size."""
    if not cameras or set(cameras) - set(CAMERA_ROLES):
        raise UserError(f"camera roles {list(cameras)} were asked for; choose from {', '.join(CAMERA_ROLES)}.")
    if min(image_size) < 8 or max(image_size) > 2048:
        raise UserError(f"image_size is {image_size}; give (height, width) between 8 and 2048 pixels.")
