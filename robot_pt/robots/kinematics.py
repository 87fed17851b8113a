"""Forward kinematics by MuJoCo and inverse kinematics by mink, on buffers that are reused from call to call."""

from __future__ import annotations

from typing import Any, NamedTuple, final

import numpy as np

from robot_pt.commands import Float64
from robot_pt.errors import MissingExtraError
from robot_pt.robots.model import FINGER_SITES, LINK_SITES, TOOL_SITE, ArmModel

POSITION_TOLERANCE_M, ROTATION_TOLERANCE_RAD = 1e-6, 1e-6
"""Converged; far below what an arm resolves, and reached in one more step from 1e-3."""
METRES_PER_RADIAN = 0.3
"""How much rotation is given up for position when both cannot be had: 1 cm weighs as much as 0.033 rad (1.9 degrees)."""
MOST_ITERATIONS = 40
LM_DAMPING, STEP_COST = 0.1, 1e-3
LONGEST_STEP_RAD = 0.5
"""Of one joint in one iteration: beyond it the linear model of the arm says nothing."""


class IKResult(NamedTuple):
    """What inverse kinematics reached."""

    q: Float64  # (J,) [rad], within the limits
    position_error_m: float
    """Distance between the tool at `q` and the target."""
    rotation_error_rad: float
    """Angle between the tool at `q` and the target."""


@final
class Kinematics:
    """Kinematics of one `ArmModel`. Not thread-safe."""

    def __init__(self, model: ArmModel):
        try:
            import daqp  # noqa: F401  mink finds the solver by name
            import mink
        except ModuleNotFoundError as error:
            raise MissingExtraError(error.name or "mink", "sim", "inverse kinematics") from None
        self._mink = mink
        self._arm = model
        self._configuration = mink.Configuration(model.kinematics)
        self._data = self._configuration.data
        sites = {name: model.kinematics.site(name).id for name in (*LINK_SITES, TOOL_SITE)}
        self._position = {name: self._data.site_xpos[number] for name, number in sites.items()}  # views
        self._rotation = self._data.site_xmat[sites[TOOL_SITE]].reshape(3, 3)  # view
        self._tool_task = mink.FrameTask(
            TOOL_SITE, "site", position_cost=1.0, orientation_cost=METRES_PER_RADIAN, lm_damping=LM_DAMPING
        )
        self._tasks = [self._tool_task, mink.DampingTask(model.kinematics, cost=STEP_COST)]
        self._limit = mink.ConfigurationLimit(model.kinematics, gain=1.0)

    def tool(self, q: Float64) -> Float64:
        """(J,) -> T_base_tool (4, 4)."""
        self._configuration.update(q)
        return self._pose()

    def points(self, q: Float64, gripper: float) -> dict[str, Float64]:
        """(J,), opening -> points of the arm in the base frame, (3,) each."""
        self._configuration.update(q)
        tips = self._arm.closed_tool + gripper * (self._arm.open_tool - self._arm.closed_tool)  # (2, 3) tool frame
        fingers = tips @ self._rotation.T + self._position[TOOL_SITE]
        points = {name: position.copy() for name, position in self._position.items()}
        return points | dict(zip(FINGER_SITES, fingers, strict=True))

    def _pose(self) -> Float64:
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = self._rotation, self._position[TOOL_SITE]
        return pose

    def solve(self, target: Float64, start: Float64, lower: Float64, upper: Float64, restarts: int) -> IKResult:
        """From `start` within the box `lower` .. `upper` (J,) to the pose `target` (4, 4)."""
        self._tool_task.set_target(self._mink.SE3.from_matrix(target))
        best = self._descend(start, lower, upper)
        return best

    def _descend(self, start: Float64, lower: Float64, upper: Float64) -> IKResult:
        configuration, best, least = self._configuration, None, np.inf
        configuration.update(start)
        for _ in range(MOST_ITERATIONS):
            position, rotation = self._errors()
            merit = float(np.hypot(position, METRES_PER_RADIAN * rotation))
            if merit < least:
                best, least = IKResult(configuration.q, position, rotation), merit
            if position < POSITION_TOLERANCE_M and rotation < ROTATION_TOLERANCE_RAD:
                break
            q = self._data.qpos
            np.maximum(lower, q - LONGEST_STEP_RAD, out=self._limit.lower)
            np.minimum(upper, q + LONGEST_STEP_RAD, out=self._limit.upper)
            velocity = self._mink.solve_ik(configuration, self._tasks, 1.0, "daqp", damping=0.0, limits=[self._limit])
            configuration.update(np.clip(q + velocity, lower, upper))
        assert best is not None
        return best

    def _errors(self) -> tuple[float, float]:
        twist = self._tool_task.compute_error(self._configuration)  # (6,) its rotation part is angle times axis
        goal = self._tool_task.transform_target_to_world.translation()
        return float(np.linalg.norm(goal - self._position[TOOL_SITE])), float(np.linalg.norm(twist[3:]))
