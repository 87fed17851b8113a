import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from robot_pt.commands import JointCommand, PoseTarget
from robot_pt.errors import UserError
from robot_pt.rotations import matrix_to_rpy, rpy_to_matrix
from robot_pt.targets import Limits, TargetIntegrator, action_between, moved

LIMITS = Limits(low=(0.3, -0.2, 0.0, -0.5, -0.5, -1.5), high=(0.7, 0.2, 0.4, 0.5, 0.5, 1.5))
START = np.array([0.5, 0.0, 0.2])


def integrator():
    made = TargetIntegrator(LIMITS)
    made.reset(START, np.eye(3))
    return made


def act(*deltas, gripper=1.0):
    return np.array([*deltas, *[0.0] * (6 - len(deltas)), gripper], np.float32)


def test_deltas_add_to_the_commanded_target():
    target = integrator()
    for _ in range(3):
        sent = target.apply(act(0.01, -0.02, 0.005))
        np.testing.assert_allclose(sent, act(0.01, -0.02, 0.005), atol=1e-7)
    np.testing.assert_allclose(target.position, START + np.array([0.03, -0.06, 0.015]), atol=1e-7)


def test_small_turns_are_sent_as_they_were_asked():
    target = integrator()
    asked = act(0, 0, 0, 0.05, -0.04, 0.1)
    np.testing.assert_allclose(target.apply(asked), asked, atol=1e-6)
    np.testing.assert_allclose(target.rotation, rpy_to_matrix([0.05, -0.04, 0.1]), atol=1e-7)


def test_turns_compose_about_the_axes_of_the_base():
    target = integrator()
    target.apply(act(0, 0, 0, 0, 0, 0.2))
    target.apply(act(0, 0, 0, 0.2))
    np.testing.assert_allclose(target.rotation, rpy_to_matrix([0.2, 0, 0]) @ rpy_to_matrix([0, 0, 0.2]), atol=1e-6)


def test_a_long_step_keeps_its_direction():
    sent = integrator().apply(act(0.3, 0.4, 0.0))
    np.testing.assert_allclose(sent[:3], [0.03, 0.04, 0.0], atol=1e-7)
    assert np.linalg.norm(integrator().apply(act(0, 0, 0, 0, 0, 2.0))[3:6]) == pytest.approx(LIMITS.max_step_rad)


def test_the_workspace_wall_stops_the_target_and_the_sent_action_says_so():
    target = integrator()
    sent = [target.apply(act(0.05, 0.0, 0.0)) for _ in range(6)]
    assert target.position[0] == pytest.approx(0.7)
    np.testing.assert_allclose(np.sum(sent, axis=0)[0], 0.2, atol=1e-6)
    assert sent[-1][0] == 0


@settings(deadline=None)
@given(st.lists(arrays(np.float32, 7, elements=st.floats(-3, 3, width=32)), min_size=1, max_size=12))
def test_sent_actions_describe_the_path_and_never_leave_the_limits(actions):
    target = integrator()
    position, rotation = START.copy(), np.eye(3)
    for action in actions:
        sent = target.apply(action).astype(np.float64)
        assert np.linalg.norm(sent[:3]) <= LIMITS.max_step_m + 1e-6
        assert 0 <= sent[6] <= 1
        position, rotation = position + sent[:3], rpy_to_matrix(sent[3:6]) @ rotation
        pose = np.concatenate([target.position, matrix_to_rpy(target.rotation)])
        assert (pose >= np.array(LIMITS.low) - 1e-9).all()
        assert (pose <= np.array(LIMITS.high) + 1e-9).all()
    np.testing.assert_allclose(position, target.position, atol=1e-5)
    np.testing.assert_allclose(rotation, target.rotation, atol=1e-5)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (act(np.nan), "NaN or Inf in 'dx'"),
        (act(gripper=np.inf), "'gripper'"),
        (np.zeros(6), "shape (6,)"),
        (np.zeros((1, 7)), "shape (1, 7)"),
    ],
)
def test_a_bad_action_moves_nothing(action, words):
    target = integrator()
    with pytest.raises(UserError) as raised:
        target.apply(action)
    assert words in str(raised.value)
    np.testing.assert_array_equal(target.position, START)
    assert target.gripper == 1.0


def pose(position, rpy):
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rpy_to_matrix(rpy), position
    return out


anywhere = st.builds(
    pose,
    st.tuples(*[st.floats(-1, 1)] * 3),
    st.tuples(
        st.floats(-np.pi, np.pi) | st.sampled_from([np.pi, -np.pi, np.pi - 1e-9]),
        st.floats(-np.pi / 2, np.pi / 2) | st.sampled_from([np.pi / 2, -np.pi / 2, np.pi / 2 - 1e-7]),
        st.floats(-np.pi, np.pi) | st.sampled_from([np.pi, -np.pi, 1e-9 - np.pi]),
    ),
)
steps = st.tuples(
    *[st.floats(-1, 1, width=32)] * 3,
    st.floats(-3.140625, 3.140625, width=32),
    st.floats(-1.5625, 1.5625, width=32),
    st.floats(-3.140625, 3.140625, width=32),
    st.floats(0, 1, width=32),
).map(lambda a: np.array(a, np.float32))


@settings(deadline=None)
@given(anywhere, st.lists(steps, min_size=1, max_size=8))
def test_an_action_survives_the_way_over_absolute_targets(start, actions):
    """Also where the pose itself is at a half turn or in gimbal lock: the formula never looks at its angles."""
    previous = PoseTarget(1, start, 1.0)
    for k, action in enumerate(actions):
        target = PoseTarget(k + 2, moved(previous.T_base_tool, action), float(action[6]))
        np.testing.assert_allclose(action_between(previous, target), action, rtol=0, atol=1e-7)
        previous = target


@settings(deadline=None)
@given(anywhere, anywhere, st.floats(0, 1))
def test_the_action_between_two_poses_leads_from_one_to_the_other(start, end, gripper):
    """Whatever lies between, half turns and gimbal lock included."""
    action = action_between(PoseTarget(1, start, 1.0), PoseTarget(2, end, gripper))
    np.testing.assert_allclose(moved(start, action), end, rtol=0, atol=1e-7)
    assert action[6] == gripper


@settings(deadline=None)
@given(st.lists(steps, min_size=1, max_size=6))
def test_within_limits_a_simulator_moves_its_target_by_the_same_formula(actions):
    wide = TargetIntegrator(Limits(low=(-9, -9, -9, -4, -4, -4), high=(9, 9, 9, 4, 4, 4), max_step_m=9, max_step_rad=9))
    wide.reset(START, np.eye(3))
    at = pose(START, (0, 0, 0))
    for action in actions:
        wide.apply(action)
        at = moved(at, action)
    np.testing.assert_allclose(wide.position, at[:3, 3], atol=1e-12)
    np.testing.assert_allclose(
        wide.rotation, at[:3, :3], atol=1e-6
    )  # it passes through angles, also beside gimbal lock


def test_the_executed_action_is_read_off_consecutive_commands():
    sent = [JointCommand(k, np.zeros(7), 0.5, pose((0.1 * k, 0, 0), (0, 0, 0.2 * k))) for k in (1, 2)]
    np.testing.assert_allclose(action_between(*sent), [0.1, 0, 0, 0, 0, 0.2, 0.5], atol=1e-12)


@pytest.mark.parametrize("action", [np.full(7, np.nan), np.zeros(8)])
def test_no_target_is_made_of_a_bad_action(action):
    with pytest.raises(UserError, match=r"NaN|shape"):
        moved(np.eye(4), action)
