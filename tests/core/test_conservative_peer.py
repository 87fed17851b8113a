"""Losses of Cal-QL and CQL beside d3rlpy 2.8.1's: the same weights, batch and sampled actions.

Runs where d3rlpy is importable (`make test-peers`). Where its definition
differs, the test says what was set or taken off to make the two comparable:

* d3rlpy multiplies the conservative term by exp(log alpha) even without a Lagrange multiplier; alpha is held at 1 there.
* It subtracts the threshold (our target gap) also with a fixed weight: a constant, set to 0.
* With the multiplier learning, it takes the multiplier's step *before* it weighs the critic's loss; we, as the released code, after.
* It learns the temperature by exp(log t) * (entropy - target), we by log t * (...), as the released code: same sign and root.
* Its actor loss is of the critic after the critic's step, ours of the one before, as the released code; the loss itself is the same.
* Its plain backup takes the policy's mean action, ours a sample, as the released code: not compared.
"""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from robot_pt.agents.cal_ql import CalQL, CalQLConfig
from robot_pt.agents.conservative import multiplier_loss
from robot_pt.agents.conservative_agent import _ACTOR, _NEXT, _POLICY, _TARGET, _UNIFORM, ConservativeAgent
from robot_pt.agents.cql import CQL, CQLConfig
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.schema import Batch
from tests.core.peer import HIDDEN, as_theirs, assert_same_entries, copy_all, learner, only, randomise
from tests.core.state_batch import ACTION, BOUNDS, SPEC, TASKS, state_batch

d3rlpy = pytest.importorskip(
    "d3rlpy", reason="d3rlpy 2.8.1 is not importable; benchmarks/requirements-d3rlpy.txt says how"
)

ACTIONS = 4
KINDS = {"CalQL": (CalQL, CalQLConfig), "CQL": (CQL, CQLConfig)}


def ours(kind: str, **options: Any) -> ConservativeAgent:
    agent, config = KINDS[kind]
    chosen = {
        "actor_hidden": tuple(HIDDEN),
        "critic_hidden": tuple(HIDDEN),
        "actions": ACTIONS,
        "scaled_log_std": False,
        **options,
    }
    made = agent.build(
        SPEC, cameras=(), image_size=(0, 0), task_slots=TASKS, encoder=EncoderConfig(), bounds=BOUNDS, config=config(**chosen),
    )  # fmt: skip
    randomise(made)
    return made


def theirs(kind: str, **options: Any) -> Any:
    return learner(kind, n_action_samples=ACTIONS, max_q_backup=True, **options)


@pytest.fixture
def same_samples(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Feeds d3rlpy the actions that our noise gives, in the order in which it asks for them."""

    def feed(agent: ConservativeAgent, batch: Batch, streams: list[int]) -> None:
        distributions = d3rlpy.models.torch.distributions.SquashedGaussianDistribution
        queue = iter(streams)

        def sample_n(self: Any, n: int) -> tuple[Tensor, Tensor]:
            raw = self._mean[:, None] + self._std[:, None] * agent.normal(batch, 0, next(queue), n)
            flat = raw.transpose(0, 1)
            return torch.tanh(raw), self._log_prob_from_raw_y(flat).transpose(0, 1)

        def sample(self: Any) -> tuple[Tensor, Tensor]:
            raw = self._mean + self._std * agent.normal(batch, 0, next(queue), 1)[:, 0]
            return torch.tanh(raw), self._log_prob_from_raw_y(raw)

        monkeypatch.setattr(distributions, "sample_n_with_log_prob", sample_n)
        monkeypatch.setattr(distributions, "sample_with_log_prob", sample)
        uniform = agent.uniform_actions(batch, 0, _UNIFORM, ACTIONS).reshape(-1, ACTION)
        monkeypatch.setattr(Tensor, "uniform_", lambda self, low, high: self.copy_(uniform))

    return feed


@pytest.mark.parametrize("kind", ["CalQL", "CQL"])
@pytest.mark.parametrize("weight", [1.0, 5.0])
def test_critic_loss_target_and_gradients(kind: str, weight: float, same_samples: Any) -> None:
    agent, batch = ours(kind, weight=weight, target_gap=None), state_batch(seed=3)
    impl = theirs(kind, conservative_weight=weight, alpha_threshold=0.0, initial_alpha=1.0, alpha_learning_rate=0.0)
    copy_all(impl, agent)
    mini = as_theirs(agent, batch)
    same_samples(agent, batch, [_TARGET, _POLICY, _NEXT])
    target = impl.compute_target(mini)
    loss = impl.compute_critic_loss(mini, target)
    impl.q_function.zero_grad()
    loss.critic_loss.backward()
    gradients = torch.cat([p.grad.flatten() for p in impl.q_function.parameters()])
    agent.descend = only(agent, "critic")  # their critic's step alone
    metrics = agent.update(batch, 0)
    expected = batch.reward + batch.discount * target[:, 0]
    torch.testing.assert_close(metrics["critic/target"], expected.mean(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(metrics["critic/loss"], loss.critic_loss.detach(), atol=1e-5, rtol=1e-5)
    conservative = weight * 2 * metrics["critic/conservative"]
    torch.testing.assert_close(conservative, loss.conservative_loss.detach(), atol=1e-5, rtol=1e-5)
    assert 0.05 < float(metrics["critic/bound_rate"]) < 0.95
    assert_same_entries(agent.critic, gradients)


def test_actor_loss_and_gradient(same_samples: Any) -> None:
    agent, batch = ours("CalQL", initial_temperature=0.7), state_batch(seed=4)
    impl = theirs("CalQL", temp_learning_rate=0.0)
    copy_all(impl, agent)
    mini = as_theirs(agent, batch)
    same_samples(agent, batch, [_ACTOR])
    loss = impl.compute_actor_loss(mini, impl.policy(mini.observations)).actor_loss
    impl.policy.zero_grad()
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in impl.policy.parameters()])
    agent.descend = only(agent, "actor")
    torch.testing.assert_close(agent.update(batch, 0)["actor/loss"], loss.detach(), atol=1e-5, rtol=1e-5)
    assert_same_entries(agent.actor, gradient)


def test_multiplier_loss_gives_their_step(same_samples: Any) -> None:
    """Their threshold is our target gap, and their mean over heads is ours."""
    agent, batch = ours("CalQL", weight=5.0, target_gap=0.8), state_batch(seed=5)
    impl = theirs("CalQL", conservative_weight=5.0, alpha_threshold=0.8, initial_alpha=math.e, alpha_learning_rate=3e-4)
    copy_all(impl, agent)
    mini = as_theirs(agent, batch)
    same_samples(agent, batch, [_POLICY, _NEXT])
    conservative = impl._compute_conservative_loss(
        mini.observations, mini.actions, mini.next_observations, mini.returns_to_go
    )
    parameter = impl._modules.log_alpha._parameter
    before = float(parameter.detach())
    impl.update_alpha(conservative.detach())
    gap_E = conservative.detach() / 5 + 0.8
    loss = multiplier_loss(agent.multiplier(), 5.0, gap_E, 0.8)
    (gradient,) = torch.autograd.grad(loss, [agent.multiplier.log])
    torch.testing.assert_close(gradient, parameter.grad[0, 0], atol=1e-5, rtol=1e-5)
    agent.descend("multiplier", multiplier_loss(agent.multiplier(), 5.0, gap_E, 0.8))
    assert float(agent.multiplier.log.detach()) - 1 == pytest.approx(float(parameter.detach()) - before, abs=1e-6)
