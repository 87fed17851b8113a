"""CURL, and the mistakes its reimplementations make: each check passes on it and fails on the mistake."""

import copy
import math

import pytest
import torch

from robot_pt.augment import AugmentConfig
from robot_pt.errors import MismatchError, UserError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.objectives.curl import CURL, ORIGINAL, CURLConfig
from robot_pt.objectives.stepper import StepConfig
from robot_pt.objectives.views import view
from tests.objectives.clip_batch import SPEC, clips, noise_frames

CROP = AugmentConfig(jitter_probability=0)
SMALL = EncoderConfig(name="small", latent=16)
FORMS = [CURLConfig(width=24), ORIGINAL]


def build(config=FORMS[0], kind=CURL, encoder=SMALL, seed=3):
    return kind.build(SPEC, image_size=(32, 32), task_slots=1, encoder=encoder, config=config, seed=seed)


class OneCrop(CURL):
    def views(self, batch, step):
        query, _ = super().views(batch, step)
        return query, query


class KeyThatLearns(CURL):
    def loss(self, query, key, episode):
        logits = self.predictor(self.query(query)) @ self.query(key).T
        return torch.nn.functional.cross_entropy(logits, torch.arange(len(query))), logits.detach().mean()


class KeyThatStays(CURL):
    def update(self, batch, step):
        before = copy.deepcopy(self.key.state_dict())
        metrics = super().update(batch, step)
        self.key.load_state_dict(before)
        return metrics


def check_views(curl):
    query, key = curl.views(clips(noise_frames(4)), 0)
    assert not (query == key).flatten(1).all(1).any(), "both views have one crop"


def check_key(curl):
    """No gradient reaches the key's side, and after an update it has moved by exactly its share towards the new weights."""
    batch = clips(noise_frames(6))
    query, key = curl.views(batch, 0)
    curl.loss(query, key, batch.episode)[0].backward()
    assert all(p.grad is None for p in curl.key.parameters())
    alone = torch.autograd.grad(
        curl.loss(query[:1].expand_as(query), key, batch.episode)[0], list(curl.encoder.parameters())
    )
    with torch.no_grad():
        fixed = curl.key(key)
    logits = curl.predictor(curl.query(query[:1].expand_as(query))) / curl.config.temperature @ fixed.T
    expected = torch.autograd.grad(
        torch.nn.functional.cross_entropy(logits, torch.arange(6)), list(curl.encoder.parameters())
    )
    for ours, right in zip(alone, expected, strict=True):
        torch.testing.assert_close(ours, right, atol=1e-5, rtol=1e-3)
    before = copy.deepcopy(curl.key)
    curl.update(batch, 0)
    share = 1 - curl.config.optim.kept(0)
    for was, now, online in zip(before.parameters(), curl.key.parameters(), curl.query.parameters(), strict=True):
        torch.testing.assert_close(now, was + share * (online - was))
    assert any(not torch.equal(a, b) for a, b in zip(before.parameters(), curl.key.parameters(), strict=True))


@pytest.mark.parametrize("config", FORMS)
def test_two_crops_and_a_key_that_follows(config):
    check_views(build(config))
    check_key(build(config))
    with pytest.raises(AssertionError, match="one crop"):
        check_views(build(config, OneCrop))
    for broken in (KeyThatLearns, KeyThatStays):
        with pytest.raises(AssertionError):
            check_key(build(config, broken))


@pytest.mark.parametrize("config", FORMS)
def test_the_loss_is_the_published_one(config):
    curl, batch = build(config), clips(noise_frames(6))
    query, key = curl.views(batch, 4)
    loss, accuracy = curl.loss(query, key, batch.episode)
    q, k = curl.encoder(query), curl.key[0](key)
    if config.form == "bilinear":
        weight = curl.predictor.weight.T  # q W k
        assert weight.min() >= 0
        assert weight.max() < 1
        logits = q @ weight @ k.T
    else:
        logits = curl.predictor(curl.query[1](q)) @ curl.key[1](k).T / config.temperature
    shifted = logits - logits.max(1, keepdim=True).values
    torch.testing.assert_close(loss, -(shifted.diagonal() - shifted.exp().sum(1).log()).mean())
    torch.testing.assert_close(accuracy, (logits.argmax(1) == torch.arange(6)).float().mean())


