"""SGI: SPR, inverse dynamics and goals in one loss (arXiv 2106.04799; mila-iqia/SGI src/algos.py, src/scrl.py, src/models.py).

    L = 2 L_spr + L_inverse + L_goal

inverse  the action a_k from g(z_k), rolled forward, and g'(y_k+1), seen: squared error of the normalised action
goal     Q(z_0, goal, a_0) learns r + gamma max_a' Q'(y_1, goal, a') as a distribution (C51 on [-10, 10]), where
         r = 5 (d(y_0, goal) - d(y_1, goal)),  d(u, v) = 1 - exp(-5 |u/|u| - v/|v||^2):  getting nearer is what is rewarded
goals    latents of later frames of the clip, mixed with noise; every fifth is another clip's

L_spr is SPR's default, contrastive; `loss="cosine"` is the published one. Actions are continuous here, where SGI's are a list: the greatest Q' is sought among the data's next action and `candidates` uniform
ones, and inverse dynamics regresses. No reward of the data is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robot_pt import noise
from robot_pt.clips import ClipBatch
from robot_pt.errors import UserError
from robot_pt.networks.categorical import C51
from robot_pt.networks.ensembles import EnsembleHeads
from robot_pt.objectives.across import masked_mean
from robot_pt.objectives.negatives import other_rows
from robot_pt.objectives.spr import LatentRollout, Rolled, SPRConfig, renormalized

_GOAL, _CANDIDATE, _OTHER = 2, 3, 4  # noise streams, which the views leave free
_RANGE, _ATOMS = 10.0, 51


@final
@dataclass(frozen=True, kw_only=True)
class SGIConfig(SPRConfig):
    prediction_weight: float = 2.0
    """SGI's weights: 2, 1 and 1."""
    inverse_weight: float = 1.0
    goal_weight: float = 1.0
    gamma: float = 0.99
    """Discount of the goal-conditioned value."""
    goal_noise: float = 0.5
    """Largest share of noise in a goal."""
    goal_other: float = 0.2
    """Probability that a goal comes from another clip."""
    candidates: int = 8
    """Uniform actions among which, with the data's, the best next one is sought."""

    def __post_init__(self) -> None:
        super().__post_init__()
        weights = (self.prediction_weight, self.inverse_weight, self.goal_weight)
        if min(weights) < 0 or self.candidates < 1 or not 0 <= self.gamma < 1:
            raise UserError(
                f"SGI has weights {weights}, gamma {self.gamma} and {self.candidates} candidates; give weights from 0, a gamma in [0, 1) "
                "and at least 1 candidate."
            )
        if not (0 <= self.goal_noise <= 1 and 0 <= self.goal_other <= 1):
            raise UserError(
                f"SGI's goal_noise and goal_other are {self.goal_noise} and {self.goal_other}; give shares in [0, 1]."
            )


