"""BRAC: divergences against integration, phases, whole updates against the equations, the learned penalty, the chain."""

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch import distributions as D

from robot_pt.agents.brac import _ACTOR, _BEHAVIOUR, _NEXT, _POLICY, BRAC, BRACConfig, kl, mmd
from robot_pt.errors import UserError
from robot_pt.networks.categorical import CategoricalConfig
from robot_pt.networks.distributions import ActionGaussian
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.schema import Batch
from tests.core import chain
from tests.core.state_batch import BOUNDS, SPEC, TASKS, state_batch

SMALL: dict[str, Any] = {"actor_hidden": (16, 16), "critic_hidden": (16, 16), "behaviour_steps": 2, "follow_steps": 1}


def build(seed: int = 0, **options: Any) -> BRAC:
    agent = BRAC.build(
        SPEC, cameras=(), image_size=(0, 0), task_slots=TASKS, encoder=EncoderConfig(), bounds=BOUNDS,
        config=BRACConfig(**{**SMALL, **options}), seed=seed,
    )  # fmt: skip
    gen = torch.Generator().manual_seed(0)
    for weight in (agent.critic.q.weight[-1], agent.actor.mean.weight, agent.behaviour.mean.weight):
        torch.nn.init.normal_(weight, std=0.4, generator=gen)
    agent.target.load_state_dict(agent.critic.state_dict())
    return agent


def one(mean: float, log_std: float, squash: bool) -> ActionGaussian:
    return ActionGaussian(torch.tensor([[mean]]).double(), torch.tensor([[log_std]]).double(), squash)


@pytest.mark.parametrize("squash", [True, False])
@pytest.mark.parametrize(
    ("mean", "log_std", "other_mean", "other_log_std"), [(0.3, -0.7, -0.4, -0.2), (0.0, -1.0, 0.0, -1.0), (-0.8, -0.2, 0.5, -1.0)]
)  # fmt: skip
def test_the_kl_is_the_integral_over_actions(
    squash: bool, mean: float, log_std: float, other_mean: float, other_log_std: float
) -> None:
    """Over the squashed actions in (-1, 1) themselves, though it is computed from the Gaussians before the tanh."""
    edge = 1 - 1e-6 if squash else 12.0
    grid = torch.linspace(-edge, edge, 400_001, dtype=torch.float64)
    policy, other = one(mean, log_std, squash), one(other_mean, other_log_std, squash)
    density, log_other = policy.log_prob(grid[:, None]), other.log_prob(grid[:, None])
    exact = torch.trapezoid(density.exp() * (density - log_other), grid)
    assert float(kl(policy, other)) == pytest.approx(float(exact), abs=2e-4)


def test_the_kl_is_that_of_the_library_and_has_its_gradient() -> None:
    gen = torch.Generator().manual_seed(0)
    mean, log_std, other_mean, other_log = torch.randn(4, 5, 3, generator=gen, dtype=torch.float64).unbind(0)
    theirs = D.kl_divergence(D.Normal(mean, log_std.exp()), D.Normal(other_mean, other_log.exp())).sum(1)
    other = ActionGaussian(other_mean, other_log, True)
    torch.testing.assert_close(kl(ActionGaussian(mean, log_std, True), other), theirs)
    inputs = (mean.requires_grad_(), log_std.requires_grad_())
    assert torch.autograd.gradcheck(lambda m, s: kl(ActionGaussian(m, s, True), other), inputs)


def test_mmd_against_loops_its_bounds_and_its_limit() -> None:
    gen = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 3, 4, 2, generator=gen, dtype=torch.float64).unbind(0)

    def looped(b: int) -> float:
        kernel = lambda p, q: math.exp(-sum(abs(float(i - j)) for i, j in zip(p, q, strict=True)) / 0.7)  # noqa: E731
        pairs = lambda p, q: sum(kernel(i, j) for i in p for j in q) / 16  # noqa: E731
        return pairs(x[b], x[b]) + pairs(y[b], y[b]) - 2 * pairs(x[b], y[b])

    assert mmd(x, y, 0.7).tolist() == pytest.approx([looped(b) for b in range(3)])
    assert mmd(x, x, 0.7).tolist() == pytest.approx([0.0] * 3)
    assert (mmd(x, y, 0.7) >= 0).all()
    assert float(mmd(x, x + 1e6, 0.7)[0]) == pytest.approx(2 * (mmd(x, x + 1e6, 0.7)[0] / 2))
    assert torch.autograd.gradcheck(lambda a: mmd(a, y, 0.7), x.requires_grad_())


