"""Who learns in benchmarks/online.py: the project's agents, and d3rlpy's behind the same four calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from online_critic import Shape, TableInputs
from online_search import SearchingCalQL, SearchingConfig, SearchingCQL

from robot_pt.agents.plan import OnlinePlan
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import Bounds
from robot_pt.replay import to_device
from robot_pt.schema import Batch, Float, Spec


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Runs of thousands of updates instead of a million: smaller networks, faster rates and targets than published, for all alike."""

    batch_size: int = 64

    hidden: tuple[int, ...] = (64, 64)
    critic: Literal["network", "table"] = "network"
    """table = `online_critic`'s, where one step's Q is learned apart from all others'; state values of IQL too."""
    table_knots: tuple[int, int, int] = (3, 9, 5)
    """Of that table: per metre, over the displacements along an axis, over the grip's range."""
    table_apart: bool = False
    """The knots of its heads lie half a step apart, see `online_critic.Table`."""
    table_start: float = 0.0
    """Q of a table that nothing has been learned of."""
    search_boxes: int = 0
    """CQL's and Cal-QL's policy is `online_search`'s, Q's softmax over so many boxes along each action number; 0 = a Gaussian that climbs Q."""
    search_temperature: float = 0.1
    """Of that softmax, in units of Q."""
    tau: float = 0.05
    input_scale: float = 4.0
    """The state is standardised to this deviation: with 1 a network of two coordinates carries what it learns in one corridor into all."""
    actor_rate: float = 3e-4
    critic_rate: float = 1e-3
    conservative_weight: float = 20.0
    online_weight: float | None = None
    """Of the conservative term on the job, CQL's and Cal-QL's; None = as before, 0 = SAC."""
    extraction: Literal["max_q", "advantage_weighted"] = "max_q"
    """How CQL's and Cal-QL's policy follows the critic."""
    initial_temperature: float = 1.0
    """CQL's and Cal-QL's; published with returns of up to 500, so that less is nearer to it where returns are smaller."""
    cloned_first: int = 0
    """Updates in which CQL's and Cal-QL's policy follows the data instead of Q, as young-geng/CQL begins."""
    actions: int = 4
    """Sampled actions per kind in CQL's term, PTR's number: 12 instead of 30 per state."""
    backup: Literal["max", "plain"] = "max"
    """CQL's and Cal-QL's: the best of the sampled actions at the next state, or one, SAC's."""
    scaled_log_std: bool = True
    """CQL's and Cal-QL's deviation as nakamotoo/Cal-QL writes it, 0.37 at the start; without, d3rlpy's, 1 at the start."""
    weighting_scale: float = 5.0
    """Rewards here are five times AntMaze's -1 and 0, so advantages are divided by that much more before they weigh samples."""
    ensemble_updates: int = 2
    """Critic updates per step of RLPD and WSRL; RLPD's own number is 20."""
    warm_up_steps: int = 200
    """Of RLPD and WSRL."""
    updates_per_step: float = 0.5
    """Of all but RLPD and WSRL; AntMaze's runs take 1."""
    offline_share: float = 0.5
    """Of each online batch of all but RLPD and WSRL."""
    played_first: int = 0
    """Steps online before the first update of all but RLPD and WSRL: with few, most of a batch is one or two episodes."""
    actor_average: float = 0.0
    """Share of the running average of the policy that acts, at every update; 0 = the policy itself."""
    logged_every: int = 250
    """Updates."""

    @property
    def shape(self) -> dict[str, Any]:
        return {
            "critic_hidden": self.hidden,
            "actor_hidden": self.hidden,
            "tau": self.tau,
            "actor_average": self.actor_average,
        }

    @property
    def plan(self) -> OnlinePlan:
        return OnlinePlan(
            batch_size=self.batch_size,
            updates_per_step=self.updates_per_step,
            offline_share=self.offline_share,
            warm_up_steps=self.played_first,
        )

    @property
    def inverse_temperature(self) -> float:
        """AntMaze's 10 of IQL, at the scale of the rewards here."""
        return 10.0 / self.weighting_scale

    @property
    def conservative(self) -> dict[str, Any]:
        """One fixed weight, Adroit's and Kitchen's way."""
        return {
            **self.shape, "weight": self.conservative_weight, "target_gap": None, "actions": self.actions, "backup": self.backup,
            "scaled_log_std": self.scaled_log_std, "extraction": self.extraction, "bc_warm_start_steps": self.cloned_first, "actor_learning_rate": self.actor_rate,
            "critic_learning_rate": self.critic_rate, "temperature_learning_rate": self.actor_rate,
            "initial_temperature": self.initial_temperature,
        }  # fmt: skip

    def settings(self) -> dict[str, Any]:
        """JSON values."""
        return {**asdict(self), "hidden": list(self.hidden), "table_knots": list(self.table_knots)}


