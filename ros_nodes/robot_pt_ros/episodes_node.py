"""episodes: the episode manager. Services episode/start, stop, cancel, keep, discard, redo, reset_scene (Trigger), episode/end (SetBool: success).

Topic episode/state (latched JSON). With `episodes` it runs that many by itself, where something resets the scene, and sums them up on
episode/summary: autonomous evaluation.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import SetBool, Trigger

from robot_pt.commands import Answer
from robot_pt_ros import topics
from robot_pt_ros.calls import Call
from robot_pt_ros.episode_director import Director
from robot_pt_ros.episode_news import EpisodeNews
from robot_pt_ros.episode_parameters import declare, made
from robot_pt_ros.errands import Errands
from robot_pt_ros.node import flag
from robot_pt_ros.processes import run

REQUESTS = ("start", "stop", "cancel", "keep", "discard", "redo", "reset_scene")
CALLED = ("policy/start", "policy/stop", "safety/arm", "safety/disarm", "safety/start_policy", "safety/stop_policy")


class EpisodesNode(Node):
    """Requests and news in, `Director`, state out."""

    def __init__(self) -> None:
        super().__init__("episodes")
        declare(self)
        settings, machine = made(self)
        triggers = [*CALLED, *([settings.reset_service] if settings.reset_service else [])]
        self._errands = Errands(self, triggers, ["takeover"], self._heard)
        self._director = Director(machine, settings, self._ask, self._errands.abandon, self._errands.serves, self._tell)
        self._said, self._summed, self.finished = "", False, False
        self._state = self.create_publisher(String, topics.EPISODE_STATE, topics.latched())
        self._summary = self.create_publisher(String, "episode/summary", topics.latched())
        self._news = EpisodeNews(self, self._director, self._tick)
        for name in REQUESTS:
            self.create_service(Trigger, f"episode/{name}", partial(self._serve, lambda request, name=name: name))
        self.create_service(
            SetBool, "episode/end", partial(self._serve, lambda request: "success" if request.data else "failure")
        )
        self.create_timer(0.05, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._publish()

    def _now(self) -> tuple[int, float]:
        return int(self.get_clock().now().nanoseconds), time.monotonic()

    def _ask(self, calls: Sequence[Call], done: Callable[[bool, str, dict[str, str]], None]) -> None:
        self._errands.run(calls, done)

    def _serve(self, named: Callable[[Any], str], request: Any, response: Any) -> Any:
        answer: Answer = self._director.request(named(request), *self._now())
        response.success, response.message = answer.ok, answer.sentence
        self.get_logger().info(answer.sentence)
        self._publish()
        return response

    def _heard(self, service: str, ok: bool, sentence: str) -> None:
        self._tell(f"{service}: {sentence}")

    def _tell(self, sentence: str) -> None:
        self.get_logger().info(sentence)

    # outputs

    def _tick(self) -> None:
        self._director.tick(*self._now())
        self._publish()
        if self._director.done and not self._summed and not self._errands.busy:
            self._sum_up()

    def _publish(self) -> None:
        state = json.dumps(self._director.state())
        if state != self._said:
            self._said = state
            self._state.publish(String(data=state))

    def _sum_up(self) -> None:
        self._summed, results = True, self._director.results
        successes = sum(result["outcome"] == "success" for result in results)
        self.get_logger().info(f"{successes} of {len(results)} episodes succeeded.")
        summary = {"episodes": len(results), "successes": successes, "results": results}
        self._summary.publish(String(data=json.dumps(summary)))
        self.finished = flag(self, "exit_when_done")

    def leave(self) -> None:
        """An episode that runs is aborted; policy and gate are told to hold, if they are still there."""
        self._director.machine.abort("the episode manager is leaving")
        self._tick()

    def has_left(self) -> bool:
        return not self._errands.busy


def main() -> int:
    """Entry point of the executable."""
    return run(EpisodesNode)


if __name__ == "__main__":
    raise SystemExit(main())