def test_a_temperature_divides_the_logits_and_frames_of_the_same_episode_can_be_left_out():
    batch = clips(noise_frames(4), episode=torch.tensor([0, 0, 1, 2]))
    query, key = build().views(batch, 0)
    cold = build(CURLConfig(width=24, temperature=1e-6)).loss(query, key, batch.episode)[0]
    warm = build(CURLConfig(width=24, temperature=1e6)).loss(query, key, batch.episode)[0]
    assert warm.item() == pytest.approx(math.log(4), abs=1e-4)
    assert cold.item() > 100
    apart = CURLConfig(width=24, temperature=1e6, other_episodes=True)
    loss, _ = build(apart).loss(query, key, batch.episode)
    assert loss.item() == pytest.approx((2 * math.log(3) + 2 * math.log(4)) / 4, abs=1e-4)


@pytest.mark.parametrize("config", FORMS)
def test_the_same_batch_and_step_give_the_same_update_and_a_loaded_state_continues(config):
    first, second = build(config), build(config)
    for step in range(2):
        first.update(clips(noise_frames(4)), step)
        second.update(clips(noise_frames(4)), step)
    fresh = build(config)
    fresh.load_state_dict(first.state_dict())
    for curl in (first, second, fresh):
        curl.update(clips(noise_frames(4, seed=1)), 2)
    for other in (second, fresh):
        ours, theirs = first.state_dict(), other.state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    with pytest.raises(MismatchError):
        build(FORMS[0] if config is FORMS[1] else FORMS[1]).load_state_dict(first.state_dict())


def test_every_part_of_the_encoder_learns():
    curl = build()
    before = {name: value.clone() for name, value in curl.encoder.state_dict().items()}
    curl.update(clips(noise_frames(4)), 0)
    assert all(not torch.equal(value, before[name]) for name, value in curl.encoder.state_dict().items())
    assert curl.trains == "encoder"


def textures(count, seed):
    """(count, 32, 32, 3): squares of 4 pixels, each of a colour of its own; what tells images apart moves with the crop."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(0, 256, (count, 8, 8, 3), generator=generator, dtype=torch.uint8)
    return coarse.repeat_interleave(4, 1).repeat_interleave(4, 2)


def retrieval(encoder, frames):
    """Share of frames whose one crop finds the other among those of all."""
    with torch.no_grad():
        codes = [encoder(view(frames[:, None], torch.arange(len(frames)), 0, s, CROP, seed=9)[:, 0]) for s in (0, 1)]
    one, other = (torch.nn.functional.normalize(code - code.mean(0), dim=1) for code in codes)
    return ((one @ other.T).argmax(1) == torch.arange(len(frames))).float().mean().item()


def trained(kind, seed=0, steps=200):
    """(retrieval of held-out frames, last loss) of the same script with one class or the other."""
    optim = StepConfig(learning_rate=1e-3, total_steps=steps, momentum=(0.99, 0.99))
    small = EncoderConfig(name="small", latent=64)
    curl = build(CURLConfig(width=64, augment=CROP, optim=optim), kind, small, seed=seed)
    generator, frames = torch.Generator().manual_seed(5), textures(512, 0)
    for step in range(steps):
        drawn = torch.randint(0, 512, (32,), generator=generator)
        loss = curl.update(clips(frames[drawn][:, None], key=32 * step), step)["objective/loss"]
    return retrieval(curl.encoder, textures(128, 1)), loss.item()


def test_two_crops_are_found_again_more_often_than_after_training_on_one_whose_loss_is_lower():
    """At 200 updates the ratio is 3.4 with one seed and 1.8 with another; twice is asked of the mean below."""
    right, broken = trained(CURL), trained(OneCrop)
    assert right[0] >= 1.5 * broken[0]
    assert right[0] > 0.25
    assert broken[1] < right[1], "the loss tells nothing about the features"


@pytest.mark.slow
def test_over_seeds_two_crops_are_found_again_twice_as_often():
    right, broken = ([trained(kind, seed, 400)[0] for seed in range(3)] for kind in (CURL, OneCrop))
    assert sum(right) >= 2 * sum(broken)


def test_senseless_settings_are_refused():
    for wrong, sentence in (
        ({"form": "cosine"}, "projection or bilinear"), ({"temperature": 0}, "temperature"), ({"width": 0}, "temperature"),
        ({"augment": AugmentConfig(pad=0)}, "random crop"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=sentence):
            CURLConfig(**wrong)
