"""A fixed rate, whatever a turn takes."""

import time

import pytest

from robot_pt_ros.control_loop import ControlLoop


def until(reached):
    end_s = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def test_it_works_at_its_rate_and_stops():
    times = []
    loop = ControlLoop(0.02, lambda: times.append(time.monotonic()))
    begun_s = time.monotonic()
    loop.start()
    until(lambda: len(times) >= 10)
    loop.stop()
    count = len(times)
    assert times[-1] - begun_s >= 0.02 * (count - 2), "never more often"
    assert not loop.running
    time.sleep(0.1)
    assert len(times) == count
    loop.stop()


def test_a_long_turn_loses_periods_and_bunches_none():
    times = []

    def work():
        times.append(time.monotonic())
        if len(times) == 1:
            time.sleep(0.25)

    loop = ControlLoop(0.05, work)
    loop.start()
    until(lambda: len(times) >= 4)
    loop.stop()
    assert loop.skipped >= 4
    assert times[1] - times[0] >= 0.25
    assert times[-1] - times[1] >= 0.05 * (len(times) - 3), "what was lost is not made up for"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_ends_the_loop_is_kept():
    def work():
        raise RuntimeError("broken")

    loop = ControlLoop(0.01, work)
    loop.start()
    loop.stop()
    assert isinstance(loop.error, RuntimeError)
