"""Inverse kinematics: whatever is asked for, the joints are finite, within limits and as good as they claim to be."""

import time

import mink
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt import robots
from robot_pt.errors import UserError
from robot_pt.robots import kinematics
from robot_pt.rotations import angle_between, rpy_to_matrix

ARMS = {name: robots.load(name) for name in robots.names()}
EACH = pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS)
SEEDS = st.integers(0, 2**32 - 1)
PARTS = st.floats(0, 1)  # of the way from a joint's lower to its upper limit
SHARES = st.lists(PARTS, min_size=7, max_size=7)


def between(arm, shares, margin=0.0):
    """(J,) joints at these shares of their ranges."""
    share = np.array(shares[: len(arm.joint_names)])
    joints = arm.lower_rad + margin + share * (arm.upper_rad - arm.lower_rad - 2 * margin)
    return np.clip(joints, arm.lower_rad, arm.upper_rad)


def errors(arm, q, target):
    reached = arm.fk(q)
    return np.linalg.norm(reached[:3, 3] - target[:3, 3]), angle_between(reached[:3, :3], target[:3, :3])


def check(arm, result, target):
    """What holds for every result: finite, within limits, and the errors it states are those it has."""
    assert np.isfinite(result.q).all()
    assert arm.check_q(result.q) == ()
    position, rotation = errors(arm, result.q, target)
    assert result.position_error_m == pytest.approx(position, abs=1e-9)
    assert result.rotation_error_rad == pytest.approx(rotation, abs=1e-7)


def pose(position, rpy=(0, 0, 0)):
    target = np.eye(4)
    target[:3, :3], target[:3, 3] = rpy_to_matrix(rpy), position
    return target


@EACH
@given(seed=SEEDS)
@settings(deadline=None)
def test_any_pose_that_the_arm_can_take_is_found(arm, seed):
    random = np.random.default_rng(seed)
    target = arm.fk(random.uniform(arm.lower_rad + 0.1, arm.upper_rad - 0.1))
    result = arm.ik(target, arm.home_rad, restarts=300)
    check(arm, result, target)
    assert result.position_error_m < 1e-4
    assert np.degrees(result.rotation_error_rad) < 0.01


@EACH
@given(seed=SEEDS)
@settings(deadline=None)
def test_the_next_pose_is_found_from_the_last(arm, seed):
    """Within one control tick of a fast motion, from where the arm is not folded or stretched out."""
    random = np.random.default_rng(seed)
    q = np.clip(arm.home_rad + random.normal(0, 0.2, len(arm.home_rad)), arm.lower_rad + 0.05, arm.upper_rad - 0.05)
    target = arm.fk(q + random.uniform(-0.05, 0.05, len(q)))
    result = arm.ik(target, q)
    check(arm, result, target)
    assert result.converged
    assert result.position_error_m < 1e-6
    assert result.rotation_error_rad < 1e-6
    assert np.abs(result.q - q).max() < 0.5


@EACH
@given(shares=SHARES)
def test_an_arm_that_is_there_stays_exactly_where_it_is(arm, shares):
    q = between(arm, shares)
    result = arm.ik(arm.fk(q), q)
    assert result.q.tolist() == q.tolist()
    assert result.converged


@EACH
@given(shares=SHARES, position=st.tuples(*[st.floats(-3, 3)] * 3), rpy=st.tuples(*[st.floats(-4, 4)] * 3))
@settings(deadline=None)
def test_any_target_at_all_is_approached_within_limits(arm, shares, position, rpy):
    q, target = between(arm, shares), pose(position, rpy)
    result = arm.ik(target, q)
    check(arm, result, target)
    position_before, rotation_before = errors(arm, q, target)
    before = np.hypot(position_before, kinematics.METRES_PER_RADIAN * rotation_before)
    assert result.weighted_error_m <= before + 1e-9  # staying put is always possible


@EACH
@given(shares=SHARES, seed=SEEDS, step=st.one_of(st.just(0.0), st.floats(1e-6, 2)))
@settings(deadline=None)
def test_no_joint_moves_farther_than_allowed(arm, shares, seed, step):
    random = np.random.default_rng(seed)
    q, target = between(arm, shares), arm.fk(random.uniform(arm.lower_rad, arm.upper_rad))
    result = arm.ik(target, q, max_step_rad=step)
    check(arm, result, target)
    assert np.abs(result.q - q).max() <= step + 1e-12
    each = step * random.uniform(0, 1, len(q))
    assert (np.abs(arm.ik(target, q, max_step_rad=each).q - q) <= each + 1e-12).all()