class Robot(NamedTuple):
    """What a policy reads and gives."""

    spec: Spec
    bounds: Bounds
    proprio: tuple[Any, Any]
    """Mean and deviation that networks see the state by."""
    table: Shape | None = None
    """Where critics read a table."""
    table_start: float = 0.0


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
        self, agent: Any, rates: Rates, seed: int, *, plan: OnlinePlan | None = None, pretrains: bool = True,
        online: Callable[[Any], Learner] | None = None,
    ):  # fmt: skip
        self.agent, self.plan, self.pretrains, self._online = agent, plan or rates.plan, pretrains, online
        self._logged_every = rates.logged_every
        self._noise = torch.Generator().manual_seed(seed)

    def update(self, batch: Batch, step: int) -> dict[str, float]:
        metrics = self.agent.update(to_device(batch, "cpu"), step)
        if step % self._logged_every:
            return {}
        return {name: float(value) for name, value in metrics.items()}

    def act(self, proprio_NP: Float) -> Float:
        return self.agent.acting.mode(*seen(proprio_NP)).numpy()

    @torch.no_grad()
    def explore(self, proprio_NP: Float) -> Float:
        actor = self.agent.acting
        size = len(actor.normalizer.low)
        noise = torch.randn(len(proprio_NP), 1, size, generator=self._noise)
        action_BKA, _ = actor(*seen(proprio_NP)).sample(noise)
        return actor.normalizer.decode(action_BKA[:, 0]).numpy()

    @torch.no_grad()
    def values(self, proprio_NP: Float, action_NA: Float) -> Float:
        """(N,) Q, the least head; for agents that have a critic."""
        normalizer, critic = self.agent.actor.normalizer, self.agent.critic
        action_NKA = normalizer.encode(torch.from_numpy(action_NA))[:, None]
        q_ENK = self.agent.q_values(critic(*critic.state(*seen(proprio_NP)), action_NKA))
        return q_ENK.amin(0)[:, 0].numpy()

    def go_online(self) -> Learner:
        return self if self._online is None else self._online(self.agent)


def seen(proprio_NP: Float) -> tuple[Any, ...]:
    count = len(proprio_NP)
    return {}, torch.from_numpy(proprio_NP), torch.zeros(count, dtype=torch.int64), torch.zeros(count, 0)


