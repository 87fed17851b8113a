import json

import numpy as np
import pytest

from robot_pt.errors import UserError
from robot_pt.simulator import Simulator
from robot_pt_sim.panda import HOLD_STEPS, PandaSimulator, panda_spec
from robot_pt_sim.tasks import find_task


def act(dx=0.0, dy=0.0, dz=0.0, yaw=0.0, gripper=1.0):
    return np.array([dx, dy, dz, 0, 0, yaw, gripper], np.float32)


def trace(simulator, seed, actions):
    """(T + 1, ...) everything that is observed and true along an action sequence."""
    simulator.reset(seed)
    rows = []
    for action in actions:
        result = simulator.step(action)
        rows.append([*result.observation.proprio, *result.observation.joint_positions, *simulator._data.qpos])
    return np.array(rows)


def wander(seed, steps=8):
    rng = np.random.default_rng(seed)
    return [act(*rng.uniform(-0.04, 0.04, 3), yaw=rng.uniform(-0.2, 0.2), gripper=rng.random()) for _ in range(steps)]


def test_it_is_a_simulator(scene):
    simulator: Simulator = scene("lift")
    for name in ("spec", "task", "instruction", "horizon", "reset", "step", "initial_conditions", "close"):
        assert hasattr(simulator, name)
    assert simulator.spec.embodiment == "panda"
    assert simulator.spec.control_hz == 5


@pytest.mark.parametrize("task", ["lift-blue", "pick-place-bread", "door", "stack"])
def test_an_episode_depends_on_its_seed_alone(scene, task):
    simulator = scene(task)
    first = trace(simulator, 11, wander(0))
    start = simulator.initial_conditions()
    other = trace(simulator, 12, wander(1))
    again = trace(simulator, 11, wander(0))
    np.testing.assert_array_equal(first, again)
    assert start == simulator.initial_conditions()
    assert not np.allclose(first, other)
    json.dumps(start)
    assert start["seed"] == 11


def test_a_door_stands_anywhere_in_its_ranges_and_the_usual_one_in_robosuites(scene):
    def starts(task):
        simulator = scene(task)
        body = simulator._model.body("Door_main").id
        for seed in range(25):
            simulator.reset(seed)
            x, y, _ = simulator._data.xpos[body] - simulator._env.table_offset
            front = simulator._data.xmat[body].reshape(3, 3)[:, 0]
            yield x, y, np.arctan2(front[1], front[0]) + np.pi / 2 + 0.125

    usual, anywhere = (np.array(list(starts(task))) - (0.08, 0.0, 0.0) for task in ("door", "door-anywhere"))
    for places, half in ((usual, (0.01, 0.01, 0.125)), (anywhere, (0.08, 0.16, 0.35))):
        assert (np.abs(places) <= np.array(half) + 1e-6).all()
        assert (np.ptp(places, axis=0) > 1.5 * np.array(half)).all()


def test_a_fresh_process_would_see_the_same(scene):
    fresh = PandaSimulator(find_task("lift-blue"), render=False)
    np.testing.assert_array_equal(trace(fresh, 11, wander(0, 3)), trace(scene("lift-blue"), 11, wander(0, 3)))
    fresh.close()


def test_the_tool_follows_the_commanded_target(scene):
    simulator = scene("lift")
    simulator.reset(0)
    for _ in range(4):
        simulator.step(act(0.02, -0.02, 0.01, yaw=0.1))
    for _ in range(3):
        simulator.step(act())
    state = simulator.state()
    np.testing.assert_allclose(state.tool.position, state.target.position, atol=0.004)
    np.testing.assert_allclose(state.tool.rotation, state.target.rotation, atol=0.03)


def test_proprioception_is_the_tools_pose_in_the_base_frame(scene):
    simulator = scene("lift")
    proprio = simulator.reset(0).proprio
    np.testing.assert_allclose(proprio[3:6], 0, atol=0.02)  # straight down is zero, far from the wrap at pi
    assert proprio[6] == pytest.approx(1.0, abs=0.01)
    after = simulator.step(act(0.03)).observation.proprio
    np.testing.assert_allclose(after[:3] - proprio[:3], [0.03, 0, 0], atol=0.012)
    world = simulator._data.site_xpos[simulator._site] - simulator._env.robots[0].base_pos
    np.testing.assert_allclose(after[:3], world, atol=1e-6)


def test_the_gripper_goes_where_it_is_told_at_its_speed(scene):
    simulator = scene("lift")
    simulator.reset(0)
    for _ in range(5):
        half = simulator.step(act(gripper=0.5)).observation.proprio[6]
    assert half == pytest.approx(0.5, abs=0.05)
    openings = [simulator.step(act(gripper=0.0)).observation.proprio[6] for _ in range(5)]
    assert openings[0] > 0.1  # not at once
    assert openings[-1] < 0.05


def test_the_sent_action_is_what_limits_left(scene):
    simulator = scene("lift")
    simulator.reset(0)
    result = simulator.step(act(0.5))
    np.testing.assert_allclose(result.sent_action, act(0.05), atol=1e-6)


def test_bad_actions_are_refused_and_nothing_moves(scene):
    simulator = scene("lift")
    simulator.reset(0)
    before = simulator._data.qpos.copy()
    with pytest.raises(UserError, match="NaN"):
        simulator.step(act(np.nan))
    np.testing.assert_array_equal(simulator._data.qpos, before)


def test_stepping_before_a_reset_is_refused(robosuite):
    simulator = PandaSimulator(find_task("lift"), render=False)
    with pytest.raises(UserError, match="reset"):
        simulator.step(act())
    simulator.close()