def test_beyond_reach_the_residual_is_what_geometry_says():
    arm = ARMS["wx250s"]
    shoulder, reach = np.array([0, 0, 0.072 + 0.03865]), np.hypot(0.04975, 0.25) + 0.408575
    for direction in ([1, 0, 0], [0, 1, 0.3], [-0.5, -1, 0.5], [0.3, 0.2, 1]):
        unit = np.array(direction) / np.linalg.norm(direction)
        target = pose(shoulder + 1.5 * unit)
        target[:3, :3] = np.column_stack([unit, np.cross([0, 0, 1], unit), np.cross(unit, np.cross([0, 0, 1], unit))])
        target[:3, 1:3] /= np.linalg.norm(target[:3, 1])
        result = arm.ik(target, arm.home_rad, restarts=20)
        check(arm, result, target)
        assert result.position_error_m == pytest.approx(1.5 - reach, abs=1e-3)  # stretched out and pointing there


@EACH
def test_half_turns_and_stretched_arms_do_no_harm(arm):
    """Where the logarithm of a rotation and the arm's Jacobian are singular."""
    for start in (arm.home_rad, np.clip(np.zeros(len(arm.home_rad)), arm.lower_rad, arm.upper_rad)):
        here = arm.fk(start)
        for axis in np.eye(3):
            turned = here.copy()
            turned[:3, :3] = here[:3, :3] @ (2 * np.outer(axis, axis) - np.eye(3))
            pushed = here.copy()
            pushed[:3, 3] += 0.05 * axis
            for target in (turned, pushed):
                for step in (None, 0.05):
                    check(arm, arm.ik(target, start, max_step_rad=step), target)


@EACH
def test_the_answer_depends_on_the_question_alone(arm):
    random = np.random.default_rng(3)
    questions = [(arm.fk(random.uniform(arm.lower_rad, arm.upper_rad)), arm.home_rad + 0.01 * k) for k in range(20)]
    answers = [arm.ik(*question, restarts=2).q.tolist() for question in questions]
    other = robots.load(arm.name)
    for question, answer in reversed(list(zip(questions, answers, strict=True))):
        assert other.ik(*question, restarts=2).q.tolist() == answer


@EACH
def test_a_path_is_followed_smoothly_and_the_elbow_does_not_drift(arm):
    """Circles of 16 s at 50 Hz: the tool stays on the path, no joint jumps, and a turn is like the turn before."""
    q, here = arm.home_rad.copy(), arm.fk(arm.home_rad)
    ends, fastest, worst = [], 0.0, 0.0
    for _ in range(5):
        for angle in np.linspace(0, 2 * np.pi, 800)[1:]:
            target = here.copy()
            target[:3, 3] += 0.06 * np.array([np.sin(angle), 1 - np.cos(angle), 0.3 * np.sin(2 * angle)])
            result = arm.ik(target, q, max_step_rad=arm.max_velocity_rad_s * 0.02)
            fastest, worst = max(fastest, np.abs(result.q - q).max()), max(worst, result.position_error_m)
            q = result.q
        ends.append(q)
    assert worst < 1e-5
    assert fastest < 0.03  # rad per tick, of 0.04 to 0.06 allowed: the WidowX turns its forearm near a singularity
    assert np.abs(ends[-1] - ends[-2]).max() < 0.02
    assert np.abs(ends[-1] - arm.home_rad).max() < 0.5


@EACH
def test_a_start_beyond_the_limits_is_brought_back(arm):
    result = arm.ik(arm.fk(arm.home_rad), arm.upper_rad + 0.3, max_step_rad=0.1)
    assert arm.check_q(result.q) == ()
    assert (result.q >= arm.upper_rad - 0.1 - 1e-12).all()


@EACH
def test_a_rotation_that_came_as_float32_is_taken(arm):
    target = arm.fk(arm.home_rad + 0.05).astype(np.float32)
    result = arm.ik(target, arm.home_rad)
    assert result.position_error_m < 1e-6
    assert result.rotation_error_rad < 1e-6


NOT_POSES = {
    "nan": pose((np.nan, 0, 0)),
    "inf": pose((0, np.inf, 0)),
    "shape": np.eye(3),
    "mirrored": np.diag([1.0, 1, -1, 1]),
    "scaled": np.diag([1.1, 1.1, 1.1, 1]),
    "last row": np.eye(4) + np.eye(4)[[1, 2, 3, 0]] * [[0], [0], [0], [1]],
    "kilometres": pose((0, 0, 1e9)),
}


@EACH
@pytest.mark.parametrize("target", NOT_POSES.values(), ids=NOT_POSES)
def test_what_is_no_pose_is_refused(arm, target):
    with pytest.raises(UserError, match="a tool pose is"):
        arm.ik(target, arm.home_rad)


