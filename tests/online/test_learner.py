"""The learner's loop: counters, publishing between episodes, exact resumption from any point, and disks that are full."""

import json
import threading
import time

import pytest
import torch

from robot_pt import checkpoint
from robot_pt.errors import DataError, MismatchError, TrainingInterrupted
from robot_pt.observers import DivergenceError, JsonLines, read_metrics
from robot_pt.online.actor import store_of
from robot_pt.online.arrivals import read_arrivals
from robot_pt.online.budget import Budget
from robot_pt.online.hearts import HeartMonitor
from robot_pt.online.learner import Pace
from robot_pt.online.serving import read_serving
from robot_pt.store import DemoStore
from tests.online.toys import STATE, make_episode, make_learner


class Feeding:
    """Appends episode k to the store when the learner has done `at[k]` updates; arrivals and updates interleave as on a robot."""

    def __init__(self, run, at: list[int], **fields):
        self.at, self.fields, self.learner = at, fields, None
        self.store = DemoStore.create(store_of(run, 0), STATE, exist_ok=True)

    def check(self) -> list[str]:
        due = [k for k, updates in enumerate(self.at) if k >= len(self.store) and updates <= self.learner.updates]
        for k in due:
            self.store.append(make_episode(k, **self.fields))
        return []

    def reported_steps(self) -> int:
        return 0

    def finished(self) -> bool:
        return len(self.store) >= len(self.at)


def fed(run, at, *, resume=False, **more):
    crew = Feeding(run, at, **more.pop("fields", {}))
    learner = make_learner(run, [len(at)], resume=resume, crew=crew, **more)
    crew.learner = learner
    return learner


def run(learner) -> None:
    with learner.replay:
        learner.publish()
        learner.run(threading.Event())


def weights(learner) -> dict[str, torch.Tensor]:
    return learner.agent.state_dict()


def same(one, other) -> bool:
    return set(one) == set(other) and all(torch.equal(one[k], other[k]) for k in one)


def test_every_step_is_worth_its_updates(tmp_path) -> None:
    learner = fed(tmp_path, [0, 0, 5, 12], budget=Budget(utd=2.5), observers=[JsonLines(tmp_path / "metrics.jsonl")])
    run(learner)
    assert learner.updates == 2.5 * 4 * 5
    assert [a.episode for a in learner.intake.joined] == ["000000", "000001", "000002", "000003"]
    assert learner.owed == 0
    assert read_serving(tmp_path).step == 50
    assert checkpoint.steps(tmp_path)[-1] == 50
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert rows[-1]["step"] == 50
    assert rows[-1]["online/episodes"] == 4
    assert rows[-1]["online/env_steps"] == 20
    assert rows[-1]["online/success_of_last_20"] == 1.0
    (pulse,) = HeartMonitor(tmp_path).look()
    assert (pulse.state, pulse.facts["updates"], pulse.facts["owed"]) == ("ended", 50, 0)
    assert pulse.facts["settled"] == {learner.intake.joined[0].store: 4}


def test_the_policy_before_any_episode_serves_first(tmp_path) -> None:
    learner = fed(tmp_path, [0])
    with learner.replay:
        learner.publish()
        assert read_serving(tmp_path).step == 0
        learner.run(threading.Event())
    assert read_serving(tmp_path).number == 2


def test_a_policy_is_published_after_each_episode_s_updates(tmp_path) -> None:
    run(fed(tmp_path, [0, 5, 10]))
    steps = [json.loads(line)["step"] for line in (tmp_path / "publications.jsonl").read_text().splitlines()]
    assert steps == [0, 5, 10, 15]


def test_the_warm_up_earns_nothing(tmp_path) -> None:
    learner = fed(tmp_path, [0, 0, 0], budget=Budget(warm_up_steps=12))
    run(learner)
    assert learner.updates == 3


@pytest.mark.parametrize("budget", [Budget(most_updates=7), Budget(utd=1000, most_seconds=1.5)])
def test_the_budget_ends_it(tmp_path, budget: Budget) -> None:
    learner = fed(tmp_path, [0, 0, 0, 0], budget=budget)
    began = time.monotonic()
    run(learner)
    assert time.monotonic() - began < 30
    if budget.most_updates:
        assert learner.updates == 7
    else:
        assert 0 < learner.updates < 20_000


@pytest.mark.parametrize("stop_at", [1, 4, 13, 20, 24])
def test_stopped_and_resumed_it_does_the_very_same_updates(tmp_path, stop_at: int) -> None:
    at = [0, 3, 9, 14, 18]
    whole = fed(tmp_path / "whole", at)
    run(whole)

    stop = threading.Event()

    class StopAt:
        def start(self, step, steps): ...
        def step(self, step):
            if step == stop_at:
                stop.set()

        def metrics(self, step, values): ...
        def close(self): ...

    first = fed(tmp_path / "cut", at, observers=[StopAt()])
    with first.replay, pytest.raises(TrainingInterrupted, match=f"stopped on request after {stop_at} online updates"):
        first.run(stop)
    second = fed(tmp_path / "cut", at, resume=True)
    assert second.updates == stop_at
    run(second)
    assert second.updates == whole.updates == 25
    assert same(weights(second), weights(whole))
    assert [a._replace(store="", path="") for a in read_arrivals(tmp_path / "cut" / "arrivals.jsonl")] == [
        a._replace(store="", path="") for a in read_arrivals(tmp_path / "whole" / "arrivals.jsonl")
    ]


