"""The policy that serves, as an actor sees it: loaded when the pointer moves, swapped between episodes only."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from robot_pt.errors import DataError, UserError
from robot_pt.online.serving import Serving, read_serving
from robot_pt.policy import Policy
from robot_pt.schema import Float, Observation, Spec


class ServedPolicy:
    """Follows RUN/serving.json. `trouble` says why a newer version was not taken; the one before goes on then."""

    def __init__(self, run: Path, spec: Spec, *, device: str = "cpu"):
        self._run, self._spec, self._device = run, spec, device
        self.policy: Policy | None = None
        self.serving: Serving | None = None
        self.trouble, self.swap_s = "", 0.0

    def follow(self) -> Policy | None:
        """Take the version that serves now; call it between episodes. None while nothing was ever served."""
        try:
            newest = read_serving(self._run)
            if newest is not None and (self.serving is None or newest.version != self.serving.version):
                began = time.monotonic()
                self.policy = Policy.load(newest.path(self._run), self._spec, device=self._device)
                self.serving, self.swap_s = newest, time.monotonic() - began
            self.trouble = ""
        except DataError as error:  # pruned or swapped in the same moment: the next look sees the next one
            self.trouble = str(error)
        return self.policy


class Exploring:
    """A policy as a rollout asks for one: the mode, or drawn actions, the same for the same episode seed.

    Args:
        std: None draws from the learned distribution; 0 acts by its mode; above 0 adds that much noise, in half ranges.
        on_act: called before every action; may raise to give the episode up.
    """

    def __init__(self, policy: Policy, seed: int, *, std: float | None, on_act: Callable[[], None]):
        if std is not None and not 0 <= std <= 1:
            raise UserError(f"exploration noise is {std}; give 0 to 1, in half ranges of each action number.")
        self._policy, self._std, self._on_act = policy, std, on_act
        self._rng = np.random.default_rng([seed, 7])

    @property
    def version(self) -> str:
        return self._policy.version

    @property
    def window(self) -> int:
        """Observations that the policy looks at."""
        return self._policy.window

    @property
    def hears(self) -> bool:
        return self._policy.hears

    def reset(self, task: str | None, instruction: str | None = None) -> None:
        self._policy.reset(task, instruction)

    def act(self, history: Sequence[Observation]) -> Float:
        self._on_act()
        return self._policy.act(history) if self._std == 0 else self._policy.explore(history, self._rng, self._std)
