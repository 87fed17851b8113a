"""The Behavior Transformer's network: what a frame sees, what a bin gives, how dense it is, and one pass per frame while acting."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from robot_pt.errors import UserError
from robot_pt.networks.behavior_transformer import BehaviorTransformer, BehaviorTransformerConfig, OffsetBins
from robot_pt.networks.causal import CausalTransformer
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.networks.policy_kinds import policy_network
from robot_pt.networks.traced import traced_encode
from tests.core.state_batch import BOUNDS

WINDOW = 4
GEN = torch.Generator().manual_seed(0)


def network(**changes: object) -> BehaviorTransformer:
    torch.manual_seed(0)
    config = {
        "encoder": EncoderConfig(name="small", latent=8), "cameras": (), "image_size": (0, 0), "task_slots": 2, "bounds": BOUNDS,
        "proprio_mean": (0.0,) * 5, "proprio_std": (1.0,) * 5, "window": WINDOW, "bins": 6, "layers": 2, "heads": 2, "width": 16,
    }  # fmt: skip
    made = BehaviorTransformer(BehaviorTransformerConfig(**{**config, **changes}))
    with torch.no_grad():
        for parameter in made.transformer.parameters():  # places and weights that make a difference
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        made.head.weight.mul_(30)
        made.centres.copy_(2 * torch.rand(made.centres.shape, generator=torch.Generator().manual_seed(2)) - 1)
    return made.eval()


def windows(
    count: int = 3, steps: int = WINDOW
) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor, torch.Tensor]:
    task = torch.randint(0, 2, (count,), generator=GEN)
    return {}, torch.randn(count, steps, 5, generator=GEN), task, torch.zeros(count, 0)


def test_later_frames_change_nothing_earlier() -> None:
    actor, (images, proprio, task, words) = network(), windows()
    before = actor(images, proprio, task, words).logits_BK.unflatten(0, (-1, WINDOW))
    for changed in range(WINDOW):
        other = proprio.clone()
        other[:, changed] += 1.0
        after = actor(images, other, task, words).logits_BK.unflatten(0, (-1, WINDOW))
        assert torch.equal(before[:, :changed], after[:, :changed])
        for later in range(changed, WINDOW):
            assert not torch.allclose(before[:, later], after[:, later], atol=1e-4), "an earlier frame must matter"


def test_without_its_mask_later_frames_would() -> None:
    """The same check on a network that sees everything, so that it is known to catch one."""
    model, x = CausalTransformer(5, window=WINDOW, layers=1, heads=2, width=8), torch.randn(2, WINDOW, 5, generator=GEN)
    other = x.clone()
    other[:, -1] += 1.0
    assert torch.equal(model(x)[:, :-1], model(other)[:, :-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "triu", lambda self, _diagonal: torch.zeros_like(self))
        assert not torch.allclose(model(x)[:, :-1], model(other)[:, :-1])


def test_places_differ_and_dropout_factors_are_used_in_order() -> None:
    model, x = (
        CausalTransformer(5, window=3, layers=2, heads=2, width=8),
        torch.randn(2, 1, 5, generator=GEN).expand(-1, 3, -1),
    )
    with torch.no_grad():
        model.place.normal_()
    out = model(x)
    assert not torch.allclose(out[:, 0], out[:, 1])
    shapes = model.dropout_shapes(3)
    assert shapes == [(3, 8), *[(2, 3, 3), (3, 8), (3, 8)] * 2]
    whole = [torch.ones(2, *shape) for shape in shapes]
    assert torch.equal(model(x, whole), out)
    for i in range(len(shapes)):
        dropped = [factor * (0.5 if i == j else 1.0) for j, factor in enumerate(whole)]
        assert not torch.allclose(model(x, dropped), out), f"factor {i} is not used"


def test_along_an_episode_each_step_is_what_acting_would_do() -> None:
    actor, steps = network(), 9
    _, proprio, _, _ = windows(1, steps)
    task, words = torch.zeros(steps, dtype=torch.int64), torch.zeros(steps, 0)
    whole = actor.along({}, proprio[0], task, words)
    features = [actor.encode({}, proprio[:, t], task[:1], words[:1]) for t in range(steps)]
    for t in range(steps):
        alone = actor.newest(torch.stack(features[max(0, t - WINDOW + 1) : t + 1], dim=1))
        torch.testing.assert_close(whole.logits_BK[t], alone.logits_BK[0])
        torch.testing.assert_close(whole.offset_BKA[t], alone.offset_BKA[0])
    torch.testing.assert_close(actor({}, proprio[:, 0], task[:1], words[:1]).logits_BK[0], whole.logits_BK[0])


def test_a_window_is_its_frames_one_by_one() -> None:
    actor = network(cameras=("primary",), image_size=(32, 32))
    _, proprio, task, words = windows(2, 3)
    images = torch.randint(0, 256, (2, 3, 32, 32, 3), dtype=torch.uint8, generator=GEN)
    rows = actor({"primary": images}, proprio, task, words)
    for window in range(2):
        along = actor.along(
            {"primary": images[window]}, proprio[window], task[window : window + 1].expand(3), words[:1].expand(3, -1)
        )
        torch.testing.assert_close(rows.logits_BK[3 * window : 3 * window + 3], along.logits_BK)


def bins() -> OffsetBins:
    logits = torch.tensor([[2.0, 0.0, -1.0]]).log_softmax(1)
    return OffsetBins(logits, torch.tensor([[[0.1], [-0.2], [0.0]]]), torch.tensor([[-0.5], [0.5], [0.9]]), 0.07)


def test_an_action_is_a_bins_centre_and_its_own_offset() -> None:
    policy = bins()
    torch.testing.assert_close(policy.mode(), torch.tensor([[-0.4]]))
    many = OffsetBins(*(v.expand(30_000, *v.shape[1:]) for v in policy[:2]), *policy[2:])
    drawn = many.draw(torch.randn(30_000, generator=torch.Generator().manual_seed(1)))[:, 0]
    for value, mass in zip((-0.4, 0.3, 0.9), policy.logits_BK[0].exp().tolist(), strict=True):
        share = float(torch.isclose(drawn, torch.tensor(value), atol=1e-6).float().mean())
        assert share == pytest.approx(mass, abs=4.5 * math.sqrt(mass * (1 - mass) / 30_000))


def test_the_density_is_a_mixture_and_integrates_to_one() -> None:
    policy, grid = bins(), np.linspace(-2, 2, 4001)
    many = OffsetBins(*(v.expand(len(grid), *v.shape[1:]) for v in policy[:2]), *policy[2:])
    ours = many.log_prob(torch.from_numpy(grid[:, None].astype(np.float32))).exp().numpy()
    theirs = sum(
        mass * scipy.stats.norm.pdf(grid, middle, 0.07)
        for mass, middle in zip(policy.logits_BK[0].exp().tolist(), (-0.4, 0.3, 0.9), strict=True)
    )
    np.testing.assert_allclose(ours, theirs, atol=2e-3)
    assert np.trapezoid(ours, grid) == pytest.approx(1, abs=1e-3)


def test_a_description_rebuilds_it_bins_and_all() -> None:
    actor = network(acts="mode")
    twin = policy_network(actor.config)
    twin.load_state_dict(actor.state_dict())
    images, proprio, task, words = windows()
    assert torch.equal(
        twin.eval().mode(images, proprio[:, 0], task, words), actor.mode(images, proprio[:, 0], task, words)
    )
    assert isinstance(twin, BehaviorTransformer)
    assert (twin.window, twin.draws, network().draws) == (WINDOW, False, True)


def test_the_recorded_encoder_is_the_encoder() -> None:
    actor = network(cameras=("primary",), image_size=(32, 32))

    def frame() -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor, torch.Tensor]:
        image = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8, generator=GEN)
        return (
            {"primary": image},
            torch.randn(1, 5, generator=GEN),
            torch.zeros(1, dtype=torch.int64),
            torch.zeros(1, 0),
        )

    encode = traced_encode(actor, *frame())
    assert encode != actor.encode
    with torch.inference_mode():
        for _ in range(4):
            example = frame()
            torch.testing.assert_close(encode(*example), actor.encode(*example), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"window": 0}, "window is 0"), ({"bins": 0}, "bins is 0"), ({"layers": 60_000}, "give 1 to 128"), ({"width": 15}, "width 15 is no multiple of its 2 heads"),
    ({"deviation": 0.0}, "deviation is 0.0"), ({"acts": "guess"}, "acts by 'guess'"),
])  # fmt: skip
def test_senseless_sizes_are_refused(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        network(**changes)
