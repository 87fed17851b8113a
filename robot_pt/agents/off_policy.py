"""What every actor-critic here is made of: networks, a slow target, optimisers, views and noise that belong to the sample.

An algorithm is a final subclass in a file of its own: losses in its paper's order, and `update_in_phase`, which composes
them. Nothing here waits for the device, so a whole update can be one CUDA graph.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Adam

from robot_pt import noise
from robot_pt.agents import GradSync, no_sync
from robot_pt.agents.graphed import GraphedStep
from robot_pt.agents.inputs import Built
from robot_pt.agents.plan import OnlinePlan
from robot_pt.agents.state import averaged, flat_state, load_flat_state, move_towards
from robot_pt.augment import AugmentConfig, augment
from robot_pt.errors import UserError
from robot_pt.networks.categorical import Scalar, ValueCode
from robot_pt.networks.distributions import ActionGaussian
from robot_pt.networks.ensembles import State
from robot_pt.networks.modes import evaluating
from robot_pt.networks.policies import ActorNetwork
from robot_pt.schema import Batch

VIEW, VIEW_NEXT, HEADS = 16, 32, 48
"""Noise streams: augmented views, one more per camera, and drawn heads; those below 16 are the algorithms' own."""

Acceleration = Literal["none", "compile", "cuda_graph"]


class OffPolicyAgent(Built, ABC):
    """Implements `robot_pt.agents.Agent` but for `of` and `update_in_phase`.

    Args:
        learning_rates: Adam's, by name of the module: "actor", "critic" and names of `others`; a module without one is not trained.
        tau: share by which the target critic moves to the critic when `move_target` is called.
        others: further modules of the algorithm (temperature, value network, multiplier), saved with the rest.
        actor_average: share of the running average of the actor that acts and is saved; 0 = the actor itself.
        augment: None feeds images as they are.
        code: how the critic's output stands for a value; None for the value itself.
    """

    plan = OnlinePlan()
    """What the loop that feeds the agent online is asked for."""

    def __init__(
        self, actor: ActorNetwork, critic: nn.Module, *, learning_rates: Mapping[str, float], tau: float,
        others: Mapping[str, nn.Module] | None = None, augment: AugmentConfig | None = None, actor_average: float = 0.0,
        bf16: bool = False, acceleration: Acceleration = "none", seed: int = 0, code: ValueCode | None = None,
    ):  # fmt: skip
        self.code = code or Scalar()
        self.actor, self.critic, self.seed = actor, critic, seed
        self.target = copy.deepcopy(critic).requires_grad_(False)
        self.acting = averaged(actor, actor_average)
        self.grad_sync: GradSync = no_sync
        self._device = next(actor.parameters()).device
        self._tau, self._augment, self._actor_average, self._bf16 = tau, augment, actor_average, bf16
        self._modules: dict[str, nn.Module] = {
            "actor": actor,
            "critic": critic,
            "target": self.target,
            **(others or {}),
        }
        if self.acting is not actor:
            self._modules["average"] = self.acting
        on_graph = acceleration == "cuda_graph"
        if on_graph and self._device.type != "cuda":
            raise UserError(f"cuda_graph needs a CUDA device, this one is {self._device}; use none or compile.")
        self._optimizers = {
            name: Adam(self._modules[name].parameters(), lr=rate, fused=True, capturable=on_graph)
            for name, rate in learning_rates.items()
        }
        if acceleration == "compile":
            for module in (actor, critic, self.target):
                module.compile()
        self._acceleration: Acceleration = acceleration
        self._graphs: dict[str, GraphedStep] = {}

    @abstractmethod
    def update_in_phase(self, batch: Batch, step: int | Tensor, phase: str) -> dict[str, Tensor]:
        """One update of fixed shapes without host synchronisation; detached 0-d tensors to log."""

    def phase(self, step: int) -> str:
        """What is learned at this update; an algorithm whose updates change with `step` names the kinds here."""
        return "train"

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        phase = self.phase(step)
        if self._acceleration != "cuda_graph":
            return self.update_in_phase(batch, step, phase)
        if phase not in self._graphs:
            self._graphs[phase] = GraphedStep(lambda b, s: self.update_in_phase(b, s, phase))
        return self._graphs[phase](batch, step)

    @torch.no_grad()
    def values(self, batch: Batch) -> Tensor:
        """(B,) minimum over heads of Q(s, a_data), images as they are; nothing of the agent changes."""
        action_BA = self.actor.normalizer.encode(batch.action)
        with evaluating(self.critic):
            state = self.critic.state(batch.images, batch.proprio, batch.task, batch.language)  # type: ignore[operator]
            return self.q_values(self.critic(*state, action_BA[:, None]))[:, :, 0].amin(0)

    def q_values(self, output: Tensor) -> Tensor:
        """(E, B, K) Q-values of the critic's output; the same tensor unless the critic is categorical."""
        return self.code.decode(output)

    def td_loss(self, output: Tensor, target: Tensor) -> Tensor:
        """(E, B) loss of the critic's output at the data action, (E, B) or (E, B, outputs): the squared error unless it is categorical.

        target: (B,) values, or what `self.code.backup` gave.
        """
        return self.code.loss(output, target)

    def state_dict(self) -> dict[str, Tensor]:
        return flat_state(self._modules, self._optimizers)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        load_flat_state(state, self._modules, self._optimizers)
        self._graphs.clear()  # they were recorded on the optimisers' old tensors

    # For the algorithms.

    def views(self, batch: Batch, step: int | Tensor) -> tuple[Mapping[str, Tensor], Mapping[str, Tensor]]:
        """Images of s and s', each camera augmented independently."""
        return self._view(batch.images, batch, step, VIEW), self._view(batch.next_images, batch, step, VIEW_NEXT)

    def policy(self, images: Mapping[str, Tensor], proprio_BP: Tensor, batch: Batch) -> ActionGaussian:
        with self.autocast():
            distribution: ActionGaussian = self.actor(images, proprio_BP, batch.task, batch.language)
        return distribution

    def state_of(self, critic: nn.Module, images: Mapping[str, Tensor], proprio_BP: Tensor, batch: Batch) -> State:
        with self.autocast():
            state: State = critic.state(images, proprio_BP, batch.task, batch.language)  # type: ignore[operator]
        return state

    def normal(self, batch: Batch, step: int | Tensor, stream: int, count: int) -> Tensor:
        """(B, count, A) standard normal noise of these samples at this update."""
        shape = (count, batch.action.shape[1])
        return noise.normal(batch.sample_key, step, stream, shape, seed=self.seed)

    def uniform_actions(self, batch: Batch, step: int | Tensor, stream: int, count: int) -> Tensor:
        """(B, count, A) uniform on [-1, 1]."""
        shape = (count, batch.action.shape[1])
        return 2 * noise.uniform(batch.sample_key, step, stream, shape, seed=self.seed) - 1

    def through(self, critic: nn.Module, state: State, action_BKA: Tensor) -> Tensor:
        """The critic's output with gradient to the actions and to no weight of it."""
        weights = {name: value.detach() for name, value in critic.named_parameters()}
        with self.autocast():
            out: Tensor = torch.func.functional_call(critic, weights, (*(s.detach() for s in state), action_BKA))
        return out

    def least(self, q_EBK: Tensor, heads: int | None, step: int | Tensor) -> Tensor:
        """(B, K) minimum over all heads, or over so many drawn anew at each update (REDQ, arXiv 2101.05982), the same for all samples."""
        return self.drawn(q_EBK, heads, step).amin(0)

    def drawn(self, output: Tensor, heads: int | None, step: int | Tensor) -> Tensor:
        """The output of so many heads, drawn without repetition from (seed, step) alone; None for all of them."""
        if heads is None or heads >= len(output):
            return output
        key = torch.zeros(1, dtype=torch.int64, device=output.device)
        draw = noise.uniform(key, step, HEADS, (len(output),), seed=self.seed)[0]
        return output.index_select(0, draw.topk(heads).indices)

    def descend(self, name: str, loss: Tensor, *, largest: float | None = None) -> None:
        """One optimiser step of that module on `loss`; a gradient of more than the norm `largest` is scaled down to it."""
        optimizer = self._optimizers[name]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.grad_sync(self._modules[name].parameters())
        if largest is not None:
            clip_grad_norm_(self._modules[name].parameters(), largest)
        optimizer.step()
        if name == "actor" and self.acting is not self.actor:
            move_towards(self.acting, self.actor, self._actor_average)

    def move_target(self) -> None:
        move_towards(self.target, self.critic, self._tau)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16)

    def _view(
        self, images: Mapping[str, Tensor], batch: Batch, step: int | Tensor, stream: int
    ) -> Mapping[str, Tensor]:
        if self._augment is None:
            return images
        cameras, key_B = enumerate(self.actor.encoder.cameras), batch.sample_key
        return {c: augment(images[c], key_B, step, stream + i, self._augment, seed=self.seed) for i, c in cameras}


