"""The order in which nodes come up and go down, with a clock in hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt_ros.bringup import Bringup, Step

NODES = ["arm", "supervisor", "policy"]


def raise_all(bringup, now=0.0):
    steps = []
    while bringup.next() is not None:
        steps.append(bringup.next())
        bringup.done(True, now)
    return steps


def test_all_are_configured_before_any_is_activated():
    bringup = Bringup(NODES, 60, 2, 0.0)
    assert raise_all(bringup) == [Step(n, "configure") for n in NODES] + [Step(n, "activate") for n in NODES]
    assert bringup.is_up
    assert not bringup.is_down


def test_down_is_the_reverse_and_the_policy_stops_first():
    bringup = Bringup(NODES, 60, 2, 0.0)
    raise_all(bringup)
    bringup.take_down(1.0)
    steps = raise_all(bringup)
    assert steps[:3] == [Step(n, "deactivate") for n in ("policy", "supervisor", "arm")]
    assert steps[3:] == [Step(n, "cleanup") for n in ("policy", "supervisor", "arm")]
    assert bringup.is_down
    assert bringup.problem == ""


@given(st.integers(0, 5))
def test_a_refused_step_takes_down_just_what_came_up(failing):
    bringup = Bringup(NODES, 60, 2, 0.0)
    for _ in range(failing):
        bringup.done(True, 0.0)
    refused = bringup.next()
    bringup.done(False, 0.0)
    assert bringup.going_down
    assert (bringup.problem, bringup.refused_by) == (f"{refused.node} could not {refused.action}", refused.node)
    down = raise_all(bringup)
    configured = NODES[: min(failing, 3)]
    active = NODES[: max(failing - 3, 0)]
    assert [s.node for s in down if s.action == "cleanup"] == configured[::-1]
    assert [s.node for s in down if s.action == "deactivate"] == active[::-1]


def test_a_node_that_never_appears_is_named():
    bringup = Bringup(NODES, 10, 2, 0.0)
    bringup.watch(9.9)
    assert not bringup.going_down
    bringup.watch(10.1)
    assert "arm did not configure within 10 s" in bringup.problem
    assert bringup.refused_by == "", "nobody is there who knows why"
    assert bringup.is_down


def test_a_silent_node_takes_the_others_down_and_is_not_asked_again():
    bringup = Bringup(NODES, 60, 2, 0.0)
    raise_all(bringup)
    for node in NODES:
        bringup.heard(node, 5.0)
    bringup.watch(6.9)
    assert bringup.is_up
    for node in ("arm", "policy"):
        bringup.heard(node, 8.0)
    bringup.watch(8.0)
    assert "supervisor has been silent for 2 s" in bringup.problem
    assert {s.node for s in raise_all(bringup)} == {"arm", "policy"}


def test_the_first_problem_stays():
    bringup = Bringup(NODES, 60, 2, 0.0)
    bringup.fail("first", 0.0)
    bringup.fail("second", 0.0)
    assert bringup.problem == "first"


@pytest.mark.parametrize("ok", [True, False])
def test_refusals_on_the_way_down_do_not_stop_it(ok):
    bringup = Bringup(NODES, 60, 2, 0.0)
    raise_all(bringup)
    bringup.take_down(0.0)
    while bringup.next() is not None:
        bringup.done(ok, 0.0)
    assert bringup.is_down
    assert bringup.problem == ""
