"""The autoregressive head against tables: masses, draws, beam search and what a dimension may know."""

import itertools
import math

import pytest
import torch
from torch import nn

from robot_pt.errors import DataError, UserError
from robot_pt.networks.autoregressive import (
    AutoregressiveActions,
    AutoregressiveConfig,
    AutoregressiveNetwork,
    bin_of,
    centre_of,
)
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.networks.policy_kinds import policy_network
from robot_pt.networks.traced import traced_mode
from robot_pt.normalize import BRIDGE_BOUNDS
from tests.core.state_batch import BOUNDS

BINS = 3
FIRST = torch.tensor([0.4, 0.35, 0.25])
SECOND = torch.tensor([[0.4, 0.3, 0.3], [0.05, 0.9, 0.05], [0.2, 0.3, 0.5]])  # row: bin of the first dimension


class Table(nn.Module):
    """Logits looked up by the last number it is told, a bin centre; without one, the same row always."""

    def __init__(self, rows: torch.Tensor):
        super().__init__()
        self.rows = rows

    def forward(self, told: torch.Tensor) -> torch.Tensor:
        which = bin_of(told[..., -1], BINS) if len(self.rows) > 1 else torch.zeros(told.shape[:-1], dtype=torch.int64)
        return self.rows.log()[which] + 3.0  # logits are not normalised


def tabled(states: int = 1, **options: int) -> AutoregressiveActions:
    return AutoregressiveActions(torch.zeros(states, 1), [Table(FIRST[None]), Table(SECOND)], BINS, **options)


def every_action() -> torch.Tensor:
    return centre_of(torch.tensor(list(itertools.product(range(BINS), repeat=2))), BINS)


JOINT = (FIRST[:, None] * SECOND).flatten()


def test_bins_divide_the_range_and_centres_lie_in_them() -> None:
    values = torch.tensor([-1.0, -0.34, -0.33, 0.33, 0.34, 1.0, 1.7, -2.0])
    assert bin_of(values, 3).tolist() == [0, 0, 1, 1, 2, 2, 2, 0]
    for bins in (2, 7, 100, 256):
        which = torch.arange(bins)
        assert torch.equal(bin_of(centre_of(which, bins), bins), which)
    torch.testing.assert_close(centre_of(torch.arange(4), 4), torch.tensor([-0.75, -0.25, 0.25, 0.75]))


def test_densities_are_the_tables_and_add_up_to_one() -> None:
    actions = every_action()
    density = tabled(9).log_prob(actions).exp()
    torch.testing.assert_close(density, JOINT / (2 / BINS) ** 2)
    assert float(density.sum()) * (2 / BINS) ** 2 == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(
        tabled(9).taught(actions).log_mass_BA.exp(), torch.stack([FIRST.repeat_interleave(3), SECOND.flatten()], 1)
    )


def test_draws_follow_the_joint_table() -> None:
    count = 40_000
    noise = torch.randn(1, count, 2, generator=torch.Generator().manual_seed(1))
    actions, score = tabled().sample(noise)
    which = bin_of(actions[0], BINS)
    share = torch.bincount(which[:, 0] * BINS + which[:, 1], minlength=9) / count
    assert ((share - JOINT).abs() < 4.5 * (JOINT * (1 - JOINT) / count).sqrt()).all()
    torch.testing.assert_close(score[0], JOINT.log()[which[:, 0] * BINS + which[:, 1]])


def test_one_candidate_is_the_draw_itself_and_many_prefer_the_probable() -> None:
    """Two draws, the one kept chosen in proportion to its probability: P(bin 0) = p^2 + 2 p q p / (p + q)."""
    count, p = 40_000, 0.7
    policy = AutoregressiveActions(torch.zeros(count, 1), [Table(torch.tensor([[p, 1 - p]]))], 2, candidates=2)
    assert policy.noise_shape == (2, 2)
    noise = torch.randn(count, 2, 2, generator=torch.Generator().manual_seed(2))
    share = float((policy.draw(noise) < 0).float().mean())
    expected = p * p + 2 * p * (1 - p) * p
    assert share == pytest.approx(expected, abs=4.5 * math.sqrt(expected * (1 - expected) / count))
    one = AutoregressiveActions(torch.zeros(count, 1), [Table(torch.tensor([[p, 1 - p]]))], 2)
    assert torch.equal(one.draw(noise[:, :1]), one.sample(noise[:, :1, :1])[0][:, 0])


@pytest.mark.parametrize("beam", [2, 3, 20])
def test_beam_search_finds_the_most_probable_action_where_greed_does_not(beam: int) -> None:
    best = every_action()[JOINT.argmax()]
    torch.testing.assert_close(tabled(beam=beam).mode()[0], best)
    greedy = tabled(beam=1).mode()[0]
    assert bin_of(greedy, BINS).tolist() == [0, 0]
    assert not torch.allclose(greedy, best)


