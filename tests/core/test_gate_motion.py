"""What becomes of a target: passed on exactly, or within every limit of step, room, rotation, joints and points."""

from __future__ import annotations

import sys
from math import inf
from pathlib import Path

import numpy as np
import pytest

from robot_pt.gate import Box, GateLimits, Mode
from robot_pt.rotations import rpy_to_matrix

sys.path.insert(0, str(Path(__file__).parent))
from gate_rig import ROOM, START, TICK_NS, Gantry, Planar, Rig, angle_between, limits, lockstep, pose, rig

# passing


def test_in_lockstep_one_target_gives_one_command_that_is_the_target():
    r = lockstep().ready("start_policy")
    rng = np.random.default_rng(0)
    T = pose(*START[:3])
    for _ in range(50):
        T = T.copy()
        T[:3, 3] = np.clip(T[:3, 3] + rng.uniform(-0.028, 0.028, 3), ROOM.low, ROOM.high)
        T[:3, :3] = rpy_to_matrix(rng.uniform(-0.1, 0.1, 3)) @ T[:3, :3]
        gripper = rng.uniform()
        output = r.go(T, gripper, ticks=1)
        assert output.mode is Mode.POLICY
        assert output.reasons == ()
        np.testing.assert_allclose(output.command.T_base_tool, T, atol=1e-9)
        np.testing.assert_allclose(r.arm.fk(output.command.q), T, atol=1e-9)
        np.testing.assert_allclose(output.clipped, 0, atol=1e-9)
        assert output.command.gripper == gripper
        assert output.command.stamp_ns == output.requested.stamp_ns == r.now
    r.tick()
    assert r.output.command is None  # nothing was asked


def test_a_target_of_exactly_one_step_is_not_clipped():
    r = lockstep().ready("start_policy")
    T = pose(*START[:3])
    for direction in ((1, 0, 0), (0.6, 0.8, 0), (1 / 3, 2 / 3, 2 / 3)):
        T = T.copy()
        T[:3, 3] += 0.05 * np.array(direction)
        assert r.go(T, ticks=1).reasons == ()


def test_streaming_reaches_each_target_at_the_end_of_its_control_period():
    r = rig().ready("start_policy")
    r.tick()
    for x in (0.04, 0.08, 0.05):
        T = pose(x, 0, 0.3, (0, 0, x))
        positions = [r.q[0]]
        decided = r.go(T, ticks=1)
        positions.append(r.q[0])
        for _ in range(9):
            r.tick()
            positions.append(r.q[0])
        assert decided.applied.T_base_tool[0, 3] == x
        np.testing.assert_allclose(r.output.command.T_base_tool, T, atol=1e-12)
        steps = np.diff(positions)
        np.testing.assert_allclose(steps, steps[0], rtol=1e-6)  # even
    assert r.referee.moved == 30


def test_commands_are_stamped_and_the_stamps_rise():
    r = rig().ready("start_policy")
    stamps = [r.go(pose(0.01, 0, 0.3), ticks=1).command.stamp_ns] + [r.tick().command.stamp_ns for _ in range(5)]
    stamps.append(r.tick(step_ns=0).command.stamp_ns)  # two ticks at one time
    assert (np.diff(stamps) > 0).all()


class Asked(Gantry):
    """Notes the poses that joints were asked for."""

    def __init__(self):
        self.poses = []

    def ik(self, T, q_start):
        self.poses.append(T.tobytes())
        return super().ik(T, q_start)


