"""online: follows the versions that a learner publishes in RUN, and asks the policy node for them between episodes.

Services online/confirm, online/rollback, online/release (Trigger). Topic online/state (latched JSON); ages, versions and counts of
learner, robot and store on /diagnostics. Learner and this node may die: the policy that acts goes on.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from robot_pt.commands import Answer
from robot_pt.errors import UserError
from robot_pt.online import serving
from robot_pt.online.robot import RobotRules, RobotVersions, Step
from robot_pt.online.robot_report import rows, troubles
from robot_pt.online.robot_watch import RunWatch
from robot_pt_ros import topics
from robot_pt_ros.conversions import stamp, status_message
from robot_pt_ros.episode_phase import EpisodePhase
from robot_pt_ros.node import flag, number, text
from robot_pt_ros.policy_calls import PolicyCalls
from robot_pt_ros.processes import run

LEVELS = {"ok": DiagnosticStatus.OK, "warn": DiagnosticStatus.WARN, "error": DiagnosticStatus.ERROR, "stale": DiagnosticStatus.STALE}  # fmt: skip


class OnlineNode(Node):
    """`RobotVersions` between the run's folder and the policy node."""

    def __init__(self) -> None:
        super().__init__("online")
        self._declare()
        self._run = Path(text(self, "run")).expanduser().absolute()
        self._stale_s = number(self, "stale_s")
        self._versions = RobotVersions(
            RobotRules(
                confirm=flag(self, "confirm"), max_bound_share=number(self, "max_bound_share"),
                max_change=number(self, "max_change"), beside=flag(self, "load_in_episodes"),
            )
        )  # fmt: skip
        self._watch = RunWatch(
            self._run, Path(text(self, "store")).expanduser().absolute(), self._own_name(), stale_s=self._stale_s
        )
        self._episode, self._calls = EpisodePhase(self), PolicyCalls(self)
        self._checkpoint, self._said, self._told, self._swap = "", "", set[str](), ""
        self._state = self.create_publisher(String, topics.ONLINE_STATE, topics.latched())
        self._diagnostics = self.create_publisher(DiagnosticArray, topics.DIAGNOSTICS, topics.recorded(10))
        self.create_subscription(String, topics.POLICY_VERSION, self._on_version, topics.latched())
        for name, work in (("confirm", self._confirm), ("rollback", self._rollback), ("release", self._release)):
            self.create_service(
                Trigger, f"online/{name}", lambda request, response, work=work: self._serve(work, response)
            )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(0.1, self._tick, clock=steady)
        self.create_timer(1.0, self._report, clock=steady)
        self._watch.start()

    def _declare(self) -> None:
        fixed = lambda words: ParameterDescriptor(description=words, read_only=True)  # noqa: E731
        self.declare_parameter(
            "run", "", fixed("RUN that the learner writes (robot-pt online --out), on any disk both see.")
        )
        self.declare_parameter("store", "demos", fixed("DemoStore of this robot's recorder, for its age and count."))
        self.declare_parameter(
            "confirm",
            True,
            ParameterDescriptor(description="Each new version waits for online/confirm; false in simulation."),
        )
        self.declare_parameter(
            "max_bound_share", 1.0, fixed("Largest share of a version's actions at their bounds; 1: any.")
        )
        self.declare_parameter(
            "max_change", 100.0, fixed("Largest RMS change of actions against the version before [half ranges].")
        )
        self.declare_parameter(
            "load_in_episodes", True, fixed("Load beside a policy that acts; false: between episodes only.")
        )
        self.declare_parameter("stale_s", 10.0, fixed("Silence of learner or disk that is reported [s]."))
        if not text(self, "run"):
            raise UserError("run is empty; give the --out folder of `robot-pt online`, e.g. run:=runs/online.")

    def _own_name(self) -> str:
        return "_".join(["robot", *self.get_namespace().strip("/").split("/")]).rstrip("_")

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
        self._publish()

    def _asked(self, step: Step, ok: bool, sentence: str) -> None:
        self._versions.done(step, ok, sentence, time.monotonic())
        log = self.get_logger().info if ok else self.get_logger().warning
        log(f"{step.kind} of version {step.serving.number}: {sentence}")
        if step.kind == "reload" and ok:
            self._swap = sentence
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
        self._publish()
        return response

    def _confirm(self) -> Answer:
        return self._versions.confirm()

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

    # outputs

    def _publish(self) -> None:
        values = self._versions.values()
        self._watch.tell(
            "waiting for a confirmation" if values["waits_for_operator"] else "acting" if self._episode.runs else "between episodes",
            version=values["acting"], number=values["acting_number"], env_steps=self._episode.steps,
            episode=self._episode.id, swap=self._swap,
        )  # fmt: skip
        state = json.dumps({**values, "sentence": self._versions.sentence(), "swap": self._swap})
        if state != self._said:
            self._said = state
            self._state.publish(String(data=state))

    def _report(self) -> None:
        """Once a second; what is new among the troubles goes to the log too."""
        now_s, seen = time.monotonic(), self._watch.seen
        found = troubles(self._versions, seen, now_s, self._stale_s)
        plain = {"".join(c for c in sentence if not c.isdigit()): sentence for sentence in found}  # ages change
        for key in plain.keys() - self._told:
            self.get_logger().warning(plain[key])
        self._told = set(plain)
        message = DiagnosticArray()
        message.header.stamp = stamp(int(self.get_clock().now().nanoseconds))
        message.status = [
            status_message(LEVELS[row.level], row.name, row.said, row.values)
            for row in rows(self._versions, seen, now_s, self._stale_s)
        ]
        self._diagnostics.publish(message)

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
