"""Who learns in benchmarks/online.py: the project's agents, and d3rlpy's behind the same four calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from online_task import BOUNDS, Problem

from robot_pt.agents.plan import OnlinePlan
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.replay import to_device
from robot_pt.schema import Batch, Float
from robot_pt_sim.point_maze import maze_spec

# Runs of a few thousand updates instead of a million: smaller networks, faster rates and targets than published, for all alike.
HIDDEN = (128, 128)
SHAPE: dict[str, Any] = {"critic_hidden": HIDDEN, "actor_hidden": HIDDEN, "tau": 0.02}
TAU = SHAPE["tau"]
ACTOR_RATE, CRITIC_RATE = 3e-4, 1e-3
BATCH = Problem.batch_size
WEIGHT = 5.0
"""Of the conservative term."""
ACTIONS = 4
"""Sampled actions per kind in CQL's term, PTR's number: 12 instead of 30 per state."""
RLPD_UPDATES, WARM_UP_STEPS = 8, 400


class Learner(Protocol):
    plan: OnlinePlan
    pretrains: bool
    """False starts online from nothing, as RLPD does."""

    def update(self, batch: Batch, step: int) -> dict[str, float]: ...

    def act(self, proprio_NP: Float) -> Float:
        """(N, A) the greedy actions [m]."""
        ...

    def explore(self, proprio_NP: Float) -> Float:
        """(N, A) drawn actions [m]."""
        ...

    def go_online(self) -> Learner:
        """Who goes on when offline training is over: the same, or another with its weights."""
        ...


class Ours:
    """An agent of robot_pt.agents on the state alone."""

    def __init__(
        self, agent: Any, plan: OnlinePlan, *, pretrains: bool = True, seed: int = 0,
        online: Callable[[Any], Learner] | None = None,
    ):  # fmt: skip
        self.agent, self.plan, self.pretrains, self._online = agent, plan, pretrains, online
        self._noise = torch.Generator().manual_seed(seed)

    def update(self, batch: Batch, step: int) -> dict[str, float]:
        metrics = self.agent.update(to_device(batch, "cpu"), step)
        return {name: float(value) for name, value in metrics.items()} if step % 500 == 0 else {}

    def act(self, proprio_NP: Float) -> Float:
        return self.agent.acting.mode(*_seen(proprio_NP)).numpy()

    @torch.no_grad()
    def explore(self, proprio_NP: Float) -> Float:
        actor = self.agent.acting
        noise = torch.randn(len(proprio_NP), 1, len(BOUNDS.low), generator=self._noise)
        action_BKA, _ = actor(*_seen(proprio_NP)).sample(noise)
        return actor.normalizer.decode(action_BKA[:, 0]).numpy()

    def go_online(self) -> Learner:
        return self if self._online is None else self._online(self.agent)


def _seen(proprio_NP: Float) -> tuple[Any, ...]:
    count = len(proprio_NP)
    return {}, torch.from_numpy(proprio_NP), torch.zeros(count, dtype=torch.int64), torch.zeros(count, 0)


def build(agent: Any, config: Any, proprio: tuple[Any, Any], seed: int) -> Any:
    return agent.build(
        maze_spec(), cameras=(), image_size=(0, 0), task_slots=1, encoder=EncoderConfig(name="small"), config=config, bounds=BOUNDS,
        proprio=proprio, seed=seed,
    )  # fmt: skip


def conservative(name: str, proprio: tuple[Any, Any], seed: int) -> Learner:
    """Cal-QL and CQL: a fixed weight instead of the Lagrange multiplier, since play covers all actions and no gap is reached."""
    from robot_pt.agents.cal_ql import CalQL, CalQLConfig
    from robot_pt.agents.cql import CQL, CQLConfig

    shape = conservative_shape()
    if name == "cal_ql":
        return Ours(build(CalQL, CalQLConfig(**shape), proprio, seed), OnlinePlan(), seed=seed)
    return Ours(build(CQL, CQLConfig(**shape), proprio, seed), OnlinePlan(), seed=seed)


def conservative_shape() -> dict[str, Any]:
    return {
        **SHAPE, "weight": WEIGHT, "target_gap": None, "actions": ACTIONS, "actor_learning_rate": ACTOR_RATE,
        "critic_learning_rate": CRITIC_RATE, "temperature_learning_rate": ACTOR_RATE,
    }  # fmt: skip


def weighted(name: str, proprio: tuple[Any, Any], seed: int) -> Learner:
    """IQL with its AntMaze settings, AWAC with its defaults."""
    from robot_pt.agents.awac import AWAC, AWACConfig
    from robot_pt.agents.iql import IQL, IQLConfig

    rates: dict[str, Any] = {**SHAPE, "actor_learning_rate": ACTOR_RATE, "critic_learning_rate": CRITIC_RATE}
    if name == "iql":
        config = IQLConfig.antmaze(online=True, value_learning_rate=CRITIC_RATE, **rates)
        return Ours(build(IQL, config, proprio, seed), OnlinePlan(), seed=seed)
    return Ours(build(AWAC, AWACConfig(**rates), proprio, seed), OnlinePlan(), seed=seed)


def cloning(name: str, proprio: tuple[Any, Any], seed: int) -> Learner:
    """Behaviour cloning: what the data shows by itself; it goes on cloning online."""
    from robot_pt.agents.bc import BC, BCConfig

    config = BCConfig(learning_rate=CRITIC_RATE, head="tanh_gaussian", std="state", augment=None)
    return Ours(build(BC, config, proprio, seed), OnlinePlan(), seed=seed)


def rlpd(name: str, proprio: tuple[Any, Any], seed: int) -> Learner:
    """From nothing, half of each batch from the data; fewer updates per step than the paper's 20, for time."""
    from robot_pt.agents.rlpd import RLPD, antmaze

    config = antmaze(**{**SHAPE, "critic_updates": RLPD_UPDATES, "warm_up_steps": WARM_UP_STEPS, "batch_size": BATCH,
                        "critic_learning_rate": CRITIC_RATE})  # fmt: skip
    return Ours(build(RLPD, config, proprio, seed), config.plan(), pretrains=False, seed=seed)


