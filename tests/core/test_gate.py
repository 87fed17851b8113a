"""What the gate does in each situation; `test_gate_properties.py` has what holds in all of them."""

from __future__ import annotations

import sys
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest

from robot_pt.commands import ArmState
from robot_pt.errors import UserError
from robot_pt.gate import Box, Gate, GateLimits, Mode
from robot_pt.rotations import angle_between, rpy_to_matrix

sys.path.insert(0, str(Path(__file__).parent))
from gate_rig import NS, TICK_NS, Gantry, Planar, Rig, pose

ROOM = Box((-0.5, -0.5, 0.0), (0.5, 0.5, 0.6))
START = (0.0, 0.0, 0.3, 0.0, 0.0, 0.0)


def limits(**changes):
    return GateLimits.for_robot(Gantry(), **({"workspace": ROOM, "ramp_in_s": 0.0} | changes))


def lockstep(**changes):
    return Rig(Gantry(), limits(lockstep=True, control_hz=5.0, tick_hz=5.0, **changes), START)


def rig(q=START, **changes):
    return Rig(Gantry(), limits(**changes), q)


def hardware(**changes):
    return rig(hardware=True, require_deadman=True, joint_margin_rad=0.0, max_joint_velocity_rad_s=2.0, **changes)


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


def test_joint_speed_scales_the_whole_step_back():
    r = lockstep(max_joint_velocity_rad_s=0.1).ready("start_policy")
    output = r.go(pose(0.04, 0.02, 0.3), ticks=1)
    assert output.reasons == ("joint_speed",)
    moved = output.command.T_base_tool[:3, 3] - START[:3]
    assert moved[0] == pytest.approx(0.1 * 0.2, rel=0.03)
    assert moved[1] == pytest.approx(moved[0] / 2)
    np.testing.assert_allclose(output.clipped[:3], np.array([0.04, 0.02, 0.3]) - START[:3] - moved, atol=1e-12)


def test_joints_stop_a_margin_before_their_limits():
    r = lockstep(workspace=Box((-1.5, -1.5, -1.5), (1.5, 1.5, 1.5)), joint_margin_rad=0.1, watch={}).ready("start_policy")
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
    for k in range(1, 40):
        T = r.gate.sent.T_base_tool.copy()
        T[:3, 3] += 0.03 * direction
        r.go(T, ticks=1)
        if r.output.mode is Mode.FAULT:
            break
        assert r.output.mode is Mode.POLICY
    assert r.output.mode is Mode.FAULT
    assert "inverse kinematics" in r.output.status["fault"]
    assert r.gate.counts["ik"] == 4
    assert 4 < k < 12
    held = r.q.copy()
    r.tick(5)
    np.testing.assert_array_equal(r.q, held)


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


# starting and stopping


def test_a_start_goes_on_from_the_command_after_sag_and_from_the_arm_after_a_push():
    r = rig().ready("start_policy")
    r.go(pose(0.05, 0, 0.3))
    r.request("stop_policy")
    r.stuck, r.q = True, r.q - (0, 0, 0.01, 0, 0, 0)  # sags
    r.tick(30)
    r.request("start_policy")
    assert r.go(pose(0.05, 0, 0.3), ticks=1).clipped[2] == 0
    assert r.output.command.T_base_tool[2, 3] == 0.3
    r.request("stop_policy")
    r.q = r.q - (0.3, 0, 0, 0, 0, 0)  # pushed away
    r.tick(30)
    r.request("start_policy")
    r.referee.last = None  # the command steps to where the arm is
    output = r.go(pose(0.05, 0, 0.3), ticks=1)
    assert output.applied.T_base_tool[0, 3] == pytest.approx(-0.25 + 0.05, abs=1e-3)
    assert output.command.T_base_tool[0, 3] == pytest.approx(-0.25 + 0.005, abs=1e-3)
    assert output.clipped[0] == pytest.approx(0.25, abs=1e-3)


def test_holding_repeats_the_command_while_the_arm_sags():
    r = rig().ready()
    r.stuck = True
    held = r.tick().command
    for _ in range(50):
        r.q = r.q - (0, 0, 0.002, 0, 0, 0)
        np.testing.assert_array_equal(r.tick().command.q, held.q)


