"""CQL and Cal-QL whose policy is Q's own softmax over all actions there are: it finds whatever the critic rates highest, near its samples or not.

A Gaussian that climbs Q sees Q's slope at its own samples and stays where it is while something far off is rated higher. Here nothing is
learned of the policy: the action cube is cut into boxes, pi(box | s) = softmax(min over heads of Q(s, its centre) / T), evenly within a box.
Who collects, who is backed up and whose samples the conservative term presses is that policy; losses are `ConservativeAgent`'s.
Shapes: B states, K samples, A action numbers, G boxes along each, E heads.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from robot_pt.agents.conservative import Sampled, calibrated
from robot_pt.agents.conservative_agent import ConservativeAgent, ConservativeConfig
from robot_pt.networks.policies import ActorNetwork
from robot_pt.schema import Batch


class Boxes(NamedTuple):
    """A density over normalised actions that is constant in each of G^A boxes of [-1, 1]^A; what `ActionGaussian` is to an agent."""

    share: Tensor
    """(B, G, ..., G) of each box; sums to 1."""

    def detach(self) -> Boxes:
        return self

    def sample(self, noise_BKA: Tensor) -> tuple[Tensor, Tensor]:
        """K actions (B, K, A) from standard normal noise, and their log-densities (B, K): number by number through the distribution
        function of it given those before."""
        count = noise_BKA.shape[1]
        boxes = self.share.shape[1]
        left = self.share[:, None].expand(-1, count, *self.share.shape[1:])
        numbers = []
        for uniform_BK in torch.special.ndtr(noise_BKA).unbind(-1):
            share_BKG = left.flatten(3).sum(-1) if left.dim() > 3 else left
            edges_BKG = share_BKG.cumsum(-1)
            reached_BK = (uniform_BK * edges_BKG[..., -1])[..., None]
            box_BK1 = (edges_BKG <= reached_BK).sum(-1, keepdim=True).clamp(max=boxes - 1)
            width_BK1 = share_BKG.gather(-1, box_BK1)
            inside_BK1 = 1 - (edges_BKG.gather(-1, box_BK1) - reached_BK) / width_BK1
            numbers.append((2 * (box_BK1 + inside_BK1.clamp(0, 1)) / boxes - 1)[..., 0])
            index = box_BK1.view(*box_BK1.shape, *[1] * (left.dim() - 3)).expand(-1, -1, 1, *left.shape[3:])
            left = left.gather(2, index).squeeze(2)
        return torch.stack(numbers, dim=-1), left.log() - len(numbers) * math.log(2 / boxes)

    def mode(self) -> Tensor:
        """(B, A) centre of the likeliest box."""
        boxes, size = self.share.shape[1], self.share.dim() - 1
        return centres(boxes, size)[self.share.flatten(1).argmax(1)]


def centres(boxes: int, size: int) -> Tensor:
    """(G^A, A) in the order of `Boxes.share` flattened."""
    along = (2 * torch.arange(boxes) + 1) / boxes - 1
    return torch.cartesian_prod(*[along] * size)


class Searcher(nn.Module):
    """Observations -> `Boxes`; acts as an `ActorNetwork` does."""

    def __init__(self, critic: nn.Module, normalizer: Any, temperature: float, boxes: int):
        super().__init__()
        self.critic, self.normalizer = critic, normalizer
        self._temperature, self._boxes, self._size = temperature, boxes, len(normalizer.low)

    @torch.no_grad()
    def forward(self, images: Mapping[str, Tensor], proprio_BP: Tensor, task_B: Tensor, language_BL: Tensor) -> Boxes:
        critic: Any = self.critic
        state = critic.state(images, proprio_BP, task_B, language_BL)
        asked = centres(self._boxes, self._size).expand(len(proprio_BP), -1, -1)
        q_BN = critic(*state, asked).amin(0)
        return Boxes((q_BN / self._temperature).softmax(1).view(-1, *[self._boxes] * self._size))

    def mode(self, *observed: Any) -> Tensor:
        """(B, A) in physical units."""
        return self.normalizer.decode(self(*observed).mode())


@dataclass(frozen=True, kw_only=True)
class SearchingConfig(ConservativeConfig):
    search_temperature: float = 0.1
    """T, in units of Q."""
    search_boxes: int = 6
    """G."""


class SearchingAgent(ConservativeAgent):
    """Keeps an `ActorNetwork` for its encoder and normaliser alone: nothing but the critic is learned."""

    config: SearchingConfig

    def __init__(self, actor: ActorNetwork, critic: nn.Module, config: SearchingConfig, *, seed: int = 0):
        super().__init__(actor, critic, config, seed=seed)
        self.acting = Searcher(critic, actor.normalizer, config.search_temperature, config.search_boxes)

    @classmethod
    def defaults(cls) -> SearchingConfig:
        return SearchingConfig()

    def policy(self, images: Mapping[str, Tensor], proprio_BP: Tensor, batch: Batch) -> Any:
        return self.acting(images, proprio_BP, batch.task, batch.language)

    def descend(self, name: str, loss: Tensor, *, largest: float | None = None) -> None:
        if name == "critic":
            super().descend(name, loss)


class SearchingCQL(SearchingAgent):
    def calibrate(self, q: Sampled, return_B: Tensor) -> Sampled:
        return q


class SearchingCalQL(SearchingAgent):
    def calibrate(self, q: Sampled, return_B: Tensor) -> Sampled:
        return calibrated(q, return_B)