def wsrl(name: str, proprio: tuple[Any, Any], seed: int) -> Learner:
    """Pretrains as Cal-QL with LayerNorm, then goes on as SAC without the data."""
    from robot_pt.agents.cal_ql import CalQL, CalQLConfig
    from robot_pt.agents.taking_over import take_over
    from robot_pt.agents.wsrl import WSRL, WSRLConfig

    config = CalQLConfig(**conservative_shape(), layer_norm=True)

    def online(pretrained: Any) -> Learner:
        following = WSRLConfig.after(config, warm_up_steps=WARM_UP_STEPS, batch_size=BATCH)
        agent = build(WSRL, following, proprio, seed)
        fresh = take_over(agent, pretrained.state_dict())
        assert not fresh, f"{fresh} start fresh"
        return Ours(agent, following.plan(), seed=seed)

    return Ours(build(CalQL, config, proprio, seed), OnlinePlan(), seed=seed, online=online)


ALGORITHMS: dict[str, Callable[[str, tuple[Any, Any], int], Learner]] = {
    "cal_ql": conservative, "cql": conservative, "iql": weighted, "awac": weighted, "rlpd": rlpd, "wsrl": wsrl, "bc": cloning,
}  # fmt: skip
PEERS = ("d3rlpy_cal_ql", "d3rlpy_cql", "d3rlpy_iql", "d3rlpy_awac")


def make(name: str, proprio: tuple[Any, Any], seed: int) -> Learner:
    if name.startswith("d3rlpy_"):
        from online_peer import Peer

        return Peer(name.removeprefix("d3rlpy_"), proprio, seed)
    return ALGORITHMS[name](name, proprio, seed)


def standardising(proprio: Float) -> tuple[Any, Any]:
    return proprio.mean(0), np.maximum(proprio.std(0), 1e-3)