class Positive(nn.Module):
    """A learned number above 0, as the exponential of a parameter: SAC's temperature, CQL's multiplier."""

    def __init__(self, initial: float, *, largest: float = math.inf):
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(initial)))
        self._largest = largest

    def forward(self) -> Tensor:
        return self.log.exp().clamp(max=self._largest)

    @torch.no_grad()
    def restart(self, value: float) -> None:
        self.log.fill_(math.log(value))


def require(config: object, positive: tuple[str, ...] = (), share: tuple[str, ...] = ()) -> None:
    """Raise UserError unless these fields of an algorithm's config are above 0, or in (0, 1]."""
    values: dict[str, Any] = {name: getattr(config, name) for name in (*positive, *share)}
    for name, value in values.items():
        if not value > 0 or (name in share and value > 1):
            allowed = "a share in (0, 1]" if name in share else "a value above 0"
            raise UserError(f"{type(config).__name__.removesuffix('Config')}'s {name} is {value}; give {allowed}.")


def require_beta(config: Any) -> None:
    """Raise UserError unless an algorithm's `likelihood_beta` is one of `ActionGaussian.evened_log_prob`."""
    if not 0 <= config.likelihood_beta <= 1:
        raise UserError(
            f"{type(config).__name__.removesuffix('Config')}'s likelihood_beta is {config.likelihood_beta}; give a number in [0, 1], "
            "0 for the likelihood itself."
        )
