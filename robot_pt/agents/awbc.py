"""Advantage-weighted behaviour cloning: imitation weighted by the critic of another agent, which stays as it is.

    actor   -mean exp(min(A / T, 5)) log pi(a | s), A = Q(s, a) - mean over K of Q(s, a_k), a_k ~ pi(s), Q the minimum over heads

What arXiv 2210.05178's talk compares PTR with (Asap7772/PTR jaxrl2/agents/cql_encodersep_parallel_awbc): how much of PTR is in its
critic, without its way of improving a policy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from robot_pt.agents.conservative_agent import ConservativeConfig
from robot_pt.agents.off_policy import VIEW, require, require_beta
from robot_pt.agents.offline import OfflineAgent, OfflineConfig, advantage_weights, gaussian_head, require_gaussian
from robot_pt.agents.ptr import PTRConfig
from robot_pt.agents.soft import SoftConfig
from robot_pt.agents.state import load_flat_state, part_of, require_same_network
from robot_pt.errors import MismatchError, UserError
from robot_pt.networks.policies import ActorNetwork
from robot_pt.normalize import CLIP
from robot_pt.schema import Batch

_POLICY = 0  # noise stream


@final
class AWBC(OfflineAgent):
    """Implements `robot_pt.agents.Agent`. `build` makes networks of the trained agent's shapes; `judge_by` gives it the critic."""

    def __init__(self, actor: ActorNetwork, critic: nn.Module, config: AWBCConfig, *, seed: int = 0):
        self.config = config
        critic.requires_grad_(False).eval()
        super().__init__(actor, critic, config, seed=seed)
        del self._modules["target"]  # nothing is backed up
        self.target = critic
        self._judged = False

    @classmethod
    def defaults(cls) -> AWBCConfig:
        return AWBCConfig()

    def judge_by(self, trained: Mapping[str, Tensor], *, start_from_actor: bool = False) -> None:
        """Take the critic out of the `state_dict` of any agent with one, and with `start_from_actor` the actor too.

        Raises MismatchError where networks differ, or the range of actions: Q of actions scaled otherwise means nothing.
        """
        parts = ["critic", "actor"] if start_from_actor else ["critic"]
        modules = {name: self._modules[name] for name in parts}
        require_same_network("AWBC", trained, modules)
        for end in ("low", "high"):
            theirs, ours = trained.get(f"actor.normalizer.{end}"), getattr(self.actor.normalizer, end)
            if theirs is not None and not torch.equal(theirs.to(ours.device), ours):
                raise MismatchError(
                    f"the critic was trained on actions with {end} ends {theirs.tolist()}, here they are {ours.tolist()}; use the bounds "
                    "it was trained with."
                )
        weights = {name: value for name, value in part_of(trained, parts).items() if not name.startswith("optimizer.")}
        load_flat_state(weights, modules, {})
        if self.acting is not self.actor and start_from_actor:
            self.acting.load_state_dict(self.actor.state_dict())
        self._judged = True

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        super().load_state_dict(state)
        self._judged = True

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        if not self._judged:
            raise UserError(
                "advantage-weighted BC has no critic to judge by yet; give it a trained agent's with judge_by."
            )
        return super().update(batch, step)

    def update_in_phase(self, batch: Batch, step: int | Tensor, phase: str) -> dict[str, Tensor]:
        action_BA = self.actor.normalizer.encode(batch.action)
        images = self._view(batch.images, batch, step, VIEW)
        policy = self.policy(images, batch.proprio, batch)
        sampled_BKA = policy.detach().sample(self.normal(batch, step, _POLICY, self.config.actions))[0].clamp(-1, 1)
        q_BN = self.judge(
            self.critic, images, batch.proprio, batch, torch.cat([action_BA[:, None], sampled_BKA], dim=1)
        )
        advantage_B = q_BN[:, 0] - q_BN[:, 1:].mean(1)
        loss, weight = self.actor_loss(policy.evened_log_prob(action_BA, self.config.likelihood_beta), advantage_B)
        self.descend("actor", loss)
        return self.actor_log(policy.mode(), action_BA, loss) | {
            "actor/weight": weight,
            "actor/advantage": advantage_B.mean(),
            "critic/q_data": q_BN[:, 0].mean(),
            "critic/q_policy": q_BN[:, 1:].mean(),
        }

    def actor_loss(self, log_prob_B: Tensor, advantage_B: Tensor) -> tuple[Tensor, Tensor]:
        """(loss, mean weight)"""
        config = self.config
        weight_B = advantage_weights(advantage_B, config.temperature, math.exp(config.clip))
        return -(weight_B * log_prob_B).mean(), weight_B.mean()


@final
@dataclass(frozen=True, kw_only=True)
class AWBCConfig(OfflineConfig):
    """The critic's fields are those of the agent it comes from; `like` takes them over. Discount and rewards went into that critic."""

    temperature: float = 1.0
    """T in exp(min(A / T, clip)), in units of Q."""
    clip: float = 5.0
    """Largest exponent of the weight."""
    actions: int = 1
    """K: actions of the policy whose mean Q is the value of the state."""
    policy: Literal["gaussian", "tanh_gaussian"] = "tanh_gaussian"
    """tanh_gaussian = squashed, PTR's; gaussian = plain, its mean a tanh."""
    std: Literal["global", "state"] = "state"
    """Standard deviation: from the state, or one learned number per dimension."""
    log_std_range: tuple[float, float] = (-5.0, 2.0)
    likelihood_beta: float = 0.0
    """Each action dimension's log-density weighs std^(2 beta); 0 = the likelihood, see `ActionGaussian.evened_log_prob`."""

    def head(self) -> dict[str, Any]:
        return gaussian_head(self)

    def rates(self) -> dict[str, float]:
        return {"actor": self.actor_learning_rate}

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, positive=("temperature", "clip", "actions"))
        require_gaussian(self)
        require_beta(self)

    @classmethod
    def like(cls, trained: ConservativeConfig | OfflineConfig | SoftConfig | PTRConfig, **changes: Any) -> AWBCConfig:
        """With the networks of the agent whose critic judges; `changes` are fields of this class."""
        if isinstance(trained, PTRConfig):
            three = (256, 256, 256)
            own: dict[str, Any] = {"critic": "ptr", "critic_hidden": three, "actor_hidden": three, "action_clip": CLIP}
        else:
            names = ("critic", "critic_hidden", "heads", "layer_norm", "categories", "actor_hidden", "action_clip")
            own = {name: getattr(trained, name) for name in names}
        return cls(**{**own, "augment": trained.augment, **changes})
