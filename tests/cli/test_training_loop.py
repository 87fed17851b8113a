"""What a run records of its data: which rows are looked at, and that the limits of a robot are held against them."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.errors import MismatchError
from robot_pt.recipes import loop
from robot_pt.schema import UNKNOWN, EpisodeTable, Spec
from robot_pt.session.readiness import StepLimits, clipping

SPEC = Spec(cameras={"primary": (8, 8)}, embodiment="arm")


def source_of(lengths, dataset, actions, spec=SPEC, gap=0):
    """Episodes with `gap` rows between them that belong to none."""
    count = len(lengths)
    start = np.cumsum([0, *lengths[:-1]]) + gap * np.arange(count)
    texts = [""] * count
    table = EpisodeTable(
        start=start.astype(np.int64), length=np.array(lengths, np.int64), instruction=texts, task=texts, dataset=dataset,
        success=np.full(count, UNKNOWN, np.int8), split=texts, operator=texts,
    )  # fmt: skip
    nothing = np.zeros(len(actions), bool)
    return SimpleNamespace(
        spec=spec, episodes=table, actions=np.asarray(actions, np.float32), proprio=np.zeros((len(actions), 7), np.float32),
        rewards=nothing.astype(np.float32), terminated=nothing, truncated=nothing,
        images=lambda steps, camera, size=None: np.zeros((len(steps), 8, 8, 3), np.uint8),
    )  # fmt: skip


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(0, 5), st.integers(1, 40))
def test_rows_are_of_the_episodes_in_order_and_evenly_spread(lengths, gap, most):
    length = np.array(lengths, np.int64)
    start = np.cumsum(length) - length + gap * np.arange(len(lengths))
    every = [row for s, n in zip(start.tolist(), lengths, strict=True) for row in range(s, s + n)]
    rows = loop.spread_rows(start, length, most).tolist()
    assert len(rows) == min(len(every), most)
    assert rows == sorted(set(rows))
    assert set(rows) <= set(every)
    if len(every) > most:
        apart = np.diff([every.index(row) for row in rows])
        assert len(apart) == 0 or apart.max() - apart.min() <= 1
    else:
        assert rows == every


def test_a_large_source_costs_no_more_than_its_sample():
    length = np.full(1000, 10_000_000, np.int64)  # 1e10 steps, as rows alone 80 GB
    rows = loop.spread_rows(np.cumsum(length) - length, length, 1000)
    assert rows.tolist() == (10_000_000 * np.arange(1000)).tolist()


def test_every_data_set_has_the_lengths_of_its_own_steps_and_rows_of_no_episode_do_not_count():
    actions = np.zeros((2 * 10 + 20 + 2 * 7, 7))
    actions[:10, 0] = 0.03  # a
    actions[10:17] = 9.0  # between episodes
    actions[17:37, 1] = 0.2  # b
    actions[37:44] = 9.0
    actions[44:, :6] = [0, 0, 0.04, 0, 0.3, 0]  # a
    rows = {row["name"]: row for row in loop.trained_on(source_of([10, 20, 10], ["a", "b", "a"], actions, gap=7))}
    assert rows["a"]["steps"] == 20
    assert (rows["a"]["step_lengths"]["m"][0], rows["a"]["step_lengths"]["m"][-1]) == pytest.approx((0.03, 0.04))
    assert (rows["a"]["step_lengths"]["rad"][0], rows["a"]["step_lengths"]["rad"][-1]) == pytest.approx((0, 0.3))
    assert rows["b"]["step_lengths"]["m"] == pytest.approx([0.2] * 1001)


def test_unnamed_data_is_that_of_its_robot_and_an_empty_source_has_no_rows():
    (row,) = loop.trained_on(source_of([3], [""], np.full((3, 7), 0.01)))
    assert row["name"] == "arm"
    assert "step_lengths" in row
    assert loop.trained_on(source_of([], [], np.zeros((0, 7)))) == []
    assert "step_lengths" not in loop.trained_on(source_of([0], ["a"], np.zeros((0, 7))))[0]


@pytest.mark.parametrize(
    "change", [{"action_unit": "normalized"}, {"action_unit": "unknown"}, {"action_names": ("a", "b")}]
)
def test_only_metric_canonical_actions_have_lengths(change):
    source = source_of([3], ["a"], np.full((3, 7), 0.01), spec=replace(SPEC, **change))
    assert loop.trained_on(source) == loop.describe(source)


def test_a_policy_trained_on_longer_steps_than_the_robot_may_make_is_refused():
    actions = np.zeros((1000, 7))
    actions[:20, 2] = 0.08  # 2 % of the steps
    record = SimpleNamespace(data=loop.trained_on(source_of([1000], ["a"], actions)), network={})
    with pytest.raises(
        MismatchError, match=r"2\.\d% of the actions this policy was trained on are longer than the 0\.05 m"
    ):
        clipping(record, StepLimits())
    assert clipping(record, StepLimits(max_step_m=0.1)) == ""
