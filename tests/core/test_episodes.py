import json

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from robot_pt.episodes import REQUESTS, EpisodeMachine
from robot_pt.errors import UserError


def machine(**changes):
    return EpisodeMachine("run", **{"task": "lift", "instruction": "lift the cube", **changes})


def recorded(steps=3, **changes):
    made = machine(**changes)
    made.start()
    for _ in range(steps):
        made.advance()
    return made


def test_an_episode_is_recorded_and_labelled():
    made = recorded()
    assert (made.phase, made.id, made.step) == ("recording", "run-0001", 3)
    answer = made.request("success")
    assert answer == (True, "run-0001 is kept as a success of 3 steps.")
    assert json.loads(made.to_json()) == {
        "id": "run-0001", "phase": "ended", "step": 3, "outcome": "success", "reason": "", "task": "lift",
        "instruction": "lift the cube",
    }  # fmt: skip


def test_stopped_first_and_labelled_after():
    made = recorded()
    assert made.stop().ok
    assert made.phase == "awaiting label"
    assert made.outcome == ""
    assert not made.advance().ok
    assert made.end(False).ok
    assert (made.phase, made.outcome) == ("ended", "failure")


def test_kept_without_a_label_is_unknown_and_keeping_what_is_kept_changes_nothing():
    made = recorded()
    assert not made.keep().ok  # it still runs
    made.stop()
    assert made.keep().ok
    revision = made.revision
    assert made.keep() == (True, "run-0001 is kept (unknown).")
    assert made.revision == revision


@pytest.mark.parametrize("before", [[], ["stop"], ["success"], ["stop", "keep"]])
def test_an_episode_can_be_thrown_away_while_it_runs_waits_or_was_the_last(before):
    made = recorded()
    for name in before:
        made.request(name)
    assert made.discard().ok
    assert (made.id, made.phase, made.outcome) == ("run-0001", "ended", "discarded")
    assert made.discard() == (True, "run-0001 is discarded already.")
    assert not made.keep().ok


def test_redo_by_hand_waits_for_the_operator_to_reset_the_scene():
    made = recorded()
    assert made.redo().ok
    assert (made.phase, made.outcome) == ("resetting scene", "discarded")
    assert made.start().ok
    assert (made.phase, made.id, made.step, made.outcome) == ("recording", "run-0002", 0, "")


def test_redo_with_a_scene_that_resets_itself_goes_on_by_itself():
    made = machine(automatic_reset=True)
    assert made.start().ok
    assert made.phase == "resetting scene"
    assert made.scene_ready().ok
    assert made.phase == "recording"
    made.redo()
    assert made.phase == "resetting scene"
    assert made.scene_ready().ok
    assert (made.phase, made.id) == ("recording", "run-0002")
    made.end(True)
    made.reset_scene()
    made.scene_ready()
    assert made.phase == "ready"  # one start is one episode


def test_a_scene_reset_without_a_start_waits_ready():
    made = machine(automatic_reset=True)
    made.reset_scene()
    made.scene_ready()
    assert (made.phase, made.id) == ("ready", "")
    assert made.start().ok
    assert made.phase == "recording"
    made.end(True)
    assert made.start().ok
    assert made.phase == "resetting scene"  # every episode begins from a reset scene


def test_a_fault_ends_the_episode_with_its_reason():
    made = recorded()
    assert made.abort("disk").ok
    assert (made.phase, made.outcome, made.reason) == ("ended", "aborted", "disk")
    assert made.start().ok
    assert (made.outcome, made.reason) == ("", "")
    assert made.abort("").ok
    assert made.reason == "fault"


def test_a_reset_that_fails_starts_nothing():
    made = machine(automatic_reset=True)
    made.start()
    assert made.abort("the arm did not reach home.").ok
    assert (made.phase, made.reason) == ("idle", "the arm did not reach home")
    assert not made.scene_ready().ok
    assert not made.abort("again").ok
    made.reset_scene()
    made.scene_ready()
    assert made.phase == "ready"  # the start from before the fault is forgotten


def test_an_episode_stops_at_its_longest():
    made = recorded(steps=4, max_steps=5)
    assert made.phase == "recording"
    assert "label it" in made.advance().sentence
    assert (made.phase, made.step) == ("awaiting label", 5)


@pytest.mark.parametrize("name", ["start", "reset_scene"])
def test_what_is_not_decided_yet_is_not_run_over(name):
    made = recorded()
    for _ in range(2):
        answer = made.request(name)
        assert not answer.ok
        assert "end or discard it first" in answer.sentence
        made.stop()


@pytest.mark.parametrize("name", ["stop", "success", "failure", "keep", "discard", "redo"])
def test_without_an_episode_there_is_nothing_to_end(name):
    answer = machine().request(name)
    assert not answer.ok
    assert answer.sentence.startswith("the episode manager is idle; ")


def test_the_task_changes_between_episodes_only():
    made = recorded()
    assert not made.set_task("stack").ok
    assert made.task == "lift"
    made.end(True)
    assert made.set_task("stack", "stack them").ok
    assert (made.task, made.instruction) == ("stack", "stack them")


def test_a_request_that_does_not_exist_is_named():
    with pytest.raises(UserError, match=r"'jump'.*start, stop"):
        machine().request("jump")


@pytest.mark.parametrize("wrong", [{"prefix": ""}, {"prefix": "a/b"}, {"prefix": "a", "max_steps": 0}])
def test_a_manager_that_cannot_be_meant_is_refused(wrong):
    with pytest.raises(UserError, match=r"prefix|max_steps"):
        EpisodeMachine(**wrong)


class AnyOrder(RuleBasedStateMachine):
    """Whatever is asked in whatever order: nothing raises, ids never repeat, no episode is lost without a decision."""

    def __init__(self):
        super().__init__()
        self.made = machine(max_steps=4)
        self.decided: dict[str, str] = {}
        self.before = self.made.state()
        self.revision = self.made.revision

    def note(self, answer):
        assert answer.sentence.endswith((".", "?"))
        after = self.made.state()
        if after != self.before:
            assert answer.ok, (self.before, after)
            assert self.made.revision > self.revision
        if after["id"] != self.before["id"] and self.before["id"]:
            assert self.before["outcome"], "an episode was left without an outcome"
        if self.before["phase"] == "recording":
            assert after["phase"] in ("recording", "awaiting label", "ended", "resetting scene")
        self.before, self.revision = after, self.made.revision

    @rule(name=st.sampled_from(REQUESTS))
    def ask(self, name):
        self.note(self.made.request(name))

    @rule()
    def step(self):
        self.note(self.made.advance())

    @rule()
    def scene(self):
        self.note(self.made.scene_ready())

    @rule(reason=st.text(max_size=5))
    def fault(self, reason):
        self.note(self.made.abort(reason))

    @invariant()
    def a_running_episode_has_no_outcome_and_an_ended_one_has(self):
        state = self.made.state()
        if state["phase"] in ("recording", "awaiting label"):
            assert state["outcome"] == ""
            assert state["id"]
        if state["phase"] == "ended":
            assert state["outcome"]
        json.dumps(state)


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestAnyOrder = AnyOrder.TestCase
