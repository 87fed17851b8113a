"""Codes of critics' outputs, each against a writing of its own in float64."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from robot_pt.errors import UserError
from robot_pt.networks.categorical import C51, CategoricalConfig, HLGauss, Scalar, code_of, returns_of
from robot_pt.rewards import RewardLabel, return_to_go

GEN = torch.Generator().manual_seed(0)


def projected(probability: np.ndarray, place: np.ndarray, low: float, high: float, atoms: int) -> np.ndarray:
    """Mass by mass, as algorithm 1 of arXiv 1707.06887 has it: floor and ceiling, whole mass where they meet."""
    out, step = np.zeros(atoms), (high - low) / (atoms - 1)
    for p, z in zip(probability, place, strict=True):
        b = min((min(max(z, low), high) - low) / step, atoms - 1)
        below, above = math.floor(b), math.ceil(b)
        if below == above:
            out[below] += p
        else:
            out[below] += p * (above - b)
            out[above] += p * (b - below)
    return out


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 60), st.floats(-30, 5), st.floats(0.5, 40), st.integers(0, 2**31))
def test_projection_is_the_brute_force_one_and_keeps_mass_and_mean(atoms, low, span, seed):
    rng, code = np.random.default_rng(seed), C51(low, low + span, atoms)
    probability = rng.dirichlet(np.ones(atoms))
    place = rng.uniform(low - 0.3 * span, low + 1.3 * span, atoms)
    got = code.project(torch.tensor(probability)[None], torch.tensor(place)[None])[0].numpy()
    np.testing.assert_allclose(got, projected(probability, place, low, low + span, atoms), atol=1e-6)
    assert got.sum() == pytest.approx(1, abs=1e-6)
    atoms_at = np.linspace(low, low + span, atoms)
    assert got @ atoms_at == pytest.approx(probability @ place.clip(low, low + span), abs=1e-5 * (1 + abs(low) + span))


def test_projection_onto_the_own_atoms_changes_nothing():
    code = C51(-25, 10, 51)
    probability = torch.rand(4, 51, generator=GEN).softmax(-1)
    places = code.places(probability).expand(4, 51)
    torch.testing.assert_close(code.project(probability, places), probability, atol=2e-5, rtol=0)


@pytest.mark.parametrize("penalised", [False, True])
def test_c51_backs_up_the_distribution_of_the_action_and_head_that_a_scalar_would_take(penalised):
    code, (heads, size, count, atoms) = C51(-3, 5, 11), (3, 6, 4, 11)
    output = torch.randn(heads, size, count, atoms, generator=GEN)
    penalty = torch.rand(size, count, generator=GEN) * penalised
    reward, discount = torch.randn(size, generator=GEN), torch.tensor([0.9, 0.0, 0.5, 1.0, 0.9, 0.0])
    got = code.backup(output, penalty, reward, discount)
    places = np.linspace(-3, 5, atoms)
    for b in range(size):
        chances = torch.softmax(output[:, b].double(), -1).numpy()
        value = chances @ places  # (heads, count)
        best = int((value.min(0) - penalty[b].numpy()).argmax())
        head = int(value[:, best].argmin())
        shifted = float(reward[b]) + float(discount[b]) * (places - float(penalty[b, best]))
        np.testing.assert_allclose(got[b], projected(chances[head, best], shifted, -3, 5, atoms), atol=1e-5)
    certain = torch.nn.functional.one_hot(torch.tensor(5), 11).expand(heads, size, count, atoms) * 50.0  # all mass at 1
    exact = (reward + discount * (1.0 - penalty.amin(-1))).clamp(-3, 5)
    torch.testing.assert_close(code.mean(code.backup(certain, penalty, reward, discount)), exact, atol=1e-5, rtol=0)


def test_scalar_and_hl_gauss_back_up_the_best_action_by_the_least_head():
    q = torch.randn(3, 5, 4, generator=GEN)
    penalty, reward, discount = torch.rand(5, 4, generator=GEN), torch.randn(5, generator=GEN), torch.full((5,), 0.9)
    expected = [
        float(reward[b]) + 0.9 * max(float(q[:, b, k].min()) - float(penalty[b, k]) for k in range(4)) for b in range(5)
    ]
    target = Scalar().backup(q, penalty, reward, discount)
    torch.testing.assert_close(target, torch.tensor(expected))
    torch.testing.assert_close(Scalar().mean(target), target)
    code = HLGauss(-8, 8, 40, 0.75, 3)
    output = code.encode(q).log()
    torch.testing.assert_close(code.backup(output, penalty, reward, discount), target, atol=1e-3, rtol=0)


def test_hl_gauss_is_a_normal_distribution_cut_into_bins():
    code = HLGauss(-25, 10, 128, 0.75, 0)
    values = torch.tensor([-25.0, -24.9, -7.5, 3.3, 9.99, 10.0, 99.0, -99.0])
    edges = np.linspace(-25, 10, 129)
    sigma = 0.75 * 35 / 128
    for value, got in zip(values, code.encode(values), strict=True):
        centre = min(max(float(value), -25.0), 10.0)
        cumulative = stats.truncnorm((-25 - centre) / sigma, (10 - centre) / sigma, centre, sigma).cdf(edges)
        np.testing.assert_allclose(got, np.diff(cumulative), atol=3e-6)
    torch.testing.assert_close(code.encode(values).sum(-1), torch.ones(8))


def test_hl_gauss_keeps_means_up_to_the_ends_with_a_margin_and_loses_most_of_a_bin_without():
    values = torch.linspace(-25, 10, 2001)
    with_margin = HLGauss(-25, 10, 128, 0.75, 3)
    mean = with_margin.encode(values).double() @ with_margin.places(values).double()
    assert (mean - values).abs().max() < 1e-3 * with_margin.width
    without = HLGauss(-25, 10, 128, 0.75, 0)
    lost = (without.encode(values).double() @ without.places(values).double() - values) / without.width
    edges = np.arange(20)  # of the halved normal, in bin widths from the end
    halved = np.diff(2 * stats.norm.cdf(edges / 0.75) - 1) @ (edges[:-1] + 0.5)
    assert lost[-1] == pytest.approx(-halved, abs=1e-3)
    assert halved == pytest.approx(0.69, abs=0.01)
    assert lost[1000].abs() < 1e-3


@pytest.mark.parametrize("code", [HLGauss(-25, 10, 64, 0.75, 3), C51(-25, 10, 51)])
def test_decoding_is_the_mean_of_the_softmax_and_undoes_encoding(code):
    output = torch.randn(2, 3, 4, code.outputs, generator=GEN)
    places = code.places(output).double()
    torch.testing.assert_close(code.decode(output), (output.double().softmax(-1) * places).sum(-1).float())
    values = torch.tensor([-25.0, -11.7, 0.0, 10.0])
    torch.testing.assert_close(code.decode(code.encode(values).log()), values, atol=2e-3, rtol=0)
    assert code.places(output)[-1] >= 10


@pytest.mark.parametrize("code", [HLGauss(-25, 10, 64, 0.75, 3), C51(-25, 10, 51)])
def test_cross_entropy_is_least_at_the_target_where_it_is_its_entropy(code):
    values = torch.tensor([-25.0, -3.2, 10.0])
    target = code.encode(values)
    output = target.clamp(min=1e-12).log()[None].expand(2, 3, -1).clone().requires_grad_()
    loss = code.loss(output, values)
    entropy = -(target * target.clamp(min=1e-12).log()).sum(-1)
    torch.testing.assert_close(loss, entropy.expand(2, 3), atol=1e-5, rtol=1e-5)
    loss.sum().backward()
    assert output.grad.abs().max() < 1e-5
    torch.testing.assert_close(code.loss(output, target), loss)  # a distribution as target
    other = code.loss(output + 5 * torch.randn(output.shape, generator=GEN), values)
    assert (other > loss - 1e-5).all()
    assert (other[:, 1] > loss[:, 1] + 0.1).all()


def test_scalar_loss_is_the_squared_error():
    output, target = torch.randn(2, 3, generator=GEN), torch.randn(3, generator=GEN)
    expected = [[(float(output[e, b]) - float(target[b])) ** 2 for b in range(3)] for e in range(2)]
    torch.testing.assert_close(Scalar().loss(output, target), torch.tensor(expected))
    assert code_of(None).outputs == 1


def test_the_range_of_ptr_rewards_is_minus_25_to_10():
    assert returns_of(RewardLabel(), 0.96) == pytest.approx((-25.0, 10.0))
    config = CategoricalConfig.of_rewards(RewardLabel(), 0.96)
    code = code_of(config)
    assert isinstance(code, HLGauss)
    assert code.outputs == 128
    ends = code.encode(torch.tensor([-25.0, 10.0])) @ code.places(torch.zeros(1))
    torch.testing.assert_close(ends, torch.tensor([-25.0, 10.0]), atol=1e-3, rtol=0)
    c51 = code_of(CategoricalConfig.of_rewards(RewardLabel(), 0.96, kind="c51", bins=51))
    torch.testing.assert_close(c51.places(torch.zeros(1))[[0, -1]], torch.tensor([-25.0, 10.0]))


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 12), st.integers(1, 4), st.floats(0.1, 12), st.floats(-3, 3), st.sampled_from(["rewarded", "stored", "either"]),
    st.floats(0, 0.97), st.booleans(), st.booleans(),
)  # fmt: skip
def test_no_labelled_return_leaves_its_range(steps, final, scale, shift, terminal, gamma, success, ended):
    label = RewardLabel(final_steps=final, scale=scale, shift=shift, terminal=terminal)
    ends = np.zeros(steps, bool)
    ends[-1] = ended
    told = label.label(np.zeros(steps, np.float32), ends, int(success))
    low, high = returns_of(label, gamma)
    returns = return_to_go(told.reward, told.terminal, gamma, tail=told.tail, tail_value=0.0)
    never = shift < 0 and bool((told.reward == told.reward[0]).all())
    if told.terminal[-1] or never:  # else the return ends where the episode was cut
        assert returns.min() >= low - 1e-3 * (1 + abs(low))
        assert returns.max() <= high + 1e-3 * (1 + abs(high))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kind": "quantile"}, "choose hl_gauss or c51"),
        ({"low": 3.0, "high": 3.0}, "give the least and the largest return"),
        ({"high": math.inf}, "give the least and the largest return"),
        ({"low": math.nan}, "give the least and the largest return"),
        ({"sigma_bins": 0.0}, "give a deviation above 0"),
        ({"margin_bins": -1}, "margin from 0"),
        ({"bins": 7}, "give at least 8"),
        ({"bins": 1, "kind": "c51"}, "give at least 2"),
    ],
)
def test_a_wrong_range_is_one_sentence(options, sentence):
    with pytest.raises(UserError, match=sentence):
        CategoricalConfig(**{"low": -25.0, "high": 10.0, **options})


def test_stored_rewards_have_no_range_of_their_own():
    with pytest.raises(UserError, match="give its low and high yourself"):
        returns_of(RewardLabel(source="stored"), 0.99)
    with pytest.raises(UserError, match="discount gamma is 1"):
        returns_of(RewardLabel(), 1.0)
