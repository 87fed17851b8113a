"""A success classifier judges online episodes: whose word holds, that it is asked once, and what is learned from its answer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from robot_pt.errors import DataError, MismatchError
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.online.arrivals import read_arrivals
from robot_pt.online.replay import OnlineReplay
from robot_pt.online.verdicts import EpisodeJudge
from robot_pt.recipes.reward_label import label
from robot_pt.store import DemoStore
from robot_pt.success.classifier import Card, SuccessClassifier, SuccessNetwork
from robot_pt.success.rule import Rule
from tests.online.toys import PIXELS, STATE, make_episode, make_intake

ENCODER = EncoderConfig(name="small", latent=8)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> SuccessClassifier:
    """Of random weights, its threshold such that it calls half of the episodes of noise successful."""
    torch.manual_seed(0)
    card = Card(
        camera="primary", image_size=(16, 16), encoder=ENCODER, rule=Rule(threshold=0.5, needed=1, window=1), scale=50.0
    )
    made = SuccessClassifier(SuccessNetwork(ENCODER, (16, 16)), card)
    last = np.sort([made(make_episode(n, spec=PIXELS).images["primary"][-1:])[0] for n in range(8)])
    made.card = replace(card, rule=Rule(threshold=float(last[3:5].mean()), needed=1, window=1))
    made.save(tmp_path_factory.mktemp("judge") / "run")
    return made


@pytest.fixture
def pictures(tmp_path: Path) -> DemoStore:
    store = DemoStore.create(tmp_path / "pictures", PIXELS, codec="png")
    for n in range(8):
        store.append(make_episode(n, spec=PIXELS, success=None if n < 6 else n == 6))
    return store


def test_it_says_what_reward_label_says(classifier, pictures, tmp_path) -> None:
    judge = EpisodeJudge(classifier, PIXELS)
    said = [judge(pictures.path, pictures.read(name)) for name in pictures.source().ids]
    folder = tmp_path / "run"
    classifier.save(folder)
    label(pictures.path, by=folder)
    labelled = pictures.source().episodes.success.astype(bool).tolist()
    assert said[:6] == labelled[:6]
    assert {True, False} <= set(said[:6])
    assert said[6:] == [True, False]  # a person's word stands


def test_in_a_simulator_s_store_its_word_replaces_the_recorded_one(classifier, pictures) -> None:
    judge = EpisodeJudge(classifier, PIXELS, simulated=[pictures.path])
    for n in range(8):
        episode = pictures.read(f"{n:06d}")
        truth = classifier.card.rule.at_end(classifier(make_episode(n, spec=PIXELS).images["primary"]))
        assert [judge(pictures.path, replace(episode, success=said)) for said in (True, False, None)] == [truth] * 3


def test_another_camera_is_refused(classifier) -> None:
    with pytest.raises(MismatchError, match=r"looks through camera 'primary', the episodes have \[\]"):
        EpisodeJudge(classifier, STATE)


def rewarded(replay: OnlineReplay) -> set[int]:
    """Numbers of the episodes that have a step with a reward above the usual one."""
    batch = replay.batch(0, replay.episodes)
    return set(batch.proprio[batch.reward > batch.reward.min(), 0].astype(int).tolist())


def test_it_is_asked_once_and_its_answer_is_learned_from_also_after_a_restart(tmp_path) -> None:
    asked: list[tuple[Path, int]] = []

    def judge(path, episode) -> bool | None:
        number = int(episode.proprio[0, 0])
        asked.append((path, number))
        return (True, False, None)[number]

    intake, replay, store = make_intake(tmp_path, judge)
    for n, recorded in enumerate((False, True, True)):
        store.append(make_episode(n, success=recorded))
    with replay:
        intake.look(0)
        intake.look(0)
        assert asked == [(store.path, 0), (store.path, 1), (store.path, 2)]
        assert [a.success for a in intake.joined] == [True, False, None]
        assert rewarded(replay) == {0}

    def never(path, episode) -> bool | None:
        raise AssertionError("asked again")

    again, replay, _ = make_intake(tmp_path, never)
    with replay:
        again.resume(3)
        assert again.joined == intake.joined
        assert rewarded(replay) == {0}


def test_without_a_judge_the_recorded_word_holds(tmp_path) -> None:
    intake, replay, store = make_intake(tmp_path, None)
    for n, recorded in enumerate((False, True)):
        store.append(make_episode(n, success=recorded))
    with replay:
        intake.look(0)
        assert rewarded(replay) == {1}


def test_what_cannot_be_judged_or_learned_from_then_is_set_aside(classifier, pictures, tmp_path) -> None:
    """A single step that is no success has no transition; a damaged frame has no verdict."""

    def judge(path, episode) -> bool | None:
        if episode.proprio[0, 0] == 1:
            raise DataError("its frame 3 cannot be decoded.")
        return False

    intake, replay, store = make_intake(tmp_path, judge)
    for n, steps in enumerate((1, 5, 5)):
        store.append(make_episode(n, steps=steps))
    with replay:
        intake.look(0)
        assert [a.episode for a in intake.joined] == ["000002"]
        reasons = [a.reason for a in read_arrivals(tmp_path / "arrivals.jsonl")]
        assert "no transition to train on" in reasons[0]
        assert reasons[1:] == ["its frame 3 cannot be decoded.", ""]
    broken = replace(pictures.read("000000"), images={"primary": [b"\x89PNG torn"] * 5})
    with pytest.raises(DataError, match="image 0"):
        EpisodeJudge(classifier, PIXELS)(pictures.path, broken)
