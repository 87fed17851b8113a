"""Cal-QL and CQL as agents: one update against an independent writing of the published one, options, refusals, resume."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch import distributions as D

from robot_pt import noise
from robot_pt.agents.cal_ql import CalQL, CalQLConfig
from robot_pt.agents.conservative import Sampled
from robot_pt.agents.conservative_agent import _ACTOR, _NEXT, _POLICY, _TARGET, _UNIFORM, ConservativeAgent
from robot_pt.agents.cql import CQL, CQLConfig
from robot_pt.errors import MismatchError, UserError
from robot_pt.networks.categorical import CategoricalConfig
from robot_pt.networks.encoders import EncoderConfig, ImageEncoder
from robot_pt.schema import Batch
from tests.core import peer
from tests.core.state_batch import ACTION, BOUNDS, SPEC, TASKS, state_batch

SMALL: dict[str, Any] = {"actor_hidden": (16, 16), "critic_hidden": (16, 16, 16), "actions": 4}


def build(kind: type[ConservativeAgent] = CalQL, cameras: tuple[str, ...] = (), seed: int = 0, **options: Any) -> Any:
    config = {CalQL: CalQLConfig, CQL: CQLConfig}[kind](**SMALL | options)
    return kind.build(
        SPEC, cameras=cameras, image_size=(32, 32), task_slots=TASKS, encoder=EncoderConfig(name="small", latent=16),
        config=config, bounds=BOUNDS, seed=seed,
    )  # fmt: skip


def snapshot(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before: dict[str, Tensor], module: torch.nn.Module) -> bool:
    return any(not torch.equal(value, before[name]) for name, value in module.state_dict().items())


class Written:
    """The published losses on copies of an agent's networks, one action and one head at a time, by torch.distributions."""

    def __init__(self, agent: ConservativeAgent):
        self.agent, self.K = agent, agent.config.actions
        self.actor, self.critic, self.target = (copy.deepcopy(m) for m in (agent.actor, agent.critic, agent.target))
        self.log_temperature = agent.temperature.log.detach().clone().requires_grad_()
        self.log_multiplier = torch.tensor(1.0, requires_grad=True)
        self.adam = {
            "actor": torch.optim.Adam(self.actor.parameters(), 1e-4),
            "critic": torch.optim.Adam(self.critic.parameters(), 3e-4),
            "temperature": torch.optim.Adam([self.log_temperature], 1e-4),
            "multiplier": torch.optim.Adam([self.log_multiplier], 3e-4),
        }

    def policy(self, proprio: Tensor, batch: Batch) -> D.Distribution:
        out = self.actor({}, proprio, batch.task, batch.language)
        base = D.Normal(out.mean_BA, out.log_std_BA.exp())
        return D.Independent(D.TransformedDistribution(base, [D.TanhTransform(cache_size=1)]), 1)

    def draw(
        self, policy: D.Distribution, batch: Batch, step: int, stream: int, count: int
    ) -> list[tuple[Tensor, Tensor]]:
        base = policy.base_dist.base_dist
        standard = noise.normal(batch.sample_key, step, stream, (count, ACTION), seed=0)
        actions = [torch.tanh(base.loc + base.scale * standard[:, k]) for k in range(count)]
        return [(action, policy.log_prob(action)) for action in actions]

    def q(self, critic: torch.nn.Module, proprio: Tensor, batch: Batch, action: Tensor) -> Tensor:
        return critic(*critic.state({}, proprio, batch.task, batch.language), action[:, None])[:, :, 0]

    def losses(self, batch: Batch, step: int) -> dict[str, Tensor]:
        config, K = self.agent.config, self.K
        low, high = torch.tensor(BOUNDS.low), torch.tensor(BOUNDS.high)
        data = ((batch.action - low) / (high - low) * 2 - 1).clamp(-0.99999, 0.99999)
        policy, following = self.policy(batch.proprio, batch), self.policy(batch.next_proprio, batch)
        ((new, log_pi),) = self.draw(policy, batch, step, _ACTOR, 1)
        temperature = self.log_temperature.exp().detach()
        out = {"temperature": -(self.log_temperature * (log_pi.detach() - ACTION)).mean()}
        out["actor"] = (temperature * log_pi - torch.minimum(*self.q(self.critic, batch.proprio, batch, new))).mean()
        with torch.no_grad():
            best = torch.full((len(data),), -math.inf)
            for action, _ in self.draw(following, batch, step, _TARGET, K):
                best = torch.maximum(best, torch.minimum(*self.q(self.target, batch.next_proprio, batch, action)))
            y = batch.reward + batch.discount * best
            sampled = self.draw(policy, batch, step, _POLICY, K) + self.draw(following, batch, step, _NEXT, K)
            random = noise.uniform(batch.sample_key, step, _UNIFORM, (K, ACTION), seed=0) * 2 - 1
        multiplier = self.log_multiplier.exp()
        out["critic"], out["multiplier"] = torch.zeros(()), torch.zeros(())
        for head in range(2):
            q = lambda action: self.q(self.critic, batch.proprio, batch, action)[head]  # noqa: B023, E731
            total = torch.zeros(len(data))
            for k in range(K):
                total = total + (q(random[:, k]) + ACTION * math.log(2)).exp()
            for action, log in sampled:
                value = q(action)
                value = torch.maximum(value, batch.return_to_go) if isinstance(self.agent, CalQL) else value
                total = total + (value - log).exp()
            pressed = config.weight * ((total.log() - q(data)).mean() - config.target_gap)
            out["critic"] = out["critic"] + (q(data) - y).square().mean() + multiplier.detach() * pressed
            out["multiplier"] = out["multiplier"] - 0.5 * multiplier * pressed.detach()
        return out

    def update(self, batch: Batch, step: int) -> dict[str, Tensor]:
        losses = self.losses(batch, step)
        wanted = {"actor": self.actor.parameters(), "critic": self.critic.parameters(),
                  "temperature": [self.log_temperature], "multiplier": [self.log_multiplier]}  # fmt: skip
        grads = {
            name: torch.autograd.grad(loss, list(wanted[name]), retain_graph=True)
            for name, loss in losses.items() if name in wanted
        }  # fmt: skip
        for name, adam in self.adam.items():
            for parameter, grad in zip(adam.param_groups[0]["params"], grads[name], strict=True):
                parameter.grad = grad
            adam.step()
        with torch.no_grad():
            for ours, theirs in zip(self.target.parameters(), self.critic.parameters(), strict=True):
                ours.copy_(0.995 * ours + 0.005 * theirs)
        return losses


