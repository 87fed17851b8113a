"""Gate: the only thing that can move the arm. Inputs as they come, one decision per tick, no clock of its own.

>>> gate = Gate(arm, GateLimits.for_robot(arm))
>>> gate.on_state(now_ns, ArmState(stamp_ns, q, 1.0))
>>> gate.request(now_ns, "arm").message
>>> gate.on_target(now_ns, "policy", PoseTarget(stamp_ns, T_base_tool, 1.0, observation_ns))
>>> output = gate.tick(now_ns)  # output.command is what the arm is sent

Two clocks: `now_ns` is monotonic and drives every watchdog; `clock_ns`, given to `tick`, is the one that stamps are made with (ROS
time) and serves only their ages. In simulation both are simulated time, and `clock_ns` is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple, final

import numpy as np

from robot_pt.commands import ArmState, Float64, JointCommand, PoseTarget, Source
from robot_pt.gate.clocks import ClockEvent, Clocks
from robot_pt.gate.inbox import Arrived, TargetInbox, faults_of
from robot_pt.gate.kinematics import Manipulator
from robot_pt.gate.limits import GateLimits
from robot_pt.gate.modes import Conditions, Mode, Modes, Reply
from robot_pt.gate.motion import UNCLIPPED, Motion, Pace, Sent, ramp
from robot_pt.gate.reasons import PASSING, Reason
from robot_pt.gate.senses import Senses
from robot_pt.gate.watchdogs import NS, JitterMonitor, Watchdog

MOVING = (Mode.POLICY, Mode.TELEOP)
COUNTED_ON_ARRIVAL: frozenset[Reason] = frozenset(("malformed", "half_pair", "superseded", "tick_late"))


class GateOutput(NamedTuple):
    """One tick's decision."""

    mode: Mode
    command: JointCommand | None
    """For the arm; None while disarmed, and in lock-step on ticks without a decision."""
    requested: PoseTarget | None
    """The target looked at in this tick, if any."""
    clipped: Float64
    """(7,) requested minus applied: x y z [m], roll pitch yaw [rad], gripper; 0 where nothing was requested."""
    reasons: tuple[Reason, ...]
    changed: bool
    """Mode or reasons differ from the tick before."""
    applied: PoseTarget | None = None
    """What `requested` became after every limit of a pose, or where the arm is held; with the stamps of `requested`."""


class Decision(NamedTuple):
    """A target of the source in control, and whether it became the goal."""

    requested: PoseTarget
    accepted: bool


