"""ATC: the loss against numpy, what a reset does, and retrieval within one episode, where only time tells frames apart."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from torch import nn

from robot_pt.augment import AugmentConfig
from robot_pt.clips import Around, ClipPlan
from robot_pt.errors import UserError
from robot_pt.objectives.atc import ATC, ATCConfig, near_positives, temporal_contrast
from robot_pt.objectives.stepper import StepConfig
from tests.objectives.toy_video import ENCODER, SIZE, SPEC, Videos, circling

CROP = AugmentConfig(pad=1, jitter_probability=0.0)


def build(**options: Any) -> ATC:
    config = ATCConfig(**({"augment": CROP, "hidden": 64} | options))
    return ATC.build(SPEC, image_size=(SIZE, SIZE), task_slots=1, encoder=ENCODER, config=config)


def in_numpy(
    query: np.ndarray, key: np.ndarray, valid: np.ndarray, near: np.ndarray, first: int
) -> tuple[float, float]:
    losses, right = [], []
    for b in np.flatnonzero(valid):
        logits = key @ query[b]
        allowed = [n for n in range(len(key)) if n == first + b or not near[b, n]]
        losses.append(logsumexp(logits[allowed]) - logits[first + b])
        right.append(float(max(allowed, key=lambda n: logits[n]) == first + b))
    return float(np.mean(losses)), float(np.mean(right))


@pytest.mark.parametrize("first", [0, 4])
def test_the_loss_is_the_cross_entropy_of_the_own_frame(first: int) -> None:
    rng = np.random.default_rng(first)
    query, key = rng.normal(size=(6, 5)), rng.normal(size=(12, 5))
    valid, near = rng.random(6) < 0.7, rng.random((6, 12)) < 0.3
    got = temporal_contrast(*(torch.from_numpy(x) for x in (query, key, valid, near)), first)
    assert [float(x) for x in got] == pytest.approx(in_numpy(query, key, valid, near, first), rel=1e-5)


def test_near_positives_are_of_the_same_episode() -> None:
    episode, step = torch.tensor([0, 0, 1, 0]), torch.tensor([3, 5, 3, 3])
    assert near_positives(episode, step, episode, step, 0).sum() == 0
    assert near_positives(episode, step, episode, step, 1).int().tolist() == [
        [1, 0, 0, 1],
        [0, 1, 0, 0],
        [0, 0, 1, 0],
        [1, 0, 0, 1],
    ]
    assert near_positives(episode, step, episode, step, 3)[0].tolist() == [True, True, False, True]


def row_gradient(valid: torch.Tensor) -> torch.Tensor:
    query = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    key = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    loss, _ = temporal_contrast(query, key, valid, torch.zeros(5, 5, dtype=torch.bool), 0)
    loss.backward()
    return query.grad


def test_an_anchor_whose_episode_ended_has_no_gradient() -> None:
    ended = torch.tensor([True, True, False, True, True])
    gradient = row_gradient(ended)
    assert torch.equal(gradient[2], torch.zeros(4))
    assert (gradient[ended].abs().sum(1) > 0).all()
    assert row_gradient(torch.ones(5, dtype=torch.bool))[2].abs().sum() > 0  # positives across resets


def test_the_last_frames_of_an_episode_are_not_trained_on() -> None:
    objective, videos = build(), circling(4, seed=0)
    batch = videos.at(objective.plan, np.random.default_rng(0), np.array([0, 1, 2, 3]), np.array([2, 7, 12, 13]))
    assert batch.valid.all(1).tolist() == [True, True, True, False]
    anchor, positive = objective.views(batch, 0)
    loss, _ = objective.loss(anchor, positive, batch)
    anchor[3] = 255 - anchor[3]
    other, _ = objective.loss(anchor, positive, batch)
    assert torch.equal(loss, other)
    pretended, _ = objective.loss(anchor, positive, batch._replace(valid=torch.ones_like(batch.valid)))
    assert not torch.equal(loss, pretended)


def assert_only_the_anchor_is_predicted_from(objective: ATC, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys are the averaged encoder's codes, queries W (c + MLP(c))."""
    seen: dict[str, torch.Tensor] = {}

    def look(query: torch.Tensor, key: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
        seen.update(query=query, key=key)
        return temporal_contrast(query, key, *rest)

    monkeypatch.setattr("robot_pt.objectives.atc.temporal_contrast", look)
    batch = circling(4, seed=0).clips(objective.plan, 0, 8)
    anchor, positive = objective.views(batch, 0)
    objective.loss(anchor, positive, batch)
    code = objective.encoder(anchor)
    hidden, _, out = objective.predictor.residual
    expected = (code + out(torch.relu(hidden(code)))) @ objective.predictor.bilinear.weight.T
    torch.testing.assert_close(seen["query"], expected)
    assert not seen["key"].requires_grad
    torch.testing.assert_close(seen["key"], objective.encoder(positive).detach())  # the average has not moved yet


def test_the_residual_is_on_the_anchors_side_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_only_the_anchor_is_predicted_from(build(), monkeypatch)


def test_a_residual_on_both_sides_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Both(nn.Module):
        def __init__(self, objective: ATC):
            super().__init__()
            self.encoder, self.residual = copy.deepcopy(objective.encoder), objective.predictor.residual

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            code = self.encoder(images)
            return code + self.residual(code)

    objective = build()
    objective.target = Both(objective)
    with pytest.raises(AssertionError):
        assert_only_the_anchor_is_predicted_from(objective, monkeypatch)


def test_the_average_follows_by_one_percent() -> None:
    objective = build()
    before = [p.clone() for p in objective.target.parameters()]
    metrics = objective.update(circling(8, seed=0).clips(objective.plan, 0, 16), 0)
    assert set(metrics) == {"objective/loss", "objective/accuracy"}
    for old, target, online in zip(before, objective.target.parameters(), objective.encoder.parameters(), strict=True):
        assert not target.requires_grad
        torch.testing.assert_close(target, old + 0.01 * (online - old), rtol=1e-5, atol=1e-7)
    assert any((old != online).any() for old, online in zip(before, objective.encoder.parameters(), strict=True))


def test_both_frames_have_crops_of_their_own() -> None:
    objective = build(delta=1)
    still = Videos(np.repeat(circling(6, seed=1).frames[:, :1], 4, axis=1))
    anchor, positive = objective.views(still.clips(objective.plan, 0, 32), 0)
    same = (anchor == positive).flatten(1).all(1).float().mean()
    assert same < 0.4  # both crops of 9 agree in 1 of 9
    anchor, positive = build(delta=1, augment=None).views(still.clips(objective.plan, 0, 32), 0)
    assert torch.equal(anchor, positive)


def test_half_a_batch_each_with_the_keys_of_both_is_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    objective, videos = build(), circling(4, seed=0)
    rng = np.random.default_rng(0)
    batch = videos.at(objective.plan, rng, rng.integers(0, 4, 8), rng.integers(0, 12, 8))
    anchor, positive = objective.views(batch, 0)
    whole = objective.loss(anchor, positive, batch)[0]
    gradient = torch.autograd.grad(whole, list(objective.encoder.parameters()))
    everything = {"key": objective.target(positive).detach(), "episode": batch.episode, "step": batch.step[:, 1]}
    halves = []
    for first in (0, 4):
        order = iter(everything.values())
        monkeypatch.setattr(
            "robot_pt.objectives.atc.gathered", lambda _, order=order, first=first: (next(order), first)
        )
        part = slice(first, first + 4)
        mine = batch._replace(**{n: getattr(batch, n)[part] for n in ("episode", "step", "valid", "sample_key")})
        loss = objective.loss(anchor[part], positive[part], mine)[0]
        halves.append(torch.autograd.grad(loss, list(objective.encoder.parameters())))
    for one, other, both in zip(*halves, gradient, strict=True):
        torch.testing.assert_close((one + other) / 2, both, rtol=1e-3, atol=1e-6)


def found_in_one_episode(objective: ATC, videos: Videos) -> float:
    """Share of frames that find the frame 3 steps on, among those of the same episode; the mean over held-out episodes."""
    shares = []
    for episode in range(len(videos.frames)):
        anchors = np.arange(videos.frames.shape[1] - 3)
        batch = videos.at(Around((0, 3)), np.random.default_rng(0), np.full(len(anchors), episode), anchors)
        images = batch.images["primary"]
        with torch.no_grad():
            shares.append(float(objective.loss(images[:, 0], images[:, 1], batch)[1]))
    return float(np.mean(shares))


def trained(plan: Callable[[ATC], ClipPlan], steps: int) -> ATC:
    objective = build(optim=StepConfig(learning_rate=1e-3, weight_decay=0.0, clip_norm=10.0, momentum=(0.99, 0.99)))
    videos = circling(24, seed=0)
    for step in range(steps):
        objective.update(videos.clips(plan(objective), step, 64), step)
    return objective


class SameEpisode:
    """A broken plan: the other frame is any of the episode, so that the background is all there is to learn."""

    frames = 2

    def steps(self, rng: np.random.Generator, anchor_B: np.ndarray, length_B: np.ndarray) -> np.ndarray:
        return np.stack([anchor_B, rng.integers(0, length_B)], axis=1)


def test_frames_are_told_apart_by_time_where_the_background_is_one() -> None:
    held_out, chance = circling(4, seed=99), 1 / 13
    right = found_in_one_episode(trained(lambda o: o.plan, 150), held_out)
    assert right > 5 * chance
    background = found_in_one_episode(trained(lambda o: SameEpisode(), 60), held_out)
    assert background < 3 * chance


@pytest.mark.parametrize("options", [{"delta": 0}, {"spacing": -1}, {"hidden": 0}])
def test_impossible_settings_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(UserError, match="delta >= 1, spacing >= 0 and hidden >= 1"):
        ATCConfig(**options)