@pytest.mark.parametrize("kind", [CalQL, CQL])
def test_updates_equal_the_published_ones_written_out(kind: type[ConservativeAgent]) -> None:
    agent = build(kind)
    torch.nn.init.normal_(
        agent.critic.q.weight[-1], std=0.5
    )  # Q of the size of returns, so that the bound binds here and there
    agent.target.load_state_dict(agent.critic.state_dict())
    twin = Written(agent)
    for step in range(3):
        batch = state_batch(seed=step)
        got, wanted = agent.update(batch, step), twin.update(batch, step)
        torch.testing.assert_close(got["critic/loss"], wanted["critic"].detach(), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(got["actor/loss"], wanted["actor"].detach(), atol=1e-4, rtol=1e-4)
        assert 0.02 < float(got["critic/bound_rate"]) < 0.98
    pairs = ((agent.actor, twin.actor), (agent.critic, twin.critic), (agent.target, twin.target))
    for ours, theirs in pairs:
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert (a - b).abs().mean() < 3e-6  # Adam's first steps are lr * sign(g): compare on the scale of a step
    torch.testing.assert_close(agent.temperature.log, twin.log_temperature, atol=1e-6, rtol=0)
    torch.testing.assert_close(agent.multiplier.log, twin.log_multiplier, atol=1e-6, rtol=0)


def test_calibration_is_the_only_difference_between_the_two() -> None:
    low = state_batch()._replace(return_to_go=torch.full((16,), -1e6))
    ours, theirs = build(CalQL).update(low, 0), build(CQL).update(low, 0)
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
    bound = state_batch()._replace(return_to_go=torch.full((16,), 50.0))
    assert (
        build(CalQL).update(bound, 0)["critic/conservative"] > 40 + build(CQL).update(bound, 0)["critic/conservative"]
    )


def test_metrics_say_where_q_stands() -> None:
    agent, batch = build(weight=1.0, target_gap=None), state_batch()
    metrics = agent.update(batch, 0)
    assert {
        f"critic/{n}" for n in ("q_data", "q_policy", "q_next", "q_uniform", "return_to_go", "bound_rate", "target")
    } <= set(metrics)
    assert all(value.dim() == 0 and not value.requires_grad and value.isfinite() for value in metrics.values())
    torch.testing.assert_close(metrics["critic/return_to_go"], batch.return_to_go.mean())
    assert "critic/multiplier" not in metrics


def test_a_fixed_weight_scales_the_gap() -> None:
    one, two = (build(weight=w, target_gap=None).update(state_batch(), 0) for w in (1.0, 3.0))
    torch.testing.assert_close(one["critic/loss"] - one["critic/bellman"], 2 * one["critic/conservative"])
    torch.testing.assert_close(two["critic/loss"] - two["critic/bellman"], 6 * two["critic/conservative"])


def test_weight_zero_is_sac() -> None:
    agent = build(CQL, weight=0.0, backup="plain", backup_entropy=True)
    seen: list[int] = []
    agent.critic.register_forward_hook(lambda module, args, output: seen.append(args[-1].shape[1]))
    metrics = agent.update(state_batch(), 0)
    assert seen == [1, 1]  # the actor's action and the data action, no sample pressed
    assert torch.equal(metrics["critic/loss"], metrics["critic/bellman"])
    assert "critic/q_policy" not in metrics


def test_plain_backup_with_entropy() -> None:
    agent = build(backup="plain", backup_entropy=True, initial_temperature=0.5)
    next_q, log = torch.tensor([[[1.0], [2.0]], [[3.0], [0.0]]]), torch.tensor([[2.0], [-4.0]])
    y = agent.backup(torch.tensor([1.0, 1.0]), torch.tensor([0.5, 0.0]), next_q, log, 0)
    assert y.tolist() == pytest.approx([1 + 0.5 * (1 - 0.5 * 2), 1.0])


def test_max_backup_is_best_action_of_least_head() -> None:
    next_q = torch.tensor([[[1.0, 5.0], [0.0, 2.0]], [[4.0, 2.0], [9.0, -1.0]]])
    y = build().backup(torch.tensor([1.0, 10.0]), torch.tensor([0.9, 0.0]), next_q, torch.ones(2, 2), 0)
    assert y.tolist() == pytest.approx([1 + 0.9 * 2, 10])


def test_a_subset_of_two_heads_changes_from_update_to_update() -> None:
    agent = build(heads=5, layer_norm=True, subset=2)
    next_q = torch.arange(5.0).view(5, 1, 1)
    zero, one = torch.zeros(1), torch.ones(1)
    ys = [float(agent.backup(zero, one, next_q, torch.zeros(1, 1), step)) for step in range(300)]
    shares = {v: ys.count(v) / 300 for v in (0.0, 1.0, 2.0, 3.0, 4.0)}
    for value, exact in ((0, 0.4), (1, 0.3), (2, 0.2), (3, 0.1), (4, 0.0)):
        assert shares[value] == pytest.approx(exact, abs=0.09)
    assert agent.update(state_batch(), 0)["critic/loss"].isfinite()


def test_the_multiplier_stays_within_its_limit_and_follows_the_gap() -> None:
    for target_gap, rises in ((-50.0, True), (500.0, False)):
        agent = build(target_gap=target_gap)
        values = [float(agent.update(state_batch(), step)["critic/multiplier"]) for step in range(5)]
        assert values == sorted(values, reverse=not rises)
        assert values[0] != values[-1]
    agent = build(target_gap=-50.0)
    agent.multiplier.log.data.fill_(40.0)
    assert float(agent.update(state_batch(), 0)["critic/multiplier"]) == 1e6


@pytest.mark.parametrize("kind", [CalQL, CQL])
def test_warm_start_follows_the_data_and_leaves_q_out(kind: type[ConservativeAgent]) -> None:
    agent = build(kind, bc_warm_start_steps=2)
    assert [agent.phase(step) for step in (0, 1, 2)] == ["warm_start", "warm_start", "joint"]
    batch, other = state_batch(), build(kind, bc_warm_start_steps=2)
    torch.nn.init.normal_(other.critic.q.weight[-1])
    first, second = agent.update(batch, 0), other.update(batch, 0)
    assert torch.equal(first["actor/loss"], second["actor/loss"])
    for a, b in zip(agent.actor.parameters(), other.actor.parameters(), strict=True):
        assert torch.equal(a, b)
    learner = build(kind, bc_warm_start_steps=200, actor_learning_rate=3e-3)
    errors = [float(learner.update(batch, step)["actor/mse"]) for step in range(200)]
    assert errors[-1] < 0.5 * errors[0]


@pytest.mark.parametrize("kind", [CalQL, CQL])
def test_advantage_weighted_extraction_changes_the_actor_alone(kind: type[ConservativeAgent]) -> None:
    agents = [build(kind, extraction=how, advantage_temperature=2.0) for how in ("max_q", "advantage_weighted")]
    batch, before = state_batch(), snapshot(agents[0].actor)
    metrics = [agent.update(batch, 0) for agent in agents]
    climbing, imitating = agents
    for part in ("critic", "target", "multiplier"):
        assert not changed(snapshot(getattr(climbing, part)), getattr(imitating, part))
    assert changed(before, imitating.actor)
    assert changed(snapshot(climbing.actor), imitating.actor)
    assert imitating.temperature().item() == 1.0 != climbing.temperature().item()
    assert metrics[0]["critic/loss"] == metrics[1]["critic/loss"]
    assert float(metrics[1]["actor/weight"]) > 0


@pytest.mark.parametrize("kind", [CalQL, CQL])
def test_the_advantage_weight_by_hand(kind: type[ConservativeAgent]) -> None:
    """Two heads, two states: the least head, the mean over the policy's samples, the exponent's limit; Q carries no gradient. Of Cal-QL a
    stored action is worth no less than the return that was reached."""
    agent = build(kind, extraction="advantage_weighted", advantage_temperature=2.0, advantage_clip=1.5)
    data = torch.tensor([[3.0, 9.0], [1.0, 8.0]], requires_grad=True)
    policy = torch.tensor([[[0.0, 4.0], [1.0, 3.0]], [[2.0, 2.0], [0.0, 6.0]]])
    none, log_prob = torch.zeros(2, 2, 2), torch.tensor([-1.0, -2.0], requires_grad=True)
    q = Sampled(data, none, policy, none, none[0], none[0])
    loss, weight = agent.advantage_weighted_loss(log_prob, q, torch.tensor([1.5, -9.0]))
    wanted = [
        math.exp(((1.5 if kind is CalQL else 1) - (0 + 2) / 2) / 2),
        math.exp(1.5),
    ]  # 8 - (0 + 3) / 2 over 2 is beyond the limit
    assert weight.tolist() == pytest.approx(wanted)
    assert loss.item() == pytest.approx((wanted[0] * 1 + wanted[1] * 2) / 2)
    loss.backward()
    assert data.grad is None
    assert log_prob.grad.tolist() == pytest.approx([-w / 2 for w in wanted])


@pytest.mark.parametrize("kind", [CalQL, CQL])
def test_what_reached_too_little_is_not_imitated(kind: type[ConservativeAgent]) -> None:
    """The actor's step is the one that a batch of the others alone makes, scaled; the critic's step is of all, as without the option."""
    options: dict[str, Any] = {"extraction": "advantage_weighted", "advantage_temperature": 2.0}
    filtering, plain = build(kind, least_return=0.5, **options), build(kind, **options)
    batch = state_batch(size=12)
    batch = batch._replace(return_to_go=torch.tensor([0.5, -25.0, 0.6, 9.0] * 3))
    kept = torch.tensor([2, 3, 6, 7, 10, 11])
    few = Batch(*[
        {} if isinstance(v, dict) else None if v is None else v[kept] for v in batch
    ])  # fmt: skip
    ours, theirs = filtering.update(batch, 0), plain.update(few, 0)
    assert float(ours["actor/loss"]) == pytest.approx(float(theirs["actor/loss"]) / 2, rel=1e-5)
    assert float(ours["actor/weight"]) == pytest.approx(float(theirs["actor/weight"]) / 2, rel=1e-5)
    whole = build(kind, **options)
    whole.update(batch, 0)
    assert not changed(snapshot(filtering.critic), whole.critic)
    assert changed(snapshot(plain.critic), whole.critic)


@pytest.mark.parametrize("extraction", ["max_q", "advantage_weighted"])
def test_a_gradient_of_the_actor_beyond_the_limit_keeps_its_direction(extraction: str) -> None:
    """Below the limit it stays as it is; the critic's has no limit."""
    plain, batch = build(extraction=extraction), state_batch()
    plain.update(batch, 0)
    slopes = [p.grad for p in plain.actor.parameters() if p.grad is not None]
    norm = float(torch.linalg.vector_norm(torch.cat([s.flatten() for s in slopes])))
    for largest, share in ((norm / 4, 1 / 4), (norm * 4, 1.0)):
        limited = build(extraction=extraction, actor_gradient=largest)
        limited.update(batch, 0)
        for parameter, slope in zip((p for p in limited.actor.parameters() if p.grad is not None), slopes, strict=True):
            torch.testing.assert_close(parameter.grad, share * slope, rtol=1e-4, atol=1e-7)
        assert not changed(snapshot(plain.critic), limited.critic)


@pytest.mark.parametrize("kind", [CalQL, CQL])
def test_beta_evens_the_likelihood_of_the_same_weights(kind: type[ConservativeAgent]) -> None:
    """Weights and critic are those without it; each dimension's log-density counts by its variance, which carries no gradient."""
    options: dict[str, Any] = {
        "extraction": "advantage_weighted",
        "advantage_temperature": 1e9,
        "actor_learning_rate": 1.0,
    }
    even, plain = build(kind, likelihood_beta=1.0, **options), build(kind, **options)
    batch = state_batch()
    action, out = even.actor.normalizer.encode(batch.action), even.actor({}, batch.proprio, batch.task, batch.language)
    base = D.Normal(out.mean_BA, out.log_std_BA.exp())
    density = D.TransformedDistribution(base, [D.TanhTransform(cache_size=1)]).log_prob(action)
    wanted = -(base.stddev.detach().square() * density).sum(1).mean()  # all advantages weigh 1 at that temperature
    wanted.backward()
    slopes = [p.grad.clone() for p in even.actor.parameters() if p.grad is not None]
    even.actor.zero_grad()
    ours, theirs = even.update(batch, 0), plain.update(batch, 0)
    torch.testing.assert_close(ours["actor/loss"], wanted.detach(), atol=1e-4, rtol=1e-4)
    for parameter, slope in zip((p for p in even.actor.parameters() if p.grad is not None), slopes, strict=True):
        torch.testing.assert_close(parameter.grad, slope, atol=1e-4, rtol=1e-3)
    assert torch.equal(ours["actor/weight"], theirs["actor/weight"])
    assert not changed(snapshot(even.critic), plain.critic)


def test_failures_in_the_majority_are_not_followed() -> None:
    """Three of four stored steps take a bad action and fail, and the critic has nothing to tell them apart by."""
    low, high = torch.tensor(BOUNDS.low), torch.tensor(BOUNDS.high)
    good, bad = (low + share * (high - low) for share in (0.75, 0.25))
    acted = []
    for least in (None, -24.9):
        agent = build(
            kind=CQL, extraction="advantage_weighted", least_return=least, target_gap=None, weight=1e-3, actor_learning_rate=3e-3,
            scaled_log_std=False, log_std_range=(-2.0, 0.0),
        )  # fmt: skip
        for step in range(150):
            batch, reached = state_batch(size=32, seed=step), torch.arange(32) % 4 == 0
            batch = batch._replace(
                action=torch.where(reached[:, None], good, bad), return_to_go=torch.where(reached, 2.0, -25.0),
                reward=torch.zeros(32), discount=torch.zeros(32),
            )  # fmt: skip
            agent.update(batch, step)
        acted.append(float(agent.actor.mode({}, batch.proprio, batch.task, batch.language)[:, 0].mean()))
    of_all, of_some = acted
    assert of_some == pytest.approx(float(good[0]), abs=0.2)
    assert of_all < 0


OPTIONS = [
    {}, {"importance": False, "target_gap": None}, {"heads": 4, "layer_norm": True}, {"gap_floor": -1.0, "gap_ceiling": 1.0},
    {"scaled_log_std": False, "log_std_range": (-5.0, 2.0)}, {"actor_average": 0.1}, {"extraction": "advantage_weighted"},
    {"extraction": "advantage_weighted", "least_return": 0.0}, {"bf16": True}, {"weight": 0.0},
    {"categories": CategoricalConfig(low=-10, high=10, bins=21)}, {"categories": CategoricalConfig(low=-10, high=10, bins=21, kind="c51")},
]  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS)
def test_resume_is_bit_for_bit(options: dict[str, Any]) -> None:
    agent = build(**options)
    for step in range(3):
        agent.update(state_batch(seed=step), step)
    other = build(**options, seed=1)
    other.seed = 0
    other.load_state_dict(agent.state_dict())
    for step in range(3, 5):
        ours, theirs = agent.update(state_batch(seed=step), step), other.update(state_batch(seed=step), step)
        assert all(torch.equal(value, theirs[name]) and value.isfinite() for name, value in ours.items())
    for name, value in agent.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_a_state_of_other_options_is_refused() -> None:
    with pytest.raises(MismatchError, match="multiplier"):
        build(target_gap=None).load_state_dict(build().state_dict())


