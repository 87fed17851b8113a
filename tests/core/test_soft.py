"""RLPD and plain SAC: updates against plain autograd on an own writing, the drawn heads, the two kinds of updates, known answers."""

import copy
from collections import Counter
from itertools import combinations
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor
from torch import distributions as D

from robot_pt.agents.plan import OnlinePlan
from robot_pt.agents.rlpd import RLPD, RLPDConfig, adroit_binary, antmaze, pixels, plain_sac
from robot_pt.agents.soft import _ACTOR, _NEXT
from robot_pt.errors import UserError
from robot_pt.networks.categorical import CategoricalConfig
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.schema import Batch
from tests.core.state_batch import ACTION, BOUNDS, SPEC, TASKS, state_batch

SMALL: dict[str, Any] = {"actor_hidden": (32, 32), "critic_hidden": (32, 32)}
RANGE = CategoricalConfig(low=-20, high=20, bins=32)


def build(config: RLPDConfig, seed: int = 0) -> RLPD:
    return RLPD.build(
        SPEC, cameras=(), image_size=(0, 0), task_slots=TASKS, encoder=EncoderConfig(), bounds=BOUNDS, config=config, seed=seed,
    )  # fmt: skip


def observation(proprio: Tensor, task: Tensor) -> Tensor:
    return torch.cat([proprio, torch.nn.functional.one_hot(task, TASKS).float()], dim=1)


def policy_of(agent: RLPD, proprio: Tensor, task: Tensor) -> D.Distribution:
    hidden = observation(proprio, task)
    for layer in agent.actor.body:
        hidden = layer(hidden)
    base = D.Normal(agent.actor.mean(hidden), agent.actor.log_std(hidden).clamp(-20, 2).exp())
    return D.Independent(D.TransformedDistribution(base, [D.TanhTransform(cache_size=1)]), 1)


def q_of(critic: torch.nn.Module, head: int, proprio: Tensor, task: Tensor, action: Tensor) -> Tensor:
    """One head as plain layers: linear, LayerNorm, ReLU, ..., linear."""
    heads, columns = critic.q, slice(head * 32, (head + 1) * 32)
    x = observation(proprio, task) @ heads.state_weight[:, columns] + action @ heads.action_weight[:, columns]
    x = x + heads.first_bias[columns]
    for layer, (weight, bias) in enumerate(zip(heads.weight, heads.bias, strict=True)):
        if len(heads.scale):
            spread = (x.var(1, unbiased=False, keepdim=True) + 1e-5).sqrt()
            x = (x - x.mean(1, keepdim=True)) / spread * heads.scale[layer][head] + heads.shift[layer][head]
        x = x.clamp(min=0) @ weight[head] + bias[head]
    return x[:, 0]


@pytest.mark.parametrize("config", [
    RLPDConfig(heads=4, critic_updates=1, **SMALL),
    plain_sac(backup_entropy=False, **SMALL),
])  # fmt: skip
def test_whole_update_equals_the_equations(config: RLPDConfig) -> None:
    """Two consecutive updates of every parameter against plain autograd and Adam."""
    agent = build(config)
    twin = copy.deepcopy(agent)
    adams = {n: torch.optim.Adam(getattr(twin, n).parameters(), 3e-4) for n in ("critic", "actor", "temperature")}
    for step in range(2):
        batch = state_batch(seed=step)
        metrics = agent.update(batch, step)
        action = twin.actor.normalizer.encode(batch.action)
        temperature = twin.temperature.log.exp()
        with torch.no_grad():
            policy = policy_of(twin, batch.next_proprio, batch.task)
            standard = agent.normal(batch, step, _NEXT, 1)[:, 0]
            base = policy.base_dist.base_dist
            chosen = torch.tanh(base.loc + base.scale * standard)
            all_heads = torch.stack(
                [q_of(twin.target, h, batch.next_proprio, batch.task, chosen) for h in range(config.heads)]
            )
            drawn = all_heads[drawn_heads(agent, config, step)].min(0).values
            if config.backup_entropy:
                drawn = drawn - temperature * policy.log_prob(chosen)
            target = batch.reward + batch.discount * drawn
        q = [q_of(twin.critic, h, batch.proprio, batch.task, action) for h in range(config.heads)]
        loss = sum(((one - target) ** 2).mean() for one in q) / config.heads
        torch.testing.assert_close(metrics["critic/loss"], loss.detach(), atol=1e-5, rtol=1e-5)
        descend(adams["critic"], loss)
        with torch.no_grad():
            for ours, theirs in zip(twin.target.parameters(), twin.critic.parameters(), strict=True):
                ours.copy_(0.995 * ours + 0.005 * theirs)
        policy = policy_of(twin, batch.proprio, batch.task)
        base = policy.base_dist.base_dist
        chosen = torch.tanh(base.loc + base.scale * agent.normal(batch, step, _ACTOR, 1)[:, 0])
        values = torch.stack([q_of(twin.critic, h, batch.proprio, batch.task, chosen) for h in range(config.heads)])
        value = values.mean(0) if config.actor_value == "mean" else values.min(0).values
        density = policy.log_prob(chosen)
        actor_loss = (temperature.detach() * density - value).mean()
        torch.testing.assert_close(metrics["actor/loss"], actor_loss.detach(), atol=1e-4, rtol=1e-4)
        descend(adams["actor"], actor_loss)
        goal = -config.target_entropy_factor * ACTION
        descend(adams["temperature"], twin.temperature.log.exp() * (-density.detach().mean() - goal))
    for name in ("actor", "critic", "target", "temperature"):
        for ours, theirs in zip(getattr(agent, name).parameters(), getattr(twin, name).parameters(), strict=True):
            assert (ours - theirs).abs().mean() < 3e-6, name  # Adam's first steps are lr * sign(g)


