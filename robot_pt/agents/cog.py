"""COG (arXiv 2010.14500): CQL on prior data of anything, without rewards, and data of the task together, from the first update.

Dynamic programming chains them: a prior episode that ends where the task's episodes begin gets its value from there. The agent is
CQL; what makes it COG is the data: `joint` gives every prior step reward 0 and no end, whatever it was recorded for, and mixes by the
number of steps, as one buffer of both would. In PTR's comparison it is "joint training". Settings: avisingh599/cog examples/cog.py.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from torch import Tensor

from robot_pt.agents.conservative import Sampled
from robot_pt.agents.conservative_agent import ConservativeAgent, ConservativeConfig
from robot_pt.errors import DataError, UserError
from robot_pt.rewards import RewardLabel
from robot_pt.schema import FAILURE
from robot_pt.sources import EpisodeSource, EpisodeView

REWARD = RewardLabel(final_steps=1, scale=1.0, shift=0.0)
"""1 at the success, which ends the return, and 0 before; discount 0.99. The authors' script can also make them 10 and 4."""


@final
class COG(ConservativeAgent):
    """Implements `robot_pt.agents.Agent`."""

    @classmethod
    def defaults(cls) -> COGConfig:
        return COGConfig()

    def calibrate(self, q: Sampled, return_B: Tensor) -> Sampled:
        """Nothing to calibrate by: a prior episode's own return says nothing of the task."""
        return q


@final
@dataclass(frozen=True, kw_only=True)
class COGConfig(ConservativeConfig):
    """Defaults: the released script's, but for networks, which are this library's."""

    weight: float = 1.0
    target_gap: float | None = None
    actions: int = 1
    backup: Literal["max", "plain"] = "plain"
    bc_warm_start_steps: int = 10_000
    critic_hidden: tuple[int, ...] = (256, 256, 256)
    actor_hidden: tuple[int, ...] = (256, 256, 256)
    scaled_log_std: bool = False


def joint(
    prior: EpisodeSource, task: EpisodeSource, *, task_share: float | None = None
) -> tuple[list[EpisodeSource], list[float]]:
    """(sources, ratios) for `robot_pt.replay.Replay`: `prior` without rewards, and `task`.

    task_share: of each batch; None = its share of all steps. PTR's joint training takes 0.1. Raises DataError where one of
    the two has no step, UserError for a share outside (0, 1).
    """
    steps = [source.episodes.steps for source in (prior, task)]
    if not all(steps):
        raise DataError(f"joint training needs prior and task data; there are {steps[0]} and {steps[1]} steps.")
    share = steps[1] / sum(steps) if task_share is None else task_share
    if not 0 < share < 1:
        raise UserError(f"the task data's share of a batch is {share}; give a number between 0 and 1.")
    return [unrewarded(prior), task], [1 - share, share]


def unrewarded(source: EpisodeSource) -> EpisodeView:
    """The same steps as if nothing in them had been wanted: reward 0, no success, no end."""
    failed = np.full(len(source.episodes), FAILURE, np.int8)
    view = EpisodeView(source, dataclasses.replace(source.episodes, success=failed))
    view.rewards, view.terminated = np.zeros_like(source.rewards), np.zeros_like(source.terminated)
    return view
