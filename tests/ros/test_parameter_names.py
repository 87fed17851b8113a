"""Every parameter that a launch file or a robot's file gives is one that its node declares: rclpy says nothing of one that is not."""

import json
from pathlib import Path

import pytest
import yaml

from robot_pt_ros import (
    camera_parameters,
    episode_parameters,
    gate_parameters,
    online_parameters,
    policy_parameters,
    recorder_parameters,
    sim_parameters,
    teleop_parameters,
)
from robot_pt_ros.arms import parameters as arm_parameters
from robot_pt_ros.launch_runner import arguments, evaluate, packages
from tests.ros.test_launch_files import BOX, COMMANDS, ROOT

DOMAIN = 146
DECLARE = {
    "arm": arm_parameters.declare, "camera": camera_parameters.declare, "episodes": episode_parameters.declare,
    "online": online_parameters.declare, "policy": policy_parameters.declare, "recorder": recorder_parameters.declare,
    "sim": sim_parameters.declare, "supervisor": gate_parameters.declare, "teleop": teleop_parameters.declare,
}  # fmt: skip
CONFIG = sorted((ROOT / "ros_nodes" / "config").glob("*.yaml"))
ON_AN_ARM = ("robot:=ros2_control", "teleop:=joy", *BOX)
CASES = [
    *COMMANDS.items(),
    ("graph", (*COMMANDS["graph"], "checkpoint:=RUN", "record:=true", "teleop:=keyboard")),
    *((name, (*COMMANDS[name], *ON_AN_ARM)) for name in ("collect", "replay", "online")),
]


@pytest.fixture
def declared(graph):
    """Node -> names of its parameters."""
    from rclpy.parameter import Parameter

    found = {"manager": {"nodes", "start_timeout_s", "bond_timeout_s", "trigger", "use_sim_time"}}
    for name, declare in DECLARE.items():
        node = graph.node(name, parameter_overrides=[Parameter("run", value="RUN")] if name == "online" else [])
        declare(node)
        found[name] = set(node.get_parameters_by_prefix(""))
    return found


def dotted(values, above=""):
    """Names of nested parameters as ROS has them."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{above}{name}.")
        else:
            yield above + name


@pytest.mark.parametrize("path", CONFIG, ids=lambda path: path.stem)
def test_a_robots_file_names_parameters_that_there_are(declared, path):
    for key, section in yaml.safe_load(path.read_text()).items():
        given = set(dotted(section["ros__parameters"]))
        if key == "/**":
            assert given <= declared["supervisor"] & declared["policy"] & declared["teleop"], given
        else:
            assert given <= declared[key.removeprefix("/**/")], (key, given)


@pytest.mark.parametrize(("name", "words"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_launch_file_names_parameters_that_there_are(declared, monkeypatch, name, words):
    monkeypatch.setattr(packages, "program", lambda package, executable, environment: ("-m", executable))
    processes = evaluate.plan(ROOT / f"launch/{name}.launch.yaml", arguments.parse(words), {"HOME": "/home/u"})
    seen = set()
    for process in processes:
        node = process.argv[process.argv.index("-m") + 1]
        seen.add(node)
        for text in process.parameters:
            ((_, values),) = yaml.safe_load(text).items()
            assert set(dotted(values["ros__parameters"])) <= declared[node], (node, json.dumps(values))
    assert {"supervisor", "manager"} <= seen


def test_every_node_is_looked_at(declared):
    programs = {path.stem.removesuffix("_node") for path in Path(sim_parameters.__file__).parent.glob("*_node.py")}
    assert programs == set(declared)