def descend(adam: torch.optim.Adam, loss: Tensor) -> None:
    adam.zero_grad()
    loss.backward()
    adam.step()


def drawn_heads(agent: RLPD, config: RLPDConfig, step: int) -> list[int]:
    """Which heads the agent draws, read from what it returns of numbered ones."""
    numbered = torch.arange(config.heads, dtype=torch.float32)[:, None, None]
    return [int(x) for x in agent.drawn(numbered, config.subset, step).flatten()]


def test_every_pair_of_heads_is_drawn_equally_often_and_none_twice() -> None:
    config = RLPDConfig(heads=6, **SMALL)
    agent = build(config)
    counts = Counter(tuple(sorted(drawn_heads(agent, config, step))) for step in range(3000))
    assert set(counts) == set(combinations(range(6), 2))
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3
    other = build(config, seed=1)
    assert [drawn_heads(agent, config, s) for s in range(20)] != [drawn_heads(other, config, s) for s in range(20)]


def test_drawn_heads_belong_to_the_step_not_to_the_samples() -> None:
    """Two processes with half a batch each take the gradients that one with all of it takes."""
    config = RLPDConfig(heads=5, critic_updates=1, **SMALL)
    batch, whole = state_batch(16), build(config)
    seen: list[list[Tensor]] = []

    def record(parameters: Any) -> None:
        seen.append([p.grad.clone() for p in parameters])

    whole.grad_sync = record
    whole.update(batch, 7)
    halves = []
    for part in (slice(0, 8), slice(8, 16)):
        agent, before = build(config), len(seen)
        agent.grad_sync = record
        agent.update(Batch(*(v[part] if isinstance(v, torch.Tensor) else v for v in batch)), 7)
        halves.append(seen[before])
    for one, first, second in zip(seen[0], *halves, strict=True):
        torch.testing.assert_close(one, (first + second) / 2, atol=1e-6, rtol=1e-4)


def test_the_actor_moves_at_every_nth_update_and_the_critic_at_each() -> None:
    agent = build(RLPDConfig(heads=3, critic_updates=4, **SMALL))
    moved = {"actor": [], "critic": [], "target": [], "temperature": []}
    for step in range(9):
        before = {n: torch.cat([p.detach().flatten() for p in getattr(agent, n).parameters()]).clone() for n in moved}
        metrics = agent.update(state_batch(seed=step), step)
        for name, steps in moved.items():
            now = torch.cat([p.detach().flatten() for p in getattr(agent, name).parameters()])
            steps += [step] if not torch.equal(now, before[name]) else []
        assert ("actor/loss" in metrics) == (step in (3, 7))
        assert all(torch.isfinite(value) for value in metrics.values())
    assert moved == {"actor": [3, 7], "critic": [*range(9)], "target": [*range(9)], "temperature": [3, 7]}
    assert agent.plan == OnlinePlan(updates_per_step=4, warm_up_steps=5000, offline_share=0.5, batch_size=256)


