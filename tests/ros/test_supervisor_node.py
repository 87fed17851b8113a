"""The supervisor in a process of its own: e-stops that it hears, wherever they are said, and one whose silence is an e-stop."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from tests.ros import graph as graphs
from tests.ros.node_process import NodeProcess, change_state

pytest.importorskip("cyclonedds", reason="needs robot-pt[ros]")

DOMAIN = 140
CELL = "/cell/estop"


class Cell:
    """An arm at rest and an e-stop box, both in messages only; `beats` says whether the box lives."""

    def __init__(self, watcher: graphs.Watcher):
        from rclpy.clock import Clock, ClockType
        from sensor_msgs.msg import JointState
        from std_msgs.msg import Bool

        from robot_pt_ros import topics

        self.beats, self._bool, self._watcher = False, Bool, watcher
        self._joints = watcher.node.create_publisher(JointState, topics.JOINT_STATES, topics.newest())
        self._box = watcher.node.create_publisher(Bool, CELL, topics.latched())
        watcher.node.create_timer(0.02, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _tick(self) -> None:
        from robot_pt_ros.conversions import joint_state_message

        arm, now_ns = self._watcher.arm, self._watcher.node.get_clock().now().nanoseconds
        self._joints.publish(joint_state_message(now_ns, [*arm.joint_names, "gripper"], [*arm.home_rad, 1.0]))
        if self.beats:
            self._box.publish(self._bool(data=False))

    def press(self) -> float:
        self._box.publish(self._bool(data=True))
        return time.monotonic()


def test_an_estop_is_heard_on_either_topic_and_its_silence_is_one(tmp_path: Any) -> None:
    watcher = graphs.Watcher(DOMAIN)
    supervisor = NodeProcess(
        "supervisor", DOMAIN, tmp_path, robot="panda", estop_topic=CELL, require_estop_heartbeat=True,
    )  # fmt: skip
    try:
        cell = Cell(watcher)
        assert change_state(watcher, watcher.node, "supervisor", 1, 3) == [True, True], supervisor.text
        watcher.until_mode("disarmed")
        watcher.until(
            lambda: "heartbeat is not heard" in watcher.pull("safety/arm")[1], 30, "armed, or another refusal"
        )

        def armed() -> None:
            cell.beats = True
            for name in ("safety/clear_estop", "safety/arm"):
                watcher.until(lambda name=name: watcher.pull(name)[0], 15, f"no {name}")
            assert watcher.until_mode("hold", since_s=time.monotonic() - 0.2)

        armed()
        cell.beats, silent = False, time.monotonic()
        tripped = watcher.until_mode("estop", since_s=silent)
        assert 0.4 < tripped.heard_s - silent < 10.0
        assert "estop_silent" in tripped.counts
        armed()
        watcher.until_mode("estop", since_s=cell.press())
        armed()
        watcher.until_mode("estop", since_s=watcher.estop(True))
    finally:
        supervisor.close()
        watcher.close()


def test_what_was_clipped_is_said_and_what_rounding_leaves_is_not(graph: Any) -> None:
    from rclpy.lifecycle import LifecycleNode
    from std_msgs.msg import Float64MultiArray

    from robot_pt.commands import PoseTarget
    from robot_pt.gate.gate import Gate, GateOutput
    from robot_pt.gate.modes import Mode
    from robot_pt.robots import load
    from robot_pt_ros import gate_parameters, topics
    from robot_pt_ros.supervisor_reports import SupervisorReports

    node, arm, heard = graph.node("supervisor", LifecycleNode), load("panda"), []
    gate_parameters.declare(node)
    reports = SupervisorReports(node, Gate(arm, gate_parameters.gate_limits(node, arm)), arm)
    listener = graph.node("listener")
    listener.create_subscription(Float64MultiArray, topics.CLIPPED, heard.append, topics.recorded(10))
    (publisher,) = (one for one in node.publishers if one.topic_name.endswith(topics.CLIPPED))
    assert graph.spin_until(publisher.get_subscription_count)
    target = PoseTarget(1, np.eye(4), 1.0)
    for by in (0.0, 1e-12, 0.25, -1e-12):
        reports.decision(GateOutput(Mode.POLICY, None, target, np.array([0, 0, 0, 0, 0, by, 0]), (), False))
    reports.decision(GateOutput(Mode.POLICY, None, None, np.ones(7), (), False))
    reports.decision(GateOutput(Mode.POLICY, None, target, np.full(7, -0.5), (), False))
    assert graph.spin_until(lambda: len(heard) == 2)
    assert [list(message.data) for message in heard] == [[0, 0, 0, 0, 0, 0.25, 0], [-0.5] * 7]


def test_an_estop_is_heard_though_a_heartbeat_follows_before_anyone_looked(graph: Any, monkeypatch: Any) -> None:
    """Of a box that beats between two ticks of a busy supervisor, and of another one's True among its beats."""
    from rclpy.lifecycle import LifecycleNode
    from std_msgs.msg import Bool

    from robot_pt.gate.gate import Gate
    from robot_pt.robots import load
    from robot_pt_ros import gate_parameters, topics
    from robot_pt_ros.supervisor_inputs import GateInputs

    node, arm, heard = graph.node("supervisor", LifecycleNode), load("panda"), []
    gate_parameters.declare(node)
    gate = Gate(arm, gate_parameters.gate_limits(node, arm))
    monkeypatch.setattr(gate, "on_estop", lambda now_ns, pressed: heard.append(pressed))
    GateInputs(node, gate, frame="base_link", decide=lambda: None)
    boxes = [graph.node(name).create_publisher(Bool, topics.ESTOP, topics.latched()) for name in ("box", "other")]
    assert graph.spin_until(lambda: all(box.get_subscription_count() >= 3 for box in boxes))
    for said, box in ((True, 0), (False, 0), (False, 1), (True, 1), *[(False, 0)] * 10):
        boxes[box].publish(Bool(data=said))
    # two of three subscriptions lose nothing: one True that was overwritten would leave three at most
    assert graph.spin_until(lambda: heard.count(False) >= 24 and heard.count(True) >= 4)


