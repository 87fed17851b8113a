import json

import mujoco
import numpy as np
import pytest

from robot_pt.errors import UserError
from robot_pt.robots import BRIDGE_ACTION_FRAME, load
from robot_pt.rotations import angle_between, rpy_to_matrix
from robot_pt.simulator import Simulator
from robot_pt_sim.kitchen import twin
from robot_pt_sim.kitchen.tasks import TASKS, find_kitchen
from robot_pt_sim.kitchen.twin import HOLD_STEPS, KitchenSimulator, kitchen_spec
from robot_pt_sim.scene import SceneState


def act(dx=0.0, dy=0.0, dz=0.0, yaw=0.0, gripper=1.0):
    return np.array([dx, dy, dz, 0, 0, yaw, gripper], np.float32)


def trace(simulator, seed, actions):
    """(T + 1, ...) everything that is observed and true along an action sequence."""
    rows = [simulator.reset(seed).proprio]
    rows += [simulator.step(action).observation.proprio for action in actions]
    return np.array(rows, np.float64), np.array(simulator._data.qpos)


def wander(seed, steps=12):
    rng = np.random.default_rng(seed)
    return [act(*rng.uniform(-0.04, 0.04, 3), yaw=rng.uniform(-0.2, 0.2), gripper=rng.random()) for _ in range(steps)]


def test_it_is_a_simulator_with_the_widowx_of_bridge(kitchen):
    simulator: Simulator = kitchen("put-carrot-on-plate")
    assert (simulator.spec.embodiment, simulator.spec.control_hz) == ("widowx250s", 5)
    assert simulator.task == "kitchen/put-carrot-on-plate"
    assert simulator.instruction == "put the carrot on the plate"


def test_an_episode_depends_on_its_seed_alone(kitchen):
    simulator = kitchen("put-carrot-on-plate")
    first = trace(simulator, 3, wander(0))
    start = simulator.initial_conditions()
    trace(simulator, 8, wander(1, 30))
    again = trace(simulator, 3, wander(0))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert simulator.initial_conditions() == start
    other, _ = trace(KitchenSimulator(find_kitchen("kitchen/put-carrot-on-plate"), render=False), 3, wander(0))
    np.testing.assert_array_equal(first[0], other)


def test_it_begins_at_home_pointing_down_with_the_hand_open(kitchen):
    observation = kitchen("put-carrot-on-plate").reset(0)
    home = load("wx250s", BRIDGE_ACTION_FRAME).fk(load("wx250s").home_rad)
    np.testing.assert_allclose(observation.proprio[:3], home[:3, 3], atol=1e-3)
    assert np.abs(observation.proprio[3:6]).max() < 0.01
    assert observation.proprio[6] == 1.0
    assert observation.time_ns == 0


def test_a_step_is_followed_within_two_periods_without_overshoot(kitchen):
    """5 cm forward: what is left after 0.2, 0.4, 0.8 s."""
    simulator = kitchen("put-carrot-on-plate")
    start = simulator.reset(0).proprio[0]
    left = [start + 0.05 - simulator.step(act(0.05 if i == 0 else 0.0)).observation.proprio[0] for i in range(5)]
    assert 0.010 < left[0] < 0.035  # the profile takes 1.25 periods
    assert abs(left[1]) < 0.005
    assert abs(left[3]) < 0.001
    assert min(left) > -0.0025


def test_targets_add_to_the_commanded_pose(kitchen):
    """Ten steps of 1 cm end 10 cm away although each is begun before the one before has been reached."""
    simulator = kitchen("put-carrot-on-plate")
    start = simulator.reset(0).proprio
    for _ in range(10):
        simulator.step(act(dy=0.01, yaw=0.05))
    for _ in range(4):
        result = simulator.step(act())
    moved = result.observation.proprio - start
    np.testing.assert_allclose(moved[:3], [0, 0.10, 0], atol=0.0015)
    turned = angle_between(rpy_to_matrix(result.observation.proprio[3:6]), rpy_to_matrix([0, 0, 0.5]))
    assert turned < 0.01


def test_joints_keep_their_limits_and_speeds(kitchen):
    """Largest actions at random for 40 s, some far out of the workspace."""
    simulator = kitchen("open-drawer")
    arm = load("wx250s")
    rng = np.random.default_rng(0)
    before = simulator.reset(0).joint_positions
    for _ in range(200):
        action = rng.uniform(-1, 1, 7).astype(np.float32) * [0.2, 0.2, 0.2, 0.5, 0.5, 0.5, 1]
        result = simulator.step(action)
        q = result.observation.joint_positions
        assert arm.check_q(q, -0.02) == ()
        assert (
            np.abs(q - before) < arm.max_velocity_rad_s * 0.2 * 1.3
        ).all()  # catching up, the wrist is faster than its profile
        assert np.abs(result.sent_action[:3]).max() <= 0.05 + 1e-6
        before = q
    assert np.isfinite(simulator._data.qpos).all()


