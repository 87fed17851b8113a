"""The director of episodes: scene, recorder, gate and policy in their order, with services and a clock of the test."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from robot_pt.episodes import EpisodeMachine
from robot_pt.errors import UserError
from robot_pt_ros.calls import Call
from robot_pt_ros.episode_director import Director, Settings

SECOND = 1_000_000_000
SERVED = ("policy/start",)


class Stage:
    """Services that answer at once as told; a clock by hand."""

    def __init__(self, served: tuple[str, ...] = SERVED, *, max_steps: int | None = None, **settings: Any):
        self.asked: list[str] = []
        self.said: list[str] = []
        self.refuse: dict[str, str] = {}
        self.seed, self.now_s = 10, 100.0
        self.waiting: list[Callable[[], None]] = []
        self.hold = False
        machine = EpisodeMachine("e", automatic_reset=bool(settings.get("reset_service")), max_steps=max_steps)
        self.director = Director(
            machine, Settings(**settings), self.ask, self.waiting.clear, lambda name: name in served, self.said.append
        )

    def ask(self, calls: Sequence[Call], done: Callable[[bool, str, dict[str, str]], None]) -> None:
        self.patience_s = {asked.service: asked.patience_s for asked in calls}

        def answer() -> None:
            said = {}
            for asked in calls:
                self.asked.append(asked.service if asked.data is None else f"{asked.service} {asked.data}")
                said[asked.service] = json.dumps({"seed": self.seed}) if asked.service == "sim/reset" else "done."
                self.seed += asked.service == "sim/reset"
                if asked.service in self.refuse and not asked.may_refuse:
                    return done(False, f"{asked.service}: {self.refuse[asked.service]}", said)
            return done(True, "", said)

        if self.hold:
            self.waiting.append(answer)
        else:
            answer()

    def tick(self, seconds: float = 0.05) -> None:
        self.now_s += seconds
        self.director.tick(round(self.now_s * SECOND), self.now_s)

    def request(self, name: str) -> tuple[bool, str]:
        answer = self.director.request(name, round(self.now_s * SECOND), self.now_s)
        self.tick()
        return answer.ok, answer.sentence

    def records(self, phase: str = "recording", **more: Any) -> None:
        self.director.recorder({"phase": phase, "episode_id": self.director.machine.id, "active": True, **more})
        self.tick()

    def puts_away(self) -> None:
        self.records("ready", last={"episode_id": self.director.machine.id})

    @property
    def phase(self) -> str:
        return self.director.machine.phase


def test_a_simulated_episode_goes_through_scene_recorder_gate_and_policy_in_this_order() -> None:
    stage = Stage(reset_service="sim/reset", record=True)
    assert stage.request("start") == (False, "no active recorder is heard; start one, or set record to false.")
    stage.director.recorder({"active": True, "phase": "ready"})
    assert stage.request("start")[0]
    stage.tick()
    assert (stage.phase, stage.asked) == ("recording", ["safety/disarm", "sim/reset", "safety/arm"])
    state = stage.director.state()
    assert state["metadata"] == {"seed": 10}
    assert state["begin_ns"] > 0
    stage.tick(1.0)
    assert len(stage.asked) == 3, "the policy waits for the recorder"
    stage.records()
    assert stage.asked[3:] == ["takeover False", "safety/start_policy", "policy/start"]
    stage.director.result({"seed": 9, "success": True})
    assert stage.phase == "recording", "the result of another episode"
    stage.tick(1.0)
    stage.director.result({"seed": 10, "success": True})
    stage.tick()
    state = stage.director.state()
    assert (state["phase"], state["outcome"]) == ("ended", "success")
    assert state["end_ns"] == pytest.approx(stage.now_s * SECOND, abs=1)
    assert stage.asked[6:] == ["policy/stop", "safety/stop_policy"]
    assert 4 <= state["step"] <= 11


def test_a_policy_whose_observations_are_late_for_a_moment_ends_no_series() -> None:
    stage = Stage(reset_service="sim/reset", episodes=2)
    stage.director.graph_is_up = True
    for _ in range(4):
        stage.tick()
    assert stage.patience_s.keys() == {"takeover", "safety/start_policy", "policy/start"}
    assert stage.patience_s["policy/start"] >= 1.0


def test_steps_are_counted_from_when_the_policy_runs() -> None:
    stage = Stage(max_steps=10)
    stage.hold = True
    stage.request("start")
    stage.tick(2.9)
    assert (stage.phase, stage.director.machine.step) == ("recording", 0), "nobody acts yet"
    stage.waiting.pop()()
    stage.tick(1.0)
    assert (stage.phase, stage.director.machine.step) == ("recording", 5)
    stage.tick(1.0)
    assert stage.phase == "awaiting label"


def test_in_lock_step_the_scene_is_ready_when_its_clock_is_and_nothing_ends_by_the_clock() -> None:
    stage = Stage(reset_service="sim/reset", sim_time=True)
    director = stage.director
    director.request("start", 5 * SECOND, 0.0)
    assert stage.asked == ["safety/arm", "sim/reset"], "a gate that waits need not be disarmed"
    for now_s in (0.1, 0.2):
        director.tick(5 * SECOND, now_s)
        assert stage.phase == "resetting scene"
    director.tick(6 * SECOND, 0.3)
    assert director.state()["begin_ns"] == 6 * SECOND
    director.tick(6 * SECOND, 0.4)
    director.result({"seed": 10, "success": False})
    director.tick(7 * SECOND, 0.5)
    assert (director.state()["outcome"], director.state()["end_ns"]) == ("failure", 0)


def test_without_a_policy_the_gate_is_not_asked_for_one_and_the_operator_resets() -> None:
    stage = Stage(served=())
    assert stage.request("start")[0]
    stage.tick()
    assert (stage.phase, stage.asked) == ("recording", [])
    assert stage.request("stop")[0]
    assert stage.phase == "awaiting label"
    assert stage.request("failure")[0]
    assert stage.director.state()["outcome"] == "failure"
    assert stage.director.state()["previous"] == {"id": "e-0001", "outcome": "failure", "reason": ""}


def test_aborts_stop_the_policy_take_the_hand_off_and_give_the_reason() -> None:
    for abort, reason in (
        (lambda s: s.records("failed", reason="disk: no space left."), "recorder: disk: no space left"),
        (lambda s: s.director.safety("estop", "pressed"), "estop: pressed"),
        (lambda s: s.request("cancel"), "cancelled"),
    ):
        stage = Stage(record=True)
        stage.director.recorder({"active": True})
        stage.request("start")
        stage.records()
        stage.asked.clear()
        abort(stage)
        stage.tick()
        state = stage.director.state()
        assert (state["phase"], state["outcome"], state["reason"]) == ("ended", "aborted", reason)
        assert stage.asked == ["policy/stop", "safety/stop_policy", "takeover False"]


def test_what_cannot_begin_is_aborted_with_its_sentence() -> None:
    stage = Stage(reset_service="sim/reset")
    stage.refuse["sim/reset"] = "it is broken."
    stage.request("start")
    assert stage.phase == "idle"
    assert "it is broken" in stage.said[-1]
    stage.refuse = {"safety/arm": "a fault is latched."}
    stage.request("start")
    assert stage.phase == "idle"
    assert "a fault is latched" in stage.said[-1]
    stage.refuse = {"policy/start": "it is not active."}
    stage.request("start")
    stage.tick()
    stage.tick()
    assert (stage.phase, stage.director.machine.outcome) == ("ended", "aborted")
    assert stage.director.machine.reason == "policy/start: it is not active"
    stage.director.safety("fault", "tracking")
    assert stage.request("start") == (False, "the supervisor is in fault (tracking); reset it, then start.")


def test_a_recorder_that_never_begins_is_not_waited_for_forever() -> None:
    stage = Stage(record=True)
    stage.director.recorder({"active": True, "phase": "ready"})
    stage.request("start")
    stage.tick(21.0)
    assert (stage.director.machine.outcome, stage.director.machine.reason) == ("aborted", "the recorder did not begin")


def test_an_answer_that_comes_after_an_abort_starts_nothing() -> None:
    stage = Stage(reset_service="sim/reset")
    stage.hold = True
    stage.request("start")
    answer = stage.waiting[0]
    stage.request("cancel")
    stage.hold = False
    answer()
    stage.tick()
    assert stage.phase == "idle"


def test_redo_throws_away_and_begins_again_when_the_recorder_has_put_it_away() -> None:
    stage = Stage(reset_service="sim/reset", record=True)
    stage.director.recorder({"active": True})
    stage.request("start")
    stage.records()
    stage.asked.clear()
    assert stage.request("redo")[0]
    assert stage.director.state()["outcome"] == "discarded"
    stage.tick(1.0)
    assert (stage.phase, "sim/reset" in stage.asked) == ("resetting scene", False)
    stage.puts_away()
    stage.tick()
    assert (stage.phase, stage.director.machine.id) == ("recording", "e-0002")
    assert stage.director.state()["previous"]["outcome"] == "discarded"


def test_it_runs_as_many_as_asked_by_itself_and_counts_them() -> None:
    stage = Stage(reset_service="sim/reset", episodes=3, max_steps=20)
    stage.tick()
    assert stage.phase == "idle", "the graph is not up"
    stage.director.graph_is_up = True
    for number in range(3):
        for _ in range(4):  # asked for, reset, begun, started
            stage.tick()
        assert stage.director.machine.id == f"e-000{number + 1}"
        if number < 2:
            stage.director.result({"seed": 10 + number, "success": number == 0})
        else:
            stage.tick(4.1)  # 20 steps of 5 Hz
        stage.tick()
    stage.tick()
    assert stage.director.done
    found = [(r["outcome"], r["seed"]) for r in stage.director.results]
    assert found == [("success", 10), ("failure", 11), ("failure", 12)]
    with pytest.raises(UserError, match="give reset_service"):
        Stage(episodes=3)


def test_a_result_that_may_not_label_waits_for_the_operator() -> None:
    stage = Stage(reset_service="sim/reset", auto_label=False)
    stage.request("start")
    stage.tick()
    stage.director.result({"seed": 10, "success": True})
    stage.tick()
    assert stage.phase == "awaiting label"
