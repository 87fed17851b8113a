"""Autoregressive BC: two ways of doing a thing stay two ways, also in dimensions that belong together."""

import pytest
import torch
from torch import nn

from robot_pt.agents.autoregressive_bc import AutoregressiveBC, AutoregressiveBCConfig
from robot_pt.errors import MismatchError, UserError
from robot_pt.networks.autoregressive import AutoregressiveActions, bin_of, centre_of
from robot_pt.networks.distributions import drawn
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import Bounds
from robot_pt.schema import Batch, Spec
from tests.core.state_batch import BOUNDS, SPEC, state_batch

PAIR = Spec(cameras={}, embodiment="test", action_names=("a", "b"), proprio_names=("p",))
SQUARE = Bounds(low=(-1.0, -1.0), high=(1.0, 1.0), origin="test")
BINS = 16


def build(config: AutoregressiveBCConfig | None = None, spec: Spec = SPEC, bounds: Bounds = BOUNDS, **more: object):
    return AutoregressiveBC.build(
        spec, cameras=(), image_size=(0, 0), task_slots=2, encoder=EncoderConfig(name="small"), bounds=bounds,
        config=config or AutoregressiveBCConfig(hidden=(32,), bins=8, augment=None), **more,
    )  # fmt: skip


def either_corner(size: int, step: int) -> Batch:
    """(+.8, +.8) or (-.8, -.8), whatever the state."""
    gen = torch.Generator().manual_seed(step)
    side = 2.0 * torch.randint(0, 2, (size, 1), generator=gen) - 1
    none = torch.zeros(size)
    return Batch(
        images={}, proprio=torch.zeros(size, 1), task=torch.zeros(size, dtype=torch.int64), language=torch.zeros(size, 0),
        action=(0.8 * side).expand(-1, 2).contiguous(), reward=none, discount=none, next_images={}, next_proprio=torch.zeros(size, 1),
        return_to_go=none, sample_key=torch.arange(size), source=torch.zeros(size, dtype=torch.int64),
    )  # fmt: skip


class Independent(nn.Module):
    """The broken variant: a head that is not told the dimensions before it."""

    def __init__(self, head: nn.Module, before: int):
        super().__init__()
        self.head, self.before = head, before

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        keep = torch.ones(seen.shape[-1])
        keep[len(keep) - self.before :] = 0
        return self.head(seen * keep)


def trained(independent: bool = False) -> AutoregressiveBC:
    config = AutoregressiveBCConfig(hidden=(32,), bins=BINS, learning_rate=1e-2, augment=None)
    agent = build(config, PAIR, SQUARE)
    if independent:
        agent.actor.heads[1] = Independent(agent.actor.heads[1], 1)
    for step in range(200):
        agent.update(either_corner(64, step), step)
    return agent


def off_diagonal(actions: torch.Tensor) -> float:
    return float((actions[:, 0].sign() != actions[:, 1].sign()).float().mean())


def drawn_from(agent: AutoregressiveBC, count: int = 4000) -> torch.Tensor:
    batch = either_corner(1, 0)
    policy = agent.actor(batch.images, batch.proprio, batch.task, batch.language)
    return policy.sample(torch.randn(1, count, 2, generator=torch.Generator().manual_seed(0)))[0][0]


def drawn_with_indices(policy: AutoregressiveActions, noise: torch.Tensor) -> torch.Tensor:
    """The broken variant: the next head is told the number of the bin instead of its centre."""
    which = drawn(policy.log_masses(noise[..., :0]), noise[..., 0])
    told = drawn(policy.log_masses(which[..., None].float()), noise[..., 1])
    return centre_of(torch.stack([which, told], -1), BINS)[0]


@pytest.fixture(scope="module")
def corners() -> AutoregressiveBC:
    return trained()


def test_dimensions_that_belong_together_are_drawn_together(corners: AutoregressiveBC) -> None:
    actions = drawn_from(corners)
    assert off_diagonal(actions) < 0.02
    assert 0.3 < float((actions[:, 0] > 0).float().mean()) < 0.7
    assert float((actions.abs() - 0.8).abs().max(1).values.quantile(0.95)) < 1 / BINS


def test_heads_that_do_not_know_of_each_other_fail_that() -> None:
    assert off_diagonal(drawn_from(trained(independent=True))) > 0.3


