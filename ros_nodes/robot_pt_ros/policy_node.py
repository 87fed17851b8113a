"""policy: camera frames and joints in, `robot_pt.session.Session`, absolute pose targets out.

Services policy/start, policy/stop, policy/warmup, policy/prepare, policy/reload (std_srvs/Trigger). It asks for motion; the supervisor
decides. `prepare` loads and warms up what `checkpoint` names beside the policy that acts, at any time; `reload` swaps it in, loading it
first where it was not prepared, and never while an episode runs.
"""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from std_srvs.srv import Trigger

from robot_pt.commands import Answer
from robot_pt.errors import UserError
from robot_pt.robots import load
from robot_pt.session import Session
from robot_pt_ros.control_loop import ControlLoop
from robot_pt_ros.episode_phase import EpisodePhase
from robot_pt_ros.inference import InferenceThread
from robot_pt_ros.node import Heartbeat, configuring, flag, number, text, unmake
from robot_pt_ros.policy_inputs import SessionInputs
from robot_pt_ros.policy_parameters import (
    checkpoint_of,
    declare,
    load_policy,
    robot_spec,
    session_settings,
    step_limits,
)
from robot_pt_ros.policy_reload import NextSession
from robot_pt_ros.policy_reports import PolicyReports
from robot_pt_ros.processes import run


