"""recorder: every topic as raw CDR into `robot_pt.recorder.Recorder`, one episode at a time, as episode/state says.

Services recorder/start, recorder/stop, recorder/discard_last (Trigger). Topic recorder/state (latched JSON): phase ready, recording or
failed; the episode; why; what became of the last one. A disk that fills ends the episode there, and the episode manager hears it.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_msgs.msg import String
from std_srvs.srv import Trigger

from robot_pt.errors import DataError
from robot_pt.messages import Message, header_stamp
from robot_pt_ros import recorder_parameters, topics
from robot_pt_ros.conversions import stamp, status_message
from robot_pt_ros.episode_following import Following
from robot_pt_ros.episode_recorder import STAMPED, EpisodeRecorder
from robot_pt_ros.node import Heartbeat, configuring, flag, text, unmake
from robot_pt_ros.processes import run
from robot_pt_ros.recorder_topics import Listener


class RecorderNode(LifecycleNode):
    """Messages in, `EpisodeRecorder`, state out."""

    def __init__(self) -> None:
        super().__init__("recorder")
        recorder_parameters.declare(self)
        self._heartbeat = Heartbeat(self)
        self._episodes: EpisodeRecorder | None = None
        self._following: Following | None = None
        self._said = ""
        self._leaving: Any = None
        self._changed = self.create_guard_condition(self._publish_state)

    @configuring
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._close()
        maker = recorder_parameters.Maker(self, self.get_namespace(), self.get_logger().error)
        self._episodes = EpisodeRecorder(maker, self._changed.trigger)
        self._following = Following(self._episodes)
        found = maker.recorder_of_store()
        if found is not None:
            self._episodes.use(found)
            for name, what in found.recovered.items():
                self.get_logger().warning(f"episode {name}, which was cut off: {what}")
        self._state = self.create_publisher(String, topics.RECORDER_STATE, topics.latched())
        self._diagnostics = self.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, topics.recorded(10))
        self._listener = Listener(self, maker.cameras, self._on_message)
        self.create_subscription(String, topics.EPISODE_STATE, self._on_episode, topics.latched())
        for name in ("start", "stop", "discard_last"):
            self.create_service(Trigger, f"recorder/{name}", partial(self._serve, name))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(0.1, self._following.look, clock=steady)
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)
        self._publish_state()
        return TransitionCallbackReturn.SUCCESS

    @property
    def episodes(self) -> EpisodeRecorder:
        assert self._episodes is not None, "configured before it is used"
        return self._episodes

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
        self._episodes, self._following, self._said = None, None, ""

    # inputs

    def _now(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _on_message(self, topic: str, kind: str, cdr: bytes) -> None:
        received_ns = self._now()
        if kind in STAMPED and flag(self, "use_sim_time") and len(cdr) >= 12:
            received_ns = max(received_ns, header_stamp(cdr))  # /clock may come after what happened at its time
        self.episodes.message(Message(topic, kind, cdr), received_ns)

    def _on_episode(self, message: Any) -> None:
        try:
            self.following.told(message.data, self._now())
        except DataError as error:
            self.get_logger().error(str(error), throttle_duration_sec=5.0)

    def _serve(self, name: str, request: Any, response: Any) -> Any:
        answer = self.following.asked(name, text(self, "task"), self._now())
        response.success, response.message = answer.ok, answer.sentence
        return response

    # outputs

    def _publish_state(self) -> None:
        if self._episodes is None:
            return
        state = json.dumps({**self.episodes.state(), "active": self.following.active})
        if state != self._said:
            self._said = state
            self._state.publish(String(data=state))
            if self.episodes.phase == "failed":
                self.get_logger().error(f"episode {self.episodes.episode_id}: {self.episodes.reason}")

    def _publish_diagnostics(self) -> None:
        values = {**self.episodes.status(), **self._listener.status()}
        bad = self.episodes.phase == "failed" or values.get("dropped")
        level = DiagnosticStatus.ERROR if bad else DiagnosticStatus.OK
        message = DiagnosticArray(status=[status_message(level, "recorder", self.episodes.phase, values)])
        message.header.stamp = stamp(self._now())
        self._diagnostics.publish(message)

    def leave(self) -> None:
        """Put away what is over, end what runs as aborted, on the disk before the process ends."""
        if self._episodes is not None:
            self.following.active = False
            self.following.put_away()
            self._leaving = self._episodes.close(wait=False)

    def has_left(self) -> bool:
        return self._leaving is None or self._leaving.done()


def main() -> int:
    """Entry point of the executable."""
    return run(RecorderNode)


if __name__ == "__main__":
    raise SystemExit(main())
