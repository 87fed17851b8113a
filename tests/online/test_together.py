"""A learner of several processes: the helpers take in the same episodes at the same updates, and the numbers are those of one."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from robot_pt import checkpoint
from robot_pt.errors import DataError
from robot_pt.online.actor import store_of
from robot_pt.online.together import ALONE, Helper, Lead
from robot_pt.store import DemoStore
from tests.online.toys import STATE, make_episode, make_intake, make_learner


class Script:
    """The first process's words, as `Ranks.from_first` gives them to another."""

    rank, device = 1, torch.device("cpu")

    def __init__(self, *words: tuple[int, int, int]):
        self._words = iter(words)

    def from_first(self, *values: int) -> list[int]:
        return list(next(self._words))


class Updates:
    """An agent that keeps what it is given."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, np.ndarray]] = []

    def update(self, batch, step: int) -> dict[str, torch.Tensor]:
        self.seen.append((step, batch.proprio.numpy().copy()))
        return {}


def test_a_helper_draws_what_the_first_draws(tmp_path) -> None:
    """Also when it starts at a resumed learner's place, where several episodes are known at once."""
    intake, replay, store = make_intake(tmp_path)
    drawn: list[tuple[int, int, np.ndarray]] = []
    with replay:
        for number in range(9):
            if number in (0, 2, 3, 6):
                store.append(make_episode(len(store), steps=4 + number))
                intake.look(number)
            drawn.append((number, replay.episodes, next(replay).proprio.copy()))
    for start in (0, 5):
        _, own, _ = make_intake(tmp_path)
        agent = Updates()
        words = [(2, number, episodes) for number, episodes, _ in drawn[start:]]
        with own:
            script = Script((1, 0, 0), words[0], (1, 0, 0), *words[1:], (0, 0, 0))
            assert Helper(agent, own, tmp_path / "arrivals.jsonl", script, first=100).run() == len(words)
        assert [step for step, _ in agent.seen] == [100 + number for number, _, _ in drawn[start:]]
        if start == 0:
            for (_, mine), (_, _, theirs) in zip(agent.seen, drawn, strict=True):
                np.testing.assert_array_equal(mine, theirs)


def test_what_cannot_be_read_here_is_said(tmp_path) -> None:
    intake, _, store = make_intake(tmp_path)
    store.append(make_episode(0))
    intake.look(0)
    _, own, _ = make_intake(tmp_path)
    (tmp_path / "store").rename(tmp_path / "moved")
    helper = Helper(Updates(), own, tmp_path / "arrivals.jsonl", Script((2, 0, 1)), first=0)
    with own, pytest.raises(DataError, match="process 1 finds 0 of the 1 episodes"):
        helper.run()


def test_what_the_first_said_of_success_holds_here(tmp_path) -> None:
    """A judge's word is in the log alone."""
    intake, replay, store = make_intake(tmp_path, judge=lambda path, episode: True)
    store.append(make_episode(0, success=False))
    intake.look(0)
    _, own, _ = make_intake(tmp_path)
    with replay, own:
        Helper(Updates(), own, tmp_path / "arrivals.jsonl", Script(), first=0).catch_up(0, 1)
        np.testing.assert_array_equal(next(own).reward, next(replay).reward)
        assert own.batch(0, 1).reward.max() > own.batch(0, 1).reward.min()


def test_one_process_has_nobody_to_tell() -> None:
    lead = Lead()
    lead.update(3, 1)
    lead.wait()
    lead.end()
    assert ALONE.from_first(4, -5) == [4, -5]


CHILD = """
import sys, threading
from pathlib import Path
from robot_pt import checkpoint
from robot_pt.distributed import processes
from robot_pt.online.replay import OnlineReplay
from robot_pt.online.together import Helper, Lead
from tests.online import toys

run = Path(sys.argv[1])
with processes("cpu") as ranks:
    def replay(*args, **kwargs):
        return OnlineReplay(*args, **kwargs, rank=ranks.rank, world_size=ranks.world_size)
    toys.OnlineReplay = replay
    if ranks.is_first:
        learner = toys.make_learner(run, [6], lead=Lead(ranks))
        learner.agent.grad_sync = ranks.mean_gradients
        with learner.replay:
            learner.run(threading.Event())
        learner.lead.end()
    else:
        agent, own = toys.light_agent(), toys.make_learner(run / "unused", [1]).replay
        agent.grad_sync = ranks.mean_gradients
        with own:
            assert Helper(agent, own, run / "arrivals.jsonl", ranks, 0).run() == 30
"""


@pytest.mark.slow
def test_two_processes_learn_as_one(tmp_path) -> None:
    for name in ("one", "two"):
        store = DemoStore.create(store_of(tmp_path / name, 0), STATE)
        for number in range(6):
            store.append(make_episode(number))
    learner = make_learner(tmp_path / "one", [6])
    with learner.replay:
        learner.run(threading.Event())
    (tmp_path / "child.py").write_text(CHILD)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        tmp_path / "child.py",
        tmp_path / "two",
    ]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    other = make_learner(tmp_path / "two", [6])
    other.replay.close()
    assert checkpoint.resume(tmp_path / "two", other.agent).state["online"]["updates"] == learner.updates == 30
    theirs = other.agent.state_dict()
    for name, value in learner.agent.state_dict().items():
        torch.testing.assert_close(theirs[name], value, rtol=1e-3, atol=1e-5)
