"""R3M: the sampler against the original's, both losses against numpy, clips in which a distractor hides the order, sentences."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from robot_pt.clips import ClipBatch, ClipPlan
from robot_pt.errors import UserError
from robot_pt.language import sentence_features
from robot_pt.objectives import r3m
from robot_pt.objectives.r3m import (
    R3M,
    LanguageReward,
    R3MConfig,
    R3MFrames,
    info_nce,
    language_contrast,
    similarity,
    time_contrast,
)
from robot_pt.objectives.stepper import StepConfig
from tests.objectives.toy_video import ENCODER, SIZE, SPEC, Videos, crossing

FAST = StepConfig(learning_rate=1e-3, weight_decay=0.0, clip_norm=0.0)


def build(**options: Any) -> R3M:
    config = R3MConfig(**({"hidden": 64, "crop_scale": None, "optim": FAST} | options))
    return R3M.build(SPEC, image_size=(SIZE, SIZE), task_slots=1, encoder=ENCODER, config=config)


# The sampler.


def published(length: int, alpha: float) -> dict[tuple[int, ...], float]:
    """Probability of (start, end, s0, s1, s2), counted from 0, as the original's five draws give them, where s2 is not s1."""
    out: Counter[tuple[int, ...]] = Counter()
    starts = range(1, 2 + int(alpha * length))
    ends = range(max(int((1 - alpha) * length) - 1, 1), length)
    for start in starts:
        for end in ends:
            for s1 in range(2, length):
                for s0 in range(1, s1):
                    for s2 in range(s1 + 1, length + 1):
                        place = tuple(i - 1 for i in (start, end, s0, s1, s2))
                        out[place] += 1 / len(starts) / len(ends) / (length - 2) / (s1 - 1) / (length - s1)
    return dict(out)


@pytest.mark.parametrize("length", [3, 4, 5, 7])
def test_frames_are_drawn_as_published(length: int) -> None:
    expected, draws = published(length, 0.2), 40_000
    assert sum(expected.values()) == pytest.approx(1)
    step = R3MFrames(0.2).steps(np.random.default_rng(length), np.zeros(draws, np.int64), np.full(draws, length))
    seen = Counter(map(tuple, step.tolist()))
    assert seen.keys() <= expected.keys()
    assert stats.chisquare([seen[k] for k in expected], [draws * p for p in expected.values()]).pvalue > 1e-4


