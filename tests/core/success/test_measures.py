"""Counts against hand-made tables and a slow independent count; thresholds; calibration."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.errors import UserError
from robot_pt.intervals import wilson
from robot_pt.success import measures
from robot_pt.success.training import balanced_loss, calibrate

P = np.array([0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1])
Y = np.array([1, 1, 0, 1, 0, 1, 0, 0], bool)


def test_counts_by_hand() -> None:
    counts = measures.count(P, Y, 0.5)
    assert counts == (3, 1, 1, 3)
    assert (counts.precision, counts.recall, counts.f1) == (0.75, 0.75, 0.75)
    assert counts.precision_interval == wilson(3, 4)
    assert measures.count(P, Y, 0.85).recall == 0.25
    assert measures.count(P, Y, 0.7) == (2, 1, 2, 3)  # at the threshold counts


def test_nothing_called_or_nothing_true_has_no_share() -> None:
    none = measures.count(P, Y, 1.0)
    assert (none.precision, none.recall, none.f1) == (None, 0.0, 0.0)
    empty = measures.count(P, ~Y & Y, 0.95)
    assert (empty.recall, empty.f1, empty.recall_interval) == (None, None, None)
    assert empty.to_json()["precision_95"] is None


items = st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), st.booleans()), min_size=1, max_size=40)


@given(items)
def test_the_curve_is_every_table_some_threshold_gives(values: list[tuple[float, bool]]) -> None:
    probability, label = np.array([p for p, _ in values]), np.array([y for _, y in values])
    points = measures.curve(probability, label)
    assert [p.threshold for p in points] == sorted(set(probability.tolist()), reverse=True)
    for point in points:
        called = [p >= point.threshold for p, _ in values]
        assert point.counts.true_positive == sum(c and y for c, (_, y) in zip(called, values, strict=True))
        assert point.counts == measures.count(probability, label, point.threshold)
        assert sum(point.counts) == len(values)


@given(items, st.floats(0, 1))
def test_the_least_threshold_reaches_the_precision_and_no_lower_one_does(values, wanted: float) -> None:
    probability, label = np.array([p for p, _ in values]), np.array([y for _, y in values])
    reaching = [
        t for t in set(probability.tolist()) if (measures.count(probability, label, t).precision or 0) >= wanted - 1e-12
    ]
    if not reaching:
        with pytest.raises(UserError, match="no threshold reaches a precision"):
            measures.least_threshold(probability, label, wanted)
        return
    chosen = measures.least_threshold(probability, label, wanted)
    assert measures.count(probability, label, chosen) == measures.count(probability, label, min(reaching))
    lower = [t for t in set(probability.tolist()) if t < min(reaching)]
    assert max(lower, default=-1.0) < chosen <= min(reaching)


def test_thresholds_by_hand() -> None:
    assert measures.least_threshold(P, Y, 0.75) == pytest.approx(0.5)  # between 0.6, called, and 0.4
    assert measures.least_threshold(P, Y, 1.0) == pytest.approx(0.75)
    assert measures.best_f1(P, Y) == pytest.approx(0.25)  # 4 of 6 called: F1 0.8
    assert measures.best_f1(P[:1], Y[:1]) == pytest.approx(0.45)
    with pytest.raises(UserError, match=r"the best is 0\.500"):
        measures.least_threshold(P[2:4], np.array([False, True]), 0.9)
    with pytest.raises(UserError, match="no positive frame"):
        measures.best_f1(P, Y & ~Y)
    for bad in (-0.1, 1.1, float("nan")):
        with pytest.raises(UserError, match="from 0 to 1"):
            measures.least_threshold(P, Y, bad)


def test_brier_and_calibration_by_hand() -> None:
    assert measures.brier(np.array([1.0, 0.0]), np.array([True, False])) == 0
    assert measures.brier(np.array([0.5, 0.5]), np.array([True, False])) == 0.25
    assert measures.calibration_error(np.array([0.55] * 20), np.arange(20) < 11) == pytest.approx(0.0)
    assert measures.calibration_error(np.array([0.95] * 4), np.zeros(4, bool)) == pytest.approx(0.95)


def test_calibration_undoes_a_known_distortion() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 20_000)
    label = rng.random(20_000) < 1 / (1 + np.exp(-true))
    scale, offset = calibrate(5 * true + 3, label)
    assert scale == pytest.approx(0.2, rel=0.05)
    assert offset == pytest.approx(-0.6, abs=0.06)


def test_calibration_of_what_is_told_apart_without_error_stays_finite_and_keeps_order() -> None:
    logit, label = np.array([-3.0, -2.0, 2.0, 3.0]), np.array([False, False, True, True])
    scale, offset = calibrate(logit, label)
    p = 1 / (1 + np.exp(-(scale * logit + offset)))
    assert np.isfinite([scale, offset]).all()
    assert (np.diff(p) > 0).all()
    assert 0.6 < p[-1] < 0.95  # two of two are no certainty
    scale, _ = calibrate(-logit, label)
    assert scale == 0.01


def test_balanced_loss_weighs_classes_alike() -> None:
    label = np.array([True] + [False] * 9)
    assert balanced_loss(np.zeros(10), label) == pytest.approx(np.log(2))
    one = balanced_loss(np.where(label, -5.0, -5.0), label)
    assert one == pytest.approx((np.log1p(np.exp(5)) + np.log1p(np.exp(-5))) / 2)
