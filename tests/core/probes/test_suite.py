"""Features made to hold one thing and not another: each probe must see what is there and nothing that is not."""

import numpy as np
import pytest

from robot_pt.probes.data import ProbeData, Target
from robot_pt.probes.suite import GALLERY, MEASURES, Folds, order, regression, retrieval, run_probes

EPISODES, STEPS = 24, 20


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    episode = np.repeat(np.arange(EPISODES), STEPS)
    step = np.tile(np.arange(STEPS), EPISODES)
    where = rng.uniform(-0.1, 0.1, (EPISODES, 3))[episode] + [[0.0, 0.0, 0.05]] * (step[:, None] > 12)
    task = episode % 2
    rows = np.arange(len(episode))
    first = rng.integers(0, STEPS - 6, (EPISODES, 8))
    pairs = (
        np.stack([first, first + rng.integers(3, 6, first.shape)], axis=-1)
        + (STEPS * np.arange(EPISODES))[:, None, None]
    )
    return ProbeData(
        rows=rows, episode=episode, task=task, pairs=pairs.reshape(-1, 2), pair_episode=np.repeat(np.arange(EPISODES), 8),
        targets=(
            Target(name="object", values=where + task[:, None], known=np.ones(len(rows), bool), unit="mm", factor=1000.0),
            Target(name="gripper", values=(step > 12)[:, None].astype(float), known=np.ones(len(rows), bool), unit="of the opening"),
        ),
    )  # fmt: skip


def noise(count, width=12, seed=1):
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def regress(target, x, data):
    known = target.known
    return regression(
        target.name, target.values[known], Folds(x[known], data.episode[known], data.task[known]), target.factor
    )


def match(x, other, episode):
    return retrieval(other, Folds(x, episode, np.zeros(len(episode), np.int64)))


def test_features_that_hold_the_position_give_it_away(data):
    mixed = data.targets[0].values @ np.random.default_rng(2).normal(size=(3, 12)) + 1e-3 * noise(len(data.rows))
    found = regress(data.targets[0], mixed.astype(np.float32), data)
    assert found["object R2"].value > 0.99
    assert found["object error"].value < 5  # mm
    assert found["object R2"].interval.low <= found["object R2"].value <= found["object R2"].interval.high


def test_features_of_nothing_explain_nothing(data):
    found = regress(data.targets[0], noise(len(data.rows)), data)
    assert -0.5 < found["object R2"].value < 0.05


def test_telling_the_tasks_apart_is_worth_nothing_and_not_needed(data):
    """Targets of the two tasks lie a metre apart: a feature that names the task would explain 99 % of all variance, and none within."""
    names = np.concatenate([data.task[:, None].astype(np.float32), noise(len(data.rows), 3)], axis=1)
    assert regress(data.targets[0], names, data)["object R2"].value < 0.05
    within = (data.targets[0].values - data.task[:, None]).astype(np.float32)  # the same place for both tasks
    assert regress(data.targets[0], within, data)["object R2"].value > 0.99


def test_an_error_in_millimetres_is_the_distance(data):
    """Constant features predict the mean of the task: the error is the mean distance to it."""
    target = data.targets[0]
    found = regress(target, np.zeros((len(data.rows), 2), np.float32), data)
    centre = np.stack([target.values[data.task == t].mean(0) for t in (0, 1)])[data.task]
    centre = np.linalg.norm(target.values - centre, axis=1).mean() * 1000
    assert found["object error"].value == pytest.approx(centre, rel=0.15)


def test_what_never_moves_has_no_variance_to_explain(data):
    still = Target(name="tool", values=np.zeros((len(data.rows), 3)), known=np.ones(len(data.rows), bool), unit="mm")
    assert set(regress(still, noise(len(data.rows)), data)) == {"tool error"}


def test_steps_whose_truth_is_unknown_are_left_out(data):
    target = data.targets[0]
    known = data.episode < 16
    values = np.where(known[:, None], target.values, 1e6)
    found = regress(
        Target(name="object", values=values, known=known, unit="mm", factor=1000.0), values.astype(np.float32), data
    )
    assert found["object R2"].value > 0.99


def test_a_clock_in_the_features_orders_frames_and_noise_does_not(data):
    step = (data.rows % STEPS)[:, None].astype(np.float32)
    clock = np.concatenate([step, noise(len(step), 5)], axis=1)
    late, early = data.pairs[:, 1], data.pairs[:, 0]
    assert order(clock[late] - clock[early], data.pair_episode).value > 0.95
    blind = noise(len(step))
    found = order(blind[late] - blind[early], data.pair_episode)
    assert found.value == pytest.approx(0.5, abs=0.12)


def test_another_camera_is_matched_by_what_both_see(data):
    seen = noise(len(data.rows), 8, seed=5)
    other = seen @ np.random.default_rng(6).normal(size=(8, 10)).astype(np.float32)  # the same in other coordinates
    assert match(seen, other, data.episode).value > 0.9
    assert match(seen, noise(len(data.rows), 10, seed=7), data.episode).value < 4 / GALLERY


def test_too_few_frames_for_a_gallery_give_no_number(data):
    few = data.episode < 8
    assert match(noise(few.sum()), noise(few.sum(), seed=3), data.episode[few]) is None


def test_all_measures_come_named_and_in_order(data):
    x = noise(len(data.rows), 8)
    found = run_probes(data, lambda rows: x[rows], units=8, other=lambda rows: x[rows])
    assert list(found) == [name for name in MEASURES if name in found]
    assert {"object R2", "object error", "gripper R2", "order", "retrieval", "rank", "dormant"} <= set(found)
    assert found["retrieval"].value > 0.9
    assert found["rank"].value == pytest.approx(8, abs=0.3)
    assert all(m.interval.low <= m.value + 1e-9 and m.value <= m.interval.high + 1e-9 for m in found.values())
    assert "retrieval" not in run_probes(data, lambda rows: x[rows], units=8)
