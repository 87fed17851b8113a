"""Results round-trip through JSON; comparisons demand equal footing."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.errors import DataError, MismatchError
from robot_pt.results import EpisodeResult, Evaluation, compare

names = st.text(max_size=12)
conditions = st.dictionaries(
    names, st.floats(-1, 1) | st.integers(-9, 9) | st.lists(st.floats(-1, 1), max_size=3) | names
)
results = st.builds(
    EpisodeResult,
    seed=st.integers(0, 2**31),
    success=st.booleans(),
    steps=st.integers(1, 400),
    total_reward=st.floats(-1e3, 1e3),
    initial_conditions=conditions,
    policy_version=names,
)


def evaluation(outcomes, *, name="a", task="lift", first=0, poses=True, seed=0):
    made = [
        EpisodeResult(
            seed=first + i, success=s, steps=10 + i, initial_conditions={"cube": [0.1 * i, 0.2]} if poses else {}
        )
        for i, s in enumerate(outcomes)
    ]
    return Evaluation(name=name, task=task, seed=seed, results=tuple(made))


@given(results)
def test_episode_result_survives_json(result):
    assert EpisodeResult.from_json(json.loads(json.dumps(result.to_json()))) == result


@given(st.lists(results, min_size=1, max_size=5, unique_by=lambda r: r.seed), names, names)
def test_evaluation_survives_json_sorted_by_seed(made, name, task):
    made = sorted(made, key=lambda r: r.seed)
    before = Evaluation(name=name, task=task, seed=3, results=tuple(made), settings={"horizon": 60})
    after = Evaluation.from_json(json.loads(json.dumps(before.to_json())))
    assert after == before
    assert after.seeds == sorted(after.seeds)


def test_numpy_values_from_a_simulator_become_plain_json():
    result = EpisodeResult(
        seed=np.int64(3), success=np.bool_(True), steps=np.int32(4), total_reward=np.float32(1.0),
        initial_conditions={"cube": np.array([1.0, 2.0]), "upside_down": np.bool_(False), "size": (np.float64(0.5), 1)},
    )  # fmt: skip
    assert json.loads(json.dumps(result.to_json()))["initial_conditions"] == {
        "cube": [1.0, 2.0], "upside_down": False, "size": [0.5, 1],
    }  # fmt: skip


@pytest.mark.parametrize(
    "change", [{"success": 1}, {"seed": "x"}, {"steps": None}, {"extra": 1}, {"initial_conditions": []}]
)
def test_wrong_fields_are_refused(change):
    good = EpisodeResult(seed=1, success=True, steps=2).to_json()
    with pytest.raises(DataError, match="an episode result has the fields"):
        EpisodeResult.from_json({**good, **change})
    with pytest.raises(DataError):
        EpisodeResult.from_json({k: v for k, v in good.items() if k != next(iter(change))} | {"other": 1})


@pytest.mark.parametrize(
    ("change", "message"),
    [({"kind": "other"}, "not an evaluation log"), ({"schema_version": 9}, "version 9"), ({"task": 3}, "misses")],
)
def test_evaluations_of_another_kind_are_refused(change, message):
    with pytest.raises(DataError, match=message):
        Evaluation.from_json({**evaluation([True]).to_json(), **change})


def test_numbers_of_an_evaluation():
    e = evaluation([True, False, True, True])
    assert (e.n, e.successes, e.rate) == (4, 3, 0.75)
    assert e.summary()["median_steps_to_success"] == 12.0
    assert e.interval.low < 0.75 < e.interval.high
    assert evaluation([False]).summary()["median_steps_to_success"] is None


def test_versions_are_listed_once():
    made = tuple(EpisodeResult(seed=i, success=True, steps=1, policy_version=v) for i, v in enumerate("bab"))
    assert Evaluation(name="x", task="t", seed=0, results=made).policy_versions == ["a", "b"]


def test_compare_reports_difference_and_its_interval():
    c = compare(evaluation([True] * 8 + [False] * 2), evaluation([True] * 3 + [False] * 7, name="b"))
    assert (c.counts.both, c.counts.only_a, c.counts.only_b, c.counts.neither) == (3, 5, 0, 2)
    assert c.difference == pytest.approx(0.5)
    assert c.interval.low < 0.5 < c.interval.high
    assert c.p_value == pytest.approx(2 / 2**5)
    assert c.probability_of_improvement == pytest.approx(1 - 1 / 2**6)
    assert json.loads(json.dumps(c.to_json()))["b"] == "b"


@pytest.mark.parametrize("other", [{"first": 5}, {"task": "door"}])
def test_compare_refuses_other_episodes(other):
    with pytest.raises(MismatchError, match="same --task, --episodes and --seed"):
        compare(evaluation([True, False]), evaluation([True, False], name="b", **other))


def test_compare_refuses_starts_that_differ_under_one_seed():
    moved = Evaluation(
        name="b", task="lift", seed=0,
        results=(EpisodeResult(seed=0, success=True, steps=1, initial_conditions={"cube": [0.5, 0.2]}),),
    )  # fmt: skip
    with pytest.raises(MismatchError, match="seed 0 started differently"):
        compare(evaluation([True]), moved)
    assert compare(evaluation([True]), evaluation([True], name="b", poses=False)).difference == 0


def test_compare_refuses_another_version_of_the_simulator():
    old, new = (replace(evaluation([True]), name=v, settings={"kitchens": v}) for v in ("1", "2"))
    with pytest.raises(MismatchError, match="'1' was played in version 1 of kitchens and '2' in version 2"):
        compare(old, new)
    assert compare(evaluation([True]), new).difference == 0, "one says none"


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        ({"x": 1.0}, {"x": 1.0 + 1e-9}, True),
        ({"x": 1.0}, {"y": 1.0}, False),
        ({"x": [1, 2]}, {"x": [1]}, False),
        ({"x": "red"}, {"x": "red"}, True),
        ({"x": "red"}, {"x": "blue"}, False),
    ],
)
def test_initial_conditions_are_equal_up_to_rounding(a, b, equal):
    def one(conditions, name):
        result = EpisodeResult(seed=0, success=True, steps=1, initial_conditions=conditions)
        return Evaluation(name=name, task="t", seed=0, results=(result,))

    if equal:
        assert compare(one(a, "a"), one(b, "b")).counts.both == 1
    else:
        with pytest.raises(MismatchError):
            compare(one(a, "a"), one(b, "b"))
