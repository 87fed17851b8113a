"""Which version reaches a robot: decided without ROS, told by what is heard."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.errors import UserError
from robot_pt.online.robot import AGAIN_S, RELOADS, SOON_S, RobotRules, RobotVersions, Step
from robot_pt.online.serving import Serving


def served(number: int, *, held: bool = False, **check: object) -> Serving:
    return Serving(number, f"hash-{number}", 10 * number, f"versions/{number:06d}", held, 0, check)


def robot(**rules) -> RobotVersions:
    """One that acts with a policy from elsewhere, and has not looked at a run."""
    versions = RobotVersions(RobotRules(**{"confirm": False, **rules}))
    versions.heard("start")
    return versions


def taken(versions: RobotVersions, at: float = 0.0) -> list[str]:
    """What it asks for between episodes until it asks for nothing; every request succeeds, as does the policy node's own word."""
    asked = []
    while (step := versions.next(False, at)) is not None and len(asked) < 10:
        asked.append(f"{step.kind} {step.serving.number}")
        versions.done(step, True, "done", at)
    return asked


def test_a_new_version_is_prepared_then_taken_between_episodes() -> None:
    versions = robot()
    assert versions.next(False, 0.0) is None, "nothing is offered"
    versions.saw(served(1), {})
    step = versions.next(True, 0.0)
    assert step == Step("prepare", served(1))
    versions.done(step, True, "loaded", 0.1)
    assert versions.next(True, 0.2) is None, "not inside an episode"
    assert versions.next(False, 0.3) == Step("reload", served(1))
    versions.done(Step("reload", served(1)), True, "swapped", 0.4)
    assert versions.acting == "hash-1"
    assert versions.next(False, 0.5) is None
    assert versions.acting_number == 1


def test_without_a_core_to_spare_it_is_loaded_between_episodes() -> None:
    versions = robot(beside=False)
    versions.saw(served(1), {})
    assert versions.next(True, 0.0) is None
    assert taken(versions) == ["prepare 1", "reload 1"]


def test_nothing_is_asked_before_the_policy_node_has_said_what_acts() -> None:
    versions = RobotVersions(RobotRules(confirm=False))
    versions.saw(served(1), {})
    assert versions.next(False, 0.0) is None
    assert "has not said yet" in versions.sentence()


def test_the_operator_confirms_one_version_and_none_that_comes_later() -> None:
    versions = robot(confirm=True)
    assert not versions.confirm().ok
    versions.saw(served(1), {})
    assert versions.waits_for_operator
    assert taken(versions) == []
    assert "online/confirm" in versions.sentence()
    answer = versions.confirm()
    assert answer.ok
    assert "version 1" in answer.sentence
    versions.saw(served(2), {})
    assert taken(versions) == ["prepare 1", "reload 1"], "what was confirmed, though a newer one serves"
    assert versions.acting == "hash-1"
    assert versions.waits_for_operator
    assert taken(versions) == []


def test_a_version_begun_with_is_seen_through_though_others_follow_faster() -> None:
    versions = robot()
    versions.saw(served(1), {})
    step = versions.next(True, 0.0)
    versions.saw(served(2), {})
    versions.done(step, True, "loaded", 0.0)
    assert taken(versions) == ["reload 1", "prepare 2", "reload 2"]


def test_one_that_acted_before_needs_no_second_confirmation_after_a_rollback() -> None:
    versions = robot(confirm=True)
    for number in (1, 2):
        versions.saw(served(number), {})
        assert versions.confirm().ok
        assert taken(versions) == [f"prepare {number}", f"reload {number}"]
    versions.saw(served(1, held=True), {})
    assert taken(versions) == ["prepare 1", "reload 1"]
    assert "held after a rollback" in versions.sentence()
    versions.saw(served(0, held=True), {})
    assert taken(versions) == [], "never acted here"
    versions.trust("hash-0")
    assert taken(versions) == ["prepare 0", "reload 0"]


def test_what_was_rolled_back_meanwhile_is_not_taken() -> None:
    versions = robot()
    versions.saw(served(5), {})
    versions.done(versions.next(False, 0.0), True, "loaded", 0.0)
    versions.saw(served(4, held=True), {})
    assert taken(versions) == ["prepare 4", "reload 4"]


