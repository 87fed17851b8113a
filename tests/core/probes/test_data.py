import numpy as np
import pytest

from robot_pt.errors import DataError, UserError
from robot_pt.probes.data import FOLDS, GAPS, folds_of, judges_of, object_path, probe_data
from robot_pt.schema import OBJECT_POSITIONS, Episode, Spec
from robot_pt.sources import Concat
from robot_pt.store import DemoStore

SPEC = Spec(cameras={"primary": (16, 16)}, embodiment="toy")


def recorded(tmp_path, lengths=(12,) * 8, objects=True, change=None):
    """A store of episodes whose object lies at (episode, step, 0) metres."""
    store = DemoStore.create(tmp_path, SPEC)
    for e, steps in enumerate(lengths):
        path = [[float(e), float(t), 0.0] for t in range(steps)]
        metadata = {OBJECT_POSITIONS: {"cube": path, "bin": [[0.0, 0.0, 0.0]] * steps}} if objects else {}
        store.append(
            Episode(
                spec=SPEC, images={"primary": np.zeros((steps, 16, 16, 3), np.uint8)},
                proprio=np.full((steps, 7), e, np.float32), actions=np.zeros((steps, 7), np.float32),
                rewards=np.zeros(steps, np.float32), terminated=np.zeros(steps, bool), truncated=np.arange(steps) == steps - 1,
                task=f"task {e % 2}", metadata={**metadata, **(change or {})},
            )
        )  # fmt: skip
    return store.source()


def test_every_step_is_probed_with_its_own_truth(tmp_path):
    data = probe_data(recorded(tmp_path))
    assert len(data.rows) == 96
    assert data.episodes == 8
    found = {t.name: t for t in data.targets}
    np.testing.assert_array_equal(
        found["object"].values, np.stack([data.episode, data.rows % 12, 0 * data.rows], axis=1)
    )
    np.testing.assert_array_equal(found["gripper"].values[:, 0], data.episode)
    assert found["tool"].values.shape == (96, 3)
    assert (found["object"].unit, found["object"].factor) == ("mm", 1000.0)
    np.testing.assert_array_equal(data.task, data.episode % 2)
    assert not data.notes


def test_the_first_object_of_the_recording_is_the_one_after_a_store(tmp_path):
    """The order survives the file: "bin" would come first if names were sorted."""
    path = object_path(recorded(tmp_path), 3)
    np.testing.assert_array_equal(path, [[3, t, 0] for t in range(12)])


def test_sources_end_to_end_are_told_apart(tmp_path):
    both = Concat([recorded(tmp_path / "a"), recorded(tmp_path / "b", lengths=(5, 6))])
    np.testing.assert_array_equal(object_path(both, 9), [[1, t, 0] for t in range(6)])


def test_most_steps_are_spread_over_each_episode(tmp_path):
    data = probe_data(recorded(tmp_path, lengths=(40,) * 8), most=80)
    assert len(data.rows) == 80
    steps = data.rows[data.episode == 2] - 80
    assert (steps[0], steps[-1]) == (0, 39)
    assert np.diff(steps).max() <= 5


def test_pairs_stay_in_their_episode_and_in_order(tmp_path):
    data = probe_data(recorded(tmp_path, lengths=(12, 3, 30, 12, 12, 12, 12, 12)))
    gap = data.pairs[:, 1] - data.pairs[:, 0]
    assert gap.min() >= GAPS[0]
    assert gap.max() <= GAPS[1]
    assert 1 not in data.pair_episode  # three steps hold no such pair
    ends = np.cumsum([12, 3, 30, 12, 12, 12, 12, 12])
    assert (data.pairs[:, 1] < ends[data.pair_episode]).all()
    assert (
        data.pairs[:, 0] >= ends[data.pair_episode] - np.array([12, 3, 30, 12, 12, 12, 12, 12])[data.pair_episode]
    ).all()


def test_folds_and_judges_hold_out_whole_episodes():
    episode = np.repeat(np.arange(10), 7)
    fold = folds_of(episode)
    assert sorted(set(fold)) == list(range(FOLDS))
    for e in range(10):
        assert len(set(fold[episode == e])) == 1
    judge = judges_of(episode)
    assert 0 < judge.sum() < len(judge)
    assert all(len(set(judge[episode == e])) == 1 for e in range(10))


def test_data_without_objects_says_so_and_probes_the_rest(tmp_path):
    data = probe_data(recorded(tmp_path, objects=False))
    assert [t.name for t in data.targets] == ["tool", "gripper"]
    assert "does not say where objects are" in data.notes[0]


def test_a_source_that_records_nothing_beside_its_columns_has_no_objects(memory_source):
    data = probe_data(memory_source([6] * 8))
    assert "object" not in [t.name for t in data.targets]


def test_too_few_episodes_are_refused(memory_source):
    with pytest.raises(UserError, match="at least 8; the data has 7"):
        probe_data(memory_source([6] * 7))


@pytest.mark.parametrize(
    "path", [[[0.0, 0.0, 0.0]], [[0.0, 0.0]] * 12, [[0.0, 0.0, "x"]] * 12, [[0.0, 0.0, 0.0], [1.0]], "nothing", 7]
)
def test_positions_that_do_not_fit_the_episode_are_refused(tmp_path, path):
    source = recorded(tmp_path, change={OBJECT_POSITIONS: {"cube": path}})
    with pytest.raises(DataError, match="recorded with episode 0 have shape"):
        probe_data(source)
