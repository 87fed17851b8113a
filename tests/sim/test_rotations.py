import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from robot_pt_sim.rotations import matrix_to_rpy, rpy_to_matrix, wrap_angle

angles = st.tuples(*[st.floats(-3.1, 3.1), st.floats(-1.5, 1.5), st.floats(-3.1, 3.1)])


@given(angles)
def test_matrices_equal_scipys_fixed_axis_rotations(rpy):
    expected = Rotation.from_euler("xyz", rpy).as_matrix()
    np.testing.assert_allclose(rpy_to_matrix(rpy), expected, atol=1e-12)


@given(angles)
def test_angles_survive_the_round_trip(rpy):
    np.testing.assert_allclose(matrix_to_rpy(rpy_to_matrix(rpy)), rpy, atol=1e-9)


@pytest.mark.parametrize("pitch", [np.pi / 2, -np.pi / 2])
def test_gimbal_lock_still_gives_the_same_rotation(pitch):
    matrix = rpy_to_matrix([0.3, pitch, 0.7])
    rpy = matrix_to_rpy(matrix)
    assert rpy[0] == 0
    np.testing.assert_allclose(rpy_to_matrix(rpy), matrix, atol=1e-9)


@given(st.floats(-50, 50), st.sampled_from([np.pi / 2, np.pi, 2 * np.pi]))
def test_wrapped_angles_are_equivalent_and_in_range(angle, period):
    wrapped = float(wrap_angle(angle, period))
    assert -period / 2 <= wrapped < period / 2 + 1e-9
    turns = (angle - wrapped) / period
    assert abs(turns - round(turns)) < 1e-9
