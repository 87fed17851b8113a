"""The gate with the kinematics of real arms: exact where nothing clips, inside every limit where all do, and fast."""

from __future__ import annotations

import sys
from math import pi
from pathlib import Path
from time import thread_time

import numpy as np
import pytest

from robot_pt import robots
from robot_pt.gate import Box, GateLimits, Mode
from robot_pt.rotations import matrix_to_quaternion, quaternion_to_matrix, rpy_to_matrix

pytest.importorskip("mink")
sys.path.insert(0, str(Path(__file__).parent))
from gate_rig import TICK_NS, Rig, pose

DOWN = {"wx250s": pose(0.28, 0.05, 0.12, (0, pi / 2, 0)), "panda": pose(0.5, 0.0, 0.2)}
SPREAD = 0.06


@pytest.fixture(scope="module", params=["wx250s", "panda"])
def arm(request):
    return robots.load(request.param)


def start(arm):
    """Joints with the tool over the table, pointing down."""
    solved = arm.ik(DOWN[arm.name], arm.home_rad)
    assert solved.position_error_m < 1e-5
    return solved.q


def near(arm, rng):
    T = DOWN[arm.name].copy()
    T[:3, 3] += rng.uniform(-SPREAD, SPREAD, 3)
    T[:3, :3] = rpy_to_matrix(rng.uniform(-0.2, 0.2, 3)) @ T[:3, :3]
    return T


def towards(T_from, T_to, longest=0.03):
    T, step = T_to.copy(), T_to[:3, 3] - T_from[:3, 3]
    T[:3, 3] = T_from[:3, 3] + step * min(1.0, longest / max(np.linalg.norm(step), 1e-9))
    return T


@pytest.mark.parametrize("follows", ["joints", "pose"])
def test_in_lockstep_targets_pass_exactly_and_their_joints_reach_them(arm, follows):
    limits = GateLimits.for_robot(arm, lockstep=True, tick_hz=5.0, follows=follows, check_joints=True)
    r = Rig(arm, limits, start(arm)).ready("start_policy")
    rng, T = np.random.default_rng(0), DOWN[arm.name]
    for _ in range(60):
        goal = near(arm, rng)
        goal[:3, :3] = rpy_to_matrix((0, 0, rng.uniform(-0.1, 0.1))) @ T[:3, :3]
        T = towards(T, goal)
        output = r.go(T, rng.uniform(), ticks=1)
        assert output.mode is Mode.POLICY
        assert output.reasons == ()
        np.testing.assert_allclose(output.command.T_base_tool, T, rtol=0, atol=1e-9)
        np.testing.assert_allclose(arm.fk(output.command.q), T, rtol=0, atol=1e-5)


@pytest.mark.parametrize("direction", [*np.eye(3), *-np.eye(3)], ids=["x", "y", "z", "-x", "-y", "-z"])
def test_home_is_no_place_where_the_arm_gets_stuck(arm, direction):
    """2 cm each way with a real arm's joint speed: near a singularity a wrist would have to spin for it first."""
    home = arm.fk(arm.home_rad)
    box = Box(tuple(home[:3, 3] - 0.1), tuple(home[:3, 3] + 0.1))
    r = Rig(arm, GateLimits.for_robot(arm, hardware=True, workspace=box), arm.home_rad)
    r.held = False
    r.ready("start_policy")
    r.held = True
    T = home.copy()
    T[:3, 3] += 0.02 * direction
    for _ in range(5):  # of 0.2 s
        r.go(T, 1.0)
    assert np.abs(arm.fk(r.q)[:3, 3] - T[:3, 3]).max() < 1e-4


@pytest.mark.parametrize("step", [(0, 0.02, 0), (0.006, 0.02, 0), (0, -0.009, 0)])
def test_targets_that_run_ahead_near_a_singularity_do_not_stop_the_arm(step):
    """A WidowX with its wrist almost straight: sideways, the forearm has to turn far before the tool has gone anywhere."""
    arm = robots.load("wx250s")
    start = np.array([0, -0.96, 1.16, 0, -0.3, 0])
    T = arm.fk(start)
    box = Box(tuple(T[:3, 3] - 0.2), tuple(T[:3, 3] + 0.2))
    r = Rig(arm, GateLimits.for_robot(arm, hardware=True, workspace=box), start)
    r.held = False
    r.ready("start_policy")
    r.held = True
    for _ in range(20):  # of 0.2 s, each a step from where the arm was told to be
        wanted = (T if r.output.command is None else r.output.command.T_base_tool).copy()
        wanted[:3, 3] += step
        wanted[:3, :3] = T[:3, :3]
        before = r.q.copy()
        r.go(wanted, 1.0)
        assert np.abs(r.q - before).max() > 0.01  # the referee sees to it that it is never too much
    assert (arm.fk(r.q)[:3, 3] - T[:3, 3]) @ step > 0.05 * np.linalg.norm(step)


