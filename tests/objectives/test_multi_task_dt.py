"""Multi-task Decision Transformer: which token knows which, the losses in numpy, and returns drawn for tasks of unlike scale."""

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from robot_pt.errors import UserError
from robot_pt.objectives.multi_task_dt import (
    ENDED,
    GAIN,
    LOSS,
    NOTHING,
    MultiTaskDT,
    MultiTaskDTConfig,
    TokenLogits,
    Tokens,
    reward_token,
    tilted,
    token_losses,
)  # fmt: skip
from robot_pt.rewards import RewardLabel
from tests.objectives.clip_batch import clips, noise_frames
from tests.objectives.toy_moves import BOUNDS, ENCODER, FAST, SIDE, SPEC, STEP

WINDOW, BINS = 3, 101


def build(**options: Any) -> MultiTaskDT:
    config = MultiTaskDTConfig(
        **({
            "window": WINDOW, "layers": 2, "width": 32, "return_bins": BINS, "action_bins": 16, "returns": (0.0, 100.0), "augment": None,
            "optim": FAST,
        } | options)
    )  # fmt: skip
    return MultiTaskDT.build(SPEC, image_size=(SIDE, SIDE), task_slots=2, encoder=ENCODER, config=config, bounds=BOUNDS)


def tokens(batch: int = 3, seed: int = 0) -> Tokens:
    generator = torch.Generator().manual_seed(seed)
    drawn = lambda high, *shape: torch.randint(0, high, (batch, WINDOW, *shape), generator=generator)  # noqa: E731
    return Tokens(drawn(BINS), drawn(16, 2), drawn(4))


# Which token knows which: o_t, R_t, a_t1, a_t2, r_t.


def heard(objective: MultiTaskDT, place: tuple[str, int, int]) -> set[tuple[str, int, int]]:
    """The predictions (kind, step, dimension) that change when the token at `place` does."""
    given, frames = tokens(), noise_frames(3, WINDOW, SIDE)
    changed = Tokens(*(part.clone() for part in given))
    kind, t, d = place
    if kind == "o":
        frames = frames.clone()
    with torch.no_grad():
        before = objective.predict(frames, given)
        if kind == "o":
            frames[:, t] = 255 - frames[:, t]
        elif kind == "a":
            changed.action_BSA[:, t, d] = (changed.action_BSA[:, t, d] + 5) % 16
        else:
            part, size = (changed.returns_BS, BINS) if kind == "R" else (changed.reward_BS, 4)
            part[:, t] = (part[:, t] + 1) % size
        after = objective.predict(frames, changed)
    moved = set()
    for s in range(WINDOW):
        if not torch.equal(before.returns_BSO[:, s], after.returns_BSO[:, s]):
            moved.add(("R", s, 0))
        moved |= {
            ("a", s, i) for i in range(2) if not torch.equal(before.action_BSAO[:, s, i], after.action_BSAO[:, s, i])
        }
        if not torch.equal(before.reward_BS4[:, s], after.reward_BS4[:, s]):
            moved.add(("r", s, 0))
    return moved


ORDER = [(kind, t, d) for t in range(WINDOW) for kind, d in (("o", 0), ("R", 0), ("a", 0), ("a", 1), ("r", 0))]


@pytest.mark.parametrize("place", ORDER)
def test_a_token_is_known_to_exactly_the_predictions_after_it(place: tuple[str, int, int]) -> None:
    after = {p for p in ORDER[ORDER.index(place) + 1 :] if p[0] != "o"}
    assert heard(build(), place) == after


# Tokens and losses.


def test_tokens_of_a_batch() -> None:
    objective = build()
    batch = clips(
        noise_frames(1, WINDOW, SIDE), action=torch.tensor([[[-8.0, 8.0], [0.1, -0.1], [4.0, 500.0]]]),
        return_to_go=torch.tensor([[0.0, 1.0, 250.0]]), reward=torch.tensor([[-1.0, 0.0, 3.0]]),
        terminal=torch.tensor([[False, False, True]]),
    )  # fmt: skip
    got = objective.tokens(batch)
    assert got.returns_BS.tolist() == [[0, 1, 100]]
    assert got.action_BSA.tolist() == [[[0, 15], [8, 7], [12, 15]]]
    assert got.reward_BS.tolist() == [[LOSS, NOTHING, GAIN]]


def test_reward_tokens() -> None:
    reward, terminal = torch.tensor([2.0, 2.0, 0.0, 0.0, -1.0, -1.0]), torch.tensor([False, True] * 3)
    assert reward_token(reward, terminal).tolist() == [GAIN, GAIN, NOTHING, ENDED, LOSS, ENDED]


def test_losses_in_numpy() -> None:
    rng, given = np.random.default_rng(0), tokens(4)
    logits = [rng.normal(size=s) for s in ((4, WINDOW, BINS), (4, WINDOW, 2, 16), (4, WINDOW, 4))]
    valid = rng.random((4, WINDOW)) < 0.6
    want = []
    for values, token in zip(logits, given, strict=True):
        log_p = values - np.log(np.exp(values).sum(-1, keepdims=True))
        picked = -np.take_along_axis(log_p, token.numpy()[..., None], -1)[..., 0]
        want.append((picked.mean(-1) if picked.ndim == 3 else picked)[valid].mean())
    got = token_losses(TokenLogits(*(torch.from_numpy(x) for x in logits)), given, torch.from_numpy(valid))
    assert [float(x) for x in got] == pytest.approx(want, rel=1e-6)


