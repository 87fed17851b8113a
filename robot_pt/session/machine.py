"""Session: the policy side of acting, as a state machine whose clock is passed in. Neither torch nor ROS is needed.

idle -warm_up-> ready -start-> running -stop-> stopped -start-> running ...
running <-> stale      a source is too old: nothing is asked for; fresh again within max_stale_s it goes on by itself
stale -> stopped       it did not come back in time; a new start is needed
any -> failed          the policy gave NaN or broke; `recover` and another warm-up are needed
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike

from robot_pt.commands import Answer, ArmState, Float64, JointCommand, PoseTarget
from robot_pt.errors import MismatchError, UserError
from robot_pt.schema import Float, Image, Observation, Spec, window_of
from robot_pt.session import readiness
from robot_pt.session.anchor import CommandedTarget
from robot_pt.session.chunks import ChunkPlayer, checked_chunk
from robot_pt.session.monitor import StepInfo, TickMonitor
from robot_pt.session.readiness import StepLimits, WarmUp
from robot_pt.session.rings import FUTURE_NS
from robot_pt.session.sensing import Sensed, Senses
from robot_pt.session.settings import SessionSettings
from robot_pt.targets import moved

Phase = Literal["idle", "warming up", "ready", "running", "stale", "stopped", "failed"]


class DrivingPolicy(Protocol):
    """What a session asks of a policy; `robot_pt.policy.Policy` is one."""

    @property
    def spec(self) -> Spec: ...
    @property
    def version(self) -> str: ...
    def reset(self, task: str | None, instruction: str | None = None) -> None: ...
    def act(self, history: Sequence[Observation]) -> Float: ...


class Kinematics(Protocol):
    """What a session asks of an arm; `robot_pt.robots.load` gives one. It is used from the thread that ticks alone."""

    @property
    def joint_names(self) -> Sequence[str]: ...
    def fk(self, q: Float64) -> Float64: ...


class InferenceRequest(NamedTuple):
    """Work for the thread that infers: `policy.act(history)`, then `deliver` or `inference_failed`."""

    history: tuple[Observation, ...]
    observation_ns: int
    requested_ns: int


class Session:
    """Observations in, absolute pose targets out, one per control period.

    `observe_image`, `observe_arm`, `executed`, `applied` and `diagnostics` may be called from another thread than the rest; everything
    else, `deliver` too, from one thread at a time. What the targets build on is the rule of `CommandedTarget`.

    Attributes:
        phase, reason: where it stands, and why where that is no good news.
        last_step: the `StepInfo` of the target that the last `tick` returned, None where it returned none.
        notes: sentences for the operator that are no error.
    """

    def __init__(
        self,
        policy: DrivingPolicy,
        robot: Spec,
        arm: Kinematics,
        *,
        task: str | None = None,
        instruction: str | None = None,
        settings: SessionSettings | None = None,
        limits: StepLimits | None = None,
        clock_ns: Callable[[], int] = time.perf_counter_ns,
    ):
        """
        Args:
            robot: what the robot offers: cameras by role with the size they deliver, embodiment, control rate.
            task, instruction: what to do unless `start` says otherwise.
            limits: what the gate allows in one step, to compare with what the policy was trained on.
            clock_ns: measures how long inference takes, nothing else.
        Raises:
            MismatchError: policy and robot do not fit, the policy's actions are not metric, or the limits would clip more than
                1 % of its training actions.
            UserError: an unknown task, or settings for a camera that is not there.
        """
        readiness.require_drivable(policy.spec, robot)
        self.settings = settings or SessionSettings()
        record = getattr(policy, "record", None)
        note = readiness.clipping(record, limits) if limits is not None and record is not None else ""
        self.notes = [note] if note else []
        self.phase: Phase = "idle"
        self.reason = ""
        self.last_step: StepInfo | None = None
        self.policy, self.robot, self._goal = policy, robot, (task, instruction)
        policy.reset(task, instruction)
        self.period_ns = round(1e9 / robot.control_hz)
        self.monitor = TickMonitor(self.period_ns)
        self._clock_ns = clock_ns
        cameras = {role: robot.cameras[role] for role in policy.spec.cameras}
        self._senses = Senses(cameras, arm.joint_names, arm.fk, self.settings)
        self._player = ChunkPlayer(self.period_ns, self.settings.chunk_execute_steps)
        silent_ns = self.settings.max_executed_age_s
        self._commanded = CommandedTarget(
            period_ns=self.period_ns,
            lag_ns=round(self.settings.executed_lag_s * 1e9),
            max_age_ns=round(silent_ns * 1e9) if silent_ns else 5 * self.period_ns // 2,
            same_m=self.settings.same_m,
            same_rad=self.settings.same_rad,
            lockstep=self.settings.lockstep,
        )
        self._seen_back = max(self.settings.history, window_of(policy))
        self._history: deque[Observation] = deque(maxlen=self._seen_back)
        self._offered: InferenceRequest | None = None
        self._pending: InferenceRequest | None = None
        self._last_tick: int | None = None
        self._stale_since = 0
        self._stamp = 0

    def succeed(self, before: Session) -> None:
        """Go on in the place of `before`, which does not run, with what it has sensed and heard of the gate.

        Raises MismatchError where this policy looks at other cameras or acts at another rate: the loop around it stays as it is.
        """
        assert before.phase not in ("running", "stale"), "a policy is replaced between episodes only"
        for name, mine, its in (
            ("cameras", self.policy.spec.cameras.keys(), before.policy.spec.cameras.keys()),
            ("control rate [Hz]", self.robot.control_hz, before.robot.control_hz),
            ("frames [px]", dict(self.robot.cameras), dict(before.robot.cameras)),
        ):
            if mine != its:
                raise MismatchError(
                    f"the new policy has {name} {mine}, the one before {its}; start the node anew for it."
                )
        self._senses, self._commanded, self._stamp = before._senses, before._commanded, before._stamp

    def observe_image(self, camera: str, stamp_ns: int, frame: Image, now_ns: int | None = None) -> bool:
        """Take one RGB frame (H, W, 3) uint8 with its capture time; False where it is refused, counted in `diagnostics`.

        Zero, repeated, backward and future stamps are refused, as are frames of another size than announced. Without `now_ns`
        the future is told from the present, and a clock that was set back noticed, at the next tick only.
        """
        return self._senses.image(camera, stamp_ns, frame, now_ns)

    def observe_arm(self, state: ArmState, now_ns: int | None = None) -> bool:
        """Take one reading of joints and gripper; refused as images are, and where it holds NaN or Inf."""
        return self._senses.arm(state, now_ns)

    def clock_set_back(self) -> None:
        """The clock of all stamps was set back, and whoever calls knows it before a tick could: older stamps may come now.

        A running episode goes on with the next observation, from where the arm is held.
        """
        self._senses.clear()
        self._clock_back()
        self._forget()
        self._last_tick = None

    def executed(self, command: JointCommand) -> bool:
        """Take what the gate sent, whoever asked for it; False where it is not newer than the last."""
        return self._commanded.executed(command)

    def applied(self, target: PoseTarget) -> bool:
        """Take what the gate made of a target, under that target's stamp; False where it is not the last one's."""
        return self._commanded.applied(target)

    def warm_up(self, runs: int = 10) -> WarmUp:
        """Infer on grey frames and measure; the session is then ready.

        Raises UserError, with the phase failed, where the policy's weights give no finite actions or it is too slow for the
        control rate; or where it is running, with the phase unchanged.
        """
        if self.phase in ("running", "stale"):
            raise UserError("the policy is running; stop it before the next warm-up.")
        if runs < 1:
            raise UserError(f"warmup_iters is {runs}; give at least 1.")
        self.phase, self.reason = "warming up", ""
        settings = self.settings
        try:
            timing = readiness.measure(self.policy.act, self.robot, self._seen_back, runs, self._clock_ns)
        except (UserError, RuntimeError) as error:
            self.fail(str(error))
            raise UserError(self.reason) from error
        slow = readiness.too_slow(
            timing, self.period_ns, asynchronous=settings.inference_mode == "async", play=settings.chunk_execute_steps
        )
        if slow:
            self.fail(slow)
            raise UserError(slow)
        self.phase = "ready"
        return timing

    def check_fresh(self, now_ns: int) -> Answer:
        """Whether every source has a fresh sample: what activation waits for."""
        complaint = self._senses.complaint(now_ns)
        return (
            Answer(False, f"{complaint}; check that source.") if complaint else Answer(True, "every source is fresh.")
        )

    def start(self, now_ns: int, task: str | None = None, instruction: str | None = None) -> Answer:
        """Begin an episode, from where the gate holds the arm or else from where it stands."""
        if self.phase not in ("ready", "stopped"):
            first = {"idle": "warm it up first", "failed": f"recover first ({self.reason})"}
            return Answer(False, f"the policy is {self.phase}; {first.get(self.phase, 'stop it first')}.")
        if now_ns + FUTURE_NS < self._stamp:
            self._clock_back()
        complaint = self._senses.complaint(now_ns)
        if complaint:
            return Answer(False, f"{complaint}; the policy starts when every source is fresh.")
        goal = (task, instruction) if task is not None else (self._goal[0], instruction or self._goal[1])
        try:
            self.policy.reset(*goal)
        except UserError as error:
            return Answer(False, str(error))
        self._goal = goal
        self._forget()
        self.phase, self.reason, self._last_tick = "running", "", None
        return Answer(True, f"the policy runs: {goal[1] or goal[0] or 'its only task'}.")

    def stop(self, reason: str = "stopped on request") -> Answer:
        """End the episode; the next tick asks for nothing and the gate holds."""
        if self.phase not in ("running", "stale"):
            return Answer(True, f"the policy was not running ({self.phase}).")
        self.phase, self.reason = "stopped", reason
        self._forget()
        return Answer(True, reason)

    def fail(self, reason: str) -> None:
        """Something broke that a retry does not mend: nothing is published until `recover` and a warm-up."""
        self.phase, self.reason = "failed", reason
        self._forget()

    def recover(self) -> Answer:
        """Leave the phase failed; the next step is a warm-up."""
        if self.phase != "failed":
            return Answer(False, f"nothing has failed; the policy is {self.phase}.")
        self.phase, self.reason = "idle", ""
        return Answer(True, "warm up, then start.")

    def tick(self, now_ns: int) -> PoseTarget | None:
        """Once per control period: the next target, or None where nothing may be asked for (see `phase` and `reason`)."""
        self.last_step = None
        if self.phase not in ("running", "stale"):
            return None
        interval_ms = self._interval(now_ns)
        if interval_ms is None:
            return None
        sensed = self._senses.look(now_ns)
        if isinstance(sensed, str):
            self._go_stale(sensed, now_ns)
            return None
        self.phase, self.reason = "running", ""
        self._history.append(sensed.observation)
        self._think(sensed, now_ns)
        taken = self._player.take(now_ns) if self.phase == "running" else None
        if taken is None:
            self.monitor.counts["held"] += 1
            return None
        return self._publish(taken, sensed, now_ns, interval_ms)

    def inference_due(self) -> InferenceRequest | None:
        """Asynchronous inference: what to infer next, once; None while the last request is not answered."""
        offered, self._offered = self._offered, None
        return offered

    def deliver(self, chunk: ArrayLike, observation_ns: int, now_ns: int) -> bool:
        """Take the chunk (H, 7) inferred for the request with that `observation_ns`; False where nobody waits for it.

        Its first action belongs to the tick that asked, so on time at the next tick it has lost ceil(latency / period) actions.
        """
        pending = self._pending
        if pending is None or pending.observation_ns != observation_ns or self.phase not in ("running", "stale"):
            self.monitor.counts["unasked_chunk"] += 1
            return False
        self._pending = None
        try:
            actions = checked_chunk(chunk)
        except UserError as error:
            self.fail(str(error))
            return False
        latency_ms = (now_ns - pending.requested_ns) / 1e6
        self.monitor.inference(latency_ms)
        self._player.load(actions, pending.requested_ns, observation_ns=observation_ns, inference_ms=latency_ms)
        self.monitor.counts["chunk_too_late"] += self._player.used_up(now_ns)
        return True

    def diagnostics(self) -> dict[str, str | float | int]:
        """Flat values for /diagnostics: phase, reason, timing, ages, and every count of what was refused or missed."""
        state: dict[str, str | float | int] = {"phase": self.phase, "reason": self.reason}
        refused = {f"refused/{what}": n for what, n in self._senses.refused().items()}
        return {**state, **self.monitor.values(), **refused, "refused/executed": self._commanded.refused}

    def describe(self) -> Mapping[str, Any]:
        """JSON state: phase, reason, task, instruction, policy version."""
        task, instruction = self._goal
        return {
            "phase": self.phase, "reason": self.reason, "task": task, "instruction": instruction,
            "policy_version": self.policy.version,
        }  # fmt: skip

    def _interval(self, now_ns: int) -> float | None:
        """Milliseconds since the last tick; None on a tick that must not count: too soon, or the clock went back."""
        last = self._last_tick
        if last is not None and 0 <= now_ns - last < self.period_ns // 2:
            self.monitor.counts["early_tick"] += 1
            return None
        self._last_tick = now_ns
        if last is None:
            return 0.0
        if now_ns < last:
            self.clock_set_back()
            self._last_tick = now_ns
            self._go_stale(f"the clock went back by {(last - now_ns) / 1e9:.3f} s", now_ns)
            return None
        self.monitor.interval((now_ns - last) / 1e6)
        return (now_ns - last) / 1e6

    def _clock_back(self) -> None:
        """What was stamped by the clock before is in the future now."""
        self.monitor.counts["clock_back"] += 1
        self._commanded.forget_executed()
        self._stamp = 0

    def _go_stale(self, reason: str, now_ns: int) -> None:
        if self.phase == "running" or now_ns < self._stale_since:
            self.monitor.counts["went_stale"] += 1
            self._stale_since = now_ns
        self.phase, self.reason = "stale", reason
        self._forget()
        if now_ns - self._stale_since > self.settings.max_stale_s * 1e9:
            self.stop(f"{reason} for more than {self.settings.max_stale_s:g} s; start again when it is back")

    def _forget(self) -> None:
        """What was decided is void: the next target starts from where the arm is held."""
        self._player.clear()
        self._history.clear()
        self._offered = self._pending = None
        self._commanded.restart()

    def _think(self, sensed: Sensed, now_ns: int) -> None:
        """Load the next chunk, or ask for it."""
        observed = sensed.observation.time_ns
        if self.settings.inference_mode == "async":
            if self._pending is None:
                self._offered = self._pending = InferenceRequest(tuple(self._history), observed, now_ns)
            elif now_ns - self._pending.requested_ns > self.settings.max_stale_s * 1e9:
                self.stop(
                    f"inference has not answered for {self.settings.max_stale_s:g} s; look at the policy's process"
                )
            return
        if not self._player.used_up(now_ns):
            return
        start = self._clock_ns()
        try:
            chunk = checked_chunk(self.policy.act(list(self._history)))
        except (UserError, RuntimeError) as error:
            self.fail(str(error))
            return
        inference_ms = (self._clock_ns() - start) / 1e6
        self.monitor.inference(inference_ms)
        self._player.load(chunk, now_ns, observation_ns=observed, inference_ms=inference_ms)

    def _publish(self, taken: tuple[int, Float], sensed: Sensed, now_ns: int, interval_ms: float) -> PoseTarget:
        index, action = taken
        anchor, origin = self._commanded.anchor(sensed.T_base_tool, now_ns)
        self._stamp = max(now_ns, self._stamp + 1)
        observed = sensed.observation.time_ns
        gripper = float(np.clip(action[6], 0.0, 1.0))
        target = PoseTarget(self._stamp, moved(anchor, action), gripper, observed)
        self._commanded.advance(anchor, target)
        self.monitor.ages(sensed.ages_s)
        self.last_step = StepInfo(
            stamp_ns=self._stamp,
            observation_ns=observed,
            decided_ns=self._player.observation_ns,
            stamps_ns=sensed.stamps_ns,
            ages_s=sensed.ages_s,
            action=action,
            inference_ms=self._player.inference_ms,
            chunk_index=index,
            tick_interval_ms=interval_ms,
            anchor=origin,
            policy_version=self.policy.version,
            rest=self._player.rest,
        )
        return target
