"""Messages to numpy and back; what cannot be meant raises ValueError, never anything else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from robot_pt.commands import JointCommand, PoseTarget
from robot_pt.rotations import rpy_to_matrix
from robot_pt_ros import conversions as c

NAMES = ["a", "b", "c"]
ANGLE = st.floats(-3.1, 3.1)


def pose(x, y, z, roll, pitch, yaw):
    T = np.eye(4)
    T[:3, 3], T[:3, :3] = (x, y, z), rpy_to_matrix([roll, pitch, yaw])
    return T


@given(st.integers(0, 2**31 * 10**9 - 1))
def test_stamps_round_trip(ns):
    assert c.nanoseconds(c.stamp(ns)) == ns


@given(st.tuples(*[st.floats(-2, 2)] * 3), st.tuples(ANGLE, ANGLE, ANGLE))
def test_poses_round_trip(position, rpy):
    T = pose(*position, *rpy)
    message = c.pose_message(5, "base_link", T)
    assert message.header.frame_id == "base_link"
    np.testing.assert_allclose(c.pose_of(message), T, rtol=0, atol=1e-14)


@pytest.mark.parametrize(("field", "value"), [("position", np.nan), ("position", np.inf), ("orientation", np.nan)])
def test_a_pose_that_is_not_finite_is_refused(field, value):
    message = c.pose_message(1, "base_link", np.eye(4))
    getattr(message.pose, field).x = value
    with pytest.raises(ValueError, match="finite"):
        c.pose_of(message)


@pytest.mark.parametrize("w", [0.0, 0.5, 2.0])
def test_a_quaternion_of_another_length_is_refused(w):
    message = c.pose_message(1, "base_link", np.eye(4))
    message.pose.orientation.w = w
    with pytest.raises(ValueError, match="length 1"):
        c.pose_of(message)


def test_targets_and_commands_share_their_stamp():
    target = PoseTarget(123_456_789_012, pose(0.1, 0.2, 0.3, 0, 1, 2), 0.4)
    message, gripper = c.target_messages(target, "base_link", 0.2)
    assert c.nanoseconds(message.header.stamp) == c.nanoseconds(gripper.header.stamp) == target.stamp_ns
    assert c.gripper_of(gripper) == 0.4
    command = JointCommand(7, np.array([0.1, -0.2, 0.3]), 0.5, np.eye(4))
    joints, reached = c.command_messages(command, "base_link", NAMES, 0.2)
    assert c.nanoseconds(joints.header.stamp) == c.nanoseconds(reached.header.stamp) == 7
    assert joints.points[0].time_from_start.nanosec == 200_000_000
    q, opening = c.command_joints(joints, ["c", "a", "b"])
    np.testing.assert_array_equal(q, [0.3, 0.1, -0.2])
    assert opening == 0.5


@pytest.mark.parametrize(
    ("names", "positions"),
    [(["a", "b", "c"], [0, 0, 0]), (["a", "b", "x", "gripper"], [0] * 4), (["a", "b", "c", "gripper"], [0, 0, 0]),
     (["a", "b", "c", "gripper"], [0, np.nan, 0, 1]), (["a", "a", "b", "gripper"], [0] * 4)],
)  # fmt: skip
def test_a_command_for_other_joints_is_refused(names, positions):
    message = c.trajectory_message(1, "base_link", names, positions, 0.2)
    with pytest.raises(ValueError, match="command"):
        c.command_joints(message, NAMES)


def test_a_gripper_command_without_or_with_two_points_is_refused():
    message = c.trajectory_message(1, "base_link", ["gripper"], [1.0], 0.2)
    message.points = []
    with pytest.raises(ValueError, match="0 points"):
        c.gripper_of(message)
    with pytest.raises(ValueError, match="joints"):
        c.gripper_of(c.trajectory_message(1, "base_link", ["elbow"], [1.0], 0.2))


def test_joint_states_are_read_by_name():
    message = c.joint_state_message(9, ["x", "c", "a", "b"], np.array([9.0, 3, 1, 2]))
    q, effort = c.joints_of(message, NAMES)
    np.testing.assert_array_equal(q, [1, 2, 3])
    assert effort is None
    message.effort = [9.0, 30.0, 10.0, 20.0]
    np.testing.assert_array_equal(c.joints_of(message, NAMES)[1], [10, 20, 30])
    assert c.arm_state_of(message, NAMES, 0.5).stamp_ns == 9


@pytest.mark.parametrize(
    ("names", "positions", "word"),
    [(["a", "b"], [1, 2], "lacks"), (["a", "b", "c", "c"], [1, 2, 3, 4], "twice"), (["a", "b", "c"], [1, 2], "finite"),
     (["a", "b", "c"], [1, 2, np.inf], "finite")],
)  # fmt: skip
def test_joint_states_that_cannot_be_meant_are_refused(names, positions, word):
    message = c.joint_state_message(1, names, np.array(positions, float))
    with pytest.raises(ValueError, match=word):
        c.joints_of(message, NAMES)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_rgb_images_round_trip(image):
    np.testing.assert_array_equal(c.image_of(c.image_message(1, "camera", image)), image)


def test_other_encodings_and_padded_rows_become_rgb():
    rgb = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    message = c.image_message(1, "camera", rgb[..., ::-1])
    message.encoding = "bgr8"
    np.testing.assert_array_equal(c.image_of(message), rgb)
    padded = np.zeros((2, 16), np.uint8)
    padded[:, :9] = rgb.reshape(2, 9)
    message = c.image_message(1, "camera", rgb)
    message.step, message.data = 16, padded.tobytes()
    np.testing.assert_array_equal(c.image_of(message), rgb)
    grey = c.image_message(1, "camera", rgb)
    grey.encoding, grey.step, grey.data = "mono8", 3, bytes(range(6))
    assert c.image_of(grey)[1, 2].tolist() == [5, 5, 5]


@pytest.mark.parametrize(
    "changes", [{"encoding": "yuv422"}, {"height": 0}, {"width": 10**6}, {"step": 1}, {"data": b"short"}]
)  # fmt: skip
def test_images_that_cannot_be_meant_are_refused(changes):
    message = c.image_message(1, "camera", np.zeros((4, 4, 3), np.uint8))
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(ValueError, match="image"):
        c.image_of(message)


def test_equal_pictures_have_equal_digests():
    one, two = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    two[0, 0, 0] = 1
    digest = [c.frame_digest(c.image_message(n, "camera", image)) for n, image in enumerate((one, one, two))]
    assert digest[0] == digest[1] != digest[2]
