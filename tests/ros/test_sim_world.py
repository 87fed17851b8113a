"""The simulated world's cameras have noise, and its clock can be set."""

from zlib import crc32

import numpy as np
import pytest
from rclpy.parameter import Parameter

from robot_pt.commands import JointCommand, PoseTarget
from robot_pt.evaluate import FIRST_SEED
from robot_pt.robots import load
from robot_pt.schema import Observation, Spec
from robot_pt.simulator import StepResult
from robot_pt.targets import action_between, moved
from robot_pt_ros.conversions import pose_message, pose_of
from robot_pt_ros.sim_parameters import declare
from robot_pt_ros.sim_world import BETWEEN_EPISODES_NS, EARLIEST_NS, SensorNoise, World, as_asked

DOMAIN = 95
ARM, STEP_NS = load("panda"), 200_000_000


@pytest.mark.parametrize("shape", [(64, 64, 3), (8, 4, 3), (480, 640, 3)])
def test_a_still_scene_never_gives_the_same_picture_twice_and_never_another_one(shape):
    still, noise = np.full(shape, 128, np.uint8), SensorNoise()
    seen = [noise.on(still) for _ in range(50)]
    assert len({crc32(frame) for frame in seen}) == 50
    assert len({crc32(frame[::8, ::8].tobytes()) for frame in seen}) > (40 if shape[1] > 4 else 2), (
        "also where pixels are skipped"
    )
    assert max(np.abs(frame.astype(int) - still).max() for frame in seen) == 1
    assert all((frame[1:] == still[1:]).all() for frame in seen)
    assert (still == 128).all()


class Still:
    """An arm that stays at home before a grey wall."""

    spec, task, instruction, horizon = Spec(cameras={"primary": (16, 16)}, embodiment="panda"), "rest", "rest", 100

    def reset(self, seed):
        self.seed, self.steps = seed, 0
        return self._look()

    def step(self, action):
        self.steps += 1
        return StepResult(self._look(), action, 0.0, False, False, False)

    def _look(self):
        frame = np.full((16, 16, 3), 90, np.uint8)
        return Observation({"primary": frame}, np.zeros(7, np.float32), self.steps * STEP_NS, ARM.home_rad)

    def initial_conditions(self):
        return {"seed": self.seed}

    def truth(self):
        return {}

    def close(self):
        pass


@pytest.fixture
def world(graph):
    def make(lockstep, **more):
        given = {"lockstep": lockstep, "task": "rest", **more}
        node = graph.node("sim", parameter_overrides=[Parameter(name, value=value) for name, value in given.items()])
        declare(node)
        made = World(Still(), node)
        made.reset()
        return made

    return make


def command(stamp_ns):
    return JointCommand(stamp_ns, ARM.home_rad, 1.0, ARM.fk(ARM.home_rad))


def test_pictures_are_exact_in_lock_step_and_noisy_in_real_time(world):
    for lockstep in (True, False):
        made = world(lockstep)
        for _ in range(5):
            before = made.observation.images["primary"]
            made.step(None)
            assert np.array_equal(before, made.observation.images["primary"]) == lockstep


def test_a_seed_below_0_is_one_at_random_and_none_that_evaluation_starts_from(world):
    seeds = set()
    for _ in range(4):
        made = world(True, seed=-1)
        first = made.start()["seed"]
        made.step(None)
        made.reset()
        assert (0 <= first < FIRST_SEED - 1, made.start()["seed"]) == (True, first + 1)
        seeds.add(first)
    assert len(seeds) > 1


def test_a_clock_that_is_set_back_stays_off_and_commands_of_the_new_time_are_answers(world):
    made = world(True)
    assert made.now_ns == BETWEEN_EPISODES_NS
    for k in range(1, 20):
        made.step(command(made.now_ns))
        assert made.now_ns == BETWEEN_EPISODES_NS + k * STEP_NS
    before_ns = made.now_ns
    assert made.set_clock(-2_000_000_000)
    assert not made.set_clock(-2_000_000_000)
    assert made.now_ns == before_ns - 2_000_000_000
    assert made.answers(command(made.now_ns))
    assert not made.answers(command(made.now_ns - STEP_NS))
    made.step(command(made.now_ns))
    assert made.now_ns == before_ns - 2_000_000_000 + STEP_NS
    assert made.answers(command(made.now_ns))
    assert made.set_clock(0)
    assert made.now_ns == before_ns + STEP_NS
    made.reset()
    assert made.now_ns == before_ns + STEP_NS + BETWEEN_EPISODES_NS


def test_no_clock_goes_below_zero_and_time_still_passes(world):
    made = world(True)
    assert made.set_clock(-3600 * 10**9)
    assert made.now_ns == EARLIEST_NS
    for k in range(1, 4):
        assert not made.set_clock(-3600 * 10**9)
        made.step(command(made.now_ns))
        assert made.now_ns == EARLIEST_NS + k * STEP_NS


@pytest.mark.parametrize("off_s", [-5, 7])
def test_stamps_of_real_time_are_off_by_what_is_asked(world, off_s):
    made = world(False)
    made.set_clock(off_s * 10**9)
    made.step(None)
    assert abs(made.now_ns - made._node.get_clock().now().nanoseconds - off_s * 10**9) < 5 * 10**8


def test_an_action_of_a_policy_is_the_very_same_after_its_way_as_poses():
    """And one that was shortened, which no float of 32 bits is, stays as it came."""
    rng = np.random.default_rng(0)
    pose = pose_of(pose_message(1, "base_link", load("panda").fk(load("panda").home_rad)))
    for scale in (1.0, 1e-3, 0.0) * 20:
        asked = (scale * rng.uniform(-0.05, 0.05, 7)).astype(np.float32)
        reached = pose_of(pose_message(1, "base_link", moved(pose, asked)))
        back = action_between(PoseTarget(1, pose, 0.0), PoseTarget(2, reached, float(asked[6])))
        assert as_asked(back).tolist() == asked.astype(np.float64).tolist()
        pose = reached
    shortened = np.full(7, 0.05 / np.sqrt(3))
    assert as_asked(shortened).tolist() == shortened.tolist()
