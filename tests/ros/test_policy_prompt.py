"""What a policy with language is told to do: its sentence, where it comes from, and who is refused without one. ROS domain 62."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robot_pt_ros import topics
from tests.ros.node_process import NodeProcess, call, change_state
from tests.ros.scripted_robot import ScriptedRobot

pytest.importorskip("cyclonedds", reason="nodes need robot-pt[ros]")

DOMAIN = 62
SIZE = (48, 64)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy that was trained with --language."""
    from robot_pt import checkpoint as checkpoints
    from robot_pt.agents.bc import BC, BCConfig
    from robot_pt.networks.encoders import EncoderConfig
    from robot_pt.policy_record import PolicyRecord
    from robot_pt.schema import Spec
    from robot_pt.tasks import TaskTable

    folder = tmp_path_factory.mktemp("run")
    spec, tasks = Spec(cameras={"primary": SIZE}, embodiment="panda"), TaskTable.of(["lift-red"])
    agent = BC.build(
        spec, cameras=["primary"], image_size=SIZE, task_slots=tasks.slots, encoder=EncoderConfig(name="small"),
        config=BCConfig(head="tanh_gaussian"), language_size=16, seed=0,
    )  # fmt: skip
    record = PolicyRecord.of(agent="bc", network=agent.actor.config, spec=spec, tasks=tasks)
    checkpoints.save(folder, 0, agent, record, {})
    return folder


@pytest.fixture
def started(tmp_path: Path, checkpoint: Path) -> Any:
    made: list[NodeProcess] = []

    def start(**parameters: object) -> NodeProcess:
        given = {
            "checkpoint": str(checkpoint),
            "robot": "panda",
            "max_obs_age_s.image": 60.0,
            "max_obs_age_s.joint": 60.0,
        }
        made.append(NodeProcess("policy", DOMAIN, tmp_path, **given, **parameters))
        return made[-1]

    yield start
    for node in made:
        node.close()


class Robot:
    """An arm and a camera to look at; asks the policy to start."""

    def __init__(self, graph: Any):
        from sensor_msgs.msg import Image

        self.graph, self.node = graph, graph.node("robot")
        self.arm = ScriptedRobot(self.node, cameras=(), asks=False)
        self._frames = np.random.default_rng(0).integers(0, 256, (2, *SIZE, 3), np.uint8)
        self._image = self.node.create_publisher(Image, topics.camera_image("primary"), topics.newest())
        self.node.create_timer(0.05, self._show)

    def _show(self) -> None:
        from robot_pt_ros.conversions import image_message

        now_ns = self.node.get_clock().now().nanoseconds
        self._image.publish(image_message(now_ns, "camera", self._frames[now_ns % 2]))

    def starts(self) -> tuple[bool, str]:
        """The answer of policy/start, once there is something to look at."""
        answers: list[tuple[bool, str]] = []

        def answered() -> bool:
            answers.append(call(self.graph, self.node, "policy/start"))
            return answers[-1][0] or "every source is fresh" not in answers[-1][1]

        assert self.graph.spin_until(answered, 60), answers[-1]
        return answers[-1]


def test_on_an_arm_it_needs_one(graph: Any, started: Any) -> None:
    node = started()
    assert change_state(graph, graph.node("watcher"), "policy", 1) == [False]
    said = [line for line in node.text.splitlines() if "ERROR" in line]
    assert len(said) == 1
    assert "was trained with --language" in said[0]
    assert "prompt:=" in said[0]
    assert "Traceback" not in node.text


def test_it_acts_by_the_sentence_it_is_given_and_by_the_next_one_at_the_next_start(graph: Any, started: Any) -> None:
    from rcl_interfaces.srv import SetParameters
    from rclpy.parameter import Parameter

    started(prompt="lift the red cube", simulated=True)
    robot = Robot(graph)
    assert change_state(graph, robot.node, "policy", 1, 3) == [True, True]
    assert robot.starts() == (True, "the policy runs: lift the red cube.")
    assert call(graph, robot.node, "policy/stop")[0]
    client = robot.node.create_client(SetParameters, "policy/set_parameters")
    assert graph.spin_until(client.service_is_ready)
    value = Parameter("prompt", value="lift the blue cube").to_parameter_msg()
    future = client.call_async(SetParameters.Request(parameters=[value]))
    assert graph.spin_until(future.done)
    assert robot.starts() == (True, "the policy runs: lift the blue cube.")


def test_in_simulation_it_acts_by_what_the_simulator_says(graph: Any, started: Any) -> None:
    from std_msgs.msg import String

    started(simulated=True)
    robot = Robot(graph)
    assert change_state(graph, robot.node, "policy", 1, 3) == [True, True]
    ok, said = robot.starts()
    assert (ok, "has not said yet" in said) == (False, True)
    told = robot.node.create_publisher(String, topics.INSTRUCTION, topics.latched())
    told.publish(String(data="lift the red cube"))
    assert graph.spin_until(lambda: robot.starts() == (True, "the policy runs: lift the red cube."), 60)
