"""Which rotation of the tool poses call zero: the same in every node that knows the arm, and told with what it records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from robot_pt.errors import MismatchError, UserError
from robot_pt.robots import BRIDGE_ACTION_FRAME, load
from robot_pt.store import DemoStore
from tests.core.test_store import episode

DOMAIN = 199
BRIDGE = [float(v) for row in BRIDGE_ACTION_FRAME for v in row]
CONFIGS = Path(__file__).parents[2] / "ros_nodes" / "config"


def node_of(graph: Any, **values: Any) -> Any:
    from rclpy.parameter import Parameter

    return graph.node("arm", parameter_overrides=[Parameter(name, value=value) for name, value in values.items()])


def test_poses_count_from_the_rotation_that_is_given(graph: Any) -> None:
    from robot_pt_ros.arm_model import arm_of, declare_arm

    own, bridge = node_of(graph, robot="wx250s"), node_of(graph, robot="wx250s", action_frame_rotation=BRIDGE)
    declare_arm(own)
    declare_arm(bridge)
    model = load("wx250s")
    np.testing.assert_allclose(arm_of(own).fk(model.home_rad), model.fk(model.home_rad), atol=1e-12)
    T_base_link, T_base_tool = model.fk(model.home_rad), arm_of(bridge).fk(model.home_rad)
    np.testing.assert_allclose(T_base_tool[:3, 3], T_base_link[:3, 3], atol=1e-9)
    np.testing.assert_allclose(T_base_tool[:3, :3], T_base_link[:3, :3] @ np.array(BRIDGE_ACTION_FRAME).T, atol=1e-9)
    assert BRIDGE_ACTION_FRAME[0][0] == BRIDGE_ACTION_FRAME[1][0] == 0.0  # the link's x, where the gripper points,
    assert BRIDGE_ACTION_FRAME[2][0] == -1.0  # is down where the tool's rotation is zero


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ([1.0] * 8, "action_frame_rotation has 8 numbers; give nine"),
        ([1.0] * 9, r"action_frame_rotation is .*give a \(3, 3\) rotation"),
        ([float("nan")] * 9, "action_frame_rotation is"),
        ([-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], "action_frame_rotation is"),  # a mirror
    ],
)
def test_what_is_no_rotation_is_refused(graph: Any, given: list[float], sentence: str) -> None:
    from robot_pt_ros.arm_model import arm_of, declare_arm

    node = node_of(graph, robot="panda", action_frame_rotation=given)
    declare_arm(node)
    with pytest.raises(UserError, match=sentence):
        arm_of(node)


def test_every_node_that_knows_the_arm_is_told(graph: Any) -> None:
    from robot_pt_ros import gate_parameters, policy_parameters, recorder_parameters, sim_parameters, teleop_parameters
    from robot_pt_ros.arms import parameters as arm_parameters

    modules = (
        gate_parameters,
        policy_parameters,
        recorder_parameters,
        sim_parameters,
        teleop_parameters,
        arm_parameters,
    )
    for number, module in enumerate(modules):
        node = graph.node(f"node_{number}")
        module.declare(node)
        assert node.has_parameter("robot"), module
        assert node.has_parameter("action_frame_rotation"), module
    sources = [path.read_text() for path in CONFIGS.parents[0].glob("robot_pt_ros/*.py") if path.name != "arm_model.py"]
    assert not [source for source in sources if "robots import load" in source], (
        "an arm of its own has a zero of its own"
    )


@pytest.mark.parametrize("name", ["wx250s", "sim_kitchen"])
def test_the_widow_of_bridge_data_counts_as_bridge_data_does(name: str) -> None:
    told = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    assert told["/**"]["ros__parameters"]["action_frame_rotation"] == BRIDGE
    others = [values["ros__parameters"] for node, values in told.items() if node != "/**"]
    assert not [values for values in others if "action_frame_rotation" in values or "robot" in values]


def test_a_store_of_another_zero_is_not_recorded_to(graph: Any, tmp_path: Path) -> None:
    from robot_pt_ros import recorder_parameters

    recorded = episode(metadata={"action_frame_rotation": BRIDGE})
    spec = recorded.spec

    def maker(**values: Any) -> Any:
        told = {
            "embodiment": spec.embodiment,
            "control_rate_hz": spec.control_hz,
            "min_free_bytes": 1,
            "hard_min_bytes": 1,
        }
        node = node_of(graph, robot="wx250s", root=str(tmp_path / "s"), **told, **values)
        recorder_parameters.declare(node)
        return recorder_parameters.Maker(node, "/", lambda _: None)

    store = DemoStore.create(tmp_path / "s", spec)
    maker().recorder_of_store().close()  # nothing is known of an empty store
    store.append(recorded)
    maker(action_frame_rotation=BRIDGE).recorder_of_store().close()
    with pytest.raises(MismatchError, match=r"has action_frame_rotation .* record to another store"):
        maker().recorder_of_store()