def test_a_rehearsal_works_out_what_the_tick_then_sends():
    arm = Asked()
    r = Rig(arm, limits(), START).ready("start_policy")
    r.go(pose(0.02, 0, 0.3), ticks=1)
    for step in range(25):
        arm.poses.clear()
        r.now += TICK_NS
        r.state()
        if step % 10 == 9:  # what waits to be decided on is rehearsed too
            r.target(pose(0.03 + 0.002 * step, 0.01, 0.3))
        r.gate.rehearse()
        r.output = r.gate.tick(r.now)
        rehearsed, sent = arm.poses[: len(arm.poses) // 2], arm.poses[len(arm.poses) // 2 :]
        if step % 10 != 9:  # how fast a new target is gone to, its time of arrival decides
            assert rehearsed == sent
        assert len(rehearsed) == len(sent) == 1
        r.q = r.output.command.q


# limits


@pytest.mark.parametrize(
    ("target", "reason", "applied"),
    [
        (pose(0.4, 0, 0.3), "step", pose(0.05, 0, 0.3)),
        (pose(0, -0.03, 0.34), None, pose(0, -0.03, 0.34)),
        (pose(0, 0, 0.3, (0, 0, 2.0)), "step", pose(0, 0, 0.3, (0, 0, 0.3))),
    ],
)
def test_a_step_too_long_is_shortened_in_its_direction(target, reason, applied):
    r = lockstep().ready("start_policy")
    output = r.go(target, ticks=1)
    assert output.reasons == ((reason,) if reason else ())
    np.testing.assert_allclose(output.command.T_base_tool, applied, atol=1e-9)
    np.testing.assert_allclose(output.applied.T_base_tool, applied, atol=1e-9)
    np.testing.assert_allclose(output.clipped[:3], target[:3, 3] - applied[:3, 3], atol=1e-9)


def test_the_target_does_not_wind_up_outside_the_workspace():
    r = lockstep().ready("start_policy")
    for k in range(1, 15):
        r.go(pose(0.05 * k, 0, 0.3), ticks=1)
    assert r.output.reasons == ("step", "workspace")
    assert r.output.command.T_base_tool[0, 3] == 0.5
    back = r.go(pose(0.46, 0, 0.3), ticks=1)  # at once, not after the way that was asked for outside
    assert back.reasons == ()
    assert back.command.T_base_tool[0, 3] == 0.46


def test_targets_that_outrun_the_arm_do_not_pile_up():
    r = rig(max_joint_velocity_rad_s=0.02).ready("start_policy")
    for k in range(1, 8):
        output = r.go(pose(0.05 * k, 0, 0.3))
    assert "lead" in output.reasons
    assert output.applied.T_base_tool[0, 3] <= r.q[0] + 1.5 * 0.05 + 1e-9
    assert r.q[0] == pytest.approx(7 * 0.2 * 0.02, rel=0.03)


def test_orientation_is_limited_in_the_tangent_space():
    r = lockstep(rotation_low=(-0.2, -0.2, -1.5), rotation_high=(0.2, 0.2, 1.5)).ready("start_policy")
    for _ in range(3):
        output = r.go(pose(0, 0, 0.3, (0.25, 0, 0)), ticks=1)
    assert output.reasons == ("orientation",)
    np.testing.assert_allclose(output.command.T_base_tool, pose(0, 0, 0.3, (0.2, 0, 0)), atol=1e-9)


def test_an_arm_that_is_turned_out_of_its_box_comes_back_by_steps_that_are_no_longer():
    """Found by the property test: the step that leads back was clipped onto the box a second time, which turned up to half as far again."""
    rng, back = np.random.default_rng(0), 0
    box = {"rotation_low": (-0.3, -0.4, -1.5), "rotation_high": (0.3, 0.4, 1.5)}
    for _ in range(100):
        stands = rng.uniform((-0.3, 0.45, -1.0), (0.3, 1.0, 1.0))
        turned = rpy_to_matrix(rng.uniform(-0.1, 0.1, 3)) @ rpy_to_matrix(stands)
        r = Rig(Gantry(), limits(lockstep=True, **box), (0, 0, 0.3, *stands))
        r.ready("start_policy")
        T = pose(0, 0, 0.3)
        T[:3, :3] = turned
        output = r.go(T, ticks=1)
        angle = angle_between(output.command.T_base_tool[:3, :3], rpy_to_matrix(stands))
        assert angle <= r.limits.max_step_rad * 1.02
        back += angle > 0.05
    assert back > 50


def test_joint_speed_scales_the_whole_step_back():
    r = lockstep(max_joint_velocity_rad_s=0.1).ready("start_policy")
    output = r.go(pose(0.04, 0.02, 0.3), ticks=1)
    assert output.reasons == ("joint_speed",)
    moved = output.command.T_base_tool[:3, 3] - START[:3]
    assert moved[0] == pytest.approx(0.1 * 0.2, rel=0.03)
    assert moved[1] == pytest.approx(moved[0] / 2)
    np.testing.assert_allclose(output.clipped[:3], np.array([0.04, 0.02, 0.3]) - START[:3] - moved, atol=1e-12)


def test_joints_stop_a_margin_before_their_limits():
    r = lockstep(workspace=Box((-1.5, -1.5, -1.5), (1.5, 1.5, 1.5)), joint_margin_rad=0.1, watch={}).ready(
        "start_policy"
    )
    for k in range(1, 40):
        r.go(pose(0.04 * k, 0, 0.3), ticks=1)
    assert "joint_limit" in r.output.reasons
    assert 0.89 < r.q[0] <= 0.9 + 1e-9


def test_a_watched_point_stays_in_its_box_and_may_come_back_into_it():
    box = Box((-inf, -inf, 0.2), (inf, inf, inf))
    r = lockstep(watch={"left_finger": box}).ready("start_policy")  # 0.02 below the tool
    for k in range(1, 12):
        r.go(pose(0, 0, 0.3 - 0.02 * k), ticks=1)
    assert "watch_point" in r.output.reasons
    assert 0.22 - 1e-9 <= r.q[2] <= 0.24
    below = Rig(Gantry(), limits(lockstep=True, watch={"left_finger": box}), (0, 0, 0.1, 0, 0, 0))
    below.referee.see = lambda *_: None  # it starts outside
    below.ready("start_policy")
    assert below.go(pose(0, 0, 0.09), ticks=1).reasons == ("watch_point",)
    assert below.go(pose(0, 0, 0.12), ticks=1).reasons == ()
    assert below.q[2] == 0.12


def test_fingers_do_not_open_out_of_their_box():
    box = Box((-inf, -inf, -inf), (inf, 0.04, inf))  # open, the left one is at y + 0.05
    r = lockstep(watch={"left_finger": box})
    r.referee.see = lambda *_: None  # it starts outside
    r.ready("start_policy")
    assert r.tick().command.gripper == 1.0  # measured, and left alone
    assert r.go(pose(0, 0, 0.3), 0.0, ticks=1).command.gripper == 0.0
    wide = r.go(pose(0, 0, 0.3), 1.0, ticks=1)
    assert wide.reasons == ("watch_point",)
    assert wide.command.gripper == 0.0
    assert wide.clipped[6] == 1.0
    assert r.go(pose(0, 0, 0.3), 0.7, ticks=1).command.gripper == 0.7


def test_an_arm_that_starts_outside_moves_only_inwards():
    r = Rig(Gantry(), limits(lockstep=True, joint_margin_rad=0.3, watch={}), (0.8, 0, 0.3, 0, 0, 0))
    r.referee.see = lambda *_: None
    r.ready("start_policy")
    outward = r.go(pose(0.85, 0, 0.3), ticks=1)
    assert outward.command.q[0] <= 0.8
    for _ in range(20):
        before = r.q[0]
        r.go(pose(0.2, 0, 0.3), ticks=1)
        assert r.q[0] <= before
        assert before - r.q[0] <= 0.05 + 1e-9
    assert r.q[0] == pytest.approx(0.2)


def test_gripper_is_clipped_and_said():
    r = lockstep().ready("start_policy")
    output = r.go(pose(*START[:3]), 1.5, ticks=1)
    assert output.reasons == ("gripper",)
    assert output.command.gripper == 1.0
    assert output.clipped[6] == 0.5


def test_ik_failure_holds_the_last_good_joints_and_many_are_a_fault():
    arm = Planar()
    box = Box((-0.9, -0.9, -0.1), (0.9, 0.9, 0.1))
    q = np.array([0.0, 0.3, 0.1])
    r = Rig(arm, GateLimits.for_robot(arm, workspace=box, lockstep=True, ik_failures_to_fault=4), q)
    r.ready("start_policy")
    out = arm.fk(q)
    direction = out[:3, 3] / np.linalg.norm(out[:3, 3])
    for _ in range(12):
        T = r.gate.sent.T_base_tool.copy()
        T[:3, 3] += 0.03 * direction
        r.go(T, ticks=1)
        if r.output.mode is Mode.FAULT:
            break
        assert r.output.mode is Mode.POLICY
    assert r.output.mode is Mode.FAULT
    assert "inverse kinematics" in r.gate.status()["fault"]
    assert r.gate.counts["ik"] == 4
    held = r.q.copy()
    r.tick(5)
    np.testing.assert_array_equal(r.q, held)


def test_without_joint_checks_a_pose_out_of_reach_is_sent_with_the_nearest_joints():
    arm = Planar()
    box = Box((-0.9, -0.9, -0.1), (0.9, 0.9, 0.1))
    limits = GateLimits.for_robot(arm, workspace=box, lockstep=True, follows="pose")
    assert not limits.check_joints
    assert GateLimits.for_robot(arm, workspace=box, follows="pose", hardware=True).check_joints
    r = Rig(arm, limits, (0.0, 0.3, 0.1))
    r.referee.see = lambda *_: None  # the joints cannot reach it
    r.ready("start_policy")
    T = arm.fk(r.q)
    for _ in range(6):
        T = T.copy()
        T[0, 3] += 0.04
        output = r.go(T, ticks=1)
        assert output.reasons == ()
        np.testing.assert_array_equal(output.command.T_base_tool, T)
    assert arm.fk(output.command.q)[0, 3] < T[0, 3] - 0.1
    assert np.isfinite(output.command.q).all()
    assert r.go(pose(5, 0, 0), ticks=1).reasons == ("step", "workspace")  # poses are limited all the same


def test_one_good_target_between_failures_ends_the_row():
    arm = Planar()
    box = Box((-0.9, -0.9, -0.1), (0.9, 0.9, 0.1))
    r = Rig(arm, GateLimits.for_robot(arm, workspace=box, lockstep=True, ik_failures_to_fault=3), (0.0, 0.3, 0.1))
    r.ready("start_policy")
    good = arm.fk(r.q)
    bad = good.copy()
    bad[2, 3] = 0.03  # a planar arm stays in its plane
    for _ in range(6):
        assert r.go(bad, ticks=1).reasons == ("ik",)
        assert r.go(bad, ticks=1).reasons == ("ik",)
        assert r.go(good, ticks=1).reasons == ()
    assert r.gate.counts["ik"] == 12
    assert r.output.mode is Mode.POLICY


def test_a_stalled_arm_is_not_pushed_but_may_be_relieved():
    r = rig(max_tracking_error_rad=0.1, start_tolerance_rad=0.05).ready("start_policy")
    r.stuck = True
    for k in range(1, 8):
        output = r.go(pose(0.04 * k, 0, 0.3))
    assert "tracking" in output.reasons
    pushed = r.output.command.q[0]
    assert 0.1 < pushed <= 0.1 + 0.005 + 1e-9
    r.go(pose(pushed - 0.04, 0, 0.3))
    assert r.output.command.q[0] == pytest.approx(pushed - 0.04)


def test_effort_above_its_limit_blocks_the_same_way():
    r = rig(effort_limit=(5.0,) * 6).ready("start_policy")
    r.effort = np.array([0, 0, 0, 0, 0, 4.9])
    assert r.go(pose(0.03, 0, 0.3)).reasons == ()
    r.effort = np.array([0, 0, 0, 0, 0, -5.1])
    assert r.go(pose(0.06, 0, 0.3)).reasons == ("effort",)
    assert r.q[0] == pytest.approx(0.03)
