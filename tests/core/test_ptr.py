"""PTR's losses and update, each against a derivation of its own."""

import copy
import json
import math
import threading
from typing import Any

import pytest
import torch
from torch import Tensor
from torch import distributions as D

from robot_pt import noise
from robot_pt.agents.ptr import _ACTOR, _PI, _PI_NEXT, _UNIFORM, PTR, Critique, PTRConfig
from robot_pt.errors import MismatchError, UserError
from robot_pt.networks.categorical import CategoricalConfig
from robot_pt.networks.distributions import ActionGaussian
from robot_pt.networks.encoders import EncoderConfig, ImageEncoder
from robot_pt.normalize import Bounds
from robot_pt.recipes.runs import RunSettings
from robot_pt.rewards import RewardLabel
from robot_pt.schema import Batch, Spec

SPEC = Spec(cameras={"primary": (32, 32)}, embodiment="test")
GEN = torch.Generator().manual_seed(0)


def build(config: PTRConfig, seed: int = 0, slots: int = 5, **options: object) -> PTR:
    return PTR.build(
        SPEC,
        cameras=["primary"],
        image_size=(32, 32),
        task_slots=slots,
        encoder=EncoderConfig(name="small"),
        config=config,
        seed=seed,
        **options,
    )


def make_batch(size: int = 8, first_key: int = 0) -> Batch:
    image = lambda: torch.randint(0, 256, (size, 32, 32, 3), generator=GEN, dtype=torch.uint8)  # noqa: E731
    scale = torch.tensor([0.04] * 3 + [0.2] * 3 + [1.0])
    return Batch(
        images={"primary": image()},
        proprio=torch.randn(size, 7, generator=GEN),
        task=torch.randint(0, 5, (size,), generator=GEN),
        language=torch.zeros(size, 0),
        action=(torch.rand(size, 7, generator=GEN) * 2 - 1) * scale,
        reward=torch.randn(size, generator=GEN),
        discount=torch.where(torch.rand(size, generator=GEN) < 0.5, 0.96, 0.0),
        next_images={"primary": image()},
        next_proprio=torch.randn(size, 7, generator=GEN),
        return_to_go=torch.zeros(size),
        sample_key=torch.arange(first_key, first_key + size),
        source=torch.zeros(size, dtype=torch.int64),
    )


def rows(batch: Batch, which: slice) -> Batch:
    fields = [v for v in batch if v is not None]
    return Batch(*({c: x[which] for c, x in v.items()} if isinstance(v, dict) else v[which] for v in fields))


def tile(x: Tensor, count: int) -> Tensor:
    return x.repeat_interleave(count, dim=0)


def torch_policy(agent: PTR, images: Tensor, proprio: Tensor, task: Tensor) -> D.Distribution:
    out = agent.actor({"primary": images}, proprio, task, torch.zeros(len(task), 0))
    base = D.Normal(out.mean_BA, out.log_std_BA.exp())
    return D.Independent(D.TransformedDistribution(base, [D.TanhTransform(cache_size=1)]), 1)


def draw(policy: D.Distribution, standard: Tensor) -> Tensor:
    """A reparametrised sample from given standard normal noise."""
    base = policy.base_dist.base_dist
    return torch.tanh(base.loc + base.scale * standard)


def q_values(critic: torch.nn.Module, images: Tensor, task: Tensor, action: Tensor) -> Tensor:
    """(E, B), one encoder pass per action."""
    context = torch.nn.functional.one_hot(task, 5).float()
    return critic(critic.features({"primary": images}), context, action[:, None])[:, :, 0]


