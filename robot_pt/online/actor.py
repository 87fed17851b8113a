"""An actor: takes the policy that serves, plays an episode, appends it to its own store, and again. Learner and actor may die."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from robot_pt.errors import DataError, UserError
from robot_pt.evaluate import ActingPolicy
from robot_pt.online.hearts import Heart, HeartMonitor, Pulse
from robot_pt.online.locks import held
from robot_pt.online.policies import Exploring, ServedPolicy
from robot_pt.schema import Episode, Spec
from robot_pt.store import DemoStore

FIRST_SEED = 2_000_000_000
"""Starts of online episodes lie here and above: evaluations end below, demonstrations far below."""
SEEDS_PER_RUN = 1_000_000

LEARNER = "learner"
"""Name of the learner's heartbeat."""


class Player(Protocol):
    """Plays one episode; lives in one process. `robot_pt_sim.rollouts.EpisodePlayer` is one."""

    def __call__(self, policy: ActingPolicy, seed: int, /) -> Episode: ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class ActorSettings:
    """One of `actors` actors of `run`."""

    run: Path
    index: int
    actors: int
    episodes: int
    """Episodes of the whole run; this actor plays every `actors`-th."""
    spec: Spec
    seed: int = 0
    std: float | None = None
    """Exploration, see `Exploring`."""
    ahead: int = 1
    """Episodes it may be ahead of what the learner has learned from; 0 alternates strictly."""
    patience_s: float = 600.0
    """Without a sign of the learner for so long, it ends."""
    poll_s: float = 0.1

    def __post_init__(self) -> None:
        if not self.actors:
            raise UserError(f"{self.run} has no actors: its episodes come from the stores it follows.")
        if not 0 <= self.index < self.actors:
            raise UserError(f"--actor is {self.index} and {self.run} has {self.actors}; give 0 to {self.actors - 1}.")

    @property
    def name(self) -> str:
        return f"actor_{self.index}"

    @property
    def share(self) -> int:
        """Episodes that are this actor's."""
        return len(range(self.index, self.episodes, self.actors))

    def start(self, number: int) -> int:
        """Seed of its episode `number`: no two episodes of a run have the same."""
        return FIRST_SEED + (self.seed % 1000) * SEEDS_PER_RUN + number * self.actors + self.index


def store_of(run: Path, index: int) -> Path:
    """Where actor `index` keeps its episodes."""
    return run / "episodes" / f"actor_{index}"


def lock_of(run: Path, index: int) -> Path:
    """Held by actor `index` while it lives."""
    return run / "locks" / f"actor_{index}.lock"


class _GivenUp(Exception):
    """The episode that runs is dropped."""


class Actor:
    """Plays its share of episodes. One process per index at a time, on whatever machine sees the run's folder."""

    def __init__(self, settings: ActorSettings, make_player: Callable[[], Player], stop: threading.Event):
        self._settings, self._make_player, self._stop = settings, make_player, stop
        self._heart = Heart(settings.run, settings.name, "actor")
        self._learner = HeartMonitor(settings.run)
        self._served = ServedPolicy(settings.run, settings.spec)
        self._steps = self._acted = 0

    def run(self) -> int:
        """Play until the share is done, `stop` is set, the learner ended or is gone for too long; returns episodes in its store.

        Raises TakenError when this actor runs already, DataError when its store cannot be used.
        """
        settings = self._settings
        with held(lock_of(settings.run, settings.index), f"actor {settings.index} of {settings.run}"):
            store = DemoStore.create(store_of(settings.run, settings.index), settings.spec, exist_ok=True)
            store.recover()
            self._steps = int(store.source(skip_corrupt=True).episodes.length.sum()) if len(store) else 0
            end = "stopped"
            player: Player | None = None
            try:
                while (
                    len(store) < settings.share
                ):  # a number whose episode was torn is used up, its episode is still due
                    policy = self._wait_until_due(store)
                    if policy is None:
                        break
                    player = player or self._make_player()
                    self._play(store, player)
                else:
                    end = "ended"
            except _GivenUp:
                pass
            finally:
                if player is not None:
                    player.close()
                self._beat(end, store)
            return len(store)

    def _wait_until_due(self, store: DemoStore) -> object | None:
        """The policy to play with; None when there is nothing to wait for any more."""
        settings, alone_since = self._settings, time.monotonic()
        while not self._stop.is_set():
            learner = self._pulse()
            if learner is not None and learner.state == "ended":
                return None
            if learner is not None and not learner.ended and learner.age_s < settings.patience_s:
                alone_since = time.monotonic()
            elif time.monotonic() - alone_since > settings.patience_s:
                self._beat("stopped", store, reason=f"no learner for {settings.patience_s:.0f} s")
                return None
            policy = self._served.follow()
            settled = learner.facts.get("settled") if learner is not None else None
            done = settled.get(store.uid, 0) if isinstance(settled, dict) else 0
            if policy is not None and len(store) - done <= settings.ahead:
                return policy
            age = "never seen" if learner is None else f"heard of {learner.age_s:.0f} s ago"
            self._beat("waiting for a policy" if policy is None else "waiting for the learner", store, learner=age)
            self._stop.wait(settings.poll_s)
        return None

    def _play(self, store: DemoStore, player: Player) -> None:
        """One episode into the store; on a full disk it is offered again until there is room."""
        assert self._served.policy is not None
        seed = self._settings.start(len(store))
        self._acted = 0
        episode = player(Exploring(self._served.policy, seed, std=self._settings.std, on_act=self._before_action), seed)
        while True:
            try:
                store.append(episode)
                break
            except DataError as error:
                self._beat("waiting for the disk", store, trouble=str(error))
                if self._stop.wait(1.0):
                    raise _GivenUp from None
        self._steps, self._acted = self._steps + len(episode), 0
        self._beat("acting", store, trouble="", last_success=episode.success)

    def _before_action(self) -> None:
        if self._stop.is_set():
            raise _GivenUp
        self._acted += 1
        if self._heart.due("acting"):
            self._beat("acting", None)

    def _pulse(self) -> Pulse | None:
        return next((p for p in self._learner.look() if p.name == LEARNER), None)

    def _beat(self, state: str, store: DemoStore | None, **facts: object) -> None:
        serving = self._served.serving
        counted = {} if store is None else {"episodes": len(store)}
        self._heart.beat(
            state, env_steps=self._steps + self._acted, version=serving.version if serving else "",
            number=serving.number if serving else 0, swap_s=round(self._served.swap_s, 4),
            policy_trouble=self._served.trouble, **counted, **facts,
        )  # fmt: skip
