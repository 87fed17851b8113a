"""recorder: every topic as raw CDR into `robot_pt.recorder.Recorder`, one episode at a time, as episode/state says.

Services recorder/start, recorder/stop, recorder/discard_last (Trigger). Topic recorder/state (latched JSON): phase ready, recording or
failed; the episode; why; what became of the last one. A disk that fills ends the episode there, and the episode manager hears it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import Trigger

from robot_pt.commands import Answer
from robot_pt.episode_following import Following, Simulation
from robot_pt.episode_recorder import EpisodeRecorder
from robot_pt_ros import recorder_parameters
from robot_pt_ros.awaited import awaited
from robot_pt_ros.node import Heartbeat, configuring, flag, text, unmake
from robot_pt_ros.processes import run
from robot_pt_ros.recorder_inputs import RecorderInputs, listen_to_simulator
from robot_pt_ros.recorder_reports import RecorderReports

ANSWER_S = 10.0


class RecorderNode(LifecycleNode):
    """Messages in, `EpisodeRecorder`, state out."""

    def __init__(self) -> None:
        super().__init__("recorder")
        recorder_parameters.declare(self)
        self._heartbeat = Heartbeat(self)
        self._episodes: EpisodeRecorder | None = None
        self._following: Following | None = None
        self._by_hand = MutuallyExclusiveCallbackGroup()
        self._changed = self.create_guard_condition(self._publish_state)

    @configuring
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._close()
        maker = recorder_parameters.Maker(self, self.get_namespace(), self.get_logger().error)
        found = maker.recorder_of_store()
        self._episodes = EpisodeRecorder(maker, self._changed.trigger)
        simulation = Simulation() if flag(self, "simulated") else None
        self._following = Following(self._episodes, simulation, self.get_logger().warning)
        if found is not None:
            self._episodes.use(found)
            for name, what in found.recovered.items():
                self.get_logger().warning(f"episode {name}, which was cut off: {what}")
        self._reports = RecorderReports(self, self._episodes)
        self._inputs = RecorderInputs(self, maker.cameras, self._episodes, self._following)
        if simulation is not None:
            listen_to_simulator(self, simulation, self._publish_state)
        for name in ("start", "stop", "discard_last"):
            self.create_service(Trigger, f"recorder/{name}", partial(self._serve, name), callback_group=self._by_hand)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(0.1, self._following.look, clock=steady)
        self.create_timer(1.0, lambda: self._reports.diagnostics(self._inputs.status()), clock=steady)
        self._publish_state()
        return TransitionCallbackReturn.SUCCESS

    @property
    def following(self) -> Following:
        assert self._following is not None, "configured before it is used"
        return self._following

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.following.active = True
        self._publish_state()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.following.deactivate()
        self._publish_state()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._close()
        return unmake(self)

    def _close(self) -> None:
        if self._episodes is not None:
            self._episodes.close()
        self._episodes, self._following = None, None

    def _publish_state(self) -> None:
        if self._following is not None:
            self._reports.state(self._following.ready)

    async def _serve(self, name: str, request: Any, response: Any) -> Any:
        """Answers when the disk is done."""
        work = self.following.asked(name, text(self, "task"), self._inputs.now_ns(), text(self, "prompt"))
        late = Answer(False, f"the disk has not answered for {ANSWER_S:g} s; see recorder/state.")
        answer = await awaited(self, work, ANSWER_S, late)
        response.success, response.message = answer.ok, answer.sentence
        return response

    def leave(self) -> None:
        """Put away what is over, end what runs as aborted, on the disk before the process ends."""
        if self._following is not None:
            self._following.leave()

    def has_left(self) -> bool:
        return self._following is None or self._following.has_left()


def main() -> int:
    """Entry point of the executable."""
    return run(RecorderNode)


if __name__ == "__main__":
    raise SystemExit(main())