def reference_losses(agent: PTR, batch: Batch, step: int) -> tuple[Tensor, Tensor]:
    """The released code's critic loss and target, pixels tiled K times, written from the equations; (loss, target)."""
    K, size, keys = 4, len(batch.reward), batch.sample_key
    action = (
        (batch.action - agent.actor.normalizer.low) / (agent.actor.normalizer.high - agent.actor.normalizer.low) * 2 - 1
    ).clamp(-0.99, 0.99)
    images, nxt = tile(batch.images["primary"], K), tile(batch.next_images["primary"], K)
    task, proprio = tile(batch.task, K), tile(batch.proprio, K)
    with torch.no_grad():
        policy = torch_policy(agent, nxt, tile(batch.next_proprio, K), task)
        chosen = draw(policy, noise.normal(keys, step, _PI_NEXT, (K, 7), seed=agent.seed).flatten(0, 1))
        worst = torch.minimum(*q_values(agent.target, nxt, task, chosen)).view(size, K)
        target = batch.reward + batch.discount * worst.max(dim=1).values
        policy = torch_policy(agent, images, proprio, task)
        chosen = draw(policy, noise.normal(keys, step, _PI, (K, 7), seed=agent.seed).flatten(0, 1))
        density = policy.log_prob(chosen)
        random = noise.uniform(keys, step, _UNIFORM, (K, 7), seed=agent.seed).flatten(0, 1) * 2 - 1
    loss = torch.zeros(())
    for head in range(2):
        data = q_values(agent.critic, batch.images["primary"], batch.task, action)[head]
        of_policy = (q_values(agent.critic, images, task, chosen)[head] - density).view(size, K)
        of_random = (q_values(agent.critic, images, task, random)[head] - 7 * math.log(0.5)).view(size, K)
        soft_max = torch.cat([of_policy, of_random], dim=1).exp().sum(1).log()
        loss = loss + 0.5 * ((data - target) ** 2).mean() + 0.5 * 10 * (soft_max - data).mean()
    return loss, target


def test_whole_update_equals_the_equations_with_tiled_pixels() -> None:
    """Two consecutive updates of every parameter against plain autograd and Adam on an independent writing."""
    agent = build(PTRConfig(augment=None))
    twin = copy.deepcopy(agent)
    actor_adam = torch.optim.Adam(twin.actor.parameters(), 1e-4)
    critic_adam = torch.optim.Adam(twin.critic.parameters(), 3e-4)
    temperature_adam = torch.optim.Adam(twin.temperature.parameters(), 3e-4)
    for step in range(2):
        batch = make_batch()
        metrics = agent.update(batch, step)
        loss, target = reference_losses(twin, batch, step)
        torch.testing.assert_close(metrics["critic/loss"], loss.detach(), atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(metrics["critic/target"], target.mean(), atol=1e-5, rtol=1e-5)
        critic_adam.zero_grad()
        loss.backward()
        critic_adam.step()
        with torch.no_grad():
            for ours, theirs in zip(twin.target.parameters(), twin.critic.parameters(), strict=True):
                ours.copy_(0.995 * ours + 0.005 * theirs)
        images = batch.images["primary"]
        policy = torch_policy(twin, images, batch.proprio, batch.task)
        action = draw(policy, noise.normal(batch.sample_key, step, _ACTOR, (7,), seed=0))
        density = policy.log_prob(action)
        temperature = twin.temperature.log.exp()
        q = torch.minimum(*q_values(twin.critic, images, batch.task, action))
        actor_loss = (temperature.detach() * density - q).mean()
        torch.testing.assert_close(metrics["actor/loss"], actor_loss.detach(), atol=1e-4, rtol=1e-4)
        actor_adam.zero_grad()
        actor_loss.backward()
        actor_adam.step()
        temperature_adam.zero_grad()
        (temperature * (-density.detach().mean() + 7)).backward()
        temperature_adam.step()
    for name in ("actor", "critic", "target", "temperature"):
        pairs = zip(getattr(agent, name).parameters(), getattr(twin, name).parameters(), strict=True)
        for ours, theirs in pairs:  # Adam's first steps are lr * sign(g): compare on the scale of a step
            assert (ours - theirs).abs().mean() < 3e-6
    torch.testing.assert_close(agent.temperature.log, twin.temperature.log, atol=1e-7, rtol=0)


def one_dimensional() -> PTR:
    return build(PTRConfig(), bounds=Bounds(low=(-1,), high=(1,), origin="test"))


@pytest.mark.parametrize("scale", [0.3, 2.0, 6.0])
def test_logsumexp_estimates_the_integral_of_exp_q(scale: float) -> None:
    """With many samples it is log(2K) + log of the integral over [-1, 1], by numerical integration."""
    q = lambda a: scale * torch.sin(3 * a) + a * a  # noqa: E731
    grid = torch.linspace(-1, 1, 100_001, dtype=torch.float64)
    exact = torch.trapezoid(q(grid).exp(), grid).log()
    count = 200_000
    one = torch.ones(1, 1, dtype=torch.float64)
    policy = ActionGaussian(0.5 * one, -0.3 * one, True)
    action, log_prob = policy.sample(torch.randn(1, count, 1, generator=GEN, dtype=torch.float64))
    uniform = torch.rand(1, 1, count, generator=GEN, dtype=torch.float64) * 2 - 1
    data = torch.tensor([[0.7]], dtype=torch.float64)
    estimate = one_dimensional().conservative_loss(Critique(data, q(action[None, ..., 0]), q(uniform)), log_prob)
    assert float(estimate) == pytest.approx(float(exact) + math.log(2 * count) - 0.7, abs=0.02)


def test_a_floor_stops_the_conservative_push_sample_by_sample() -> None:
    free = build(PTRConfig(augment=None))
    held = build(PTRConfig(augment=None, conservative_floor=-2.0))
    data = torch.tensor([[0.0, 50.0]])  # the second sample's gap is far below the floor
    q = [torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)]
    log_prob = torch.zeros(2, 4)
    gap = [
        free.conservative_loss(Critique(data[:, i : i + 1], *(x[:, i : i + 1] for x in q)), log_prob[i : i + 1])
        for i in (0, 1)
    ]
    assert float(gap[1]) < -2 < float(gap[0])
    data.requires_grad_()
    loss = held.conservative_loss(Critique(data, *q), log_prob)
    assert loss.item() == pytest.approx((float(gap[0]) - 2.0) / 2, rel=1e-6)
    loss.backward()
    assert data.grad is not None
    assert data.grad[0].tolist() == [-0.5, 0.0]


