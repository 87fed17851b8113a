"""The actor: its own image encoder, proprio, task and sentence features -> a Gaussian over normalised actions.

PTR's head (Asap7772/PTR jaxrl2/networks/learned_std_normal_policy.py): MLP(256, 256, 256), mean and log-std layers
orthogonal(1e-2), tanh-squashed, log-std clipped to [-5, 2]. The module holds the action and proprio normalisation, so a
checkpoint of it acts in physical units without further files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn

from robot_pt.errors import UserError
from robot_pt.networks.distributions import ActionGaussian
from robot_pt.networks.policy_network import PolicyConfig, PolicyNetwork


@final
@dataclass(frozen=True, kw_only=True)
class ActorConfig(PolicyConfig):
    """A Gaussian head on an MLP."""

    hidden: tuple[int, ...] = (256, 256, 256)
    std: Literal["state", "global", "fixed"] = "state"
    """Standard deviation: from the state (PTR), one learned number per dimension, or `fixed_std`."""
    fixed_std: float = 1.0
    """In units of the normalised action; 1 makes the likelihood a mean squared error."""
    squash: bool = True
    """True: tanh of the Gaussian (PTR). False: plain Gaussian (its BC baseline), clipped when acting."""
    log_std_range: tuple[float, float] = (-5.0, 2.0)
    scaled_log_std: bool = False
    """True: before its clip the log-std is scaled by a learned factor and shifted by a learned offset, 1 and -1 at the start
    (nakamotoo/Cal-QL JaxCQL/model.py). Only with std = "state"."""
    bounded_mean: bool = False
    """True: the mean of a plain Gaussian is itself a tanh (IQL, AWAC). Only with squash = False, which has that bound of its own."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("hidden", "log_std_range"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.std not in ("state", "global", "fixed"):
            raise UserError(f"the policy's std is {self.std!r}; choose state, global or fixed.")
        if not self.hidden:
            raise UserError("a policy needs at least 1 hidden layer; given none.")
        if self.scaled_log_std and self.std != "state":
            raise UserError(f"scaled_log_std needs std = state; the policy's std is {self.std}: choose one of the two.")
        if self.bounded_mean and self.squash:
            raise UserError(
                "bounded_mean is for a plain Gaussian, a squashed one is bounded already: choose one of the two."
            )


@final
class ActorNetwork(PolicyNetwork):
    """Images, proprio and task -> `ActionGaussian`. `mode` gives physical actions."""

    kind = ""
    config_class = ActorConfig
    since: ClassVar[frozenset[str]] = frozenset({"scaled_log_std", "action_clip", "bounded_mean"})
    _config: ActorConfig

    def __init__(self, config: ActorConfig):
        super().__init__(config)
        actions, width = len(config.bounds.low), self.seen_width
        layers: list[nn.Module] = []
        for outputs in config.hidden:
            layers += [orthogonal(width, outputs, math.sqrt(2)), nn.ReLU(inplace=True)]
            width = outputs
        self.body = nn.Sequential(*layers)
        self.mean = orthogonal(width, actions, 1e-2)
        if config.std == "state":
            self.log_std = orthogonal(width, actions, 1e-2)
        elif config.std == "global":
            self.global_log_std = nn.Parameter(torch.zeros(actions))
        if config.scaled_log_std:
            self.log_std_factor, self.log_std_offset = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(-1.0))

    def forward(
        self, images: Mapping[str, Tensor], proprio_BP: Tensor, task_B: Tensor, language_BL: Tensor,
        kept: Sequence[Tensor] = (),
    ) -> ActionGaussian:  # fmt: skip
        """images: camera -> uint8 (B, H, W, 3); proprio in physical units; task slots int64; language (B, L) or (B, 0).

        kept: dropout, as one (B, width) factor per hidden layer: 0, or 1 / (1 - rate). None is the whole network.
        """
        hidden = self._hidden(images, proprio_BP, task_B, language_BL, kept)
        mean_BA = self._mean(hidden)
        return ActionGaussian(mean_BA, self._log_std(hidden, mean_BA), self._config.squash)

    @torch.no_grad()
    def mode(self, images: Mapping[str, Tensor], proprio_BP: Tensor, task_B: Tensor, language_BL: Tensor) -> Tensor:
        """(B, A) the policy's central action in physical units; arguments as `forward`."""
        mean_BA = self._mean(self._hidden(images, proprio_BP, task_B, language_BL))  # acting needs no deviation
        physical: Tensor = self.normalizer.decode(mean_BA.tanh() if self._config.squash else mean_BA)
        return physical

    def _mean(self, hidden: Tensor) -> Tensor:
        mean_BA: Tensor = self.mean(hidden).float()
        return mean_BA.tanh() if self._config.bounded_mean else mean_BA

    def _hidden(
        self, images: Mapping[str, Tensor], proprio_BP: Tensor, task_B: Tensor, language_BL: Tensor,
        kept: Sequence[Tensor] = (),
    ) -> Tensor:  # fmt: skip
        hidden = self.seen(images, proprio_BP, task_B, language_BL)
        if not kept:
            return self.body(hidden)  # type: ignore[no-any-return]
        for layer, factor in enumerate(kept):
            hidden = self.body[2 * layer : 2 * layer + 2](hidden) * factor
        return hidden

    def _log_std(self, hidden: Tensor, mean_BA: Tensor) -> Tensor:
        if self._config.std == "fixed":
            return torch.full_like(mean_BA, math.log(self._config.fixed_std))
        free = self.log_std(hidden).float() if self._config.std == "state" else self.global_log_std.expand_as(mean_BA)
        if self._config.scaled_log_std:
            free = self.log_std_factor * free + self.log_std_offset
        return free.clamp(*self._config.log_std_range)


def orthogonal(inputs: int, outputs: int, gain: float) -> nn.Linear:
    """Linear layer, orthogonal weights of that gain, zero bias."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer
