"""AWAC: weights, a whole update against the equations, the chain."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch import distributions as D

from robot_pt.agents.awac import _NEXT, _POLICY, AWAC, AWACConfig
from robot_pt.agents.offline import advantage_weights
from robot_pt.errors import UserError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.schema import Batch
from tests.core import chain
from tests.core.state_batch import BOUNDS, SPEC, TASKS, state_batch

SMALL: dict[str, Any] = {"actor_hidden": (16, 16), "critic_hidden": (16, 16)}


def build(seed: int = 0, **options: Any) -> AWAC:
    agent = AWAC.build(
        SPEC, cameras=(), image_size=(0, 0), task_slots=TASKS, encoder=EncoderConfig(), bounds=BOUNDS,
        config=AWACConfig(**{**SMALL, **options}), seed=seed,
    )  # fmt: skip
    torch.nn.init.normal_(agent.critic.q.weight[-1], std=0.5, generator=torch.Generator().manual_seed(0))
    agent.target.load_state_dict(agent.critic.state_dict())
    return agent


@given(
    advantage=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8),
    temperature=st.floats(1e-3, 1e3), largest=st.floats(1e-2, 1e6),
)  # fmt: skip
def test_weights_are_the_capped_exponential_and_never_overflow(
    advantage: list[float], temperature: float, largest: float
) -> None:
    weights = advantage_weights(torch.tensor(advantage, dtype=torch.float64), temperature, largest)
    for a, weight in zip(advantage, weights.tolist(), strict=True):
        exact = largest if a / temperature > math.log(largest) else math.exp(a / temperature)
        assert weight == pytest.approx(exact, rel=1e-9, abs=1e-300)


def test_softmax_weights_add_up_to_the_batch_and_keep_the_exponentials_ratios() -> None:
    advantage = torch.tensor([-1.0, 0.0, 2.0, 0.5])
    weights = build(weights="softmax", temperature=0.5).weights(advantage)
    assert float(weights.sum()) == pytest.approx(4.0)
    torch.testing.assert_close(weights / weights[1], (advantage / 0.5).exp())
    plain = build(temperature=0.5, largest_weight=10.0).weights(advantage)
    torch.testing.assert_close(plain, (advantage / 0.5).exp().clamp(max=10.0))
    far = build(weights="softmax").weights(torch.tensor([3e4, 0.0]))
    assert far.tolist() == [2.0, 0.0]


def policy_of(actor: torch.nn.Module, proprio: Tensor, task: Tensor) -> D.Normal:
    x = torch.cat([proprio, torch.nn.functional.one_hot(task, TASKS).float()], 1)
    return D.Normal(actor.mean(actor.body(x)).tanh(), actor.global_log_std.clamp(-6, 0).exp())


def least(critic: torch.nn.Module, proprio: Tensor, batch: Batch, action: Tensor) -> Tensor:
    """(B,) of one action per state."""
    state = critic.state({}, proprio, batch.task, batch.language)
    return critic(*state, action[:, None])[:, :, 0].min(0).values


@pytest.mark.parametrize("weights", ["exp", "softmax"])
def test_whole_updates_equal_the_equations(weights: str) -> None:
    agent = build(actions=3, weights=weights, temperature=0.7, largest_weight=2.0)
    twin = copy.deepcopy(agent)
    adam = {n: torch.optim.Adam(getattr(twin, n).parameters(), 3e-4) for n in ("actor", "critic")}
    for step in range(2):
        batch = state_batch(seed=step)
        metrics = agent.update(batch, step)
        action = twin.actor.normalizer.encode(batch.action)
        with torch.no_grad():
            policy = policy_of(twin.actor, batch.next_proprio, batch.task)
            following = (policy.mean + policy.stddev * agent.normal(batch, step, _NEXT, 1)[:, 0]).clamp(-1, 1)
            target = batch.reward + batch.discount * least(twin.target, batch.next_proprio, batch, following)
        state = twin.critic.state({}, batch.proprio, batch.task, batch.language)
        critic_loss = ((twin.critic(*state, action[:, None])[:, :, 0] - target) ** 2).mean(1).sum()
        torch.testing.assert_close(metrics["critic/loss"], critic_loss.detach())
        descend(adam["critic"], critic_loss)
        for slow, fast in zip(twin.target.parameters(), twin.critic.parameters(), strict=True):
            slow.data.copy_(0.995 * slow.data + 0.005 * fast.data)
        policy = policy_of(twin.actor, batch.proprio, batch.task)
        noise = agent.normal(batch, step, _POLICY, 3)
        with torch.no_grad():
            drawn = [(policy.mean + policy.stddev * noise[:, k]).clamp(-1, 1) for k in range(3)]
            value = sum(least(twin.critic, batch.proprio, batch, a) for a in drawn) / 3
            advantage = (least(twin.critic, batch.proprio, batch, action) - value) / 0.7
        weight = advantage.exp().clamp(max=2.0) if weights == "exp" else 16 * advantage.softmax(0)
        actor_loss = -(weight * policy.log_prob(action).sum(1)).mean()
        torch.testing.assert_close(metrics["actor/loss"], actor_loss.detach(), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(metrics["actor/weight"], weight.mean())
        descend(adam["actor"], actor_loss)
    for name in ("actor", "critic", "target"):
        for ours, theirs in zip(getattr(agent, name).parameters(), getattr(twin, name).parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=1e-5)


def descend(adam: torch.optim.Adam, loss: Tensor) -> None:
    adam.zero_grad()
    loss.backward()
    adam.step()


def test_the_actors_gradient_matches_finite_differences_and_passes_no_weight() -> None:
    agent = build()
    log_prob = torch.randn(5, dtype=torch.float64, requires_grad=True)
    advantage = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: agent.actor_loss(x, agent.weights(advantage)), log_prob)
    agent.actor_loss(log_prob, agent.weights(advantage)).backward()
    assert advantage.grad is None


def test_the_chain_is_walked_to_its_end() -> None:
    """The policy leaves the data's 50 % and Q is that of the policy: between the data's values and the best there are."""
    config = AWACConfig(
        temperature=0.05, actions=4, actor_hidden=(32,), critic_hidden=(64, 64), tau=0.1, actor_learning_rate=6e-3,
        critic_learning_rate=6e-3,
    )  # fmt: skip
    agent = chain.build(AWAC, config)
    chain.learn(agent, 350)
    assert (chain.modes(agent) > 0.2).all()
    q, best, data = chain.q_table(agent), chain.fixed_point(lambda q: q.max(1)), chain.fixed_point(lambda q: q.mean(1))
    assert (q < best + 0.07).all()
    assert (q[:, 1] > data[:, 1] - 0.05).all()
    assert np.abs(q - best).max() < np.abs(data - best).max()


@pytest.mark.parametrize(("wrong", "said"), [
    ({"temperature": 0.0}, "temperature is 0.0"),
    ({"temperature": math.nan}, "temperature is nan"),
    ({"actions": 0}, "actions is 0"),
    ({"largest_weight": 0.0}, "largest_weight"),
    ({"weights": "linear"}, "choose exp, softmax"),
    ({"policy": "fixed"}, "choose gaussian"),
])  # fmt: skip
def test_refusals(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        AWACConfig(**wrong)
