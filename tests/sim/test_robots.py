"""The core's Panda is robosuite's: the same joints, limits and tool, so that gate and simulator mean the same pose."""

from functools import lru_cache

import numpy as np
import pytest

from robot_pt import robots
from robot_pt.rotations import angle_between, matrix_to_rpy
from robot_pt_sim.tasks import TASKS


@lru_cache(1)
def arm():
    """Made late: whoever imports MuJoCo before a simulator has chosen its renderer leaves it none."""
    return robots.load("panda")


@pytest.fixture(scope="module")
def lift(scene):
    simulator = scene("lift")
    simulator.reset(0)
    return simulator


def place(simulator, q, travel=0.04):
    """Put the simulator's arm into (7,) joints, whatever is in the way."""
    import mujoco

    simulator._data.qpos[simulator._arm_qpos] = q
    simulator._data.qpos[simulator._fingers] = travel, -travel
    mujoco.mj_kinematics(simulator._model, simulator._data)


def test_the_tool_is_where_the_simulator_reports_it(lift):
    random = np.random.default_rng(0)
    for _ in range(200):
        q = random.uniform(arm().lower_rad, arm().upper_rad)
        place(lift, q)
        tool, pose = lift._tool(), arm().fk(q)
        assert np.linalg.norm(pose[:3, 3] - tool.position) < 1e-4
        assert np.degrees(angle_between(pose[:3, :3], tool.rotation)) < 0.01


def test_an_observation_agrees_with_its_own_joints(lift):
    """Proprio and joint positions of one observation, as a recorder or gate gets them."""
    observation = lift.reset(3)
    for step in range(5):
        pose = arm().fk(observation.joint_positions)
        np.testing.assert_allclose(pose[:3, 3], observation.proprio[:3], atol=1e-4)
        np.testing.assert_allclose(matrix_to_rpy(pose[:3, :3]), observation.proprio[3:6], atol=2e-4)
        action = np.array([0.02, -0.01, -0.02, 0.02, 0, 0.1, step % 2], np.float32)
        observation = lift.step(action).observation


@pytest.mark.parametrize("task", ["lift-blue", "pick-place-bread", "door", "stack"])
def test_the_base_stands_elsewhere_in_other_scenes_and_the_pose_is_the_same(scene, task):
    assert task in TASKS
    simulator = scene(task)
    simulator.reset(1)
    tool, pose = simulator._tool(), arm().fk(simulator._data.qpos[simulator._arm_qpos])
    assert np.linalg.norm(pose[:3, 3] - tool.position) < 1e-4
    assert np.degrees(angle_between(pose[:3, :3], tool.rotation)) < 0.01


def test_joint_limits_and_home_are_robosuites(lift):
    model = lift._model
    joints = [model.joint(f"robot0_{name}") for name in arm().joint_names]
    np.testing.assert_allclose([j.range[0] for j in joints], arm().lower_rad, atol=1e-9)
    np.testing.assert_allclose([j.range[1] for j in joints], arm().upper_rad, atol=1e-9)
    np.testing.assert_allclose(lift._env.robots[0].init_qpos, arm().home_rad, atol=1e-9)


def test_fingertips_reach_at_least_as_far_as_robosuites(lift):
    """The real hand's tips are 6.5 mm farther out than robosuite's; a gate that checks them errs on the safe side."""
    place(lift, arm().home_rad)
    model, data = lift._model, lift._data
    points, tool = arm().points(arm().home_rad), lift._tool()
    down = tool.rotation @ [0, 0, -1]  # the tool's zero points straight down
    for name, joint in (("left_finger", "finger_joint1"), ("right_finger", "finger_joint2")):
        pads = [g for g in range(model.ngeom) if model.geom(g).name.endswith(f"{joint[-1]}_pad_collision")]
        pad = lift._scene.in_base(data.geom_xpos[pads[0]], data.geom_xmat[pads[0]])
        ours, theirs = points[name] - tool.position, pad.position - tool.position
        side = np.cross(down, ours)
        assert np.dot(side, np.cross(down, theirs)) > 0  # the same finger is called left
        assert ours @ down == pytest.approx(0.107 + 0.0584 + 0.0538 - 0.2035, abs=1e-4)


def test_openings_are_those_the_simulator_reports(lift):
    for travel in (0.0, 0.01, 0.04):
        place(lift, arm().home_rad, travel)
        assert arm().opening(travel) == pytest.approx(lift._achieved_opening(), abs=1e-9)