def test_finger_stops_give_way_by_a_millimetre(kitchen):
    """Pushed on with all its force an empty hand passes the arm's travel by that much at most, and reads 0 and 1."""
    simulator = kitchen("put-carrot-on-plate")
    simulator.reset(0)
    low, high = simulator._arm.finger_range_m
    for order, stop in ((0.0, low), (1.0, high)):
        for _ in range(5):
            result = simulator.step(np.array([0, 0, 0, 0, 0, 0, order], np.float32))
        left, right = np.abs(simulator._data.qpos[simulator._finger_qpos])
        assert 0.0003 < abs((left + right) / 2 - stop) < 0.0010
        assert max(abs(left - stop), abs(right - stop)) < 0.0013  # the driven one more than the one that is led
        assert result.observation.proprio[6] == order


def test_nan_moves_nothing(kitchen):
    simulator = kitchen("put-carrot-on-plate")
    simulator.reset(0)
    before = np.array(simulator._data.qpos)
    for bad in (np.full(7, np.nan), np.array([0, 0, np.inf, 0, 0, 0, 1.0]), np.zeros(6)):
        with pytest.raises(UserError):
            simulator.step(bad)
    np.testing.assert_array_equal(simulator._data.qpos, before)


def test_it_is_reset_before_it_steps():
    with pytest.raises(UserError, match="call reset"):
        KitchenSimulator(find_kitchen("kitchen/open-door"), render=False).step(act())


def test_a_finer_time_step_moves_the_arm_alike(kitchen, monkeypatch):
    """1 ms instead of 4: the tool within 1 mm along a wandering path."""
    coarse, _ = trace(kitchen("open-drawer"), 1, wander(2))
    fine = KitchenSimulator(find_kitchen("kitchen/open-drawer"), render=False)
    fine._model.opt.timestep = 0.001
    monkeypatch.setattr(twin, "SUBSTEPS", 20)
    finer, _ = trace(fine, 1, wander(2))
    assert np.abs(coarse[:, :3] - finer[:, :3]).max() < 0.001


@pytest.mark.parametrize("rate", [10, 20, 50, 100])
def test_shorter_steps_take_as_long(rate):
    """One second towards a target 4 cm away: the clock, and the tool in the end."""
    simulator = KitchenSimulator(find_kitchen("kitchen/open-drawer"), render=False, control_hz=rate)
    start = simulator.reset(0).proprio[0]
    for step in range(rate):
        result = simulator.step(act(0.04 if step == 0 else 0.0))
    assert result.observation.time_ns == pytest.approx(1e9, abs=1e3)
    assert result.observation.proprio[0] - start == pytest.approx(0.04, abs=0.001)
    assert simulator.horizon == 60 * rate // 5


def test_things_at_rest_sleep_and_nothing_else_changes(kitchen):
    awake = KitchenSimulator(find_kitchen("kitchen/put-egg-in-bowl"), render=False)
    awake._model.opt.enableflags = 0
    with_sleep, ends = trace(kitchen("put-egg-in-bowl"), 2, [act()] * 10)
    without, others = trace(awake, 2, [act()] * 10)
    np.testing.assert_allclose(with_sleep, without, atol=1e-6)
    np.testing.assert_allclose(ends, others, atol=2e-3)


def test_the_hand_squeezes_with_half_of_its_force_on_either_side():
    """Normal forces from MuJoCo's contacts on a block held by both fingers, against F / 2 by virtual work."""
    simulator = KitchenSimulator(find_kitchen("kitchen/put-cheese-on-plate"), render=False)
    simulator.reset(0)
    simulator._model.opt.gravity[:] = 0  # it waits in the air until the fingers meet it
    model, data = simulator._model, simulator._data
    address = int(model.joint("cheese").qposadr[0])
    tool = simulator.state().tool.position
    data.qpos[address : address + 7] = [*(tool - [0, 0, 0.014]), 1, 0, 0, 0]
    for _ in range(4):
        simulator.step(act(gripper=0.0))
    assert simulator.state().grasped("cheese")
    pushes = {"left_finger": 0.0, "right_finger": 0.0}
    for number in range(data.ncon):
        names = {model.geom(int(geom)).name for geom in data.contact[number].geom}
        force = np.zeros(6)
        mujoco.mj_contactForce(model, data, number, force)
        for finger in pushes.keys() & names:
            pushes[finger] += force[0]
    for push in pushes.values():
        assert push == pytest.approx(2.5, rel=0.2)


