"""DR3's term against a direct sum and finite differences, and the features it reads."""

import pytest
import torch
from torch import Tensor

from robot_pt.agents.cal_ql import CalQL, CalQLConfig
from robot_pt.agents.conservative_agent import _TARGET
from robot_pt.agents.dr3 import critic_overlap, feature_overlap
from robot_pt.errors import UserError
from robot_pt.networks.critics import CriticNetwork
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.networks.ensembles import EnsembleCritic
from tests.core.state_batch import BOUNDS, SPEC, TASKS, state_batch

GEN = torch.Generator().manual_seed(0)


def ensemble(layer_norm: bool = False, outputs: int = 1) -> EnsembleCritic:
    return EnsembleCritic(
        task_slots=2, action_size=2, proprio_mean=(0.0,) * 3, proprio_std=(1.0,) * 3, hidden=(8, 6), heads=3, layer_norm=layer_norm,
        outputs=outputs,
    )  # fmt: skip


def seen(critic: EnsembleCritic, size: int = 4) -> tuple[Tensor, ...]:
    return critic.state({}, torch.randn(size, 3, generator=GEN), torch.arange(size) % 2, torch.zeros(size, 0))


def actions(size: int = 4, count: int | None = None) -> Tensor:
    shape = (size, 2) if count is None else (size, count, 2)
    return torch.rand(shape, generator=GEN) * 2 - 1