@pytest.mark.parametrize("config", [
    RLPDConfig(heads=3, critic_updates=3, **SMALL),
    RLPDConfig(heads=3, critic_updates=2, categories=RANGE, backup_entropy=False, actor_average=0.1, **SMALL),
])  # fmt: skip
def test_a_resumed_run_is_the_same_bit_for_bit(config: RLPDConfig) -> None:
    whole = build(config)
    for step in range(4):
        whole.update(state_batch(seed=step), step)
    resumed = build(config, seed=0)
    resumed.load_state_dict(whole.state_dict())
    for step in range(4, 8):
        first, second = whole.update(state_batch(seed=step), step), resumed.update(state_batch(seed=step), step)
        assert first.keys() == second.keys()
    ours, theirs = whole.state_dict(), resumed.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("kind", ["hl_gauss", "c51"])
@pytest.mark.parametrize("critic", ["ensemble", "ptr"])
def test_images_categories_and_either_critic(kind: Any, critic: Any) -> None:
    cameras = {"primary": (32, 32)}
    config = pixels(
        heads=2, layer_norm=critic == "ensemble", critic=critic, backup_actions=2,
        categories=CategoricalConfig(low=-20, high=20, bins=24, kind=kind), **SMALL,
    )  # fmt: skip
    agent = RLPD.build(
        SPEC.__class__(cameras=cameras, embodiment="test", action_names=SPEC.action_names, proprio_names=SPEC.proprio_names),
        cameras=["primary"], image_size=(32, 32), task_slots=TASKS, encoder=EncoderConfig(name="small"), bounds=BOUNDS, config=config,
    )  # fmt: skip
    batch = state_batch(4, cameras=("primary",))
    losses = [agent.update(batch, step)["critic/loss"] for step in range(12)]
    assert losses[-1] < losses[0]  # cross-entropy of one batch
    values = agent.values(batch)
    assert values.shape == (4,)
    assert (values.abs() < 20).all()


def chain_batch(length: int, gamma: float) -> Batch:
    """Every state of a corridor x a grid of actions: right above 0, left below; reward 1 and the end at the right."""
    grid = torch.linspace(-0.95, 0.95, 10).repeat(3)
    state = torch.arange(length).repeat_interleave(len(grid))
    move = grid.repeat(length)
    following = (state + torch.where(move > 0, 1, -1)).clamp(min=0)
    done = following == length
    size = len(state)
    action = torch.zeros(size, ACTION)
    low, high = torch.tensor(BOUNDS.low), torch.tensor(BOUNDS.high)
    action[:, 0] = move
    action[:, 1:] = torch.rand(size, ACTION - 1, generator=torch.Generator().manual_seed(0)) * 2 - 1  # without effect
    place = lambda s: torch.nn.functional.one_hot(s.clamp(max=length - 1), 5).float()  # noqa: E731
    return Batch(
        images={}, proprio=place(state), task=torch.zeros(size, dtype=torch.int64), language=torch.zeros(size, 0),
        action=low + (action + 1) / 2 * (high - low), reward=done.float(), discount=torch.where(done, 0.0, gamma), next_images={},
        next_proprio=place(following), return_to_go=torch.zeros(size), sample_key=torch.arange(size),
        source=torch.zeros(size, dtype=torch.int64), next_action=torch.zeros(size, ACTION),
    )  # fmt: skip


@pytest.mark.parametrize("options", [
    {"backup_actions": 1},  # the best of several smooth guesses lies some percents high, step after step
    {"backup_actions": 8, "categories": CategoricalConfig(low=0, high=1, bins=32)},
    {"backup_actions": 8, "categories": CategoricalConfig(low=0, high=1, bins=21, kind="c51")},
], ids=["squared", "hl_gauss", "c51"])  # fmt: skip
def test_a_corridor_is_solved(options: dict[str, Any]) -> None:
    """Of a policy that walks right Q is gamma^(steps to go - 1), with two steps more after a wrong one."""
    length, gamma = 5, 0.8
    batch = chain_batch(length, gamma)
    agent = build(
        plain_sac(
            backup_entropy=False, critic_learning_rate=3e-3, actor_learning_rate=3e-3, tau=0.1, layer_norm=True,
            initial_temperature=0.01, **SMALL, **options,
        )
    )  # fmt: skip
    for step in range(300):
        agent.update(batch, step)
    state = batch.proprio.argmax(1)
    right = agent.actor.normalizer.encode(batch.action)[:, 0] > 0
    to_go = torch.where(right, length - state, length - (state - 1).clamp(min=0) + 1)
    exact = gamma ** (to_go - 1).float()
    clear = batch.action.new_tensor(abs_action(agent, batch)) > 0.2  # between the actions nearest 0 lies the jump
    assert (agent.values(batch) - exact)[clear].abs().mean() < 0.05
    policy = agent.policy({}, batch.proprio, batch)
    assert (policy.mode()[:, 0] > 0).all()


