"""The arm at the walls of its workspace: what is out of reach there is approached and held, and a higher ceiling leaves recorded episodes as they are."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from robot_pt.gate import Box, GateLimits
from robot_pt.robots import BRIDGE_ACTION_FRAME, load
from robot_pt.schema import Float
from robot_pt_sim.kitchen.layouts import LIMITS
from robot_pt_sim.kitchen.tasks import find_kitchen
from robot_pt_sim.kitchen.twin import KitchenSimulator


def act(dx: float = 0.0, dy: float = 0.0, dz: float = 0.0, gripper: float = 1.0) -> Float:
    return np.array([dx, dy, dz, 0, 0, 0, gripper], np.float32)


def under(ceiling: float, task: str = "kitchen/open-drawer") -> KitchenSimulator:
    """Its workspace `ceiling` [m] high."""
    found = find_kitchen(task)
    x, y, _, *angles = found.limits.high
    return KitchenSimulator(replace(found, limits=replace(found.limits, high=(x, y, ceiling, *angles))), render=False)


def path(simulator: KitchenSimulator, seed: int, actions: Sequence[Float]) -> Float:
    """(T, 7 + Q) what the arm reads and where everything is after each action."""
    simulator.reset(seed)
    return np.array([np.append(simulator.step(a).observation.proprio, simulator._data.qpos) for a in actions])


def test_the_simulated_gate_has_the_walls_of_the_kitchens():
    assert GateLimits.for_robot(load("wx250s")).workspace == Box(LIMITS.low[:3], LIMITS.high[:3])


@pytest.mark.parametrize("seed", range(3))
def test_what_was_recorded_under_a_lower_ceiling_ends_where_it_did(seed):
    """Episodes keep what was sent, which went no higher: the kitchens up to 22 November ended at 0.18 m, and their version is the same."""
    lower, higher = under(0.18), under(LIMITS.high[2])
    rng = np.random.default_rng(seed)
    asked = [act(*rng.uniform(-0.04, 0.04, 2), rng.uniform(-0.03, 0.05), rng.random()) for _ in range(40)]
    lower.reset(seed)
    sent, met = [], 0
    for action in asked:
        sent.append(lower.step(action).sent_action)
        met += bool(action[2] > sent[-1][2] + 1e-6)
    assert met > 5
    then, now = path(lower, seed, sent), path(higher, seed, sent)
    np.testing.assert_allclose(now, then, rtol=0, atol=1e-6)
    assert then[:, 2].max() < 0.19


def test_it_follows_straight_down_where_bridge_data_was_recorded():
    """0.30 m ahead at the ceiling and half way to either side."""
    simulator = under(LIMITS.high[2])
    for dy in (-0.10, 0.0, 0.10):
        simulator.reset(0)
        for step in range(20):
            result = simulator.step(act(0.012, dy / 6, 0.025) if step < 6 else act())
        target = simulator.state().target.position
        assert target[2] == pytest.approx(0.25, abs=0.01)
        np.testing.assert_allclose(result.observation.proprio[:3], target, atol=0.002)
        assert np.abs(result.observation.proprio[3:5]).max() < 0.02
        assert simulator.unreached == 0


STUCK = "the elbow has come to bend the other way, and another law of following counts the twin's version up"


@pytest.mark.parametrize(
    "back",
    [
        (-0.025, -0.025, -0.025),
        (-0.02, -0.04, -0.01),
        pytest.param((-0.03, -0.02, -0.03), marks=pytest.mark.xfail(strict=True, reason=STUCK)),
    ],
)
def test_out_of_reach_it_is_held_and_comes_back(back):
    """Into the far upper corner, on against its walls, and back: the arm stands still there, nothing that was ordered beyond is owed."""
    simulator = under(LIMITS.high[2])
    arm = load("wx250s", BRIDGE_ACTION_FRAME)
    simulator.reset(0)
    joints = []
    for _ in range(40):
        joints.append(simulator.step(act(0.03, 0.025, 0.025)).observation.joint_positions)
    assert simulator.unreached > 20
    np.testing.assert_array_equal(simulator.state().target.position, [0.45, 0.25, 0.25])
    assert np.abs(np.diff(joints[-15:], axis=0)).max() < 1e-3
    end = np.array([0.45, 0.25, 0.25]) + 6 * np.array(back)
    for step in range(14):
        result = simulator.step(act(*back) if step < 6 else act())
        joints.append(result.observation.joint_positions)
    np.testing.assert_allclose(simulator.state().target.position, end, atol=1e-6)
    np.testing.assert_allclose(result.observation.proprio[:3], end, atol=0.002)
    assert simulator.state().unreached_m < 0.001
    fastest = np.abs(np.diff(joints, axis=0)).max(axis=0)
    assert (fastest < arm.max_velocity_rad_s * 0.2 * 1.3).all()


@pytest.mark.parametrize("seed", range(3))
def test_along_the_ceiling_no_joint_jerks(seed):
    """Steps at random that lead out of the workspace more often than not: no joint faster than its profile, and never far from its set point."""
    simulator = under(LIMITS.high[2])
    arm = load("wx250s", BRIDGE_ACTION_FRAME)
    rng = np.random.default_rng(seed)
    before = simulator.reset(seed).joint_positions
    for _ in range(60):
        result = simulator.step(act(*rng.uniform((-0.04, -0.04, -0.03), (0.06, 0.06, 0.07))))
        now = result.observation.joint_positions
        assert (np.abs(now - before) < arm.max_velocity_rad_s * 0.2 * 1.3).all()
        assert arm.check_q(now, -0.02) == ()
        assert result.observation.proprio[2] < LIMITS.high[2] + 0.02
        before = now
