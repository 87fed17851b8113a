"""The actor: its own image encoder, proprio, task and sentence features -> a Gaussian over normalised actions.

PTR's head (Asap7772/PTR jaxrl2/networks/learned_std_normal_policy.py): MLP(256, 256, 256), mean and log-std layers
orthogonal(1e-2), tanh-squashed, log-std clipped to [-5, 2]. The module holds the action and proprio normalisation, so a
checkpoint of it acts in physical units without further files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn

from robot_pt.errors import DataError, UserError
from robot_pt.networks.conditioning import task_context
from robot_pt.networks.distributions import ActionGaussian
from robot_pt.networks.encoders import CameraEncoder, EncoderConfig
from robot_pt.normalize import CLIP, ActionNormalizer, Bounds, ProprioNormalizer
from robot_pt.schema import Spec

_SINCE = {"scaled_log_std", "action_clip", "bounded_mean"}
"""Fields that a policy file of before them lacks; their defaults are what it was made with."""


@dataclass(frozen=True, kw_only=True)
class ActorConfig:
    encoder: EncoderConfig
    cameras: tuple[str, ...]
    """Camera roles, in the order their features are concatenated; none for a policy of the state alone."""
    image_size: tuple[int, int]
    """(height, width) in pixels of every camera."""
    task_slots: int
    """Length of the task one-hot; includes the spare slots."""
    bounds: Bounds
    """Physical range of every action dimension."""
    language_size: int = 0
    """Length of the sentence features; 0 = no language input."""
    proprio_mean: tuple[float, ...] = (0.0,) * 7
    proprio_std: tuple[float, ...] = (1.0,) * 7
    """Proprio enters as (x - mean) / std; 0 and 1, as published, leave it in metres and radians."""
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
    action_clip: float = CLIP
    """Normalised data actions stay within +- this: PTR 0.99, Cal-QL 0.99999."""
    bounded_mean: bool = False
    """True: the mean of a plain Gaussian is itself a tanh (IQL, AWAC). Only with squash = False, which has that bound of its own."""

    @classmethod
    def of(cls, spec: Spec, proprio: tuple[Sequence[float], Sequence[float]] | None, **fields: Any) -> ActorConfig:
        """For data of `spec`; `fields` are the other fields of this class.

        proprio: (mean, std) per dimension to standardise with; None feeds it as it is, as published.
        """
        mean, std = proprio or ((0.0,) * len(spec.proprio_names), (1.0,) * len(spec.proprio_names))
        return cls(proprio_mean=tuple(mean), proprio_std=tuple(std), **fields)

    def __post_init__(self) -> None:
        for name in ("cameras", "image_size", "hidden", "log_std_range"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("proprio_mean", "proprio_std"):
            object.__setattr__(self, name, tuple(float(x) for x in getattr(self, name)))  # JSON knows no numpy floats
        if self.std not in ("state", "global", "fixed"):
            raise UserError(f"the policy's std is {self.std!r}; choose state, global or fixed.")
        if self.task_slots < 1 or not self.hidden:
            raise UserError(
                f"a policy needs at least 1 task slot and 1 hidden layer; given {self.task_slots} and {self.hidden}."
            )
        if not 0 < self.action_clip <= 1:
            raise UserError(f"the policy's action_clip is {self.action_clip}; give a number in (0, 1], such as {CLIP}.")
        if self.scaled_log_std and self.std != "state":
            raise UserError(f"scaled_log_std needs std = state; the policy's std is {self.std}: choose one of the two.")
        if self.bounded_mean and self.squash:
            raise UserError(
                "bounded_mean is for a plain Gaussian, a squashed one is bounded already: choose one of the two."
            )


class ActorNetwork(nn.Module):
    """Images, proprio and task -> `ActionGaussian`. `mode` gives physical actions."""

    def __init__(self, config: ActorConfig):
        super().__init__()
        self._config = config
        actions = len(config.bounds.low)
        self.normalizer = ActionNormalizer(config.bounds, config.action_clip)
        self.proprio = ProprioNormalizer(config.proprio_mean, config.proprio_std)
        self.encoder = CameraEncoder(config.encoder, config.cameras, config.image_size)
        width = self.encoder.width + len(config.proprio_mean) + config.task_slots + config.language_size
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

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ActorNetwork:
        """Rebuild from `.config` as JSON gives it back. Raises DataError on missing or unknown fields."""
        known = {f.name for f in fields(ActorConfig)}
        if set(config) - known or known - set(config) - _SINCE:
            raise DataError(
                f"a policy config has the fields {sorted(known)}; the file gives {sorted(config)}: it was written by another version."
            )
        values = dict(config)
        values["encoder"] = EncoderConfig.from_json(values["encoder"])
        values["bounds"] = Bounds.from_json(values["bounds"])
        return cls(ActorConfig(**values))

    @property
    def config(self) -> dict[str, Any]:
        """JSON-able; `from_config` takes it."""
        return asdict(self._config)

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
        seen = [self.encoder(images)] if self.encoder.cameras else []
        context_BC = task_context(task_B, language_BL, self._config.task_slots, self._config.language_size)
        hidden: Tensor = torch.cat([*seen, self.proprio(proprio_BP), context_BC], dim=1)
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