def test_the_total_is_the_mean_of_the_three() -> None:
    metrics = build().update(clips(noise_frames(4, WINDOW, SIDE)), 0)
    parts = [metrics[f"objective/{n}_loss"] for n in ("return", "action", "reward")]
    torch.testing.assert_close(metrics["objective/loss"], torch.stack(parts).mean())


# Which return is asked for.


def test_the_tilt_by_hand() -> None:
    logits = torch.tensor([[0.0, 1.0, -9.0, 0.5]])
    got = tilted(logits, torch.tensor([2.0, 4.0, 99.0, 6.0]), kappa=4.0, least_probable=0.01)
    torch.testing.assert_close(got, torch.tensor([[0.0, 1.0 + 2.0, -torch.inf, 0.5 + 4.0]]))


def test_one_possible_return_is_taken_as_it_is() -> None:
    got = tilted(torch.tensor([[5.0, -20.0]]), torch.tensor([0.0, 1.0]), kappa=10.0, least_probable=0.01)
    assert got.tolist() == [[5.0, -torch.inf]]


def two_tasks(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(frames (B, S, ...), returns (B, S), actions (B, S, 2), task (B,)): red task with returns 0 or 1, blue with 0 or 100; the good
    half of each moves right."""
    generator = torch.Generator().manual_seed(seed)
    task, good = (torch.randint(0, 2, (count,), generator=generator) for _ in range(2))
    frames = torch.zeros(count, WINDOW, SIDE, SIDE, 3, dtype=torch.uint8)
    frames[task == 0, ..., 0], frames[task == 1, ..., 2] = 200, 200
    returns = (good * torch.where(task == 0, 1.0, 100.0))[:, None].expand(-1, WINDOW)
    action = torch.zeros(count, WINDOW, 2)
    action[..., 0] = torch.where(good > 0, STEP, -STEP)[:, None]
    return frames, returns, action, task


@cache
def trained() -> MultiTaskDT:
    objective = build(optim=replace(FAST, learning_rate=3e-3))
    for step in range(160):
        frames, returns, action, task = two_tasks(32, step)
        batch = clips(frames, return_to_go=returns, action=action, task=task, key=100 * step)
        objective.update(batch, step)
    return objective


def first_steps() -> tuple[Tensor, Tensor, Tokens]:
    frames, _, _, task = two_tasks(400, 99_999)
    blank = Tokens(
        torch.zeros(400, 1, dtype=torch.int64),
        torch.zeros(400, 1, 2, dtype=torch.int64),
        torch.zeros(400, 1, dtype=torch.int64),
    )
    return frames[:, :1], task, blank


def test_each_task_is_asked_for_its_own_high_return_and_the_action_follows() -> None:
    frames, task, blank = first_steps()
    token, action = trained().act(frames, blank, torch.arange(400), 0)
    for t, high in ((0, 1), (1, 100)):
        assert (token[task == t] == high).float().mean() > 0.95
    assert (action[:, 0] > 0).float().mean() > 0.95


@torch.no_grad()
def test_a_fixed_target_for_all_tasks_asks_for_what_no_data_has() -> None:
    frames, task, blank = first_steps()
    probability = trained().predict(frames, blank).returns_BSO[:, 0].softmax(-1)
    assert probability[task == 0, 100].max() < 0.01
    assert probability[task == 0, 1].min() > 0.2


@torch.no_grad()
def test_a_tilt_on_the_range_of_all_tasks_hardly_tilts_the_small_one() -> None:
    frames, task, blank = first_steps()
    logits, values = trained().predict(frames, blank).returns_BSO[task == 0, 0], torch.linspace(0, 100, BINS)
    shared = (logits + 10 * values / 100).softmax(-1)
    assert shared[:, 1].mean() < 0.75
    own = tilted(logits, values, 10.0, 0.05).softmax(-1)
    assert own[:, 1].min() > 0.99


def test_draws_belong_to_their_key_and_step() -> None:
    objective, (frames, _, blank) = build(kappa=0.0, least_probable=1e-6), first_steps()
    draw = lambda key, step: objective.act(frames[:20], Tokens(*(p[:20] for p in blank)), key, step)[0]  # noqa: E731
    keys = torch.arange(20)
    assert torch.equal(draw(keys, 0), draw(keys, 0))
    assert not torch.equal(draw(keys, 0), draw(keys, 1))
    assert not torch.equal(draw(keys, 0), draw(keys + 100, 0))
    assert not blank.returns_BS.any(), "what was given stays as it was"


def test_the_range_is_that_of_the_labels_unless_it_is_given() -> None:
    assert MultiTaskDTConfig().range() == pytest.approx((-25.0, 10.0))
    assert MultiTaskDTConfig(returns=(0.0, 3.0)).range() == (0.0, 3.0)
    with pytest.raises(UserError, match="cannot be told from stored rewards"):
        build(returns=None, reward=RewardLabel(source="stored"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"window": 0}, "window is 0; give at least 1"), ({"return_bins": 1}, "return_bins is 1; give at least 2"),
        ({"kappa": -1.0}, "kappa -1.0"), ({"least_probable": 0.0}, "least_probable 0.0"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        MultiTaskDTConfig(**options)


def test_a_range_upside_down_is_refused() -> None:
    with pytest.raises(UserError, match=r"is 3.0 to 3.0; give the least and the largest"):
        MultiTaskDTConfig(returns=(3.0, 3.0)).range()
