"""Decision Transformer: what may and may not reach an action, returns to the episode's end, and acting as training saw it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from robot_pt.clips import Clips
from robot_pt.errors import UserError
from robot_pt.objectives.decision_transformer import DecisionTransformer, DecisionTransformerConfig, Told, action_loss
from robot_pt.rewards import sum_to_end
from tests.core.conftest import build as memory_source
from tests.objectives.clip_batch import clips, noise_frames
from tests.objectives.toy_moves import BOUNDS, ENCODER, FAST, SIDE, SPEC, STEP

WINDOW = 4


def build(**options: Any) -> DecisionTransformer:
    config = DecisionTransformerConfig(
        **({"window": WINDOW, "layers": 2, "width": 32, "augment": None, "optim": FAST} | options)
    )
    return DecisionTransformer.build(
        SPEC, image_size=(SIDE, SIDE), task_slots=3, encoder=ENCODER, config=config, bounds=BOUNDS
    )


def inputs(batch: int = 3, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "frames_BSHWC": noise_frames(batch, WINDOW, SIDE, seed), "return_BS": torch.rand(batch, WINDOW, generator=generator),
        "action_BSA": 2 * torch.rand(batch, WINDOW, 2, generator=generator) - 1,
        "step_BS": torch.arange(WINDOW).repeat(batch, 1) + 5, "task_B": torch.arange(batch) % 3,
    }  # fmt: skip


# What an action may know.


@pytest.mark.parametrize("t", range(WINDOW))
def test_an_action_and_what_follows_it_do_not_change_its_prediction(t: int) -> None:
    objective, given_ = build(), inputs()
    with torch.no_grad():
        before = objective.predict(**given_)
        for name in ("action_BSA", "frames_BSHWC", "return_BS", "step_BS"):
            first = t if name == "action_BSA" else t + 1
            changed = given_[name].clone()
            changed[:, first:] = (
                17 - changed[:, first:] if name in ("frames_BSHWC", "step_BS") else 1 - changed[:, first:]
            )
            after = objective.predict(**{**given_, name: changed})
            assert torch.equal(after[:, : t + 1], before[:, : t + 1]), name
            if name == "action_BSA" and t + 1 < WINDOW:
                assert not torch.equal(after[:, t + 1], before[:, t + 1]), "the past is read"


@pytest.mark.parametrize("name", ["return_BS", "frames_BSHWC", "step_BS"])
def test_what_belongs_to_the_step_is_read(name: str) -> None:
    objective, given_ = build(), inputs()
    changed = given_[name].clone()
    changed[:, 2] = 17 - changed[:, 2] if changed.dtype != torch.float32 else 1 - changed[:, 2]
    with torch.no_grad():
        before, after = objective.predict(**given_), objective.predict(**{**given_, name: changed})
    assert torch.equal(after[:, :2], before[:, :2])
    assert not torch.equal(after[:, 2], before[:, 2])


def test_the_action_token_knows_the_action_so_reading_from_it_is_a_leak() -> None:
    objective, given_ = build(), inputs()
    seen: list[Tensor] = []
    objective.gpt.after.register_forward_hook(lambda _, __, out: seen.append(out))
    changed = given_["action_BSA"].clone()
    changed[:, 1] *= -1
    with torch.no_grad():
        found = objective.predict(**given_)
        objective.predict(**{**given_, "action_BSA": changed})
        read = lambda out, place: objective.gpt.head(out[:, place::3]).tanh()[:, 1]  # noqa: E731
        assert torch.equal(found[:, 1], read(seen[0], 1))
        assert torch.equal(read(seen[0], 1), read(seen[1], 1))
        assert not torch.equal(read(seen[0], 2), read(seen[1], 2))


def test_without_the_causal_mask_the_future_leaks() -> None:
    objective, given_ = build(), inputs()
    attend = torch.nn.functional.scaled_dot_product_attention
    changed = given_["action_BSA"].clone()
    changed[:, 1:] *= -1
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            torch.nn.functional, "scaled_dot_product_attention", lambda q, k, v, is_causal=False: attend(q, k, v)
        )
        one, other = (objective.predict(**{**given_, "action_BSA": a}) for a in (given_["action_BSA"], changed))
    assert not torch.equal(one[:, 1], other[:, 1])


def test_the_timestep_is_the_same_for_the_three_tokens_of_a_step_and_its_last_one_is_shared() -> None:
    objective, given_ = build(longest=8), inputs()
    seen: list[Tensor] = []
    objective.gpt.before.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        objective.predict(**given_)
        objective.predict(
            **{**given_, "step_BS": given_["step_BS"] + 2}
        )  # 5 6 7 8 and 7 8 9 10, of which 7 is the last
        time = objective.gpt.embed_time.weight
        moved = (seen[1] - seen[0]).unflatten(1, (WINDOW, 3))
    for s, (before, after) in enumerate(zip((5, 6, 7, 7), (7, 7, 7, 7), strict=True)):
        want = (time[after] - time[before]).expand(3, 3, -1)
        torch.testing.assert_close(moved[:, s], want, atol=1e-6, rtol=0)


def test_the_loss_in_numpy_leaves_out_what_lies_beyond_the_episode() -> None:
    rng = np.random.default_rng(0)
    found, action, valid = rng.normal(size=(4, 5, 2)), rng.normal(size=(4, 5, 2)), rng.random((4, 5)) < 0.6
    want = np.square(found - action).mean(-1)[valid].mean()
    assert float(action_loss(*(torch.from_numpy(x) for x in (found, action, valid)))) == pytest.approx(want)


# Returns.


@settings(max_examples=60)
@given(st.lists(st.tuples(st.floats(-5, 5, width=32), st.booleans()), min_size=1, max_size=12))
def test_sums_to_the_end_stop_at_the_first_terminal_step(steps: list[tuple[float, bool]]) -> None:
    reward, terminal = np.array([r for r, _ in steps], np.float32), np.array([t for _, t in steps])
    got = sum_to_end(reward, terminal)
    for t in range(len(steps)):
        end = next((k for k in range(t, len(steps)) if terminal[k]), len(steps) - 1)
        assert got[t] == pytest.approx(float(reward[t : end + 1].astype(np.float64).sum()), rel=1e-5, abs=1e-5)


def test_windows_stay_in_their_episode_and_returns_reach_to_its_end() -> None:
    source, config = memory_source([9, 3, 7], success=[1, 1, 0]), DecisionTransformerConfig(window=WINDOW)
    plan = build().plan
    batches = Clips(
        [source], [1.0], plan, cameras=["primary"], image_size=(4, 4), batch_size=64, seed=0, actions=True,
        reward=config.reward, gamma=config.gamma,
    )  # fmt: skip
    for number in range(3):
        batch = batches.batch(number)
        row = batch.images["primary"][..., 0, 0, 0].astype(int)
        owner = np.repeat(np.arange(3), [9, 3, 7])[row]
        assert (owner == batch.episode[:, None]).all()
        np.testing.assert_array_equal(
            batch.return_to_go, np.where(batch.episode[:, None] < 2, 1.0, 0.0) * np.ones((64, WINDOW))
        )
        far = (batch.episode == 0) & (batch.step[:, -1] < 8)
        assert far.any()
        assert (batch.reward[far].sum(1) == 0).all(), "a sum over the window would ask for 0 here"


def modes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """(returns (B,), actions (B, S, 2)): right in episodes that will succeed, left in those that will not; the frames are all alike."""
    good = torch.rand(count, generator=torch.Generator().manual_seed(seed)) < 0.5
    action = torch.zeros(count, WINDOW, 2)
    action[..., 0] = torch.where(good, STEP, -STEP)[:, None]
    return good.float(), action


def asked_for(objective: DecisionTransformer, value: float) -> float:
    """Share of right moves at the first step, where no earlier action tells."""
    episodes = [Told(value) for _ in range(40)]
    moves = []
    for i, episode in enumerate(episodes):
        episode.see(torch.full((SIDE, SIDE, 3), 90 + i, dtype=torch.uint8))
        moves.append(objective.act(episode, task=0)[0])
    return float((torch.stack(moves) > 0).float().mean())


def trained(label: Callable[[Tensor], Tensor]) -> DecisionTransformer:
    objective = build()
    for step in range(120):
        good, action = modes(32, seed=step)
        frames = torch.full((32, WINDOW, SIDE, SIDE, 3), 110, dtype=torch.uint8)
        told = label(good)[:, None].expand(-1, WINDOW)
        objective.update(clips(frames, action=action, return_to_go=told, key=100 * step), step)
    return objective


def test_the_return_that_is_asked_for_picks_the_mode() -> None:
    objective = trained(lambda good: good)
    assert asked_for(objective, 1.0) >= 0.95
    assert asked_for(objective, 0.0) <= 0.05


def test_a_return_that_stops_at_the_window_cannot_pick() -> None:
    """The success lies beyond these windows: their own sums are 0 for both modes."""
    objective = trained(torch.zeros_like)
    assert not (asked_for(objective, 1.0) >= 0.95 and asked_for(objective, 0.0) <= 0.05)


# Acting.


def test_acting_shows_the_transformer_what_training_would_have() -> None:
    """Frames, returns left, actions and step numbers of every window of an episode, against its columns."""
    length = 11
    frames, rng = noise_frames(1, length, SIDE)[0], np.random.default_rng(0)
    action = torch.from_numpy(rng.uniform(-8, 8, (length, 2)).astype(np.float32))
    reward = rng.integers(0, 3, length).astype(np.float32)
    returns = sum_to_end(reward, np.zeros(length, bool))
    objective, episode = build(), Told(float(returns[0]))
    seen: list[Any] = []
    objective.gpt.register_forward_pre_hook(lambda _, args: seen.append(args))
    for t in range(length):
        episode.see(frames[t])
        objective.act(episode, task=2)
        episode.did(action[t], float(reward[t]))
    for t, (_, return_BS, action_BSA, step_BS, task_B) in enumerate(seen):
        window = slice(max(0, t + 1 - WINDOW), t + 1)
        np.testing.assert_allclose(return_BS[0], returns[window], atol=1e-5)
        np.testing.assert_array_equal(step_BS[0], np.arange(length)[window])
        torch.testing.assert_close(action_BSA[0, :-1], objective.gpt.normalizer.encode(action)[window][:-1])
        assert task_B.tolist() == [2]
    wrong = returns - np.concatenate([reward[:1], reward[:-1]])
    assert not np.allclose(wrong[1:4], returns[1:4])


def test_discounted_returns_grow_back_by_the_discount() -> None:
    episode, gamma = Told(2.0, gamma=0.5), 0.5
    for reward in (1.0, 0.0, 0.5):
        episode.see(torch.zeros(1, 1, 3, dtype=torch.uint8))
        episode.did(torch.zeros(2), reward)
    assert episode.returns == [2.0, (2.0 - 1.0) / gamma, 4.0]


def test_an_action_answers_exactly_one_frame() -> None:
    episode, frame = Told(1.0), torch.zeros(1, 1, 3, dtype=torch.uint8)
    with pytest.raises(UserError, match="call see first"):
        episode.did(torch.zeros(2), 0.0)
    episode.see(frame)
    with pytest.raises(UserError, match="call did before"):
        episode.see(frame)


@pytest.mark.parametrize(
    ("options", "says"),
    [({"window": 0}, "window is 0"), ({"return_scale": 0.0}, "return_scale is 0.0"), ({"heads": 0}, "heads is 0")],
)
def test_settings_that_cannot_be(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        DecisionTransformerConfig(**options)