def test_windows_of_long_clips_hold_a_fifth_at_each_end() -> None:
    length = np.repeat([35, 100, 200], 3000)
    first, goal, s0, s1, s2 = R3MFrames(0.2).steps(np.random.default_rng(0), np.zeros_like(length), length).T
    for size in (35, 100, 200):
        of = length == size
        assert (first[of].min(), first[of].max()) == (0, size // 5)
        assert (goal[of].min(), goal[of].max()) == (size * 4 // 5 - 2, size - 2)
    assert ((s0 < s1) & (s1 < s2) & (s2 < length) & (s0 >= 0)).all()


@pytest.mark.parametrize("length", [1, 2])
def test_a_clip_without_three_frames_is_invalid(length: int) -> None:
    videos = Videos(np.zeros((3, length, SIZE, SIZE, 3), np.uint8))
    assert not videos.clips(R3MFrames(0.2), 0, 40).valid.all(1).any()


# The losses.


def distance(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.sqrt(((x - y) ** 2).sum()))


def nce(positive: float, negatives: list[float]) -> float:
    """As the original writes it, epsilon in both places."""
    everything = np.exp(positive) + sum(np.exp(n) for n in negatives)
    return float(-np.log(1e-8 + np.exp(positive) / (1e-8 + everything)))


def test_info_nce_is_the_originals_and_keeps_a_gradient_far_away() -> None:
    rng = np.random.default_rng(0)
    positive, negative, usable = rng.normal(size=7) - 3, rng.normal(size=(4, 7)) - 3, rng.random((4, 7)) < 0.6
    got = info_nce(torch.from_numpy(positive), torch.from_numpy(negative), torch.from_numpy(usable))
    for b in range(7):
        assert float(got[b]) == pytest.approx(nce(positive[b], list(negative[usable[:, b], b])), abs=1e-5)
    far = torch.tensor([-40.0], requires_grad=True)
    info_nce(far, torch.tensor([[-41.0]]), torch.tensor([[True]])).sum().backward()
    assert float(far.grad) == pytest.approx(-1 / (1 + np.e), rel=1e-4)


def test_time_contrast_is_the_papers() -> None:
    rng = np.random.default_rng(1)
    code = rng.normal(size=(5, 5, 3))
    late, early = np.array([[1, 2, 3, 4, 0], [2, 3, 4, 0, 1]]), np.array([[3, 4, 0, 1, 2], [4, 0, 1, 2, 3]])
    usable = (rng.random((2, 5)) < 0.7, rng.random((2, 5)) < 0.7)
    loss, aligned = time_contrast(
        *(torch.from_numpy(x) for x in (code, late, early)), tuple(map(torch.from_numpy, usable))
    )
    for b in range(5):
        _, _, s0, s1, s2 = code[b]
        others2 = [-distance(s2, code[late[n, b], 4]) for n in range(2) if usable[0][n, b]]
        others0 = [-distance(s0, code[early[n, b], 2]) for n in range(2) if usable[1][n, b]]
        far = -distance(s2, s0)
        expected = (nce(-distance(s2, s1), [far, *others2]) + nce(-distance(s1, s0), [far, *others0])) / 2
        assert float(loss[b]) == pytest.approx(expected, abs=1e-5)
        assert bool(aligned[b]) == (-distance(s2, s1) > far and -distance(s1, s0) > far)


def test_the_similarity_of_equal_codes_has_a_gradient_of_zero_not_nan() -> None:
    code = torch.ones(2, 3, requires_grad=True)
    similarity(code, code.detach()).sum().backward()
    assert torch.equal(code.grad, torch.zeros(2, 3))


def test_language_contrast_is_the_papers() -> None:
    torch.manual_seed(0)
    reward = LanguageReward(3, 4, 8).double()
    assert [type(m).__name__ for m in reward.layers] == ["Linear", "ReLU"] * 4 + ["Linear"]
    code, sentence = torch.randn(4, 5, 3, dtype=torch.float64), torch.randn(4, 4, dtype=torch.float64)
    sentence[2] = 0
    other, usable = torch.tensor([[[1, 2, 3, 0], [2, 3, 0, 1]]] * 3), torch.rand(3, 2, 4) < 0.6
    with torch.no_grad():
        loss, won = language_contrast(reward, code, sentence, other, usable)

    def g(row: int, frame: int, text: int) -> float:
        return float(reward(code[row, 0], code[row, frame], sentence[text]).detach())

    for b in range(4):
        parts, wins = [], []
        for k, (later, wrong) in enumerate([(1, 0), (3, 2), (4, 3)]):
            negatives = [g(b, wrong, b)] + [g(int(other[k, n, b]), later, b) for n in range(2) if usable[k, n, b]]
            parts.append(nce(g(b, later, b), negatives))
            wins.append(g(b, later, b) > max(negatives))
        assert float(loss[b]) == pytest.approx(0 if b == 2 else np.mean(parts), abs=1e-5)
        assert float(won[b]) == pytest.approx(np.mean(wins))


def test_a_clip_without_a_caption_teaches_the_reward_nothing() -> None:
    objective, batch = build(), crossing(8, seed=0).clips(R3MFrames(0.2), 0, 8)
    assert not batch.language.any()
    code = objective.encoder(batch.images["primary"].flatten(0, 1)).unflatten(0, (8, 5))
    loss, metrics = objective.loss(code, batch, 0)
    loss.backward()
    assert float(metrics["objective/language"]) == 0
    assert all(p.grad is None or not p.grad.any() for p in objective.reward.parameters())


def test_clips_of_one_episode_or_one_sentence_are_no_negatives(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Tensor] = {}
    monkeypatch.setattr(
        r3m,
        "time_contrast",
        lambda c, late, early, usable: seen.update(late=late, time=usable[0]) or time_contrast(c, late, early, usable),
    )
    monkeypatch.setattr(
        r3m,
        "language_contrast",
        lambda g, c, t, rows, usable: seen.update(rows=rows, said=usable) or language_contrast(g, c, t, rows, usable),
    )
    language = np.stack([sentence_features(s) for s in ("open it", "close it", "open it", "close it")])
    objective, videos = build(), Videos(crossing(4, seed=0).frames, language)
    batch = videos.clips(objective.plan, 0, 16)
    objective.update(batch, 0)
    episode, sentence = batch.episode, batch.episode % 2
    assert torch.equal(seen["time"], episode[seen["late"]] != episode)
    assert torch.equal(seen["said"], sentence[seen["rows"]] != sentence)


def test_features_of_another_length_are_read_where_the_config_says_so() -> None:
    objective = build(language=7)
    assert (objective.needs.language, R3M.needs.language) == (7, 256)
    videos = Videos(crossing(4, seed=0).frames, np.eye(4, 7, dtype=np.float32))
    assert float(objective.update(videos.clips(objective.plan, 0, 8), 0)["objective/language"]) > 0


def test_sparsity_is_the_mean_norm_of_all_frames() -> None:
    batch = crossing(6, seed=0).clips(R3MFrames(0.2), 0, 6)
    code = torch.randn(6, 5, 32)
    heavy, _ = build(l1_weight=0.5, l2_weight=0.25).loss(code, batch, 0)
    free, metrics = build(l1_weight=0, l2_weight=0).loss(code, batch, 0)
    rows = code.numpy().reshape(30, 32)
    l1, l2 = np.abs(rows).sum(1).mean(), np.sqrt((rows**2).sum(1)).mean()
    assert float((heavy - free).detach()) == pytest.approx(0.5 * l1 + 0.25 * l2, rel=1e-4)
    assert float(metrics["objective/l1"]) == pytest.approx(l1, rel=1e-5)


# Learning.


def aligned(objective: R3M, videos: Videos) -> float:
    """Share of held-out clips whose s1 is nearer than the other end to both s0 and s2."""
    batch = videos.clips(R3MFrames(0.2), 0, 400, seed=5)
    none = torch.zeros(1, 400, dtype=torch.int64), torch.zeros(1, 400, dtype=torch.bool)
    with torch.no_grad():
        code = objective.encoder(batch.images["primary"].flatten(0, 1)).unflatten(0, (400, 5))
        return float(time_contrast(code, none[0], none[0], (none[1], none[1]))[1].float().mean())


class Swapped:
    """A broken plan: s1 and s2 in each other's place."""

    frames = 5

    def steps(self, *draw: Any) -> np.ndarray:
        return R3MFrames(0.2).steps(*draw)[:, [0, 1, 2, 4, 3]]


def without_in_clip_negative(
    code: Tensor, late: Tensor, early: Tensor, usable: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    _, _, s0, s1, s2 = code.unbind(1)
    loss = info_nce(similarity(s2, s1), similarity(s2, s2[late]), usable[0]) + info_nce(
        similarity(s1, s0), similarity(s0, s0[early]), usable[1]
    )
    return loss / 2, similarity(s2, s1) > similarity(s2, s0)


def trained(
    plan: ClipPlan,
    steps: int,
    change: Callable[[ClipBatch], ClipBatch] = lambda b: b,
    videos: Videos | None = None,
    **options: Any,
) -> R3M:
    objective = build(**options)
    videos = videos or crossing(200, seed=0)
    for step in range(steps):
        objective.update(change(videos.clips(plan, step, 32)), step)
    return objective


def test_codes_follow_time_though_a_distractor_moves_more() -> None:
    held_out = crossing(40, seed=99)
    assert aligned(build(), held_out) < 0.6
    assert aligned(trained(R3MFrames(0.2), 110, language_weight=0.0), held_out) > 0.88


def test_swapped_frames_are_noticed() -> None:
    assert aligned(trained(Swapped(), 60, language_weight=0.0), crossing(40, seed=99)) < 0.6


def test_without_the_negative_within_the_clip_codes_do_not_follow_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(r3m, "time_contrast", without_in_clip_negative)
    assert aligned(trained(R3MFrames(0.2), 110, language_weight=0.0), crossing(40, seed=99)) < 0.8


def two_ways(episodes: int, seed: int) -> Videos:
    """Half the squares go left, and their captions say so."""
    backwards = np.arange(episodes) % 2 == 1
    said = np.stack([sentence_features("push it left" if b else "move it right") for b in backwards])
    return Videos(crossing(episodes, seed, distractor=False, backwards=backwards).frames, said)


def preference(objective: R3M) -> Tensor:
    """(40,) of held-out clips from first to last frame: how much higher their own sentence scores than the other one."""
    videos = two_ways(40, seed=99)
    right, wrong = torch.from_numpy(videos.language), torch.from_numpy(videos.language[[1, 0] * 20])
    with torch.no_grad():
        first, last = (objective.encoder(torch.from_numpy(videos.frames[:, t])) for t in (0, -1))
        return objective.reward(first, last, right) - objective.reward(first, last, wrong)


def shuffled(batch: ClipBatch) -> ClipBatch:
    order = torch.randperm(len(batch.language), generator=torch.Generator().manual_seed(int(batch.sample_key[0])))
    return batch._replace(language=batch.language[order])


def test_the_sentence_that_was_done_scores_higher() -> None:
    preferred = preference(trained(R3MFrames(0.2), 70, videos=two_ways(100, seed=0)))
    assert (preferred > 0).float().mean() > 0.9
    assert preferred.mean() > 3


def test_shuffled_sentences_teach_nothing() -> None:
    preferred = preference(trained(R3MFrames(0.2), 70, shuffled, videos=two_ways(100, seed=0)))
    assert abs(preferred.mean()) < 0.3
    assert (preferred > 0).float().mean() < 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 0.6}, "alpha is 0.6"), ({"time_weight": -1}, "none below 0"), ({"time_weight": 0, "language_weight": 0}, "none below 0"),
        ({"negatives": 0}, "at least 1 negative"), ({"hidden": 0}, "at least 1 negative"), ({"language": 0}, "language feature"),
    ],
)  # fmt: skip
def test_impossible_settings_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(UserError, match=message):
        R3MConfig(**options)