@pytest.mark.parametrize("task", list(TASKS)[::5])
def test_no_task_is_done_at_the_start(task):
    simulator = KitchenSimulator(find_kitchen(task, 2), render=False)
    for seed in range(3):
        simulator.reset(seed)
        assert not simulator.definition.success(simulator.state())


def test_success_must_hold_and_pays_once(kitchen):
    """The carrot is laid on the plate by hand."""
    simulator = kitchen("put-carrot-on-plate")
    simulator.reset(0)
    address = int(simulator._model.joint("carrot").qposadr[0])
    x, y, z = simulator.state().objects["plate"].position
    simulator._data.qpos[address : address + 7] = [x, y, z + 0.008, 1, 0, 0, 0]
    results = [simulator.step(act()) for _ in range(HOLD_STEPS + 1)]
    assert [r.success for r in results] == [False] * HOLD_STEPS + [True]
    assert [r.reward for r in results] == [0.0] * HOLD_STEPS + [1.0]
    assert results[-1].terminated
    assert not results[-1].truncated


def test_what_is_logged_is_json_and_the_truth_can_be_read_back(kitchen):
    simulator = kitchen("open-drawer")
    simulator.reset(4)
    start = simulator.initial_conditions()
    assert json.loads(json.dumps(start)) == start
    assert start["seed"] == 4
    assert start["scene"] == 1
    assert start["rejected_starts"] >= 0
    assert start["look"]["light"]
    state = SceneState.from_json(json.loads(json.dumps(simulator.truth())))
    assert state.joints["fixture"] == simulator.state().joints["fixture"]
    assert json.dumps(simulator.controller_config())


def test_without_cameras_the_proprio_goes_on_with_the_things():
    simulator = KitchenSimulator(find_kitchen("kitchen/open-drawer"), cameras=())
    observation = simulator.reset(0)
    assert observation.images == {}
    assert simulator.spec.proprio_names[7:10] == ("thing_x", "thing_y", "thing_z")
    assert observation.proprio.shape == (len(simulator.spec.proprio_names),)
    np.testing.assert_allclose(observation.proprio[7:10], simulator.state().objects["handle"].position, atol=1e-6)


@pytest.mark.parametrize(
    ("cameras", "size", "words"),
    [(("ceiling",), (64, 64), "choose from"), (("primary",), (4, 64), "between 8 and 2048")],
)
def test_cameras_that_there_are_not(cameras, size, words):
    with pytest.raises(UserError, match=words):
        kitchen_spec(find_kitchen("kitchen/open-drawer"), cameras, size)


def test_three_cameras_see_the_scene_and_each_episode_looks_different(backend):
    from robot_pt_sim import make

    simulator = make("kitchen/put-carrot-on-plate@3", camera=["primary", "secondary", "wrist"], image_size=(48, 64))
    first, second, again = (simulator.reset(seed).images for seed in (0, 1, 0))
    for role in ("primary", "secondary", "wrist"):
        assert first[role].shape == (48, 64, 3)
        assert first[role].std() > 10
        assert np.abs(first[role].astype(int) - second[role]).mean() > 2
        np.testing.assert_array_equal(first[role], again[role])
    simulator.close()


def test_it_lags_as_the_real_arm_was_identified(kitchen):
    """SIMPLER (arXiv 2405.05941) fitted joint servos to BridgeData's trajectories: damping over stiffness is 0.16 to 0.28 s.

    A first-order lag of that constant, asked for equal steps at 5 Hz, is behind by exp(-T / tau) / (1 - exp(-T / tau)) steps
    at the end of each.
    """
    stiffness = np.array([1169.789, 730.0, 808.460, 1229.130, 1272.276, 1056.333])
    damping = np.array([330.0, 180.0, 152.120, 309.622, 201.050, 269.515])
    kept = np.exp(-0.2 * stiffness / damping)
    behind = kept / (1 - kept)  # (6,) steps
    simulator = kitchen("open-drawer")
    start = simulator.reset(0).proprio[0]
    for _ in range(5):
        result = simulator.step(act(0.03))
    lag = (start + 0.03 * 5 - result.observation.proprio[0]) / 0.03
    assert behind.min() < lag < behind.max()


def test_a_corner_out_of_reach_is_approached_and_counted(kitchen):
    """The far upper left corner of the workspace is 0.59 m from the shoulder's height at the wrist; the arm is 0.5 m long."""
    simulator = kitchen("open-drawer")
    simulator.reset(0)
    assert simulator.unreached == 0
    for _ in range(15):
        result = simulator.step(act(0.025, 0.025, 0.02))
    assert simulator.unreached > 3
    target, tool = simulator.state().target.position, result.observation.proprio[:3]
    np.testing.assert_allclose(target, [0.45, 0.25, 0.25], atol=1e-9)
    assert 0.005 < np.linalg.norm(target - tool) < 0.2
    simulator.reset(0)
    assert simulator.unreached == 0
