"""recorder: every topic as raw CDR into `robot_pt.recorder.Recorder`, one episode at a time, as episode/state says.

Services recorder/start, recorder/stop, recorder/discard_last (Trigger). Topic recorder/state (latched JSON): phase ready, recording or
failed; the episode; why; what became of the last one. A disk that fills ends the episode there, and the episode manager hears it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_msgs.msg import String
from std_srvs.srv import Trigger

from robot_pt.commands import Answer
from robot_pt.messages import Message, header_stamp
from robot_pt_ros import recorder_parameters, topics
from robot_pt_ros.conversions import stamp, status_message
from robot_pt_ros.episode_recorder import STAMPED, EpisodeRecorder, Wish
from robot_pt_ros.node import Heartbeat, configuring, flag, text, unmake
from robot_pt_ros.processes import run
from robot_pt_ros.recorder_topics import Listener

LINGER_S, LINGER_MOST_S = 0.3, 2.0
"""Messages of an episode that ended may still be on their way: it is closed when none came for so long, at the latest after the second."""
ANSWER_S = 10.0


class RecorderNode(LifecycleNode):
    """Messages in, `EpisodeRecorder`, state out."""

    def __init__(self) -> None:
        super().__init__("recorder")
        recorder_parameters.declare(self)
        self._heartbeat = Heartbeat(self)
        self._episodes: EpisodeRecorder | None = None
        self._active, self._said, self._ended = False, "", 0.0
        self._leaving: Any = None
        self._wanted: dict[str, Any] = {}
        self._changed = self.create_guard_condition(self._publish_state)

    @configuring
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._close()
        maker = recorder_parameters.Maker(self, self.get_namespace(), self.get_logger().error)
        self._episodes = EpisodeRecorder(maker, self._changed.trigger)
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
        self.create_timer(0.1, self._look, clock=steady)
        self.create_timer(1.0, self._publish_diagnostics, clock=steady)
        self._publish_state()
        return TransitionCallbackReturn.SUCCESS

    @property
    def episodes(self) -> EpisodeRecorder:
        assert self._episodes is not None, "configured before it is used"
        return self._episodes

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._active = True
        self._publish_state()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._active = False
        if self.episodes.running:
            self.episodes.stop("aborted", "the recorder was deactivated")
        self._publish_state()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._close()
        return unmake(self)

    def _close(self) -> None:
        if self._episodes is not None:
            self._episodes.close()
        self._episodes, self._said = None, ""

    # inputs

    def _now(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _on_message(self, topic: str, kind: str, cdr: bytes) -> None:
        received_ns = self._now()
        if kind in STAMPED and flag(self, "use_sim_time") and len(cdr) >= 12:
            received_ns = max(received_ns, header_stamp(cdr))  # /clock may come after what happened at its time
        self.episodes.message(Message(topic, kind, cdr), received_ns)

    def _on_episode(self, message: Any) -> None:
        """Follow the episode manager. A state that was overtaken by the next is told by that one, as `previous`."""
        try:
            told = json.loads(message.data)
            name, phase, previous = str(told["id"]), str(told["phase"]), dict(told.get("previous") or {})
        except (ValueError, KeyError, TypeError):
            self.get_logger().error("episode/state is no episode's state; nothing was done.", throttle_duration_sec=5.0)
            return
        running = self.episodes.running
        if running and running == previous.get("id") and running != name:
            self.episodes.stop(str(previous.get("outcome") or "unknown"), str(previous.get("reason", "")))
        if phase == "recording" and name != running and self._active and name != self._wanted.get("id"):
            self._start(Wish(
                name, str(told.get("task", "")), str(told.get("instruction", "")), dict(told.get("metadata") or {}),
                int(told.get("begin_ns", 0)),
            ))  # fmt: skip
        elif running and running == name and phase != "recording":
            self.episodes.ends_at(int(told.get("end_ns", 0)))
            self._ended = 0.0 if phase == "awaiting label" else time.monotonic()
        elif phase != "recording" and told.get("outcome") == "discarded" and name and self._last_kept() == name:
            self.episodes.discard_last()
        self._wanted = told

    def _last_kept(self) -> str:
        last = self.episodes.last
        return str(last.get("episode_id", "")) if last.get("outcome") != "discarded" else ""

    def _start(self, wish: Wish) -> Any:
        self._ended = 0.0
        return self.episodes.start(wish, self._now())

    def _look(self) -> None:
        """Ten times a second: is an episode over, did it end by itself?"""
        now = time.monotonic()
        if (
            self._ended
            and min(self.episodes.heard_s, self._ended + LINGER_MOST_S) + LINGER_S < now > self._ended + LINGER_S
        ):
            self._ended = 0.0
            self.episodes.stop(str(self._wanted.get("outcome") or "unknown"), str(self._wanted.get("reason", "")))
        self.episodes.look()

    # requests

    def _serve(self, name: str, request: Any, response: Any) -> Any:
        work: dict[str, Callable[[], Any]] = {
            "start": lambda: self._start(Wish(time.strftime("manual-%Y%m%d-%H%M%S"), text(self, "task"))),
            "stop": lambda: self.episodes.stop("unknown"),
            "discard_last": self.episodes.discard_last,
        }
        if name == "start" and (not self._active or self.episodes.running):
            answer = Answer(
                False, f"{self.episodes.running or 'the recorder'} is not ready; activate it, end the episode."
            )
        else:
            try:
                answer = work[name]().result(ANSWER_S)
            except TimeoutError:
                answer = Answer(False, f"the disk has not answered for {ANSWER_S:g} s; see recorder/state.")
        response.success, response.message = answer.ok, answer.sentence
        return response

    # outputs

    def _publish_state(self) -> None:
        if self._episodes is None:
            return
        state = json.dumps({**self.episodes.state(), "active": self._active})
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
        """End what runs as aborted, on the disk before the process ends."""
        self._active = False
        if self._episodes is not None:
            self._leaving = self._episodes.close(wait=False)

    def has_left(self) -> bool:
        return self._leaving is None or self._leaving.done()


def main() -> int:
    """Entry point of the executable."""
    return run(RecorderNode)


if __name__ == "__main__":
    raise SystemExit(main())
