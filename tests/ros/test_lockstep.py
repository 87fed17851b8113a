"""Everything of one simulated time is waited for, in any order of arrival."""

import itertools

import pytest

from robot_pt_ros.lockstep import Early, Rendezvous


@pytest.mark.parametrize("order", list(itertools.permutations(["arm", "primary", "wrist"])))
def test_a_time_is_due_when_the_last_source_has_come(order):
    meeting = Rendezvous(["arm", "primary", "wrist"])
    for source in order[:-1]:
        meeting.came(source, 100)
        assert meeting.due() is None
    meeting.came(order[-1], 100)
    assert meeting.due() == 100
    meeting.done(100)
    assert meeting.due() is None


def test_the_next_time_waits_for_the_answer_to_the_last_target():
    meeting = Rendezvous(["arm"])
    meeting.came("arm", 100)
    meeting.done(100)
    meeting.asked(100)
    meeting.came("arm", 300)
    assert meeting.due() is None
    meeting.answered(99)
    assert meeting.due() is None
    meeting.answered(100)
    assert meeting.due() == 300


def test_an_answer_that_never_comes_is_given_up_at_the_second_look():
    meeting = Rendezvous(["arm"])
    meeting.came("arm", 100)
    meeting.done(100)
    meeting.asked(100)
    meeting.give_up_waiting()
    assert meeting.due() is None
    meeting.came("arm", 300)
    meeting.give_up_waiting()
    assert meeting.due() is None
    meeting.give_up_waiting()
    assert meeting.due() == 300


def test_old_samples_bring_no_time_back():
    meeting = Rendezvous(["arm", "primary"])
    meeting.came("arm", 300)
    meeting.came("primary", 300)
    meeting.done(300)
    meeting.came("arm", 100)
    assert meeting.due() is None


def test_early_work_waits_for_its_time_and_keeps_its_order():
    early, done = Early(), []
    early.arrived(100)
    early.run(100, lambda: done.append("now"))
    early.run(300, lambda: done.append("first"))
    early.run(300, lambda: done.append("second"))
    early.run(500, lambda: done.append("later"))
    assert done == ["now"]
    early.arrived(300)
    assert done == ["now", "first", "second"]
    early.arrived(200)
    assert early.now_ns == 300
    early.arrived(500)
    assert done[-1] == "later"


def test_a_flood_from_the_future_is_bounded():
    early, done = Early(), []
    for i in range(1000):
        early.run(10**9, lambda i=i: done.append(i))
    early.arrived(10**9)
    assert done == list(range(1000 - len(done), 1000))
    assert len(done) <= 64