class PolicyNode(LifecycleNode):
    """Parameters, subscriptions, a timer; the rest is `Session`."""

    def __init__(self) -> None:
        super().__init__("policy")
        declare(self)
        self._heartbeat = Heartbeat(self)
        self._driving: Session | None = None
        self._active = False
        self._lock = threading.RLock()  # the session's: the control loop ticks it, services start, stop and replace it
        self._threads: list[ControlLoop | InferenceThread] = []

    @configuring
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._arm = load(text(self, "robot"))
        self._lockstep = flag(self, "lockstep")
        self._driving = self._load()
        _, self._cameras = robot_spec(self, self._driving.policy.spec)
        self._inputs = SessionInputs(
            self, lambda: self.session, self._arm, self._cameras, lockstep=self._lockstep, changed=self._tick_in_lockstep
        )  # fmt: skip
        self._reports = PolicyReports(self, self.session.period_ns)
        self._episode = EpisodePhase(self)
        self._next = NextSession(self, lambda: checkpoint_of(self), self._made)
        for name in ("start", "stop", "warmup"):
            self.create_service(Trigger, f"policy/{name}", partial(self._serve, name))
        beside = ReentrantCallbackGroup()  # while a policy loads, everything else goes on
        for name in ("prepare", "reload"):
            self.create_service(Trigger, f"policy/{name}", partial(self._serve_later, name), callback_group=beside)
        timing = self.session.warm_up(int(number(self, "warmup_iters")))
        self.get_logger().info(
            f"policy {self.session.policy.version[:12]}: first inference {timing.first_ms:.0f} ms, then p50 {timing.p50_ms:.1f} ms, "
            f"p99 {timing.p99_ms:.1f} ms of {1e-6 * self.session.period_ns:.0f} ms."
        )
        self._reports.version(self.session)
        return TransitionCallbackReturn.SUCCESS

    def _load(self, folder: str = "") -> Session:
        policy = load_policy(self, folder)
        spec, _ = robot_spec(self, policy.spec)
        session = Session(
            policy, spec, self._arm, task=text(self, "task") or None, instruction=text(self, "prompt") or None,
            settings=session_settings(self), limits=step_limits(self, self._arm),
        )  # fmt: skip
        for note in session.notes:
            self.get_logger().warning(note)
        return session

    def _made(self, folder: str) -> Session:
        session = self._load(folder)
        session.warm_up(int(number(self, "warmup_iters")))
        return session

    @property
    def session(self) -> Session:
        assert self._driving is not None, "configured before it is used"
        return self._driving

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        result = super().on_activate(state)
        self._active = True
        steady = Clock(
            clock_type=ClockType.STEADY_TIME
        )  # in lock-step ROS time stands still while an answer is missing
        self._tick_timers = [self.create_timer(1.0, self._publish_diagnostics, clock=steady)]
        self._threads = []
        if not self._lockstep:
            self._threads.append(ControlLoop(1e-9 * self.session.period_ns, self._tick))
        if self.session.settings.inference_mode == "async":
            self._threads.append(InferenceThread(lambda: self.session, self._now, self._lock))
        for thread in self._threads:
            thread.start()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self._active = False
        self._end_threads()
        self.session.stop("the node was deactivated")
        for timer in self._tick_timers:
            self.destroy_timer(timer)
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return unmake(self)

    def _end_threads(self) -> None:
        for thread in self._threads:
            thread.stop()

    # requests

    def _serve(self, name: str, request: Any, response: Any) -> Any:
        with self._lock:
            answer = getattr(self, f"_{name}")()
        response.success, response.message = answer.ok, answer.sentence
        self.get_logger().info(f"{name}: {answer.sentence}")
        self._publish_diagnostics()
        return response

    def _start(self) -> Answer:
        if not self._active:
            return Answer(False, "the policy node is not active; activate it first.")
        answer = self.session.start(self._inputs.meeting.due() or self._now() if self._lockstep else self._now())
        self._tick_in_lockstep()
        return answer

    def _stop(self) -> Answer:
        return self.session.stop()

    def _warmup(self) -> Answer:
        try:
            timing = self.session.warm_up(int(number(self, "warmup_iters")))
        except UserError as error:
            return Answer(False, str(error))
        return Answer(True, f"p50 {timing.p50_ms:.1f} ms, p99 {timing.p99_ms:.1f} ms.")

    async def _serve_later(self, name: str, request: Any, response: Any) -> Any:
        before = self.session
        try:
            refusal = self._in_episode() if name == "reload" else ""
            answer = Answer(False, refusal) if refusal else await getattr(self, f"_{name}")()
        except UserError as error:
            answer = Answer(False, f"kept {before.policy.version[:12]}: {error}")
        response.success, response.message = answer.ok, answer.sentence
        self.get_logger().info(f"{name}: {answer.sentence}")
        return response

    def _in_episode(self) -> str:
        """Why the policy may not change now."""
        if self.session.phase in ("running", "stale"):
            return "an episode is running; stop the policy, then reload."
        return f"episode {self._episode.id} is running; reload when it has ended." if self._episode.runs else ""

    async def _prepare(self) -> Answer:
        ready = await self._next.get()
        version = ready.session.policy.version[:12]
        return Answer(
            True, f"policy {version} was loaded in {ready.took_s:.2f} s; policy/reload takes it between episodes."
        )

    async def _reload(self) -> Answer:
        """Take the checkpoint again; what is there stays when the new one cannot be taken."""
        before = self.session
        ready = await self._next.get()
        refusal = self._in_episode() or (
            "the node was configured anew meanwhile." if self.session is not before else ""
        )
        if refusal:  # an episode began meanwhile: what is loaded is kept for the next time
            return Answer(False, refusal)
        began = time.perf_counter()
        self._next.taken()
        with self._lock:
            ready.session.succeed(before)
            self._driving = ready.session
        self._reports.pace(ready.session.period_ns)
        self._reports.version(ready.session)
        took_ms = 1e3 * (time.perf_counter() - began)
        return Answer(True, f"policy {ready.session.policy.version[:12]} is loaded; the swap took {took_ms:.1f} ms.")

    # outputs

    def _now(self) -> int:
        return int(self.get_clock().now().nanoseconds)

    def _tick_in_lockstep(self) -> None:
        now_ns = self._inputs.meeting.due()
        if self._lockstep and self._active and self.session.phase in ("running", "stale") and now_ns is not None:
            self._inputs.meeting.done(now_ns)
            self._tick_at(now_ns)

    def _tick(self) -> None:
        self._tick_at(self._now())

    def _tick_at(self, now_ns: int) -> None:
        with self._lock:
            target, step = self.session.tick(now_ns), self.session.last_step
        if target is None or step is None:
            return
        self._reports.step(step)
        self._inputs.meeting.asked(target.stamp_ns)
        self._reports.target(target)

    def _publish_diagnostics(self) -> None:
        self._inputs.meeting.give_up_waiting()
        self._tick_in_lockstep()
        self._reports.diagnostics(self.session)

    def leave(self) -> None:
        """The policy stops first; the supervisor holds."""
        self._active = False
        self._end_threads()
        if self._driving is not None:
            self.session.stop("the node is leaving")

    def has_left(self) -> bool:
        return True


def main() -> int:
    """Entry point of the executable."""
    return run(PolicyNode)


if __name__ == "__main__":
    raise SystemExit(main())
