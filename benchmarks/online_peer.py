"""d3rlpy 2.8.1 behind the calls of online_learners: its updates as they are, on our batches."""

from __future__ import annotations

from typing import Any

import d3rlpy
import numpy as np
import torch
from d3rlpy.torch_utility import TorchMiniBatch
from online_learners import Rates, Robot

from robot_pt.schema import Batch, Float


class Peer:
    """Observations standardised and actions scaled to [-1, 1] here, as our networks do inside."""

    pretrains = True

    def __init__(self, name: str, rates: Rates, robot: Robot, seed: int, gamma: float):
        d3rlpy.seed(seed)
        self.plan, self._logged_every = rates.plan, rates.logged_every
        self._mean, self._std = (np.asarray(x, np.float32) for x in robot.proprio)
        self._scale = robot.bounds.high[0]
        assert {*robot.bounds.high} == {self._scale} == {-low for low in robot.bounds.low}
        self._learner = config_of(name, rates, gamma).create(device="cpu:0")
        self._learner.create_impl((len(self._mean),), len(robot.bounds.low))
        self._impl = self._learner.impl

    def update(self, batch: Batch, step: int) -> dict[str, float]:
        column = lambda x: torch.from_numpy(np.asarray(x, np.float32)[:, None])  # noqa: E731
        action = torch.from_numpy((batch.action / self._scale).clip(-0.99999, 0.99999).astype(np.float32))
        ready = TorchMiniBatch(
            observations=self._seen(batch.proprio), actions=action, rewards=column(batch.reward),
            next_observations=self._seen(batch.next_proprio), next_actions=action, returns_to_go=column(batch.return_to_go),
            terminals=column(batch.discount == 0), intervals=torch.ones(len(action), 1), device="cpu:0",
        )  # fmt: skip
        metrics = self._impl.update(ready, step)
        return {name: float(value) for name, value in metrics.items()} if step % self._logged_every == 0 else {}

    @torch.no_grad()
    def act(self, proprio_NP: Float) -> Float:
        return self._impl.predict_best_action(self._seen(proprio_NP)).numpy().clip(-1, 1) * self._scale

    @torch.no_grad()
    def explore(self, proprio_NP: Float) -> Float:
        return self._impl.sample_action(self._seen(proprio_NP)).numpy().clip(-1, 1) * self._scale

    def go_online(self) -> Peer:
        return self

    def _seen(self, proprio_NP: Float) -> torch.Tensor:
        return torch.from_numpy((proprio_NP - self._mean) / self._std)


def config_of(name: str, rates: Rates, gamma: float) -> Any:
    """The settings of online_learners where d3rlpy has them; an alpha rate of 0 leaves the weight fixed.

    Its plain backup takes the policy's central action; ours draws one.
    """
    encoder = d3rlpy.models.encoders.VectorEncoderFactory(list(rates.hidden))
    shared: dict[str, Any] = {
        "actor_encoder_factory": encoder, "critic_encoder_factory": encoder, "batch_size": rates.batch_size, "gamma": gamma,
        "tau": rates.tau, "actor_learning_rate": rates.actor_rate, "critic_learning_rate": rates.critic_rate,
    }  # fmt: skip
    conservative = {
        **shared, "temp_learning_rate": rates.actor_rate, "alpha_learning_rate": 0.0, "initial_alpha": 1.0, "alpha_threshold": 0.0,
        "conservative_weight": rates.conservative_weight, "n_action_samples": rates.actions, "max_q_backup": rates.backup == "max",
    }  # fmt: skip
    return {
        "cal_ql": lambda: d3rlpy.algos.CalQLConfig(**conservative),
        "cql": lambda: d3rlpy.algos.CQLConfig(**conservative),
        "iql": lambda: d3rlpy.algos.IQLConfig(
            **shared, value_encoder_factory=encoder, expectile=0.9, weight_temp=rates.inverse_temperature
        ),
        "awac": lambda: d3rlpy.algos.AWACConfig(**shared, lam=rates.weighting_scale),
    }[name]()
