"""Who moves the arm: latches, requests and their conditions. Nothing here knows of poses, joints or messages."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Literal, NamedTuple, get_args

from robot_pt.errors import UserError

Request = Literal[
    "arm", "disarm", "start_policy", "stop_policy", "takeover", "release", "reset_fault", "clear_estop"
]  # fmt: skip


class Mode(StrEnum):
    """What the gate does now. Only POLICY and TELEOP move; FAULT and ESTOP stay until they are reset."""

    DISARMED = "disarmed"
    HOLD = "hold"
    POLICY = "policy"
    TELEOP = "teleop"
    FAULT = "fault"
    ESTOP = "estop"


class Reply(NamedTuple):
    """Answer to a request: done, or one sentence why not."""

    ok: bool
    message: str


class Conditions(NamedTuple):
    """What requests are judged by."""

    states_fresh: bool
    speed_rad_s: float | None
    """Of the fastest measured joint; None = not known yet."""
    at_rest: bool
    deadman_held: bool
    deadman_present: bool
    deadman_required: bool
    estop_heard: bool = True
    """Whoever may stop the arm is there, or need not be."""


class Modes:
    """Latches (e-stop, fault), arming, and which of policy and human is in control."""

    def __init__(self) -> None:
        self.armed = self.policy = self.human = self.estopped = False
        self.fault = ""
        """Why, or empty."""

    @property
    def latched(self) -> bool:
        return self.estopped or bool(self.fault)

    def trip_estop(self) -> None:
        self.estopped = True
        self.armed = self.policy = self.human = False

    def trip_fault(self, why: str) -> None:
        """The first cause stays."""
        self.fault = self.fault or why
        self.armed = self.policy = self.human = False

    def mode(self, *, may_teleop: bool, may_policy: bool) -> Mode:
        """In order of priority."""
        if self.estopped:
            return Mode.ESTOP
        if self.fault:
            return Mode.FAULT
        if not self.armed:
            return Mode.DISARMED
        if self.human:
            return Mode.TELEOP if may_teleop else Mode.HOLD
        return Mode.POLICY if self.policy and may_policy else Mode.HOLD

    def request(self, name: str, now: Conditions) -> Reply:
        """Raises UserError for a request there is not."""
        if name not in get_args(Request):
            raise UserError(f"there is no request {name!r}; choose from {', '.join(get_args(Request))}.")
        reply: Reply = getattr(self, f"_{name}")(now)
        return reply

    def _arm(self, now: Conditions) -> Reply:
        if self.estopped:
            return Reply(False, "the software e-stop is latched; request clear_estop first.")
        if self.fault:
            return Reply(False, f"a fault is latched ({self.fault}); remove its cause and request reset_fault first.")
        if self.armed:
            return Reply(True, "already armed.")
        refusal = _estop_silent(now) or _not_at_rest(now)
        if refusal:
            return Reply(False, refusal)
        self.armed = True
        return Reply(True, "armed; holding where the arm is.")

    def _disarm(self, now: Conditions) -> Reply:
        self.armed = self.policy = self.human = False
        return Reply(True, "disarmed; nothing is sent, and torque stays on.")

    def _start_policy(self, now: Conditions) -> Reply:
        if not self.armed:
            return Reply(False, "not armed; request arm before start_policy.")
        if now.deadman_required and not now.deadman_present:
            return Reply(
                False, "no hold-to-run switch is heard; start a teleop device that sends its heartbeat, then again."
            )
        self.policy = True
        return Reply(True, "the policy is in control.")

    def _stop_policy(self, now: Conditions) -> Reply:
        self.policy = False
        return Reply(True, "the policy is stopped.")

    def _takeover(self, now: Conditions) -> Reply:
        if not self.armed:
            return Reply(False, "not armed; request arm before takeover.")
        self.human = True
        return Reply(True, "the operator is in control.")

    def _release(self, now: Conditions) -> Reply:
        self.human = False
        return Reply(True, "the policy is in control." if self.policy else "holding.")

    def _reset_fault(self, now: Conditions) -> Reply:
        if not self.fault:
            return Reply(True, "no fault is latched.")
        refusal = _deadman_held(now) or _not_at_rest(now)
        if refusal:
            return Reply(False, refusal)
        self.fault = ""
        return Reply(True, "the fault is reset; request arm to go on.")

    def _clear_estop(self, now: Conditions) -> Reply:
        if not self.estopped:
            return Reply(True, "the software e-stop is not latched.")
        if self.fault:
            return Reply(False, f"a fault is latched too ({self.fault}); request reset_fault first.")
        refusal = _deadman_held(now) or _not_at_rest(now)
        if refusal:
            return Reply(False, refusal)
        self.estopped = False
        return Reply(True, "the software e-stop is cleared; request arm to go on.")

    def to_json(self) -> str:
        """The latches alone: a restart is always disarmed."""
        return json.dumps({"estop": self.estopped, "fault": self.fault})

    def latch_from_json(self, text: str) -> None:
        """Latch what was latched. Text that cannot be read latches a fault: who knows what it said."""
        try:
            values = json.loads(text)
            estop, fault = values["estop"], values["fault"]
        except (ValueError, TypeError, KeyError, RecursionError):
            estop, fault = None, None
        if not isinstance(estop, bool) or not isinstance(fault, str):
            self.trip_fault("the record of latches could not be read")
            return
        if fault:
            self.trip_fault(fault)
        if estop:
            self.trip_estop()


def _deadman_held(now: Conditions) -> str:
    return "the deadman is held; release it first." if now.deadman_held else ""


def _estop_silent(now: Conditions) -> str:
    return (
        ""
        if now.estop_heard
        else "the e-stop's heartbeat is not heard; start what sends it on the e-stop topic, then arm."
    )


def _not_at_rest(now: Conditions) -> str:
    if not now.states_fresh:
        return "no fresh joint states; start the arm's driver, then request it again."
    if not now.at_rest:
        speed = "not known yet" if now.speed_rad_s is None else f"{now.speed_rad_s:.2f} rad/s"
        return f"the arm is not at rest (its fastest joint: {speed}); wait until it is."
    return ""