def test_feeding_the_bin_instead_of_its_centre_fails_that(corners: AutoregressiveBC) -> None:
    batch = either_corner(1, 0)
    policy = corners.actor(batch.images, batch.proprio, batch.task, batch.language)
    noise = torch.randn(1, 4000, 2, generator=torch.Generator().manual_seed(0))
    assert off_diagonal(drawn_with_indices(policy, noise)) > 0.3


def test_the_mode_is_one_of_the_two_corners(corners: AutoregressiveBC) -> None:
    batch = either_corner(1, 0)
    mode = corners.actor.mode(batch.images, batch.proprio, batch.task, batch.language)[0]
    assert abs(abs(float(mode[0])) - 0.8) < 1 / BINS
    assert float(mode[0]) == float(mode[1])


def test_update_is_adam_on_the_cross_entropies() -> None:
    agent, twin, batch = build(), build(), state_batch()
    adam = torch.optim.Adam(twin.actor.parameters(), 3e-4)
    seen = batch.images, batch.proprio, batch.task, batch.language
    low, high = torch.tensor(BOUNDS.low), torch.tensor(BOUNDS.high)
    scaled = (batch.action - low) / (high - low) * 2 - 1
    which = bin_of(scaled, 8)
    for step in range(2):
        metrics = agent.update(batch, step)
        state = twin.actor.seen(*seen)
        loss = sum(
            nn.functional.cross_entropy(head(torch.cat([state, centre_of(which[:, :d], 8)], 1)), which[:, d])
            for d, head in enumerate(twin.actor.heads)
        )
        adam.zero_grad()
        loss.backward()
        adam.step()
        torch.testing.assert_close(metrics["actor/loss"], loss.detach())
    for ours, theirs in zip(agent.actor.parameters(), twin.actor.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=3e-6)


def test_actions_beyond_the_bounds_are_counted() -> None:
    batch = state_batch(16)
    assert float(build().update(batch, 0)["actor/outside"]) == 0
    batch.action[:4, 1] = 1.5  # of [-1, 1]
    batch.action[0, 2] = -0.2  # of [0, 1]
    assert float(build().update(batch, 0)["actor/outside"]) == pytest.approx(5 / 48)


def test_the_state_goes_on_bit_for_bit_and_fits_no_other_network() -> None:
    agent, other = build(seed=1), build(seed=2)
    for step in range(2):
        agent.update(state_batch(seed=step), step)
    other.load_state_dict(agent.state_dict())
    assert torch.equal(agent.update(state_batch(), 2)["actor/loss"], other.update(state_batch(), 2)["actor/loss"])
    assert all(torch.equal(v, other.state_dict()[n]) for n, v in agent.state_dict().items())
    with pytest.raises(MismatchError, match="shape"):
        build(AutoregressiveBCConfig(hidden=(32,), bins=9, augment=None)).load_state_dict(agent.state_dict())


def test_two_halves_of_a_batch_have_its_gradient() -> None:
    """Under torchrun gradients of equal parts are averaged."""
    agent, batch = build(), state_batch(16)
    whole = _gradient(agent, batch)
    halves = [_gradient(agent, _part(batch, slice(i, None, 2))) for i in range(2)]
    torch.testing.assert_close(whole, (halves[0] + halves[1]) / 2)


def _gradient(agent: AutoregressiveBC, batch: Batch) -> torch.Tensor:
    agent.actor.zero_grad()
    agent.loss(batch.images, batch, 0)[0].backward()
    return torch.cat([p.grad.flatten() for p in agent.actor.parameters()])


def _part(batch: Batch, which: slice) -> Batch:
    return Batch(*(value[which] if isinstance(value, torch.Tensor) else value for value in batch))


def test_bf16_stays_close_and_imitation_has_no_values() -> None:
    half = build(AutoregressiveBCConfig(hidden=(32,), bins=8, augment=None, bf16=True))
    loss = half.update(state_batch(), 0)["actor/loss"]
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(build().update(state_batch(), 0)["actor/loss"]), rel=0.02)
    with pytest.raises(UserError, match="no critic"):
        half.values(state_batch())


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"learning_rate": 0.0}, "AutoregressiveBC's learning_rate is 0.0"), ({"actor_average": 2.0}, "actor_average is 2.0"),
])  # fmt: skip
def test_senseless_settings_are_refused(changes: dict[str, float], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        AutoregressiveBCConfig(**changes)
