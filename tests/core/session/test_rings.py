from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.session.rings import CAPACITY, FUTURE_NS, SampleRing

NOW = 1_000_000_000


def ring(*stamps):
    made = SampleRing("camera 'primary'", 0.15)
    for stamp in stamps:
        made.add(stamp, f"at {stamp}")
    return made


@settings(deadline=None)
@given(st.lists(st.integers(-5, 400), max_size=80), st.integers(0, 400))
def test_kept_are_the_newest_of_what_rose_and_the_rest_is_counted(stamps, wanted):
    made, kept = ring(), []
    for stamp in stamps:
        accepted = made.add(stamp, stamp)
        assert accepted == (stamp > max([0, *kept]))
        kept += [stamp] if accepted else []
    assert made.refused.total() == len(stamps) - len(kept)
    kept = kept[-CAPACITY:]
    assert made.newest(10**9) == (kept[-1] if kept else None)
    if kept:
        best = min(kept, key=lambda stamp: (abs(stamp - wanted), stamp))
        assert made.nearest(wanted) == (best, best)


@pytest.mark.parametrize(
    ("stamp", "reason"),
    [(0, "zero stamp"), (-3, "zero stamp"), (50, "repeated stamp"), (49, "backward stamp"), (NOW * 2, "stamp in the future")],
)  # fmt: skip
def test_a_bad_stamp_is_refused_and_counted(stamp, reason):
    made = ring(50)
    assert not made.add(stamp, "?", now_ns=NOW)
    assert made.refused == {reason: 1}
    assert made.nearest(stamp) == (50, "at 50")


def test_the_future_is_also_told_at_reading_and_the_last_good_sample_stays():
    made = ring(NOW - 5, NOW + FUTURE_NS + 1)
    assert made.newest(NOW) == NOW - 5
    assert made.refused == {"stamp in the future": 1}
    assert made.add(NOW - 4, "good again")


def test_clocks_that_differ_by_a_little_are_no_future():
    assert ring(NOW + FUTURE_NS).newest(NOW) == NOW + FUTURE_NS


def test_complaints_name_source_age_limit_and_last_refusal():
    made = ring()
    assert made.complaint(NOW) == "camera 'primary' has sent nothing usable"
    made.refuse("float32 frames")
    assert made.complaint(NOW).endswith("(last refused: float32 frames)")
    made.add(NOW - 100_000_000, "x")
    assert made.complaint(NOW) == ""
    assert made.complaint(NOW + 60_000_000).startswith("camera 'primary' is 0.160 s old, allowed are 0.15 s")


def test_after_clearing_older_stamps_may_come():
    made = ring(NOW)
    made.clear()
    assert made.newest(NOW) is None
    assert made.add(7, "x")


def test_no_reading_there_is_nearest_in_an_empty_ring():
    with pytest.raises(AssertionError, match="primary"):
        ring().nearest(1)


def test_it_may_be_filled_while_it_is_read():
    made = ring(1)
    writer = Thread(target=lambda: [made.add(stamp, stamp) for stamp in range(2, 20_000)])
    writer.start()
    last = 0
    while writer.is_alive():
        newest = made.newest(10**9)
        assert newest >= last
        last = made.nearest(newest)[0]
    writer.join()
    assert made.newest(10**9) == 19_999


def test_a_clock_set_back_is_noticed_by_whoever_says_what_time_it_is():
    made = ring(NOW - 1, NOW)
    assert not made.add(5, "after")
    assert made.add(5, "after", now_ns=10)
    assert made.nearest(NOW) == (5, "after")
    assert made.refused == {"backward stamp": 1, "stamp in the future": 2}
