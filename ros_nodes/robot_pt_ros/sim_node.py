"""sim: a simulator behind the very topics of a robot. Lock-step: it waits for the command to every observation. Real time: it goes
its way at `state_rate_hz` towards the newest command, and after an episode too, as an arm does.

Topics camera/*, joint_states, gripper/state, ee_pose, /clock (lock-step), episode/reward, sim/result, sim/state (truth); services sim/reset, arm/home.
Faults on request, as parameters that may be set at any time: see `robot_pt_ros.sim_faults`.
"""

from __future__ import annotations

import json
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from robot_pt.robots import load
from robot_pt_ros import topics
from robot_pt_ros.node import Heartbeat, configuring, flag, text, unmake
from robot_pt_ros.processes import run
from robot_pt_ros.sim_commands import CommandPairs
from robot_pt_ros.sim_faults import Faults
from robot_pt_ros.sim_reports import SimReports
from robot_pt_ros.sim_world import World, declare


class SimNode(LifecycleNode):
    """Commands in, one control step of the world, observations out."""

    def __init__(self) -> None:
        super().__init__("sim")
        declare(self)
        self._heartbeat = Heartbeat(self)
        self._faults = Faults(self)
        self._world: World | None = None

    @configuring
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._lockstep = flag(self, "lockstep")
        self._world = World.of(self)  # before anything else that brings MuJoCo: it chooses the renderer
        self._arm = load(text(self, "robot"))
        self._pairs = CommandPairs(self._arm.joint_names)
        self._reports = SimReports(self, self._world, self._arm, self._faults)
        self.create_subscription(JointTrajectory, topics.COMMAND, self._on_joints, topics.newest())
        self.create_subscription(PoseStamped, topics.COMMAND_POSE, self._on_pose, topics.newest())
        self.create_service(Trigger, "sim/reset", self._reset)
        return TransitionCallbackReturn.SUCCESS

    @property
    def world(self) -> World:
        assert self._world is not None, "configured before it is used"
        return self._world

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)
        self._tick_timers = [
            self.create_timer(0.1 if self._lockstep else self.world.period_s, self._on_timer, clock=self.world.wall)
        ]
        self._start_episode()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        for timer in self._tick_timers:
            self.destroy_timer(timer)
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return unmake(self)

    def _on_joints(self, message: Any) -> None:
        self._pairs.joints(message)
        self._step_in_lockstep()

    def _on_pose(self, message: Any) -> None:
        self._pairs.pose(message)
        self._step_in_lockstep()

    def _step_in_lockstep(self) -> None:
        command = self._pairs.newest()
        if self._lockstep and command is not None and self.world.answers(command):
            self.world.step(command)
            self._publish()

    def _on_timer(self) -> None:
        """Real time: one step with the newest command. Lock-step: say the observation again, go on with a hold if nobody answers."""
        if not self._lockstep:
            for _ in range(self.world.due()):
                self.world.step(None if self._faults.stalled else self._pairs.newest())
                self._publish()
        elif self.world.waited_too_long():
            self.get_logger().warning("no command for the last observation; the simulated arm holds for one step.")
            self.world.step(None)
            self._publish()
        else:
            self._reports.clock()

    def _start_episode(self) -> None:
        self.world.reset()
        self._pairs.clear()
        self._reports.begin()
        self._publish()

    def _reset(self, request: Any, response: Any) -> Any:
        self._start_episode()
        response.success, response.message = True, json.dumps(self.world.start())
        return response

    def _publish(self) -> None:
        """What the world looks like now, as the faults let it through."""
        if self.world.set_clock(self._faults.clock_offset_ns):
            self._pairs.clear()
        self._reports.observation()

    def leave(self) -> None:
        """The arm leaves last: it follows the supervisor's hold until that has left."""

    def has_left(self) -> bool:
        return self._world is None or self._lockstep or not self.count_publishers(topics.COMMAND)


def main() -> int:
    """Entry point of the executable."""
    return run(SimNode)


if __name__ == "__main__":
    raise SystemExit(main())
