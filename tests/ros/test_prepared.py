"""Patched bytes are those that the message of the same content serializes to."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from robot_pt.rotations import rpy_to_matrix
from robot_pt_ros.conversions import joint_state_message, pose_message, trajectory_message
from robot_pt_ros.prepared import _PROBE_NS, Prepared, PreparedPose, PreparedTrajectory

STAMPS = st.integers(0, 2**31 * 10**9 - 1)
FRAMES = st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=20)
NUMBERS = st.floats(width=64)  # NaN and Inf too: what may be sent is the gate's affair


@given(
    FRAMES,
    st.lists(st.tuples(STAMPS, st.tuples(*[st.floats(-2, 2)] * 3), st.tuples(*[st.floats(-3, 3)] * 3)), max_size=3),
)
def test_poses(frame, moments):
    prepared = PreparedPose(frame)
    for stamp_ns, position, rpy in moments:
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = rpy_to_matrix(rpy), position
        assert prepared.at(stamp_ns, T) == serialize_message(pose_message(stamp_ns, frame, T))


@given(FRAMES, st.integers(1, 12), st.floats(0.001, 3), STAMPS, st.data())
def test_trajectories(frame, joints, duration_s, stamp_ns, data):
    names = [f"joint{'_' * i}{i}" for i in range(joints)]
    prepared = PreparedTrajectory(frame, names, duration_s)
    for _ in range(2):
        positions = data.draw(st.lists(NUMBERS, min_size=joints, max_size=joints))
        expected = serialize_message(trajectory_message(stamp_ns, frame, names, positions, duration_s))
        assert prepared.at(stamp_ns, positions) == expected


def test_what_was_sent_does_not_change_with_the_next():
    prepared = PreparedTrajectory("base_link", ["gripper"], 0.2)
    first, second = prepared.at(1, [0.25]), prepared.at(2, [0.5])
    assert [deserialize_message(raw, JointTrajectory).points[0].positions[0] for raw in (first, second)] == [0.25, 0.5]


@pytest.mark.parametrize("numbers", [[], [0.1, 0.2]])
def test_another_count_of_numbers_is_refused(numbers):
    with pytest.raises(struct.error):
        PreparedTrajectory("base_link", ["gripper"], 0.2).at(1, numbers)


@pytest.mark.parametrize(
    ("message", "word"),
    [
        (Float64MultiArray(data=[0.1, 0.2]), "begin with its stamp"),
        (joint_state_message(_PROBE_NS, ["a", "b"], np.array([0.1, 0.3])), "once in a row"),
        (joint_state_message(_PROBE_NS, list("abcd"), np.array([0.1, 0.2, 0.1, 0.2])), "once in a row"),
    ],
)  # fmt: skip
def test_a_message_that_cannot_be_patched_is_found_at_once(message, word):
    with pytest.raises(AssertionError, match=word):
        Prepared(message, [0.1, 0.2])
