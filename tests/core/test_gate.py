"""Who moves the arm and when: starting, stopping, operators, latches, what is reported."""

from __future__ import annotations

import json
import sys
from math import nan
from pathlib import Path

import numpy as np
import pytest

from robot_pt.errors import UserError
from robot_pt.gate import Gate, GateLimits, Mode
from robot_pt.rotations import angle_between

sys.path.insert(0, str(Path(__file__).parent))
from gate_rig import NS, ROOM, START, TICK_NS, Gantry, Rig, hardware, limits, lockstep, pose, rig

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
    assert "250 ms" in r.gate.status()["fault"]
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
    assert quiet == 5  # 0.08 s and one tick: 0.1 s
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
    again = Rig(Gantry(), limits(), r.q, latches=r.gate.state_to_json())
    assert again.gate.mode is Mode.ESTOP
    assert again.tick(25).mode is Mode.ESTOP
    assert again.output.command is None
    again.request("clear_estop")
    assert again.tick().mode is Mode.DISARMED
    again.request("arm")
    assert again.tick().mode is Mode.HOLD
    assert Gate(Gantry(), limits(), latches=again.gate.state_to_json()).mode is Mode.DISARMED


@pytest.mark.parametrize(
    "text", ["{", "[]", "7", '{"estop": 1, "fault": ""}', '{"estop": true}', "null", "[" * 100_000]
)
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


def test_an_estop_whose_heartbeat_is_required_is_needed_to_arm_and_missed_within_its_timeout():
    r = rig(require_estop_heartbeat=True, estop_timeout_s=0.3)
    r.tick(25)
    refused = r.gate.request(r.now, "arm")
    assert (refused.ok, "heartbeat is not heard" in refused.message) == (False, True)
    r.gate.on_estop(r.now, False)
    for name in ("arm", "start_policy"):
        r.request(name)
    for _ in range(10):
        heard = r.now
        r.gate.on_estop(heard, False)
        assert r.go(pose(0.02, 0, 0.3)).mode is Mode.POLICY
    while r.output.mode is Mode.POLICY:
        r.target(pose(0.05, 0, 0.3))
        r.tick()
    assert 0.3 * NS < r.now - heard <= 0.3 * NS + 2 * TICK_NS
    assert (r.output.mode, r.gate.counts["estop_silent"]) == (Mode.ESTOP, 1)
    r.tick(50)
    assert r.gate.counts["estop_silent"] == 1
    assert r.output.mode is Mode.ESTOP, "it latches"
    r.request("clear_estop")
    assert not r.gate.request(r.now, "arm").ok
    r.gate.on_estop(r.now, False)
    r.request("arm")
    assert r.tick().mode is Mode.HOLD


def test_a_clock_that_was_set_back_gives_the_estop_its_time_to_be_heard_again_and_no_more():
    r = rig(require_estop_heartbeat=True)
    r.gate.on_estop(r.now, False)
    r.tick(20)
    r.gate.on_estop(r.now, False)
    r.request("arm")
    r.now -= 5 * NS
    assert r.tick().mode is Mode.HOLD
    r.tick(24)
    assert r.output.mode is Mode.HOLD
    assert r.tick(3).mode is Mode.ESTOP


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
        r.q = np.add(r.q, (0.01, 0, 0, 0, 0, 0))
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
        r.q = np.add(r.q, (0.01, 0, 0, 0, 0, 0))
        r.tick()
    assert "rad/s" in r.gate.request(r.now, "arm").message
    r.tick(25)
    r.request("arm")


@pytest.mark.parametrize("latch", [lambda r: r.gate.on_estop(r.now), lambda r: r.gate.on_fault(r.now, "x")])
def test_a_latch_after_disarming_does_not_pull_the_arm_back(latch):
    r = rig().ready()
    assert r.tick(2).command is not None
    r.request("disarm")
    assert r.tick().command is None
    r.q = np.add(r.q, (0.2, 0, 0, 0, 0, 0))  # moved by hand
    latch(r)
    assert r.tick(3).command is None


def test_a_simulator_that_was_reset_is_held_where_it_is_now():
    """A request that is refused there has an answer too: not the hold of the last episode, which its arm would go back to."""
    r = lockstep().ready()
    r.held = True
    for k in range(1, 6):
        r.go(pose(0.04 * k, 0, 0.3), 1.0, "teleop", ticks=1)
    assert r.output.mode is Mode.TELEOP
    ended, r.held = r.output.command, False
    r.q = r.q - (0.004, 0, 0.004, 0, 0, 0)  # as it hangs
    refused = r.go(pose(0.1, 0, 0.3), 1.0, "teleop", ticks=1)
    assert refused.mode is Mode.HOLD
    np.testing.assert_array_equal(refused.command.q, ended.q)
    home = np.array([-0.05, 0.02, 0.35, 0, 0, 0.2])
    r.q = home.copy()
    for _ in range(2):
        refused = r.go(pose(-0.1, 0, 0.3), 1.0, "teleop", ticks=1)
        assert refused.reasons == ("deadman",)
        np.testing.assert_array_equal(refused.command.q, home)
        np.testing.assert_allclose(refused.command.T_base_tool, r.arm.fk(home))


def test_an_unknown_request_is_the_users_mistake():
    with pytest.raises(UserError, match="there is no request 'fly'"):
        rig().gate.request(100 * NS, "fly")


def test_a_fault_from_outside_keeps_its_first_cause():
    r = rig().ready()
    r.gate.on_fault(r.now, "motor 3 overloaded")
    r.gate.on_second_publisher(r.now, "command")
    assert r.tick().mode is Mode.FAULT
    assert r.gate.status()["fault"] == "motor 3 overloaded"
    assert r.output.changed
    assert not r.tick().changed


# what is reported


def test_status_is_json_and_says_what_the_operator_needs():
    r = rig().ready("start_policy")
    r.tick(30)
    status = json.loads(json.dumps(r.gate.status()))
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
