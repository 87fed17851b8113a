"""IQL: expectiles against integration, a whole update against the equations, a chain whose values are known."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, optimize, stats
from torch import Tensor, nn

from robot_pt import noise
from robot_pt.agents.iql import _DROPOUT, IQL, IQLConfig, expectile_loss
from robot_pt.errors import UserError
from robot_pt.networks.encoders import EncoderConfig
from tests.core import chain
from tests.core.state_batch import ACTION, BOUNDS, SPEC, TASKS, state_batch

SMALL: dict[str, Any] = {"actor_hidden": (16, 8), "critic_hidden": (16, 16)}


def build(seed: int = 0, **options: Any) -> IQL:
    return IQL.build(
        SPEC, cameras=(), image_size=(0, 0), task_slots=TASKS, encoder=EncoderConfig(), bounds=BOUNDS,
        config=IQLConfig(**{**SMALL, **options}), seed=seed,
    )  # fmt: skip


@pytest.mark.parametrize("expectile", [0.1, 0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("law", [stats.norm(0.3, 1.2), stats.expon(), stats.uniform(-1, 3)], ids=str)
def test_the_least_expectile_loss_is_at_the_expectile_of_the_distribution(expectile: float, law: Any) -> None:
    """The expectile m of X solves tau E(X - m)+ = (1 - tau) E(m - X)+, by quadrature; the loss's minimum over a fine sample is there."""
    low, high = law.ppf(1e-12), law.ppf(1 - 1e-12)

    def imbalance(m: float) -> float:
        above, _ = integrate.quad(lambda x: (x - m) * law.pdf(x), m, high, limit=200)
        below, _ = integrate.quad(lambda x: (m - x) * law.pdf(x), low, m, limit=200)
        return expectile * above - (1 - expectile) * below

    exact = optimize.brentq(imbalance, low, high)
    sample = torch.from_numpy(law.ppf((np.arange(20_000) + 0.5) / 20_000))
    value = torch.tensor(exact, dtype=torch.float64, requires_grad=True)
    loss = expectile_loss(sample - value, expectile).mean()
    loss.backward()
    assert abs(float(value.grad)) < 2e-3
    for away in (-0.1, 0.1):
        assert float(expectile_loss(sample - exact - away, expectile).mean()) > float(loss.detach())


def test_an_expectile_of_one_half_is_half_a_squared_error() -> None:
    difference = torch.tensor([-2.0, 0.0, 3.0])
    torch.testing.assert_close(expectile_loss(difference, 0.5), 0.5 * difference**2)
    assert expectile_loss(torch.tensor([2.0, -2.0]), 0.9).tolist() == pytest.approx([3.6, 0.4])


def observation(proprio: Tensor, task: Tensor) -> Tensor:
    return torch.cat([proprio, nn.functional.one_hot(task, TASKS).float()], 1)


def plain_value(network: nn.Module, seen: Tensor) -> Tensor:
    x = seen @ network.q.state_weight + network.q.first_bias
    for weight, bias in zip(network.q.weight, network.q.bias, strict=True):
        x = x.clamp(min=0) @ weight[0] + bias[0]
    return x[:, 0]


def plain_q(critic: nn.Module, head: int, seen: Tensor, action: Tensor) -> Tensor:
    columns = slice(head * 16, (head + 1) * 16)
    x = seen @ critic.q.state_weight[:, columns] + action @ critic.q.action_weight[:, columns]
    x = x + critic.q.first_bias[columns]
    for weight, bias in zip(critic.q.weight, critic.q.bias, strict=True):
        x = x.clamp(min=0) @ weight[head] + bias[head]
    return x[:, 0]