def test_from_the_log_alone_everything_is_learned_again(tmp_path) -> None:
    """No checkpoint survived: the log says what joined when, and the weights come out bit for bit."""
    first = fed(tmp_path, [0, 3, 9, 14, 18])
    run(first)
    before = weights(first)
    entries = read_arrivals(tmp_path / "arrivals.jsonl")
    for step in checkpoint.steps(tmp_path):
        (checkpoint.folder_of(tmp_path, step) / "trainer.json").unlink()
    again = make_learner(tmp_path, [5])
    run(again)
    assert same(weights(again), before)
    assert read_arrivals(tmp_path / "arrivals.jsonl") == entries


def test_an_episode_reaches_a_batch_within_two_seconds_of_its_rename(tmp_path) -> None:
    learner = fed(tmp_path, [0, 10_000], budget=Budget(utd=1000), pace=Pace(checkpoint_every=10**9))
    used: list[float] = []
    update = learner.agent.update

    def watched(batch, step):
        if not used and bool((batch.proprio[:, 0] == 1).any()):
            used.append(time.monotonic())
        return update(batch, step)

    learner.agent.update = watched
    stop = threading.Event()

    def learn() -> None:
        with pytest.raises(TrainingInterrupted):
            learner.run(stop)

    thread = threading.Thread(target=learn)
    thread.start()
    try:
        while learner.updates < 50:
            time.sleep(0.01)
        learner.crew.store.append(make_episode(1))
        renamed = time.monotonic()
        while not used and time.monotonic() - renamed < 10:
            time.sleep(0.01)
        assert used[0] - renamed < 2.0
    finally:
        stop.set()
        thread.join(30)
        learner.replay.close()


def test_bad_episodes_are_set_aside_and_learning_goes_on(tmp_path) -> None:
    store = DemoStore.create(store_of(tmp_path, 0), STATE)
    for i in range(3):
        store.append(make_episode(i, task="fly" if i == 1 else "go"))
    chunk = store.path / "000002" / "actions" / "c.0.0"
    chunk.write_bytes(chunk.read_bytes()[:-4])
    learner = make_learner(tmp_path, [3])
    run(learner)
    assert learner.updates == 5
    assert [a.episode for a in learner.intake.joined] == ["000000"]
    reasons = " ".join(learner.intake.set_aside.values())
    assert "task 'fly' is not in the run's task table" in reasons
    assert "truncated" in reasons
    assert learner.facts()["set_aside"] == 2
    assert learner.facts()["settled"] == {store.uid: 3}  # the actor need not wait for what will never be learned from
    again = make_learner(tmp_path, [3], resume=True)
    run(again)
    assert again.updates == 5
    assert again.intake.set_aside == learner.intake.set_aside


def test_a_full_disk_stops_checkpoints_and_arrivals_but_not_learning(tmp_path, monkeypatch) -> None:
    learner = fed(tmp_path, [0, 0, 0], budget=Budget(utd=20))
    real, told = learner.save, []

    def full(step: int, state: dict) -> None:
        if learner.updates < 250:
            told.append(learner.updates)
            raise DataError("checkpoint could not be written: No space left on device; free disk space.")
        real(step, state)

    learner.save = full
    run(learner)
    assert learner.updates == 300
    assert told
    assert checkpoint.steps(tmp_path)[-1] == 300
    assert learner.troubles == {}


def test_an_arrival_that_cannot_be_noted_is_found_again(tmp_path, monkeypatch) -> None:
    learner = fed(tmp_path, [0])
    real, calls = learner.intake._log.append, []

    def append(arrival) -> None:
        calls.append(arrival)
        if len(calls) < 3:
            raise DataError("arrivals.jsonl could not be written: No space left on device.")
        real(arrival)

    monkeypatch.setattr(learner.intake._log, "append", append)
    run(learner)
    assert learner.updates == 5
    assert len(learner.intake.joined) == 1


def test_weights_that_become_nan_are_neither_saved_nor_published(tmp_path) -> None:
    learner = fed(tmp_path, [0, 5], pace=Pace(poll_s=0.0, checkpoint_every=3, publish_s=0.0))
    update = learner.agent.update

    def poisoned(batch, step):
        metrics = update(batch, step)
        if step == 7:
            with torch.no_grad():
                learner.agent.actor.mean.bias[0] = float("nan")
        return metrics

    learner.agent.update = poisoned
    with pytest.raises(DivergenceError):
        run(learner)
    assert read_serving(tmp_path).step == 5
    assert checkpoint.steps(tmp_path)[-1] == 6
    for folder in (read_serving(tmp_path).path(tmp_path), checkpoint.folder_of(tmp_path, 6)):
        from robot_pt.safe_tensors import read_tensors

        assert all(torch.isfinite(t).all() for t in read_tensors(folder / "weights.safetensors").values())
    assert HeartMonitor(tmp_path).look()[0].state == "stopped"


def test_a_state_of_other_data_is_refused(tmp_path) -> None:
    learner = make_learner(tmp_path, [1])
    state = learner.state()
    assert state["fixed"] == learner.replay.fixed == {}
    with pytest.raises(
        MismatchError, match=r"of {'offline': 7} transitions, now it is {}; resume with the same --data"
    ):
        learner.resume({**state, "fixed": {"offline": 7}})
    learner.resume(state)


@pytest.mark.parametrize(
    "state", [{}, {"updates": "x", "arrivals": 0, "seconds": 0}, {"updates": 1, "arrivals": 7, "seconds": 0.0}]
)
def test_a_state_of_another_run_is_refused(tmp_path, state) -> None:
    with pytest.raises(DataError):
        make_learner(tmp_path, [1]).resume(state)