def test_every_network_learns_and_only_the_target_lags() -> None:
    agent = build()
    before = {name: snapshot(module) for name, module in agent._modules.items()}
    agent.update(state_batch(), 0)
    assert all(changed(before[name], module) for name, module in agent._modules.items())
    for name, value in agent.target.named_parameters():
        wanted = before["target"][name].lerp(dict(agent.critic.named_parameters())[name].detach(), 0.005)
        torch.testing.assert_close(value, wanted)


@pytest.mark.parametrize("critic", ["ensemble", "ptr"])
def test_images_are_encoded_once_per_network(critic: str) -> None:
    agent, batch = build(cameras=("primary",), critic=critic, seed=2), state_batch(6, cameras=("primary",))
    passes = {"forward": 0, "backward": 0}

    def seen(_: object, inputs: tuple[Tensor], output: Tensor) -> None:
        passes["forward"] += len(inputs[0])
        if output.requires_grad:
            output.register_hook(lambda grad: passes.__setitem__("backward", passes["backward"] + len(grad)))

    for network in (agent.actor, agent.critic, agent.target):
        for module in network.modules():
            if isinstance(module, ImageEncoder):
                module.register_forward_hook(seen)
    before = {name: snapshot(getattr(agent, name)) for name in ("actor", "critic")}
    metrics = agent.update(batch, 0)
    assert passes == {"forward": 4 * 6, "backward": 2 * 6}
    assert all(value.isfinite() for value in metrics.values())
    for name in ("actor", "critic"):
        kernel = next(k for k in before[name] if k.endswith("pool.kernel"))
        assert not torch.equal(before[name][kernel], getattr(agent, name).state_dict()[kernel])
    assert agent.values(batch).shape == (6,)


