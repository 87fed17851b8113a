"""TD3+BC and ReBRAC: smoothing, whole updates against the equations, delayed steps, the chain."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from robot_pt.agents.td3_bc import _NEXT, TD3BC, ReBRAC, ReBRACConfig, TD3BCConfig, scale_of
from robot_pt.errors import UserError
from robot_pt.networks.categorical import CategoricalConfig
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.schema import Batch
from tests.core import chain
from tests.core.state_batch import ACTION, BOUNDS, SPEC, TASKS, state_batch

SMALL: dict[str, Any] = {"actor_hidden": (16, 16), "critic_hidden": (16, 16)}
KINDS: dict[Any, Any] = {TD3BC: TD3BCConfig, ReBRAC: ReBRACConfig}


def build(kind: Any = TD3BC, **options: Any) -> Any:
    agent = kind.build(
        SPEC, cameras=(), image_size=(0, 0), task_slots=TASKS, encoder=EncoderConfig(), bounds=BOUNDS,
        config=KINDS[kind](**{**SMALL, **options}),
    )  # fmt: skip
    gen = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(agent.critic.q.weight[-1], std=0.5, generator=gen)
    torch.nn.init.normal_(agent.actor.mean.weight, std=0.3, generator=gen)
    agent.target.load_state_dict(agent.critic.state_dict())
    agent.target_actor.load_state_dict(agent.actor.state_dict())
    return agent


@given(
    mode=st.floats(-1, 1), noise=st.floats(-6, 6), sigma=st.floats(0, 3), clip=st.floats(0, 2),
)  # fmt: skip
def test_smoothing_stays_within_its_clip_and_the_range(mode: float, noise: float, sigma: float, clip: float) -> None:
    agent = TD3BC.smoothed
    holder = type("Holder", (), {"config": TD3BCConfig(smoothing=sigma, smoothing_clip=clip)})()
    moved = float(agent(holder, torch.tensor([[mode]]), torch.tensor([[noise]])))
    assert -1 <= moved <= 1
    assert abs(moved - mode) <= clip + 1e-6
    inside = abs(sigma * noise) <= clip and abs(mode + sigma * noise) <= 1
    if inside:
        assert moved == pytest.approx(mode + sigma * noise, abs=1e-5)


def q_of(critic: torch.nn.Module, proprio: Tensor, batch: Batch, action: Tensor) -> Tensor:
    """(E, B)"""
    return critic(*critic.state({}, proprio, batch.task, batch.language), action[:, None])[:, :, 0]


def mode_of(actor: torch.nn.Module, proprio: Tensor, task: Tensor) -> Tensor:
    x = torch.cat([proprio, torch.nn.functional.one_hot(task, TASKS).float()], 1)
    return actor.mean(actor.body(x)).tanh()


def written_actor_loss(kind: Any, q: Tensor, policy: Tensor, action: Tensor) -> Tensor:
    if kind is TD3BC:
        return -(2.5 / q[0].abs().mean().detach()) * q[0].mean() + torch.nn.functional.mse_loss(policy, action)
    least = torch.minimum(*q)
    return (0.4 * ((policy - action) ** 2).sum(1) - least / least.abs().mean().detach()).mean()


@pytest.mark.parametrize("kind", [TD3BC, ReBRAC])
def test_whole_updates_equal_the_equations(kind: Any) -> None:
    penalties = {"actor_penalty": 0.4, "critic_penalty": 0.3} if kind is ReBRAC else {}
    agent = build(kind, actor_learning_rate=3e-4, critic_learning_rate=3e-4, **penalties)
    twin = copy.deepcopy(agent)
    adam = {n: torch.optim.Adam(getattr(twin, n).parameters(), 3e-4) for n in ("actor", "critic")}
    for step in range(4):
        batch = state_batch(seed=step)
        metrics = agent.update(batch, step)
        action, following = (twin.actor.normalizer.encode(a) for a in (batch.action, batch.next_action))
        with torch.no_grad():
            noise = (0.2 * agent.normal(batch, step, _NEXT, 1)[:, 0]).clamp(-0.5, 0.5)
            chosen = (mode_of(twin.target_actor, batch.next_proprio, batch.task) + noise).clamp(-1, 1)
            value = q_of(twin.target, batch.next_proprio, batch, chosen).min(0).values
            if kind is ReBRAC:
                value = value - 0.3 * ((chosen - following) ** 2).sum(1)
            target = batch.reward + batch.discount * value
        critic_loss = ((q_of(twin.critic, batch.proprio, batch, action) - target) ** 2).mean(1).sum()
        torch.testing.assert_close(metrics["critic/loss"], critic_loss.detach())
        torch.testing.assert_close(metrics["critic/target"], target.mean())
        descend(adam["critic"], critic_loss)
        assert ("actor/loss" in metrics) == (step % 2 == 1)
        if step % 2 == 0:
            continue
        policy = mode_of(twin.actor, batch.proprio, batch.task)
        loss = written_actor_loss(kind, q_of(twin.critic, batch.proprio, batch, policy), policy, action)
        torch.testing.assert_close(metrics["actor/loss"], loss.detach(), atol=1e-5, rtol=1e-5)
        descend(adam["actor"], loss)
        for slow, fast in ((twin.target, twin.critic), (twin.target_actor, twin.actor)):
            for ours, theirs in zip(slow.parameters(), fast.parameters(), strict=True):
                ours.data.copy_(0.995 * ours.data + 0.005 * theirs.data)
    for name in ("actor", "critic", "target", "target_actor"):
        for ours, theirs in zip(getattr(agent, name).parameters(), getattr(twin, name).parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=1e-5)


def descend(adam: torch.optim.Adam, loss: Tensor) -> None:
    adam.zero_grad()
    loss.backward()
    adam.step()


@pytest.mark.parametrize("every", [1, 3])
def test_actor_and_targets_wait_for_their_turn(every: int) -> None:
    agent = build(actor_every=every)
    for step in range(6):
        before = [p.clone() for n in ("actor", "target", "target_actor") for p in getattr(agent, n).parameters()]
        agent.update(state_batch(seed=step), step)
        after = [p for n in ("actor", "target", "target_actor") for p in getattr(agent, n).parameters()]
        still = all(torch.equal(b, a) for b, a in zip(before, after, strict=True))
        assert still == ((step + 1) % every != 0)


@pytest.mark.parametrize("kind", [TD3BC, ReBRAC])
def test_the_actors_gradient_matches_finite_differences(kind: Any) -> None:
    """Of the loss with Q's scale held, which is what the gradient must not see."""
    agent = build(kind)
    gen = torch.Generator().manual_seed(2)
    slope = torch.randn(2, 1, ACTION, generator=gen, dtype=torch.float64)
    policy, action = torch.randn(2, 4, ACTION, generator=gen, dtype=torch.float64).tanh().unbind(0)
    q = lambda a: (slope * a.sin()).sum(-1) + 3  # noqa: E731

    def loss_at(moved: Tensor, scale_at: Tensor) -> Tensor:
        """The loss, Q's scale being that of other actions."""
        values = q(moved)
        held = values.detach() * 0 + q(scale_at).detach()
        return agent.actor_loss(held + (values - values.detach()), moved, action)

    moved = policy.clone().requires_grad_()
    loss_at(moved, policy).backward()
    scale = scale_of(q(policy)[0] if kind is TD3BC else q(policy).amin(0))
    for i, j in ((0, 0), (1, 2), (3, 1)):
        nudge = torch.zeros_like(policy)
        nudge[i, j] = 1e-6
        values = [held_loss(agent, kind, q(policy + s * nudge), policy + s * nudge, action, scale) for s in (1, -1)]
        assert float(moved.grad[i, j]) == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5, abs=1e-8)


