"""Small episodes and a light agent of a point that is told where it is, for tests of learning on the job."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robot_pt import checkpoint
from robot_pt.agents.bc import BC, BCConfig
from robot_pt.networks.encoders import EncoderConfig
from robot_pt.normalize import Bounds
from robot_pt.online.actor import store_of
from robot_pt.online.arrivals import ArrivalLog
from robot_pt.online.budget import Budget
from robot_pt.online.follower import StoreFollower
from robot_pt.online.hearts import Heart
from robot_pt.online.intake import Intake
from robot_pt.online.learner import OnlineLearner, Pace
from robot_pt.online.publishing import Publisher
from robot_pt.online.replay import OnlineReplay
from robot_pt.policy_record import PolicyRecord
from robot_pt.rewards import RewardLabel
from robot_pt.schema import Episode, Observation, Spec
from robot_pt.store import DemoStore
from robot_pt.store_source import episode_ids
from robot_pt.tasks import TaskTable

STATE = Spec(cameras={}, embodiment="point", action_names=("dx", "dy"), proprio_names=("x", "y"), action_unit="metric")
PIXELS = Spec(cameras={"primary": (8, 8)}, embodiment="point", action_names=("dx", "dy"), proprio_names=("x", "y"))


def make_episode(
    number: int, *, steps: int = 5, success: bool | None = True, task: str = "go", spec: Spec = STATE,
    operator: list[str] | None = None, version: str = "",
) -> Episode:  # fmt: skip
    """Its proprio says which episode and step a row is: x = number, y = step."""
    rng = np.random.default_rng(number)
    terminated = np.zeros(steps, bool)
    terminated[-1] = bool(success)
    truncated = np.zeros(steps, bool)
    truncated[-1] = not success
    return Episode(
        spec=spec,
        images={c: rng.integers(0, 256, (steps, *size, 3), np.uint8) for c, size in spec.cameras.items()},
        proprio=np.stack([np.full(steps, number), np.arange(steps)], 1).astype(np.float32),
        actions=rng.uniform(-0.2, 0.2, (steps, 2)).astype(np.float32),
        rewards=terminated.astype(np.float32),
        terminated=terminated,
        truncated=truncated,
        instruction=task,
        task=task,
        success=success,
        operator=operator or ["policy"] * steps,
        policy_version=version,
        metadata={"seed": number},
    )


def light_agent(seed: int = 0) -> BC:
    """Behaviour cloning of the state alone: an update takes about a millisecond."""
    return BC.build(
        STATE, cameras=(), image_size=(0, 0), task_slots=3, encoder=EncoderConfig(name="small"), config=BCConfig(augment=None),
        bounds=Bounds(low=(-0.2, -0.2), high=(0.2, 0.2), origin="test"), proprio=((0.0, 0.0), (5.0, 5.0)), seed=seed,
    )  # fmt: skip


class PointPlayer:
    """A point that must come to x > 0.5 within 8 steps; a `robot_pt.online.actor.Player`."""

    def __call__(self, policy, seed: int) -> Episode:
        rng = np.random.default_rng(seed)
        at = rng.uniform(-0.3, 0.3, 2)
        policy.reset("go")
        seen, done = [], []
        for _ in range(8):
            action = policy.act([Observation({}, at.astype(np.float32))])[0]
            seen.append(at.astype(np.float32))
            done.append(action)
            at = at + action
            if at[0] > 0.5:
                break
        reached = at[0] > 0.5
        last = np.arange(len(done)) == len(done) - 1
        return Episode(
            spec=STATE, images={}, proprio=np.stack(seen), actions=np.stack(done), rewards=(last & reached).astype(np.float32),
            terminated=last & reached, truncated=last & (not reached), instruction="go", task="go", success=bool(reached),
            operator=["policy"] * len(done), policy_version=policy.version, metadata={"seed": seed},
        )  # fmt: skip

    def close(self) -> None:
        pass


class StoresFull:
    """A crew of actors that others start: finished when each store holds its share."""

    def __init__(self, run: Path, shares: list[int]):
        self._run, self._shares = run, shares

    def check(self) -> list[str]:
        return []

    def reported_steps(self) -> int:
        return 0

    def finished(self) -> bool:
        stores = [store_of(self._run, i) for i in range(len(self._shares))]
        return all(s.exists() and len(episode_ids(s)) >= n for s, n in zip(stores, self._shares, strict=True))


def make_learner(run: Path, shares: list[int], *, resume: bool = False, **more) -> OnlineLearner:
    """A learner of BC on the stores of `shares` actors of `run`."""
    agent, tasks = light_agent(), TaskTable.of(["go"], spare=2)
    record = PolicyRecord.of(agent="bc", network=agent.actor.config, spec=STATE, tasks=tasks)
    replay = OnlineReplay(
        {}, online=1.0, spec=STATE, cameras=(), image_size=(0, 0), batch_size=8, reward=RewardLabel(final_steps=1), gamma=0.9,
        task_table=tasks, seed=0, bootstrap=False, next_frames=False,
    )  # fmt: skip
    log = ArrivalLog(run / "arrivals.jsonl")
    stores = [DemoStore.create(store_of(run, i), STATE, exist_ok=True).path for i in range(len(shares))]
    follower = StoreFollower(
        stores, STATE, seen=[a.key for a in log.entries], usable=lambda e: replay.columns(e) and None, grace_s=0.0
    )

    def save(step: int, state: dict) -> None:
        checkpoint.save(run, step, agent, record, {"online": state}, keep=2, keep_policies=2)

    learner = OnlineLearner(
        agent, replay, Intake(log, follower, replay), more.pop("budget", Budget()), Publisher(run, record), Heart(run, "learner", "learner", every_s=0.02),
        more.pop("crew", None) or StoresFull(run, shares), save, 0,
        pace=more.pop("pace", Pace(poll_s=0.0, checkpoint_every=20, publish_s=0.0, log_every=5, probe_every=10)), **more,
    )  # fmt: skip
    if resume and checkpoint.steps(run):
        learner.resume(checkpoint.resume(run, agent).state["online"])
    return learner


def make_intake(run: Path, judge=None) -> tuple[Intake, OnlineReplay, DemoStore]:
    """Of the store `run`/store, with the log of earlier calls; judged as `RewardLabel` of one final step."""
    replay = OnlineReplay(
        {}, online=1.0, spec=STATE, cameras=(), image_size=(0, 0), batch_size=64, reward=RewardLabel(final_steps=1), gamma=0.9,
        task_table=TaskTable.of(["go"], spare=2), seed=0, next_frames=False,
    )  # fmt: skip
    store = DemoStore.create(run / "store", STATE, exist_ok=True)
    log = ArrivalLog(run / "arrivals.jsonl")
    follower = StoreFollower(
        [store.path], STATE, seen=[a.key for a in log.entries], usable=lambda e: replay.columns(e) and None, grace_s=0.0
    )
    return Intake(log, follower, replay, judge), replay, store
