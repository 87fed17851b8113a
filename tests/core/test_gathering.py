"""Windows of steps from a replay: consecutive, of one episode, and the same whoever draws them."""

import numpy as np
import pytest

from robot_pt.errors import UserError
from robot_pt.replay import Replay, take, to_device
from robot_pt.rewards import RewardLabel
from robot_pt.sources import EpisodeView
from robot_pt.tasks import TaskTable

LENGTHS = (6, 2, 5)


def replay(source, *, window: int | None = 3, **more) -> Replay:
    options = {
        "cameras": ["primary"], "image_size": (8, 8), "batch_size": 12, "reward": RewardLabel(), "gamma": 0.9, "seed": 0,
        "task_table": TaskTable.of(["lift"]), "next_frames": False, "bootstrap": False, "window": window,
    }  # fmt: skip
    return Replay([source], [1.0], **{**options, **more})


def rows_of(batch) -> np.ndarray:
    """(B, S) the source's rows, which its pixels tell."""
    return batch.images["primary"][:, :, 0, 0, 0].astype(int)


def test_a_window_is_the_drawn_step_and_those_after_it_as_far_as_the_episode_goes(memory_source) -> None:
    source = memory_source(LENGTHS)
    episode = np.repeat(np.arange(3), LENGTHS)
    last = np.cumsum(LENGTHS) - 1
    seen = set()
    with replay(source) as batches:
        for batch in take(batches, 20):
            rows = rows_of(batch)
            assert batch.images["primary"].shape == (12, 3, 8, 8, 3)
            assert (batch.proprio.shape, batch.action.shape, batch.valid.shape) == ((12, 3, 7), (12, 3, 7), (12, 3))
            for first, row, valid in zip(rows[:, 0], rows, batch.valid, strict=True):
                end = last[episode[first]]
                np.testing.assert_array_equal(row, np.minimum(first + np.arange(3), end))
                np.testing.assert_array_equal(valid, first + np.arange(3) <= end)
                seen.add(int(first))
            np.testing.assert_array_equal(batch.proprio, source.proprio[rows])
            np.testing.assert_array_equal(batch.action, source.actions[rows])
            assert batch.next_images is batch.images
    assert seen == set(range(sum(LENGTHS))), "every step begins windows"


def test_windows_of_some_episodes_stay_in_them(memory_source) -> None:
    whole = memory_source(LENGTHS)
    part = EpisodeView(whole, whole.episodes.select([2]))
    with replay(part) as batches:
        rows = np.concatenate([rows_of(batch) for batch in take(batches, 5)])
    assert set(rows.flatten().tolist()) == set(range(8, 13))


def test_single_steps_have_no_such_axis_and_windows_of_one_have(memory_source) -> None:
    source = memory_source(LENGTHS)
    with replay(source, window=None) as plain, replay(source, window=1) as ones:
        single, window = next(plain), next(ones)
    assert single.valid is None
    np.testing.assert_array_equal(single.images["primary"], window.images["primary"][:, 0])
    np.testing.assert_array_equal(single.action, window.action[:, 0])
    assert window.valid.all()
    assert to_device(window, "cpu").valid.shape == (12, 1)


def test_two_processes_draw_the_windows_of_one(memory_source) -> None:
    source = memory_source(LENGTHS)
    whole = replay(source).batch(4)
    parts = [replay(source, rank=rank, world_size=2).batch(4) for rank in range(2)]
    for rank, part in enumerate(parts):
        np.testing.assert_array_equal(part.action, whole.action[rank::2])
        np.testing.assert_array_equal(rows_of(part), rows_of(whole)[rank::2])


@pytest.mark.parametrize("options", [{"window": 0}, {"window": 3, "next_frames": True}])
def test_a_senseless_window_is_refused(memory_source, options) -> None:
    with pytest.raises(UserError, match="window of"):
        replay(memory_source(LENGTHS), **options)
