import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.clips import Around, Clips, Later
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.language import sentence_features
from robot_pt.rewards import RewardLabel, return_to_go
from robot_pt.tasks import TaskTable

SETTINGS = {"cameras": ["primary"], "image_size": (4, 4), "batch_size": 16, "seed": 1}
NO_ACTIONS = {"action_names": (), "proprio_names": ()}


def video(memory_source, lengths):
    """Frames alone: no column of actions or proprio has a width."""
    source = memory_source(lengths, **NO_ACTIONS)
    source.proprio, source.actions = source.proprio[:, :0], source.actions[:, :0]
    return source


def rows_of(batch):
    return batch.images["primary"][:, :, 0, 0, 0].astype(int)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=5), st.lists(st.integers(-6, 6), min_size=1, max_size=6),
    st.integers(0, 50),
)  # fmt: skip
def test_clips_stay_in_their_episode_and_say_what_was_clamped(memory_source, lengths, offsets, number):
    source = memory_source(lengths)
    clips = Clips([source], [1.0], Around(offsets), **SETTINGS)
    _, episode, wanted = clips.draw(number)
    batch = clips.batch(number)
    length = np.array(lengths)[batch.episode][:, None]
    np.testing.assert_array_equal(batch.episode, episode)
    np.testing.assert_array_equal(np.diff(wanted, axis=1), np.tile(np.diff(offsets), (16, 1)))
    np.testing.assert_array_equal(batch.valid, (wanted >= 0) & (wanted < length))
    np.testing.assert_array_equal(batch.step, np.clip(wanted, 0, length - 1))
    np.testing.assert_array_equal(rows_of(batch), source.episodes.start[batch.episode][:, None] + batch.step)
    np.testing.assert_array_equal(batch.length, length[:, 0])


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.integers(0, 6), st.data())
def test_later_frames_keep_the_gap_that_fits(least, extra, data):
    plan, length = Later(least, least + extra), data.draw(st.integers(1, 12))
    anchor = np.arange(length)
    first, second = plan.steps(np.random.default_rng(data.draw(st.integers(0, 99))), anchor, np.full(length, length)).T
    left = length - 1 - anchor
    np.testing.assert_array_equal(first, anchor)
    assert (second - first >= np.minimum(least, left)).all()
    assert (second - first <= np.minimum(least + extra, left)).all()


def test_gaps_of_later_frames_are_uniform(memory_source):
    clips = Clips([memory_source([30, 20])], [1.0], Later(2, 5), **{**SETTINGS, "batch_size": 4000})
    step, length = clips.batch(0).step, clips.batch(0).length
    far = step[:, 0] < length - 5
    np.testing.assert_allclose(np.bincount(np.diff(step[far])[:, 0], minlength=6)[2:] / far.sum(), 0.25, atol=0.04)


def test_columns_are_those_of_the_frames(memory_source):
    source = memory_source([6, 4, 5], tasks=["lift", "stack", "lift"], success=[1, 0, 1])
    tasks, label = TaskTable.of(["stack", "lift", "other"]), RewardLabel()
    clips = Clips(
        [source], [1.0], Around((-1, 0, 2)), actions=True, task_table=tasks, language_dim=32, reward=label, gamma=0.9,
        **SETTINGS,
    )  # fmt: skip
    batch = clips.batch(3)
    rows = rows_of(batch)
    assert batch.images["primary"].shape == (16, 3, 4, 4, 3)
    np.testing.assert_array_equal(batch.proprio, source.proprio[rows])
    np.testing.assert_array_equal(batch.action, source.actions[rows])
    np.testing.assert_array_equal(batch.task, [tasks[source.episodes.task[e]] for e in batch.episode])
    for b in range(16):
        e = batch.episode[b]
        steps = source.episodes.length[e]
        raw = np.zeros(steps)
        raw[-3:] = source.episodes.success[e]
        np.testing.assert_allclose(batch.reward[b], (11 * raw - 1)[batch.step[b]])
        np.testing.assert_array_equal(batch.terminal[b], (raw > 0)[batch.step[b]])
        tail = {"tail": "terminated"} if raw.any() else {"tail": "sparse_negative"}
        told = return_to_go((11 * raw - 1).astype(np.float32), raw > 0, 0.9, **tail)
        np.testing.assert_allclose(batch.return_to_go[b], told[batch.step[b]])
        np.testing.assert_array_equal(batch.language[b], sentence_features(source.episodes.instruction[e], 32))


def test_anchors_cover_all_steps_uniformly_and_episodes_have_names_of_their_own(memory_source):
    sources = [memory_source([2, 8]), memory_source([10])]
    clips = Clips(sources, [0.5, 0.5], Around((0,)), **{**SETTINGS, "batch_size": 2000})
    batches = [clips.batch(k) for k in range(10)]
    rows = np.concatenate([rows_of(b)[b.source == 0] for b in batches])
    np.testing.assert_allclose(np.bincount(rows[:, 0], minlength=10) / 10_000, 0.1, atol=0.02)
    for batch in batches:
        np.testing.assert_array_equal(batch.episode == 2, batch.source == 1)
        assert set(batch.episode) == {0, 1, 2}


