"""RLPD (arXiv 2302.02948): SAC on half old, half new data from the first update, with a LayerNorm ensemble and many updates.

No pretraining, no conservatism: LayerNorm keeps Q of unseen actions near that of seen ones, the minimum of two of ten critics, drawn
anew, keeps it low, and twenty critic updates per environment step make up for the lack of a start. The 50/50 batches are replay's
(`robot_pt.mixing.Mixer`). Settings by domain: ikostrikov/rlpd README and configs/*. What differs here: weights start orthogonal
(there Xavier), on images the actor has its own encoder (there the critic's), and the first steps are the policy's own (there uniform
actions, which no arm should make).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from robot_pt.agents.soft import SoftAgent, SoftConfig


@final
class RLPD(SoftAgent):
    """Implements `robot_pt.agents.Agent`. With the actor of a behaviour-cloning run (`taking_over.take_over`) a strong baseline."""

    @classmethod
    def defaults(cls) -> RLPDConfig:
        return RLPDConfig()


@final
@dataclass(frozen=True, kw_only=True)
class RLPDConfig(SoftConfig):
    """Defaults: locomotion."""


def antmaze(**changes: Any) -> RLPDConfig:
    """One head drawn instead of two, three layers, no entropy in the backup; rewards -1 and 0 there, discount 0.99."""
    wide = (256, 256, 256)
    return RLPDConfig(**{"subset": 1, "backup_entropy": False, "critic_hidden": wide, "actor_hidden": wide, **changes})


def adroit_binary(**changes: Any) -> RLPDConfig:
    """Sparse binary rewards: AntMaze's settings with two heads drawn."""
    return antmaze(**{"subset": 2, **changes})


def pixels(**changes: Any) -> RLPDConfig:
    """V-D4RL images: one update per step, one head drawn, no entropy in the backup; discount 0.99."""
    return RLPDConfig(**{"critic_updates": 1, "subset": 1, "backup_entropy": False, **changes})


def plain_sac(**changes: Any) -> RLPDConfig:
    """SAC (arXiv 1812.05905): two critics, both minima, no LayerNorm, one update per step, no old data; target entropy -|A|."""
    of_sac = {
        "heads": 2, "subset": None, "layer_norm": False, "critic_updates": 1, "offline_share": 0.0, "actor_value": "min",
        "target_entropy_factor": 1.0,
    }  # fmt: skip
    return RLPDConfig(**{**of_sac, **changes})