def test_streaming_on_hardware_limits_stays_inside_all_of_them(arm):
    center = DOWN[arm.name][:3, 3]
    box = Box(tuple(center - 0.05), tuple(center + 0.05))
    limits = GateLimits.for_robot(
        arm, hardware=True, workspace=box, reference_rpy=(0, pi / 2, 0) if arm.name == "wx250s" else (0, 0, 0),
        rotation_low=(-0.3, -0.3, -0.5), rotation_high=(0.3, 0.3, 0.5),
    )  # fmt: skip
    r = Rig(arm, limits, start(arm))
    r.held = False
    r.ready("start_policy")
    r.held = True
    rng, clipped = np.random.default_rng(1), set()
    for _ in range(60):
        clipped |= set(r.go(near(arm, rng), rng.uniform()).reasons)  # the referee looks at every tick
        clipped |= set(r.output.reasons)
    assert r.output.mode is Mode.POLICY
    assert r.referee.moved > 300
    assert {"workspace", "step", "joint_speed"} <= clipped


def test_a_finger_does_not_touch_the_table(arm):
    floor = DOWN[arm.name][2, 3] - 0.06
    low = arm.points(start(arm))["left_finger"][2]
    limits = GateLimits.for_robot(
        arm,
        lockstep=True,
        tick_hz=5.0,
        watch={name: Box((-9, -9, floor), (9, 9, 9)) for name in ("elbow", "wrist", "left_finger", "right_finger")},
    )
    assert low > floor
    r = Rig(arm, limits, start(arm)).ready("start_policy")
    for k in range(1, 12):
        T = DOWN[arm.name].copy()
        T[2, 3] -= 0.015 * k
        r.go(T, ticks=1)
    assert "watch_point" in r.output.reasons
    lowest = min(arm.points(r.q)[name][2] for name in ("left_finger", "right_finger"))
    assert floor - 1e-5 <= lowest <= floor + 0.015


def test_a_tick_is_short(arm):
    """Processor time, so that a busy machine does not count; the limit on a quiet one is 1 ms at the 99th percentile."""
    r = Rig(arm, GateLimits.for_robot(arm), start(arm)).ready("start_policy")
    rng, seconds = np.random.default_rng(2), []
    goal = near(arm, rng)
    for k in range(600):
        r.now += 20_000_000
        r.state()
        if k % 10 == 0:
            goal = near(arm, rng) if k % 40 == 0 else goal
            r.target(towards(r.gate.sent.T_base_tool, goal))
        began = thread_time()
        r.output = r.gate.tick(r.now)
        seconds.append(thread_time() - began)
        r.q = r.output.command.q
    assert r.output.mode is Mode.POLICY
    assert np.percentile(seconds, 99) < 5e-3


@pytest.mark.parametrize("follows", ["joints", "pose"])
def test_a_rehearsal_changes_nothing(arm, follows):
    """The same day twice, once with every tick rehearsed: steps that clip, targets out of reach, a hold, a takeover, an e-stop."""
    rng, days = np.random.default_rng(3), []
    targets = [near(arm, rng) for _ in range(12)]
    targets[4][:3, 3] += 0.8
    for rehearsed in (False, True):
        r = Rig(arm, GateLimits.for_robot(arm, follows=follows, check_joints=True), start(arm)).ready("start_policy")
        rehearse, outputs = r.gate.rehearse if rehearsed else (lambda: None), []
        for number, T in enumerate(targets * 2):
            for tick in range(10):
                r.now += TICK_NS
                rehearse()
                r.state()
                if number == 15 and tick == 3:
                    r.gate.on_estop(r.now)
                if number >= 9:
                    r.gate.on_deadman(r.now, True)
                if tick == 0 and number not in (7, 8):  # silence: hold
                    r.target(T, tick / 10, "teleop" if number >= 9 else "policy")
                rehearse()
                r.output = r.gate.tick(r.now)
                command = r.output.command
                outputs.append(
                    (
                        *r.output[:1],
                        *r.output[4:6],
                        None if command is None else command.q.tobytes(),
                        r.gate.counts.copy(),
                    )
                )
                r.q = r.q if command is None else command.q.copy()
        days.append(outputs)
    assert days[0] == days[1]
    assert {output[0] for output in days[0]} == {Mode.POLICY, Mode.HOLD, Mode.TELEOP, Mode.ESTOP}
    assert len({output[3] for output in days[0]}) > 60


@pytest.mark.parametrize("follows", ["joints", "pose"])
def test_an_arm_that_is_asked_to_stay_gets_the_same_command_bit_by_bit(arm, follows):
    """As a policy that is done asks: its target comes back through messages, and the measured joints are never quite those sent."""
    r = Rig(arm, GateLimits.for_robot(arm, follows=follows, check_joints=True), start(arm)).ready("start_policy")
    rng = np.random.default_rng(4)
    T = towards(DOWN[arm.name], near(arm, rng), 0.02)
    for _ in range(3):
        r.go(T)
    held, r.stuck = r.output.command, True
    for _ in range(20):
        r.q = held.q + rng.uniform(-1e-4, 1e-4, len(held.q))
        T[:3, :3] = quaternion_to_matrix(matrix_to_quaternion(T[:3, :3]))
        decided = r.go(T)
        assert decided.mode is Mode.POLICY
        assert not {"ik", "tracking"} & set(decided.reasons)
        for command in (decided.command, r.output.command):
            assert command.q.tobytes() == held.q.tobytes()
            assert command.T_base_tool.tobytes() == held.T_base_tool.tobytes()
    T[2, 3] += 1e-4
    r.stuck, r.q = False, held.q.copy()
    r.go(T)
    assert np.abs(r.output.command.T_base_tool - T).max() < 1e-9, "and moves again when it is asked to"