def test_conservative_loss_by_hand() -> None:
    agent = build(PTRConfig())
    q = Critique(*(torch.randn(shape, generator=GEN) for shape in ((2, 3), (2, 3, 4), (2, 3, 4))))
    log_prob = torch.randn(3, 4, generator=GEN)
    total = 0.0
    for head in range(2):
        for b in range(3):
            terms = [math.exp(q.policy_EBK[head, b, k] - log_prob[b, k]) for k in range(4)]
            terms += [math.exp(q.uniform_EBK[head, b, k]) * 2**7 for k in range(4)]
            total += math.log(sum(terms)) - float(q.data_EB[head, b])
    assert float(agent.conservative_loss(q, log_prob)) == pytest.approx(total / 6, rel=1e-5)


def test_conservative_gradient_lifts_data_and_presses_samples_by_their_softmax() -> None:
    agent, log_prob = build(PTRConfig()), torch.randn(3, 4, generator=GEN)
    q = [torch.randn(shape, generator=GEN).requires_grad_() for shape in ((2, 3), (2, 3, 4), (2, 3, 4))]
    data, of_policy, uniform = torch.autograd.grad(agent.conservative_loss(Critique(*q), log_prob), q)
    torch.testing.assert_close(data, torch.full((2, 3), -1 / 6))
    importance = torch.cat([(q[1] - log_prob).exp(), q[2].exp() * 128], dim=-1)
    expected = importance / importance.sum(-1, keepdim=True) / 6
    torch.testing.assert_close(torch.cat([of_policy, uniform], dim=-1), expected)


def test_backup_is_max_over_actions_of_min_over_heads_and_stops_at_terminals() -> None:
    agent = build(PTRConfig())
    next_q = torch.tensor([[[1.0, 5.0], [0.0, 2.0]], [[4.0, 2.0], [9.0, -1.0]]])  # heads, batch, actions
    y = agent.backup(torch.tensor([1.0, 10.0]), torch.tensor([0.96, 0.0]), next_q)
    assert y.tolist() == pytest.approx([1 + 0.96 * 2, 10])


def test_bellman_loss_has_no_half_and_means_over_heads() -> None:
    q = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    assert float(build(PTRConfig()).bellman_loss(q, torch.tensor([1.0, 1.0]))) == pytest.approx((0 + 1 + 4 + 16) / 4)


def test_losses_match_finite_differences() -> None:
    agent = build(PTRConfig(advantage_clip=50.0))
    double = lambda *shape: torch.randn(*shape, generator=GEN, dtype=torch.float64)  # noqa: E731
    log_prob, target = double(3, 4), double(3)
    check = torch.autograd.gradcheck
    q = [double(2, 3).requires_grad_(), double(2, 3, 4).requires_grad_(), double(2, 3, 4).requires_grad_()]
    assert check(lambda *values: agent.conservative_loss(Critique(*values), log_prob), q)
    assert check(lambda value: agent.bellman_loss(value, target), [q[0]])
    agent.temperature.double()
    assert check(agent.max_q_loss, [double(3).requires_grad_(), double(2, 3).requires_grad_()])
    fixed = Critique(double(2, 3), double(2, 3, 4), double(2, 3, 4))
    action = double(3, 7).tanh()
    mean, log_std = double(3, 7).requires_grad_(), (0.3 * double(3, 7)).requires_grad_()
    assert check(
        lambda m, s: agent.advantage_weighted_loss(ActionGaussian(m, s, True), action, fixed)[0], [mean, log_std]
    )