@EACH
@pytest.mark.parametrize("step", [-0.1, np.nan, np.inf, [0.1, 0.2]])
def test_a_step_that_is_none_is_refused(arm, step):
    with pytest.raises(UserError, match="max_step_rad"):
        arm.ik(arm.fk(arm.home_rad), arm.home_rad, max_step_rad=step)


@EACH
def test_restarts_and_a_limited_step_exclude_each_other(arm):
    with pytest.raises(UserError, match="give one of them"):
        arm.ik(arm.fk(arm.home_rad), arm.home_rad, max_step_rad=0.1, restarts=1)


@pytest.mark.parametrize("fault", ["no solution", "nan"])
def test_a_failing_solver_leaves_the_arm_where_it_was(fault, monkeypatch):
    arm = robots.load("wx250s")
    answer = (np.full(6, np.nan), np.nan, 1, {}) if fault == "nan" else (np.ones(6), 0.0, -1, {})
    monkeypatch.setattr(arm._kinematics, "_minimum_of", lambda *_: answer)
    target = arm.fk(arm.home_rad + 0.1)
    result = arm.ik(target, arm.home_rad, restarts=1)
    check(arm, result, target)
    assert result.q.tolist() == arm.home_rad.tolist()


@EACH
@given(shares=SHARES, seed=SEEDS, step=st.floats(1e-4, 2), homing=st.booleans())
@settings(deadline=None)
def test_a_step_is_the_one_of_mink(arm, shares, seed, step, homing):
    """Its own solve_ik with the same tasks, and the same box as a configuration limit."""
    kin, q = arm._kinematics, between(arm, shares)
    lower, upper = np.maximum(arm.lower_rad, q - step), np.minimum(arm.upper_rad, q + step)
    kin.tool(q)
    kin._aim(arm.fk(np.random.default_rng(seed).uniform(arm.lower_rad, arm.upper_rad)))
    kin.tool(q)
    limit = mink.ConfigurationLimit(kin._arm.kinematics, gain=1.0)
    limit.lower = np.maximum(lower, q - kinematics.LONGEST_STEP_RAD)
    limit.upper = np.minimum(upper, q + kinematics.LONGEST_STEP_RAD)
    posture = mink.PostureTask(
        kin._arm.kinematics, cost=np.sqrt(kinematics.STEP_DAMPING * kinematics.HOMING / (1 - kinematics.HOMING))
    )
    posture.set_target(arm.home_rad)
    tasks = [kin._tool_task, posture] if homing else [kin._tool_task]
    change = mink.solve_ik(
        kin._configuration, tasks, 1.0, "daqp", damping=kinematics.STEP_DAMPING, limits=[limit]
    )  # fmt: skip
    assert kin._step(lower, upper, homing=homing)
    assert np.abs(kin._q - np.clip(q + change, lower, upper)).max() < 1e-9


@EACH
def test_a_control_tick_has_time_for_it(arm):
    """0.2 ms when the machine is idle; the gate has 1 ms for everything."""
    random, q, times = np.random.default_rng(0), arm.home_rad, []
    for _ in range(300):
        target = arm.fk(np.clip(q + random.uniform(-0.03, 0.03, len(q)), arm.lower_rad, arm.upper_rad))
        start = time.thread_time()
        arm.ik(target, q, max_step_rad=0.06)
        times.append(time.thread_time() - start)
    assert np.median(times) < 1.5e-3


@EACH
def test_answers_do_not_depend_on_what_was_asked_before(arm):
    """What was computed for the same joints a moment ago is not computed again."""
    other, random = robots.load(arm.name), np.random.default_rng(5)
    q = arm.home_rad
    for step in random.integers(0, 4, 60):
        other.fk(random.uniform(arm.lower_rad, arm.upper_rad))  # this one always begins elsewhere
        if step == 0:
            q = random.uniform(arm.lower_rad, arm.upper_rad)
        elif step == 1:
            np.testing.assert_array_equal(arm.fk(q), other.fk(q))
        elif step == 2:
            for name, point in arm.points(q, 0.5).items():
                np.testing.assert_array_equal(point, other.points(q, 0.5)[name])
        else:
            target = arm.fk(np.clip(q + 0.05, arm.lower_rad, arm.upper_rad))
            other.fk(random.uniform(arm.lower_rad, arm.upper_rad))
            ours, theirs = arm.ik(target, q), other.ik(target, q)
            np.testing.assert_array_equal(ours.q, theirs.q)
            assert ours[1:] == theirs[1:]
            q = ours.q