def network(**changes: object) -> AutoregressiveNetwork:
    torch.manual_seed(0)
    config = {
        "encoder": EncoderConfig(name="small"), "cameras": (), "image_size": (0, 0), "task_slots": 2, "bounds": BOUNDS,
        "proprio_mean": (0.0,) * 5, "proprio_std": (1.0,) * 5, "hidden": (16,), "bins": 8,
    }  # fmt: skip
    made = AutoregressiveNetwork(AutoregressiveConfig(**{**config, **changes}))
    with torch.no_grad():
        for head in made.heads:
            head[-1].weight.mul_(100)  # fresh heads answer nearly the same to everything
    return made


def seen(count: int = 6) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor, torch.Tensor]:
    gen = torch.Generator().manual_seed(3)
    return {}, torch.randn(count, 5, generator=gen), torch.zeros(count, dtype=torch.int64), torch.zeros(count, 0)


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_a_dimension_knows_those_before_it_and_no_other(changed: int) -> None:
    policy, action = network()(*seen()), 2 * torch.rand(6, 3, generator=torch.Generator().manual_seed(4)) - 1
    other = action.clone()
    other[:, changed] = -other[:, changed]
    before, after = policy.taught(action), policy.taught(other)
    assert torch.equal(before.guess_BA[:, : changed + 1], after.guess_BA[:, : changed + 1])
    assert torch.equal(before.log_mass_BA[:, :changed], after.log_mass_BA[:, :changed])
    for later in range(changed + 1, 3):
        assert not torch.equal(before.log_mass_BA[:, later], after.log_mass_BA[:, later])


def test_heads_are_told_bin_centres_in_training_as_when_drawing() -> None:
    policy, action = network()(*seen()), torch.full((6, 3), 0.51)
    within = torch.full((6, 3), 0.74)  # the same bin of eight, [0.5, 0.75)
    assert torch.equal(policy.taught(action).log_mass_BA, policy.taught(within).log_mass_BA)
    raw = policy.log_masses(action[:, None, :2]), policy.log_masses(within[:, None, :2])
    assert not torch.allclose(*raw), "a head that cannot tell them apart would prove nothing"
    drawn, score = policy.sample(torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(5)))
    for k in range(4):
        torch.testing.assert_close(score[:, k], policy.taught(drawn[:, k]).log_mass_BA.sum(1))


def test_the_mode_is_in_physical_units_and_rebuilt_from_its_description() -> None:
    actor = network()
    physical = actor.mode(*seen())
    low, high = torch.tensor(BOUNDS.low), torch.tensor(BOUNDS.high)
    assert ((physical > low) & (physical < high)).all()
    torch.testing.assert_close(actor.normalizer.encode(physical), actor(*seen()).mode())
    twin = policy_network(actor.config)
    assert isinstance(twin, AutoregressiveNetwork)
    twin.load_state_dict(actor.state_dict())
    assert torch.equal(twin.mode(*seen()), physical)


def test_an_unknown_kind_is_refused_and_so_is_anothers_description() -> None:
    with pytest.raises(DataError, match="kind 'diffusion', this version knows"):
        policy_network({**network().config, "kind": "diffusion"})
    with pytest.raises(DataError, match="another version"):
        AutoregressiveNetwork.from_config({**network().config, "kind": ""})


def test_the_recorded_search_is_the_search() -> None:
    actor = network(
        encoder=EncoderConfig(name="small", latent=16), cameras=("primary",), image_size=(32, 32), bounds=BRIDGE_BOUNDS
    ).eval()
    gen = torch.Generator().manual_seed(6)

    def inputs() -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor, torch.Tensor]:
        image = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8, generator=gen)
        return (
            {"primary": image},
            3 * torch.randn(1, 5, generator=gen),
            torch.zeros(1, dtype=torch.int64),
            torch.zeros(1, 0),
        )

    act = traced_mode(actor, *inputs())
    assert act != actor.mode
    examples = [inputs() for _ in range(8)]
    with torch.inference_mode():
        plain = [actor.mode(*example) for example in examples]
        assert all(torch.equal(act(*example), mode) for example, mode in zip(examples, plain, strict=True))
    assert len({tuple(mode[0].tolist()) for mode in plain}) > 1


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"bins": 1}, "bins is 1; give 2 to 65536"), ({"beam": 0}, "beam is 0"), ({"beam": 100_000}, "give 1 to 1024"), ({"candidates": 0}, "candidates is 0"),
    ({"acts": "guess"}, "acts by 'guess'"), ({"action_clip": 1.5}, "action_clip is 1.5"), ({"task_slots": 0}, "task slot"),
])  # fmt: skip
def test_a_senseless_head_is_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        network(**changes)
