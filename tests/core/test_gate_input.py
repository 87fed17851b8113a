"""Silence, messages that cannot be right, and clocks that are set: `test_gate_properties.py` mixes them all."""

from __future__ import annotations

import sys
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest

from robot_pt.commands import ArmState, PoseTarget
from robot_pt.gate import Gate, Mode

sys.path.insert(0, str(Path(__file__).parent))
from gate_rig import NS, START, TICK_NS, Gantry, limits, lockstep, pose, rig

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


def test_an_arm_outside_the_picture_does_not_hold_a_simulation_in_lock_step():
    """Renderings of a scene that stands still are equal, and nothing would ever change them."""
    r = rig(cameras=("primary",), lockstep=True).ready("start_policy")
    for k in range(1, 15):
        r.gate.on_frame(r.now, "primary", r.now, 7)
        assert r.go(pose(0.02 + 0.02 * k, 0, 0.3)).mode is Mode.POLICY


@pytest.mark.parametrize("age_s", [-1.5, 0.6, 5.0])
def test_a_frame_too_old_to_decide_on_or_from_the_future_is_no_news(age_s):
    r = rig(cameras=("primary",)).ready("start_policy")
    for k in range(40):
        r.gate.on_frame(r.now, "primary", r.now - round(age_s * NS), k)
        r.target(pose(0.02, 0, 0.3))
        assert r.tick().mode is Mode.HOLD
        assert r.output.reasons[0] == "camera_stale"
    r.gate.on_frame(r.now, "primary", r.now, "good")
    r.request("start_policy")
    assert r.go(pose(0.02, 0, 0.3)).mode is Mode.POLICY


def test_in_lock_step_a_heartbeat_lasts_as_long_as_other_sources():
    """Simulated steps of 0.2 s pass in a few milliseconds, faster than a hand beats; a release is heard at once all the same."""
    r = lockstep().ready()
    r.held = True
    assert r.go(pose(0.02, 0, 0.3), source="teleop", ticks=1).mode is Mode.TELEOP
    heard_ns, modes, r.held = r.now, [], None
    for k in range(2, 6):
        r.now = heard_ns + (k - 1) * NS // 5
        r.state()
        r.target(pose(0.02 * k, 0, 0.3), source="teleop")
        modes.append(r.gate.tick(r.now).mode)
    assert modes == [Mode.TELEOP, Mode.TELEOP, Mode.HOLD, Mode.HOLD]  # 0.2, 0.4, 0.6 and 0.8 s after it
    r.gate.on_deadman(r.now, True)
    r.target(pose(0.12, 0, 0.3), source="teleop")
    r.gate.on_deadman(r.now, False)
    assert r.gate.tick(r.now).mode is Mode.HOLD


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
    assert "malformed messages in a row from policy" in r.gate.status()["fault"]
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


def test_a_simulated_clock_that_moves_in_steps_is_no_jump():
    gate, q = Gate(Gantry(), limits()), np.array(START)
    seen = set()
    for k in range(1, 200):
        now, clock = 10**15 + k * TICK_NS, NS + (k // 10) * NS // 5  # five steps a second
        if k % 10 == 0:
            gate.on_state(now, ArmState(clock, q, 1.0))
            gate.on_target(now, "policy", PoseTarget(clock, pose(0.001 * (k // 10), 0, 0.3), 1.0, clock))
        if k == 50:
            assert gate.request(now, "arm").ok
            assert gate.request(now, "start_policy").ok
        output = gate.tick(now, clock_ns=clock)
        q = q if output.command is None else output.command.q
        seen |= set(output.reasons) if k > 60 else set()
    assert seen == set()
    assert q[0] == pytest.approx(0.019)


@pytest.mark.parametrize("jump_s", [-3600, 3600])
def test_a_jump_of_the_stamps_clock_neither_fires_nor_mutes_watchdogs(jump_s):
    gate, q = Gate(Gantry(), limits()), np.array(START)
    times = {"now": 100 * NS, "offset": 10**18}

    def step(T=None):
        times["now"] += TICK_NS
        now, clock = times["now"], times["now"] + times["offset"]
        gate.on_state(now, ArmState(clock, q, 1.0))
        if T is not None:
            gate.on_target(now, "policy", PoseTarget(clock, T, 1.0, clock))
        return gate.tick(now, clock_ns=clock)

    for _ in range(25):
        step()
    assert gate.request(times["now"], "arm").ok
    assert gate.request(times["now"], "start_policy").ok
    assert step(pose(0.02, 0, 0.3)).mode is Mode.POLICY
    times["offset"] += jump_s * NS
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
