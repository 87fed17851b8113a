"""How a critic's output stands for a value: the value itself, or logits of a distribution over a fixed range.

Learning a value by cross-entropy over bins instead of a squared error, HL-Gauss (arXiv 2403.03950): the target is a Gaussian
around y, cut into bins. C51 (arXiv 1707.06887) learns the distribution of the return itself: the target is the next state's
distribution, shifted, shrunk and projected onto fixed atoms. Whoever reads Q sees the distribution's mean.

Shapes: E heads, B samples, K actions, O bins or atoms. An output is (E, B, K) of a scalar critic, (E, B, K, O) of the others.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from robot_pt.errors import UserError
from robot_pt.rewards import RewardLabel, require_gamma


class ValueCode(ABC):
    """Between a critic's output and values."""

    outputs: int
    """Numbers the critic gives per head, state and action."""

    @abstractmethod
    def decode(self, output: Tensor) -> Tensor:
        """(..., O) -> (...) values; a scalar's output is its value."""

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """(E, B) loss of outputs at the data action, (E, B) or (E, B, O), for a target from `backup` or any (B,) values."""

    def backup(self, next_output: Tensor, penalty_BK: Tensor, reward_B: Tensor, discount_B: Tensor) -> Tensor:
        """(B,) reward + discount * max over K actions of (min over heads of Q - penalty), without gradient."""
        q_BK = self.decode(next_output).amin(0) - penalty_BK
        return reward_B + discount_B * q_BK.amax(-1)

    def mean(self, target: Tensor) -> Tensor:
        """(B,) the values that a target from `backup` stands for."""
        return target


class Scalar(ValueCode):
    """Squared-error regression, without a factor 1/2."""

    outputs = 1

    def decode(self, output: Tensor) -> Tensor:
        return output

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        return (output - target).square()


class _Categorical(ValueCode):
    """Logits over O places of a range."""

    def __init__(self, low: float, high: float, outputs: int):
        self.low, self.high, self.outputs = low, high, outputs

    @abstractmethod
    def places(self, like: Tensor) -> Tensor:
        """(O,) the value each output stands for."""

    @abstractmethod
    def encode(self, value_B: Tensor) -> Tensor:
        """(..., O) probabilities that stand for these values, which are first moved into the range."""

    def decode(self, output: Tensor) -> Tensor:
        return output.softmax(-1) @ self.places(output)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy [nats]; its least is the target's entropy, not 0."""
        probability_BO = target if target.dim() == 2 else self.encode(target)
        return -(probability_BO * F.log_softmax(output, dim=-1)).sum(-1)


class HLGauss(_Categorical):
    """A Gaussian of deviation `sigma_bins` bin widths, cut at the bins' edges.

    `margin_bins` bins lie beyond each end of the range, so that the Gaussian of a target at the end, which is where success
    lies, is not cut and keeps its mean; 0, as published, moves such a mean inwards by 0.7 bins.
    """

    def __init__(self, low: float, high: float, bins: int, sigma_bins: float, margin_bins: int):
        super().__init__(low, high, bins)
        self.width = (high - low) / (bins - 2 * margin_bins)
        self._sigma, self._margin = sigma_bins * self.width, margin_bins * self.width

    def edges(self, like: Tensor) -> Tensor:
        """(O + 1,) edges of the bins."""
        return torch.linspace(self.low - self._margin, self.high + self._margin, self.outputs + 1, device=like.device)

    def places(self, like: Tensor) -> Tensor:
        return self.edges(like)[:-1] + 0.5 * self.width

    def encode(self, value_B: Tensor) -> Tensor:
        value_B = value_B.clamp(self.low, self.high)
        cumulative = torch.erf((self.edges(value_B) - value_B[..., None]) / (self._sigma * math.sqrt(2)))
        mass = cumulative.diff(dim=-1)
        return mass / (cumulative[..., -1:] - cumulative[..., :1])


