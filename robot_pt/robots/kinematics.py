"""Forward kinematics by MuJoCo and differential inverse kinematics by mink, on buffers that are reused from call to call.

One iteration is mink's quadratic program (a FrameTask, and a PostureTask where the arm is redundant) at the present joints, with
the joints' box as DAQP's simple bounds; it is repeated until the tool is there or gets no nearer. A target one control tick away
takes one or two. What `mink.solve_ik` adds is left out: a supervisor ticks so seldom that every line of code is fetched from memory
anew, and the general way through mink and qpsolvers costs more than twice as much; the tests compare their steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import dist, hypot, isfinite
from typing import NamedTuple, final

import numpy as np

from robot_pt.commands import Float64
from robot_pt.errors import MissingExtraError
from robot_pt.robots.model import FINGER_SITES, LINK_SITES, TOOL_SITE, ArmModel
from robot_pt.rotations import matrix_to_quaternion

POSITION_TOLERANCE_M, ROTATION_TOLERANCE_RAD = 1e-6, 1e-6
"""Converged: far below what an arm resolves."""
METRES_PER_RADIAN = 0.3
"""How much rotation is given up for position when both cannot be had: 1 cm weighs as much as 0.033 rad (1.9 degrees)."""
LM_DAMPING, STEP_DAMPING = 0.1, 1e-8
"""Of the joints' steps: the first times the squared error of the tool, the second always, for singular configurations."""
HOMING = 0.02
"""Share of its way to the home pose that a redundant arm takes per call in the joint motion that leaves the tool in place:
without it the elbow drifts along closed paths of the tool."""
LONGEST_STEP_RAD = 0.5
"""Of one joint in one iteration: beyond it the linear model of the arm says nothing."""
STALLED, PROGRESS = 3, 0.999
"""Ends after so many iterations in a row that left more than this share of the smallest error."""
MOST_ITERATIONS, MOST_ITERATIONS_OF_A_TICK = 40, 8
"""Ends at the latest: in a control loop, where the step is limited, the next tick goes on from there."""


class IKResult(NamedTuple):
    """What inverse kinematics reached."""

    q: Float64  # (J,) [rad], within the limits
    position_error_m: float
    """Distance between the tool at `q` and the target."""
    rotation_error_rad: float
    """Angle between the tool at `q` and the target."""

    @property
    def converged(self) -> bool:
        """The tool is at the target."""
        return self.position_error_m < POSITION_TOLERANCE_M and self.rotation_error_rad < ROTATION_TOLERANCE_RAD

    @property
    def weighted_error_m(self) -> float:
        """The one number that is made small."""
        return hypot(self.position_error_m, METRES_PER_RADIAN * self.rotation_error_rad)


