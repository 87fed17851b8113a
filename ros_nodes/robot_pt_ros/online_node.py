"""online: follows the versions that a learner publishes in RUN, and asks the policy node for them between episodes.

Services online/confirm, online/rollback, online/release (Trigger). Topic online/state (latched JSON); ages, versions and counts of
learner, robot and store on /diagnostics. Learner and this node may die: the policy that acts goes on.
"""

from __future__ import annotations

import json
import time
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from robot_pt.commands import Answer
from robot_pt.errors import UserError
from robot_pt.online import serving
from robot_pt.online.robot import RobotVersions, Step
from robot_pt_ros import topics
from robot_pt_ros.episode_phase import EpisodePhase
from robot_pt_ros.node import flag
from robot_pt_ros.online_parameters import declare, rules, run_folder, run_watch
from robot_pt_ros.online_reports import OnlineReports
from robot_pt_ros.policy_calls import PolicyCalls
from robot_pt_ros.processes import run


class OnlineNode(Node):
    """`RobotVersions` between the run's folder and the policy node."""

    def __init__(self) -> None:
        super().__init__("online")
        declare(self)
        self._run, self._versions, self._watch = run_folder(self), RobotVersions(rules(self)), run_watch(self)
        self._episode, self._calls = EpisodePhase(self), PolicyCalls(self)
        self._reports = OnlineReports(self, self._versions, self._watch, self._episode)
        self._checkpoint = ""
        self.create_subscription(String, topics.POLICY_VERSION, self._on_version, topics.latched())
        for name, work in (
            ("confirm", self._versions.confirm),
            ("rollback", self._rollback),
            ("release", self._release),
        ):
            self.create_service(
                Trigger, f"online/{name}", lambda request, response, work=work: self._serve(work, response)
            )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(0.1, self._tick, clock=steady)
        self.create_timer(1.0, self._reports.diagnostics, clock=steady)
        self._watch.start()

    # what is heard

    def _on_version(self, message: Any) -> None:
        try:
            told = json.loads(message.data)
            version, self._checkpoint = str(told["sha256"]), str(told.get("checkpoint") or "")
        except (ValueError, KeyError, TypeError):
            return
        self._versions.heard(version)

    def _tick(self) -> None:
        self._versions.rules.confirm = flag(self, "confirm")
        self._versions.saw(self._watch.seen.serving, self._watch.seen.numbers)
        self._calls.look()
        step = None if self._calls.busy else self._versions.next(self._episode.runs, time.monotonic())
        if step is not None:
            folder = str(step.serving.path(self._run))
            self._calls.ask(step.kind, folder, lambda ok, sentence: self._asked(step, ok, sentence))
        self._reports.state()

    def _asked(self, step: Step, ok: bool, sentence: str) -> None:
        self._versions.done(step, ok, sentence, time.monotonic())
        log = self.get_logger().info if ok else self.get_logger().warning
        log(f"{step.kind} of version {step.serving.number}: {sentence}")
        if step.kind == "reload" and ok:
            self._reports.swap = sentence
        elif not ok and step.kind == "prepare":
            self._calls.name(self._checkpoint)

    # requests

    def _serve(self, work: Any, response: Any) -> Any:
        try:
            answer: Answer = work()
        except UserError as error:
            answer = Answer(False, str(error))
        response.success, response.message = answer.ok, answer.sentence
        self.get_logger().info(answer.sentence)
        self._reports.state()
        return response

    def _rollback(self) -> Answer:
        """To the version before the one that acts here, which may be older than the one that serves."""
        acting = self._versions.acting_number
        back = serving.rollback(self._run)
        while acting is not None and back.number >= acting:
            back = serving.rollback(self._run)
        self._versions.trust(back.version)
        return Answer(True, f"version {back.number} ({back.version[:12]}) serves again, until online/release.")

    def _release(self) -> Answer:
        free = serving.release(self._run)
        return Answer(True, f"the learner may publish again after version {free.number}.")

    def leave(self) -> None:
        """The run's folder hears that the robot stopped on purpose."""
        self._watch.stop()

    def has_left(self) -> bool:
        return True


def main() -> int:
    """Entry point of the executable."""
    return run(OnlineNode)


if __name__ == "__main__":
    raise SystemExit(main())
