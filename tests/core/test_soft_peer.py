"""Losses of plain SAC beside d3rlpy 2.8.1's: the same weights, batch and sampled actions.

Runs where d3rlpy is importable (`make test-peers`). Where its definition differs:

* Its critic loss is the sum over heads of the mean squared error, ours, as RLPD's code, the mean over heads: twice ours with two.
* With a learned temperature it takes the temperature's step before the actor's loss, we, as RLPD's code, after; the two losses themselves
  are compared, the temperature held for the actor's.
* It has neither LayerNorm, nor a drawn subset of heads, nor the mean over heads in the actor's loss: those are compared with an own writing
  in test_soft.py.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from robot_pt.agents.rlpd import RLPD, plain_sac
from robot_pt.agents.soft import _ACTOR, _NEXT
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.schema import Batch
from tests.core.peer import HIDDEN, as_theirs, assert_same_entries, copy_all, learner, only, randomise
from tests.core.state_batch import ACTION, BOUNDS, SPEC, TASKS, state_batch

d3rlpy = pytest.importorskip(
    "d3rlpy", reason="d3rlpy 2.8.1 is not importable; benchmarks/requirements-d3rlpy.txt says how"
)


def ours(**options: Any) -> RLPD:
    config = plain_sac(actor_hidden=tuple(HIDDEN), critic_hidden=tuple(HIDDEN), **options)
    agent = RLPD.build(
        SPEC, cameras=(), image_size=(0, 0), task_slots=TASKS, encoder=EncoderConfig(), bounds=BOUNDS, config=config,
    )  # fmt: skip
    randomise(agent)
    return agent


@pytest.fixture
def same_samples(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Feeds d3rlpy the actions that our noise gives."""

    def feed(agent: RLPD, batch: Batch, stream: int) -> None:
        def sample(self: Any) -> tuple[Tensor, Tensor]:
            raw = self._mean + self._std * agent.normal(batch, 0, stream, 1)[:, 0]
            return torch.tanh(raw), self._log_prob_from_raw_y(raw)

        kind = d3rlpy.models.torch.distributions.SquashedGaussianDistribution
        monkeypatch.setattr(kind, "sample_with_log_prob", sample)

    return feed


@pytest.mark.parametrize("seed", [3, 8])
def test_critic_loss_target_and_gradients(seed: int, same_samples: Any) -> None:
    agent, batch = ours(initial_temperature=0.7), state_batch(seed=seed)
    impl = learner("SAC", temp_learning_rate=0.0)
    copy_all(impl, agent)
    mini = as_theirs(agent, batch)
    same_samples(agent, batch, _NEXT)
    target = impl.compute_target(mini)
    loss = impl.compute_critic_loss(mini, target).critic_loss
    impl.q_function.zero_grad()
    loss.backward()
    expected = batch.reward + batch.discount * target[:, 0]
    torch.testing.assert_close(agent._target(batch, {}, 0), expected, atol=1e-5, rtol=1e-5)
    agent.descend = only(agent, "critic")
    metrics = agent.update(batch, 0)
    torch.testing.assert_close(metrics["critic/target"], expected.mean(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(2 * metrics["critic/loss"], loss.detach(), atol=1e-5, rtol=1e-5)
    assert_same_entries(agent.critic, torch.cat([p.grad.flatten() / 2 for p in impl.q_function.parameters()]))


def test_actor_loss_and_gradient(same_samples: Any) -> None:
    agent, batch = ours(initial_temperature=0.7), state_batch(seed=4)
    impl = learner("SAC", temp_learning_rate=0.0)
    copy_all(impl, agent)
    mini = as_theirs(agent, batch)
    same_samples(agent, batch, _ACTOR)
    loss = impl.compute_actor_loss(mini, impl.policy(mini.observations)).actor_loss
    impl.policy.zero_grad()
    loss.backward()
    agent.descend = only(agent, "actor")  # the critic stays as it is
    torch.testing.assert_close(agent.update(batch, 0)["actor/loss"], loss.detach(), atol=1e-5, rtol=1e-5)
    assert_same_entries(agent.actor, torch.cat([p.grad.flatten() for p in impl.policy.parameters()]))


def test_temperature_loss_and_step() -> None:
    agent = ours(initial_temperature=0.7)
    impl = learner("SAC", temp_learning_rate=3e-4)
    copy_all(impl, agent)
    log_prob = torch.randn(16, 1)
    expected = impl.update_temp(log_prob)
    loss = agent.temperature_loss(-log_prob.mean())
    torch.testing.assert_close(loss.detach(), expected.detach(), atol=1e-5, rtol=1e-5)
    agent.descend("temperature", loss)
    stepped = impl._modules.log_temp._parameter.detach()
    torch.testing.assert_close(agent.temperature.log.detach(), stepped[0, 0], atol=1e-6, rtol=0)
    assert agent._target_entropy == -ACTION
