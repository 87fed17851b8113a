"""What every policy network is made of and offers: observations in, a distribution over normalised actions out.

One final subclass per kind of head. The module holds the action and proprio normalisation, so a checkpoint of it acts in
physical units without further files; `robot_pt.networks.policy_kinds` rebuilds it from the description in policy.json.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from robot_pt.errors import DataError, UserError
from robot_pt.networks.conditioning import task_context
from robot_pt.networks.encoders import CameraEncoder, EncoderConfig
from robot_pt.normalize import CLIP, ActionNormalizer, Bounds, ProprioNormalizer
from robot_pt.schema import Spec


class ActionDistribution(Protocol):
    """Over the normalised actions of B states; float32 whatever precision the network ran in."""

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """How many standard normal numbers `draw` takes per state."""
        ...

    def mode(self) -> Tensor:
        """(B, A) the central action."""
        ...

    def draw(self, noise: Tensor, /) -> Tensor:
        """(B, A) one action per state from (B, *noise_shape) standard normal numbers."""
        ...

    def log_prob(self, action_BA: Tensor, /) -> Tensor:
        """(B,) log-density of one action per state."""
        ...


@dataclass(frozen=True, kw_only=True)
class PolicyConfig:
    """What every kind of policy sees and how its actions are scaled."""

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
    action_clip: float = CLIP
    """Normalised data actions stay within +- this: PTR 0.99, Cal-QL 0.99999."""

    @classmethod
    def of(cls, spec: Spec, proprio: tuple[Sequence[float], Sequence[float]] | None, **fields: Any) -> Self:
        """For data of `spec`; `fields` are the other fields of this class.

        proprio: (mean, std) per dimension to standardise with; None feeds it as it is, as published.
        """
        mean, std = proprio or ((0.0,) * len(spec.proprio_names), (1.0,) * len(spec.proprio_names))
        return cls(proprio_mean=tuple(mean), proprio_std=tuple(std), **fields)

    def __post_init__(self) -> None:
        for name in ("cameras", "image_size"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name in ("proprio_mean", "proprio_std"):
            object.__setattr__(self, name, tuple(float(x) for x in getattr(self, name)))  # JSON knows no numpy floats
        if self.task_slots < 1:
            raise UserError(f"a policy needs at least 1 task slot; given {self.task_slots}.")
        if not 0 < self.action_clip <= 1:
            raise UserError(f"the policy's action_clip is {self.action_clip}; give a number in (0, 1], such as {CLIP}.")


class PolicyNetwork(nn.Module, ABC):
    """Images, proprio and task -> `ActionDistribution`. `mode` gives physical actions."""

    kind: ClassVar[str]
    """Says in policy.json which class this is; empty for the Gaussian, whose files are older than kinds."""
    config_class: ClassVar[type[PolicyConfig]]
    since: ClassVar[frozenset[str]] = frozenset()
    """Fields that a policy file of before them lacks; their defaults are what it was made with."""
    window: int = 1
    """Observations it looks at, the newest included; more than one only for a `WindowedNetwork`."""
    draws: bool = False
    """Whether it acts by drawn actions; otherwise by its mode."""

    def __init__(self, config: PolicyConfig):
        super().__init__()
        self._config = config
        self.normalizer = ActionNormalizer(config.bounds, config.action_clip)
        self.proprio = ProprioNormalizer(config.proprio_mean, config.proprio_std)
        self.encoder = CameraEncoder(config.encoder, config.cameras, config.image_size)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Rebuild from `.config` as JSON gives it back. Raises DataError on missing or unknown fields."""
        known = {f.name for f in fields(cls.config_class)}
        values = {name: value for name, value in config.items() if name != "kind"}
        if config.get("kind", "") != cls.kind or set(values) - known or known - set(values) - cls.since:
            raise DataError(
                f"a policy config has the fields {sorted(known)}; the file gives {sorted(config)}: it was written by another version."
            )
        values["encoder"] = EncoderConfig.from_json(values["encoder"])
        values["bounds"] = Bounds.from_json(values["bounds"])
        return cls(cls.config_class(**values))

    @property
    def config(self) -> dict[str, Any]:
        """JSON-able; `from_config` takes it."""
        return {**({"kind": self.kind} if self.kind else {}), **asdict(self._config)}

    @property
    def seen_width(self) -> int:
        """Numbers that `seen` gives per state."""
        config = self._config
        return self.encoder.width + len(config.proprio_mean) + config.task_slots + config.language_size

    def seen(self, images: Mapping[str, Tensor], proprio_BP: Tensor, task_B: Tensor, language_BL: Tensor) -> Tensor:
        """(B, seen_width) image features, normalised proprio, task one-hot and sentence features, side by side."""
        looked = [self.encoder(images)] if self.encoder.cameras else []
        context_BC = task_context(task_B, language_BL, self._config.task_slots, self._config.language_size)
        return torch.cat([*looked, self.proprio(proprio_BP), context_BC], dim=1)

    @abstractmethod
    def forward(
        self, images: Mapping[str, Tensor], proprio_BP: Tensor, task_B: Tensor, language_BL: Tensor
    ) -> ActionDistribution:
        """images: camera -> uint8 (B, H, W, 3); proprio in physical units; task slots int64; language (B, L) or (B, 0)."""

    @torch.no_grad()
    def mode(self, images: Mapping[str, Tensor], proprio_BP: Tensor, task_B: Tensor, language_BL: Tensor) -> Tensor:
        """(B, A) the policy's central action in physical units; arguments as `forward`."""
        physical: Tensor = self.normalizer.decode(self(images, proprio_BP, task_B, language_BL).mode())
        return physical

    def along(
        self, images: Mapping[str, Tensor], proprio_TP: Tensor, task_T: Tensor, language_TL: Tensor
    ) -> ActionDistribution:
        """The distributions at the T steps of one episode in order, each given what it would have seen while acting."""
        distribution: ActionDistribution = self(images, proprio_TP, task_T, language_TL)
        return distribution


class WindowedNetwork(PolicyNetwork, ABC):
    """A policy that looks at its last few observations: each is encoded once, alone, and the features are put together.

    Shapes: S observations of a window, oldest first, F numbers of a feature.
    """

    @abstractmethod
    def encode(self, images: Mapping[str, Tensor], proprio_BP: Tensor, task_B: Tensor, language_BL: Tensor) -> Tensor:
        """(B, F) the feature of one observation each; arguments as `forward`."""

    @abstractmethod
    def newest(self, feature_BSF: Tensor) -> ActionDistribution:
        """What to do at the last of S <= window observations."""
