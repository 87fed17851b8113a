"""WSRL (arXiv 2412.07762): go online from a pretrained agent without keeping any of the data that it was pretrained on.

`take_over` a CQL or Cal-QL run (`robot_pt.agents.taking_over`); 5,000 environment steps of that policy as it is, which put data of its own kind into the empty
replay and spare Q the sudden fall; then plain SAC with an ensemble, four critic updates per step, nothing conservative. Best where
the pretraining had the same LayerNorm ensemble already (heads 10, subset 2, layer_norm), as in the authors' runs (their
`--use_redq`); `after` takes over whatever networks it had. In the released code it is the pretrained agent itself with its
conservative loss switched off, so the optimisers' moments go on too. What differs here: the actor climbs on the last of the four
batches, there on all four together. A user on a real robot reported chatter for some 5,000 updates after the switch
(zhouzypaul/wsrl issue 9).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

from robot_pt.agents.conservative_agent import ConservativeConfig
from robot_pt.agents.ptr import PTRConfig
from robot_pt.agents.soft import SoftAgent, SoftConfig


@final
class WSRL(SoftAgent):
    """Implements `robot_pt.agents.Agent`."""

    @classmethod
    def defaults(cls) -> WSRLConfig:
        return WSRLConfig()


@final
@dataclass(frozen=True, kw_only=True)
class WSRLConfig(SoftConfig):
    """Defaults: the authors' ensemble for Adroit and Kitchen. AntMaze keeps its max backup: `backup_actions` = 10."""

    offline_share: float = 0.0
    critic_updates: int = 4
    backup_entropy: bool = False
    actor_value: Literal["mean", "min"] = "min"
    target_entropy_factor: float = 1.0
    actor_learning_rate: float = 1e-4
    temperature_learning_rate: float = 1e-4
    scaled_log_std: bool = True

    @classmethod
    def after(cls, pretrained: ConservativeConfig | PTRConfig, **changes: Any) -> WSRLConfig:
        """With the networks, rates and backup of a CQL, Cal-QL or PTR run, so that its weights fit; `changes` are fields of this class."""
        same = {
            "actor_learning_rate": pretrained.actor_learning_rate, "critic_learning_rate": pretrained.critic_learning_rate,
            "temperature_learning_rate": pretrained.temperature_learning_rate, "log_std_range": pretrained.log_std_range,
            "target_entropy_factor": pretrained.target_entropy_factor, "tau": pretrained.tau, "augment": pretrained.augment,
            "actor_average": pretrained.actor_average, "bf16": pretrained.bf16, "acceleration": pretrained.acceleration,
        }  # fmt: skip
        own = _of_ptr(pretrained) if isinstance(pretrained, PTRConfig) else _of_conservative(pretrained)
        return cls(**{**same, **own, **changes})


def _of_conservative(config: ConservativeConfig) -> dict[str, Any]:
    names = (
        "heads", "subset", "layer_norm", "categories", "critic", "critic_hidden", "actor_hidden", "scaled_log_std", "action_clip", "backup_entropy"
    )  # fmt: skip
    return {name: getattr(config, name) for name in names} | {
        "backup_actions": config.actions if config.backup == "max" else 1
    }


def _of_ptr(config: PTRConfig) -> dict[str, Any]:
    three = (256, 256, 256)
    return {
        "heads": 2, "subset": None, "layer_norm": False, "critic": "ptr", "critic_hidden": three, "actor_hidden": three,
        "scaled_log_std": False, "action_clip": 0.99, "backup_actions": config.actions,
    }  # fmt: skip
