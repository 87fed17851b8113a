"""A re-creation, for timing, of the loop that single-file PyTorch libraries run for Cal-QL with a Lagrange multiplier.

Written from a description of CORL's `algorithms/finetune/cal_ql.py` (tinkoff-ai/CORL at 6afec90), which cannot be installed beside this
project; none of its code is here. What is re-created is where its time goes: two critics and two targets as modules of their own, each
called once per kind of action with the states repeated per action; the policy run anew for every set of samples; graphs recorded
through targets and samples that nothing ever differentiates; the multiplier's loss back-propagated through the whole conservative term into both critics, to be thrown away; the actor's loss filling
critic gradients, to be thrown away; two dozen numbers read back from the device per update; the target moved parameter by parameter.
"""

from __future__ import annotations

import copy
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution
from torch.optim import Adam


class Sizes(NamedTuple):
    observation: int
    action: int
    actor: tuple[int, ...]
    critic: tuple[int, ...]
    samples: int


def perceptron(inputs: int, hidden: tuple[int, ...], outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


class ModuleLoop:
    """`update` is one step on (observation, action, reward, next observation, discount, return-to-go)."""

    def __init__(self, sizes: Sizes, *, weight: float = 5.0, target_gap: float = 0.8, tau: float = 0.005):
        self.sizes, self.weight, self.target_gap, self.tau = sizes, weight, target_gap, tau
        self.actor = perceptron(sizes.observation, sizes.actor, 2 * sizes.action)
        critic = lambda: perceptron(sizes.observation + sizes.action, sizes.critic, 1)  # noqa: E731
        self.critics = [critic(), critic()]
        self.targets = [copy.deepcopy(c) for c in self.critics]
        self.log_temperature = nn.Parameter(torch.zeros(()))
        self.log_multiplier = nn.Parameter(torch.ones(()))
        self.actor_adam = Adam(self.actor.parameters(), 1e-4)
        self.critic_adam = [Adam(c.parameters(), 3e-4) for c in self.critics]
        self.temperature_adam = Adam([self.log_temperature], 1e-4)
        self.multiplier_adam = Adam([self.log_multiplier], 3e-4)

    def policy(self, observation: Tensor, repeat: int = 0) -> tuple[Tensor, Tensor]:
        """Actions and log-densities; with `repeat`, of every observation so many times: (B, repeat, A) and (B, repeat)."""
        if repeat:
            observation = observation[:, None].repeat(1, repeat, 1)
        mean, log_std = self.actor(observation).chunk(2, dim=-1)
        base = Normal(mean, log_std.clamp(-20, 2).exp())
        distribution = Independent(TransformedDistribution(base, [TanhTransform(cache_size=1)]), 1)
        action = distribution.rsample()
        return action, distribution.log_prob(action)

    def q(self, critic: nn.Module, observation: Tensor, action: Tensor) -> Tensor:
        if action.dim() == 3:
            observation = observation[:, None].repeat(1, action.shape[1], 1)
        return critic(torch.cat([observation, action], dim=-1))[..., 0]

    def update(self, batch: tuple[Tensor, ...]) -> dict[str, float]:
        observation, action, reward, following, discount, returns = batch
        new, log_pi = self.policy(observation)
        temperature_loss = -(self.log_temperature * (log_pi - self.sizes.action).detach()).mean()
        q_new = torch.minimum(*(self.q(c, observation, new) for c in self.critics))
        actor_loss = (self.log_temperature.exp().detach() * log_pi - q_new).mean()
        q_data = [self.q(c, observation, action) for c in self.critics]
        best, _ = self.policy(following, self.sizes.samples)
        value = torch.minimum(*(self.q(t, following, best) for t in self.targets)).max(-1).values
        y = reward + discount * value.detach()
        td = [F.mse_loss(q, y) for q in q_data]
        gaps, read = self.gaps(observation, following, q_data, returns)
        multiplier = self.log_multiplier.exp().clamp(0, 1e6)
        pressed = [multiplier * self.weight * (gap - self.target_gap) for gap in gaps]
        self.multiplier_adam.zero_grad()
        (-0.5 * (pressed[0] + pressed[1])).backward(retain_graph=True)
        self.multiplier_adam.step()
        held = [self.weight * multiplier.detach() * (gap - self.target_gap) for gap in gaps]
        critic_loss = td[0] + td[1] + held[0] + held[1]
        self.descend(temperature_loss, actor_loss, critic_loss)
        read += [
            log_pi.mean(),
            actor_loss,
            temperature_loss,
            critic_loss,
            *td,
            *gaps,
            *pressed,
            y.mean(),
            *(q.mean() for q in q_data),
        ]
        return {str(i): value.item() for i, value in enumerate(read)}

    def gaps(
        self, observation: Tensor, following: Tensor, q_data: list[Tensor], returns: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        count, size = self.sizes.samples, self.sizes.action
        uniform = torch.empty(len(observation), count, size, device=observation.device).uniform_(-1, 1)
        here, log_here = (x.detach() for x in self.policy(observation, count))
        ahead, log_ahead = (x.detach() for x in self.policy(following, count))
        gaps: list[Tensor] = []
        read: list[Tensor] = []
        for critic, data in zip(self.critics, q_data, strict=True):
            of_uniform = self.q(critic, observation, uniform)
            of_here, of_ahead = (self.q(critic, observation, a) for a in (here, ahead))
            bound = [(q < returns[:, None]).float().mean() for q in (of_here, of_ahead)]
            of_here, of_ahead = (torch.maximum(q, returns[:, None]) for q in (of_here, of_ahead))
            terms = [of_uniform - size * math.log(0.5), of_ahead - log_ahead, of_here - log_here]
            gaps.append((torch.logsumexp(torch.cat(terms, dim=1), dim=1) - data).mean())
            read += [*bound, of_uniform.mean(), of_here.mean(), of_ahead.mean(), torch.cat(terms, dim=1).std(1).mean()]
        return gaps, read

    def descend(self, temperature_loss: Tensor, actor_loss: Tensor, critic_loss: Tensor) -> None:
        self.temperature_adam.zero_grad()
        temperature_loss.backward()
        self.temperature_adam.step()
        self.actor_adam.zero_grad()
        actor_loss.backward()
        for adam in self.critic_adam:
            adam.zero_grad()
        critic_loss.backward()
        self.actor_adam.step()
        for adam in self.critic_adam:
            adam.step()
        for critic, target in zip(self.critics, self.targets, strict=True):
            for ours, theirs in zip(target.parameters(), critic.parameters(), strict=True):
                ours.data.copy_(self.tau * theirs.data + (1 - self.tau) * ours.data)