class C51(_Categorical):
    """Atoms evenly from one end of the range to the other, both included."""

    def places(self, like: Tensor) -> Tensor:
        return torch.linspace(self.low, self.high, self.outputs, device=like.device)

    def encode(self, value_B: Tensor) -> Tensor:
        return self.project(torch.ones_like(value_B)[..., None], value_B[..., None])

    def project(self, probability_BN: Tensor, place_BN: Tensor) -> Tensor:
        """(B, O): each mass split between the two atoms beside its place, by nearness; what lies outside goes to the end."""
        step = (self.high - self.low) / (self.outputs - 1)
        atom_BN = (place_BN.clamp(self.low, self.high) - self.low) / step
        number_O = torch.arange(self.outputs, device=place_BN.device)
        share_BNO = (1 - (atom_BN[..., None] - number_O).abs()).clamp(min=0)
        return (probability_BN[..., None] * share_BNO).sum(-2)

    def backup(self, next_output: Tensor, penalty_BK: Tensor, reward_B: Tensor, discount_B: Tensor) -> Tensor:
        """(B, O) the distribution of reward + discount * (return - penalty), of the action and head that a scalar would take."""
        least_BK, head_BK = self.decode(next_output).min(0)
        best_B = (least_BK - penalty_BK).argmax(-1)
        sample_B = torch.arange(len(best_B), device=best_B.device)
        probability_BO = next_output[head_BK[sample_B, best_B], sample_B, best_B].softmax(-1)
        shifted_BO = self.places(next_output) - penalty_BK[sample_B, best_B][:, None]
        return self.project(probability_BO, reward_B[:, None] + discount_B[:, None] * shifted_BO)

    def mean(self, target: Tensor) -> Tensor:
        return target @ self.places(target)


@dataclass(frozen=True, kw_only=True)
class CategoricalConfig:
    """A critic that learns a distribution over [low, high] by cross-entropy."""

    low: float
    """The least return there can be; lower targets are moved up to it."""
    high: float
    """The largest return."""
    kind: Literal["hl_gauss", "c51"] = "hl_gauss"
    bins: int = 128
    """Outputs per head; 128 is what public HL-Gauss critics of robots use, 51 what C51 is named after."""
    sigma_bins: float = 0.75
    """HL-Gauss: deviation of the target, in bin widths (arXiv 2403.03950)."""
    margin_bins: int = 3
    """HL-Gauss: of the bins, how many lie beyond each end of the range (4 deviations); 0 as published."""

    @classmethod
    def of_rewards(
        cls, label: RewardLabel, gamma: float, *, kind: Literal["hl_gauss", "c51"] = "hl_gauss", bins: int = 128
    ) -> CategoricalConfig:
        """With exactly the returns that `label` can give at this discount: [-25, 10] for PTR's labels at 0.96."""
        low, high = returns_of(label, gamma)
        return cls(low=low, high=high, kind=kind, bins=bins)

    def __post_init__(self) -> None:
        if self.kind not in ("hl_gauss", "c51"):
            raise UserError(f"the critic's kind of categories is {self.kind!r}; choose hl_gauss or c51.")
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise UserError(
                f"a categorical critic's range is {self.low} to {self.high}; give the least and the largest return, finite, rising."
            )
        if not 0 < self.sigma_bins < math.inf or self.margin_bins < 0:
            raise UserError(
                f"HL-Gauss has sigma_bins {self.sigma_bins} and margin_bins {self.margin_bins}; give a deviation above 0 and a "
                "margin from 0."
            )
        least = 2 + 2 * self.margin_bins if self.kind == "hl_gauss" else 2
        if self.bins < least:
            raise UserError(f"a categorical critic has {self.bins} bins; give at least {least}, such as 128.")

    def code(self) -> ValueCode:
        if self.kind == "c51":
            return C51(self.low, self.high, self.bins)
        return HLGauss(self.low, self.high, self.bins, self.sigma_bins, self.margin_bins)


def code_of(config: CategoricalConfig | None) -> ValueCode:
    """The code of an algorithm's option; None is the plain critic."""
    return Scalar() if config is None else config.code()


def returns_of(label: RewardLabel, gamma: float) -> tuple[float, float]:
    """(least, largest) return under rewards labelled so. Raises UserError where `label` takes the data's own rewards.

    Where every rewarded step is terminal, a return is the rewarded step's own reward or lies between it and that of never
    succeeding, shift / (1 - gamma). Otherwise rewards may follow one another for ever, or end at any step.
    """
    require_gamma(gamma)
    if label.source == "stored":
        raise UserError(
            "the range of a categorical critic cannot be told from stored rewards; give its low and high yourself."
        )
    never, success = label.shift / (1 - gamma), label.scale + label.shift
    ends = [never, success]
    if label.terminal != "rewarded":
        ends += [label.shift, success / (1 - gamma)]
    return min(ends), max(ends)
