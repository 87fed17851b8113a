"""Cal-QL as it is run on each published domain, and on ours: the agent's config and what belongs to data and loop.

Numbers of nakamotoo/Cal-QL: `scripts/run_antmaze.sh`, `scripts/run_adroit.sh`, and `scripts/run_kitchen.sh` of branch dev/add-kitchen, over the
defaults of `JaxCQL/conservative_sac_main.py`. CQL there is the same config: `CQLConfig(**vars(domain.config))`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from robot_pt.agents.cal_ql import CalQLConfig
from robot_pt.agents.cql import CQLConfig
from robot_pt.agents.plan import OnlinePlan
from robot_pt.errors import UserError
from robot_pt.recipes.runs import RunSettings
from robot_pt.rewards import RewardLabel

Name = Literal["antmaze", "adroit_binary", "franka_kitchen", "visual_manipulation", "ours"]
NAMES: tuple[Name, ...] = get_args(Name)
CONFIGS: Mapping[str, Callable[..., CalQLConfig | CQLConfig]] = {"cal_ql": CalQLConfig, "cql": CQLConfig}
"""Algorithms that a domain has settings for."""


@dataclass(frozen=True, kw_only=True)
class Domain:
    """Everything that decides a run beside its data and seed."""

    config: CalQLConfig
    reward: RewardLabel
    gamma: float
    """Discount per control step."""
    plan: OnlinePlan
    """Its offline_share is the published mixing ratio: of a batch online, the part from offline data."""
    offline_steps: int
    """Updates before the first environment step."""
    online_steps: int
    """Environment steps."""
    published: bool = True
    """False: a starting point of ours; nobody has published these numbers for this domain."""


def antmaze() -> Domain:
    """Data with rewards of 1 at the goal and 0 elsewhere: -5 and +5, the goal ends the episode."""
    return Domain(
        config=CalQLConfig(
            weight=5.0, target_gap=0.8, importance=True, actor_hidden=(256, 256), critic_hidden=(256, 256, 256, 256)
        ),
        reward=RewardLabel(source="stored", scale=10.0, shift=-5.0, terminal="either"),
        gamma=0.99,
        plan=OnlinePlan(offline_share=0.5),
        offline_steps=1_000_000,
        online_steps=1_000_000,
    )


def adroit_binary(task: str = "door") -> Domain:
    """Data with rewards of 0 at success and -1 elsewhere: -5 and +5.

    Its makers drop trajectories without a success, cut the others at their last one and mark that step as terminated.
    """
    return Domain(
        config=CalQLConfig(
            weight=1.0, target_gap=None, importance=True, actor_hidden=(512, 512), critic_hidden=(512, 512, 512)
        ),
        reward=RewardLabel(source="stored", scale=10.0, shift=5.0, terminal="stored"),
        gamma=0.99,
        plan=OnlinePlan(offline_share=0.5),
        offline_steps=20_000,
        online_steps=200_000 if task == "pen" else 1_000_000,
    )


def kitchen() -> Domain:
    """Rewards as they are, 0 to 4 stages done; the last one lasts for ever. WSRL and OOO shift them by -4 and -5 instead."""
    return Domain(
        config=CalQLConfig(
            weight=5.0, target_gap=None, importance=False, actor_hidden=(512, 512, 512), critic_hidden=(512, 512, 512)
        ),
        reward=RewardLabel(source="stored", scale=1.0, shift=0.0, terminal="stored", beyond="repeat_last"),
        gamma=0.99,
        plan=OnlinePlan(offline_share=0.25),
        offline_steps=500_000,
        online_steps=1_500_000,
    )


def visual_manipulation() -> Domain:
    """Images; the authors' own settings are not public.

    Weight, discount, samples and backup are those of Cal-QL on Bridge and Fractal images in nakamotoo/V-GPS
    (`scripts/launch_calql.sh`), which rewards the last 3 steps; networks, steps and mixing are ours.
    """
    return Domain(
        config=CalQLConfig(
            weight=5.0, target_gap=None, actions=4, actor_hidden=(256, 256, 256), critic_hidden=(256, 256, 256)
        ),
        reward=RewardLabel(),
        gamma=0.98,
        plan=OnlinePlan(offline_share=0.5),
        offline_steps=500_000,
        online_steps=100_000,
        published=False,
    )


def ours() -> Domain:
    """PTR's networks, labels and discount, calibrated: what goes on from a PTR run, whose weights fit."""
    return Domain(
        config=CalQLConfig(
            weight=10.0, target_gap=None, actions=4, critic="ptr", critic_hidden=(256, 256, 256), actor_hidden=(256, 256, 256),
            log_std_range=(-5.0, 2.0), scaled_log_std=False, action_clip=0.99, temperature_learning_rate=3e-4,
        ),
        reward=RewardLabel(),
        gamma=0.96,
        plan=OnlinePlan(offline_share=0.5, batch_size=64),
        offline_steps=160_000,
        online_steps=50_000,
        published=False,
    )  # fmt: skip


def named(name: str) -> Domain:
    """Raises UserError with the names there are."""
    makers: dict[str, Callable[[], Domain]] = dict(
        zip(NAMES, (antmaze, adroit_binary, kitchen, visual_manipulation, ours), strict=True)
    )
    if name not in makers:
        raise UserError(f"there is no domain {name!r}; choose one of {', '.join(NAMES)}.")
    return makers[name]()


def keeps_rewards(name: str | None) -> bool:
    """Whether that domain, if any, learns from the data's own rewards. Raises as `named`."""
    return name is not None and named(name).reward.source == "stored"


def as_in(name: str, settings: RunSettings) -> RunSettings:
    """`settings` with that domain's networks, losses, rewards and discount. Raises UserError for an algorithm that has none there."""
    domain = named(name)
    if settings.algorithm not in CONFIGS:
        raise UserError(
            f"--domain {name} has settings for {' and '.join(CONFIGS)}, not for {settings.algorithm}; leave it out."
        )
    config = replace(CONFIGS[settings.algorithm](**vars(domain.config)), bf16=settings.options.bf16)
    reward = replace(domain.reward, assume_success=settings.reward.assume_success)
    return replace(settings, options=config, reward=reward, gamma=domain.gamma)


def plan_in(document: Mapping[str, Any], algorithm: str) -> OnlinePlan | None:
    """How a run goes on online whose config.json is `document`: as in the domain it was pretrained for, where there was one."""
    name = document.get("arguments", {}).get("domain")
    return named(name).plan if name and algorithm in CONFIGS else None
