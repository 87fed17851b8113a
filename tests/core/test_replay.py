import gc
import json
import threading

import numpy as np
import pytest
import torch

from robot_pt.buffers import BufferPool
from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt.language import sentence_features
from robot_pt.replay import Replay, episode_batches, take, to_device
from robot_pt.rewards import RewardLabel
from robot_pt.schema import FAILURE, SUCCESS, Batch
from robot_pt.tasks import TaskTable

TABLE = TaskTable.of(["lift", "stack"])


def replay(sources, ratios=(1.0,), **changes):
    settings = {
        "cameras": ["primary"], "image_size": (4, 4), "batch_size": 16, "reward": RewardLabel(), "gamma": 0.9,
        "task_table": TABLE, "seed": 1,
    }  # fmt: skip
    return Replay(sources, ratios, **{**settings, **changes})


def same(one: Batch, two: Batch) -> bool:
    def flat(batch):
        return [v for field in batch for v in (field.values() if isinstance(field, dict) else [field])]

    return all(np.array_equal(a, b) for a, b in zip(flat(one), flat(two), strict=True))


def test_a_batch_is_what_its_rows_say(memory_source):
    source = memory_source([6, 4, 5], success=[SUCCESS, FAILURE, SUCCESS], tasks=["lift", "stack", "lift"])
    with replay([source], language_dim=32) as batches:
        batch = next(batches)
    row = batch.images["primary"][:, 0, 0, 0].astype(int)
    following = batch.next_images["primary"][:, 0, 0, 0].astype(int)
    owner = np.repeat(np.arange(3), source.episodes.length)
    assert batch.images["primary"].shape == (16, 4, 4, 3)
    np.testing.assert_array_equal(batch.proprio, source.proprio[row])
    np.testing.assert_array_equal(batch.next_proprio, source.proprio[following])
    np.testing.assert_array_equal(batch.action, source.actions[row])
    np.testing.assert_array_equal(batch.next_action, source.actions[following])
    np.testing.assert_array_equal(batch.task, [1 if owner[r] == 1 else 0 for r in row])
    np.testing.assert_array_equal(
        batch.language[0], sentence_features(f"please {source.episodes.task[owner[row[0]]]}", 32)
    )
    alive = batch.discount > 0
    np.testing.assert_array_equal(following[alive], row[alive] + 1)
    np.testing.assert_array_equal(batch.reward == 10, ~alive)
    assert 9 not in row, "the failed episode's last step has nothing to bootstrap from"
    assert [a.dtype for a in (batch.reward, batch.discount, batch.return_to_go, batch.action)] == [np.float32] * 4
    assert [a.dtype for a in (batch.task, batch.sample_key, batch.source)] == [np.int64] * 3


def test_ratios_hold_in_every_batch_and_every_sample_knows_its_source(memory_source):
    sources = [memory_source([20], tasks=["lift"]), memory_source([9], tasks=["stack"])]
    with replay(sources, [0.9, 0.1], batch_size=64) as batches:
        for batch in take(batches, 5):
            assert np.bincount(batch.source).tolist() == [57, 7]
            np.testing.assert_array_equal(batch.task, batch.source)


def test_sampling_is_uniform_over_transitions(memory_source):
    batches = replay([memory_source([3, 30])], batch_size=1000)
    rows = np.concatenate([batches.parts[0].transitions.row[batches.draw(k)[1]] for k in range(60)])
    share = np.bincount(rows, minlength=33) / 60_000
    np.testing.assert_allclose(share[[2, 32]], 0)
    np.testing.assert_allclose(np.delete(share, [2, 32]), 1 / 31, atol=0.004)


def test_weights_are_given_per_step_of_the_source(memory_source):
    weights = np.zeros(15)
    weights[[1, 7]] = 1, 3
    batches = replay([memory_source()], batch_size=4000, weights=[weights])
    rows = batches.parts[0].transitions.row[batches.draw(0)[1]]
    assert set(rows) == {1, 7}
    assert (rows == 7).mean() == pytest.approx(0.75, abs=0.03)


def test_resume_continues_with_the_very_next_sample(memory_source):
    source = memory_source()
    with replay([source]) as first:
        take(first, 3)
        state = json.loads(json.dumps(first.state()))
        want = take(first, 4)
    assert len(json.dumps(state)) < 200
    with replay([source], threads=1, prefetch=1) as second:
        next(second)  # whatever was already under way is dropped
        second.load_state(state)
        got = take(second, 4)
    assert all(same(a, b) for a, b in zip(want, got, strict=True))


def test_another_seed_gives_other_samples(memory_source):
    with replay([memory_source()]) as one, replay([memory_source()], seed=2) as two:
        assert not same(next(one), next(two))


@pytest.mark.parametrize("change", [{"seed": 2}, {"batch_size": 8}])
def test_a_state_of_other_settings_is_refused(memory_source, change):
    state = replay([memory_source()]).state()
    with pytest.raises(MismatchError, match=next(iter(change))):
        replay([memory_source()], **change).load_state(state)


def test_a_state_of_other_data_or_a_damaged_one_is_refused(memory_source):
    batches = replay([memory_source()])
    with pytest.raises(MismatchError, match="transitions"):
        batches.load_state(replay([memory_source([9])]).state())
    with pytest.raises(DataError, match="next_batch"):
        batches.load_state({**batches.state(), "next_batch": -1})


