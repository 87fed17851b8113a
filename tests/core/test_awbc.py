"""Advantage-weighted cloning: the weights, whose critic judges, what stays as it is."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch import distributions as D

from robot_pt.agents.awac import AWAC, AWACConfig
from robot_pt.agents.awbc import _POLICY, AWBC, AWBCConfig
from robot_pt.agents.bc import BC, BCConfig
from robot_pt.agents.cal_ql import CalQL, CalQLConfig
from robot_pt.agents.iql import IQL, IQLConfig
from robot_pt.agents.ptr import PTR, PTRConfig
from robot_pt.agents.rlpd import RLPD, RLPDConfig
from robot_pt.errors import MismatchError, UserError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import Bounds
from tests.core import chain
from tests.core.state_batch import BOUNDS, SPEC, TASKS, state_batch

SMALL: dict[str, Any] = {"actor_hidden": (16, 16), "critic_hidden": (16, 16)}


def build(kind: Any, config: Any, cameras: tuple[str, ...] = (), **options: Any) -> Any:
    return kind.build(
        SPEC, cameras=cameras, image_size=(32, 32), task_slots=TASKS, config=config,
        **{"encoder": EncoderConfig(name="small", latent=16), "bounds": BOUNDS, **options},
    )  # fmt: skip


def judged(config: AWACConfig | None = None, **options: Any) -> tuple[AWAC, AWBC]:
    trained = build(AWAC, config or AWACConfig(**SMALL), seed=3)
    gen = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(trained.critic.q.weight[-1], std=0.5, generator=gen)
    agent = build(AWBC, AWBCConfig(**{**SMALL, **options}))
    agent.judge_by(trained.state_dict())
    return trained, agent


def test_whole_updates_equal_the_equations_and_leave_the_critic() -> None:
    trained, agent = judged(actions=3, temperature=0.5, clip=1.0)
    twin, critic = copy.deepcopy(agent.actor), trained.critic
    adam = torch.optim.Adam(twin.parameters(), 3e-4)
    weights: list[Tensor] = []
    for step in range(3):
        batch = state_batch(seed=step)
        metrics = agent.update(batch, step)
        action = twin.normalizer.encode(batch.action)
        out = twin({}, batch.proprio, batch.task, batch.language)
        base = D.Normal(out.mean_BA, out.log_std_BA.exp())
        policy = D.Independent(D.TransformedDistribution(base, [D.TanhTransform(cache_size=1)]), 1)
        noise = agent.normal(batch, step, _POLICY, 3)
        with torch.no_grad():
            state = critic.state({}, batch.proprio, batch.task, batch.language)
            q = lambda a: critic(*state, a[:, None])[:, :, 0].min(0).values  # noqa: B023, E731
            value = sum(q((base.mean + base.stddev * noise[:, k]).tanh()) for k in range(3)) / 3
            weight = ((q(action) - value) / 0.5).clamp(max=1.0).exp()
        weights.append(weight)
        loss = -(weight * policy.log_prob(action)).mean()
        torch.testing.assert_close(metrics["actor/loss"], loss.detach(), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(metrics["actor/weight"], weight.mean())
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert 0.05 < float((torch.cat(weights) > 2.718).float().mean()) < 0.95, "some at the clip, some below"
    for ours, theirs in zip(agent.actor.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, atol=2e-6, rtol=1e-5)
    for ours, theirs in zip(agent.critic.parameters(), critic.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert ours.grad is None


def test_beta_evens_the_likelihood_of_the_same_weights() -> None:
    (_, plain), (_, even) = judged(), judged(likelihood_beta=1.0)
    batch = state_batch(seed=0)
    action, out = even.actor.normalizer.encode(batch.action), even.actor({}, batch.proprio, batch.task, batch.language)
    base = D.Normal(out.mean_BA, out.log_std_BA.exp())
    density = D.TransformedDistribution(base, [D.TanhTransform(cache_size=1)]).log_prob(action)
    with torch.no_grad():
        q = lambda a: even.values(batch._replace(action=even.actor.normalizer.decode(a)))  # noqa: E731
        drawn = (base.mean + base.stddev * even.normal(batch, 0, _POLICY, 1)[:, 0]).tanh()
        state = even.critic.state({}, batch.proprio, batch.task, batch.language)
        weight = (q(action) - even.critic(*state, drawn[:, None])[:, :, 0].min(0).values).clamp(max=5.0).exp()
    expected = -(weight * (base.stddev.square() * density).sum(1)).mean()
    ours, theirs = even.update(batch, 0), plain.update(batch, 0)
    torch.testing.assert_close(ours["actor/loss"], expected.detach(), atol=1e-4, rtol=1e-4)
    assert torch.equal(ours["actor/weight"], theirs["actor/weight"])
    with pytest.raises(UserError, match=r"AWBC's likelihood_beta is 2; give a number in \[0, 1\]"):
        AWBCConfig(likelihood_beta=2)


def test_nothing_happens_before_there_is_a_critic() -> None:
    agent = build(AWBC, AWBCConfig(**SMALL))
    with pytest.raises(UserError, match="judge_by"):
        agent.update(state_batch(), 0)
    _, ready = judged()
    agent.load_state_dict(ready.state_dict())
    agent.update(state_batch(), 0)


def test_the_checkpoint_holds_the_critic_once() -> None:
    _, agent = judged()
    assert {name.split(".")[0] for name in agent.state_dict()} == {"actor", "critic"}
    agent.update(state_batch(), 0)
    assert not [n for n in agent.state_dict() if n.startswith("optimizer.critic")]


@pytest.mark.parametrize(("kind", "config"), [
    (AWAC, AWACConfig(**SMALL, heads=3)),
    (IQL, IQLConfig(**SMALL)),
    (CalQL, CalQLConfig(**SMALL, layer_norm=True)),
    (RLPD, RLPDConfig(**SMALL, heads=4)),
])  # fmt: skip
def test_any_agents_critic_judges(kind: Any, config: Any) -> None:
    trained = build(kind, config, seed=5)
    agent = build(AWBC, AWBCConfig.like(config))
    agent.judge_by(trained.state_dict())
    batch = state_batch()
    torch.testing.assert_close(agent.values(batch), trained.values(batch))
    assert all(torch.isfinite(v) for v in agent.update(batch, 0).values())


def test_ptrs_critic_and_actor_from_images() -> None:
    config = PTRConfig(augment=None)
    trained = build(PTR, config, cameras=("primary",), seed=5)
    agent = build(AWBC, AWBCConfig.like(config, actor_average=0.5), cameras=("primary",))
    agent.judge_by(trained.state_dict(), start_from_actor=True)
    batch = state_batch(cameras=("primary",))
    torch.testing.assert_close(agent.values(batch), trained.values(batch))
    seen = (batch.images, batch.proprio, batch.task, batch.language)
    assert torch.equal(agent.acting.mode(*seen), trained.actor.mode(*seen))
    before = agent.critic.encoder.state_dict()
    agent.update(batch, 0)
    assert all(torch.equal(v, before[k]) for k, v in agent.critic.encoder.state_dict().items())
    assert not torch.equal(agent.acting.mode(*seen), trained.actor.mode(*seen))


def test_critics_that_do_not_fit_are_refused() -> None:
    trained = build(AWAC, AWACConfig(**SMALL))
    with pytest.raises(MismatchError, match="AWBC cannot start"):
        build(AWBC, AWBCConfig(**SMALL, heads=3)).judge_by(trained.state_dict())
    with pytest.raises(MismatchError, match="AWBC cannot start"):
        build(AWBC, AWBCConfig(**SMALL)).judge_by(build(BC, BCConfig(), cameras=("primary",)).state_dict())
    wider = Bounds(low=(-3.0, -1.0, 0.0), high=BOUNDS.high, origin="test")
    with pytest.raises(MismatchError, match="low ends"):
        build(AWBC, AWBCConfig(**SMALL), bounds=wider).judge_by(trained.state_dict())


def test_the_chain_is_imitated_where_the_critic_likes_it() -> None:
    """Of data that goes right and left alike, weighted by the values of a trained IQL: right, with weights exp(A / T)."""
    shape = {"actor_hidden": (32,), "critic_hidden": (64, 64), "actor_learning_rate": 6e-3}
    rates = {"critic_learning_rate": 6e-3, "value_learning_rate": 6e-3, "actor_decay_steps": None, "tau": 0.1}
    trained = chain.build(IQL, IQLConfig(expectile=0.9, **shape, **rates))
    chain.learn(trained, 300)
    agent = chain.build(AWBC, AWBCConfig(temperature=0.02, actions=4, policy="gaussian", std="global", **shape))
    agent.judge_by(trained.state_dict())
    chain.learn(agent, 200)
    assert (chain.modes(agent) > 0.25).all()
    np.testing.assert_array_equal(chain.q_table(agent), chain.q_table(trained))


@pytest.mark.parametrize(("wrong", "said"), [
    ({"temperature": -1.0}, "temperature is -1.0"),
    ({"clip": 0.0}, "clip is 0.0"),
    ({"actions": 0}, "actions is 0"),
    ({"policy": "?"}, "choose gaussian"),
])  # fmt: skip
def test_refusals(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        AWBCConfig(**wrong)