def plain_actor(actor: nn.Module, seen: Tensor, kept: list[Tensor]) -> torch.distributions.Distribution:
    first, _, second, _ = actor.body
    x = first(seen).clamp(min=0) * kept[0]
    x = second(x).clamp(min=0) * kept[1]
    deviation = actor.global_log_std.clamp(-5, 2).exp()
    return torch.distributions.Independent(torch.distributions.Normal(actor.mean(x).tanh(), deviation), 1)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_whole_updates_equal_the_equations(dropout: float) -> None:
    """Three updates: value, actor with the updated value, critic with the updated value, target; decayed actor rate."""
    agent = build(dropout=dropout, actor_decay_steps=4, inverse_temperature=1.0, largest_weight=0.5)
    nn.init.normal_(agent.critic.q.weight[-1], std=0.5, generator=torch.Generator().manual_seed(0))
    agent.target.load_state_dict(agent.critic.state_dict())
    twin = copy.deepcopy(agent)
    adam = {n: torch.optim.Adam(getattr(twin, n).parameters(), 3e-4) for n in ("actor", "value", "critic")}
    weights: list[Tensor] = []
    for step in range(3):
        batch = state_batch(seed=step)
        metrics = agent.update(batch, step)
        here, following = (observation(p, batch.task) for p in (batch.proprio, batch.next_proprio))
        action = twin.actor.normalizer.encode(batch.action)
        q = torch.minimum(*(plain_q(twin.target, h, here, action) for h in (0, 1))).detach()
        u = q - plain_value(twin.value, here)
        value_loss = ((0.7 - (u < 0).float()).abs() * u**2).mean()
        torch.testing.assert_close(metrics["value/loss"], value_loss.detach())
        descend(adam["value"], value_loss)
        weight = (1.0 * (q - plain_value(twin.value, here))).exp().clamp(max=0.5).detach()
        weights.append(weight)
        keys = [noise.uniform(batch.sample_key, step, _DROPOUT + i, (w,), seed=0) for i, w in enumerate((16, 8))]
        kept = [(k < 1 - dropout).float() / (1 - dropout) for k in keys]
        actor_loss = -(weight * plain_actor(twin.actor, here, kept).log_prob(action)).mean()
        torch.testing.assert_close(metrics["actor/loss"], actor_loss.detach(), atol=1e-5, rtol=1e-5)
        adam["actor"].param_groups[0]["lr"] = 3e-4 * 0.5 * (1 + math.cos(math.pi * step / 4))
        descend(adam["actor"], actor_loss)
        target = batch.reward + batch.discount * plain_value(twin.value, following).detach()
        critic_loss = sum(((plain_q(twin.critic, h, here, action) - target) ** 2).mean() for h in (0, 1))
        torch.testing.assert_close(metrics["critic/loss"], critic_loss.detach())
        descend(adam["critic"], critic_loss)
        with torch.no_grad():
            for slow, fast in zip(twin.target.parameters(), twin.critic.parameters(), strict=True):
                slow.copy_(0.995 * slow + 0.005 * fast)
    assert 0.05 < float((torch.cat(weights) == 0.5).float().mean()) < 0.95, "some weights at the cap, some below"
    for name in ("actor", "value", "critic", "target"):
        for (key, ours), theirs in zip(
            getattr(agent, name).named_parameters(), getattr(twin, name).parameters(), strict=True
        ):
            torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=1e-5, msg=f"{name}.{key}")


def descend(adam: torch.optim.Adam, loss: Tensor) -> None:
    adam.zero_grad()
    loss.backward()
    adam.step()


def test_gradients_of_value_and_actor_losses_match_finite_differences() -> None:
    agent = build()
    gen = torch.Generator().manual_seed(1)
    q, value, log_prob, weight = (torch.randn(6, generator=gen, dtype=torch.float64) for _ in range(4))
    assert torch.autograd.gradcheck(lambda v: agent.value_loss(q, v), value.requires_grad_())
    assert torch.autograd.gradcheck(lambda x: agent.actor_loss(x, weight.exp()), log_prob.requires_grad_())


