"""sim: a simulator behind the very topics of a robot. Lock-step: it waits for the command to every observation. Real time: it goes
its way at `state_rate_hz` towards the newest command, and after an episode too, as an arm does.

Topics camera/*, joint_states, gripper/state, ee_pose, /clock (lock-step), episode/reward, sim/result, sim/state (truth), sim/instruction (the
task in words), sim/about (which simulator, for who records); service sim/reset.
Faults on request, as parameters that may be set at any time: see `robot_pt_ros.sim_faults`.
"""

from __future__ import annotations

import json
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import Trigger

from robot_pt_ros import topics
from robot_pt_ros.arm_model import arm_of
from robot_pt_ros.node import Heartbeat, configuring, flag, unmake
from robot_pt_ros.processes import run
from robot_pt_ros.sim_faults import Faults
from robot_pt_ros.sim_parameters import declare, simulator_of
from robot_pt_ros.sim_stepping import Stepping
from robot_pt_ros.sim_world import World


class SimNode(LifecycleNode):
    """A world and its life; `Stepping` lets it go on."""

    def __init__(self) -> None:
        super().__init__("sim")
        declare(self)
        self._heartbeat = Heartbeat(self)
        self._faults = Faults(self)
        self._world: World | None = None

    @configuring
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._close()
        self._world = World(
            simulator_of(self), self
        )  # before anything else that brings MuJoCo: it chooses the renderer
        self._stepping = Stepping(self, self._world, arm_of(self), self._faults)
        self.create_service(Trigger, "sim/reset", self._reset)
        return TransitionCallbackReturn.SUCCESS

    @property
    def world(self) -> World:
        assert self._world is not None, "configured before it is used"
        return self._world

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)
        self._timer = self.create_timer(self._stepping.period_s, self._stepping.look, clock=self.world.wall)
        self._stepping.begin()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.destroy_timer(self._timer)
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = unmake(self)
        self._close()
        return result

    def _close(self) -> None:
        """The simulator takes a window, a renderer and its memory: another configuration makes its own."""
        if self._world is not None:
            self._world.close()
        self._world = None

    def _reset(self, request: Any, response: Any) -> Any:
        self._stepping.begin()
        response.success, response.message = True, json.dumps(self.world.start())
        return response

    def leave(self) -> None:
        """The arm leaves last: it follows the supervisor's hold until that has left."""

    def has_left(self) -> bool:
        return self._world is None or flag(self, "lockstep") or not self.count_publishers(topics.COMMAND)


def main() -> int:
    """Entry point of the executable."""
    return run(SimNode)


if __name__ == "__main__":
    raise SystemExit(main())
