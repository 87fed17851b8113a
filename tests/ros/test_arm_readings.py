"""joint_states and gripper/state -> readings: by name, none before the opening is known, none of another arm."""

import numpy as np
import pytest

from robot_pt.robots import load
from robot_pt_ros.arm_readings import ArmReadings
from robot_pt_ros.conversions import joint_state_message

DOMAIN = 119
ARM = load("wx250s")
Q = np.arange(6) / 10


@pytest.mark.parametrize("with_opening", [False, True])
def test_joints_are_read_by_name_once_the_opening_is_known(graph, with_opening):
    read = []
    readings = ArmReadings(graph.node(), ARM, read.append, with_opening=with_opening)
    shuffled = ["gripper", *reversed(ARM.joint_names)]
    joints = joint_state_message(7, shuffled, np.array([0.25, *reversed(Q)]))
    readings._on_joints(joints)
    assert len(read) == with_opening
    for names, opening in ((["finger"], [0.9]), (["gripper", "gripper"], [0.9, 0.9])):
        readings._on_opening(joint_state_message(7, names, np.array(opening)))
    readings._on_joints(joints)
    assert len(read) == 2 * with_opening, "a message that is no gripper's makes no opening"
    readings._on_opening(joint_state_message(7, ["gripper"], np.array([0.75])))
    readings._on_joints(joints)
    np.testing.assert_array_equal(read[-1].q, Q)
    assert (read[-1].stamp_ns, read[-1].gripper) == (7, 0.25 if with_opening else 0.75)


def test_another_arms_joints_are_no_reading(graph, capfd):
    read = []
    readings = ArmReadings(graph.node(), ARM, read.append)
    readings._on_opening(joint_state_message(1, ["gripper"], np.array([1.0])))
    readings._on_joints(joint_state_message(1, ["joint1"], np.array([0.0])))
    assert not read
    assert "waist" in capfd.readouterr().err
