import math
import re

from robot_pt.report import Measured, Point, Report, render
from robot_pt.report.measured import forest


def chart(**change):
    points = [
        Point(name="atc", value=0.7, low=0.6, high=0.8),
        Point(name="random", value=0.2, low=0.1, high=0.3, control=True),
    ]
    return Measured(**{"title": "object position, R²", "points": points, "reference": 0.0, "better": 1, **change})


def test_a_page_shows_every_value_its_interval_and_which_way_is_better():
    page = render(Report(title="probes", measured=[chart(), chart(title="error", better=-1, reference=None)]))
    assert page.count("<circle") == 4
    for said in ("object position, R²", "more is better", "less is better", "the same in numbers", ">atc<", ">0.7<"):
        assert said in page
    assert "Measured" in page
    assert "Measured" not in render(Report(title="none"))


def test_what_was_not_run_is_named_as_such():
    gap = Point(name="mae", value=None)
    assert "not run" in str(forest(chart(points=[*chart().points, gap])))
    assert "not measured" in str(forest(chart(points=[gap])))


def test_values_stand_in_order_along_the_axis_and_inside():
    points = [Point(name=str(i), value=v) for i, v in enumerate((-3.0, 0.0, 10.0))]
    found = [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', str(forest(chart(points=points, reference=None))))]
    assert found == sorted(found)
    assert all(0 < x < 620 for x in found)


def test_charts_with_the_same_ends_have_one_axis():
    """Values of 0.2 and 0.7 stand where they stand beside 0 and 1, whatever else a chart has."""

    def places(*values, ends=(0.0, 1.0)):
        points = [Point(name=str(i), value=v) for i, v in enumerate(values)]
        text = str(forest(chart(points=points, reference=None, ends=ends)))
        return [float(x) for x in re.findall(r'<circle cx="([\d.]+)"', text)]

    assert places(0.2, 0.7) == places(0.2, 0.7, 1.0)[:2]
    assert places(0.2, 0.7) != places(0.2, 0.7, ends=None)
    assert max(places(0.5, 2.0)) < 620  # more than the ends is drawn, not cut


def test_equal_values_and_hostile_names_do_no_harm():
    same = [Point(name="<script>" * 9, value=0.5, low=0.5, high=0.5), Point(name="b", value=0.5)]
    text = str(forest(chart(points=same, reference=0.5)))
    assert "<script>" not in text
    assert not math.isnan(float(text.split('cx="')[1].split('"')[0]))
