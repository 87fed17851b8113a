"""The action distribution of most policy heads, a diagonal Gaussian, squashed by tanh or not; and drawing from categories."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_EDGE = 1 - 1e-6  # the largest float32 whose inverse tanh is still well resolved (7.25)


class ActionGaussian(NamedTuple):
    """Distribution over normalised actions; parameters are float32 whatever precision the network ran in."""

    mean_BA: Tensor
    log_std_BA: Tensor
    squash: bool
    """True: tanh of the Gaussian, in (-1, 1). False: the Gaussian itself."""

    def detach(self) -> ActionGaussian:
        return ActionGaussian(self.mean_BA.detach(), self.log_std_BA.detach(), self.squash)

    def mode(self) -> Tensor:
        """(B, A): tanh of the mean (not the mode of the squashed density, which PTR does not use either)."""
        return self.mean_BA.tanh() if self.squash else self.mean_BA

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """(A,): what `draw` takes per state."""
        return (self.mean_BA.shape[1],)

    def draw(self, noise_BA: Tensor) -> Tensor:
        """(B, A) one action per state from standard normal noise."""
        return self.sample(noise_BA[:, None])[0][:, 0]

    def sample(self, noise_BKA: Tensor) -> tuple[Tensor, Tensor]:
        """K actions (B, K, A) per state from standard normal noise, and their log-densities (B, K); differentiable."""
        raw_BKA = self.mean_BA[:, None] + self.log_std_BA[:, None].exp() * noise_BKA
        log_prob_BK = (-0.5 * noise_BKA.square() - self.log_std_BA[:, None] - _LOG_SQRT_2PI).sum(-1)
        if not self.squash:
            return raw_BKA, log_prob_BK
        return raw_BKA.tanh(), log_prob_BK - log_tanh_slope(raw_BKA).sum(-1)

    def log_prob(self, action_BA: Tensor) -> Tensor:
        """(B,) log-density of one action per state. A squashed action at the edge is read as +-(1 - 1e-6)."""
        raw_BA = torch.atanh(action_BA.clamp(-_EDGE, _EDGE)) if self.squash else action_BA
        noise_BA = (raw_BA - self.mean_BA) * (-self.log_std_BA).exp()
        log_prob_B = (-0.5 * noise_BA.square() - self.log_std_BA - _LOG_SQRT_2PI).sum(-1)
        return log_prob_B - log_tanh_slope(raw_BA).sum(-1) if self.squash else log_prob_B

    def evened_log_prob(self, action_BA: Tensor, beta: float) -> Tensor:
        """(B,) sum over dimensions of std^(2 beta) * log-density, the factor without gradient: the log-likelihood to imitate by.

        beta-NLL (arXiv 2203.09168). At 0 it is `log_prob`, in which a step that the mean misses teaches it the less the wider the deviation
        has become there: what is seldom done, as beginning to close the gripper, is then put down to noise. At 1 the mean learns as from a
        squared error (before tanh), and the deviation as before.
        """
        if not beta:
            return self.log_prob(action_BA)
        raw_BA = torch.atanh(action_BA.clamp(-_EDGE, _EDGE)) if self.squash else action_BA
        noise_BA = (raw_BA - self.mean_BA) * (-self.log_std_BA).exp()
        log_prob_BA = -0.5 * noise_BA.square() - self.log_std_BA - _LOG_SQRT_2PI
        if self.squash:
            log_prob_BA = log_prob_BA - log_tanh_slope(raw_BA)
        return ((2 * beta * self.log_std_BA.detach()).exp() * log_prob_BA).sum(-1)


def log_tanh_slope(raw: Tensor) -> Tensor:
    """log(1 - tanh(raw)^2), written so that it neither overflows nor rounds to log 0 at large |raw|."""
    return 2 * (math.log(2) - raw - F.softplus(-2 * raw))


def drawn(log_prob: Tensor, noise: Tensor) -> Tensor:
    """int64 (...) one of N categories each, from (..., N) log-probabilities and (...) standard normal numbers.

    The numbers become uniform ones by their distribution function; what has probability 0 is never drawn.
    """
    below = log_prob.exp().cumsum(-1)
    uniform = torch.special.ndtr(noise).clamp(max=1 - 1e-6)[..., None]
    index: Tensor = (below <= uniform * below[..., -1:]).sum(-1)
    return index