def held_loss(agent: Any, kind: Any, q: Tensor, policy: Tensor, action: Tensor, scale: Tensor) -> float:
    if kind is TD3BC:
        return float(((policy - action) ** 2).mean() - agent.config.alpha * q[0].mean() / scale)
    return float((agent.config.actor_penalty * ((policy - action) ** 2).sum(1) - q.amin(0) / scale).mean())


def test_a_critic_of_zeros_gives_a_finite_loss() -> None:
    agent = build()
    for parameter in agent.critic.parameters():
        torch.nn.init.zeros_(parameter)
    assert float(scale_of(torch.zeros(3))) == pytest.approx(1e-6)
    zero = agent.actor_loss(torch.zeros(2, 3), torch.zeros(3, ACTION), torch.ones(3, ACTION))
    assert float(zero) == 1.0


def test_rebrac_without_scaled_q_and_without_next_actions() -> None:
    plain, batch = build(ReBRAC, normalise_q=False, critic_penalty=0.0), state_batch()
    q, policy = torch.full((2, 3), 7.0), torch.zeros(3, ACTION)
    assert float(plain.actor_loss(q, policy, policy)) == -7.0
    assert float(build(ReBRAC).actor_loss(q, policy, policy)) == pytest.approx(-1.0)
    plain.update(batch._replace(next_action=None), 0)
    with pytest.raises(UserError, match="next actions"):
        build(ReBRAC).update(batch._replace(next_action=None), 0)