@pytest.mark.parametrize("world", [2, 4])
def test_processes_together_see_the_batch_of_one(memory_source, world):
    sources = [memory_source([20], tasks=["lift"]), memory_source([9], tasks=["stack"])]
    whole = replay(sources, [0.75, 0.25]).batch(5)
    parts = [replay(sources, [0.75, 0.25], rank=r, world_size=world).batch(5) for r in range(world)]
    order = np.argsort(np.concatenate([p.sample_key for p in parts]))
    for name in ("proprio", "action", "reward", "source", "sample_key"):
        np.testing.assert_array_equal(np.concatenate([getattr(p, name) for p in parts])[order], getattr(whole, name))
    together = np.concatenate([p.images["primary"] for p in parts])[order]
    np.testing.assert_array_equal(together, whole.images["primary"])


def test_sample_keys_count_global_samples(memory_source):
    with replay([memory_source()], batch_size=4) as batches:
        keys = np.concatenate([b.sample_key for b in take(batches, 3)])
    np.testing.assert_array_equal(keys, np.arange(12))


def test_batches_that_are_kept_are_never_overwritten_and_dropped_ones_are_reused(memory_source):
    with replay([memory_source([40])]) as batches:
        kept = take(batches, 6)
        copies = [b.images["primary"].copy() for b in kept]
        first_row = kept[0].images["primary"][0]  # a view keeps its block alive on its own
        value = first_row.copy()
        for k in range(1, 6):
            np.testing.assert_array_equal(kept[k].images["primary"], copies[k])
        del kept
        take(batches, 20)
        blocks = batches.gather.pool.blocks
        for _ in range(100):
            next(batches)
        assert batches.gather.pool.blocks <= blocks + 2
        np.testing.assert_array_equal(first_row, value)


def test_pool_reuses_a_block_only_when_its_last_view_is_gone():
    pool = BufferPool()
    one = pool.take((2, 3))
    view = torch.from_numpy(one)[1]
    one[:] = 7
    del one
    gc.collect()
    pool.take((2, 3))[:] = 1
    assert view.tolist() == [7, 7, 7]
    del view
    gc.collect()
    held = [pool.take((6,)), pool.take((3, 2))]
    assert pool.blocks == 2
    assert len(held) == 2


def test_next_frames_can_be_left_out(memory_source):
    source = memory_source()
    batch = replay([source], next_frames=False, bootstrap=False).batch(0)
    assert len(source.decoded) == 16
    np.testing.assert_array_equal(batch.images["primary"], batch.next_images["primary"])


def test_s_and_next_s_are_decoded_in_one_call(memory_source):
    source, calls = memory_source(), []
    decode = source.images
    source.images = lambda *a: (calls.append(len(a[0])), decode(*a))[1]
    replay([source]).batch(0)
    assert calls == [32]


def test_to_device_gives_tensors_of_the_same_values_and_types(memory_source):
    batch = replay([memory_source()]).batch(0)
    moved = to_device(batch, "cpu")
    assert moved.images["primary"].dtype == torch.uint8
    assert moved.task.dtype == torch.int64
    np.testing.assert_array_equal(moved.action.numpy(), batch.action)
    np.testing.assert_array_equal(moved.next_images["primary"].numpy(), batch.next_images["primary"])


def test_decoding_errors_reach_the_caller_and_close_stops_every_thread(memory_source):
    before = threading.active_count()
    source = memory_source()

    def broken(*_):
        raise DataError("shard 3 record 7 is damaged.")

    source.images = broken
    with replay([source]) as batches, pytest.raises(DataError, match="record 7"):
        next(batches)
    assert threading.active_count() == before


def test_close_in_the_middle_and_go_on(memory_source):
    batches = replay([memory_source()])
    take(batches, 2)
    batches.close()
    want = replay([memory_source()]).batch(2)
    assert same(next(batches), want)
    batches.close()


def test_sources_that_do_not_fit_are_refused(memory_source):
    good = memory_source()
    with pytest.raises(MismatchError, match="camera 'wrist'"):
        replay([good], cameras=["wrist"])
    other = memory_source(proprio_names=("x",))
    other.proprio = other.proprio[:, :1]
    with pytest.raises(MismatchError, match="proprio_names"):
        replay([good, other], [0.5, 0.5])
    with pytest.raises(MismatchError, match="task 'dance'"):
        replay([memory_source(tasks=["dance"] * 3)])
    with pytest.raises(DataError, match="no transition"):
        replay([memory_source([1])])
    with pytest.raises(UserError, match="as many mixing ratios"):
        replay([good], [0.5, 0.5])
    with pytest.raises(UserError, match="sampling weights for 15 steps"):
        replay([good], weights=[np.ones(3)])
    with pytest.raises(UserError, match="threads"):
        replay([good], threads=0)
    assert len(replay([good, memory_source([1])], [1.0, 0.0]).parts) == 2


def test_episodes_come_whole_and_in_order(memory_source):
    source = memory_source([6, 4, 5], success=[SUCCESS, FAILURE, SUCCESS], tasks=["lift", "stack", "lift"])
    source.episodes = source.episodes.select([2, 1])
    episodes = list(
        episode_batches(
            source,
            cameras=["primary"],
            image_size=(4, 4),
            reward=RewardLabel(),
            gamma=0.9,
            task_table=TABLE,
            language_dim=8,
        )
    )
    rows = [b.images["primary"][:, 0, 0, 0].tolist() for b in episodes]
    assert rows == [[10, 11, 12, 13, 14], [6, 7, 8, 9]]
    assert [set(b.task.tolist()) for b in episodes] == [{0}, {1}]
    np.testing.assert_array_equal(episodes[0].reward, [-1, -1, 10, 10, 10])
    np.testing.assert_allclose(episodes[1].return_to_go, -10, rtol=1e-5)
    assert episodes[0].language.shape == (5, 8)