def test_advantage_weight_is_clipped_exponential_of_the_advantage() -> None:
    agent = build(PTRConfig(advantage_temperature=0.5, advantage_clip=5))
    data = torch.tensor([[2.0, 100.0], [3.0, 100.0]])
    sampled = torch.tensor([[[1.0, 3.0], [0.0, 0.0]], [[2.0, 1.0], [0.0, 0.0]]])
    policy = ActionGaussian(torch.zeros(2, 7), torch.zeros(2, 7), True)
    action = torch.rand(2, 7, generator=GEN) - 0.5
    loss, mean_weight = agent.advantage_weighted_loss(policy, action, Critique(data, sampled, sampled))
    weight = torch.tensor([math.exp((2 - (1 + 1) / 2) / 0.5), math.exp(5)])  # min over heads, then mean over actions
    torch.testing.assert_close(mean_weight, weight.mean())
    torch.testing.assert_close(loss, -(weight * policy.log_prob(action)).mean())


def count_passes(agent: PTR, batch: Batch, step: int = 0) -> dict[str, int]:
    """Images through an encoder, forward and backward, over all networks of the agent."""
    passes = {"forward": 0, "backward": 0}

    def seen(_: object, inputs: tuple[Tensor], output: Tensor) -> None:
        passes["forward"] += len(inputs[0])
        if output.requires_grad:
            output.register_hook(lambda grad: passes.__setitem__("backward", passes["backward"] + len(grad)))

    hooks = [
        module.register_forward_hook(seen)
        for network in (agent.actor, agent.critic, agent.target)
        for module in network.modules()
        if isinstance(module, ImageEncoder)
    ]
    agent.update(batch, step)
    for hook in hooks:
        hook.remove()
    return passes


@pytest.mark.parametrize(
    ("config", "forward", "backward"),
    [
        (PTRConfig(), 320, 128),
        (PTRConfig(actions=10), 320, 128),
        (PTRConfig(actor_loss="advantage_weighted"), 256, 128),
        (PTRConfig(bc_warm_start_steps=1), 256, 128),
        (PTRConfig(actor_loss="advantage_weighted", critic_steps=0), 128, 64),
    ],
)
def test_each_image_is_encoded_once_per_network(config: PTRConfig, forward: int, backward: int) -> None:
    assert count_passes(build(config), make_batch(64)) == {"forward": forward, "backward": backward}


def snapshot(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before: dict[str, Tensor], module: torch.nn.Module) -> bool:
    return any(not torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize(
    ("config", "moved"),
    [
        (PTRConfig(), {"actor", "critic", "target", "temperature"}),
        (PTRConfig(bc_warm_start_steps=9), {"actor", "critic", "target"}),
        (PTRConfig(actor_loss="advantage_weighted"), {"actor", "critic", "target"}),
        (PTRConfig(actor_loss="advantage_weighted", critic_steps=0), {"actor"}),
        (PTRConfig(critic_steps=0), {"actor", "temperature"}),
    ],
)
def test_what_each_phase_learns(config: PTRConfig, moved: set[str]) -> None:
    agent = build(config)
    before = {name: snapshot(getattr(agent, name)) for name in ("actor", "critic", "target", "temperature")}
    agent.update(make_batch(), 0)
    assert {name for name, state in before.items() if changed(state, getattr(agent, name))} == moved


def test_warm_start_is_imitation_until_its_last_step() -> None:
    agent = build(PTRConfig(bc_warm_start_steps=3, augment=None))
    assert [agent.phase(step) for step in range(5)] == ["warm_start"] * 3 + ["joint"] * 2
    batch = make_batch()
    with torch.no_grad():
        policy = agent.actor(batch.images, batch.proprio, batch.task, batch.language)
        expected = -policy.log_prob(agent.actor.normalizer.encode(batch.action)).mean()
    torch.testing.assert_close(agent.update(batch, 0)["actor/loss"], expected)


def test_imitation_is_added_to_the_policys_loss_and_to_nothing_else() -> None:
    plain, held, batch = build(PTRConfig(augment=None)), build(PTRConfig(augment=None, imitation=3.0)), make_batch()
    action = (batch.action - held.actor.normalizer.low) / (held.actor.normalizer.high - held.actor.normalizer.low)
    policy = torch_policy(held, batch.images["primary"], batch.proprio, batch.task)
    likelihood = policy.log_prob((2 * action - 1).clamp(-0.99, 0.99)).mean()
    ours, theirs = held.update(batch, 0), plain.update(batch, 0)
    torch.testing.assert_close(ours["actor/loss"], theirs["actor/loss"] - 3 * likelihood.detach(), atol=1e-4, rtol=1e-4)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours if not name.startswith("actor/loss"))
    assert not changed(snapshot(plain.critic), held.critic)
    assert changed(snapshot(plain.actor), held.actor)


