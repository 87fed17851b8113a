import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from robot_pt.rotations import (
    angle_between,
    matrix_to_quaternion,
    matrix_to_rpy,
    quaternion_to_matrix,
    rpy_to_matrix,
    wrap_angle,
)

angles = st.tuples(*[st.floats(-3.1, 3.1), st.floats(-1.5, 1.5), st.floats(-3.1, 3.1)])


@settings(deadline=None)
@given(angles)
def test_matrices_equal_scipys_fixed_axis_rotations(rpy):
    expected = Rotation.from_euler("xyz", rpy).as_matrix()
    np.testing.assert_allclose(rpy_to_matrix(rpy), expected, atol=1e-12)


@settings(deadline=None)
@given(angles)
def test_angles_survive_the_round_trip(rpy):
    np.testing.assert_allclose(matrix_to_rpy(rpy_to_matrix(rpy)), rpy, atol=1e-9)


@pytest.mark.parametrize("pitch", [np.pi / 2, -np.pi / 2])
def test_gimbal_lock_still_gives_the_same_rotation(pitch):
    matrix = rpy_to_matrix([0.3, pitch, 0.7])
    rpy = matrix_to_rpy(matrix)
    assert rpy[0] == 0
    np.testing.assert_allclose(rpy_to_matrix(rpy), matrix, atol=1e-9)


@settings(deadline=None)
@given(st.floats(-50, 50), st.sampled_from([np.pi / 2, np.pi, 2 * np.pi]))
def test_wrapped_angles_are_equivalent_and_in_range(angle, period):
    wrapped = float(wrap_angle(angle, period))
    assert -period / 2 <= wrapped < period / 2 + 1e-9
    turns = (angle - wrapped) / period
    assert abs(turns - round(turns)) < 1e-9


@settings(deadline=None)
@given(st.floats(-3.1, 3.1), st.floats(-14, -1), st.sampled_from([-1, 1]), st.floats(-3.1, 3.1))
def test_angles_describe_the_matrix_however_close_to_gimbal_lock(roll, exponent, side, yaw):
    matrix = Rotation.from_euler("xyz", [roll, side * (np.pi / 2 - 10**exponent), yaw]).as_matrix()
    np.testing.assert_allclose(rpy_to_matrix(matrix_to_rpy(matrix)), matrix, atol=1e-8)


def unit(values):
    return np.array(values) / np.linalg.norm(values)


quaternions = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1).map(unit)


@settings(deadline=None)
@given(quaternions)
def test_quaternions_equal_scipys_and_survive_the_round_trip(q):
    matrix = quaternion_to_matrix(q)
    np.testing.assert_allclose(matrix, Rotation.from_quat(q).as_matrix(), atol=1e-12)
    back = matrix_to_quaternion(matrix)
    assert back[3] >= 0
    assert abs(back @ q) == pytest.approx(1, abs=1e-12)  # q and -q are one rotation


@settings(deadline=None)
@given(quaternions, st.floats(0.01, 100))
def test_the_length_of_a_quaternion_does_not_matter(q, length):
    np.testing.assert_allclose(quaternion_to_matrix(q * length), quaternion_to_matrix(q), atol=1e-12)


@pytest.mark.parametrize("axis", range(3))
def test_half_turns_have_their_quaternion(axis):
    matrix = np.diag(np.where(np.arange(3) == axis, 1.0, -1.0))
    np.testing.assert_allclose(np.abs(matrix_to_quaternion(matrix)), np.eye(4)[axis], atol=1e-12)


@settings(deadline=None)
@given(quaternions, quaternions)
def test_the_angle_between_rotations_equals_scipys(first, second):
    between = angle_between(quaternion_to_matrix(first), quaternion_to_matrix(second))
    expected = (Rotation.from_quat(second) * Rotation.from_quat(first).inv()).magnitude()
    assert between == pytest.approx(expected, abs=1e-7)


@settings(deadline=None)
@given(quaternions, st.floats(-9, -1))
def test_small_angles_are_measured_exactly(q, exponent):
    small = 10**exponent
    matrix = quaternion_to_matrix(q)
    assert angle_between(matrix, rpy_to_matrix([0, small, 0]) @ matrix) == pytest.approx(small, rel=1e-5)
