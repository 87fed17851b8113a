"""Losses of IQL, AWAC, TD3+BC and ReBRAC beside d3rlpy 2.8.1's: the same weights, batch and sampled actions.

Runs where d3rlpy is importable (`make test-peers`). Where its definition
differs, the test says what was set or taken off to make the two comparable:

* IQL: it takes one step of Q and V together, so V(s') of Q's target is that of before the step; ours, as the authors', of after it.
  The rate of V is held at 0 here, which makes the two the same. Its log-std is a sigmoid between its limits, ours is clipped;
  set to the same value. It decays no rate.
* AWAC: only its softmax weights exist there, and it sums where we take the mean over the batch: B times our loss. Its backup is
  SAC's, of a squashed policy with an entropy term, though its policy is a plain Gaussian; the authors' has neither: not compared.
* TD3+BC, ReBRAC: it acts on updates 0, 2, ..., we, as the authors of TD3+BC, on 1, 3, ...; the losses are the same.
* BRAC and advantage-weighted cloning do not exist there.
"""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robot_pt.agents.awac import _POLICY, AWAC, AWACConfig
from robot_pt.agents.iql import IQL, IQLConfig
from robot_pt.agents.td3_bc import _NEXT, TD3BC, ReBRAC, ReBRACConfig, TD3BCConfig
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.schema import Batch
from tests.core.peer import HIDDEN, as_theirs, assert_same_entries, copy_critic, copy_linear, learner
from tests.core.state_batch import BOUNDS, SPEC, TASKS, state_batch

d3rlpy = pytest.importorskip(
    "d3rlpy", reason="d3rlpy 2.8.1 is not importable; benchmarks/requirements-d3rlpy.txt says how"
)

KINDS: dict[str, Any] = {
    "IQL": (IQL, IQLConfig), "AWAC": (AWAC, AWACConfig), "TD3PlusBC": (TD3BC, TD3BCConfig), "ReBRAC": (ReBRAC, ReBRACConfig)
}  # fmt: skip
NEAR = {"atol": 1e-5, "rtol": 1e-5}


def ours(kind: str, **options: Any) -> Any:
    agent, config = KINDS[kind]
    shape = {"actor_hidden": tuple(HIDDEN), "critic_hidden": tuple(HIDDEN), "layer_norm": False}
    made = agent.build(
        SPEC, cameras=(), image_size=(0, 0), task_slots=TASKS, encoder=EncoderConfig(), bounds=BOUNDS,
        config=config(**{**shape, **options}),
    )  # fmt: skip
    gen = torch.Generator().manual_seed(0)
    for module in (made.critic.q, made.actor, *([made.value.q] if kind == "IQL" else [])):
        for name, value in module.named_parameters():
            if not name.startswith("global"):
                nn.init.normal_(value, std=0.3, generator=gen)
    made.target.load_state_dict(made.critic.state_dict())
    for value in made.target.q.parameters():
        value.data.mul_(1.1)
    if kind in ("TD3PlusBC", "ReBRAC"):
        made.target_actor.load_state_dict(made.actor.state_dict())
        made.target_actor.mean.bias.data.add_(0.2)
    return made


def theirs(kind: str, agent: Any, **options: Any) -> Any:
    """d3rlpy's algorithm of that name with our weights: it sees the state and the task's one-hot side by side."""
    impl = learner(kind, **options)
    modules = impl._modules
    copy_critic(modules.q_funcs, agent.critic)
    copy_critic(modules.targ_q_funcs, agent.target)
    copy_actor(modules.policy, agent.actor)
    if kind in ("TD3PlusBC", "ReBRAC"):
        copy_actor(modules.targ_policy, agent.target_actor)
    if kind == "IQL":
        copy_value(modules.value_func, agent.value)
    return impl


def copy_body(encoder: nn.Module, layers: list[tuple[Tensor, Tensor]]) -> None:
    linear = [m for m in encoder.modules() if isinstance(m, nn.Linear)]
    for layer, pair in zip(linear, layers, strict=True):
        copy_linear(layer, *pair)


def copy_actor(policy: nn.Module, actor: nn.Module) -> None:
    copy_body(policy._encoder, [(m.weight.T, m.bias) for m in actor.body if isinstance(m, nn.Linear)])
    last = policy._mu if hasattr(policy, "_mu") else policy._fc
    copy_linear(last, actor.mean.weight.T, actor.mean.bias)
    if isinstance(getattr(policy, "_logstd", None), nn.Parameter):
        share = (actor.global_log_std.detach() - policy._min_logstd) / (policy._max_logstd - policy._min_logstd)
        policy._logstd.data.copy_(torch.logit(share)[None])


def copy_value(function: nn.Module, value: nn.Module) -> None:
    q = value.q
    layers = [(q.state_weight, q.first_bias), *((w[0], b[0]) for w, b in zip(q.weight, q.bias, strict=True))]
    copy_body(function._encoder, layers[:-1])
    copy_linear(function._fc, *layers[-1])


def mini_batch(agent: Any, batch: Batch) -> Any:
    return replace(as_theirs(agent, batch), next_actions=agent.actor.normalizer.encode(batch.next_action))


