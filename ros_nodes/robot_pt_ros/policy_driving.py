"""The session in force: ticked by a control loop of its own, or in lock-step by what is heard, and replaced between episodes."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode

from robot_pt.commands import Answer
from robot_pt.robots import Arm
from robot_pt.session import Session
from robot_pt_ros.control_loop import ControlLoop
from robot_pt_ros.inference import InferenceThread
from robot_pt_ros.policy_inputs import SessionInputs
from robot_pt_ros.policy_reports import PolicyReports


class Driving:
    """What the policy node hears goes to `session`, what it asks for goes out. Between `activate` and `deactivate` it may be started.

    `lock` guards the session: the control loop ticks it, services start, stop and replace it.
    """

    def __init__(
        self, node: LifecycleNode, session: Session, arm: Arm, cameras: Mapping[str, str], *, lockstep: bool
    ):  # fmt: skip
        """`cameras`: role -> camera name in the topics."""
        self.session, self.lock = session, threading.RLock()
        self._node, self._lockstep, self._active = node, lockstep, False
        self._over = False
        self._threads: list[ControlLoop | InferenceThread] = []
        self._inputs = SessionInputs(
            node, lambda: self.session, arm, cameras, lockstep=lockstep, changed=self._tick_in_lockstep
        )  # fmt: skip
        self._reports = PolicyReports(node, session.period_ns)

    def activate(self) -> None:
        """Begin to tick; nothing is asked for until `start`."""
        self._active = True
        steady = Clock(
            clock_type=ClockType.STEADY_TIME
        )  # ROS time stands still in lock-step while an answer is missing
        self._timer = self._node.create_timer(1.0, self.look, clock=steady)
        self._threads = [] if self._lockstep else [ControlLoop(1e-9 * self.session.period_ns, self._tick)]
        if self.session.settings.inference_mode == "async":
            self._threads.append(InferenceThread(lambda: self.session, self._now, self.lock))
        for thread in self._threads:
            thread.start()

    def deactivate(self) -> None:
        """Stop asking, then ticking."""
        self.leave("the node was deactivated")
        self._node.destroy_timer(self._timer)

    def leave(self, reason: str) -> None:
        """Ask for nothing any more; the supervisor holds."""
        self._active = False
        for thread in self._threads:
            thread.stop()
        self.session.stop(reason)

    def start(self, instruction: str | None = None) -> Answer:
        """Begin an episode: now, or in lock-step at the time that is due."""
        if not self._active:
            return Answer(False, "the policy node is not active; activate it first.")
        now_ns = self._inputs.meeting.due() or self._now() if self._lockstep else self._now()
        answer = self.session.start(now_ns, instruction=instruction)
        self._tick_in_lockstep()
        return answer

    def announce(self) -> None:
        """Say whose targets they are."""
        self._reports.version(self.session)

    def take(self, session: Session) -> None:
        """Let this one drive from now on. Raises MismatchError, with nothing changed, where it does not fit."""
        with self.lock:
            session.succeed(self.session)
            self.session = session
        self._reports.pace(session.period_ns)
        self.announce()

    def look(self) -> None:
        """Once a second, and when something was asked: go on where no answer comes, say how it stands."""
        self._inputs.meeting.give_up_waiting()
        self._tick_in_lockstep()
        self._reports.diagnostics(self.session)
        over, before = bool(getattr(self.session.policy, "finished", False)), self._over
        self._over = over
        if over and not before:
            self._node.get_logger().info(
                "every action of the episode was played; the arm is held, Ctrl-C ends the graph."
            )

    def _now(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _tick_in_lockstep(self) -> None:
        now_ns = self._inputs.meeting.due()
        if self._lockstep and self._active and self.session.phase in ("running", "stale") and now_ns is not None:
            self._inputs.meeting.done(now_ns)
            self.tick_at(now_ns)

    def _tick(self) -> None:
        self.tick_at(self._now())

    def tick_at(self, now_ns: int) -> None:
        """One control period: what the session asks for goes out, after how it came about."""
        with self.lock:
            target, step = self.session.tick(now_ns), self.session.last_step
        if target is None or step is None:
            return
        self._reports.step(step)
        self._inputs.meeting.asked(target.stamp_ns)
        self._reports.target(target)
        self._reports.chunk(target, step)