def abs_action(agent: RLPD, batch: Batch) -> list[float]:
    return agent.actor.normalizer.encode(batch.action)[:, 0].abs().tolist()


def test_losses_in_closed_form() -> None:
    agent = build(RLPDConfig(**SMALL))
    with torch.no_grad():
        agent.temperature.log.fill_(torch.tensor(0.5).log())
    log_prob, q = torch.tensor([1.0, -3.0]), torch.tensor([[2.0, 4.0], [6.0, -2.0]])
    assert float(agent.actor_loss(log_prob, q)) == pytest.approx((0.5 * 1 - 4 + 0.5 * -3 - 1) / 2)
    least = build(plain_sac(**SMALL))
    with torch.no_grad():
        least.temperature.log.fill_(torch.tensor(0.5).log())
    assert float(least.actor_loss(log_prob, q)) == pytest.approx((0.5 * 1 - 2 + 0.5 * -3 + 2) / 2)
    assert float(agent.temperature_loss(torch.tensor(2.0)).detach()) == pytest.approx(0.5 * (2.0 + 0.5 * ACTION))
    assert float(least.temperature_loss(torch.tensor(2.0)).detach()) == pytest.approx(0.5 * (2.0 + ACTION))


def test_domains_are_the_published_ones() -> None:
    assert (antmaze().subset, antmaze().critic_hidden, antmaze().backup_entropy) == (1, (256, 256, 256), False)
    assert (adroit_binary().subset, adroit_binary().actor_hidden) == (2, (256, 256, 256))
    assert (pixels().critic_updates, pixels().subset, pixels().heads) == (1, 1, 10)
    default = RLPDConfig()
    assert (default.heads, default.subset, default.layer_norm, default.critic_updates) == (10, 2, True, 20)
    assert (default.offline_share, default.warm_up_steps, default.backup_entropy) == (0.5, 5000, True)
    assert antmaze(heads=4).heads == 4
    assert plain_sac().plan() == OnlinePlan(updates_per_step=1, warm_up_steps=5000, offline_share=0.0, batch_size=256)
    assert RLPD.defaults() == default


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"critic_updates": 0}, "critic_updates is 0; give a value above 0"),
        ({"heads": 0, "subset": None}, "heads is 0"),
        ({"subset": 11}, "subset is 11 of 10 heads"),
        ({"subset": 0}, "subset is 0 of 10 heads"),
        ({"tau": 1.5}, "tau is 1.5; give a share"),
        ({"backup_actions": 0}, "backup_actions is 0"),
        ({"critic": "ptr"}, "critic ptr has no LayerNorm"),
        ({"critic": "deep"}, "critic is 'deep'; choose ensemble, ptr"),
        ({"actor_value": "max"}, "choose mean, min"),
        ({"acceleration": "fast"}, "choose none, compile, cuda_graph"),
        ({"categories": RANGE}, "backup_entropy adds to them; set it False"),
        ({"actor_average": 2.0}, "give a share"),
        ({"target_entropy_factor": float("nan")}, "a finite factor"),
        ({"offline_share": 1.5}, "offline share of a batch is 1.5"),
        ({"batch_size": 0}, "batches of at least 1"),
        ({"warm_up_steps": -1}, "a warm-up from 0"),
    ],
)
def test_a_wrong_setting_is_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        RLPDConfig(**options)


def test_a_plan_has_a_finite_ratio() -> None:
    with pytest.raises(UserError, match="give a ratio above 0"):
        OnlinePlan(updates_per_step=float("nan"))
    with pytest.raises(UserError, match="give a ratio above 0"):
        OnlinePlan(updates_per_step=float("inf"))