def test_the_task_conditions_policy_and_value() -> None:
    agent, batch = build(), state_batch()
    torch.nn.init.normal_(agent.actor.mean.weight)
    other = batch._replace(task=1 - batch.task)
    assert not torch.allclose(agent.values(batch), agent.values(other))
    assert not torch.allclose(
        agent.actor.mode({}, batch.proprio, batch.task, batch.language),
        agent.actor.mode({}, batch.proprio, other.task, batch.language),
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"weight": -1.0}, "weight is -1"), ({"weight": math.nan}, "weight is nan"), ({"weight": math.inf}, "weight is inf"),
        ({"actions": 0}, "actions is 0"), ({"tau": 0.0}, "tau is 0"), ({"heads": 2, "subset": 3}, "subset is 3 of 2"),
        ({"backup": "best"}, "choose max, plain"), ({"critic": "mlp"}, "choose ensemble, ptr"),
        ({"acceleration": "fast"}, "choose none, compile"), ({"critic": "ptr", "layer_norm": True}, "ptr has no LayerNorm"),
        ({"extraction": "best"}, "choose max_q, advantage_weighted"), ({"advantage_temperature": 0.0}, "advantage_temperature is 0"),
        ({"extraction": "advantage_weighted", "weight": 0.0}, "give a weight above 0"),
        ({"least_return": -24.9}, "its policy imitates nothing"),
        ({"extraction": "advantage_weighted", "least_return": math.nan}, "give a finite return"),
        ({"likelihood_beta": 1.0}, "its policy imitates nothing"), ({"likelihood_beta": 1.5}, "likelihood_beta is 1.5"),
        ({"actor_average": 2.0}, "actor_average is 2"), ({"actor_gradient": 0.0}, "actor_gradient is 0"), ({"initial_multiplier": 0.0}, "initial_multiplier is 0"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [CalQLConfig, CQLConfig])
