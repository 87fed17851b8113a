"""Charts put numbers where they belong, in well-formed markup."""

import re
from math import isclose, log10
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt.report.plots import (
    Line,
    bucketed,
    compact,
    curve,
    line_chart,
    nice_ticks,
    outcome_strips,
    percent,
    rate_bars,
    running_mean,
    share_bar,
)
from robot_pt.results import EpisodeResult, Evaluation


def evaluation(outcomes, name="ptr", first=0):
    made = tuple(EpisodeResult(seed=first + i, success=s, steps=9) for i, s in enumerate(outcomes))
    return Evaluation(name=name, task="lift", seed=0, results=made)


def tree(markup):
    return ElementTree.fromstring(str(markup))


def paths(chart):
    """Points of every drawn line: list of (n, 2)."""
    found = re.findall(r'<path d="([^"]*)"', str(chart))
    return [np.array(re.findall(r"[ML](-?[\d.]+) (-?[\d.]+)", d), float).reshape(-1, 2) for d in found]


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_round_inside_and_few(low, width):
    ticks = nice_ticks(low, low + width)
    assert 1 <= len(ticks) <= 9
    assert all(low - 1e-6 * width <= t <= low + width + 1e-6 * width for t in ticks)
    if len(ticks) > 1:
        mantissa = (ticks[1] - ticks[0]) / 10 ** np.floor(log10((ticks[1] - ticks[0]) * 1.0001))
        assert any(isclose(mantissa, m, rel_tol=1e-3) for m in (1, 2, 5))


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_ticks_of_no_range_are_our_mistake(low, high):
    with pytest.raises(AssertionError):
        nice_ticks(low, high)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.1234, "0.123"), (999.4, "999"), (999.9, "1k"), (1234, "1.23k"), (-2.5e6, "-2.5M"), (3e9, "3G"), (1e-5, "1e-05")],
)  # fmt: skip
def test_compact_numbers(value, shown):
    assert compact(value) == shown


def test_a_straight_line_is_drawn_straight_upwards():
    (points,) = paths(line_chart([Line(x=[0, 1, 2], y=[0, 1, 2])], title="t", x_label="step"))
    assert len(points) == 3
    np.testing.assert_allclose(points[1], (points[0] + points[2]) / 2, atol=0.11)
    assert points[0, 0] < points[2, 0]
    assert points[0, 1] > points[2, 1]  # SVG counts downwards


@given(st.lists(st.floats(-1e9, 1e9) | st.just(float("nan")) | st.just(float("inf")), min_size=1, max_size=200))
def test_any_values_make_a_well_formed_chart_inside_its_box(values):
    chart = line_chart([Line(x=list(range(len(values))), y=values)], title="loss <1>", x_label="step")
    tree(chart)
    for points in paths(chart):
        if len(points):
            assert points.min() >= 0
            assert points[:, 0].max() <= 360
            assert points[:, 1].max() <= 220


def test_gaps_where_values_are_missing():
    chart = str(line_chart([Line(x=[0, 1, 2, 3], y=[1, float("nan"), 2, 3])], title="t", x_label="step"))
    (d,) = re.findall(r'<path d="([^"]*)"', chart)
    assert d.count("M") == 2
    assert d.count("L") == 1


def test_charts_without_finite_values_say_so():
    for lines in ([], [Line(x=[], y=[])], [Line(x=[1], y=[float("nan")])]):
        assert "no finite value" in str(line_chart(lines, title="t", x_label="step"))


def test_outliers_do_not_flatten_a_long_curve():
    y = [*np.linspace(0, 1, 300), 1e9]
    (points,) = paths(line_chart([Line(x=list(range(301)), y=y)], title="t", x_label="step"))
    assert np.ptp(points[:300, 1]) > 100


def test_marked_step_is_drawn():
    chart = str(line_chart([Line(x=[0, 10], y=[0, 1])], title="t", x_label="step", marked_x=5.0))
    assert 'class="marked"' in chart


@given(st.integers(1, 700), st.integers(1, 50))
def test_buckets_keep_the_mean(n, count):
    x = np.arange(n, dtype=float)
    y = np.random.default_rng(n).normal(size=n)
    x_few, y_few = bucketed(x, y, count)
    assert len(x_few) == len(y_few) == min(n, count)
    assert (np.diff(x_few) > 0).all()
    sizes = np.diff([*np.linspace(0, n, count + 1).astype(int)[:-1], n]) if n > count else np.ones(n)
    assert np.average(y_few, weights=sizes) == pytest.approx(y.mean(), abs=1e-9)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=60), st.integers(1, 20))
def test_running_mean_is_the_mean_of_neighbours(values, window):
    y = np.array(values)
    got = running_mean(y, window)
    for j in range(len(y)):
        inside = y[max(0, j + window // 2 - window + 1) : j + window // 2 + 1]
        assert got[j] == pytest.approx(inside.mean(), abs=1e-6)


def test_running_mean_leaves_gaps_as_gaps():
    got = running_mean(np.array([1.0, np.nan, 3.0]), 3)
    assert got[0] == 1.0
    assert np.isnan(got[1])
    assert got[2] == 3.0


def test_short_curves_are_drawn_as_they_are_and_long_ones_smoothed():
    assert len(curve([1, 2], [3, 4], "a")) == 1
    faint, smooth = curve(list(range(1000)), list(np.random.default_rng(0).normal(size=1000)), "a")
    assert faint.faint
    assert smooth.label == "a"
    assert np.std(smooth.y) < 0.5 * np.std(faint.y)


def test_bars_are_as_long_as_the_rate_and_whiskers_as_the_interval():
    e = evaluation([True] * 3 + [False])
    bars = str(rate_bars([e], ["the <policy>"]))
    tree(bars)
    assert "width:75.00%" in bars
    low, high = e.interval
    assert f"left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%" in bars
    assert "3 of 4" in bars
    assert "the &lt;policy&gt;" in bars


def test_strips_align_seeds_and_mark_what_was_not_run():
    strips = tree(f"<x>{outcome_strips([evaluation([True, False]), evaluation([True], 'bc', first=1)])}</x>")
    kinds = [
        [c.get("class") for c in s.find("span[@class='cells']")]
        for s in strips.iter("div")
        if s.get("class") == "strip"
    ]
    assert kinds == [["cell success", "cell failure"], ["cell none", "cell success"]]


def test_long_evaluations_show_their_first_episodes():
    strips = str(outcome_strips([evaluation([True] * 1000)]))
    assert strips.count("cell success") == 200 + 1  # and one in the legend
    assert "the first 200 of 1000 episodes" in strips


def test_time_shares_add_up():
    widths = re.findall(r"width:([\d.]+)%", str(share_bar([("a", 10.0), ("b", 30.0)])))
    assert widths == ["25.00", "75.00"]
    assert "a 0 s" in str(share_bar([("a", 0.0)]))


def test_percent():
    assert percent(0.633) == "63 %"