def test_overlap_is_the_mean_inner_product_where_something_follows() -> None:
    here, following = torch.randn(2, 3, 4, generator=GEN), torch.randn(2, 3, 4, generator=GEN)
    discount = torch.tensor([0.9, 0.0, 0.5])
    total = 0.0
    for e in range(2):
        for b in (0, 2):
            total += sum(float(here[e, b, h]) * float(following[e, b, h]) for h in range(4))
    assert float(feature_overlap(here, following, discount)) == pytest.approx(total / 6, rel=1e-5)


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("outputs", [1, 5])
def test_the_last_layer_of_the_ensemble_reads_its_features(layer_norm: bool, outputs: int) -> None:
    critic = ensemble(layer_norm, outputs)
    state, action = seen(critic), actions(count=7)
    feature = critic.penultimate(*state, action)
    assert feature.shape == (3, 4, 7, 6)
    assert (feature >= 0).all()
    last = torch.einsum("ebkh,eho->ebko", feature, critic.q.weight[-1]) + critic.q.bias[-1][:, :, None]
    expected = last[..., 0] if outputs == 1 else last
    torch.testing.assert_close(critic(*state, action), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("outputs", [1, 4])
def test_the_last_layer_of_ptrs_critic_reads_its_features_and_is_fed_the_action_again(outputs: int) -> None:
    critic = CriticNetwork(
        encoder=EncoderConfig(name="small"), cameras=("primary",), image_size=(32, 32), task_slots=2, language_size=0, action_size=2,
        hidden=(8, 6), heads=3, outputs=outputs,
    )  # fmt: skip
    torch.nn.init.normal_(critic.q.bias, generator=GEN)
    image = torch.randint(0, 256, (4, 32, 32, 3), generator=GEN, dtype=torch.uint8)
    state = critic.state({"primary": image}, torch.zeros(4, 3), torch.arange(4) % 2, torch.zeros(4, 0))
    action = actions(count=5)
    feature = critic.penultimate(*state, action)
    assert feature.shape == (3, 4, 5, 6)
    start = 3 * (8 + 6)  # columns of the last layer, head by head
    for head in range(3):
        columns = slice(start + head * outputs, start + (head + 1) * outputs)
        fed = state[0] @ critic.q.feature_weight[:, columns] + critic.q.bias[columns]
        last = (
            feature[head] @ critic.q.hidden_weight[-1][head]
            + action @ critic.q.action_weight[:, columns]
            + fed[:, None]
        )
        expected = last[..., 0] if outputs == 1 else last
        torch.testing.assert_close(critic(*state, action)[head], expected, atol=1e-6, rtol=1e-5)


def test_its_gradient_is_that_of_finite_differences_through_both_factors() -> None:
    critic = ensemble().double()
    state, following = (tuple(x.double() for x in seen(critic)) for _ in range(2))
    action, next_action, discount = actions().double(), actions().double(), torch.tensor([0.9, 0.9, 0.0, 0.9])

    def overlap() -> Tensor:  # float32 inside would drown the differences
        here = critic.q._hidden(*state, action[:, None]).reshape(3, 4, -1)
        there = critic.q._hidden(*following, next_action[:, None]).reshape(3, 4, -1)
        return feature_overlap(here, there, discount)

    torch.testing.assert_close(
        critic_overlap(critic, state, action, following, next_action, discount).double(),
        overlap(),
        atol=1e-6,
        rtol=1e-5,
    )
    overlap().backward()
    checked = 0
    for value in critic.q.parameters():
        if value.grad is None:
            continue  # the last layer does not enter
        flat, gradient = value.data.view(-1), value.grad.view(-1)
        for place in torch.randperm(len(flat), generator=GEN)[:6].tolist():
            flat[place] += 1e-6
            above = overlap()
            flat[place] -= 2e-6
            below = overlap()
            flat[place] += 1e-6
            assert float((above - below).detach()) / 2e-6 == pytest.approx(float(gradient[place]), abs=1e-6)
            checked += 1
    assert checked > 12


def test_descending_it_drives_consecutive_features_apart() -> None:
    critic = ensemble(layer_norm=True)
    state, following = (tuple(x.detach() for x in seen(critic, 32)) for _ in range(2))
    action, next_action, discount = actions(32), actions(32), torch.full((32,), 0.9)
    adam = torch.optim.Adam(critic.q.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        loss = critic_overlap(critic, state, action, following, next_action, discount)
        losses.append(float(loss.detach()))
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert losses[0] > 0
    assert losses[-1] < 0.3 * losses[0]


def agent_with(dr3: float) -> CalQL:
    config = CalQLConfig(dr3=dr3, actions=2, heads=3, layer_norm=True, critic_hidden=(16, 16), actor_hidden=(16,))
    return CalQL.build(
        SPEC, cameras=(), image_size=(0, 0), task_slots=TASKS, encoder=EncoderConfig(), bounds=BOUNDS, config=config,
    )  # fmt: skip


def test_conservative_agents_add_it_per_head() -> None:
    """The loss differs from that without it by c0 times the sum over heads of the direct term, and the update by its gradient."""
    batch, without, with_it = state_batch(8), agent_with(0.0), agent_with(0.02)
    with torch.no_grad():
        critic, action = with_it.critic, with_it.actor.normalizer.encode(batch.action)
        following = with_it.policy({}, batch.next_proprio, batch).sample(with_it.normal(batch, 3, _TARGET, 2))[0][:, 0]
        here = critic.penultimate(*with_it.state_of(critic, {}, batch.proprio, batch), action[:, None])[:, :, 0]
        there = critic.penultimate(*with_it.state_of(critic, {}, batch.next_proprio, batch), following[:, None])[
            :, :, 0
        ]
        term = ((here * there).sum(-1) * (batch.discount > 0)).mean(1).sum()
    plain, regularised = without.update(batch, 3), with_it.update(batch, 3)
    torch.testing.assert_close(regularised["critic/loss"] - plain["critic/loss"], 0.02 * term, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(regularised["critic/feature_overlap"], term / 3, atol=1e-5, rtol=1e-5)
    assert "critic/feature_overlap" not in plain
    assert not torch.equal(with_it.critic.q.weight[0], without.critic.q.weight[0])
    with pytest.raises(UserError, match="dr3 is -1; give a finite value from 0"):
        CalQLConfig(dr3=-1)