def test_mmd_estimates_the_integral_of_the_kernel() -> None:
    """Of two Gaussians of one dimension, by quadrature over a grid, from evenly spread quantiles of each."""
    grid = torch.linspace(-6, 6, 801, dtype=torch.float64)
    p, q = (D.Normal(m, s).log_prob(grid).exp() for m, s in ((0.5, 0.6), (-0.3, 1.0)))
    kernel = (-(grid[:, None] - grid[None]).abs() / 0.8).exp()
    difference, width = p - q, float(grid[1] - grid[0])
    exact = float(difference @ kernel @ difference) * width**2
    even = D.Normal(0.0, 1.0).icdf((torch.arange(3000, dtype=torch.float64) + 0.5) / 3000)[None, :, None]
    assert float(mmd(0.5 + 0.6 * even, even - 0.3, 0.8)) == pytest.approx(exact, abs=1e-3)


def test_phases_follow_one_another() -> None:
    agent = build(behaviour_steps=3, follow_steps=2)
    assert [agent.phase(s) for s in range(7)] == ["behaviour"] * 3 + ["follow"] * 2 + ["joint"] * 2


@pytest.mark.parametrize("beside", [False, True])
def test_what_learns_in_each_phase(beside: bool) -> None:
    agent = build(behaviour_beside=beside)
    learned = []
    for step in range(4):
        before = {n: {k: v.clone() for k, v in m.state_dict().items()} for n, m in agent._modules.items()}
        agent.update(state_batch(seed=step), step)
        learned.append({
            n for n, m in agent._modules.items() if any(not torch.equal(v, before[n][k]) for k, v in m.state_dict().items())
        })  # fmt: skip
    both = {"actor", "critic", "target"} | ({"behaviour"} if beside else set())
    assert learned == [{"behaviour"}, {"behaviour"}, both, both]


def policy_of(actor: torch.nn.Module, proprio: Tensor, task: Tensor) -> D.Normal:
    x = actor.body(torch.cat([proprio, torch.nn.functional.one_hot(task, TASKS).float()], 1))
    return D.Normal(actor.mean(x), actor.log_std(x).clamp(-5, 2).exp())


def q_of(critic: torch.nn.Module, proprio: Tensor, batch: Batch, action: Tensor) -> Tensor:
    return critic(*critic.state({}, proprio, batch.task, batch.language), action[:, None])[:, :, 0]


def apart(agent: BRAC, twin: BRAC, proprio: Tensor, batch: Batch, step: int, further: int) -> Tensor:
    policy = policy_of(twin.actor, proprio, batch.task)
    with torch.no_grad():
        behaviour = policy_of(twin.behaviour, proprio, batch.task)
    if agent.config.divergence == "kl":
        return D.kl_divergence(policy, behaviour).sum(1)
    draw = lambda p, stream: (  # noqa: E731
        p.mean[:, None] + p.stddev[:, None] * agent.normal(batch, step, stream + further, 4)
    ).tanh()
    return mmd(draw(policy, _POLICY), draw(behaviour, _BEHAVIOUR), 20.0)


