"""Operational space control of an arm on raw MuJoCo: O. Khatib, "A unified approach for motion and force control of
robot manipulators: the operational space formulation", IEEE J-RA 3(1), 1987.

The law and gains are those of robosuite 1.5.2's OSC_POSE with absolute targets (controllers/parts/arm/osc.py), so the
arm moves as it does there; a test holds the torques of both against each other. Here an evaluation reads MuJoCo's
arrays once (about 45 us) and nothing else runs in Python per physics step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from robot_pt.rotations import Array


class OperationalSpaceController:
    """Torques that pull a site of the arm to a world pose, critically damped, with gravity compensation."""

    def __init__(
        self,
        model: Any,
        *,
        site: int,
        dofs: Sequence[int],
        qpos: Sequence[int],
        actuators: Sequence[int],
        rest_joints: Array,
        stiffness: float = 150.0,
        posture_stiffness: float = 10.0,
    ):
        """`stiffness` [1/s^2] acts on the tool, `posture_stiffness` [1/s^2] pulls the null space to `rest_joints` (J,)."""
        self._model, self._site = model, site
        self._dofs, self._qpos = np.asarray(dofs), np.asarray(qpos)
        self.stiffness, self._damping = stiffness, 2 * np.sqrt(stiffness)
        self._posture, self._posture_damping = posture_stiffness, 2 * np.sqrt(posture_stiffness)
        self._rest = np.asarray(rest_joints, np.float64)
        self._range = model.actuator_ctrlrange[np.asarray(actuators)].copy()
        self._jacobian = np.zeros((2, 3, model.nv))
        self._mass = np.zeros((model.nv, model.nv))
        self._mass_block = np.ix_(self._dofs, self._dofs)

    def torques(self, data: Any, position: Array, rotation: Array) -> Array:
        """Joint torques (J,) [Nm] within the actuators' range, for a target in the world frame: (3,) [m] and (3, 3).

        `data` must be fresh from mj_step1 or mj_forward.
        """
        import mujoco

        mujoco.mj_jacSite(self._model, data, self._jacobian[0], self._jacobian[1], self._site)
        mujoco.mj_fullM(self._model, self._mass, data.qM)
        jacobian = self._jacobian[:, :, self._dofs]  # (2, 3, J)
        full = jacobian.reshape(6, -1)
        joint_velocity = data.qvel[self._dofs]
        inverse_mass = np.linalg.inv(self._mass[self._mass_block])
        error = np.concatenate(
            [position - data.site_xpos[self._site], rotation_error(rotation, data.site_xmat[self._site].reshape(3, 3))]
        )
        wanted = self.stiffness * error - self._damping * (full @ joint_velocity)  # (6,) acceleration
        projected = full @ inverse_mass  # (6, J)
        mobility = projected @ full.T  # (6, 6)
        # position and orientation are decoupled: the off-diagonal blocks of the inertia are left out
        blocks = np.stack([mobility[:3, :3], mobility[3:, 3:]])
        wrench = np.linalg.solve(blocks, wanted.reshape(2, 3, 1)).reshape(6)
        posture = self._posture * (self._rest - data.qpos[self._qpos]) - self._posture_damping * joint_velocity
        posture_torque = self._mass[self._mass_block] @ posture
        null = posture_torque - full.T @ np.linalg.solve(mobility, projected @ posture_torque)
        torque = full.T @ wrench + data.qfrc_bias[self._dofs] + null
        return np.asarray(np.clip(torque, self._range[:, 0], self._range[:, 1]))


def rotation_error(desired: Array, current: Array) -> Array:
    """Half the sum of the cross products of the axes (3,): sin(angle) times the axis of the rotation still to go."""
    difference = current @ desired.T  # sum of outer products of the axes
    skew = difference.T - difference
    return 0.5 * np.array([skew[2, 1], skew[0, 2], skew[1, 0]])
