"""Scaled Q-learning's recipe on PTR (arXiv 2211.15144): what let offline Q-learning grow with its network on 40 games.

Its parts, and where each is here: a distribution over returns learned by cross-entropy instead of a squared error (C51; or HL-Gauss by
`CategoricalConfig.kind`); the last hidden layer of the critic divided by its length; learned spatial embeddings and GroupNorm, which
PTR's encoder has; a small conservative weight, since a cross-entropy has gradients of about 1 where squared errors of returns have tens.

Without normalised features their length and Q drift upwards together under bootstrapping; with a squared error or BatchNorm larger
networks get worse: the three ablations of the paper.
"""

from __future__ import annotations

from typing import Any, final

from robot_pt.agents.ptr import PTR, PTRConfig
from robot_pt.networks.categorical import CategoricalConfig
from robot_pt.rewards import RewardLabel
from robot_pt.schema import Spec

GAMMA = 0.96
"""The discount that the default range of returns is for."""


@final
class ScaledQL:
    """PTR by another config: `build` makes a `PTR`."""

    @classmethod
    def defaults(cls) -> PTRConfig:
        """C51 with 51 atoms over exactly the returns of PTR's labels, [-25, 10]; the paper: 51 atoms on [-20, 20], weight 0.05 to 0.1."""
        returns = CategoricalConfig.of_rewards(RewardLabel(), GAMMA, kind="c51", bins=51)
        return PTRConfig(normalize_features=True, categories=returns, alpha=0.1)

    @classmethod
    def build(cls, spec: Spec, *, config: PTRConfig | None = None, **parts: Any) -> PTR:
        """`parts`: as `PTR.build`."""
        return PTR.build(spec, config=config or cls.defaults(), **parts)