@pytest.mark.parametrize("form", ["value", "policy"])
@pytest.mark.parametrize("divergence", ["kl", "mmd"])
def test_whole_updates_equal_the_equations(form: str, divergence: str) -> None:
    agent = build(form=form, divergence=divergence, penalty=0.5)
    for step in range(2):
        agent.update(state_batch(seed=step), step)
    twin = copy.deepcopy(agent)
    adam = {
        "critic": torch.optim.Adam(twin.critic.parameters(), 1e-3),
        "actor": torch.optim.Adam(twin.actor.parameters(), 3e-4),
    }
    for step in (2, 3):
        batch = state_batch(seed=step)
        metrics = agent.update(batch, step)
        action = twin.actor.normalizer.encode(batch.action)
        with torch.no_grad():
            policy = policy_of(twin.actor, batch.next_proprio, batch.task)
            chosen = (policy.mean + policy.stddev * agent.normal(batch, step, _NEXT, 1)[:, 0]).tanh()
            value = q_of(twin.target, batch.next_proprio, batch, chosen).min(0).values
            if form == "value":
                value = value - 0.5 * apart(agent, twin, batch.next_proprio, batch, step, 2)
            target = batch.reward + batch.discount * value
        critic_loss = ((q_of(twin.critic, batch.proprio, batch, action) - target) ** 2).mean(1).sum()
        torch.testing.assert_close(metrics["critic/loss"], critic_loss.detach(), atol=1e-5, rtol=1e-5)
        descend(adam["critic"], critic_loss)
        for slow, fast in zip(twin.target.parameters(), twin.critic.parameters(), strict=True):
            slow.data.copy_(0.995 * slow.data + 0.005 * fast.data)
        distance = apart(agent, twin, batch.proprio, batch, step, 0)
        loss = 0.5 * distance.mean()
        if step == 3:
            policy = policy_of(twin.actor, batch.proprio, batch.task)
            sampled = (policy.mean + policy.stddev * agent.normal(batch, step, _ACTOR, 1)[:, 0]).tanh()
            loss = loss - q_of(twin.critic, batch.proprio, batch, sampled).min(0).values.mean()
        torch.testing.assert_close(metrics["actor/divergence"], distance.mean().detach(), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(metrics["actor/loss"], loss.detach(), atol=1e-5, rtol=1e-5)
        descend(adam["actor"], loss)
    for name in ("actor", "critic", "target"):
        for ours, theirs in zip(getattr(agent, name).parameters(), getattr(twin, name).parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, atol=5e-6, rtol=1e-4)


def descend(adam: torch.optim.Adam, loss: Tensor) -> None:
    adam.zero_grad()
    loss.backward()
    adam.step()


@pytest.mark.parametrize(("target", "grows"), [(1e-3, True), (1e3, False)])
def test_the_learned_penalty_moves_towards_its_divergence(target: float, grows: bool) -> None:
    agent = build(target_divergence=target, penalty=0.5, penalty_learning_rate=0.1)
    start = float(agent.penalty().detach())
    for step in range(2, 8):
        agent.update(state_batch(seed=step), step)
    assert (float(agent.penalty().detach()) > start) == grows
    agent.penalty.log.data.fill_(20.0)
    assert float(agent.penalty().detach()) == 500.0
    fixed = build(penalty=0.5)
    for step in range(4):
        fixed.update(state_batch(seed=step), step)
    assert float(fixed.penalty().detach()) == pytest.approx(0.5)


def test_a_penalty_at_its_cap_comes_back() -> None:
    agent = build(target_divergence=1e3, penalty_learning_rate=0.1)
    agent.penalty.log.data.fill_(math.log(500) + 0.05)
    agent.update(state_batch(), 3)
    assert float(agent.penalty().detach()) < 500


def test_the_model_is_the_datas_policy_and_the_chain_is_solved_near_it() -> None:
    shape = {"actor_hidden": (32,), "critic_hidden": (64, 64), "tau": 0.1, "form": "policy"}
    rates = {"actor_learning_rate": 6e-3, "critic_learning_rate": 6e-3, "behaviour_learning_rate": 6e-3}
    modes = []
    for penalty in (0.01, 30.0):
        config = BRACConfig(**shape, **rates, behaviour_steps=150, follow_steps=30, penalty=penalty)
        agent = chain.build(BRAC, config)
        last = chain.learn(agent, 450, right_share=0.75)
        modes.append(chain.modes(agent))
        if penalty == 0.01:
            assert (chain.q_table(agent)[:3, 1] > chain.fixed_point(lambda q: q.mean(1))[:3, 1] + 0.1).all()
        else:
            assert float(last["actor/divergence"]) < 0.01
            behaviour = agent.behaviour.mode({}, torch.eye(4), torch.zeros(4, dtype=torch.int64), torch.zeros(4, 0))
            torch.testing.assert_close(modes[-1], behaviour[:, 0], atol=0.05, rtol=0)
    assert (modes[0] > modes[1]).all(), "a small penalty lets the policy climb"


@pytest.mark.parametrize(("wrong", "said"), [
    ({"penalty": 0.0}, "penalty is 0.0"),
    ({"penalty": 501.0}, "at most 500"),
    ({"form": "both"}, "choose value, policy"),
    ({"divergence": "w"}, "choose kl, mmd"),
    ({"actions": 0}, "actions is 0"),
    ({"kernel_width": -1.0}, "kernel_width"),
    ({"target_divergence": math.nan}, "target_divergence is nan"),
    ({"behaviour_steps": 0}, "never learns"),
    ({"follow_steps": -1}, "follow_steps is -1"),
    ({"behaviour_learning_rate": 0.0}, "behaviour_learning_rate"),
    ({"categories": CategoricalConfig(low=0, high=1)}, "choose form policy"),
])  # fmt: skip
def test_refusals(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        BRACConfig(**wrong)
