"""How the simulated world goes on: in lock-step with the command to every observation, in real time with the newest one."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.lifecycle import LifecycleNode
from trajectory_msgs.msg import JointTrajectory

from robot_pt.robots import Arm
from robot_pt_ros import topics
from robot_pt_ros.node import flag
from robot_pt_ros.sim_commands import CommandPairs
from robot_pt_ros.sim_faults import Faults
from robot_pt_ros.sim_reports import SimReports
from robot_pt_ros.sim_world import World

LOOK_S = 0.1


class Stepping:
    """Commands in, one control step of the world, observations out. Call `look` every `period_s` of real time."""

    def __init__(self, node: LifecycleNode, world: World, arm: Arm, faults: Faults):
        self._node, self._world, self._faults = node, world, faults
        self._lockstep = flag(node, "lockstep")
        self.period_s = LOOK_S if self._lockstep else world.period_s
        self._pairs = CommandPairs(arm.joint_names)
        self._reports = SimReports(node, world, arm, faults)
        node.create_subscription(JointTrajectory, topics.COMMAND, self._on_joints, topics.newest())
        node.create_subscription(PoseStamped, topics.COMMAND_POSE, self._on_pose, topics.newest())

    def begin(self) -> None:
        """The next episode: nothing said before counts in it."""
        self._world.reset()
        self._pairs.clear()
        self._reports.begin()
        self._publish()

    def look(self) -> None:
        """Real time: the steps that are due. Lock-step: say the observation again, go on with a hold if nobody answers."""
        if not self._lockstep:
            for _ in range(self._world.due()):
                self._world.step(None if self._faults.stalled else self._pairs.newest())
                self._publish()
        elif self._world.waited_too_long():
            self._node.get_logger().warning(
                "no command for the last observation; the simulated arm holds for one step."
            )
            self._world.step(None)
            self._publish()
        else:
            self._reports.clock()

    def _on_joints(self, message: Any) -> None:
        self._pairs.joints(message)
        self._step_in_lockstep()

    def _on_pose(self, message: Any) -> None:
        self._pairs.pose(message)
        self._step_in_lockstep()

    def _step_in_lockstep(self) -> None:
        command = self._pairs.newest()
        if self._lockstep and command is not None and self._world.answers(command):
            self._world.step(command)
            self._publish()

    def _publish(self) -> None:
        """What the world looks like now, as the faults let it through."""
        if self._world.set_clock(self._faults.clock_offset_ns):
            self._pairs.clear()
        self._reports.observation()
