"""The classifier's folder, its frames, the rule of k in n, and who may say that an episode succeeded."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.errors import DataError, UserError
from robot_pt.judging import ClassifierJudge, OperatorJudge, ServiceJudge, judged
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.schema import Episode, Observation, Spec
from robot_pt.success.classifier import DOCUMENT, WEIGHTS, Card, SuccessClassifier, SuccessNetwork
from robot_pt.success.rule import Rule, RuleMemory

ENCODER = EncoderConfig(name="small", latent=8)
FRAMES = np.random.default_rng(0).integers(0, 256, (5, 24, 20, 3), np.uint8)


def made(seed: int = 0, **changes: object) -> SuccessClassifier:
    torch.manual_seed(seed)
    values = {
        "camera": "primary",
        "image_size": (16, 16),
        "encoder": ENCODER,
        "rule": Rule(threshold=0.5),
        "scale": 3.0,
        "offset": 0.2,
    }
    return SuccessClassifier(SuccessNetwork(ENCODER, (16, 16)), Card(**{**values, **changes}))


def test_what_was_saved_says_the_same_after_loading(tmp_path: Path) -> None:
    saved = made()
    version = saved.save(tmp_path)
    loaded = SuccessClassifier.load(tmp_path)
    np.testing.assert_array_equal(loaded(FRAMES), saved(FRAMES))
    assert (loaded.card, loaded.version) == (saved.card, version)
    np.testing.assert_allclose(loaded(FRAMES[2]), loaded(FRAMES, batch=2)[2:3], atol=1e-6)
    assert loaded(FRAMES[:0]).shape == (0,)
    assert made(seed=1).save(tmp_path) != version


def test_probability_is_the_calibrated_logit() -> None:
    plain, bent = made(scale=1.0, offset=0.0)(FRAMES), made(scale=2.0, offset=-1.0)(FRAMES)
    logit = np.log(plain / (1 - plain))
    np.testing.assert_allclose(bent, 1 / (1 + np.exp(1 - 2 * logit)), atol=1e-5)


@pytest.mark.parametrize(
    "frames",
    [
        FRAMES.astype(np.float32),
        FRAMES[..., :1],
        FRAMES[:, :0],
        np.zeros((2, 2), np.uint8),
        np.full((1, 8, 8, 3), np.nan),
    ],
)
def test_frames_of_another_kind_are_refused(frames: np.ndarray) -> None:
    with pytest.raises(DataError, match="give uint8"):
        made()(frames)


def test_a_damaged_folder_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no classifier"):
        SuccessClassifier.load(tmp_path)
    made().save(tmp_path)
    document, weights = (tmp_path / DOCUMENT).read_text(), (tmp_path / WEIGHTS).read_bytes()
    values = json.loads(document)
    bent = {**values, "card": {**values["card"], "rule": {"threshold": 0.01, "needed": 1, "window": 1}}}
    for text, match in (
        (json.dumps({**values, "format_version": 9}), "format 9"),
        (json.dumps({k: v for k, v in values.items() if k != "card"}), "is damaged"),
        (json.dumps({**values, "card": {**values["card"], "scale": 0}}), "is damaged"),
        (json.dumps(bent), "was changed"),
        (document[:40], "is damaged"),
    ):
        (tmp_path / DOCUMENT).write_text(text)
        with pytest.raises(DataError, match=match):
            SuccessClassifier.load(tmp_path)
    (tmp_path / DOCUMENT).write_text(document)
    (tmp_path / WEIGHTS).write_bytes(weights[:-1] + b"x")
    with pytest.raises(DataError, match="damaged"):
        SuccessClassifier.load(tmp_path)


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    broken = made()
    with torch.no_grad():
        next(broken._network.parameters())[0] = float("nan")
    broken.save(tmp_path)
    with pytest.raises(DataError, match="NaN or Inf"):
        SuccessClassifier.load(tmp_path)


def test_loading_brings_no_training_code_nor_data_formats() -> None:
    code = "import sys, robot_pt.success.classifier, robot_pt.judging; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    unwanted = (
        "robot_pt.store",
        "robot_pt.agents",
        "robot_pt.success.training",
        "zarr",
        "robot_pt_data",
        "robot_pt_sim",
        "mujoco",
    )
    assert not [n for n in names if n.startswith(unwanted)]


@given(st.lists(st.floats(0, 1), max_size=20), st.integers(1, 4), st.integers(0, 3), st.floats(0, 1))
def test_the_rule_looks_at_the_last_n_frames_only(p: list[float], needed: int, more: int, threshold: float) -> None:
    rule = Rule(threshold=threshold, needed=needed, window=needed + more)
    held = rule.over(p).tolist()
    slow = [sum(x >= threshold for x in p[max(0, i + 1 - rule.window) : i + 1]) >= needed for i in range(len(p))]
    assert held == slow
    assert rule.at_end(p) == bool(slow and slow[-1])


def test_a_probability_that_is_no_number_is_no_success_and_reset_forgets() -> None:
    memory = RuleMemory(Rule(threshold=0.0, needed=1, window=1))
    assert not memory.see(float("nan"))
    memory = RuleMemory(Rule(threshold=0.5, needed=2, window=3))
    assert [memory.see(x) for x in (0.9, 0.1, 0.9)] == [False, False, True]
    memory.reset()
    assert not memory.see(0.9)


@pytest.mark.parametrize("bad", [{"threshold": 1.5}, {"threshold": float("nan")}, {"needed": 4}, {"needed": 0}])
def test_a_rule_that_cannot_be_is_refused(bad: dict) -> None:
    with pytest.raises(UserError, match="give"):
        Rule(**{"threshold": 0.5, **bad})


def observation(value: int, camera: str = "primary") -> Observation:
    return Observation({camera: np.full((4, 4, 3), value, np.uint8)}, np.zeros(7, np.float32))


def brightness(frames: np.ndarray) -> np.ndarray:
    return frames.mean(axis=(1, 2, 3)) / 255


def test_the_classifier_calls_success_as_soon_as_the_rule_holds() -> None:
    judge = ClassifierJudge(brightness, "primary", Rule(threshold=0.5, needed=2, window=3))
    judge.begin()
    assert judge.verdict(None) is None
    assert [judge.see(observation(v)) for v in (200, 10, 200, 200)] == [(0, False), (0, False), (1, True), (1, True)]
    assert judge.verdict(None) is True
    assert judge.verdict(False) is False  # the operator's key stands above
    judge.begin()
    judge.see(observation(200))
    assert judge.verdict(None) is False
    with pytest.raises(DataError, match="looks through camera 'primary', the observation has"):
        judge.see(observation(1, "wrist"))


def test_key_and_service() -> None:
    asked = []

    def ask() -> bool | None:
        asked.append(1)
        return None if len(asked) == 1 else True

    service = ServiceJudge(ask)
    for judge in (OperatorJudge(), service):
        judge.begin()
        assert judge.see(observation(255)) == (0.0, False)
        assert judge.verdict(False) is False
    assert OperatorJudge().verdict(None) is None
    assert not asked  # the key was pressed: nobody is asked
    assert [service.verdict(None), service.verdict(None)] == [None, True]
    with pytest.raises(DataError, match="answered 'yes'"):
        ServiceJudge(lambda: "yes").verdict(None)  # type: ignore[arg-type, return-value]


def test_an_episode_is_judged_as_it_would_have_been_while_it_ran() -> None:
    spec = Spec(cameras={"primary": (4, 4)}, embodiment="panda")
    images = np.stack([observation(v).images["primary"] for v in (10, 200, 200)])
    columns = {name: np.zeros((3, 7), np.float32) for name in ("proprio", "actions")}
    flags = {name: np.zeros(3, bool) for name in ("terminated", "truncated")}
    episode = Episode(spec=spec, images={"primary": images}, rewards=np.full(3, 0.5, np.float32), **columns, **flags)
    judge = ClassifierJudge(brightness, "primary", Rule(threshold=0.5, needed=2, window=2))
    found = judged(episode, judge)
    assert found.success is True
    assert found.rewards.tolist() == [0, 0, 1]
    kept = judged(episode, OperatorJudge())
    assert (kept.success, kept.rewards.tolist()) == (None, [0.5] * 3)
