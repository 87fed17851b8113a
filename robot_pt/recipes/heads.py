"""Heads on frozen features, and the baseline without any: imitation from a few demonstrations, then RL on what the policy does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from robot_pt import checkpoint
from robot_pt.agents import Agent
from robot_pt.agents.bc import BCConfig
from robot_pt.agents.cal_ql import CalQL, CalQLConfig
from robot_pt.agents.taking_over import take_over
from robot_pt.augment import AugmentConfig
from robot_pt.evaluate import ActingPolicy, PolicyFactory
from robot_pt.features import FeaturePolicy, FeatureSource, Kind, feature_episode
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import BRIDGE_BOUNDS, proprio_statistics
from robot_pt.online.replay import OnlineReplay
from robot_pt.policy import Policy
from robot_pt.recipes import loop, runs
from robot_pt.recipes.origins import Origin
from robot_pt.replay import Replay, to_device
from robot_pt.schema import PROPRIO_NAMES, Episode, Float, Observation
from robot_pt.sources import EpisodeSource
from robot_pt.tasks import TaskTable

LEARNING_RATE, STD_RANGE, AVERAGE = 5e-4, (-2.0, 2.0), 0.003
"""As the demo's policies have them."""
BATCH = 128
FEATURE_SHARE = 64
"""Features weigh together as this many numbers of deviation 1, however many they are, beside the seven of the state."""
CROP = AugmentConfig(pad=1, jitter_probability=0.0)
"""From scratch: a pixel at 64x64, as the demo has it."""
ONLINE_BATCH, UPDATES_PER_STEP, ONLINE_SHARE = 64, 1, 0.5
ONLINE_LEARNING_RATE = 1e-4
"""At the imitation's own rate these smaller batches unlearn a part of it, without any episode too (benchmarks/online.md)."""
ONLINE_NOISE = 0.02
"""Deviation of RL's actions around the policy's central one, in half ranges: drawn ones fail (benchmarks/online.md, "From pixels")."""
LEAST_RETURN = -24.99
"""Just above the return of an episode that fails, -1 / (1 - 0.96): such steps are not imitated."""
FIRST_ONLINE_SEED = 500_000
"""Starts of RL episodes: above those of the data, below those of evaluations."""


def imitate(
    source: EpisodeSource, folder: Path, *, updates: int, seed: int, camera: str = "", image_size: tuple[int, int] = (0, 0),
    encoder: str = "small",
) -> Agent:  # fmt: skip
    """Behaviour cloning on `source`, its policy saved in `folder`; with a camera the images are learned from too, else the state alone."""
    tasks = TaskTable.of(source.episodes.task)
    settings = runs.RunSettings(
        algorithm="bc", encoder=EncoderConfig(name=encoder), camera=camera, image_size=image_size, task_slots=tasks.slots,
        batch_size=BATCH if not camera else BATCH // 2, bounds=BRIDGE_BOUNDS, proprio=standard(source), seed=seed,
        bc=BCConfig(
            learning_rate=LEARNING_RATE, head="tanh_gaussian", std="state", log_std_range=STD_RANGE, actor_average=AVERAGE,
            augment=CROP if camera else None,
        ),
    )  # fmt: skip
    agent = settings.build(source.spec, "cpu")
    with Replay(
        [source], [1.0], cameras=settings.cameras, image_size=image_size, batch_size=settings.batch_size, reward=settings.reward,
        gamma=settings.gamma, task_table=tasks, seed=seed, threads=1, **settings.sampling(),
    ) as batches:  # fmt: skip
        for step in range(updates):
            agent.update(to_device(next(batches), "cpu"), step)
    save(folder, updates, agent, settings, source, tasks)
    return agent