def watch(agent: Any) -> dict[str, Tensor]:
    """`descend` that computes gradients and takes no step; the losses by name."""
    losses: dict[str, Tensor] = {}

    def descend(name: str, loss: Tensor, *, largest: float | None = None) -> None:
        agent._modules[name].zero_grad()
        loss.backward()
        losses[name] = loss.detach()

    agent.descend = descend
    return losses


def gradient(*modules: nn.Module) -> Tensor:
    return torch.cat([p.grad.flatten() for m in modules for p in m.parameters() if p.grad is not None])


@pytest.mark.parametrize("expectile", [0.7, 0.9])
@pytest.mark.parametrize("beta", [0.5, 3.0])
def test_iql(expectile: float, beta: float) -> None:
    agent, batch = ours("IQL", expectile=expectile, inverse_temperature=beta), state_batch(seed=3)
    agent.actor.global_log_std.data.copy_(torch.tensor([-0.5, 0.1, -1.2]))
    impl = theirs("IQL", agent, expectile=expectile, weight_temp=beta, max_weight=100.0)
    mini, losses = mini_batch(agent, batch), watch(agent)
    agent.move_target = lambda: None
    metrics = agent.update(batch, 0)
    target = impl.compute_target(mini)
    critic = impl.compute_critic_loss(mini, target)
    critic.critic_loss.backward()
    actor = impl.compute_actor_loss(mini, impl._modules.policy(mini.observations))
    actor.actor_loss.backward()
    torch.testing.assert_close(losses["value"], critic.v_loss.detach(), **NEAR)
    torch.testing.assert_close(losses["critic"], critic.q_loss.detach(), **NEAR)
    torch.testing.assert_close(losses["actor"], actor.actor_loss.detach(), **NEAR)
    expected = batch.reward + batch.discount * target[:, 0]
    torch.testing.assert_close(metrics["critic/target"], expected.mean(), **NEAR)
    assert_same_entries(agent.critic, gradient(impl._modules.q_funcs))
    assert_same_entries(agent.value, gradient(impl._modules.value_func))
    assert_same_entries(agent.actor.body, gradient(impl._modules.policy._encoder))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_awac(temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = ours("AWAC", weights="softmax", temperature=temperature, actions=3)
    agent.actor.global_log_std.data.copy_(torch.tensor([-0.5, -0.1, -1.2]))
    batch = state_batch(seed=3)
    impl = theirs("AWAC", agent, lam=temperature, n_action_samples=3)
    kind = d3rlpy.models.torch.distributions.GaussianDistribution
    noise = agent.normal(batch, 0, _POLICY, 3)
    drawn = lambda self, n: (self._mean[:, None] + self._std[:, None] * noise).clamp(-1, 1)  # noqa: E731
    monkeypatch.setattr(kind, "sample_n", drawn)
    mini, losses = mini_batch(agent, batch), watch(agent)
    metrics = agent.update(batch, 0)
    loss = impl.compute_actor_loss(mini, impl._modules.policy(mini.observations)).actor_loss
    (loss / 16).backward()
    torch.testing.assert_close(losses["actor"], loss.detach() / 16, **NEAR)
    weights = impl._compute_weights(mini.observations, mini.actions)
    torch.testing.assert_close(metrics["actor/weight"], weights.mean(), **NEAR)
    assert float(weights.max()) > 1.2
    assert_same_entries(agent.actor.body, gradient(impl._modules.policy._encoder))


@pytest.mark.parametrize("kind", ["TD3PlusBC", "ReBRAC"])
def test_td3_bc_and_rebrac(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"actor_penalty": 0.4, "critic_penalty": 0.3} if kind == "ReBRAC" else {"alpha": 2.5}
    renamed = {"actor_penalty": "actor_beta", "critic_penalty": "critic_beta", "alpha": "alpha"}
    agent, batch = ours(kind, **own), state_batch(seed=3)
    impl = theirs(kind, agent, **{renamed[name]: value for name, value in own.items()})
    noise = 3 * agent.normal(batch, 1, _NEXT, 1)[:, 0]  # so that some of it is clipped
    agent.normal = lambda *_: noise[:, None]
    monkeypatch.setattr(torch, "randn", lambda *_, **__: noise)
    mini, losses = mini_batch(agent, batch), watch(agent)
    metrics = agent.update(batch, 1)
    target = impl.compute_target(mini)
    critic_loss = impl.compute_critic_loss(mini, target).critic_loss
    critic_loss.backward()
    critic_gradient = gradient(impl._modules.q_funcs)
    assert_same_entries(agent.critic, critic_gradient)
    loss = impl.compute_actor_loss(mini, impl._modules.policy(mini.observations)).actor_loss
    loss.backward()
    expected = batch.reward + batch.discount * target[:, 0]
    torch.testing.assert_close(metrics["critic/target"], expected.mean(), **NEAR)
    torch.testing.assert_close(losses["critic"], critic_loss.detach(), **NEAR)
    torch.testing.assert_close(losses["actor"], loss.detach(), **NEAR)
    assert_same_entries(agent.actor.body, gradient(impl._modules.policy._encoder))
    assert math.isfinite(float(loss.detach()))
