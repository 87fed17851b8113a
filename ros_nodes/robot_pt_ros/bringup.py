"""Which lifecycle change comes next: a pure state machine with the clock passed in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

Action = Literal["configure", "activate", "deactivate", "cleanup"]


class Step(NamedTuple):
    """One change of state to ask for."""

    node: str
    action: Action


class Bringup:
    """Up: every node is configured in order, then every node is activated in order; only then may anything move. Down: the reverse.

    A refused or late change ends in going down and a sentence in `problem`; a node whose heartbeat stops does too. `refused_by`: the node
    that refused, and knows why.
    """

    def __init__(self, nodes: Sequence[str], start_timeout_s: float, bond_timeout_s: float, now_s: float):
        self.nodes = list(nodes)
        self.problem = self.refused_by = ""
        self._todo = [Step(n, "configure") for n in nodes] + [Step(n, "activate") for n in nodes]
        self._reached: dict[str, Action] = {}
        self._start_timeout_s, self._bond_timeout_s = start_timeout_s, bond_timeout_s
        self._since_s = now_s
        self._heard: dict[str, float] = {}
        self.going_down = False

    def next(self) -> Step | None:
        """What to ask for now; None when there is nothing left."""
        return self._todo[0] if self._todo else None

    def done(self, ok: bool, now_s: float) -> None:
        """The change asked for was made, or refused."""
        step = self._todo.pop(0)
        self._since_s = now_s
        if ok:
            self._reached[step.node] = step.action
        elif not self.going_down:
            self.refused_by = step.node
            self.fail(f"{step.node} could not {step.action}", now_s)

    def heard(self, node: str, now_s: float) -> None:
        """A heartbeat."""
        self._heard[node] = now_s

    def watch(self, now_s: float) -> None:
        """Notice what is late or silent."""
        if self.going_down:
            return
        if self._todo and now_s - self._since_s > self._start_timeout_s:
            step = self._todo[0]
            self.fail(
                f"{step.node} did not {step.action} within {self._start_timeout_s:g} s; is its process there?", now_s
            )
        for node in self._reached:
            if now_s - self._heard.get(node, now_s) > self._bond_timeout_s and not self.going_down:
                self._reached.pop(node)
                self.fail(f"{node} has been silent for {self._bond_timeout_s:g} s; its process died or hangs.", now_s)
                return

    def fail(self, problem: str, now_s: float) -> None:
        """Go down because of this."""
        self.problem = self.problem or problem
        self.take_down(now_s)

    def take_down(self, now_s: float) -> None:
        """Deactivate and clean up what came up, last first."""
        if self.going_down:
            return
        self.going_down, self._since_s = True, now_s
        up = [n for n in reversed(self.nodes) if n in self._reached]
        active = [n for n in up if self._reached[n] == "activate"]
        self._todo = [Step(n, "deactivate") for n in active] + [Step(n, "cleanup") for n in up]

    @property
    def is_up(self) -> bool:
        """Every node is active."""
        return not self.going_down and not self._todo

    @property
    def is_down(self) -> bool:
        return self.going_down and not self._todo