@pytest.mark.parametrize(
    "route", [{"imitation": 2.0}, {"bc_warm_start_steps": 1}, {"actor_loss": "advantage_weighted"}]
)
def test_whatever_imitates_takes_the_evened_likelihood(route: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    theirs = ActionGaussian.evened_log_prob

    def seen(policy: ActionGaussian, action_BA: Tensor, beta: float) -> Tensor:
        asked.append(beta)
        return theirs(policy, action_BA, beta)

    monkeypatch.setattr(ActionGaussian, "evened_log_prob", seen)
    batch, likelihood, even = (
        make_batch(),
        build(PTRConfig(augment=None, **route)),
        PTRConfig(likelihood_beta=1.0, augment=None, **route),
    )
    one, other = likelihood.update(batch, 0), build(even).update(batch, 0)
    assert asked == [0.0, 1.0]
    assert float(one["actor/loss"]) != float(other["actor/loss"])
    assert torch.equal(one["critic/loss"], other["critic/loss"])


def test_much_imitation_follows_the_data_and_little_follows_the_rewards() -> None:
    """Half of the data goes the wrong way: imitation alone settles between, Q alone goes the rewarded way. From states: from
    pictures a half of all seeds takes longer than this test may."""
    right = {}
    for weight in (0.1, 1000.0):
        agent = build_of_state(PTRConfig(**FAST, initial_temperature=0.1, imitation=weight, log_std_range=(-1.5, -1.0)))
        for step in range(200):
            batch = told_by_the_state(good_and_bad_actions(step, right_share=0.5))
            agent.update(batch, step)
            if weight == 0.1 and step % 20 == 19 and share_right(agent, batch) > 0.95:
                break
        right[weight] = share_right(agent, told_by_the_state(good_and_bad_actions(step + 1, size=64)))
    assert right[0.1] > 0.95
    assert right[1000.0] < 0.2


def test_critic_loss_leaves_no_gradient_in_the_actor_and_the_actor_loss_none_in_the_critic() -> None:
    agent, seen = build(PTRConfig()), []

    def sync(parameters: object) -> None:
        seen.append({n: any(p.grad is not None for p in getattr(agent, n).parameters()) for n in ("actor", "target")})

    agent.grad_sync = sync
    agent.update(make_batch(), 0)
    assert seen[0] == {"actor": False, "target": False}
    critic_grad = [p.grad.clone() for p in agent.critic.parameters()]
    agent.descend = lambda name, loss: loss.backward()  # the second pass: gradients accumulate where they arrive
    policy = agent.actor(*(make_batch()[i] for i in (0, 1, 2, 3)))
    agent._max_q_loss(make_batch(), make_batch().images, policy, 1)[0].backward()
    assert all(torch.equal(a, p.grad) for a, p in zip(critic_grad, agent.critic.parameters(), strict=True))


def test_state_round_trip_continues_bit_for_bit() -> None:
    agent = build(PTRConfig())
    for step in range(3):
        agent.update(make_batch(), step)
    state = agent.state_dict()
    assert all(isinstance(v, Tensor) and v.is_contiguous() for v in state.values())
    other = build(PTRConfig(), seed=0)
    other.load_state_dict({name: value.clone() for name, value in state.items()})
    batch = make_batch()
    ours, theirs = agent.update(batch, 3), other.update(batch, 3)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert all(torch.equal(v, other.state_dict()[name]) for name, v in agent.state_dict().items())


def test_state_is_a_copy() -> None:
    agent = build(PTRConfig())
    state = agent.state_dict()
    before = {name: value.clone() for name, value in state.items()}
    agent.update(make_batch(), 0)
    assert all(torch.equal(value, before[name]) for name, value in state.items())


def test_state_of_another_network_is_refused_by_name() -> None:
    state = build(PTRConfig()).state_dict()
    with pytest.raises(MismatchError, match=r"has shape .* this network needs"):
        build(PTRConfig(), slots=6).load_state_dict(state)
    with pytest.raises(MismatchError, match="misses tensor actor"):
        build(PTRConfig()).load_state_dict({n: v for n, v in state.items() if n != "actor.mean.bias"})
    with pytest.raises(MismatchError, match="unknown tensor"):
        build(PTRConfig()).load_state_dict({**state, "actor.extra": torch.zeros(1)})


def test_same_seed_same_agent_and_global_generator_untouched() -> None:
    torch.manual_seed(123)
    expected = torch.rand(1)
    torch.manual_seed(123)
    one, two = build(PTRConfig(), seed=4), build(PTRConfig(), seed=4)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(v, two.state_dict()[n]) for n, v in one.state_dict().items())
    assert changed(snapshot(one.actor), build(PTRConfig(), seed=5).actor)