@final
class SGI(LatentRollout):
    """Implements `robot_pt.objectives.Objective`."""

    config: SGIConfig
    code = C51(-_RANGE, _RANGE, _ATOMS)

    @classmethod
    def defaults(cls) -> SGIConfig:
        return SGIConfig()

    @classmethod
    def parts(cls, latent: int, actions: int, config: Any) -> dict[str, nn.Module]:
        head = nn.Sequential(nn.Linear(2 * config.width, 256), nn.ReLU(), nn.Linear(256, actions))
        return {"inverse": head, "goal": EnsembleHeads(2 * latent, actions, (256, 256), 1, outputs=_ATOMS)}

    def prediction_loss(self, rolled: Rolled, batch: ClipBatch) -> tuple[Tensor, Tensor]:
        loss, accuracy = super().prediction_loss(rolled, batch)
        return self.config.prediction_weight * loss, accuracy

    def further(self, rolled: Rolled, action_BKA: Tensor, batch: ClipBatch, step: int) -> dict[str, Tensor]:
        pair = torch.cat([rolled.projected[:, :-1], rolled.target[:, 1:]], dim=-1)
        with self.stepper.precision():
            found_BKA = self.others["inverse"](pair).float()
        inverse = inverse_loss(found_BKA, action_BKA, batch.valid[:, 1:])
        goal = self.goal_loss(rolled, action_BKA, batch, step)
        weights = self.config.inverse_weight, self.config.goal_weight
        return {"objective/inverse_loss": weights[0] * inverse, "objective/goal_loss": weights[1] * goal}

    def goal_loss(self, rolled: Rolled, action_BKA: Tensor, batch: ClipBatch, step: int) -> Tensor:
        """Cross-entropy of the goal-conditioned value at the clip's first step [nats], over clips that have a second one."""
        goal_BD = self.goals(rolled.seen, batch, step)
        with self.stepper.precision():
            output = self.others["goal"](torch.cat([rolled.predicted[:, 0], goal_BD], dim=1), action_BKA[:, :1])
        target_BO = self.backup(rolled.seen, goal_BD, action_BKA, batch, step)
        return masked_mean(self.code.loss(output[:, :, 0], target_BO)[0], batch.valid[:, 1])

    @torch.no_grad()
    def backup(self, seen: Tensor, goal_BD: Tensor, action_BKA: Tensor, batch: ClipBatch, step: int) -> Tensor:
        """(B, atoms) distribution of r + gamma times the value of the best action at the second frame."""
        actions = action_BKA.shape[2]
        shape = (self.config.candidates, actions)
        uniform_BNA = 2 * noise.uniform(batch.sample_key, step, _CANDIDATE, shape, seed=self.seed) - 1
        next_BA = action_BKA[:, 1] if action_BKA.shape[1] > 1 else uniform_BNA[:, 0]
        choice_BNA = torch.cat([next_BA[:, None], uniform_BNA], dim=1)
        output = self.averages["target_goal"](torch.cat([seen[:, 1], goal_BD], dim=1), choice_BNA)
        reward_B = progress(seen[:, 0], seen[:, 1], goal_BD)
        free_BN = choice_BNA.new_zeros(choice_BNA.shape[:2])
        return self.code.backup(output, free_BN, reward_B, torch.full_like(reward_B, self.config.gamma))

    @torch.no_grad()
    def goals(self, seen: Tensor, batch: ClipBatch, step: int) -> Tensor:
        """(B, D) one goal per clip: a later frame's latent that exists, with noise, or that of another clip."""
        count_B = (
            batch.valid[:, 1:].sum(1).clamp(min=1)
        )  # frames after the first come first and are followed by those that do not exist
        draw_B3 = noise.uniform(batch.sample_key, step, _GOAL, (3,), seed=self.seed)
        which_B = 1 + (draw_B3[:, 0] * count_B).long().clamp(max=count_B - 1)
        own_BD = F.normalize(seen[torch.arange(len(seen), device=seen.device), which_B], dim=-1)
        direction_BD = F.normalize(
            noise.normal(batch.sample_key, step, _OTHER, own_BD.shape[1:], seed=self.seed), dim=-1
        )
        share_B1 = self.config.goal_noise * draw_B3[:, 1:2]
        mixed_BD = renormalized(share_B1 * direction_BD + (1 - share_B1) * own_BD)
        if len(mixed_BD) < 2:
            return mixed_BD
        other_B = other_rows(batch.sample_key, step, _OTHER + 1, 1, seed=self.seed)[0]
        return torch.where(draw_B3[:, 2:] < self.config.goal_other, mixed_BD[other_B], mixed_BD)


def inverse_loss(found_BKA: Tensor, action_BKA: Tensor, valid_BK: Tensor) -> Tensor:
    """Mean squared error of the normalised actions, over steps whose next frame exists."""
    return masked_mean((found_BKA - action_BKA).square().mean(-1), valid_BK)


def distance(here: Tensor, there: Tensor) -> Tensor:
    """(...) of latents (..., D): 1 - exp(-5 |u - v|^2) of their directions, in [0, 1)."""
    apart = F.normalize(here, dim=-1) - F.normalize(there, dim=-1)
    return 1 - (-5 * apart.square().sum(-1)).exp()


def progress(here: Tensor, then: Tensor, goal: Tensor) -> Tensor:
    """(...) reward of a step that leads from one latent to the next: five times what the distance to the goal lost."""
    return 5 * (distance(here, goal) - distance(then, goal))
