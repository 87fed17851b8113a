"""The gate's parts by themselves: limits, poses, watchdogs, pairing, clocks."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import fields
from math import inf, nan, pi
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.commands import ArmState
from robot_pt.errors import UserError
from robot_pt.gate import SENTENCES, Box, GateLimits, Reason
from robot_pt.gate.clocks import ClockEvent, Clocks
from robot_pt.gate.inbox import MOST_HALVES, TargetInbox
from robot_pt.gate.poses import (
    ACTION_LIKE_RAD,
    RotationBox,
    Way,
    action_angle,
    farthest,
    is_pose,
    rotation_from_vector,
    rotation_vector,
    step_position,
    step_rotation,
)
from robot_pt.gate.senses import Senses
from robot_pt.gate.watchdogs import Deadman, FrameWatch, JitterMonitor, RestMonitor, Watchdog
from robot_pt.rotations import angle_between, rpy_to_matrix

sys.path.insert(0, str(Path(__file__).parent))
from gate_rig import NS, Gantry, limits, pose

ROOM = Box((-0.5, -0.5, 0.0), (0.5, 0.5, 0.6))
angles = st.floats(-pi, pi)
rotations = st.tuples(angles, angles, angles).map(rpy_to_matrix)


# limits


def test_a_real_arm_needs_a_declared_workspace():
    with pytest.raises(UserError, match="gantry has no workspace; measure the box"):
        GateLimits.for_robot(Gantry(), hardware=True)
    limits = GateLimits.for_robot(Gantry(), hardware=True, workspace=ROOM)
    assert limits.require_deadman
    assert limits.effort_limit == (10.0,) * 6
    assert limits.max_joint_velocity_rad_s == 0.5
    assert limits.watch["left_finger"].low[2] == pytest.approx(-0.02)
    with pytest.raises(UserError, match="no default workspace is known for gantry"):
        GateLimits.for_robot(Gantry())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"require_deadman": False}, "require_deadman is off"),
        ({"lockstep": True}, "a real arm does not wait"),
        ({"check_joints": False}, "joints are always checked"),
        ({"max_tracking_error_rad": inf}, "max_tracking_error_rad is switched off"),
        ({"jitter_fault_s": inf}, "jitter_fault_s is switched off"),
        ({"frozen_image_s": inf}, "frozen_image_s is inf; on a real arm give at most 60"),
        ({"timeout_periods": 3}, "at most 2.5 and 0.08"),
        ({"deadman_timeout_s": 0.09}, "at most 2.5 and 0.08"),
    ],
)
def test_on_a_real_arm_no_protection_can_be_switched_off(changes, words):
    with pytest.raises(UserError, match=words):
        GateLimits.for_robot(Gantry(), hardware=True, workspace=ROOM, **changes)
    if "require_deadman" not in changes:
        GateLimits.for_robot(Gantry(), workspace=ROOM, **changes)


def test_a_silent_switch_and_a_tick_take_a_tenth_of_a_second_on_a_real_arm():
    """Whatever the tick: a faster one leaves the heartbeat more room."""
    GateLimits.for_robot(Gantry(), hardware=True, workspace=ROOM, deadman_timeout_s=0.09, tick_hz=100)
    with pytest.raises(UserError, match=r"at most 2\.5 and 0\.06 \(0\.1 s to hold"):
        GateLimits.for_robot(Gantry(), hardware=True, workspace=ROOM, tick_hz=25)
    with pytest.raises(UserError, match=r"tick_hz is 10; .* give at least 12\.5"):
        GateLimits.for_robot(Gantry(), hardware=True, workspace=ROOM, tick_hz=10)


@pytest.mark.parametrize("name", [f.name for f in fields(GateLimits) if f.type == "float"])
@pytest.mark.parametrize("value", [nan, -1.0, "fast", None, True])
def test_every_number_is_checked(name, value):
    with pytest.raises(UserError, match=f"gate limit {name} is"):
        GateLimits(workspace=ROOM, **{name: value})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"workspace": Box((-inf, 0, 0), (1, 1, 1))}, "finite walls"),
        ({"workspace": Box((0, 0, 0), (9, 1, 1))}, "at most 4 m"),
        ({"follows": "hands"}, "'joints' or 'pose'"),
        ({"rotation_low": (1, 0, 0), "rotation_high": (0, 1, 1)}, "every low"),
        ({"rotation_low": (-9, 0, 0)}, "from -pi to pi"),
        ({"reference_rpy": (0, 0)}, "three angles"),
        ({"reference_rpy": "abc"}, "three angles"),
        ({"effort_limit": (1, 0)}, "above 0 per joint"),
        ({"joint_state_timeout_s": 0.6}, "at most 0.5"),
        ({"malformed_to_fault": 0}, "malformed_to_fault is 0"),
    ],
)
def test_limits_that_cannot_be_meant_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        GateLimits(**({"workspace": ROOM} | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"effort_limit": (1.0, 2.0)}, "effort_limit has 2 numbers; gantry has 6"),
        ({"joint_margin_rad": 1.0}, "leaves a joint of gantry no room"),
        ({"watch": {"nose": ROOM}}, "no point 'nose'"),
        ({"speed": 3}, "no gate limit 'speed'"),
    ],
)
def test_limits_and_arm_must_fit(changes, words):
    with pytest.raises(UserError, match=words):
        GateLimits.for_robot(Gantry(), workspace=ROOM, **changes)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [((0, 0, 0), (1, 0, 1), "below its high"), ((nan, 0, 0), (1, 1, 1), "three numbers"), ((0, 0), (1, 1), "three")],
)
def test_a_box_has_an_inside(low, high, words):
    with pytest.raises(UserError, match=words):
        Box(low, high)


def test_every_reason_has_a_sentence():
    assert set(SENTENCES) == set(get_args(Reason))
    assert all(sentence.endswith(".") for sentence in SENTENCES.values())


# poses


@given(rotations)
def test_rotation_vector_and_matrix_are_inverse(rotation):
    vector = rotation_vector(rotation)
    assert np.linalg.norm(vector) <= pi + 1e-9
    np.testing.assert_allclose(rotation_from_vector(vector), rotation, atol=1e-7)


@pytest.mark.parametrize("angle", [0, 1e-9, 1e-7, 1e-4, 1.0, pi - 1e-4, pi - 1e-7, pi - 1e-9, pi])
@pytest.mark.parametrize("axis", [(1, 0, 0), (0, -1, 0), (0, 0, 1), (0.6, 0.0, -0.8), (-2 / 3, 1 / 3, -2 / 3)])
def test_rotation_vector_at_small_and_half_turns(axis, angle):
    rotation = rotation_from_vector(angle * np.array(axis))
    vector = rotation_vector(rotation)
    assert np.linalg.norm(vector) == pytest.approx(angle, abs=1e-6)
    np.testing.assert_allclose(rotation_from_vector(vector), rotation, atol=2e-6)
    assert angle_between(rotation, np.eye(3)) == pytest.approx(angle, abs=1e-7)


@given(rotations, rotations, st.floats(0.01, 1.0))
def test_a_shortened_rotation_is_on_the_shortest_way(start, goal, longest):
    stepped = step_rotation(goal, start, longest)
    assert action_angle(stepped, start) <= longest * (1 + 1e-5)
    apart = angle_between(start, goal)
    assert angle_between(stepped, goal) <= apart + 1e-9
    done = angle_between(start, stepped)
    off = 1e-6 if action_angle(goal, start) >= ACTION_LIKE_RAD else 2e-3
    assert done + angle_between(stepped, goal) == pytest.approx(apart, abs=off)
    if action_angle(goal, start) <= longest:
        assert stepped is goal
    else:
        assert done >= min(0.8 * longest, apart - 1e-6)


@given(rotations, st.tuples(*[st.floats(-0.25, 0.25)] * 3), st.floats(0.05, 0.5), st.floats(0.05, 0.5))
def test_a_rotation_of_an_action_is_shortened_as_the_action_is(start, angles, longer, shorter):
    """However often: a gate and a simulator with a shorter step come to what the simulator alone would come to."""
    longer, shorter = max(longer, shorter), min(longer, shorter)
    goal = rpy_to_matrix(angles) @ start
    once, twice = step_rotation(goal, start, shorter), step_rotation(step_rotation(goal, start, longer), start, shorter)
    np.testing.assert_allclose(twice, once, rtol=0, atol=1e-6)
    share = min(1.0, shorter / max(np.linalg.norm(angles), 1e-12))
    np.testing.assert_allclose(once, rpy_to_matrix(share * np.array(angles)) @ start, rtol=0, atol=1e-6)


@given(rotations, rotations, st.floats(0, 1))
def test_a_way_is_divided(start, goal, fraction):
    T_a, T_b = pose(0.1, 0.2, 0.3), pose(-0.4, 0.5, 0.6)
    T_a[:3, :3], T_b[:3, :3] = start, goal
    way = Way(T_a, T_b)
    T = way.pose(fraction)
    assert is_pose(T)
    assert way.metres == pytest.approx(np.linalg.norm([-0.5, 0.3, 0.3]))
    assert way.radians == pytest.approx(angle_between(start, goal), abs=1e-9)
    assert np.linalg.norm(T[:3, 3] - T_a[:3, 3]) == pytest.approx(fraction * way.metres)
    if way.radians < pi - 1e-3:
        assert angle_between(start, T[:3, :3]) == pytest.approx(fraction * way.radians, abs=1e-6)
    assert (way.pose(1.0) == T_b).all()


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=8), st.floats(-9, 9))
def test_farthest_is_the_maximum_norm(values, shift):
    a = np.array(values)
    assert farthest(a, a[::-1] + shift) == np.linalg.norm(a - (a[::-1] + shift), np.inf)


def test_a_shortened_position_keeps_its_direction():
    start, goal = np.array([1.0, 2, 3]), np.array([1.0, 2, 7])
    np.testing.assert_allclose(step_position(goal, start, 0.5), [1, 2, 3.5])
    assert step_position(goal, start, 4.0) is goal


BOXES = RotationBox(rpy_to_matrix((0.3, 1.2, -0.4)), np.array([-0.5, -0.6, -1.7]), np.array([0.5, 0.6, 1.7]))


@given(st.tuples(*[st.floats(-1, 1)] * 3), rotations, st.floats(0.02, 0.4))
def test_steps_within_a_rotation_box_stay_there_and_short(inside, goal, longest):
    start = rotation_from_vector(np.array(inside) * (0.5, 0.6, 1.7)) @ rpy_to_matrix((0.3, 1.2, -0.4))
    assert BOXES.excess(start) < 1e-9
    stepped = BOXES.step(goal, start, longest)
    assert BOXES.excess(stepped) <= 2e-6
    assert action_angle(stepped, start) <= longest * (1 + 1e-5)
    if BOXES.excess(goal) == 0 and action_angle(goal, start) <= longest:
        assert stepped is goal


@given(rotations, rotations)
def test_from_outside_every_step_leads_towards_the_box(start, goal):
    clipped = BOXES.clip(goal)
    assert BOXES.excess(clipped) <= 2e-6
    here = start
    for _ in range(200):
        here = BOXES.step(goal, here, 0.1)
        if BOXES.excess(here) <= 1e-6:
            break
    assert BOXES.excess(here) <= 2e-6


def test_no_rotation_limit_is_no_work():
    free = RotationBox(np.eye(3), np.full(3, -pi), np.full(3, pi))
    turned = rpy_to_matrix((3, 1, -2))
    assert free.unlimited
    assert free.clip(turned) is turned


# watchdogs, pairs, clocks


def test_a_watchdog_is_fresh_up_to_its_timeout():
    dog = Watchdog(100)
    assert not dog.fresh(0)
    dog.feed(1000)
    assert dog.fresh(1100)
    assert not dog.fresh(1101)
    assert dog.age_s(1000 + NS) == 1
    dog.forget()
    assert dog.age_s(5) is None


@pytest.mark.parametrize("pressed", [False, None, 1, "yes", nan])
def test_only_true_holds_the_deadman(pressed):
    deadman = Deadman(100)
    deadman.heartbeat(0, True)
    assert deadman.held(100)
    deadman.heartbeat(50, pressed)
    assert not deadman.held(50)
    assert deadman.present(150)
    assert not deadman.present(151)


def test_rest_is_judged_over_a_tenth_of_a_second_so_that_encoder_steps_do_not_count():
    rest = RestMonitor()
    for k in range(12):
        assert (rest.speed_rad_s() is None) == (k <= 10)
        rest.add(k * NS // 100, np.array([0.0015 * (k % 2), 0.0]))
    assert rest.speed_rad_s() <= 0.0015 / 0.1
    for k in range(12, 40):
        rest.add(k * NS // 100, np.array([0.0, 0.3 * k / 100]))
    assert rest.speed_rad_s() == pytest.approx(0.3)
    rest.add(10 * NS, np.zeros(2))
    assert rest.speed_rad_s() is None  # nothing was measured in the second before


def test_a_camera_is_frozen_only_while_its_stamps_go_on():
    q = np.zeros(2)
    watch = FrameWatch(timeout_ns=100, frozen_ns=200, motion_rad=0.0)
    for t in range(0, 400, 50):
        watch.add(t, t, "same", q)
        assert watch.fresh(t + 100)
        assert watch.frozen(t, q) == (t > 200)
    watch.add(400, 400, "new", q)
    assert not watch.frozen(400, q)
    watch.add(450, 400, "newer", q)  # the same stamp again
    assert not watch.fresh(501)


def test_one_stamp_too_high_does_not_silence_a_camera_for_ever():
    watch, q = FrameWatch(timeout_ns=100, frozen_ns=1000, motion_rad=0.0), np.zeros(2)
    watch.add(0, 10_000, 1, q)
    for t in range(20, 101, 20):
        watch.add(t, t, t, q)  # older than the one from the future: no news
    assert not watch.fresh(101)
    watch.add(120, 120, 120, q)
    assert watch.fresh(120)
    watch.add(140, 10_000, 0, q)
    watch.add(300, 10_000, 1, q)  # a driver that repeats one stamp is silent, however long
    assert not watch.fresh(300)


@pytest.mark.parametrize("motion_rad", [0.0, 0.05])
def test_pictures_that_are_not_compared_are_never_frozen(motion_rad):
    watch = FrameWatch(timeout_ns=100, frozen_ns=inf, motion_rad=motion_rad)
    for t in range(0, 100_000, 50):
        watch.add(t, t, "same", np.full(2, t))
        assert not watch.frozen(t, np.full(2, t))


def test_jitter_is_counted_and_summed_up():
    monitor = JitterMonitor(warn_ns=4e6, fault_ns=20e6)
    assert monitor.summary_ms() == {}
    assert [monitor.add(ms * 1_000_000, 20_000_000) for ms in (20, 21, 25, 41)] == [False, False, False, True]
    assert monitor.late == 2
    assert monitor.summary_ms() == {"p50": 23.0, "p99": pytest.approx(40.52), "max": 41.0}


def test_halves_pair_by_identical_stamps_only_in_any_order():
    counts = Counter()
    inbox = TargetInbox("policy", 100, counts)
    inbox.pose(0, 10, np.eye(4), 9)
    inbox.opening(0, 11, 0.5)
    assert inbox.take() is None
    inbox.opening(3, 10, 0.25)
    arrived = inbox.take()
    assert arrived.target.stamp_ns == 10
    assert arrived.target.gripper == 0.25
    assert arrived.target.observation_ns == 9
    assert arrived.arrived_ns == 3
    assert inbox.take() is None
    assert not inbox.sweep(100)
    assert inbox.sweep(101)
    assert counts["half_pair"] == 1
    inbox.pose(102, 11, np.eye(4))
    assert inbox.take() is None  # its half was dropped


def test_a_flood_of_halves_is_bounded():
    counts = Counter()
    inbox = TargetInbox("teleop", 10**12, counts)
    for stamp in range(10_000):
        inbox.pose(0, stamp, np.eye(4))
    assert counts["half_pair"] == 10_000 - MOST_HALVES
    assert len(inbox._poses) == MOST_HALVES


def test_a_target_cannot_be_changed_after_it_was_given():
    inbox, T = TargetInbox("policy", 100, Counter()), np.eye(4)
    inbox.pose(0, 1, T)
    inbox.opening(0, 1, 1.0)
    T[:] = nan
    assert np.isfinite(inbox.take().target.T_base_tool).all()


def test_clocks_notice_who_was_set():
    clocks = Clocks()
    assert clocks.read(1000 * NS, None) is ClockEvent.NONE
    assert clocks.stamp_ns == 1000 * NS
    assert clocks.read(1000 * NS - 4_000_000, None) is ClockEvent.NONE
    assert clocks.now_ns == 1000 * NS
    assert clocks.read(900 * NS, None) is ClockEvent.SET_BACK
    assert clocks.read(901 * NS, 5 * NS) is ClockEvent.NONE  # the first reading of the other clock
    assert clocks.read(902 * NS, 6 * NS + 490_000_000) is ClockEvent.NONE
    assert clocks.read(903 * NS, 9 * NS) is ClockEvent.STAMPS_JUMPED
    assert clocks.stamp_ns == 9 * NS
    assert clocks.read(904 * NS, 3 * NS) is ClockEvent.STAMPS_JUMPED


def test_a_reset_that_moved_the_arm_keeps_nobody_from_arming_in_lock_step() -> None:
    for stepping, rests in ((True, True), (False, False)):
        senses = Senses(Gantry(), limits(lockstep=stepping), Counter())
        assert senses.at_rest() is False, "nothing is known of the arm"
        for i in range(3):
            senses.state(i * NS // 10, i * NS // 10, ArmState(i * NS // 10, np.full(6, 0.1 * i), 1.0))
        assert senses.at_rest() is rests