def test_a_bad_config_is_one_sentence(kind: type, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as raised:
        kind(**options)
    assert kind.__name__.removesuffix("Config") in str(raised.value)
    assert str(raised.value).count(". ") == 0


def test_ptrs_critic_needs_a_camera_and_a_graph_a_gpu() -> None:
    with pytest.raises(UserError, match="at least one camera"):
        build(critic="ptr")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="CUDA"):
            build(acceleration="cuda_graph")


def test_defaults_are_the_published_antmaze_ones() -> None:
    agent = CalQL.build(SPEC, cameras=(), image_size=(0, 0), task_slots=1, encoder=EncoderConfig(), bounds=BOUNDS)
    assert agent.config == CalQLConfig()
    assert [tuple(w.shape) for w in agent.critic.q.weight] == [(2, 256, 256)] * 3 + [(2, 256, 1)]
    out = agent.actor({}, torch.zeros(1, 5), torch.zeros(1, dtype=torch.int64), torch.zeros(1, 0))
    assert float(out.log_std_BA.detach().mean()) == pytest.approx(-1, abs=0.05)
    assert float(agent.multiplier().detach()) == pytest.approx(math.e)
    assert isinstance(
        CQL.build(SPEC, cameras=(), image_size=(0, 0), task_slots=1, encoder=EncoderConfig(), bounds=BOUNDS).config,
        CQLConfig,
    )
    assert replace(CalQLConfig(), weight=0.0).weight == 0


@pytest.mark.parametrize("name", ["actor", "critic"])
def test_what_the_comparison_with_d3rlpy_reads_is_one_module_s_gradient(name: str) -> None:
    """`tests.core.peer` takes the place of `descend`; where d3rlpy is missing nothing else would notice that it no longer fits."""
    agent = build()
    before = snapshot(agent.actor)
    agent.descend = peer.only(agent, name)
    agent.update(state_batch(seed=1), 0)
    assert all(p.grad is not None for p in agent._modules[name].parameters())
    assert not changed(before, agent.actor)
