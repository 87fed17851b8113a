"""The arm leaves after the supervisor, and does not wait for one that never leaves."""

import pytest

from robot_pt_ros.arms.farewell import ALONE_S, FOLLOW_S, Farewell


@pytest.mark.parametrize("gone_s", [0.0, 0.5, 1.9, 30.0])
def test_it_stays_a_little_longer_than_the_supervisor_but_not_for_ever(gone_s):
    now_s, begun_s = 100.0, 100.0
    farewell = Farewell(lambda: now_s < begun_s + gone_s, begun_s)
    while not farewell.is_over(now_s):
        now_s += 0.02
        assert now_s < begun_s + 10
    assert now_s - begun_s == pytest.approx(min(gone_s + ALONE_S, FOLLOW_S), abs=0.03)


def test_a_publisher_that_is_seen_again_is_followed_again():
    seen = iter([True, False, True, *[False] * 100])
    farewell, looks = Farewell(lambda: next(seen), 0.0), 0
    while not farewell.is_over(0.05 * looks):
        looks += 1
    assert looks == 6
