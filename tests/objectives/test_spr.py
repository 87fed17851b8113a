"""SPR: both losses against numpy, and a world in which the next frame follows from the action alone: ignoring it must fail."""

from dataclasses import replace
from functools import cache
from typing import Any, Literal

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import Tensor

from robot_pt.errors import UserError
from robot_pt.objectives.spr import SPR, SPRConfig, contrastive_loss, cosine_loss, renormalized
from robot_pt.objectives.views import frames_of
from tests.objectives.toy_moves import BOUNDS, ENCODER, FAST, MOVES, SIDE, SPEC, batch_of, drawn, walking, walks

CHANCE = 0.25
Way = Literal["right", "shifted", "ignored"]


def build(**options: Any) -> SPR:
    config = SPRConfig(**({"steps": 2, "augment": None, "optim": FAST, "width": 64, "hidden": 256} | options))
    return SPR.build(SPEC, image_size=(SIDE, SIDE), task_slots=1, encoder=ENCODER, config=config, bounds=BOUNDS)


@cache
def trained(way: Way = "right") -> SPR:
    """`shifted`: the transition gets a_t+1 for t to t+1; `ignored`: the same action always."""
    objective = build()
    for step in range(220):
        place, which = walks(32, 3, seed=step)
        told = {"right": which, "shifted": which.roll(-1, 1), "ignored": torch.zeros_like(which)}[way]
        objective.update(batch_of(place, told, key=1000 * step), step)
    return objective


@torch.no_grad()
def accuracy(objective: SPR, shuffled: bool = False, count: int = 200) -> float:
    """Share of clips whose predicted next frame is nearer to the true one than to those of the three other actions."""
    place, which = walks(count, 2, seed=99_999)
    told = which[torch.randperm(count, generator=torch.Generator().manual_seed(0))] if shuffled else which
    batch = batch_of(place, told)
    start = renormalized(objective.encoder(frames_of(batch)[:, 0]))
    action = objective.model.normalizer.encode(batch.action[:, :1])
    guess = objective.model.predictor(objective.model.projector(objective.model.rollout(start, action)[1]))
    options = drawn(((place[:, :1] + MOVES) % SIDE).flatten(0, 1))
    key = objective.target_projector(renormalized(objective.target_encoder(options))).unflatten(0, (count, 4))
    similar = torch.nn.functional.cosine_similarity(guess[:, None], key, dim=-1)
    return float((similar.argmax(1) == which[:, 0]).float().mean())


def test_the_action_decides_which_frame_is_predicted() -> None:
    assert accuracy(trained()) > 0.9
    assert accuracy(trained(), shuffled=True) < CHANCE + 0.12


@pytest.mark.parametrize("way", ["shifted", "ignored"])
def test_a_transition_with_the_wrong_action_or_none_fails_the_same_test(way: Way) -> None:
    assert accuracy(trained(way)) < CHANCE + 0.15


def cosine(steps: int, plain: bool) -> tuple[SPR, dict[str, Tensor]]:
    objective = build(loss="cosine", optim=replace(FAST, momentum=(0.99, 0.99)))
    if plain:
        for part in (objective.model.projector, objective.target_projector, objective.model.predictor):
            part[1] = torch.nn.Identity()
    for step in range(steps):
        metrics = objective.update(walking(32, 3, seed=step), step)
    return objective, metrics


def test_the_cosine_loss_without_batchnorm_makes_all_features_one() -> None:
    """Its curve looks like success; with BatchNorm features stay apart."""
    bad, good = cosine(50, plain=True)[1], cosine(50, plain=False)[1]
    assert bad["objective/loss"] < 0.02
    assert good["objective/loss"] > 0.1


@pytest.mark.slow
def test_the_cosine_loss_learns_what_actions_do() -> None:
    objective, _ = cosine(900, plain=False)
    objective.model.eval()
    assert accuracy(objective) > 0.6
    assert accuracy(objective, shuffled=True) < CHANCE + 0.12


def test_the_transition_gets_the_action_of_its_own_step() -> None:
    objective, batch = build(), walking(4, 3, seed=0)
    action = objective.model.normalizer.encode(batch.action[:, :-1])
    rolled = objective.roll(objective.views(batch, 0), action)
    for k in range(3):
        changed = action.clone()
        changed[:, k:] *= -1
        other = objective.roll(objective.views(batch, 0), changed)
        assert torch.equal(other.predicted[:, : k + 1], rolled.predicted[:, : k + 1])
        if k < 2:
            assert not torch.equal(other.predicted[:, k + 1], rolled.predicted[:, k + 1])