@final
class Gate:
    """Modes, checks and watchdogs around `Motion`. Not thread-safe: one thread, or a lock around every call.

    No input raises: what cannot be read is counted, and three in a row are a fault.
    """

    def __init__(self, arm: Manipulator, limits: GateLimits, *, latches: str = ""):
        """`latches` is what `state_to_json` gave before a restart. Raises UserError where limits and arm do not fit."""
        limits.check_arm(arm)
        self.limits, self.counts = limits, Counter[Reason]()
        self._arm, self._motion, self._modes = arm, Motion(arm, limits), Modes()
        self._senses = Senses(arm, limits, self.counts)
        pair_ns = round(limits.pair_timeout_s * NS)
        self._inboxes: dict[Source, TargetInbox] = {
            "policy": TargetInbox("policy", pair_ns, self.counts),
            "teleop": TargetInbox("teleop", pair_ns, self.counts),
        }
        self._accepted_stamp: dict[Source, int] = {}
        self._policy_alive = Watchdog(round(limits.timeout_s * NS))
        self._jitter = JitterMonitor(limits.jitter_warn_s * NS, limits.jitter_fault_s * NS)
        self._clocks = Clocks()
        self._tick_ns: int | None = None
        self._command_stamp_ns = self._moving_since_ns = self._arrive_ns = self._accepted_ns = 0
        self._started: Source | None = None
        self._mode, self._holds = Mode.DISARMED, list[Reason]()
        self._noted: list[Reason] = []
        self._jitter_read_ns, self._jitter_ms = 0, dict[str, float]()
        if latches:
            self._modes.latch_from_json(latches)
            self._mode = self._modes.mode(may_teleop=False, may_policy=False)

    # inputs: anything may arrive, at any time

    def on_state(self, now_ns: int, state: ArmState) -> None:
        """Measured joints, in the order of `arm.joint_names`."""
        now_ns = self._time(now_ns)
        self._senses.state(now_ns, self._clocks.stamp_ns, state)

    def on_joint_state(
        self, now_ns: int, stamp_ns: int, names: Sequence[str], positions: Sequence[float],
        effort: Sequence[float] = (), *, gripper: float,
    ) -> None:  # fmt: skip
        """Measured joints as a driver sends them: names in any order, other joints among them, effort perhaps empty."""
        now_ns = self._time(now_ns)
        self._senses.joint_state(now_ns, self._clocks.stamp_ns, stamp_ns, names, positions, effort, gripper)

    def on_target(self, now_ns: int, source: Source, target: PoseTarget) -> None:
        """Both halves at once, as in one process."""
        self.on_pose(now_ns, source, target.stamp_ns, target.T_base_tool, target.observation_ns)
        self.on_gripper(now_ns, source, target.stamp_ns, target.gripper)

    def on_pose(self, now_ns: int, source: Source, stamp_ns: int, T_base_tool: object, observation_ns: int = 0) -> None:
        """The pose half of a target, (4, 4)."""
        self._inboxes[source].pose(self._time(now_ns), stamp_ns, T_base_tool, observation_ns)

    def on_gripper(
        self, now_ns: int, source: Source, stamp_ns: int, gripper: object, names: Sequence[str] = ("gripper",)
    ) -> None:
        """The gripper half of a target: the opening of a trajectory's one point, with the trajectory's joint names."""
        self._inboxes[source].opening(self._time(now_ns), stamp_ns, gripper, names)

    def on_malformed(self, now_ns: int, source: Source) -> None:
        """A target of this source could not even be unpacked: no point, two points, a frame that is not the base."""
        self._time(now_ns)
        self._inboxes[source].reject()

    def on_deadman(self, now_ns: int, pressed: bool) -> None:
        """A heartbeat of the hold-to-run switch."""
        self._senses.deadman.heartbeat(self._time(now_ns), pressed)

    def on_estop(self, now_ns: int, stop: bool = True) -> None:
        """True trips and latches; False says that whoever may stop it is there (`require_estop_heartbeat`), and nothing else."""
        self._senses.estop.feed(self._time(now_ns))
        if not (isinstance(stop, bool | np.bool_) and not stop):
            self._modes.trip_estop()

    def on_frame(self, now_ns: int, camera: str, stamp_ns: int, digest: Hashable) -> None:
        """A camera's frame was seen, with a digest of its pixels. Cameras that are not in the limits are ignored."""
        now_ns = self._time(now_ns)
        self._senses.frame(now_ns, self._clocks.stamp_ns, camera, stamp_ns, digest)

    def on_second_publisher(self, now_ns: int, topic: str) -> None:
        """Two publish where one must: a fault."""
        self._time(now_ns)
        self._modes.trip_fault(f"more than one publisher on {topic}")

    def on_fault(self, now_ns: int, why: str) -> None:
        """Something outside found a fault: the driver's hardware error, a node that died."""
        self._time(now_ns)
        self._modes.trip_fault(why or "a fault was reported")

    def request(self, now_ns: int, name: str) -> Reply:
        """An operator's wish; refused with a sentence where its conditions are not met. UserError for an unknown name."""
        now_ns = self._time(now_ns)
        before = self._modes.armed
        reply = self._modes.request(name, self._conditions(now_ns))
        state = self._senses.arm_state
        if self._modes.armed and not before:
            assert state is not None
            self._motion.anchor(state)
        if reply.ok and name in ("start_policy", "release"):
            self._policy_alive.feed(now_ns)  # it has its timeout to send the first target
        if reply.ok and name in ("reset_fault", "start_policy", "arm"):
            for inbox in self._inboxes.values():
                inbox.clear()
                inbox.malformed_in_a_row = 0
            self._senses.malformed_in_a_row = self._motion.ik_failures = 0
        return reply

    # the decision

    def tick(self, now_ns: int, *, clock_ns: int | None = None) -> GateOutput:
        """Decide. Call it `tick_hz` times a second; in lock-step once per simulated control step or more."""
        previous_ns, self._tick_ns = self._tick_ns, self._time(now_ns, clock_ns)
        now_ns = self._tick_ns
        interval_ns = 0 if previous_ns is None else max(now_ns - previous_ns, 0)
        self._watch_ticks(previous_ns, interval_ns)
        self._watch_streaks()
        if self._modes.armed and self._senses.estop_lost(now_ns):
            self._modes.trip_estop()
            self._noted.append("estop_silent")
        events, self._noted = self._noted, []
        for inbox in self._inboxes.values():
            if inbox.sweep(now_ns):
                events.append("half_pair")
        decision = self._decide(now_ns, events)
        mode, holds = self._settle(now_ns)
        if mode is Mode.DISARMED:
            self._motion.release()
        self._move(now_ns, mode, interval_ns, events)
        return self._output(mode, decision, holds, list(dict.fromkeys(events)))

    def rehearse(self) -> None:
        """Work out what the next tick will likely send, and forget it. Nothing depends on it but how long that tick takes.

        Between two ticks a processor does other things, and what a tick needs comes from memory anew: several times the work itself.
        """
        state, tick_ns, source = self._senses.arm_state, round(NS / self.limits.tick_hz), self._started
        if source is not None and state is not None and self._tick_ns is not None:
            pace = self._pace(self._tick_ns + tick_ns, tick_ns)
            self._motion.rehearse(self._inboxes[source].waiting, pace, state)

    def _watch_ticks(self, previous_ns: int | None, interval_ns: int) -> None:
        if previous_ns is None or self.limits.lockstep:
            return
        late = self._jitter.late
        if self._jitter.add(interval_ns, round(NS / self.limits.tick_hz)) and self._modes.armed:
            self.counts["tick_late"] += 1
            self._modes.trip_fault(f"the gate was not run for {interval_ns / 1e6:.0f} ms")
        if self._jitter.late > late:
            self._noted.append("jitter")

    def _watch_streaks(self) -> None:
        """Faults by repetition."""
        limits = self.limits
        for source, inbox in self._inboxes.items():
            if inbox.malformed_in_a_row >= limits.malformed_to_fault:
                self._modes.trip_fault(f"{inbox.malformed_in_a_row} malformed messages in a row from {source}")
        if self._senses.malformed_in_a_row >= limits.malformed_to_fault:
            self._modes.trip_fault(f"{self._senses.malformed_in_a_row} malformed joint states in a row")
        if self._motion.ik_failures >= limits.ik_failures_to_fault:
            self._modes.trip_fault(f"{self._motion.ik_failures} targets in a row without inverse kinematics")

    def _decide(self, now_ns: int, events: list[Reason]) -> Decision | None:
        """Hear the source in control; an operator who moves with the deadman held takes control."""
        taken = {source: inbox.take() for source, inbox in self._inboxes.items()}
        modes, teleop = self._modes, taken["teleop"]
        if teleop is not None and modes.armed and self._senses.deadman.held(now_ns):
            modes.human = modes.human or not self._faults_of("teleop", teleop.target)
        source: Source | None = "teleop" if modes.human else "policy" if modes.policy else None
        self.counts["not_in_control"] += sum(t is not None and s != source for s, t in taken.items())
        arrived = None if source is None else taken[source]
        if source is None or arrived is None or not modes.armed:
            return None
        faults = self._faults_of(source, arrived.target)
        if faults or self._hold_reasons(now_ns):
            events += faults
            return Decision(arrived.target, False)
        self._accept(now_ns, source, arrived, events)
        return Decision(arrived.target, True)

    def _faults_of(self, source: Source, target: PoseTarget) -> list[Reason]:
        return faults_of(target, source, self._clocks.stamp_ns, self._accepted_stamp.get(source, -1), self.limits)

    def _accept(self, now_ns: int, source: Source, arrived: Arrived, events: list[Reason]) -> None:
        state = self._senses.arm_state
        assert state is not None
        period_ns, tick_ns = round(self.limits.period_s * NS), round(NS / self.limits.tick_hz)
        if self._started != source:
            self._motion.start(state, self._senses.at_rest())
            self._started, self._moving_since_ns, gap_ns = source, now_ns, period_ns
        else:
            gap_ns = min(max(now_ns - self._accepted_ns, tick_ns), period_ns)
        events += self._motion.accept(arrived.target)
        self._accepted_ns, self._arrive_ns = now_ns, now_ns + gap_ns - tick_ns  # the first part goes out now
        self._accepted_stamp[source] = arrived.target.stamp_ns
        if source == "policy":
            self._policy_alive.feed(arrived.arrived_ns)

    def _hold_reasons(self, now_ns: int) -> list[Reason]:
        """What keeps the source in control from moving, silence apart."""
        modes, senses = self._modes, self._senses
        if modes.latched or not modes.armed:
            return ["estop"] if modes.estopped else ["fault"] if modes.fault else ["disarmed"]
        reasons: list[Reason] = [] if senses.states_fresh(now_ns) else ["joint_state"]
        if not (modes.human or modes.policy):
            return reasons
        if (modes.human or self.limits.require_deadman) and not senses.deadman.held(now_ns):
            reasons.append("deadman")
        trouble = None if modes.human else senses.camera_trouble(now_ns)
        return reasons if trouble is None else [*reasons, trouble]

    def _settle(self, now_ns: int) -> tuple[Mode, list[Reason]]:
        """The mode of this tick; whatever was under way in another one ends."""
        modes, holds = self._modes, self._hold_reasons(now_ns)
        if modes.policy and not modes.human and not self._policy_alive.fresh(now_ns):
            holds.append("policy_silent")
        mode = modes.mode(may_teleop=not holds, may_policy=not holds)
        if mode != self._started:
            self._motion.stop()
            self._started = None
        return mode, holds

    def _move(self, now_ns: int, mode: Mode, interval_ns: int, events: list[Reason]) -> None:
        state = self._senses.arm_state
        if mode not in MOVING or state is None:
            return
        pace = self._pace(now_ns, interval_ns)
        if pace.dt_s <= 0:
            return
        moved = self._motion.advance(pace, state)
        events += moved
        if pace.ramp < 1 and {"cartesian_speed", "joint_speed"} & set(moved):
            events.append("ramp")

    def _pace(self, now_ns: int, interval_ns: int) -> Pace:
        limits = self.limits
        dt_s = limits.period_s if limits.lockstep else min(interval_ns / NS, 2 / limits.tick_hz)
        left_s = (self._arrive_ns - now_ns) / NS + dt_s
        return Pace(dt_s, left_s, ramp(limits, (now_ns - self._moving_since_ns) / NS))

    def _output(self, mode: Mode, decision: Decision | None, holds: list[Reason], events: list[Reason]) -> GateOutput:
        changed = mode != self._mode or holds != self._holds or bool(set(events) - PASSING)
        for reason in [r for r in holds if r not in self._holds] + [r for r in events if r not in COUNTED_ON_ARRIVAL]:
            self.counts[reason] += 1
        command = self._command(mode, decision, mode != self._mode)
        self._mode, self._holds = mode, holds
        requested = None if decision is None else decision.requested
        applied, clipped = (None, UNCLIPPED) if requested is None else self._motion.applied(requested)
        return GateOutput(mode, command, requested, clipped, (*holds, *events), changed, applied)

    def _command(self, mode: Mode, decision: Decision | None, mode_changed: bool) -> JointCommand | None:
        sent, lockstep = self._motion.sent, self.limits.lockstep
        if sent is None or (lockstep and decision is None and not mode_changed):
            return None
        state, moving = self._senses.arm_state, mode in MOVING
        if not moving and state is not None and self._motion.displaced(state):
            return None  # moved by hand or without torque: the old command would pull it back
        if lockstep and not moving and state is not None:
            sent = self._motion.held_at(state)
        stamp_ns = max(self._clocks.stamp_ns, self._command_stamp_ns + 1)
        if lockstep and decision is not None and decision.accepted:
            stamp_ns = decision.requested.stamp_ns
        self._command_stamp_ns = stamp_ns
        return JointCommand(stamp_ns, sent.q.copy(), sent.gripper, sent.T_base_tool.copy())

    # clocks and latches

    @property
    def mode(self) -> Mode:
        """As of the last tick."""
        return self._mode

    @property
    def sent(self) -> Sent | None:
        """The last command, before any is sent None: joints (J,), T_base_tool (4, 4), gripper."""
        return self._motion.sent

    def status(self) -> dict[str, Any]:
        """JSON values for the operator, as of the last tick: mode, counters, ages, latches."""
        modes, now_ns = self._modes, self._clocks.now_ns
        if now_ns - self._jitter_read_ns >= NS // 2 or not self._jitter_ms:
            self._jitter_read_ns, self._jitter_ms = now_ns, self._jitter.summary_ms()
        return {
            "mode": str(self._mode),
            "armed": modes.armed,
            "policy": modes.policy,
            "human": modes.human,
            "estop": modes.estopped,
            "fault": modes.fault,
            "counts": dict(self.counts),
            "age_s": self._senses.ages_s(now_ns) | {"policy": self._policy_alive.age_s(now_ns)},
            "tick_ms": self._jitter_ms,
            "late_ticks": self._jitter.late,
        }

    def state_to_json(self) -> str:
        """The latches, for `latches=` after a restart. Write it whenever an output says `changed`."""
        return self._modes.to_json()

    def _conditions(self, now_ns: int) -> Conditions:
        senses = self._senses
        return Conditions(
            states_fresh=senses.states_fresh(now_ns),
            speed_rad_s=senses.rest.speed_rad_s(),
            at_rest=senses.at_rest(),
            estop_heard=senses.estop_heard(now_ns),
            deadman_held=senses.deadman.held(now_ns),
            deadman_present=senses.deadman.present(now_ns),
            deadman_required=self.limits.require_deadman,
        )

    def _time(self, now_ns: int, clock_ns: int | None = None) -> int:
        """Take note of the time of a call; returns it, never earlier than the one before unless the clock was set back."""
        event = self._clocks.read(now_ns, clock_ns)
        if event is ClockEvent.SET_BACK:
            self._forget()
        elif event is ClockEvent.STAMPS_JUMPED:
            self._forget_stamps()
        return self._clocks.now_ns

    def _forget(self) -> None:
        """The watchdogs' clock was set back: everything counts as silent until it is heard again."""
        self._senses.forget()
        self._policy_alive.forget()
        self._tick_ns = None
        self._started = None
        self._motion.stop()
        self._forget_stamps()

    def _forget_stamps(self) -> None:
        """The stamps' clock jumped: sequences begin anew, and nothing stamped before is waited for."""
        for inbox in self._inboxes.values():
            inbox.clear()
        self._accepted_stamp.clear()
        self._senses.forget_stamps()
        self._command_stamp_ns = 0
        self._noted.append("clock_jump")