def test_dropout_keeps_the_expected_share_and_belongs_to_the_sample() -> None:
    agent, batch = build(dropout=0.25, actor_hidden=(400, 400)), state_batch(64)
    first, second = agent.kept(batch, 3)
    assert first.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert float((first == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert not torch.equal(first, second)
    assert not torch.equal(first, agent.kept(batch, 4)[0])
    part = batch._replace(sample_key=batch.sample_key[:10])
    assert torch.equal(agent.kept(part, 3)[1], second[:10])
    assert build().kept(batch, 3) == []
    seen = (batch.images, batch.proprio, batch.task, batch.language)
    assert torch.equal(agent.actor.mode(*seen), agent.actor.mode(*seen)), "acting drops nothing"


def test_the_actors_rate_falls_as_a_cosine_and_stays_at_zero() -> None:
    agent, batch = build(actor_decay_steps=10), state_batch()
    rates = []
    for step in (0, 5, 10, 25):
        before = agent.actor.mean.weight.detach().clone()
        agent.update(batch, step)
        rates.append(float(agent._optimizers["actor"].param_groups[0]["lr"]))
        assert torch.equal(before, agent.actor.mean.weight) == (step >= 10)
    assert rates == pytest.approx([3e-4, 1.5e-4, 0.0, 0.0], abs=1e-10)
    agent.load_state_dict(agent.state_dict())
    agent.update(batch, 5)
    assert float(agent._optimizers["actor"].param_groups[0]["lr"]) == pytest.approx(1.5e-4)
    constant = build(actor_decay_steps=None)
    constant.update(batch, 10**7)
    assert constant._optimizers["actor"].param_groups[0]["lr"] == 3e-4


@pytest.mark.parametrize("expectile", [0.5, 0.9])
def test_the_chain_is_solved_to_its_expectile_values(expectile: float) -> None:
    """Half of the data goes right, so V = tau max Q + (1 - tau) min Q; at tau = 0.5 that is the value of the data's policy."""
    config = IQLConfig(
        expectile=expectile, inverse_temperature=5.0, actor_hidden=(32,), critic_hidden=(64, 64), tau=0.1,
        actor_learning_rate=6e-3, critic_learning_rate=6e-3, value_learning_rate=6e-3, actor_decay_steps=None,
    )  # fmt: skip
    agent = chain.build(IQL, config)
    chain.learn(agent, 350)
    exact = chain.fixed_point(lambda q: expectile * q.max(1) + (1 - expectile) * q.min(1))
    np.testing.assert_allclose(chain.q_table(agent), exact, atol=0.07)
    better = 0.51 * np.tanh(5.0 * (exact[:, 1] - exact[:, 0]) / 2)  # the mean of actions weighted by exp(beta A)
    np.testing.assert_allclose(chain.modes(agent).numpy(), better, atol=0.1)


def test_published_configurations() -> None:
    ours = lambda c: (c.expectile, c.inverse_temperature, c.dropout, c.actor_decay_steps)  # noqa: E731
    assert ours(IQLConfig.antmaze()) == (0.9, 10.0, 0.0, 1_000_000)
    assert ours(IQLConfig.antmaze(online=True)) == (0.9, 10.0, 0.0, None)
    assert ours(IQLConfig.kitchen()) == ours(IQLConfig.adroit()) == (0.7, 0.5, 0.1, 1_000_000)
    assert ours(IQLConfig.mujoco()) == (0.7, 3.0, 0.0, 1_000_000)
    for config in (IQLConfig.antmaze(), IQLConfig.kitchen(), IQLConfig.mujoco()):
        rates = (config.actor_learning_rate, config.critic_learning_rate, config.value_learning_rate)
        assert (rates, config.tau, config.heads) == ((3e-4, 3e-4, 3e-4), 0.005, 2)
        assert (config.actor_hidden, config.critic_hidden) == ((256, 256), (256, 256))
        assert (config.policy, config.std, config.largest_weight) == ("gaussian", "global", 100.0)
    assert IQLConfig.kitchen(dropout=0.2, heads=4).dropout == 0.2


def test_the_policy_may_be_squashed_with_a_deviation_of_the_state() -> None:
    agent = build(policy="tanh_gaussian", std="state")
    out = agent.actor({}, torch.zeros(2, 5), torch.zeros(2, dtype=torch.int64), torch.zeros(2, 0))
    assert out.squash
    assert out.log_std_BA.shape == (2, ACTION)
    assert all(torch.isfinite(v) for v in agent.update(state_batch(), 0).values())
    assert "global_log_std" in dict(build().actor.named_parameters())


@pytest.mark.parametrize(("wrong", "said"), [
    ({"expectile": 1.0}, "above 0 and below 1"),
    ({"expectile": math.nan}, "expectile is nan"),
    ({"dropout": 1.0}, "share from 0"),
    ({"inverse_temperature": 0.0}, "inverse_temperature is 0.0"),
    ({"largest_weight": -1.0}, "largest_weight"),
    ({"value_learning_rate": 0.0}, "value_learning_rate"),
    ({"actor_decay_steps": 0}, "actor_decay_steps is 0"),
    ({"policy": "beta"}, "choose gaussian, tanh_gaussian"),
    ({"std": "fixed"}, "choose global, state"),
    ({"log_std_range": (2.0, -5.0)}, "rising"),
])  # fmt: skip
def test_refusals(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        IQLConfig(**wrong)