def test_time_runs_at_5_hz(scene):
    simulator = scene("lift")
    start = simulator.reset(0).time_ns
    assert [simulator.step(act()).observation.time_ns - start for _ in range(3)] == [200_000_000 * k for k in (1, 2, 3)]


def test_an_episode_ends_at_its_horizon(robosuite):
    from dataclasses import replace

    simulator = PandaSimulator(replace(find_task("lift"), horizon=3), render=False)
    simulator.reset(0)
    ends = [(r.terminated, r.truncated, r.success, r.reward) for r in (simulator.step(act()) for _ in range(3))]
    assert ends == [(False, False, False, 0.0)] * 2 + [(False, True, False, 0.0)]
    simulator.close()


def test_shorter_steps_go_the_same_way_in_the_same_time(robosuite):
    """One slice of every control step gives the move and the others hold, and the arm is where a whole step leaves it."""
    actions = wander(5, 6)
    simulator = PandaSimulator(find_task("lift"), render=False)
    whole = trace(simulator, 3, actions)
    simulator.close()
    sliced = PandaSimulator(find_task("lift"), render=False, control_hz=50, camera_every=4)
    path = trace(sliced, 3, [a if k == 0 else a * [0, 0, 0, 0, 0, 0, 1] for a in actions for k in range(10)])
    assert (sliced.horizon, sliced.spec.control_hz) == (10 * find_task("lift").horizon, 50)
    np.testing.assert_allclose(path[9::10], whole, rtol=0, atol=1e-6)
    start = sliced.reset(3)
    seen = [sliced.step(act()).observation for _ in range(8)]
    assert [o.time_ns - start.time_ns for o in seen[:2]] == [20_000_000, 40_000_000]
    assert [set(o.images) for o in seen] == [set(), set(), set(), {"primary"}] * 2
    sliced.close()


@pytest.mark.parametrize("settings", [{"control_hz": 4}, {"control_hz": 60}, {"control_hz": 500}, {"camera_every": 0}])
def test_steps_that_physics_cannot_be_cut_into_are_refused(settings):
    with pytest.raises(UserError, match="control_hz"):
        PandaSimulator(find_task("lift"), render=False, **settings)


def test_success_has_to_hold_and_is_rewarded_once(scene):
    simulator = scene("lift")
    simulator.reset(0)
    cube = simulator._env.cube.joints[0]

    def put(height):
        simulator._env.sim.data.set_joint_qpos(cube, [0.2, 0.2, height, 1, 0, 0, 0])
        simulator._env.sim.data.set_joint_qvel(cube, np.zeros(6))
        return simulator.step(act())

    assert [put(2.0).success for _ in range(HOLD_STEPS)] == [False] * HOLD_STEPS
    assert not put(0.85).success  # dropped: the count starts again
    results = [put(2.0) for _ in range(HOLD_STEPS + 1)]
    assert [r.terminated for r in results] == [False] * HOLD_STEPS + [True]
    assert [r.reward for r in results] == [0.0] * HOLD_STEPS + [1.0]
    assert not results[-1].truncated


@pytest.mark.parametrize("half", [0.0, 0.1])
def test_placement_covers_the_range_it_is_given(robosuite, half):
    from robot_pt_sim import make

    simulator = make("lift-red", render=False, placement_m=half, yaw_rad=0.3)
    starts = [simulator.reset(seed) and simulator.initial_conditions()["objects"]["cube"] for seed in range(30)]
    xy = np.array([s["position"][:2] for s in starts]) - [0.56, 0.0]
    assert np.abs(xy).max() <= half + 0.002
    assert xy.std(axis=0).min() > 0.5 * half / np.sqrt(3) - 1e-3
    assert np.abs([s["rpy"][2] for s in starts]).max() <= 0.31
    simulator.close()


def test_torques_at_100_hz_move_the_arm_as_at_500_hz(robosuite):
    """Below 1 mm on the same actions: what is bought is half of the physics time."""
    paths = []
    for every in (1, 5):
        simulator = PandaSimulator(find_task("lift"), render=False, torque_every=every)
        paths.append(trace(simulator, 3, wander(5, 12))[:, :3])
        simulator.close()
    assert np.abs(paths[0] - paths[1]).max() < 1.5e-3


def test_the_colour_is_painted_on_the_cube(pictured):
    pictured.reset(4)
    frame = pictured.step(act()).observation.images["primary"].astype(int)
    red, green, blue = np.moveaxis(frame, -1, 0)
    assert ((green > 60) & (green > 2 * red) & (green > 2 * blue)).sum() > 8


def test_cameras_look_at_the_cube_from_different_sides(pictured):
    images = pictured.reset(4).images
    assert list(images) == ["primary", "secondary", "wrist"]
    for frame in images.values():
        assert frame.shape == (48, 64, 3)
        assert frame.std() > 10
    assert not np.array_equal(images["primary"], images["secondary"])


def test_the_same_seed_gives_the_same_pixels(pictured):
    first = {role: frame.copy() for role, frame in pictured.reset(9).images.items()}
    pictured.reset(10)
    for role, frame in pictured.reset(9).images.items():
        np.testing.assert_array_equal(frame, first[role])


@pytest.mark.parametrize(
    ("cameras", "size", "words"),
    [
        (["overhead"], (64, 64), "primary, secondary, wrist"),
        ([], (64, 64), "choose"),
        (["wrist"], (4, 64), "between 8"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(cameras, size, words):
    with pytest.raises(UserError, match=words):
        panda_spec(cameras, size)


def test_the_controller_is_described_in_json(scene):
    config = json.loads(json.dumps(scene("lift").controller_config()))
    assert config["torque_hz"] == 100
    assert config["stiffness"] == 150
    assert config["max_step"] == [0.05, 0.25]