def standard(source: EpisodeSource, share: int = FEATURE_SHARE) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, deviation) that proprio is standardised with; features behind the state share the weight of `share` numbers."""
    mean, std = proprio_statistics(source)
    count = len(std) - len(PROPRIO_NAMES)
    std = std.copy()
    std[len(PROPRIO_NAMES) :] *= max(1.0, count / share) ** 0.5
    return tuple(mean.tolist()), tuple(std.tolist())


def save(
    folder: Path, step: int, agent: Agent, settings: runs.RunSettings, source: EpisodeSource, tasks: TaskTable
) -> None:
    checkpoint.save_policy(folder, step, agent, runs.record(agent, settings, source.spec, tasks, loop.describe(source)))  # type: ignore[arg-type]


def acting(folder: Path, origin: Origin | None, kind: Kind) -> PolicyFactory:
    """Picklable: the policy in `folder`, looking through the encoder of `origin`; None for one that sees images itself."""
    return partial(_load, folder, origin, kind)


def _load(folder: Path, origin: Origin | None, kind: Kind) -> ActingPolicy:
    torch.set_num_threads(1)
    policy = Policy.load(folder)
    return policy if origin is None else FeaturePolicy(policy, origin.extractor(), kind)


class RandomActions:
    """Uniform within the bounds: what success costs nothing."""

    version = "random-actions"

    def __init__(self) -> None:
        self._low, self._high = np.array(BRIDGE_BOUNDS.low, np.float32), np.array(BRIDGE_BOUNDS.high, np.float32)
        self._episodes, self._rng = 0, np.random.default_rng(0)

    def reset(self, task: str | None) -> None:
        """Other actions in every episode, the same ones in every evaluation."""
        self._episodes += 1
        self._rng = np.random.default_rng(self._episodes)

    def act(self, history: Sequence[Observation]) -> Float:
        return self._rng.uniform(self._low, self._high)[None].astype(np.float32)


class Exploring:
    """A policy on features that acts near what it has learned so far."""

    def __init__(self, policy: Policy, look: FeaturePolicy, seed: int, std: float = ONLINE_NOISE):
        self.version, self._policy, self._look, self._std = look.version, policy, look, std
        self._rng = np.random.default_rng(seed)

    def reset(self, task: str | None) -> None:
        self._policy.reset(task)

    def act(self, history: Sequence[Observation]) -> Float:
        return self._policy.explore([self._look.seen(history)], self._rng, self._std)


def online_config() -> CalQLConfig:
    """Cal-QL whose policy imitates what succeeded, weighted by advantage, its actor of the imitation's shape.

    A policy that climbs a critic of so few updates loses all that the imitation knew within the first episodes, RLPD's too.
    """
    return CalQLConfig(
        critic="ensemble", critic_hidden=(128, 128), layer_norm=True, critic_learning_rate=1e-3, weight=0.05, gap_floor=-8.0, target_gap=None, actions=2,
        extraction="advantage_weighted", advantage_temperature=2.0, advantage_clip=1.0, least_return=LEAST_RETURN, tau=0.05,
        actor_hidden=(256, 256, 256), log_std_range=STD_RANGE, scaled_log_std=False, actor_learning_rate=ONLINE_LEARNING_RATE,
        actor_average=AVERAGE, augment=None,
    )  # fmt: skip


def improve(
    play: Callable[[ActingPolicy, int], Episode], task: str, source: FeatureSource, imitation: Agent, origin: Origin, kind: Kind,
    folder: Path, *, episodes: int, seed: int,
) -> None:  # fmt: skip
    """RL from the imitation's policy: so many episodes, after each as many updates as it had steps; the policy is saved in `folder`.

    play: (policy that sees frames, start) -> the episode, as `robot_pt_sim.rollouts.EpisodePlayer`.
    """
    tasks, config = TaskTable.of(source.episodes.task), online_config()
    settings = runs.RunSettings(
        algorithm="cal_ql", encoder=EncoderConfig(name="small"), camera="", image_size=(0, 0), task_slots=tasks.slots,
        bounds=BRIDGE_BOUNDS, proprio=standard(source), options=config, seed=seed,
    )  # fmt: skip
    agent: Any = settings.build(source.spec, "cpu")
    assert isinstance(agent, CalQL)
    take_over(agent, imitation.state_dict())
    record = runs.record(agent, settings, source.spec, tasks, [])
    look = origin.extractor()
    policy = Policy(record, agent.acting, version="exploring", step=0)
    explorer, step = Exploring(policy, FeaturePolicy(policy, look, kind), seed), 0
    with OnlineReplay(
        {"demos": (source, 1 - ONLINE_SHARE)}, online=ONLINE_SHARE, spec=source.spec, cameras=(), image_size=(0, 0),
        batch_size=ONLINE_BATCH, reward=settings.reward, gamma=settings.gamma, task_table=tasks, seed=seed,
    ) as batches:  # fmt: skip
        for number in range(episodes):
            agent.acting.eval()
            played = play(explorer, FIRST_ONLINE_SEED + 10_000 * seed + number)
            batches.append(feature_episode(replace(played, task=task), look, kind), folder)
            agent.acting.train()
            for _ in range(len(played) * UPDATES_PER_STEP):
                agent.update(to_device(next(batches), "cpu"), step)
                step += 1
    save(folder, step, agent, settings, source, tasks)
