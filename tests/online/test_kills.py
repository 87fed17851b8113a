"""kill -9 of actor, learner and both at random points: no episode lost or doubled, the same counters, the very same weights."""

import json
import os
import random
import shutil
import signal
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from robot_pt import checkpoint
from robot_pt.errors import UserError
from robot_pt.online.actor import FIRST_SEED, Actor, ActorSettings, lock_of, store_of
from robot_pt.online.arrivals import read_arrivals
from robot_pt.online.hearts import HeartMonitor
from robot_pt.online.locks import TakenError, held
from robot_pt.online.serving import read_serving
from robot_pt.policy import Policy
from robot_pt.safe_tensors import read_tensors
from robot_pt.store import DemoStore
from tests.online.toys import STATE, PointPlayer, make_learner

ACTORS = 2


def forked(work: Callable[[], None]) -> int:
    """Run `work` in a process of its own; exit code 0 where it returns."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setpgid(0, 0)
        work()
        code = 0
    except BaseException:  # nobody above will say it: this process ends here
        traceback.print_exc()
        raise
    finally:
        os._exit(code)


def actor_of(run: Path, index: int, episodes: int, **more) -> Actor:
    settings = ActorSettings(
        run=run, index=index, actors=ACTORS, episodes=episodes, spec=STATE, std=0.3, poll_s=0.005, **more
    )
    return Actor(settings, PointPlayer, threading.Event())


def learn(run: Path, shares: list[int]) -> None:
    with held(run / "locks" / "learner.lock", "a learner", wait_s=5):
        learner = make_learner(run, shares, resume=True)
        learner.heart.beat("starting")
        with learner.replay:
            learner.publish()
            learner.run(threading.Event())


def alive(pid: int) -> bool:
    done, _ = os.waitpid(pid, os.WNOHANG)
    return done == 0


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def play(run: Path, episodes: int, kills: int, seed: int, between_s: float) -> int:
    """Let learner and actors run to the end while `kills` of them die; returns how many did."""
    rng, killed = random.Random(seed), 0
    shares = [len(range(i, episodes, ACTORS)) for i in range(ACTORS)]
    works: dict[str, Callable[[], None]] = {"learner": lambda: learn(run, shares)}
    for i in range(ACTORS):
        works[f"actor {i}"] = lambda i=i: actor_of(run, i, episodes).run() and None
    pids: dict[str, int] = {}
    deadline = time.monotonic() + 240
    try:
        while time.monotonic() < deadline:
            for name in works:
                if name not in pids or (pids[name] > 0 and not alive(pids[name])):
                    done = name in pids and _finished(run, name, shares)
                    pids[name] = 0 if done else forked(works[name])
            if not any(pids.values()):
                return killed
            time.sleep(rng.uniform(0.01, between_s) if killed < kills else 0.05)
            victims = {0: ["learner"], 1: ["actor 0"], 2: ["actor 1"], 3: list(works)}[rng.randrange(4)]
            for name in victims if killed < kills else []:
                if pids.get(name):
                    kill(pids.pop(name))
                    killed += 1
    finally:
        for pid in pids.values():
            if pid:
                kill(pid)
    raise AssertionError("the run did not end")


def _finished(run: Path, name: str, shares: list[int]) -> bool:
    pulse = next((p for p in HeartMonitor(run).look() if p.name == name.replace(" ", "_")), None)
    return pulse is not None and pulse.state == "ended"


def verify(run: Path, episodes: int) -> None:
    """The stores are whole, each episode joined once, and the counters are those of the episodes."""
    found, seeds, steps = set(), [], 0
    for i in range(ACTORS):
        store = DemoStore(store_of(run, i))
        assert store.recover(check_all=True).quarantined == {}
        assert len(store) == len(range(i, episodes, ACTORS))
        torn = [folder.name.removesuffix(".part") for folder in (store.path / "quarantine").glob("*.part")]
        assert sorted([*store.episodes, *torn]) == [f"{k:06d}" for k in range(len(store) + len(torn))]
        for name in store.episodes:
            episode = store.read(name)
            found.add((store.uid, name))
            seeds.append(episode.metadata["seed"])
            steps += len(episode)
    assert sorted(seeds) == list(range(FIRST_SEED, FIRST_SEED + episodes))
    arrivals = read_arrivals(run / "arrivals.jsonl")
    assert len(arrivals) == episodes
    assert {a.key for a in arrivals} == found
    assert sum(a.steps for a in arrivals) == steps
    assert [a.update for a in arrivals] == sorted(a.update for a in arrivals)
    last = checkpoint.steps(run)[-1]
    document = json.loads((checkpoint.folder_of(run, last) / "trainer.json").read_text())
    assert last == steps  # one update per step
    assert document["state"]["online"]["arrivals"] == episodes
    serving = read_serving(run)
    assert serving.step == steps
    assert Policy.load(run).version == serving.version
    versions = {a.version for a in arrivals}
    lines = (run / "publications.jsonl").read_text().splitlines()
    published = [json.loads(line) for line in lines if line.endswith("}")]  # a kill may tear a line
    assert versions <= {event["version"] for event in published if event["event"] == "published"}


def relearned(run: Path, again: Path, episodes: int) -> None:
    """From the log alone, without one kill, the weights come out bit for bit."""
    shutil.copytree(
        run,
        again,
        symlinks=True,
        ignore=shutil.ignore_patterns("checkpoints", "versions", "serving.json", "selected", "latest"),
    )
    shares = [len(range(i, episodes, ACTORS)) for i in range(ACTORS)]
    _, status = os.waitpid(forked(lambda: learn(again, shares)), 0)  # a process that has trained cannot be forked again
    assert status == 0
    last = checkpoint.steps(run)[-1]
    assert checkpoint.steps(again)[-1] == last
    one, other = (read_tensors(checkpoint.folder_of(r, last) / "trainer.safetensors") for r in (run, again))
    assert {k for k in one if k.startswith("agent.")} == {k for k in other if k.startswith("agent.")}
    assert all(torch.equal(value, other[k]) for k, value in one.items() if k.startswith("agent."))


@pytest.mark.timeout(280)
def test_a_few_kills_at_random_points(tmp_path) -> None:
    assert play(tmp_path / "run", 14, kills=6, seed=1, between_s=0.6) >= 6
    verify(tmp_path / "run", 14)
    relearned(tmp_path / "run", tmp_path / "again", 14)


def test_a_torn_episode_is_set_aside_and_played_again(tmp_path) -> None:
    """The number of a torn episode is used up; its actor still owes it, and the learner that counts on it comes to its end."""
    store = DemoStore.create(store_of(tmp_path / "run", 1), STATE)
    (store.path / "000000.part" / "actions").mkdir(parents=True)
    assert play(tmp_path / "run", 4, kills=0, seed=0, between_s=0.1) == 0
    assert store.episodes == ["000001", "000002"]
    verify(tmp_path / "run", 4)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_fifty_kills_at_random_points(tmp_path) -> None:
    killed = 0
    for seed in range(5):
        run = tmp_path / f"run{seed}"
        killed += play(run, 40, kills=12, seed=seed, between_s=0.5)
        verify(run, 40)
        relearned(run, tmp_path / f"again{seed}", 40)
    assert killed >= 50


def test_an_actor_runs_once(tmp_path) -> None:
    with held(lock_of(tmp_path, 0), "it"), pytest.raises(TakenError, match=r"actor 0 of .* is running"):
        actor_of(tmp_path, 0, 2).run()


def test_an_actor_waits_for_the_learner_says_so_and_gives_up_in_the_end(tmp_path) -> None:
    """Nobody published anything: it waits, tells for what, and ends after its patience."""
    assert actor_of(tmp_path, 0, 2, patience_s=0.3).run() == 0
    (pulse,) = HeartMonitor(tmp_path).look()
    assert pulse.state == "stopped"
    assert pulse.facts["reason"] == "no learner for 0 s"
    assert pulse.facts["learner"] == "never seen"


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_an_actor_is_never_further_ahead_than_allowed(tmp_path, ahead: int) -> None:
    """A learner that publishes and then learns nothing: the actor stops after as many episodes as it may be ahead, plus the one due."""
    learner = make_learner(tmp_path, [5, 5])
    learner.heart.beat("starting")
    learner.publish()
    stop = threading.Event()
    settings = ActorSettings(run=tmp_path, index=0, actors=2, episodes=20, spec=STATE, ahead=ahead, poll_s=0.005)
    actor = Actor(settings, PointPlayer, stop)
    thread = threading.Thread(target=actor.run)
    thread.start()
    try:
        store, deadline = DemoStore(store_of(tmp_path, 0)), time.monotonic() + 20
        while len(store) < ahead + 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        assert len(store) == ahead + 1
        pulse = next(p for p in HeartMonitor(tmp_path).look() if p.name == "actor_0")
        assert pulse.state == "waiting for the learner"
    finally:
        stop.set()
        thread.join(20)
    learner.replay.close()


def test_a_full_disk_keeps_the_episode_until_there_is_room(tmp_path, monkeypatch) -> None:
    from robot_pt.errors import DataError

    learner = make_learner(tmp_path, [1, 1])
    learner.heart.beat("starting")
    learner.publish()
    real, refused = DemoStore.append, []

    def append(self, episode, **more):
        if len(refused) < 2:
            refused.append(1)
            raise DataError("writing episode 000000 failed: No space left on device; free space.")
        return real(self, episode, **more)

    monkeypatch.setattr(DemoStore, "append", append)
    assert actor_of(tmp_path, 0, 2).run() == 1
    assert len(refused) == 2
    learner.replay.close()


def test_shares_cover_all_episodes_and_starts_never_repeat() -> None:
    def settings(i: int) -> ActorSettings:
        return ActorSettings(run=Path("r"), index=i, actors=3, episodes=10, spec=STATE, seed=5)

    assert sum(settings(i).share for i in range(3)) == 10
    starts = [settings(i).start(k) for i in range(3) for k in range(settings(i).share)]
    assert len(set(starts)) == 10
    assert min(starts) >= FIRST_SEED > 1_000_000 + 100_000 * 10_000  # above every evaluation
    with pytest.raises(UserError, match=r"--actor is 3 and .* has 3; give 0 to 2"):
        settings(3)
    with pytest.raises(UserError, match="r has no actors: its episodes come from the stores it follows"):
        ActorSettings(run=Path("r"), index=0, actors=0, episodes=10, spec=STATE)