@pytest.mark.parametrize("quality", ["as rclpy makes it", "sensor data", "latched"])
def test_an_estop_is_heard_whatever_quality_of_service_its_program_has(
    graph: Any, monkeypatch: Any, capfd: Any, quality: str
) -> None:
    """A cell's own program knows nothing of ours; a supervisor that starts beside it starts, and one that runs hears it."""
    from rclpy.lifecycle import LifecycleNode
    from rclpy.qos import qos_profile_sensor_data
    from std_msgs.msg import Bool

    from robot_pt.gate.gate import Gate
    from robot_pt.robots import load
    from robot_pt_ros import gate_parameters, topics
    from robot_pt_ros.qos_check import require_heard
    from robot_pt_ros.supervisor_inputs import GateInputs

    profile = {"as rclpy makes it": 10, "sensor data": qos_profile_sensor_data, "latched": topics.latched()}[quality]
    box = graph.node("cell").create_publisher(Bool, topics.ESTOP, profile)
    node, arm, heard = graph.node("supervisor", LifecycleNode), load("panda"), []
    gate_parameters.declare(node)
    gate = Gate(arm, gate_parameters.gate_limits(node, arm))
    monkeypatch.setattr(gate, "on_estop", lambda now_ns, pressed: heard.append(pressed))
    GateInputs(node, gate, frame="base_link", decide=lambda: None)
    assert graph.spin_until(lambda: len(node.get_publishers_info_by_topic(f"/{topics.ESTOP}")) == 1)
    require_heard(node)

    def pressed() -> bool:
        box.publish(Bool(data=True))
        return bool(heard)

    assert graph.spin_until(pressed)
    assert set(heard) == {True}
    assert "incompatible" not in "".join(capfd.readouterr())


@pytest.mark.parametrize("half", ["COMMAND", "COMMAND_POSE"])
def test_a_second_publisher_of_either_half_of_a_command_is_a_fault(graph: Any, monkeypatch: Any, half: str) -> None:
    from geometry_msgs.msg import PoseStamped
    from rclpy.lifecycle import LifecycleNode
    from trajectory_msgs.msg import JointTrajectory

    from robot_pt.gate.gate import Gate
    from robot_pt.robots import load
    from robot_pt_ros import gate_parameters, topics
    from robot_pt_ros.supervisor_inputs import GateInputs
    from robot_pt_ros.supervisor_reports import SupervisorReports

    node, arm, heard = graph.node("supervisor", LifecycleNode), load("panda"), []
    gate_parameters.declare(node)
    gate = Gate(arm, gate_parameters.gate_limits(node, arm))
    monkeypatch.setattr(gate, "on_second_publisher", lambda now_ns, topic: heard.append(topic))
    inputs = GateInputs(node, gate, frame="base_link", decide=lambda: None)
    SupervisorReports(node, gate, arm)
    inputs.check_publishers()
    assert not heard
    topic, kind = getattr(topics, half), {"COMMAND": JointTrajectory, "COMMAND_POSE": PoseStamped}[half]
    graph.node("neighbour").create_publisher(kind, topic, topics.newest())

    def seen() -> bool:
        inputs.check_publishers()
        return bool(heard)

    assert graph.spin_until(seen)
    assert set(heard) == {topic}