def test_an_arm_moved_far_by_hand_is_not_pulled_back():
    r = rig(max_tracking_error_rad=0.2).ready()
    r.stuck = True
    r.q = r.q - (0, 0, 0.25, 0, 0, 0)
    assert r.tick(5).command is None
    assert r.output.mode is Mode.HOLD
    r.request("disarm")
    r.tick(25)
    r.request("arm")
    np.testing.assert_array_equal(r.tick().command.q, r.q)


def test_after_a_pause_speed_rises_slowly():
    r = rig(ramp_in_s=1.0).ready("start_policy")
    speeds = []
    for k in range(1, 16):
        before = r.q[0]
        r.go(pose(r.gate.sent.T_base_tool[0, 3] + 0.05, 0, 0.3))
        speeds.append((r.q[0] - before) / 0.2)
        if k == 8:
            r.tick(30)  # silence
            assert r.output.mode is Mode.HOLD
    assert speeds[0] < 0.06
    assert (np.diff(speeds[:5]) > 0).all()
    assert speeds[7] == pytest.approx(0.25)
    assert speeds[8] < 0.06


def test_a_late_tick_does_not_jump():
    r = rig().ready("start_policy")
    r.go(pose(0.05, 0, 0.3), ticks=1)
    before = r.q[0]
    r.tick(step_ns=NS // 8)
    assert r.q[0] - before <= 0.25 * 2 / 50 + 1e-9
    assert "jitter" in r.output.reasons


def test_a_gap_between_ticks_is_a_fault_on_hardware():
    r = hardware()
    r.held = False
    r.ready()
    r.tick(step_ns=NS // 4)
    assert r.output.mode is Mode.FAULT
    assert "250 ms" in r.output.status["fault"]
    assert rig().ready().tick(step_ns=NS // 4).mode is Mode.HOLD


# who is in control


def test_nothing_moves_before_it_is_armed_and_started():
    r = rig()
    r.tick(25)
    assert r.go(pose(0.02, 0, 0.3)).command is None
    assert not r.gate.request(r.now, "start_policy").ok
    assert not r.gate.request(r.now, "takeover").ok
    r.request("arm")
    assert r.go(pose(0.02, 0, 0.3)).mode is Mode.HOLD
    assert r.gate.counts["not_in_control"] == 2
    r.request("start_policy")
    assert r.go(pose(0.02, 0, 0.3)).mode is Mode.POLICY
    assert r.q[0] == pytest.approx(0.02)
    assert r.referee.moved == 10


def test_a_policy_on_hardware_is_hold_to_run():
    r = hardware()
    r.tick(25)
    r.request("arm")
    assert "hold-to-run" in r.gate.request(r.now, "start_policy").message
    r.held = False
    r.tick(3)
    r.request("start_policy")
    assert r.go(pose(0.02, 0, 0.3)).reasons == ("deadman",)
    assert r.output.mode is Mode.HOLD
    r.held = True
    assert r.go(pose(0.02, 0, 0.3), ticks=5).mode is Mode.POLICY
    assert r.q[0] > 0
    r.held = False
    assert r.tick().mode is Mode.HOLD  # within one tick of the release
    stopped = r.q.copy()
    r.tick(20)
    np.testing.assert_array_equal(r.q, stopped)


def test_a_deadman_that_falls_silent_is_released_after_its_timeout():
    r = hardware()
    r.held = True
    r.tick(2)
    r.held = False
    r.ready("start_policy")
    r.held = True
    r.go(pose(0.05, 0, 0.3), ticks=1)
    r.held = None  # no heartbeat from here
    quiet = 0
    while r.output.mode is Mode.POLICY:
        r.target(pose(0.05, 0, 0.3))
        r.tick()
        quiet += 1
    assert quiet == 11  # 0.2 s and one tick
    assert r.output.reasons[0] == "deadman"


def test_an_operator_who_moves_with_the_deadman_held_takes_over_within_one_tick():
    r = rig().ready("start_policy")
    r.go(pose(0.05, 0, 0.3), ticks=3)
    assert r.go(pose(0, 0.04, 0.3), source="teleop", ticks=1).mode is Mode.POLICY  # deadman not held
    r.held = True
    output = r.go(pose(r.q[0], 0.04, 0.3), source="teleop", ticks=1)
    assert output.mode is Mode.TELEOP
    x = r.q[0]
    r.target(pose(0.05, 0, 0.3))  # the policy is not heard any more
    r.tick(9)
    assert r.q[0] == pytest.approx(x)
    assert r.q[1] == pytest.approx(0.04)
    r.held = False
    assert r.tick().mode is Mode.HOLD
    r.request("release")
    assert r.go(pose(0.05, 0.04, 0.3), ticks=1).mode is Mode.POLICY


def test_takeover_by_request_stops_the_policy_where_it_is():
    r = rig().ready("start_policy")
    r.go(pose(0.05, 0, 0.3), ticks=3)
    r.request("takeover")
    assert r.tick().mode is Mode.HOLD  # a human without deadman
    stopped = r.q.copy()
    r.tick(20)
    np.testing.assert_array_equal(r.q, stopped)
    r.request("release")
    r.request("stop_policy")
    assert r.tick(2).mode is Mode.HOLD


def test_estop_trips_at_once_latches_and_survives_a_restart():
    r = rig().ready("start_policy")
    r.go(pose(0.05, 0, 0.3), ticks=3)
    r.gate.on_estop(r.now, False)
    assert r.tick().mode is Mode.POLICY
    r.gate.on_estop(r.now)
    assert r.tick().mode is Mode.ESTOP
    stopped = r.q.copy()
    r.gate.on_estop(r.now, False)
    for name in ("arm", "start_policy", "takeover"):
        assert not r.gate.request(r.now, name).ok
    assert r.go(pose(0.05, 0, 0.3)).mode is Mode.ESTOP
    np.testing.assert_array_equal(r.q, stopped)
    again = rig(r.q)
    again.gate = Gate(Gantry(), limits(), latches=r.gate.state_to_json())
    assert again.gate.mode is Mode.ESTOP
    assert again.tick(25).mode is Mode.ESTOP
    assert again.output.command is None
    again.request("clear_estop")
    assert again.tick().mode is Mode.DISARMED
    again.request("arm")
    assert again.tick().mode is Mode.HOLD
    assert Gate(Gantry(), limits(), latches=again.gate.state_to_json()).mode is Mode.DISARMED


@pytest.mark.parametrize("text", ["{", "[]", "7", '{"estop": 1, "fault": ""}', '{"estop": true}', "null", "[" * 100_000])
def test_a_latch_record_that_cannot_be_read_is_a_fault(text):
    assert Gate(Gantry(), limits(), latches=text).mode is Mode.FAULT


def test_anything_but_false_on_the_estop_topic_trips():
    for value in (True, np.True_, None, 0, "False", nan):
        gate = rig().gate
        gate.on_estop(100 * NS, value)
        assert gate.tick(100 * NS).mode is Mode.ESTOP
    gate = rig().gate
    gate.on_estop(100 * NS, np.False_)
    assert gate.tick(100 * NS).mode is Mode.DISARMED


def test_leaving_a_latch_needs_rest_and_a_released_deadman():
    r = rig().ready()
    r.gate.on_second_publisher(r.now, "policy/command_raw")
    r.gate.on_estop(r.now)
    r.held = True
    r.tick(25)
    assert "deadman" in r.gate.request(r.now, "reset_fault").message
    assert "reset_fault first" in r.gate.request(r.now, "clear_estop").message
    r.held, r.stuck = False, True
    for _ in range(10):
        r.q = r.q + (0.01, 0, 0, 0, 0, 0)
        r.tick()
    assert "not at rest" in r.gate.request(r.now, "reset_fault").message
    r.tick(25)
    r.request("reset_fault")
    assert r.tick().mode is Mode.ESTOP
    r.request("clear_estop")
    assert r.tick().mode is Mode.DISARMED


def test_arming_needs_rest_and_fresh_joint_states():
    r = rig()
    r.mute = True
    r.tick(5)
    assert "no fresh joint states" in r.gate.request(r.now, "arm").message
    r.mute, r.stuck = False, True
    r.tick(2)
    assert "not known yet" in r.gate.request(r.now, "arm").message
    for _ in range(10):
        r.q = r.q + (0.01, 0, 0, 0, 0, 0)
        r.tick()
    assert "rad/s" in r.gate.request(r.now, "arm").message
    r.tick(25)
    r.request("arm")


def test_an_unknown_request_is_the_users_mistake():
    with pytest.raises(UserError, match="there is no request 'fly'"):
        rig().gate.request(100 * NS, "fly")


def test_a_fault_from_outside_keeps_its_first_cause():
    r = rig().ready()
    r.gate.on_fault(r.now, "motor 3 overloaded")
    r.gate.on_second_publisher(r.now, "command")
    assert r.tick().status["fault"] == "motor 3 overloaded"
    assert r.output.mode is Mode.FAULT
    assert r.output.changed
    assert not r.tick().changed


# silence and bad input


def silent_after(r, feed):
    """Seconds from the last target until the mode is hold, feeding something else."""
    r.go(pose(0.02, 0, 0.3), ticks=1)
    last = r.now
    while r.output.mode is Mode.POLICY:
        feed(r)
        r.tick()
        assert r.now - last < 2 * NS
    return (r.now - last) / NS


def test_a_silent_policy_ends_in_hold_after_two_and_a_half_periods_and_goes_on_when_it_returns():
    r = rig().ready("start_policy")
    assert 0.5 < silent_after(r, lambda r: None) <= 0.5 + 0.02 + 1e-9
    assert r.output.reasons == ("policy_silent",)
    r.tick(100)
    assert r.go(pose(0.04, 0, 0.3)).mode is Mode.POLICY


@pytest.mark.parametrize(
    ("feed", "reason"),
    [
        (lambda r: r.target(pose(0.02, 0, 0.3), age_ns=int(0.31 * NS)), "command_old"),
        (lambda r: r.target(pose(0.02, 0, 0.3), age_ns=-NS), "command_future"),
        (lambda r: r.target(pose(0.02, 0, 0.3), observed_ns=0), "observation_missing"),
        (lambda r: r.target(pose(0.02, 0, 0.3), observed_ns=r.now - NS // 2), "observation_old"),
        (lambda r: r.target(pose(0.02, 0, 0.3), observed_ns=r.now + 1), "observation_old"),
        (lambda r: r.gate.on_pose(r.now, "policy", r.now, pose(0.02, 0, 0.3), r.now), "half_pair"),
        (lambda r: r.gate.on_gripper(r.now, "policy", r.now, 1.0), "half_pair"),
        (lambda r: r.target(pose(0.02, 0, 0.3), source="teleop"), "not_in_control"),
    ],
)
def test_targets_that_are_refused_do_not_count_as_life(feed, reason):
    r = rig().ready("start_policy")
    assert silent_after(r, feed) <= 0.52 + 1e-9
    assert r.gate.counts[reason] > 10


def test_a_target_that_is_not_newer_is_dropped():
    r = rig().ready("start_policy")
    T = pose(0.02, 0, 0.3)
    stamp = r.now + TICK_NS
    r.go(T)
    for age in (0, TICK_NS):
        r.target(pose(0.05, 0, 0.3), age_ns=r.now - stamp + age)
        assert r.tick().reasons == ("sequence",)
    assert r.q[0] == pytest.approx(0.02)


def test_of_two_targets_between_ticks_the_newer_counts_whatever_their_order():
    for first, second in ((5, 2), (2, 5)):
        r = rig().ready("start_policy")
        r.tick()
        r.target(pose(0.001 * first, 0, 0.3), age_ns=first * 1_000_000)
        r.target(pose(0.001 * second, 0, 0.3), age_ns=second * 1_000_000)
        r.tick(10)
        assert r.q[0] == pytest.approx(0.002)
        assert r.gate.counts["superseded"] == 1


def test_joint_states_that_stop_end_in_hold():
    r = rig().ready("start_policy")
    r.mute = True
    assert silent_after(r, lambda r: r.target(pose(0.02, 0, 0.3))) <= 0.52 + 1e-9
    assert r.output.reasons == ("joint_state",)
    r.mute = False
    assert r.go(pose(0.03, 0, 0.3)).mode is Mode.POLICY


def test_a_driver_that_repeats_one_reading_is_silent():
    r = rig().ready("start_policy")
    frozen = ArmState(r.now, r.q.copy(), 1.0)
    r.mute = True

    def feed(r):
        r.gate.on_state(r.now, frozen)
        r.target(pose(0.02, 0, 0.3))

    assert silent_after(r, feed) <= 0.52 + 1e-9


def frames(r, *, stale=False, frozen=False):
    r.gate.on_frame(r.now, "primary", 1 if stale else r.now, 7 if frozen else r.now)
    r.target(pose(0.02, 0, 0.3))


@pytest.mark.parametrize(
    ("trouble", "reason", "within"),
    [
        ({"stale": True}, "camera_stale", 0.52),
        ({"frozen": True}, "camera_frozen", 1.04),
        ({"stale": True, "frozen": True}, "camera_stale", 0.52),
    ],
)
def test_a_camera_that_stops_or_repeats_itself_holds_the_policy(trouble, reason, within):
    r = rig(cameras=("primary",), frozen_motion_rad=0.0).ready("start_policy")
    assert r.go(pose(0.02, 0, 0.3)).reasons == ("camera_stale",)  # never seen
    r.request("start_policy")
    r.gate.on_frame(r.now, "primary", r.now, "first")
    assert silent_after(r, lambda r: frames(r, **trouble)) <= within
    assert r.output.reasons[0] == reason
    r.held = True
    assert r.go(pose(0.02, 0.01, 0.3), source="teleop").mode is Mode.TELEOP  # an operator sees for himself


def test_images_of_an_arm_at_rest_are_equal_in_simulation_and_no_fault():
    r = rig(cameras=("primary",)).ready("start_policy")  # frozen_motion_rad is 0.05
    for _ in range(20):
        frames(r, frozen=True)
        assert r.tick(5).mode is Mode.POLICY
    for k in range(1, 12):
        r.gate.on_frame(r.now, "primary", r.now, 7)
        r.go(pose(0.02 + 0.02 * k, 0, 0.3))
    assert r.output.reasons[0] == "camera_frozen"


BAD_POSES = [
    np.full((4, 4), nan), np.diag([inf, 1, 1, 1]), np.zeros((3, 4)), np.eye(4) * 1e200, "pose", None, [[1, 2], [3]],
    pose(1e6, 0, 0), np.diag([1.0, 1, -1, 1]), np.diag([2.0, 0.5, 1, 1]), np.diag([1.0, 1, 1, 2]), object(),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_POSES, ids=repr)
def test_three_malformed_targets_in_a_row_are_a_fault(bad):
    r = rig().ready("start_policy")
    r.go(pose(0.02, 0, 0.3))
    for k in range(3):
        assert r.output.mode is Mode.POLICY
        r.gate.on_pose(r.now, "policy", r.now, bad, r.now)
        r.gate.on_gripper(r.now, "policy", r.now, 1.0)
        r.tick()
        assert r.gate.counts["malformed"] == k + 1
    assert r.output.mode is Mode.FAULT
    assert "malformed messages in a row from policy" in r.output.status["fault"]
    r.tick(25)
    r.request("reset_fault")
    assert r.tick().mode is Mode.DISARMED


@pytest.mark.parametrize("gripper", [nan, inf, 1e9, "open", None, [0.1, 0.2], []])
def test_malformed_grippers_count_and_a_good_target_ends_the_row(gripper):
    r = rig().ready("start_policy")
    for _ in range(4):
        for _ in range(2):
            r.gate.on_gripper(r.now, "policy", r.now, gripper)
            r.tick()
        assert r.go(pose(0.02, 0, 0.3)).mode is Mode.POLICY
    assert r.gate.counts["malformed"] == 8


def test_both_halves_of_one_bad_frame_count_once_and_names_matter():
    r = rig().ready("start_policy")
    for _ in range(2):
        r.gate.on_pose(r.now, "policy", r.now, None)
        r.gate.on_gripper(r.now, "policy", r.now, nan)
        assert r.tick().mode is not Mode.FAULT
    r.gate.on_gripper(r.now, "policy", r.now, 1.0, names=["left_finger"])
    assert r.tick().mode is Mode.FAULT


@pytest.mark.parametrize("stamp", [-1, 2**70, 1.5, nan, None, True, "now"])
def test_stamps_that_are_none_are_malformed(stamp):
    r = rig().ready("start_policy")
    r.gate.on_pose(r.now, "policy", stamp, pose(0.02, 0, 0.3))
    r.gate.on_gripper(r.now, "policy", stamp, 1.0)
    r.tick()
    assert r.gate.counts["malformed"] == 2


def test_messages_that_could_not_be_unpacked_are_counted_too():
    r = rig().ready("start_policy")
    for _ in range(3):
        r.gate.on_malformed(r.now, "policy")
    assert r.tick().mode is Mode.FAULT


BAD_JOINTS = [
    np.full(6, nan), np.r_[np.zeros(5), inf], np.zeros(5), np.full(6, 50.0), "joints", None, [[0.0] * 6], [1, [2]],
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_JOINTS, ids=repr)
def test_malformed_joint_states_hold_the_last_good_ones_and_three_are_a_fault(bad):
    r = rig().ready()
    for k in range(3):
        assert r.output.mode is not Mode.FAULT
        r.gate.on_state(r.now, ArmState(r.now, bad, 1.0))
        r.mute = True
        r.tick()
        assert r.gate.counts["malformed"] == k + 1
    assert r.output.mode is Mode.FAULT


@pytest.mark.parametrize("changes", [{"gripper": nan}, {"gripper": None}, {"effort": np.zeros(3)}, {"effort": np.full(6, nan)}, {"stamp_ns": 0.5}])  # fmt: skip
def test_other_fields_of_a_joint_state_are_checked(changes):
    r = rig().ready()
    r.gate.on_state(r.now, ArmState(r.now, r.q, 1.0)._replace(**changes))
    assert r.gate.counts["malformed"] == 1


def test_joint_states_are_read_by_name():
    r = rig()
    names = ["left_finger", *reversed(Gantry.joint_names)]
    values = np.arange(7) / 10
    for _ in range(25):
        r.now += TICK_NS
        r.gate.on_joint_state(r.now, r.now, names, values, gripper=0.5)
        r.gate.tick(r.now)
    r.request("arm")
    command = r.gate.tick(r.now).command
    np.testing.assert_array_equal(command.q, values[:0:-1])
    assert command.gripper == 0.5


@pytest.mark.parametrize(
    ("names", "values", "effort"),
    [
        (Gantry.joint_names[:5], np.zeros(5), ()),
        ((*Gantry.joint_names, "x"), np.zeros(7), ()),
        (Gantry.joint_names, np.zeros(7), ()),
        (Gantry.joint_names, np.zeros(6), np.zeros(5)),
        (Gantry.joint_names, np.full(6, nan), ()),
        (Gantry.joint_names, np.zeros(6), np.full(6, nan)),
    ],
)
def test_joint_messages_with_wrong_names_or_lengths_are_malformed(names, values, effort):
    r = rig()
    r.gate.on_joint_state(r.now, r.now, names, values, effort, gripper=1.0)
    assert r.gate.counts["malformed"] == 1


# clocks


def test_a_clock_set_back_holds_until_everything_is_heard_again():
    r = rig().ready("start_policy")
    r.go(pose(0.05, 0, 0.3), ticks=3)
    stopped = r.q.copy()
    r.now -= 50 * NS
    r.mute = True
    output = r.tick()
    assert output.mode is Mode.HOLD
    assert {"clock_jump", "joint_state", "policy_silent"} <= set(output.reasons)
    r.mute = False
    r.tick(3)
    np.testing.assert_array_equal(r.q, stopped)
    assert r.go(pose(0.05, 0, 0.3)).mode is Mode.POLICY
    assert r.q[0] == pytest.approx(0.05)


def test_a_jump_of_the_stamps_clock_neither_fires_nor_mutes_watchdogs():
    for jump in (-3600 * NS, 3600 * NS):
        gate = Gate(Gantry(), limits())
        now, offset, q = 100 * NS, 10**18, np.array(START)

        def step(T=None, gate=gate, q=q):
            nonlocal now
            now += TICK_NS
            gate.on_state(now, ArmState(now + offset, q, 1.0))
            if T is not None:
                gate.on_pose(now, "policy", now + offset, T, now + offset)
                gate.on_gripper(now, "policy", now + offset, 1.0)
            return gate.tick(now, clock_ns=now + offset)

        for _ in range(25):
            step()
        assert gate.request(now, "arm").ok
        assert gate.request(now, "start_policy").ok
        assert step(pose(0.02, 0, 0.3)).mode is Mode.POLICY
        offset += jump
        seen = [step() for _ in range(2)]
        assert "clock_jump" in {reason for output in seen for reason in output.reasons}
        assert step(pose(0.02, 0.01, 0.3)).mode is Mode.POLICY
        assert gate.counts["clock_jump"] == 1
        quiet = 0
        while step().mode is Mode.POLICY:
            quiet += 1
        assert quiet == 25  # 0.5 s of the monotonic clock


def test_callbacks_slightly_out_of_order_are_no_clock_jump():
    r = rig().ready("start_policy")
    r.go(pose(0.02, 0, 0.3), ticks=1)
    r.gate.on_deadman(r.now - 3_000_000, True)
    assert r.tick().mode is Mode.POLICY
    assert r.gate.counts["clock_jump"] == 0


# what is reported


def test_status_is_json_and_says_what_the_operator_needs():
    import json

    r = rig().ready("start_policy")
    r.tick(30)
    status = json.loads(json.dumps(r.output.status))
    assert status["mode"] == "hold"
    assert status["armed"]
    assert status["policy"]
    assert status["counts"]["policy_silent"] == 1
    assert status["age_s"]["joint_state"] == 0
    assert status["age_s"]["deadman"] is None
    assert status["tick_ms"]["p50"] == 20
    assert r.gate.mode is Mode.HOLD


class Swivel(Gantry):
    """A seventh joint that moves nothing, as an elbow does not move the hand."""

    name = "swivel"
    joint_names = (*Gantry.joint_names, "swivel")
    lower_rad, upper_rad = np.append(Gantry.lower_rad, -3), np.append(Gantry.upper_rad, 3)
    max_velocity_rad_s, effort_limit = np.full(7, 3.0), np.full(7, 10.0)

    def ik(self, T, q_start):
        solved = GANTRY.ik(T, q_start)
        return solved._replace(q=np.append(solved.q, q_start[6]))


GANTRY = Gantry()


@pytest.mark.parametrize("follows", ["pose", "joints"])
def test_only_an_arm_that_follows_poses_may_choose_its_joints(follows):
    r = Rig(Swivel(), GateLimits.for_robot(Swivel(), workspace=ROOM, follows=follows, ramp_in_s=0.0), (*START, 0.0))
    r.referee.see = lambda *_: None  # the seventh joint is nobody's to judge
    r.ready("start_policy")
    r.stuck = True
    for k in range(1, 5):
        r.q = np.append((0.03 * (k - 1), *START[1:]), 0.6 * k)  # its own controller swivels it
        output = r.go(pose(0.03 * k, 0, 0.3))
    assert ("tracking" in output.reasons) == (follows == "joints")
    assert (r.output.command.T_base_tool[0, 3] == pytest.approx(0.12)) == (follows == "pose")


def test_angles_of_the_report_are_those_of_the_canonical_action():
    r = lockstep().ready("start_policy")
    asked = pose(0, 0, 0.3, (0, 0, 0.5))
    output = r.go(asked, ticks=1)
    assert output.clipped[5] == pytest.approx(0.2)
    assert angle_between(output.applied.T_base_tool[:3, :3], asked[:3, :3]) == pytest.approx(0.2)
