"""The torque law against robosuite's own controller, and against its definition."""

import numpy as np
import pytest

from robot_pt.rotations import rpy_to_matrix
from robot_pt_sim.osc import OperationalSpaceController, rotation_error


@pytest.fixture(scope="module")
def both(robosuite):
    """(model, data, robosuite's arm controller, ours) of one Lift scene."""
    env = robosuite.make(
        "Lift",
        robots="Panda",
        has_renderer=False,
        has_offscreen_renderer=False,
        use_camera_obs=False,
        renderer="mujoco",
        control_freq=5,
        seed=0,
    )
    env.reset()
    robot = env.robots[0]
    theirs = robot.part_controllers["right"]
    ours = OperationalSpaceController(
        env.sim.model._model,
        site=robot.eef_site_id["right"],
        dofs=robot._ref_joint_vel_indexes,
        qpos=robot._ref_joint_pos_indexes,
        actuators=robot._ref_arm_joint_actuator_indexes,
        rest_joints=theirs.initial_joint,
    )
    yield env.sim.model._model, env.sim.data._data, theirs, ours
    env.close()


def test_torques_equal_robosuites(both):
    import mujoco

    model, data, theirs, ours = both
    rng = np.random.default_rng(0)
    theirs.update_origin(np.zeros(3), np.eye(3))  # goals in the world frame
    biggest = 0.0
    for _ in range(40):
        mujoco.mj_step1(model, data)
        position = data.site_xpos[ours._site] + rng.uniform(-0.05, 0.05, 3)
        rotation = rpy_to_matrix(rng.uniform(-0.2, 0.2, 3)) @ data.site_xmat[ours._site].reshape(3, 3)
        theirs.goal_pos, theirs.goal_ori = position, rotation
        theirs.update(force=True)
        expected = np.clip(theirs.run_controller(), *theirs.actuator_limits)
        got = ours.torques(data, position, rotation)
        np.testing.assert_allclose(got, expected, atol=1e-9)
        biggest = max(biggest, float(np.abs(got).max()))
        data.ctrl[: len(got)] = got
        mujoco.mj_step2(model, data)
        mujoco.mj_step(model, data, nstep=15)
    assert biggest > 10  # the comparison saw real motion


def test_at_rest_on_the_target_only_gravity_is_carried(both):
    import mujoco

    model, data, _, ours = both
    data.qvel[:] = 0
    data.qpos[ours._qpos] = ours._rest
    mujoco.mj_forward(model, data)
    torque = ours.torques(data, data.site_xpos[ours._site].copy(), data.site_xmat[ours._site].reshape(3, 3).copy())
    np.testing.assert_allclose(torque, data.qfrc_bias[ours._dofs], atol=1e-9)


@pytest.mark.parametrize("axis", range(3))
def test_rotation_error_is_the_sine_along_the_axis(axis):
    direction = np.eye(3)[axis]
    current = rpy_to_matrix([0.3, -0.2, 0.9])
    desired = rpy_to_matrix(direction * 0.4) @ current
    np.testing.assert_allclose(rotation_error(desired, current), np.sin(0.4) * direction, atol=1e-12)
