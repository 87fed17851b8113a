import json
import sys
import threading

import numpy as np
import pytest

from robot_pt.session.monitor import WINDOW, StepInfo, TickMonitor


def test_figures_are_quantiles_of_what_was_noted():
    monitor = TickMonitor(200_000_000)
    for value in range(1, 101):
        monitor.inference(float(value))
    monitor.ages({"arm": 0.01, "primary": 0.08})
    values = monitor.values()
    assert values["inference_ms/p50"] == np.quantile(range(1, 101), 0.5)
    assert values["inference_ms/p99"] == np.quantile(range(1, 101), 0.99)
    assert values["inference_ms/max"] == 100
    assert values["age_ms/primary/max"] == pytest.approx(80)


def test_only_the_last_ticks_count():
    monitor = TickMonitor(200_000_000)
    monitor.inference(1000.0)
    for _ in range(WINDOW):
        monitor.inference(1.0)
    assert monitor.values()["inference_ms/max"] == 1.0


def test_jitter_is_the_worst_share_of_the_period_and_long_gaps_are_missed_deadlines():
    monitor = TickMonitor(200_000_000)
    assert monitor.jitter() == 0
    for interval in (200.0, 210.0, 180.0, 299.0):
        monitor.interval(interval)
    assert monitor.jitter() == pytest.approx(0.495)
    assert "deadline_missed" not in monitor.values()
    monitor.interval(300.0)
    assert monitor.values()["deadline_missed"] == 1


def test_figures_may_be_asked_for_while_others_are_noted():
    """By another thread, as the node does once a second: a source or a count that is new must not break it."""
    monitor, broken, often = TickMonitor(200_000_000), [], sys.getswitchinterval()

    def note():
        try:
            for number in range(4000):
                monitor.ages({f"camera {number % 400}": 0.1})
                monitor.interval(200.0)
                monitor.counts[f"reason {number}"] += 1
        except RuntimeError as error:
            broken.append(error)

    sys.setswitchinterval(1e-6)
    noting = threading.Thread(target=note)
    try:
        noting.start()
        while noting.is_alive():
            values = monitor.values()
            assert all(value >= 0 for value in values.values())
    finally:
        sys.setswitchinterval(often)
        noting.join(60)
    assert broken == []
    assert monitor.values()["reason 3999"] == 1


def test_a_step_is_json():
    info = StepInfo(
        5,
        4,
        3,
        {"arm": 4, "primary": 4},
        {"arm": 0.0, "primary": 1 / 3},
        np.ones(7, np.float32),
        1.23456,
        0,
        200.0,
        "target",
        "v1",
    )
    values = json.loads(json.dumps(info.to_json()))
    assert values["stamp_ns"] == 5
    assert values["observation_ns"] == 4
    assert values["action"] == [1.0] * 7
    assert values["inference_ms"] == 1.235
    assert values["ages_s"]["primary"] == 0.333333
    assert "rest" not in values
