"""SceneReader on a two-body model whose answers are known."""

import numpy as np
import pytest

from robot_pt.rotations import rpy_to_matrix
from robot_pt_sim.scene import Pose, SceneReader, SceneState

XML = """
<mujoco><worldbody>
  <geom name="floor" type="plane" size="2 2 .1"/>
  <body name="box" pos="0.3 0.1 0.0499"><freejoint/><geom name="box_geom" type="box" size=".05 .05 .05"/>
    <site name="mark" pos="0 0 0.05"/></body>
  <body name="arm" pos="1 0 1"><joint name="swing" type="hinge" axis="0 1 0"/><geom name="arm_geom" size=".1"/></body>
</worldbody></mujoco>
"""


@pytest.fixture
def read(robosuite):
    import mujoco

    model = mujoco.MjModel.from_xml_string(XML)
    data = mujoco.MjData(model)
    base = Pose(np.array([0.1, 0.1, 0.0]), rpy_to_matrix([0, 0, np.pi / 2]))
    reader = SceneReader(
        model,
        base=base,
        places={"box": "box", "mark": "site:mark"},
        joints={"swing": "swing"},
        geoms={"box": ("box_geom",), "floor": ("floor",), "arm": ("arm_geom",)},
    )
    data.qpos[7] = 0.4
    mujoco.mj_forward(model, data)
    return reader, data


def test_poses_are_in_the_base_frame(read):
    reader, data = read
    objects = reader.objects(data)
    np.testing.assert_allclose(objects["box"].position, [0.0, -0.2, 0.0499], atol=1e-9)
    np.testing.assert_allclose(objects["box"].rotation, rpy_to_matrix([0, 0, -np.pi / 2]), atol=1e-9)
    np.testing.assert_allclose(objects["mark"].position, [0.0, -0.2, 0.0999], atol=1e-9)


def test_joints_are_read_by_name(read):
    reader, data = read
    assert reader.joints(data) == {"swing": pytest.approx(0.4)}


def test_contacts_name_who_touches_whom(read):
    reader, data = read
    contacts = reader.contacts(data)
    assert contacts == {frozenset(("box", "floor"))}
    pose = Pose(np.zeros(3), np.eye(3))
    state = SceneState(tool=pose, target=pose, gripper=0.0, objects={}, joints={}, contacts=contacts)
    assert state.touching("floor", "box")
    assert not state.touching("arm", "box")
    assert not state.grasped("box")


def test_a_name_the_model_lacks_is_our_mistake(robosuite):
    import mujoco

    model = mujoco.MjModel.from_xml_string(XML)
    with pytest.raises(AssertionError, match="no BODY ghost"):
        SceneReader(model, base=Pose(np.zeros(3), np.eye(3)), places={"ghost": "ghost"}, joints={}, geoms={})


def test_state_survives_json_bit_for_bit(scene):
    import json

    from robot_pt_sim.scene import SceneState

    simulator = scene("lift")
    simulator.reset(3)
    state = simulator.state()
    again = SceneState.from_json(json.loads(json.dumps(simulator.truth())))
    assert again.contacts == state.contacts
    assert again.joints == dict(state.joints)
    assert again.gripper == state.gripper
    for name, pose in {**state.objects, "tool": state.tool, "target": state.target}.items():
        other = {**again.objects, "tool": again.tool, "target": again.target}[name]
        assert np.array_equal(pose.position, other.position)
        assert np.array_equal(pose.rotation, other.rotation)