def test_what_cannot_be_loaded_is_said_left_and_tried_again_much_later() -> None:
    versions = robot()
    versions.saw(served(1), {})
    versions.done(versions.next(False, 0.0), False, "kept start: nan.", 0.0)
    assert "is not taken: kept start: nan." in versions.sentence()
    assert versions.next(False, AGAIN_S - 0.1) is None
    assert versions.next(False, AGAIN_S + 0.1) == Step("prepare", served(1))
    versions.saw(served(2), {})
    assert versions.next(False, 1.0) is None, "the other is being tried"
    versions.done(Step("prepare", served(1)), False, "nan", 1.0)
    assert versions.next(False, 1.0) == Step("prepare", served(2)), "the next one is not held up"


def test_a_reload_refused_by_an_episode_is_asked_for_soon_but_not_for_ever() -> None:
    versions, now = robot(), 0.0
    versions.saw(served(1), {})
    versions.done(versions.next(False, now), True, "loaded", now)
    for _ in range(RELOADS + 1):
        step = versions.next(False, now)
        assert step == Step("reload", served(1))
        versions.done(step, False, "an episode is running", now)
        assert versions.next(False, now) is None
        now += SOON_S + 0.01
    assert versions.next(False, now) is None
    assert versions.next(False, now + AGAIN_S) == Step("prepare", served(1))


@pytest.mark.parametrize(
    ("check", "said"),
    [
        ({"bound_share": 0.5}, "50% of its actions are at their bounds"),
        ({"bound_share": math.nan}, "at their bounds"),
        ({"change": 3.0}, "change by 3.00"),
        ({"change": math.nan}, "half ranges"),
        ({"bound_share": 0.1, "change": 0.1}, ""),
        ({"bound_share": None, "change": None}, ""),
        ({}, ""),
    ],
)
def test_the_check_on_stored_observations_is_held_against_the_robot_s_own_limits(check, said: str) -> None:
    versions = robot(max_bound_share=0.2, max_change=1.0)
    versions.saw(served(1, **check), {})
    assert bool(taken(versions)) != bool(said)
    assert said in versions.sentence()


def test_the_check_is_shown_to_who_confirms() -> None:
    versions = robot(confirm=True)
    versions.saw(served(1), {})
    assert "not checked on stored observations" in versions.sentence()
    versions.saw(served(2, observations=256, bound_share=0.25, change=0.125), {})
    assert (
        "256 stored observations: 25% of actions at bounds, actions change by 0.12 half ranges" in versions.sentence()
    )
    assert versions.values()["check/observations"] == 256


def test_unless_told_otherwise_no_version_with_most_of_its_actions_at_their_bounds_is_offered() -> None:
    for number, share in enumerate((0.13, 0.9), start=1):
        versions = robot()
        versions.saw(served(number, bound_share=share), {})
        assert bool(taken(versions)) == (share < 0.5)


@pytest.mark.parametrize(
    "wrong", [{"max_bound_share": 1.1}, {"max_bound_share": math.nan}, {"max_change": 0.0}, {"max_change": math.nan}]
)
def test_limits_that_cannot_be_meant(wrong) -> None:
    with pytest.raises(UserError, match="max_bound_share is"):
        RobotRules(**wrong)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["publish", "episode", "gap", "confirm", "rollback", "fail", "work", "work"]), st.integers(0, 3)
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(EVENTS, st.booleans(), st.booleans())
def test_whatever_happens_no_reload_in_an_episode_and_none_unconfirmed(events, confirm: bool, beside: bool) -> None:
    versions = robot(confirm=confirm, beside=beside)
    newest, runs, now, allowed = 0, False, 0.0, {"start"}
    for event, number in events:
        now += 0.5
        if event == "publish":
            newest += 1
            versions.saw(served(newest), {})
        elif event in ("episode", "gap"):
            runs = event == "episode"
        elif event == "confirm" and versions.confirm().ok:
            assert versions.serving is not None
            allowed.add(versions.serving.version)
        elif event == "rollback" and newest:
            versions.saw(served(min(number, newest), held=True), {})
        elif event in ("work", "fail"):
            step = versions.next(runs, now)
            if step is None:
                continue
            assert not confirm or step.serving.version in allowed
            assert step.kind == "prepare" or not runs
            assert beside or not runs
            versions.done(step, event == "work", "said", now)
            if event == "work" and step.kind == "reload":
                assert versions.acting == step.serving.version