def test_a_deterministic_policy_acts_by_the_tanh_of_its_mean() -> None:
    agent, batch = build(), state_batch()
    acted = agent.acting.mode({}, batch.proprio, batch.task, batch.language)
    expected = agent.actor.normalizer.decode(mode_of(agent.actor, batch.proprio, batch.task))
    torch.testing.assert_close(acted, expected)
    out = build(exploration=0.3).actor({}, batch.proprio, batch.task, batch.language)
    assert out.log_std_BA.exp().unique().tolist() == pytest.approx([0.3])


@pytest.mark.parametrize("kind", [TD3BC, ReBRAC])
def test_the_chain_is_solved(kind: Any) -> None:
    """Q is that of going right: the best there is; ReBRAC's pays for the distance to what the data did next."""
    shape = {"actor_hidden": (32,), "critic_hidden": (64, 64), "tau": 0.1, "smoothing": 0.05, "smoothing_clip": 0.1}
    rates = {"actor_learning_rate": 6e-3, "critic_learning_rate": 6e-3}
    own = {"alpha": 5.0} if kind is TD3BC else {"actor_penalty": 0.1, "critic_penalty": 0.05}
    agent = chain.build(kind, KINDS[kind](**shape, **rates, **own))
    chain.learn(agent, 500, right_share=0.8)
    assert (chain.modes(agent) > 0.05).all()
    q, best = chain.q_table(agent), chain.fixed_point(lambda q: q.max(1))
    if kind is TD3BC:
        np.testing.assert_allclose(q, best, atol=0.1)
        return
    acted = chain.modes(agent).numpy()
    # (a' - data)^2 of data uniform on (0.02, 1) to the right in 80 %, to the left otherwise
    side = lambda s: (acted - s * 0.51) ** 2 + 0.98**2 / 12  # noqa: E731
    paid = 0.05 * (0.8 * side(1) + 0.2 * side(-1))
    exact = chain.fixed_point(lambda q: q.max(1) - paid)
    np.testing.assert_allclose(q, exact, atol=0.1)
    assert np.abs(q - exact).max() < np.abs(q - best).max(), "what is paid is seen in Q"


def test_published_settings() -> None:
    td3, rebrac = TD3BCConfig(), ReBRACConfig()
    assert (td3.alpha, td3.smoothing, td3.smoothing_clip, td3.actor_every, td3.tau) == (2.5, 0.2, 0.5, 2, 0.005)
    assert (td3.actor_learning_rate, td3.critic_learning_rate, td3.actor_hidden) == (3e-4, 3e-4, (256, 256))
    assert (rebrac.actor_learning_rate, rebrac.critic_learning_rate, rebrac.layer_norm) == (1e-3, 1e-3, True)
    assert (rebrac.actor_penalty, rebrac.critic_penalty, rebrac.normalise_q) == (1.0, 1.0, True)
    assert rebrac.actor_hidden == rebrac.critic_hidden == (256, 256, 256)
    maze = ReBRACConfig.antmaze(critic_penalty=0.0)
    assert (maze.actor_penalty, maze.critic_penalty) == (0.002, 0.0)
    assert (maze.actor_learning_rate, maze.critic_learning_rate) == (3e-4, 5e-5)


@pytest.mark.parametrize(("config", "wrong", "said"), [
    (TD3BCConfig, {"alpha": 0.0}, "TD3BC's alpha is 0.0"),
    (TD3BCConfig, {"smoothing": -0.1}, "smoothing is -0.1"),
    (TD3BCConfig, {"smoothing_clip": math.inf}, "smoothing_clip is inf"),
    (TD3BCConfig, {"actor_every": 0}, "actor_every is 0"),
    (TD3BCConfig, {"exploration": 0.0}, "exploration"),
    (ReBRACConfig, {"actor_penalty": math.nan}, "actor_penalty is nan"),
    (ReBRACConfig, {"critic_penalty": -1.0}, "critic_penalty is -1.0"),
    (ReBRACConfig, {"categories": CategoricalConfig(low=0, high=1)}, "set it to 0"),
])  # fmt: skip
def test_refusals(config: Any, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        config(**wrong)