def test_two_half_batches_with_averaged_gradients_equal_one_whole_batch() -> None:
    """Two in-process 'ranks'. Gradients agree to float32 rounding (1e-5 of the largest); parameters after 3 updates
    to 3e-6 on average, a hundredth of what Adam moved."""
    whole, halves = build(PTRConfig()), [build(PTRConfig()) for _ in range(2)]
    barrier, gradients, reference = threading.Barrier(2), [[], []], []

    def averaged(rank: int):
        def sync(parameters) -> None:
            own = list(parameters)
            gradients[rank] = [p.grad.clone() for p in own]
            barrier.wait()
            for i, p in enumerate(own):
                p.grad.copy_((gradients[0][i] + gradients[1][i]) / 2)
            if rank == 0:
                reference.append([p.grad.clone() for p in own])
            barrier.wait()

        return sync

    for rank in range(2):
        halves[rank].grad_sync = averaged(rank)
    full = []
    whole.grad_sync = lambda parameters: full.append([p.grad.clone() for p in parameters])
    for step in range(3):
        batch = make_batch(16, first_key=16 * step)
        whole.update(batch, step)
        parts = [rows(batch, slice(0, 8)), rows(batch, slice(8, 16))]
        threads = [threading.Thread(target=halves[r].update, args=(parts[r], step)) for r in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for ours, theirs in zip(full[:3], reference[:3], strict=True):  # critic, actor, temperature of the first update
        for a, b in zip(ours, theirs, strict=True):
            assert (a - b).abs().max() <= 1e-5 * a.abs().max() + 1e-8
    for a, b in zip(whole.actor.parameters(), halves[0].actor.parameters(), strict=True):
        assert (a - b).abs().mean() < 3e-6  # three steps of 1e-4
    assert not changed(snapshot(halves[0].critic), halves[1].critic)


def test_values_are_the_smaller_head_of_the_data_action() -> None:
    agent, batch = build(PTRConfig()), make_batch()
    encoded = agent.actor.normalizer.encode(batch.action)
    expected = q_values(agent.critic, batch.images["primary"], batch.task, encoded).min(0).values
    torch.testing.assert_close(agent.values(batch), expected)
    assert not agent.values(batch).requires_grad


def test_update_never_asks_the_device_for_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    agent, batch = build(PTRConfig()), make_batch()
    agent.update(batch, 0)

    def refuse(*_: object) -> None:
        raise AssertionError("the update waits for the device")

    for name in ("item", "__bool__", "__float__", "__int__", "tolist", "numpy", "nonzero", "cpu"):
        monkeypatch.setattr(Tensor, name, refuse)
    metrics = agent.update(batch, 1)
    monkeypatch.undo()
    assert all(value.shape == () and not value.requires_grad for value in metrics.values())


def test_step_as_a_tensor_gives_the_same_update() -> None:
    one, two, batch = build(PTRConfig()), build(PTRConfig()), make_batch()
    one.update(batch, 7)
    two.update_in_phase(batch, torch.tensor(7), "joint")
    assert not changed(snapshot(one.actor), two.actor)


def test_bf16_changes_little_and_reports_float32() -> None:
    full, half, batch = build(PTRConfig()), build(PTRConfig(bf16=True)), make_batch()
    ours, theirs = full.update(batch, 0), half.update(batch, 0)
    assert {value.dtype for value in theirs.values()} == {torch.float32}
    assert all(p.dtype == torch.float32 for p in half.target.parameters())
    for name in ("critic/loss", "actor/loss"):
        assert float(theirs[name]) == pytest.approx(float(ours[name]), rel=0.02)


@pytest.mark.slow
def test_compiled_networks_give_the_same_losses() -> None:
    plain, fast, batch = build(PTRConfig()), build(PTRConfig(acceleration="compile")), make_batch()
    ours, theirs = plain.update(batch, 0), fast.update(batch, 0)
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, atol=1e-3, rtol=1e-4)