@pytest.mark.parametrize("plan", [Around((0, 3)), Later(1, 4)])
def test_processes_together_see_the_batch_of_one_and_ratios_hold(memory_source, plan):
    sources = [memory_source([20]), memory_source([9])]
    whole = Clips(sources, [0.75, 0.25], plan, **SETTINGS).batch(5)
    parts = [Clips(sources, [0.75, 0.25], plan, rank=r, world_size=2, **SETTINGS).batch(5) for r in range(2)]
    order = np.argsort(np.concatenate([p.sample_key for p in parts]))
    for name in ("valid", "proprio", "reward", "return_to_go", "step", "episode", "source"):
        together = np.concatenate([getattr(p, name) for p in parts])[order]
        np.testing.assert_array_equal(together, getattr(whole, name))
    np.testing.assert_array_equal(np.concatenate([p.images["primary"] for p in parts])[order], whole.images["primary"])
    assert np.bincount(whole.source).tolist() == [12, 4]
    np.testing.assert_array_equal(whole.sample_key, np.arange(80, 96))


def test_ratios_hold_in_the_long_run(memory_source):
    sources = [memory_source([20]), memory_source([9])]
    clips = Clips(sources, [0.97, 0.03], Around((0,)), rounding="long_run", **SETTINGS)
    counts = sum(np.bincount(clips.batch(k).source, minlength=2) for k in range(100))
    assert counts.tolist() == [1552, 48]


def test_a_stopped_iterator_goes_on_with_the_next_clip(memory_source):
    def make(**changes):
        return Clips([memory_source([9, 7])], [1.0], Later(1, 3), **{**SETTINGS, **changes})

    with make() as clips:
        seen = [next(clips) for _ in range(5)]
        state = clips.state()
    with make() as again:
        for batch in seen:
            np.testing.assert_array_equal(next(again).step, batch.step)
        expected = next(again)
    with make() as resumed:
        resumed.load_state(state)
        found = next(iter(resumed))
    np.testing.assert_array_equal(found.images["primary"], expected.images["primary"])
    np.testing.assert_array_equal(found.sample_key, expected.sample_key)
    with pytest.raises(MismatchError, match="seed = 1, now it is 2"):
        make(seed=2).load_state(state)
    with pytest.raises(MismatchError, match="transitions"):
        Clips([memory_source([9, 8])], [1.0], Later(1, 3), **SETTINGS).load_state(state)
    with pytest.raises(DataError, match="next_batch is 'x'"):
        make().load_state({**state, "next_batch": "x"})


def test_a_batch_that_is_kept_is_not_overwritten(memory_source):
    with Clips([memory_source([9, 7])], [1.0], Around((0, 1)), threads=2, **SETTINGS) as clips:
        kept = next(clips)
        before = kept.images["primary"].copy()
        for _ in range(20):
            next(clips)
        np.testing.assert_array_equal(kept.images["primary"], before)


def test_video_has_columns_of_no_width_and_goes_together_with_robot_data(memory_source):
    robot, film = memory_source([6]), video(memory_source, [5])
    batch = Clips([robot, film], [0.5, 0.5], Around((0, 1)), **SETTINGS).batch(0)
    assert batch.action.shape == batch.proprio.shape == (16, 2, 0)
    assert batch.language.shape == (16, 0)
    assert set(batch.source) == {0, 1}
    with pytest.raises(DataError, match="toy data has no actions"):
        Clips([robot, film], [0.5, 0.5], Around((0,)), actions=True, **SETTINGS)
    other = memory_source([6], proprio_names=("u",) * 7)
    assert Clips([robot, other], [0.5, 0.5], Around((0,)), **SETTINGS).batch(0).step.shape == (16, 1)
    with pytest.raises(MismatchError, match="proprio_names differ"):
        Clips([robot, other], [0.5, 0.5], Around((0,)), actions=True, **SETTINGS)


def test_senseless_requests_are_refused(memory_source):
    source, plan = memory_source(), Around((0,))
    with pytest.raises(UserError, match="at least one offset"):
        Around(())
    for gaps in ((3, 2), (0, 2)):
        with pytest.raises(UserError, match="1 <= least gap <= most"):
            Later(*gaps)
    with pytest.raises(UserError, match="mixing ratios"):
        Clips([source], [0.5], plan, **SETTINGS)
    with pytest.raises(UserError, match="1 sources need as many"):
        Clips([source], [0.5, 0.5], plan, **SETTINGS)
    with pytest.raises(MismatchError, match="camera 'wrist'"):
        Clips([source], [1.0], plan, **{**SETTINGS, "cameras": ["wrist"]})
    with pytest.raises(MismatchError, match="task 'lift' of the toy data has no slot"):
        Clips([source], [1.0], plan, task_table=TaskTable.of(["stack"]), **SETTINGS)
    empty = memory_source()
    empty.episodes = empty.episodes.select(np.zeros(0, np.int64))
    with pytest.raises(DataError, match="no step to draw from"):
        Clips([empty], [1.0], plan, **SETTINGS)
    source.actions[3] = np.nan
    with pytest.raises(DataError, match="NaN"):
        Clips([source], [1.0], plan, **SETTINGS)
