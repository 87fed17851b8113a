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


MS = 1_000_000


def test_time_that_is_set_back_begins_anew():
    meeting = Rendezvous(["arm", "primary"])
    for stamp in (5000 * MS, 5200 * MS):
        assert not meeting.set_back("arm", stamp)
        meeting.came("arm", stamp)
        assert not meeting.set_back("primary", stamp)
        meeting.came("primary", stamp)
        meeting.done(stamp)
    meeting.asked(5200 * MS)
    assert meeting.set_back("arm", 400 * MS)
    meeting.came("arm", 400 * MS)
    assert meeting.due() is None, "the picture is of another time"
    assert not meeting.set_back("primary", 400 * MS), "once is enough"
    meeting.came("primary", 400 * MS)
    assert meeting.due() == 400 * MS, "what was asked before is not waited for"


def test_a_sample_out_of_order_by_a_hair_sets_no_clock_back():
    meeting, early = Rendezvous(["arm"]), Early()
    meeting.came("arm", 1000 * MS)
    early.arrived(1000 * MS)
    assert not meeting.set_back("arm", 996 * MS)
    assert not early.set_back(996 * MS)


def test_work_of_the_time_after_a_step_back_is_done_in_it_whichever_comes_first():
    early, done = Early(), []
    early.arrived(5000 * MS)
    early.run(5200 * MS, lambda: done.append("of the old time"))
    early.run(400 * MS, lambda: done.append(early.now_ns))  # its joint state is still on the way
    assert done == [5000 * MS]
    assert early.set_back(400 * MS)
    early.arrived(400 * MS)
    assert done == [5000 * MS, 400 * MS]
    early.run(600 * MS, lambda: done.append("next"))
    early.arrived(600 * MS)
    assert done[2:] == ["next"]
    early.arrived(9000 * MS)
    assert done[3:] == [], "what waited for the old time is forgotten"
