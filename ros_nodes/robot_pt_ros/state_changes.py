"""One lifecycle change of one node, asked for until its outcome is certain."""

from __future__ import annotations

from typing import Any, Protocol

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState

from robot_pt_ros.bringup import Step

LOST_BEATS = 5
"""Heartbeats of a node, 0.2 s apart, that answers nothing meanwhile: what it was asked has not reached it."""


class Service(Protocol):
    """What is used of an rclpy client."""

    def call_async(self, request: Any) -> Any: ...


class StateChange:
    """Asks at once, and again where the request was lost.

    DDS shows a process that was killed until its lease ends, and a request may go to that one alone. A node beats and changes its
    state in one thread: while it is at work it does not beat, and when it is done its answer comes before its next beat. So beats
    without an answer mean that request or answer was lost; the node's own state tells which.
    """

    def __init__(self, step: Step, change: Service, state: Service):
        self.step = step
        self._change, self._state = change, state
        self._asked: list[Any] = []
        self._looked: Any = None
        self._beats = 0
        self._ask()

    def _ask(self) -> None:
        request = ChangeState.Request(transition=Transition(id=_TRANSITIONS[self.step.action]))
        self._asked.append(self._change.call_async(request))
        self._looked, self._beats = None, 0

    def beat(self) -> None:
        """A heartbeat of the node came."""
        self._beats += 1

    def outcome(self) -> bool | None:
        """Whether it was made; None while that is open."""
        answers = [future for future in self._asked if future.done()]
        if answers:
            return any(future.exception() is None and bool(future.result().success) for future in answers)
        if self._looked is not None and self._looked.done() and self._looked.exception() is None:
            if self._looked.result().current_state.id == _GOALS[self.step.action]:
                return True
            self._ask()
        elif self._beats >= LOST_BEATS:
            self._looked, self._beats = self._state.call_async(GetState.Request()), 0
        return None


_TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
    "cleanup": Transition.TRANSITION_CLEANUP,
}
_GOALS = {
    "configure": State.PRIMARY_STATE_INACTIVE,
    "activate": State.PRIMARY_STATE_ACTIVE,
    "deactivate": State.PRIMARY_STATE_INACTIVE,
    "cleanup": State.PRIMARY_STATE_UNCONFIGURED,
}