def test_language_is_an_input_of_both_networks() -> None:
    agent = build(PTRConfig(augment=None), language_size=4)
    batch = make_batch()._replace(language=torch.randn(8, 4, generator=GEN))
    other = batch._replace(language=-batch.language)
    assert not torch.allclose(agent.values(batch), agent.values(other))
    assert agent.actor.config["language_size"] == 4
    agent.update(batch, 0)


def test_chain_values_converge_to_their_discounted_sums() -> None:
    """Three pictured states in a row, -1, -1, +10 and the end, every action alike: V = 7.256, 8.6, 10."""
    config = PTRConfig(alpha=0.0, tau=0.2, critic_learning_rate=1e-3, augment=None)
    agent = build(config)
    pictures = torch.zeros(3, 32, 32, 3, dtype=torch.uint8)
    for i in range(3):
        pictures[i, :, 10 * i : 10 * i + 10, i] = 220
    for step in range(220):
        state = torch.arange(15) % 3
        batch = make_batch(15, first_key=15 * step)._replace(
            images={"primary": pictures[state]},
            next_images={"primary": pictures[(state + 1).clamp(max=2)]},
            task=torch.zeros(15, dtype=torch.int64),
            reward=torch.tensor([-1.0, -1.0, 10.0])[state],
            discount=torch.tensor([0.96, 0.96, 0.0])[state],
        )
        agent.update(batch, step)
    values = agent.values(batch).view(5, 3).mean(0)
    exact = [-1 + 0.96 * (-1 + 0.96 * 10), -1 + 0.96 * 10, 10.0]
    assert values.tolist() == pytest.approx(exact, abs=0.4)


FAST = {"actor_learning_rate": 1e-3, "critic_learning_rate": 1e-3, "alpha": 1.0, "augment": None}


def good_and_bad_actions(step: int, size: int = 32, right_share: float = 0.6) -> Batch:
    """The picture says which of two directions of dx is right; the rest of the data goes the other way and earns -1.

    Imitation settles on the average, at most 0.006 the right way; the rewarded action is 0.03."""
    side, right = torch.randint(0, 2, (size,), generator=GEN), torch.rand(size, generator=GEN) < right_share
    images = torch.full((size, 32, 32, 3), 60, dtype=torch.uint8)
    images[side == 0, 8:24, 4:12, 0] = 230
    images[side == 1, 8:24, 20:28, 0] = 230
    action = torch.zeros(size, 7)
    sign = (2.0 * side - 1) * (2.0 * right - 1)
    action[:, 0] = 0.03 * sign + 0.005 * torch.randn(size, generator=GEN)
    action[:, 1:6] = 0.02 * torch.randn(size, 5, generator=GEN)
    action[:, 6] = 0.5
    empty = make_batch(size, first_key=size * step)
    reward = torch.where(right, 10.0, -1.0)
    return empty._replace(
        images={"primary": images},
        next_images={"primary": images},
        proprio=torch.zeros(size, 7),
        task=torch.zeros(size, dtype=torch.int64),
        action=action,
        reward=reward,
        discount=torch.zeros(size),
        source=side,
    )


def told_by_the_state(batch: Batch) -> Batch:
    """The first number of proprio says which way is right, and there is no picture."""
    proprio = batch.proprio.clone()
    proprio[:, 0] = 2.0 * batch.source - 1
    return batch._replace(images={}, next_images={}, proprio=proprio, next_proprio=proprio)


def share_right(agent: PTR, batch: Batch) -> float:
    """Share of pictures for which the policy goes the rewarded way by clearly more than the data's average."""
    action = agent.actor.mode(batch.images, batch.proprio, batch.task, batch.language)
    return float((action[:, 0] * (2.0 * batch.source - 1) > 0.02).float().mean())


