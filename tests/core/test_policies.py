"""The action distribution against torch.distributions, and the actor network as a self-contained policy."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import distributions as D

from robot_pt.agents.bc import BC
from robot_pt.agents.ptr import PTR
from robot_pt.errors import DataError, UserError
from robot_pt.networks.conditioning import task_context
from robot_pt.networks.critics import CriticNetwork
from robot_pt.networks.distributions import ActionGaussian, log_tanh_slope
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.networks.policies import ActorConfig, ActorNetwork
from robot_pt.normalize import BRIDGE_BOUNDS
from robot_pt.schema import Spec

GEN = torch.Generator().manual_seed(0)
CONFIG = ActorConfig(
    encoder=EncoderConfig(name="small"), cameras=("primary",), image_size=(32, 32), task_slots=6, bounds=BRIDGE_BOUNDS
)


def gaussian(squash: bool, batch: int = 6, actions: int = 7) -> ActionGaussian:
    mean, log_std = torch.randn(2, batch, actions, generator=GEN, dtype=torch.float64).unbind(0)
    return ActionGaussian(mean, log_std * 0.5 - 1, squash)


def theirs(policy: ActionGaussian) -> D.Distribution:
    base = D.Normal(policy.mean_BA, policy.log_std_BA.exp())
    transforms = [D.TanhTransform(cache_size=1)] if policy.squash else []
    return D.Independent(D.TransformedDistribution(base, transforms), 1)


@pytest.mark.parametrize("squash", [True, False])
def test_density_of_given_actions(squash: bool) -> None:
    policy = gaussian(squash)
    action = torch.rand(6, 7, generator=GEN, dtype=torch.float64) * 1.98 - 0.99
    torch.testing.assert_close(policy.log_prob(action), theirs(policy).log_prob(action))


@pytest.mark.parametrize("squash", [True, False])
def test_density_of_samples(squash: bool) -> None:
    policy = gaussian(squash)
    action, log_prob = policy.sample(torch.randn(6, 3, 7, generator=GEN, dtype=torch.float64))
    assert action.shape == (6, 3, 7)
    for k in range(3):
        torch.testing.assert_close(log_prob[:, k], theirs(policy).log_prob(action[:, k]), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("squash", [True, False])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_evened_density_weighs_every_dimension_by_its_deviation(squash: bool, beta: float) -> None:
    policy = gaussian(squash)
    action = torch.rand(6, 7, generator=GEN, dtype=torch.float64) * 1.98 - 0.99
    by_dimension = theirs(policy).base_dist.log_prob(action)
    expected = (policy.log_std_BA.exp().pow(2 * beta) * by_dimension).sum(1)
    torch.testing.assert_close(policy.evened_log_prob(action, beta), expected)


@given(st.floats(-4.5, 1.5), st.floats(-2, 2), st.floats(-0.98, 0.98))
def test_at_beta_one_the_mean_learns_as_from_a_squared_error_however_wide_the_deviation(
    log_std: float, mean: float, action: float
) -> None:
    at = torch.tensor([[mean]], dtype=torch.float64, requires_grad=True)
    width = torch.tensor([[log_std]], dtype=torch.float64, requires_grad=True)
    policy, given_action = ActionGaussian(at, width, True), torch.tensor([[action]], dtype=torch.float64)
    by_mean, by_width = torch.autograd.grad(policy.evened_log_prob(given_action, 1.0).sum(), (at, width))
    missed = math.atanh(action) - mean
    assert float(by_mean) == pytest.approx(missed, abs=1e-9)
    assert float(by_width) == pytest.approx(missed**2 - math.exp(2 * log_std), abs=1e-9), (
        "still the deviation of the data"
    )


def test_squashed_density_integrates_to_one() -> None:
    grid = torch.linspace(-1, 1, 200_003, dtype=torch.float64)[1:-1, None]
    one = torch.ones_like(grid)
    policy = ActionGaussian(0.4 * one, -0.7 * one, True)
    assert float(torch.trapezoid(policy.log_prob(grid).exp(), grid[:, 0])) == pytest.approx(1, abs=1e-4)


def test_samples_at_the_edge_stay_finite_with_gradient() -> None:
    mean = torch.tensor([[-60.0, 60.0, 9.0]], requires_grad=True)
    action, log_prob = ActionGaussian(mean, torch.full((1, 3), 2.0), True).sample(torch.tensor([[[5.0, 5.0, -5.0]]]))
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert mean.grad.isfinite().all()
    assert action.abs().max() <= 1


def test_data_at_the_edge_has_finite_density() -> None:
    mean = torch.zeros(1, 2, requires_grad=True)
    log_prob = ActionGaussian(mean, torch.zeros(1, 2), True).log_prob(torch.tensor([[1.0, -1.0]]))
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert mean.grad.isfinite().all()


def test_log_slope_where_the_naive_form_is_minus_infinity() -> None:
    raw = torch.tensor([-40.0, -5.0, 0.0, 5.0, 40.0])
    assert torch.log(1 - raw.tanh() ** 2)[0] == -math.inf
    exact = math.log(4) - 2 * 40  # 1 - tanh^2 = 4 exp(-2|x|) at large |x|
    torch.testing.assert_close(log_tanh_slope(raw)[[0, 4]], torch.tensor([exact, exact]))
    torch.testing.assert_close(
        log_tanh_slope(raw)[1:4], torch.log(1 - raw[1:4].double().tanh() ** 2).float(), atol=1e-3, rtol=1e-3
    )


def test_gradient_of_sampled_density_matches_finite_differences() -> None:
    noise = torch.randn(2, 3, 4, generator=GEN, dtype=torch.float64)
    mean, log_std = torch.randn(2, 2, 4, generator=GEN, dtype=torch.float64).unbind(0)
    function = lambda m, s: ActionGaussian(m, s, True).sample(noise)  # noqa: E731
    assert torch.autograd.gradcheck(function, (mean.requires_grad_(), log_std.requires_grad_()))


def observation(batch: int = 4) -> tuple:
    image = torch.randint(0, 256, (batch, 32, 32, 3), generator=GEN, dtype=torch.uint8)
    return {"primary": image}, torch.randn(batch, 7, generator=GEN), torch.arange(batch), torch.zeros(batch, 0)


def test_head_shapes_ranges_and_start() -> None:
    torch.manual_seed(0)
    policy = ActorNetwork(CONFIG)(*observation())
    assert policy.mean_BA.shape == policy.log_std_BA.shape == (4, 7)
    assert policy.squash
    assert policy.mean_BA.abs().max() < 0.1  # orthogonal(1e-2)


@pytest.mark.parametrize("far", [-1e4, 1e4])
def test_log_std_is_clipped(far: float) -> None:
    actor = ActorNetwork(CONFIG)
    torch.nn.init.constant_(actor.log_std.bias, far)
    assert set(actor(*observation()).log_std_BA.flatten().tolist()) == {-5.0 if far < 0 else 2.0}


def test_mode_is_physical_and_within_bounds() -> None:
    actor = ActorNetwork(CONFIG)
    torch.nn.init.normal_(actor.mean.weight)
    action = actor.mode(*observation()).numpy()
    assert (action >= np.array(BRIDGE_BOUNDS.low) - 1e-6).all()
    assert (action <= np.array(BRIDGE_BOUNDS.high) + 1e-6).all()
    assert np.ptp(action[:, 6]) > 0


@pytest.mark.parametrize("squash", [True, False])
@pytest.mark.parametrize("count", [1, 3])
def test_mode_is_that_of_the_distribution(squash: bool, count: int) -> None:
    actor = ActorNetwork(replace(CONFIG, squash=squash))
    torch.nn.init.normal_(actor.mean.weight)
    seen = observation(count)
    torch.testing.assert_close(actor.mode(*seen), actor.normalizer.decode(actor(*seen).mode()))


def test_plain_gaussian_is_clipped_when_acting() -> None:
    actor = ActorNetwork(replace(CONFIG, squash=False, std="fixed"))
    torch.nn.init.constant_(actor.mean.bias, 7)
    torch.testing.assert_close(actor.mode(*observation(1))[0], torch.tensor(BRIDGE_BOUNDS.high))


def test_each_input_reaches_the_action() -> None:
    torch.manual_seed(0)
    actor = ActorNetwork(replace(CONFIG, language_size=3))
    images, proprio, task, _ = observation()
    words = torch.ones(4, 3)
    base = actor(images, proprio, task, words).mean_BA
    for other in (
        actor({"primary": 255 - images["primary"]}, proprio, task, words),
        actor(images, proprio + 1, task, words),
        actor(images, proprio, task + 1, words),
        actor(images, proprio, task, -words),
    ):
        assert not torch.allclose(base, other.mean_BA)


@pytest.mark.parametrize("std", ["state", "global", "fixed"])
def test_rebuild_from_json_gives_the_same_policy(std: str) -> None:
    actor = ActorNetwork(replace(CONFIG, std=std, fixed_std=0.3, proprio_mean=np.ones(7), proprio_std=np.full(7, 2.0)))
    twin = ActorNetwork.from_config(json.loads(json.dumps(actor.config)))
    twin.load_state_dict(actor.state_dict())
    seen = observation()
    assert torch.equal(actor.mode(*seen), twin.mode(*seen))
    assert torch.equal(actor(*seen).log_std_BA, twin(*seen).log_std_BA)


def test_fixed_std_one_makes_the_likelihood_a_squared_error() -> None:
    mean, action = torch.randn(2, 5, 7, generator=GEN).unbind(0)
    nll = -ActionGaussian(mean, torch.zeros(5, 7), False).log_prob(action)
    torch.testing.assert_close(nll, 0.5 * (mean - action).square().sum(1) + 3.5 * math.log(2 * math.pi))


def test_refusals() -> None:
    with pytest.raises(UserError, match="choose state, global or fixed"):
        replace(CONFIG, std="wild")
    with pytest.raises(UserError, match="task slot"):
        replace(CONFIG, task_slots=0)
    with pytest.raises(DataError, match="another version"):
        ActorNetwork.from_config({"encoder": {}})


def test_importing_the_policy_brings_no_agent() -> None:
    import subprocess
    import sys

    code = "import sys, robot_pt.networks.policies; print([m for m in sys.modules if m.startswith(('robot_pt.agents', 'zarr'))])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


PARTS = {
    "encoder": EncoderConfig(name="small"), "cameras": ("primary",), "image_size": (32, 32), "task_slots": 6, "bounds": BRIDGE_BOUNDS,
}  # fmt: skip


def test_a_config_of_data_standardises_as_many_values_as_its_state_has() -> None:
    spec = Spec(cameras={"primary": (32, 32)}, embodiment="arm", proprio_names=("a", "b"))
    plain = ActorConfig.of(spec, None, **PARTS)
    assert (plain.proprio_mean, plain.proprio_std) == ((0.0, 0.0), (1.0, 1.0))
    given = ActorConfig.of(spec, (np.array([1, 2]), [3, 4]), std="global", **PARTS)
    assert given == replace(plain, proprio_mean=(1.0, 2.0), proprio_std=(3.0, 4.0), std="global")


@pytest.mark.parametrize("kind", [PTR, BC])
def test_a_seed_gives_the_weights_of_a_network_made_by_hand(kind: type) -> None:
    """Actor first, then critic, after one seeding: checkpoints and published numbers hang on that order."""
    spec = Spec(cameras={"primary": (32, 32)}, embodiment="arm")
    agent = kind.build(spec, seed=7, **{**PARTS, "cameras": ["primary"]})
    head = {"std": "fixed", "fixed_std": 1.0, "squash": False} if kind is BC else {}
    torch.manual_seed(7)
    actor = ActorNetwork(ActorConfig(proprio_mean=(0.0,) * 7, proprio_std=(1.0,) * 7, **PARTS, **head))
    torch.testing.assert_close(agent.actor.state_dict(), actor.state_dict(), rtol=0, atol=0)
    assert agent.actor.config == actor.config
    if kind is PTR:
        sizes = {name: PARTS[name] for name in ("encoder", "cameras", "image_size", "task_slots")}
        critic = CriticNetwork(language_size=0, action_size=7, **sizes)
        torch.testing.assert_close(agent.critic.state_dict(), critic.state_dict(), rtol=0, atol=0)


def test_a_scaled_log_std_starts_one_lower_and_is_learned() -> None:
    actor = ActorNetwork(replace(CONFIG, scaled_log_std=True, log_std_range=(-20.0, 2.0)))
    seen = observation()
    actor.log_std_factor.data.fill_(3.0)
    hidden = actor._hidden(*seen)
    log_std = actor(*seen).log_std_BA
    torch.testing.assert_close(log_std, 3 * actor.log_std(hidden) - 1)
    log_std.sum().backward()
    assert actor.log_std_factor.grad.abs() > 0
    assert float(actor.log_std_offset.grad) == log_std.numel()
    with pytest.raises(UserError, match="scaled_log_std needs std = state"):
        replace(CONFIG, scaled_log_std=True, std="global")


def test_the_clip_of_data_actions_is_the_policys_own() -> None:
    far = torch.full((1, 7), 9.0)
    assert ActorNetwork(CONFIG).normalizer.encode(far).unique().tolist() == pytest.approx([0.99])
    assert ActorNetwork(replace(CONFIG, action_clip=0.99999)).normalizer.encode(far).unique().tolist() == pytest.approx(
        [0.99999]
    )
    for clip in (0.0, 1.5, math.nan):
        with pytest.raises(UserError, match="action_clip"):
            replace(CONFIG, action_clip=clip)


def test_a_bounded_mean_is_the_tanh_of_the_plain_one() -> None:
    plain = ActorNetwork(replace(CONFIG, squash=False, std="global"))
    torch.nn.init.normal_(plain.mean.weight)
    bounded = ActorNetwork(replace(CONFIG, squash=False, std="global", bounded_mean=True))
    bounded.load_state_dict(plain.state_dict())
    seen = observation()
    torch.testing.assert_close(bounded(*seen).mean_BA, plain(*seen).mean_BA.tanh())
    torch.testing.assert_close(bounded.mode(*seen), bounded.normalizer.decode(plain(*seen).mean_BA.tanh()))
    with pytest.raises(UserError, match="choose one of the two"):
        replace(CONFIG, bounded_mean=True)


def test_dropout_factors_multiply_each_hidden_layer() -> None:
    actor = ActorNetwork(replace(CONFIG, hidden=(16, 8)))
    torch.nn.init.normal_(actor.mean.weight)
    seen, count = observation(4), 4
    torch.testing.assert_close(
        actor(*seen, [torch.ones(count, 16), torch.ones(count, 8)]).mean_BA, actor(*seen).mean_BA
    )
    factors = [(torch.rand(count, width, generator=GEN) < 0.5) * 2.0 for width in (16, 8)]
    first, _, second, _ = actor.body
    features = torch.cat([actor.encoder(seen[0]), actor.proprio(seen[1]), task_context(*seen[2:], 6, 0)], dim=1)
    hidden = second(first(features).relu() * factors[0]).relu() * factors[1]
    torch.testing.assert_close(actor(*seen, factors).mean_BA, actor.mean(hidden))


def test_policy_files_of_before_these_fields_still_load() -> None:
    old = json.loads(json.dumps(ActorNetwork(CONFIG).config))
    del old["scaled_log_std"], old["action_clip"], old["bounded_mean"]
    assert ActorNetwork.from_config(old).config == ActorNetwork(CONFIG).config
    del old["hidden"]
    with pytest.raises(DataError, match="another version"):
        ActorNetwork.from_config(old)
