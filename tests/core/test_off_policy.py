"""What every actor-critic shares: building, targets, gradients that reach actions only, drawn heads, state of the learning."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robot_pt.agents.inputs import Inputs
from robot_pt.agents.off_policy import OffPolicyAgent, Positive, require
from robot_pt.augment import AugmentConfig
from robot_pt.errors import UserError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.schema import Batch
from tests.core.state_batch import ACTION, BOUNDS, SPEC, TASKS, state_batch


class Climber(OffPolicyAgent):
    """The least algorithm: Q regresses on rewards, the actor climbs Q."""

    @classmethod
    def of(cls, inputs: Inputs, config: Any, device: torch.device, seed: int) -> "Climber":
        actor = inputs.actor(hidden=(16,))
        critic = inputs.ensemble(hidden=(16, 16), heads=5)
        options = {"augment": None, "learning_rates": {"actor": 1e-2, "critic": 1e-2}, "tau": 0.1, **(config or {})}
        return cls(actor.to(device), critic.to(device), seed=seed, **options)

    def update_in_phase(self, batch: Batch, step: int | Tensor, phase: str) -> dict[str, Tensor]:
        images, _ = self.views(batch, step)
        action_BA = self.actor.normalizer.encode(batch.action)
        state = self.state_of(self.critic, images, batch.proprio, batch)
        loss = self.td_loss(self.critic(*state, action_BA[:, None])[:, :, 0], batch.reward).mean()
        self.descend("critic", loss)
        self.move_target()
        policy = self.policy(images, batch.proprio, batch)
        action_BKA, _ = policy.sample(self.normal(batch, step, 0, 2))
        climb = self.through(self.critic, state, action_BKA).mean()
        self.descend("actor", -climb)
        return {"critic/loss": loss.detach(), "actor/value": climb.detach()}


def build(
    cameras: tuple[str, ...] = (), seed: int = 0, config: dict[str, Any] | None = None, **options: Any
) -> Climber:
    return Climber.build(
        SPEC, cameras=cameras, image_size=(32, 32), task_slots=TASKS, encoder=EncoderConfig(name="small", latent=16),
        config=config, bounds=BOUNDS, seed=seed, **options,
    )  # fmt: skip


def test_a_seed_fixes_the_weights_and_leaves_torchs_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, third = build(seed=1), build(seed=1), build(seed=2)
    assert torch.equal(torch.rand(3), expected)
    for a, b, c in zip(*(agent.critic.parameters() for agent in (first, second, third)), strict=True):
        assert torch.equal(a, b)
        assert not a.any() or not torch.equal(a, c)


def test_proprio_statistics_reach_actor_and_critic() -> None:
    agent = build(proprio=([1.0] * 5, [2.0] * 5))
    assert agent.actor.proprio.mean.tolist() == agent.critic.proprio.mean.tolist() == [1.0] * 5
    assert agent.critic.proprio.std.tolist() == [2.0] * 5
    assert build().critic.proprio.std.tolist() == [1.0] * 5


def test_the_target_is_a_copy_without_gradient_that_moves_by_tau() -> None:
    agent, batch = build(), state_batch()
    before = {name: value.clone() for name, value in agent.target.named_parameters()}
    agent.update(batch, 0)
    for name, value in agent.target.named_parameters():
        assert not value.requires_grad
        critic = dict(agent.critic.named_parameters())[name].detach()
        torch.testing.assert_close(value, before[name] + 0.1 * (critic - before[name]))


def test_through_gives_the_action_gradient_and_none_to_any_weight() -> None:
    agent, batch = build(), state_batch(4)
    state = agent.state_of(agent.critic, {}, batch.proprio.requires_grad_(), batch)
    action = torch.rand(4, 3, ACTION, requires_grad=True)
    q = agent.through(agent.critic, state, action)
    torch.testing.assert_close(q, agent.critic(*state, action))
    q.sum().backward()
    assert action.grad.abs().sum() > 0
    assert batch.proprio.grad is None
    assert all(parameter.grad is None for parameter in agent.critic.parameters())
    small = torch.autograd.functional.jacobian(
        lambda a: agent.critic(*(s.detach() for s in state), a).sum(), action.detach()
    )
    torch.testing.assert_close(action.grad, small)


def test_noise_belongs_to_the_sample_however_the_batch_is_split() -> None:
    agent, batch = build(), state_batch(8)
    half = Batch(*(value[3:6] if isinstance(value, torch.Tensor) else value for value in batch))
    for draw in (agent.normal, agent.uniform_actions):
        whole = draw(batch, 4, 1, 5)
        assert whole.shape == (8, 5, ACTION)
        assert torch.equal(draw(half, 4, 1, 5), whole[3:6])
        assert not torch.equal(draw(batch, 5, 1, 5), whole)
        assert not torch.equal(draw(batch, 4, 2, 5), whole)
    uniform = agent.uniform_actions(state_batch(500), 0, 0, 50)
    assert -1 < float(uniform.min()) < -0.99
    assert float(uniform.mean()) == pytest.approx(0, abs=0.01)


def test_drawn_heads_are_distinct_and_the_least_of_all_is_the_minimum() -> None:
    agent = build()
    q = torch.randn(5, 4, 3)
    assert torch.equal(agent.least(q, None, 0), q.amin(0))
    assert torch.equal(agent.least(q, 5, 0), q.amin(0))
    numbers = torch.arange(5.0)
    pairs = {tuple(sorted(agent.drawn(numbers, 2, step).tolist())) for step in range(200)}
    assert pairs == {(float(a), float(b)) for a in range(5) for b in range(a + 1, 5)}
    step = torch.tensor(7)
    assert torch.equal(agent.drawn(numbers, 2, step), agent.drawn(numbers, 2, 7))


def test_values_are_the_least_head_at_the_data_action() -> None:
    agent, batch = build(), state_batch()
    normalised = (batch.action - torch.tensor(BOUNDS.low)) / (
        torch.tensor(BOUNDS.high) - torch.tensor(BOUNDS.low)
    ) * 2 - 1
    state = agent.critic.state({}, batch.proprio, batch.task, batch.language)
    expected = agent.critic(*state, normalised.clamp(-0.99, 0.99)[:, None])[:, :, 0].min(0).values
    torch.testing.assert_close(agent.values(batch), expected.detach())


def test_an_average_of_the_actor_acts_and_is_saved() -> None:
    agent, batch = build(config={"actor_average": 0.25}), state_batch()
    before = {name: value.clone() for name, value in agent.actor.named_parameters()}
    agent.update(batch, 0)
    for name, value in agent.acting.named_parameters():
        now = dict(agent.actor.named_parameters())[name].detach()
        torch.testing.assert_close(value, before[name].lerp(now, 0.25))
    assert any(name.startswith("average.") for name in agent.state_dict())
    plain = build()
    assert plain.acting is plain.actor


def test_modules_without_a_learning_rate_stay_and_others_travel_with_the_state() -> None:
    extra = nn.Linear(2, 2)
    agent = build(config={"others": {"extra": extra}, "learning_rates": {"critic": 1e-2, "actor": 1e-2}})
    before = extra.weight.clone()
    agent.update(state_batch(), 0)
    assert torch.equal(extra.weight, before)
    assert torch.equal(agent.state_dict()["extra.weight"], before)
    assert not any(name.startswith("optimizer.extra") for name in agent.state_dict())


def test_gradients_are_averaged_between_backward_and_step() -> None:
    agent, seen = build(), []

    def sync(parameters: Any) -> None:
        grads = [p.grad for p in parameters]
        seen.append(all(g is not None for g in grads))
        for grad in grads:
            grad.zero_()

    agent.grad_sync = sync
    before = agent.critic.q.weight[0].clone()
    agent.update(state_batch(), 0)
    assert seen == [True, True]
    assert torch.equal(agent.critic.q.weight[0], before)


def test_each_camera_and_each_of_the_two_moments_has_a_view_of_its_own() -> None:
    cameras = ("primary", "wrist")
    agent, batch = build(cameras, config={"augment": AugmentConfig()}), state_batch(4, cameras=cameras)
    same = batch._replace(images=dict.fromkeys(cameras, batch.images["primary"]))
    same = same._replace(next_images=same.images)
    now, following = agent.views(same, 3)
    assert not torch.equal(now["primary"], now["wrist"])
    assert not torch.equal(now["primary"], following["primary"])
    assert torch.equal(agent.views(same, 3)[0]["wrist"], now["wrist"])
    plain, _ = build(cameras).views(batch, 3)
    assert plain is batch.images


def test_a_graph_needs_a_cuda_device() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match="cuda_graph needs a CUDA device, this one is cpu"):
            build(config={"acceleration": "cuda_graph"})


def test_positive_is_an_exponential_with_an_upper_limit() -> None:
    number = Positive(2.0, largest=5.0)
    assert float(number().detach()) == pytest.approx(2)
    number.log.data.fill_(100.0)
    assert float(number().detach()) == 5
    number.log.data.fill_(-100.0)
    assert 0 <= float(number().detach()) < 1e-40
    assert float(Positive(1.0)().detach()) == 1


@dataclass(frozen=True)
class ClimberConfig:
    rate: float = 1.0
    tau: float = 0.5


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"rate": 0.0}, "Climber's rate is 0.0; give a value above 0"), ({"rate": math.nan}, "rate is nan"),
        ({"tau": 1.5}, r"tau is 1.5; give a share in \(0, 1\]"), ({"tau": -1.0}, "tau is -1"),
    ],
)  # fmt: skip
def test_require_names_algorithm_field_and_what_is_allowed(values: dict[str, float], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        require(ClimberConfig(**values), positive=("rate",), share=("tau",))
    require(ClimberConfig(), positive=("rate",), share=("tau",))


def test_the_least_algorithm_learns() -> None:
    agent, batch = build(), state_batch(64)
    losses = [float(agent.update(batch, step)["critic/loss"]) for step in range(150)]
    assert losses[-1] < 0.5 * losses[0]