def build(agent: Any, config: Any, robot: Robot, seed: int) -> Any:
    shape: dict[str, Any] = {
        "cameras": (), "image_size": (0, 0), "task_slots": 1, "encoder": EncoderConfig(name="small"), "bounds": robot.bounds,
        "proprio": robot.proprio,
    }  # fmt: skip
    if robot.table is None:
        return agent.build(robot.spec, config=config, seed=seed, **shape)
    inputs = TableInputs(spec=robot.spec, language_size=0, table=robot.table, start=robot.table_start, **shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return agent.of(inputs, config, torch.device("cpu"), seed)


def conservative(name: str, rates: Rates, robot: Robot, seed: int) -> Learner:
    from robot_pt.agents.cal_ql import CalQL, CalQLConfig
    from robot_pt.agents.cql import CQL, CQLConfig

    kinds: dict[str, Any] = {"cal_ql": (CalQL, CalQLConfig, SearchingCalQL), "cql": (CQL, CQLConfig, SearchingCQL)}
    kind, configured, searching = kinds[name]
    config = configured(**rates.conservative)
    if rates.search_boxes:
        kind, config = (
            searching,
            SearchingConfig(
                **rates.conservative, search_boxes=rates.search_boxes, search_temperature=rates.search_temperature
            ),
        )

    def online(agent: Any) -> Learner:
        if rates.online_weight is not None:
            agent.config = replace(agent.config, weight=rates.online_weight)
        return learner

    learner = Ours(build(kind, config, robot, seed), rates, seed, online=online)
    return learner


def weighted(name: str, rates: Rates, robot: Robot, seed: int) -> Learner:
    """IQL with its AntMaze settings; AWAC with the softmax weights of its released code."""
    from robot_pt.agents.awac import AWAC, AWACConfig
    from robot_pt.agents.iql import IQL, IQLConfig

    shape: dict[str, Any] = {
        **rates.shape, "actor_learning_rate": rates.actor_rate, "critic_learning_rate": rates.critic_rate
    }  # fmt: skip
    if name == "iql":
        config = IQLConfig.antmaze(
            online=True, value_learning_rate=rates.critic_rate, inverse_temperature=rates.inverse_temperature, **shape
        )
        return Ours(build(IQL, config, robot, seed), rates, seed)
    awac = AWACConfig(weights="softmax", temperature=rates.weighting_scale, **shape)
    return Ours(build(AWAC, awac, robot, seed), rates, seed)


def _cloned(rates: Rates, robot: Robot, seed: int) -> Any:
    from robot_pt.agents.bc import BC, BCConfig

    config = BCConfig(
        learning_rate=rates.critic_rate,
        head="tanh_gaussian",
        std="state",
        augment=None,
        actor_average=rates.actor_average,
    )
    return build(BC, config, robot, seed)


def cloning(name: str, rates: Rates, robot: Robot, seed: int) -> Learner:
    """Behaviour cloning: what the data shows by itself; it goes on cloning online."""
    return Ours(_cloned(rates, robot, seed), rates, seed)


def rlpd(name: str, rates: Rates, robot: Robot, seed: int) -> Learner:
    """From nothing, half of each batch from the data; fewer updates per step than the paper's 20, for time."""
    from robot_pt.agents.rlpd import RLPD

    agent = build(RLPD, _rlpd_config(rates), robot, seed)
    return Ours(agent, rates, seed, plan=agent.plan, pretrains=False)


def rlpd_from_bc(name: str, rates: Rates, robot: Robot, seed: int) -> Learner:
    """RLPD whose policy starts as a behaviour clone's; its critic starts fresh."""
    from robot_pt.agents.rlpd import RLPD
    from robot_pt.agents.taking_over import take_over

    def online(pretrained: Any) -> Learner:
        like_bc = {"actor_hidden": (256, 256, 256), "log_std_range": pretrained.config.log_std_range}
        agent = build(RLPD, _rlpd_config(rates, **like_bc), robot, seed)
        take_over(agent, pretrained.state_dict())
        return Ours(agent, rates, seed, plan=agent.plan)

    return Ours(_cloned(rates, robot, seed), rates, seed, online=online)


def _rlpd_config(rates: Rates, **changes: Any) -> Any:
    from robot_pt.agents.rlpd import antmaze

    shape = {**rates.shape, "critic_learning_rate": rates.critic_rate, **changes}
    return antmaze(
        critic_updates=rates.ensemble_updates, warm_up_steps=rates.warm_up_steps, batch_size=rates.batch_size, **shape
    )


def wsrl(name: str, rates: Rates, robot: Robot, seed: int) -> Learner:
    """Pretrains as Cal-QL with LayerNorm, then goes on as SAC without the data."""
    from robot_pt.agents.cal_ql import CalQL, CalQLConfig
    from robot_pt.agents.taking_over import take_over
    from robot_pt.agents.wsrl import WSRL, WSRLConfig

    config = CalQLConfig(**rates.conservative, layer_norm=True)

    def online(pretrained: Any) -> Learner:
        following = WSRLConfig.after(
            config,
            warm_up_steps=rates.warm_up_steps,
            batch_size=rates.batch_size,
            critic_updates=rates.ensemble_updates,
        )
        agent = build(WSRL, following, robot, seed)
        fresh = take_over(agent, pretrained.state_dict())
        assert not fresh, f"{fresh} start fresh"
        return Ours(agent, rates, seed, plan=following.plan())

    return Ours(build(CalQL, config, robot, seed), rates, seed, online=online)


ALGORITHMS: dict[str, Callable[[str, Rates, Robot, int], Learner]] = {
    "cal_ql": conservative, "cql": conservative, "iql": weighted, "awac": weighted, "wsrl": wsrl, "rlpd": rlpd,
    "rlpd_bc": rlpd_from_bc, "bc": cloning,
}  # fmt: skip
PEERS = ("d3rlpy_cal_ql", "d3rlpy_cql", "d3rlpy_iql", "d3rlpy_awac")


def make(name: str, rates: Rates, robot: Robot, seed: int, gamma: float) -> Learner:
    """`gamma`: what d3rlpy is told of it; our batches hold it."""
    if name.startswith("d3rlpy_"):
        from online_peer import Peer

        return Peer(name.removeprefix("d3rlpy_"), rates, robot, seed, gamma)
    return ALGORITHMS[name](name, rates, robot, seed)


def standardising(proprio: Float, input_scale: float) -> tuple[Any, Any]:
    """(mean, deviation) that networks see the state by."""
    return proprio.mean(0), np.maximum(proprio.std(0), 1e-3) / input_scale