@pytest.mark.parametrize(
    "config",
    [
        PTRConfig(**FAST, actor_loss="advantage_weighted", log_std_range=(-2.0, 2.0)),
        PTRConfig(**FAST, initial_temperature=0.1),
    ],
    ids=["advantage_weighted", "max_q"],
)
def test_actor_takes_the_rewarded_of_two_demonstrated_directions(config: PTRConfig) -> None:
    """From states: from pictures a half of all seeds takes longer than this test may."""
    agent = build_of_state(config)
    for step in range(800):
        share = 0.6 if config.actor_loss == "advantage_weighted" else 0.5
        batch = told_by_the_state(good_and_bad_actions(step, right_share=share))
        agent.update(batch, step)
        if step % 20 == 19 and share_right(agent, batch) > 0.95:
            break
    assert share_right(agent, told_by_the_state(good_and_bad_actions(step + 1, size=64))) > 0.95


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"actions": 0}, "actions is 0"),
        ({"advantage_temperature": 0.0}, "advantage_temperature"),
        ({"actor_loss": "sac"}, "choose max_q"),
        ({"imitation": -1.0}, "imitation is -1.0; give a finite weight"),
        ({"imitation": math.inf}, "imitation is inf"),
        ({"imitation": 1.0, "actor_loss": "advantage_weighted"}, "advantage_weighted imitates already"),
        ({"likelihood_beta": 1.5}, r"PTR's likelihood_beta is 1.5; give a number in \[0, 1\]"),
        ({"likelihood_beta": math.nan}, "likelihood_beta is nan"),
        ({"tau": 0.0}, "tau"),
        ({"acceleration": "magic"}, "choose none"),
    ],
)
def test_config_refuses_nonsense(values: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        PTRConfig(**values)


def test_cuda_graph_on_a_cpu_is_refused() -> None:
    with pytest.raises(UserError, match="needs a CUDA device"):
        build(PTRConfig(acceleration="cuda_graph"))


def test_defaults_are_the_published_ones() -> None:
    config = PTRConfig()
    assert (config.alpha, config.actions, config.tau, config.target_entropy_factor) == (10, 4, 0.005, 1)
    assert (config.actor_learning_rate, config.critic_learning_rate, config.temperature_learning_rate) == (
        1e-4,
        3e-4,
        3e-4,
    )
    assert (config.actor_loss, config.bc_warm_start_steps, config.critic_steps) == ("max_q", 0, None)


def test_acting_network_is_the_running_average_of_the_actor() -> None:
    agent = build(PTRConfig(actor_average=0.5, actor_learning_rate=1e-2))
    before = snapshot(agent.actor)
    agent.update(make_batch(), 0)
    for name, value in agent.acting.named_parameters():
        middle = 0.5 * (before[name] + dict(agent.actor.named_parameters())[name].detach())
        torch.testing.assert_close(value, middle, rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match="actor_average"):
        PTRConfig(actor_average=2.0)


@pytest.mark.parametrize("kind", ["hl_gauss", "c51"])
def test_a_categorical_critic_learns_within_the_range_of_the_rewards(kind: Any) -> None:
    categories = CategoricalConfig.of_rewards(RewardLabel(), 0.96, kind=kind, bins=51)
    agent = build(PTRConfig(augment=None, categories=categories))
    batch = make_batch()
    log = [agent.update(batch, step) for step in range(6)]
    assert log[-1]["critic/bellman"] < log[0]["critic/bellman"]
    for metrics in log:
        assert all(torch.isfinite(value) for value in metrics.values())
    values = agent.values(batch)
    assert values.shape == (8,)
    assert ((values > -25.1) & (values < 10.1)).all()
    assert agent.critic.q.widths[-1] == 51
    again = RunSettings(
        algorithm="ptr", encoder=EncoderConfig(name="small"), camera="primary", image_size=(32, 32), task_slots=5, ptr=agent.config,
    )  # fmt: skip
    assert RunSettings.from_json(json.loads(json.dumps(again.to_json()))).ptr == agent.config


def build_of_state(config: PTRConfig) -> PTR:
    spec = Spec(cameras={}, embodiment="test")
    return PTR.build(
        spec, cameras=[], image_size=(0, 0), task_slots=5, encoder=EncoderConfig(name="small"), config=config, seed=3
    )


def test_without_a_camera_the_critic_reads_the_state() -> None:
    agent, batch = build_of_state(PTRConfig(augment=None, alpha=0.0)), make_batch()._replace(images={}, next_images={})
    before = agent.values(batch)
    moved = batch._replace(proprio=batch.proprio + 1)
    other_task = batch._replace(task=(batch.task + 1) % 5)
    turned = batch._replace(action=-batch.action)
    for changed in (moved, other_task, turned):
        assert (agent.values(changed) != before).all()
    shape = {name: tuple(p.shape) for name, p in agent.critic.named_parameters()}
    assert shape["q.state_weight"] == (7 + 5, 2 * 256)
    assert shape["q.weight.1"] == (2, 256, 256)
    ended = batch._replace(discount=torch.zeros(len(batch.reward)))
    losses = [float(agent.update(ended, step)["critic/bellman"]) for step in range(200)]
    assert losses[-1] < losses[0] / 2, "nothing but rewards to learn"


@pytest.mark.parametrize("config", [PTRConfig(normalize_features=True), PTRConfig(refeed_actions=False)])
def test_what_the_critic_of_images_alone_can_needs_a_camera(config) -> None:
    with pytest.raises(UserError, match="name a camera"):
        build_of_state(config)
