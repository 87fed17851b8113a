import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.commands import JointCommand, PoseTarget
from robot_pt.rotations import angle_between, rpy_to_matrix
from robot_pt.session.anchor import CommandedTarget
from robot_pt.targets import moved

PERIOD, TICK = 200_000_000, 20_000_000
NOW = 10_000_000_000


def pose(x=0.0, y=0.0, z=0.0, yaw=0.0):
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rpy_to_matrix([0, 0, yaw]), (x, y, z)
    return out


def tracker(lag_ns=0, same=1e-5, **changes):
    values = {"period_ns": PERIOD, "lag_ns": lag_ns, "max_age_ns": 5 * PERIOD // 2, "same_m": same, "same_rad": same}
    return CommandedTarget(**{**values, **changes})


def command(stamp, T):
    return JointCommand(stamp, np.zeros(6), 1.0, T)


def asked(stamp, T):
    return PoseTarget(stamp, T, 1.0, stamp)


MEASURED = pose(9)


def test_it_starts_from_the_command_the_gate_holds_and_else_from_where_the_arm_is():
    made = tracker()
    assert made.anchor(MEASURED, NOW) == (MEASURED, "measured")
    made.executed(command(NOW - TICK, pose(1)))
    anchor, origin = made.anchor(MEASURED, NOW)
    assert (anchor[0, 3], origin) == (1, "executed")


def test_a_gate_that_went_silent_means_the_measured_pose():
    made = tracker()
    made.executed(command(NOW - 3 * PERIOD, pose(1)))
    assert made.anchor(MEASURED, NOW)[1] == "measured"
    made.advance(MEASURED, asked(NOW - PERIOD, pose(1.01)))
    assert made.anchor(MEASURED, NOW)[1] == "measured"


def test_without_a_gate_actions_add_to_the_previous_target():
    made, T = tracker(), pose()
    for k in range(5):
        anchor, _ = made.anchor(T if k == 0 else MEASURED, NOW + k * PERIOD)
        made.advance(anchor, asked(NOW + k * PERIOD, moved(anchor, [0.01, 0, 0, 0, 0, 0.1, 1])))
    anchor, origin = made.anchor(MEASURED, NOW + 5 * PERIOD)
    np.testing.assert_allclose(anchor, pose(0.05, yaw=0.5), atol=1e-12)
    assert origin == "target"


def test_the_gates_answer_to_the_previous_target_counts_exactly():
    made = tracker(same=0.1)
    made.executed(command(NOW - TICK, pose()))
    made.advance(pose(), asked(NOW, pose(0.05)))
    assert made.applied(asked(NOW, pose(0.04999)))
    made.executed(command(NOW + 8 * TICK, pose(0.03)))  # still on its way
    anchor, origin = made.anchor(MEASURED, NOW + PERIOD)
    assert (anchor[0, 3], origin) == (0.04999, "applied")


def test_an_answer_to_another_target_is_none():
    made = tracker()
    made.advance(pose(), asked(NOW, pose(0.05)))
    assert not made.applied(asked(NOW - 1, pose(0.01)))
    assert made.anchor(MEASURED, NOW + PERIOD)[1] == "target"
    assert not tracker().applied(asked(NOW, pose()))  # nothing was asked


def test_in_lock_step_the_command_of_a_targets_stamp_is_its_answer():
    for lockstep, origin in ((True, "applied"), (False, "target")):
        made = tracker(same=1e-3, lockstep=lockstep)
        made.advance(pose(), asked(NOW, pose(0.05)))
        made.executed(command(NOW, pose(0.0499)))
        anchor, where = made.anchor(MEASURED, NOW + PERIOD)
        assert where == origin
        assert anchor[0, 3] == (0.0499 if lockstep else 0.05)


def test_what_inverse_kinematics_leaves_over_never_adds_up():
    made, T, rng = tracker(), pose(), np.random.default_rng(0)
    expected = pose()
    for k in range(200):
        now = NOW + k * PERIOD
        anchor, _ = made.anchor(T, now)
        target = moved(anchor, [0.001, 0, 0, 0, 0, 0.01, 1])
        expected = moved(expected, [0.001, 0, 0, 0, 0, 0.01, 1])
        made.advance(anchor, asked(now, target))
        T = target.copy()
        T[:3, 3] += rng.uniform(-5e-6, 5e-6, 3)
        made.executed(command(now + TICK, T))
    np.testing.assert_allclose(target, expected, atol=1e-12)


def test_a_clip_of_position_leaves_rotation_alone_and_the_reverse():
    for executed, moved_to, turned_to in ((pose(0.03, yaw=0.2), 0.03, 0.2), (pose(0.05, yaw=0.1), 0.05, 0.1)):
        made = tracker()
        made.advance(pose(), asked(NOW, pose(0.05, yaw=0.2)))
        made.executed(command(NOW + TICK, executed))
        anchor, origin = made.anchor(MEASURED, NOW + PERIOD)
        np.testing.assert_allclose(anchor, pose(moved_to, yaw=turned_to), atol=1e-12)
        assert origin == "executed"


def test_a_gate_one_tick_from_the_end_of_its_way_has_not_clipped():
    behind = 1 - TICK / PERIOD  # of the last step, when the next target is made
    for lag, origin in ((TICK, "target"), (0, "executed")):
        made = tracker(lag_ns=lag)
        made.advance(pose(), asked(NOW, pose(0.05)))
        made.executed(command(NOW + PERIOD - TICK, pose(0.05 * behind)))
        assert made.anchor(MEASURED, NOW + PERIOD)[1] == origin


def test_a_gate_under_another_hand_takes_the_target_along():
    made = tracker()
    made.advance(pose(), asked(NOW, pose(0.05)))
    made.executed(command(NOW + 9 * TICK, pose(0.4, 0.1)))
    anchor, origin = made.anchor(MEASURED, NOW + PERIOD)
    assert (anchor[0, 3], origin) == (0.4, "executed")


steps = st.lists(
    st.tuples(*[st.floats(-0.05, 0.05)] * 3, *[st.floats(-0.25, 0.25)] * 3).map(lambda a: np.array([*a, 1.0])),
    min_size=1,
    max_size=20,
)


@settings(deadline=None)
@given(steps, st.floats(0.0, 0.06), st.floats(0, 1), st.booleans())
def test_targets_never_wind_up_whatever_the_gate_does(actions, wall, follow, answers):
    """A gate that clips at a wall and covers only a share of each way: the target stays within one action of its reach."""
    made, T = tracker(lag_ns=50_000_000), pose()
    made.executed(command(NOW - TICK, T))
    for k, action in enumerate(actions):
        now = NOW + k * PERIOD
        anchor, _ = made.anchor(T, now)
        target = asked(now, moved(anchor, action))
        made.advance(anchor, target)
        goal = target.T_base_tool.copy()
        goal[:3, 3] = np.clip(goal[:3, 3], -wall, wall)
        if answers:
            made.applied(target._replace(T_base_tool=goal))
            T = goal
        else:
            T = T.copy()
            T[:3, 3] += follow * (goal[:3, 3] - T[:3, 3])
        made.executed(command(now + 9 * TICK, T))
        step, turn = np.linalg.norm(action[:3]), angle_between(np.eye(3), rpy_to_matrix(action[3:6]))
        anchor, _ = made.anchor(T, now + PERIOD)
        assert np.linalg.norm(anchor[:3, 3] - T[:3, 3]) <= 0.25 * step + 2e-5
        assert angle_between(anchor[:3, :3], T[:3, :3]) <= 0.25 * turn + 2e-5


@pytest.mark.parametrize(
    "wrong",
    [command(0, pose()), command(NOW, pose(np.nan)), command(NOW, np.eye(3)), command(NOW - 2 * TICK, pose())],
)
def test_a_bad_or_old_command_is_refused_and_counted(wrong):
    made = tracker()
    made.executed(command(NOW - TICK, pose(1)))
    assert not made.executed(wrong)
    assert made.refused == 1
    assert made.anchor(MEASURED, NOW)[0][0, 3] == 1


def test_a_bad_answer_is_refused_and_counted():
    made = tracker()
    made.advance(pose(), asked(NOW, pose(0.05)))
    assert not made.applied(asked(NOW, pose(np.inf)))
    assert made.refused == 1
    assert made.anchor(MEASURED, NOW + PERIOD)[1] == "target"


def test_a_command_from_the_future_is_dropped_so_that_later_ones_count():
    made = tracker()
    made.executed(command(NOW * 2, pose(1)))
    assert made.anchor(MEASURED, NOW)[1] == "measured"
    assert made.executed(command(NOW, pose(2)))
    assert made.refused == 1


def test_a_restart_forgets_the_target_but_not_where_the_arm_is_held():
    made = tracker()
    made.executed(command(NOW - TICK, pose(1)))
    made.advance(pose(1), asked(NOW, pose(1.05)))
    made.restart()
    assert made.anchor(MEASURED, NOW)[0][0, 3] == 1
    made.forget_executed()
    assert made.anchor(MEASURED, NOW)[1] == "measured"


def test_in_lock_step_a_reset_may_have_moved_the_arm_so_a_start_is_measured():
    made = tracker(lockstep=True)
    made.executed(command(NOW - TICK, pose(1)))
    assert made.anchor(MEASURED, NOW)[1] == "measured"