@final
class Kinematics:
    """Kinematics of one `ArmModel`; its arguments were checked by `Arm`. Not thread-safe."""

    def __init__(self, model: ArmModel):
        """Raises MissingExtraError when mink or daqp is not installed."""
        try:
            import daqp
            import mink
        except ModuleNotFoundError as error:
            raise MissingExtraError(error.name or "mink", "sim", "inverse kinematics") from None
        self._arm, self._pose, self._minimum_of = model, mink.SE3, daqp.solve
        self._configuration = mink.Configuration(model.kinematics)
        data = self._configuration.data
        sites = {name: model.kinematics.site(name).id for name in (*LINK_SITES, TOOL_SITE)}
        self._positions = {name: data.site_xpos[number] for name, number in sites.items()}  # views
        self._tool = self._positions[TOOL_SITE]
        self._rotation = data.site_xmat[sites[TOOL_SITE]].reshape(3, 3)  # view
        self._q = data.qpos  # view
        self._tool_task = mink.FrameTask(
            TOOL_SITE, "site", position_cost=1.0, orientation_cost=METRES_PER_RADIAN, lm_damping=LM_DAMPING
        )
        joints = len(model.joint_names)
        self._redundant = joints > 6
        self._damping = STEP_DAMPING * np.eye(joints)
        posture = mink.PostureTask(model.kinematics, cost=np.sqrt(STEP_DAMPING * HOMING / (1 - HOMING)))
        posture.set_target(model.home_rad)
        self._homing = posture.compute_qp_objective(self._configuration).H  # the same everywhere: its c is H (q - home)
        self._no_rows, self._plain = (
            np.zeros((0, joints)),
            np.zeros(joints, np.int32),
        )  # DAQP: bounds only, none special
        self.solve(
            self.tool(model.sleep_rad), model.home_rad, 0
        )  # the slow first solve, and a broken solver, show here

    def tool(self, q: Float64) -> Float64:
        """(J,) -> T_base_tool (4, 4)."""
        self._be_at(q)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = self._rotation, self._tool
        return pose

    def points(self, q: Float64, gripper: float) -> dict[str, Float64]:
        """(J,) and an opening -> points of the arm in the base frame, (3,) each."""
        self._be_at(q)
        tips = self._arm.closed_tool + gripper * (self._arm.open_tool - self._arm.closed_tool)  # (2, 3) tool frame
        fingers = tips @ self._rotation.T + self._tool
        points = {name: position.copy() for name, position in self._positions.items()}
        return points | dict(zip(FINGER_SITES, fingers, strict=True))

    def follow(self, target: Float64, start: Float64, max_step_rad: Float64) -> IKResult:
        """Towards `target` (4, 4), no joint farther than `max_step_rad` (J,) from `start`."""
        lower = np.maximum(start - max_step_rad, self._arm.lower_rad)
        upper = np.minimum(start + max_step_rad, self._arm.upper_rad)
        return self._descend(target, start, lower, upper, MOST_ITERATIONS_OF_A_TICK)

    def solve(self, target: Float64, start: Float64, restarts: int) -> IKResult:
        """The best of a descent from `start`, and of `restarts` more while none has converged, towards `target` (4, 4)."""
        lower, upper = self._arm.lower_rad, self._arm.upper_rad
        best = self._descend(target, start, lower, upper, MOST_ITERATIONS)
        for other in self._other_starts(restarts) if restarts else ():
            if best.converged:
                break
            result = self._descend(target, other, lower, upper, MOST_ITERATIONS)
            best = min(best, result, key=lambda one: one.weighted_error_m)
        return best

    def _be_at(self, q: Float64) -> None:
        """A tick of a gate begins where the last one ended, and looks at the points of what it has just solved."""
        if self._q.tolist() != q.tolist():  # which NaN never equals
            self._configuration.update(q)

    def _other_starts(self, count: int) -> Iterator[Float64]:
        random = np.random.default_rng(0)  # the same configurations in every call
        for number in range(count):
            home = number == 0
            yield self._arm.home_rad if home else random.uniform(self._arm.lower_rad, self._arm.upper_rad)

    def _descend(self, target: Float64, start: Float64, lower: Float64, upper: Float64, most: int) -> IKResult:
        """The configuration nearest to the target on the way of the steps; `start` where all the others are worse.

        All of it stays in the box `lower` .. `upper` (J,), which `start` lies in.
        """
        self._aim(target)
        position = target[:3, 3].tolist()
        self._be_at(start)
        best = self._reached(position)
        stalled, first = 0, True
        for _ in range(most):
            if best.converged or stalled == STALLED or not self._step(lower, upper, homing=first and self._redundant):
                break
            first = False
            result = self._reached(position)
            stalled = 0 if result.weighted_error_m < PROGRESS * best.weighted_error_m else stalled + 1
            if result.weighted_error_m < best.weighted_error_m:
                best = result
        inside = zip(lower.tolist(), best.q.tolist(), upper.tolist(), strict=True)
        assert all(low <= at <= high for low, at, high in inside)  # which NaN is not
        return best

    def _aim(self, target: Float64) -> None:
        x, y, z, w = matrix_to_quaternion(target[:3, :3]).tolist()
        pose = self._pose(np.array([w, x, y, z, *target[:3, 3].tolist()]))
        self._tool_task.transform_target_to_world = pose  # `set_target` copies it

    def _step(self, lower: Float64, upper: Float64, *, homing: bool) -> bool:
        """One step of mink's tasks within the box; False where the solver finds none."""
        q = self._q
        H, c = self._tool_task.compute_qp_objective(self._configuration)
        H += self._damping
        if homing:
            H += self._homing
            c += self._homing @ (q - self._arm.home_rad)
        most = np.minimum(upper - q, LONGEST_STEP_RAD)
        least = np.maximum(lower - q, -LONGEST_STEP_RAD)
        change, _, found, _ = self._minimum_of(H, c, self._no_rows, most, least, self._plain)
        if found <= 0 or not all(map(isfinite, change.tolist())):
            return False
        self._configuration.update(np.minimum(np.maximum(q + change, lower), upper))
        return True

    def _reached(self, position: list[float]) -> IKResult:
        twist = self._tool_task.compute_error(self._configuration)  # (6,) its rotation part is angle times axis
        return IKResult(
            q=self._q.copy(),
            position_error_m=dist(position, self._tool.tolist()),
            rotation_error_rad=hypot(*twist[3:].tolist()),
        )
