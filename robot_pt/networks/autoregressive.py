"""A policy that chooses one action dimension after the other, each a category among bins, given those chosen before.

A Gaussian puts its mass between two ways of doing a task; bins keep them apart, and the order keeps dimensions together that belong
together. As in PTR's baseline (arXiv 2210.05178; Asap7772/PTR jaxrl2/networks/autoregressive_policy.py): an MLP per dimension on state
and earlier dimensions, beam search for the mode. What a dimension is told of earlier ones are centres of bins, in training too.

Shapes: K actions per state, N bins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor, nn

from robot_pt.errors import UserError
from robot_pt.networks.distributions import drawn
from robot_pt.networks.policies import orthogonal
from robot_pt.networks.policy_network import PolicyConfig, PolicyNetwork


def bin_of(action: Tensor, bins: int) -> Tensor:
    """int64 bin of normalised numbers; those outside [-1, 1] are in the outermost."""
    return ((action + 1) / 2 * bins).floor().clamp(0, bins - 1).long()


def centre_of(which: Tensor, bins: int) -> Tensor:
    """The normalised number in the middle of a bin."""
    return (which + 0.5) / bins * 2 - 1


@final
@dataclass(frozen=True, kw_only=True)
class AutoregressiveConfig(PolicyConfig):
    """Bins of every action dimension, each with an MLP."""

    hidden: tuple[int, ...] = (256, 256, 256)
    """Of each dimension's MLP."""
    bins: int = 256
    """Of every dimension, over [-1, 1]."""
    beam: int = 20
    """Partial actions that the search for the mode keeps; 1 = greedy."""
    candidates: int = 1
    """Actions that a draw chooses among, by the softmax of their log-probabilities; 1 = the first one. PTR's code: 20."""
    acts: Literal["mode", "sample"] = "mode"
    """How it acts: by the most probable action, or by a drawn one."""
    action_clip: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for name, least, most in (("bins", 2, 65_536), ("beam", 1, 1024), ("candidates", 1, 1024)):
            if not least <= getattr(self, name) <= most:
                raise UserError(f"the policy's {name} is {getattr(self, name)}; give {least} to {most}.")
        if self.acts not in ("mode", "sample"):
            raise UserError(f"the policy acts by {self.acts!r}; choose mode or sample.")


class AutoregressiveActions:
    """Distribution over normalised actions: constant within bins, whose masses are computed one dimension after the other.

    state_BF: what the heads see beside earlier dimensions; head d takes (..., F + d) and gives (..., N).
    """

    def __init__(self, state_BF: Tensor, heads: Sequence[nn.Module], bins: int, *, beam: int = 20, candidates: int = 1):
        self._state_BF, self._heads, self._bins, self._beam, self._candidates = state_BF, heads, bins, beam, candidates

    def log_masses(self, before_BKd: Tensor) -> Tensor:
        """(B, K, N) log-probabilities of the next dimension's bins after d earlier values."""
        state_BKF = self._state_BF[:, None].expand(-1, before_BKd.shape[1], -1)
        logits: Tensor = self._heads[before_BKd.shape[2]](torch.cat([state_BKF, before_BKd], dim=2))
        return logits.float().log_softmax(-1)

    def taught(self, action_BA: Tensor) -> Taught:
        """How probable an action is, each dimension told the bin centres of the data's earlier ones."""
        which_BA = bin_of(action_BA, self._bins)
        centre_BA = centre_of(which_BA, self._bins)
        masses = [self.log_masses(centre_BA[:, None, :d])[:, 0] for d in range(action_BA.shape[1])]
        told = [m.gather(1, which_BA[:, d : d + 1])[:, 0] for d, m in enumerate(masses)]
        guess = [centre_of(m.argmax(1), self._bins) for m in masses]
        return Taught(torch.stack(told, dim=1), torch.stack(guess, dim=1))

    def log_prob(self, action_BA: Tensor) -> Tensor:
        """(B,) log-density: the mass of the action's bins over their volume."""
        volume = action_BA.shape[1] * math.log(2 / self._bins)
        return self.taught(action_BA).log_mass_BA.sum(1) - volume

    def mode(self) -> Tensor:
        """(B, A) the most probable action that the beam search finds, of bin centres."""
        count, bins = 1, self._bins
        action_BKd = self._state_BF.new_zeros(self._state_BF.shape[0], 1, 0)
        score_BK = self._state_BF.new_zeros(self._state_BF.shape[0], 1)
        for _ in self._heads:
            total_BK = (score_BK[..., None] + self.log_masses(action_BKd)).flatten(1)
            count = min(self._beam, count * bins)
            score_BK, best_BK = total_BK.topk(count, dim=1)
            parent = torch.div(best_BK, bins, rounding_mode="floor")[..., None].expand(-1, -1, action_BKd.shape[2])
            value = centre_of(best_BK % bins, bins)[..., None]
            action_BKd = torch.cat([action_BKd.gather(1, parent), value], dim=2)
        return action_BKd[:, 0]

    @torch.no_grad()
    def sample(self, noise_BKA: Tensor) -> tuple[Tensor, Tensor]:
        """K actions (B, K, A) per state from standard normal noise, of bin centres, and their log-masses (B, K)."""
        action_BKd, score_BK = noise_BKA[..., :0], torch.zeros_like(noise_BKA[..., 0])
        for d in range(noise_BKA.shape[2]):
            mass_BKN = self.log_masses(action_BKd)
            which_BK = drawn(mass_BKN, noise_BKA[..., d])
            score_BK = score_BK + mass_BKN.gather(2, which_BK[..., None])[..., 0]
            action_BKd = torch.cat([action_BKd, centre_of(which_BK, self._bins)[..., None]], dim=2)
        return action_BKd, score_BK

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """(candidates, A + 1): the last number of the first row chooses."""
        return (self._candidates, len(self._heads) + 1)

    def draw(self, noise_BKA: Tensor) -> Tensor:
        """(B, A) one of `candidates` drawn actions."""
        action_BKA, score_BK = self.sample(noise_BKA[..., :-1])
        chosen_B = drawn(score_BK.log_softmax(1), noise_BKA[:, 0, -1])
        return action_BKA[torch.arange(len(chosen_B), device=chosen_B.device), chosen_B]


class Taught(NamedTuple):
    """An action of the data under teacher forcing."""

    log_mass_BA: Tensor  # of each dimension's bin
    guess_BA: Tensor  # centre of each dimension's most probable bin


@final
class AutoregressiveNetwork(PolicyNetwork):
    """Images, proprio and task -> `AutoregressiveActions`."""

    kind = "autoregressive"
    config_class = AutoregressiveConfig
    _config: AutoregressiveConfig

    def __init__(self, config: AutoregressiveConfig):
        super().__init__(config)
        self.draws = config.acts == "sample"
        self.heads = nn.ModuleList(_head(self.seen_width + d, config) for d in range(len(config.bounds.low)))

    def forward(
        self, images: Mapping[str, Tensor], proprio_BP: Tensor, task_B: Tensor, language_BL: Tensor
    ) -> AutoregressiveActions:
        config, state_BF = self._config, self.seen(images, proprio_BP, task_B, language_BL)
        return AutoregressiveActions(
            state_BF, list(self.heads), config.bins, beam=config.beam, candidates=config.candidates
        )


def _head(width: int, config: AutoregressiveConfig) -> nn.Sequential:
    layers: list[nn.Module] = []
    for outputs in config.hidden:
        layers += [orthogonal(width, outputs, math.sqrt(2)), nn.ReLU(inplace=True)]
        width = outputs
    return nn.Sequential(*layers, orthogonal(width, config.bins, 1e-2))
