"""A scripted operator: demonstrates in the simulated graph through the topics and services that a person's device uses.

Run ``python benchmarks/teleop_operator.py TASK EPISODES`` beside ``robot-pt launch graph robot:=sim namespace:=/ record:=true lockstep:=true
teleop:=topic task:=TASK store:=STORE seed:=S workspace_min:='[0.2, -0.5, -0.1]' workspace_max:='[0.9, 0.7, 0.6]'``; twenty seconds for 16
episodes, which are those of ``robot-pt collect --task TASK --episodes EPISODES --seed S`` but for the last digits. The expert of `robot_pt_sim` decides on the true state of the scene (sim/state);
what it wants goes out as teleop/command_raw and teleop/gripper_raw with the deadman held, through the same gate as everything else.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import robot_pt_ros  # noqa: F401  # isort: skip  # makes rclpy importable without ROS 2
import rclpy
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from robot_pt.commands import PoseTarget
from robot_pt.targets import moved
from robot_pt_ros import topics
from robot_pt_ros.conversions import nanoseconds, pose_of, target_messages
from robot_pt_sim.scene import SceneState
from robot_pt_sim.styles import Demonstrator, expert

SWITCH_S = 0.2
"""How long the switch is held before the first motion, as by a hand that closes on it and then moves."""


class Operator(Node):
    """Answers every state of the scene while an episode is recorded."""

    def __init__(self, task: str):
        super().__init__("operator")
        self._task = task
        self._demonstrator: Demonstrator | None = None
        self.phase, self._episode = "", ""
        self._held_s = 0.0
        self.outcomes: dict[str, str] = {}
        self._target: PoseTarget | None = None
        self._measured: dict[int, Any] = {}
        self._answered = 0
        self._pose = self.create_publisher(PoseStamped, topics.TELEOP_POSE, topics.newest())
        self._gripper = self.create_publisher(JointTrajectory, topics.TELEOP_GRIPPER, topics.newest())
        self._deadman = self.create_publisher(Bool, topics.DEADMAN, topics.heartbeat())
        self._truth: dict[str, Any] | None = None
        self.create_subscription(String, "sim/state", self._on_truth, topics.newest())
        self.create_subscription(PoseStamped, topics.EE_POSE, self._on_pose, topics.newest())
        self.create_subscription(String, topics.EPISODE_STATE, self._on_episode, topics.latched())
        self.create_timer(0.02, self._hold_deadman)

    def _hold_deadman(self) -> None:
        self._deadman.publish(Bool(data=self.phase == "recording"))
        self._act()

    def _on_episode(self, message: Any) -> None:
        state = json.loads(message.data)
        if (
            state["id"] != self._episode
        ):  # only the newest state is kept on the wire: phases may be skipped, ids may not
            self._demonstrator, self._target = None, None
        if state["phase"] == "recording" and (self.phase, self._episode) != ("recording", state["id"]):
            self._held_s = time.monotonic()
        self.phase, self._episode = state["phase"], state["id"]
        previous = state.get("previous") or {}
        if previous:
            self.outcomes[previous["id"]] = previous["outcome"]

    def _on_pose(self, message: Any) -> None:
        self._measured = {nanoseconds(message.header.stamp): pose_of(message)}
        self._act()

    def _on_truth(self, message: Any) -> None:
        self._truth = json.loads(message.data)
        self._act()

    def _act(self) -> None:
        truth = self._truth
        if self.phase != "recording" or truth is None or truth["ended"] or truth["stamp_ns"] <= self._answered:
            return
        if time.monotonic() - self._held_s < SWITCH_S:
            return
        if self._target is None:
            if truth["stamp_ns"] not in self._measured:
                return
            self._target = PoseTarget(0, self._measured[truth["stamp_ns"]], truth["gripper"])
        if self._demonstrator is None:
            self._demonstrator = expert(self._task, seed=truth["seed"])
        self._deadman.publish(Bool(data=True))  # heard before what it lets pass: steps may be shorter than its timer's
        self._answered = truth["stamp_ns"]
        action = np.asarray(self._demonstrator(SceneState.from_json(truth)), np.float64)
        pose = moved(self._target.T_base_tool, action)
        self._target = PoseTarget(self._answered, pose, float(np.clip(action[6], 0.0, 1.0)))
        for publisher, message in zip(
            (self._pose, self._gripper), target_messages(self._target, "base_link", 0.2), strict=True
        ):
            publisher.publish(message)


def spin_until(node: Node, reached: Callable[[], bool], timeout_s: float, what: str) -> None:
    until = time.monotonic() + timeout_s
    while not reached():
        if time.monotonic() > until:
            sys.exit(f"waited {timeout_s:g} s for {what}.")
        rclpy.spin_once(node, timeout_sec=0.05)


def pull(node: Node, name: str) -> None:
    """Call a Trigger service until it agrees."""
    client = node.create_client(Trigger, name)
    spin_until(node, client.service_is_ready, 60, name)
    for _ in range(100):
        future = client.call_async(Trigger.Request())
        spin_until(node, future.done, 60, f"the answer of {name}")
        if future.result().success:
            return
        print(f"{name}: {future.result().message}", file=sys.stderr)
        time.sleep(0.3)
    sys.exit(f"{name} was refused: {future.result().message}")


def main() -> None:
    """Demonstrate as many episodes, then print how they ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task")
    parser.add_argument("episodes", type=int)
    options = parser.parse_args()
    rclpy.init()
    operator = Operator(options.task)
    for number in range(options.episodes):
        pull(operator, "episode/start")
        spin_until(operator, lambda n=number: len(operator.outcomes) > n, 120, f"the end of episode {number + 1}")
    print(json.dumps({"task": options.task, "outcomes": operator.outcomes}))
    operator.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
