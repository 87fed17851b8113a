"""Replay: the executed actions of a recorded episode, as a policy that looks at nothing but the time.

It goes through session and gate like any policy: every check holds, and the arm starts from where it stands, not from where the
episode began. The path is the recorded one only as far as the gate lets it pass, and only from the recorded start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

import numpy as np

from robot_pt.errors import DataError, UserError
from robot_pt.policy_record import require_metric
from robot_pt.rotations import matrix_to_rpy, rpy_to_matrix
from robot_pt.schema import Float, Observation, Spec
from robot_pt.store import DemoStore
from robot_pt.targets import checked_action

LONGEST_GAP = 2
"""Control periods that may be missed at once; after more the replay goes on where it was."""


@final
class ReplayPolicy:
    """Plays actions (T, 7) open loop, one per control period of the observations' time.

    A late call gets the missed actions together in one, so that no motion is lost to jitter; after a longer pause the replay
    goes on where it was, for the arm was held meanwhile. Past the end it asks for no motion, with the last opening.

    Attributes:
        spec: the store's, without cameras: it looks at none.
        version: "replay:STORE:EPISODE".
    """

    step = 0

    def __init__(self, actions: Float, spec: Spec, version: str, *, task: str = ""):
        """Raises MismatchError where actions are not metric, DataError where they are none or not finite."""
        require_metric(spec)
        self._actions = np.asarray(actions, np.float32)
        if self._actions.ndim != 2 or not len(self._actions) or not np.isfinite(self._actions).all():
            raise DataError(
                f"{version} has actions of shape {self._actions.shape} or NaN among them; choose another episode."
            )
        self.spec, self.version, self.task_names = replace(spec, cameras={}), version, (task,)
        self._period_ns = round(1e9 / spec.control_hz)
        self.reset(None)

    def reset(self, task: str | None, instruction: str | None = None) -> None:
        """Begin anew with the next `act`. Tasks change nothing: the episode is what it is."""
        self._played = 0
        self._last_ns: int | None = None

    @property
    def finished(self) -> bool:
        """Every action was played."""
        return self._played >= len(self._actions)

    def act(self, history: Sequence[Observation]) -> Float:
        """(1, 7) what belongs to the time of the newest observation. Raises UserError without one."""
        if not history:
            raise UserError("the replay was asked to act without an observation; give at least the newest one.")
        now_ns = history[-1].time_ns
        if self._last_ns is None:
            due = 1
        else:
            elapsed = now_ns - self._last_ns
            due = max(round(elapsed / self._period_ns), 0)
            due = 1 if due > 1 + LONGEST_GAP or elapsed < 0 else due
        if due:
            self._last_ns = now_ns
        chosen = self._actions[self._played : self._played + due]
        self._played = min(self._played + due, len(self._actions))
        opening = float(self._actions[max(self._played - 1, 0)][6])
        return _joined(chosen, opening)[None]


def load_replay(store: Path | str, episode: int | str) -> ReplayPolicy:
    """The executed actions of one episode of a DemoStore, ready to drive what it was recorded with.

    Args:
        episode: its id, or its number.
    Raises:
        DataError: no store, no such episode, or a damaged one.
        MismatchError: its actions are not metres and radians.
        UserError: they are not the canonical seven.
    """
    opened = DemoStore(store)
    name = f"{int(episode):06d}" if str(episode).isdecimal() else str(episode)
    recorded = opened.read(name)
    checked_action(recorded.actions[0])
    return ReplayPolicy(recorded.actions, opened.spec, f"replay:{opened.path}:{name}", task=recorded.task)


def _joined(actions: Float, opening: float) -> Float:
    """(7,) one action that moves as far as `actions` (N, 7) after one another."""
    total = np.zeros(7)
    turned = np.eye(3)
    for action in actions.astype(np.float64):
        total[:3] += action[:3]
        turned = rpy_to_matrix(action[3:6]) @ turned
    total[3:6] = actions[0, 3:6] if len(actions) == 1 else matrix_to_rpy(turned)
    total[6] = opening
    return np.asarray(total, np.float32)