def test_latents_of_the_rollout_stay_in_the_range_of_those_of_frames() -> None:
    objective, batch = build(steps=2), walking(4, 3, seed=0)
    rolled = objective.roll(objective.views(batch, 0), 50 * objective.model.normalizer.encode(batch.action[:, :-1]))
    for latent in (rolled.predicted, rolled.seen):
        torch.testing.assert_close(latent.amin(-1), torch.zeros(4, 3))
        torch.testing.assert_close(latent.amax(-1), torch.ones(4, 3), atol=1e-3, rtol=0)
    model, start = objective.model, rolled.predicted[:, 0]
    raw = start + model.leave(torch.relu(model.enter(torch.cat([start, 50 * torch.ones(4, 2)], 1))))
    assert raw.abs().max() > 2, "without it the very first step leaves the range"


def test_renormalized_by_hand() -> None:
    got = renormalized(torch.tensor([[2.0, 4.0, 3.0], [-1.0, 0.0, 1.0]]))
    torch.testing.assert_close(got, torch.tensor([[0.0, 1.0, 0.5], [0.0, 0.5, 1.0]]), atol=1e-4, rtol=0)


def test_cosine_loss_in_numpy() -> None:
    rng = np.random.default_rng(0)
    guess, target = rng.normal(size=(5, 3, 7)), rng.normal(size=(5, 3, 7))
    valid = rng.random((5, 3)) < 0.6
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)  # noqa: E731
    want = np.square(unit(guess) - unit(target)).sum(-1)[valid].mean()
    got = cosine_loss(*(torch.from_numpy(x) for x in (guess, target, valid)))
    assert float(got) == pytest.approx(want)


def test_contrastive_loss_in_numpy() -> None:
    rng = np.random.default_rng(1)
    guess, target = rng.normal(size=(4, 3, 5)), rng.normal(size=(4, 3, 5))
    valid, frame = rng.random((4, 3)) < 0.7, rng.integers(0, 9, (4, 3))
    losses, right = [], []
    rows, keys = guess.reshape(12, 5), target.reshape(12, 5)
    for m in np.flatnonzero(valid):
        others = [n for n in range(12) if n == m or (valid.flat[n] and frame.flat[n] != frame.flat[m])]
        logits = keys @ rows[m]
        losses.append(logsumexp(logits[others]) - logits[m])
        right.append(max(others, key=lambda n, seen=logits: seen[n]) == m)
    got = contrastive_loss(*(torch.from_numpy(x) for x in (guess, target, valid, frame)))
    assert [float(x) for x in got] == pytest.approx([np.mean(losses), np.mean(right)], rel=1e-5)


@pytest.mark.parametrize("loss", ["cosine", "contrastive"])
def test_frames_beyond_the_episode_are_neither_predicted_nor_negatives(loss: str) -> None:
    objective, batch = build(loss=loss), walking(6, 3, seed=0)
    valid = batch.valid.clone()
    valid[2, 1:], valid[4, 2] = False, False
    cut = batch._replace(valid=valid)

    def loss_of(target: Tensor) -> Tensor:
        action = objective.model.normalizer.encode(cut.action[:, :-1])
        rolled = objective.roll(objective.views(cut, 0), action)
        return objective.prediction_loss(rolled._replace(target=target(rolled.target)), cut)[0]

    def beyond_changed(target: Tensor) -> Tensor:
        return torch.where(valid[..., None], target, target + 3)

    assert torch.equal(loss_of(lambda t: t), loss_of(beyond_changed))
    batch_loss = objective.prediction_loss(
        objective.roll(objective.views(batch, 0), objective.model.normalizer.encode(batch.action[:, :-1])), batch
    )[0]
    assert not torch.equal(loss_of(lambda t: t), batch_loss)


def test_targets_have_no_gradient_and_move_by_their_share() -> None:
    objective, batch = build(), walking(6, 3, seed=0)
    before = [p.clone() for p in objective.target_encoder.parameters()]
    objective.update(batch, 0)
    assert all(p.grad is None and not p.requires_grad for p in objective.target_encoder.parameters())
    for old, new, source in zip(
        before, objective.target_encoder.parameters(), objective.encoder.parameters(), strict=True
    ):
        torch.testing.assert_close(new, old + 0.05 * (source - old))


def test_the_first_frame_and_the_targets_have_crops_of_their_own() -> None:
    from robot_pt.augment import AugmentConfig

    views = build(augment=AugmentConfig()).views(walking(4, 3, seed=0), 0)
    assert views.shape == (4, 4, SIDE, SIDE, 3)
    assert not torch.equal(views[:, 0], views[:, 1])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"loss": "l2"}, "'l2'; choose cosine or contrastive"),
        ({"steps": 0}, "steps is 0"),
        ({"width": 0}, "width is 0"),
    ],
)
def test_settings_that_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        SPRConfig(**options)
