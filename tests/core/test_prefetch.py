import threading
import time

import pytest

from robot_pt.errors import DataError, UserError
from robot_pt.prefetch import Prefetch


def test_values_come_in_order_however_long_each_takes():
    def compute(n):
        time.sleep(0.01 if n % 3 == 0 else 0)
        return n * n

    ahead = Prefetch(compute, threads=3, ahead=6)
    assert [ahead.next() for _ in range(12)] == [n * n for n in range(12)]
    assert ahead.position == 12
    ahead.close()


def test_it_stays_ahead_by_so_many_and_no_more():
    seen = []
    ahead = Prefetch(lambda n: seen.append(n) or n, threads=1, ahead=4)
    assert ahead.next() == 0
    ahead.close()
    assert max(seen) <= 3
    assert ahead.next() == 1
    ahead.close()


def test_seek_goes_anywhere_and_drops_what_was_under_way():
    ahead = Prefetch(lambda n: n, threads=2, ahead=3)
    assert ahead.next() == 0
    ahead.seek(100)
    assert [ahead.next(), ahead.next()] == [100, 101]
    ahead.seek(5)
    assert ahead.next() == 5
    ahead.close()


def test_an_error_is_raised_where_its_value_would_have_come_and_again():
    def compute(n):
        if n == 2:
            raise DataError("record 2 is damaged.")
        return n

    ahead = Prefetch(compute, threads=2, ahead=4)
    assert [ahead.next(), ahead.next()] == [0, 1]
    for _ in range(2):
        with pytest.raises(DataError, match="record 2"):
            ahead.next()
    assert ahead.position == 2
    ahead.seek(3)
    assert ahead.next() == 3
    ahead.close()


def test_close_leaves_no_thread_behind():
    before = threading.active_count()
    ahead = Prefetch(lambda n: n, threads=3, ahead=5)
    ahead.next()
    assert threading.active_count() > before
    ahead.close()
    ahead.close()
    assert threading.active_count() == before


def test_it_needs_a_thread_and_a_place():
    for wrong in ({"threads": 0, "ahead": 1}, {"threads": 1, "ahead": 0}):
        with pytest.raises(UserError, match="at least 1 of each"):
            Prefetch(lambda n: n, **wrong)
