"""The state machine of managed nodes: states, transitions and their numbers are those of rcl_lifecycle's default one.

Facts: design.ros2.org/articles/node_lifecycle.html and lifecycle_msgs' State and Transition messages.
"""

from __future__ import annotations

from typing import NamedTuple

from rclpy._rclpy_pybind11 import RCLError

STATES = {
    0: "unknown",
    1: "unconfigured",
    2: "inactive",
    3: "active",
    4: "finalized",
    10: "configuring",
    11: "cleaningup",
    12: "shuttingdown",
    13: "activating",
    14: "deactivating",
    15: "errorprocessing",
}


class Transition(NamedTuple):
    """A directed edge; several share a label."""

    number: int
    label: str
    start: int
    goal: int


def _step(first: int, label: str, start: int, through: int, results: int, goals: tuple[int, int]) -> list[Transition]:
    """The way into a transition state and its three ways out: success, failure, error."""
    success, failure = goals
    return [
        Transition(first, label, start, through),
        Transition(results, "transition_success", through, success),
        Transition(results + 1, "transition_failure", through, failure),
        Transition(results + 2, "transition_error", through, 15),
    ]


_SHUTDOWN = _step(5, "shutdown", 1, 12, 50, (4, 4))
TRANSITIONS = [
    *_step(1, "configure", 1, 10, 10, (2, 1)),
    *_step(2, "cleanup", 2, 11, 20, (1, 2)),
    *_step(3, "activate", 2, 13, 30, (3, 2)),
    *_step(4, "deactivate", 3, 14, 40, (2, 3)),
    _SHUTDOWN[0],
    Transition(6, "shutdown", 2, 12),
    Transition(7, "shutdown", 3, 12),
    *_SHUTDOWN[1:],
    Transition(60, "transition_success", 15, 1),
    Transition(61, "transition_failure", 15, 4),
    Transition(62, "transition_error", 15, 4),
]


class StateMachine:
    """Where a node is. Raises RCLError on transitions that do not start there."""

    def __init__(self) -> None:
        self.state = 1

    @property
    def label(self) -> str:
        return STATES[self.state]

    def available(self) -> list[Transition]:
        """What may start here."""
        return [transition for transition in TRANSITIONS if transition.start == self.state]

    def by_number(self, number: int) -> Transition:
        return self._only([t for t in self.available() if t.number == number], str(number))

    def by_label(self, label: str) -> Transition:
        return self._only([t for t in self.available() if t.label == label], repr(label))

    def _only(self, found: list[Transition], wanted: str) -> Transition:
        if not found:
            possible = ", ".join(f"{t.label} ({t.number})" for t in self.available()) or "none"
            raise RCLError(f"Transition {wanted} is not possible in state {self.label}; possible are: {possible}.")
        return found[0]

    def go(self, transition: Transition) -> None:
        assert transition.start == self.state
        self.state = transition.goal
