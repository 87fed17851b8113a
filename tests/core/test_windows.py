import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.windows import Pairs, Windows, window_rows

SETTINGS = {"cameras": ["primary"], "image_size": (4, 4), "batch_size": 16, "seed": 1}


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=5), st.lists(st.integers(-6, 6), min_size=1, max_size=6), st.data()
)
def test_windows_stay_in_their_episode_and_say_where_they_were_clamped(memory_source, lengths, offsets, data):
    table = memory_source(lengths).episodes
    e = data.draw(st.integers(0, len(lengths) - 1))
    t = data.draw(st.integers(0, lengths[e] - 1))
    rows, inside = window_rows(table, np.array([e]), np.array([table.start[e] + t]), offsets)
    for offset, row, whole in zip(offsets, rows[0], inside[0], strict=True):
        assert whole == (0 <= t + offset < lengths[e])
        assert row == table.start[e] + min(max(t + offset, 0), lengths[e] - 1)


def test_a_window_holds_what_its_rows_say(memory_source):
    source = memory_source([6, 4, 5], tasks=["lift", "stack", "lift"])
    windows = Windows([source], [1.0], observation_offsets=(-1, 0), action_offsets=range(3), **SETTINGS)
    batch = next(windows)
    windows.batches.close()
    rows = batch.images["primary"][:, :, 0, 0, 0].astype(int)
    assert batch.images["primary"].shape == (16, 2, 4, 4, 3)
    np.testing.assert_array_equal(batch.proprio, source.proprio[rows])
    np.testing.assert_array_equal(batch.action[:, 0], source.actions[rows[:, 1]])
    whole = batch.acted[:, 2]
    np.testing.assert_array_equal(batch.action[whole][:, 2], source.actions[rows[whole, 1] + 2])
    np.testing.assert_array_equal(batch.observed[:, 0], rows[:, 0] == rows[:, 1] - 1)
    assert batch.observed[:, 1].all()
    owner = np.repeat(np.arange(3), source.episodes.length)
    assert batch.task == [source.episodes.task[owner[r]] for r in rows[:, 1]]
    assert batch.instruction == [f"please {t}" for t in batch.task]


def test_windows_cover_all_steps_uniformly(memory_source):
    windows = Windows([memory_source([2, 8])], [1.0], **{**SETTINGS, "batch_size": 2000})
    rows = np.concatenate([windows.batch(k).images["primary"][:, 0, 0, 0, 0] for k in range(5)])
    np.testing.assert_allclose(np.bincount(rows, minlength=10) / 10_000, 0.1, atol=0.02)


@pytest.mark.parametrize("kind", [Windows, Pairs])
def test_processes_together_see_the_batch_of_one_and_ratios_hold(memory_source, kind):
    sources = [memory_source([20]), memory_source([9])]
    whole = kind(sources, [0.75, 0.25], **SETTINGS).batch(5)
    parts = [kind(sources, [0.75, 0.25], rank=r, world_size=2, **SETTINGS).batch(5) for r in range(2)]
    order = np.argsort(np.concatenate([p.sample_key for p in parts]))
    together = np.concatenate([p.images["primary"] for p in parts])[order]
    np.testing.assert_array_equal(together, whole.images["primary"])
    assert np.bincount(whole.source).tolist() == [12, 4]
    np.testing.assert_array_equal(whole.sample_key, np.arange(80, 96))


def test_pairs_are_of_one_episode_and_their_gaps_uniform(memory_source):
    source = memory_source([30, 20])
    pairs = Pairs([source], [1.0], min_gap=2, max_gap=5, **{**SETTINGS, "batch_size": 4000})
    batch = next(pairs)
    pairs.batches.close()
    early, late = (x["primary"][:, 0, 0, 0].astype(int) for x in (batch.images, batch.later_images))
    np.testing.assert_array_equal(late - early, batch.gap)
    np.testing.assert_array_equal(early < 30, late < 30)
    far = ((early < 25) | (early >= 30)) & (early < 45)
    np.testing.assert_allclose(np.bincount(batch.gap[far], minlength=6)[2:] / far.sum(), 0.25, atol=0.04)
    np.testing.assert_array_equal(batch.gap[early == 28], 1)
    np.testing.assert_array_equal(batch.gap[early == 29], 0)


def test_senseless_requests_are_refused(memory_source):
    source = memory_source()
    with pytest.raises(UserError, match="at least one observation"):
        Windows([source], [1.0], observation_offsets=(), **SETTINGS)
    with pytest.raises(UserError, match="min_gap <= max_gap"):
        Pairs([source], [1.0], min_gap=3, max_gap=2, **SETTINGS)
    with pytest.raises(UserError, match="mixing ratios"):
        Pairs([source], [0.5, 0.5], **SETTINGS)
    with pytest.raises(MismatchError, match="camera 'wrist'"):
        Windows([source], [1.0], **{**SETTINGS, "cameras": ["wrist"]})
    with pytest.raises(UserError, match="camera 'wrist'"):
        Pairs([source], [1.0], **{**SETTINGS, "cameras": ["wrist"]})
    source.actions[3] = np.nan
    with pytest.raises(DataError, match="NaN"):
        Windows([source], [1.0], **SETTINGS)
    empty = memory_source()
    empty.episodes = empty.episodes.select(np.zeros(0, np.int64))
    with pytest.raises(DataError, match="no step"):
        Pairs([empty], [1.0], **SETTINGS)
