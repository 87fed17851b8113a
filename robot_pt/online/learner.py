"""The learner's loop: take in what has come, update as often as that is worth, publish, save; again.

Everything that decides a number is a function of the arrival log and the seed: a learner killed at any point does the same
updates again from its last checkpoint on, counters included.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from robot_pt.agents import Agent
from robot_pt.errors import DataError, MismatchError, TrainingInterrupted
from robot_pt.gradients import watched_gradients
from robot_pt.metric_window import MetricWindow, UpdateClock
from robot_pt.observers import Observer
from robot_pt.online.budget import Budget
from robot_pt.online.hearts import Heart
from robot_pt.online.intake import Intake
from robot_pt.online.publishing import Publisher
from robot_pt.online.replay import OnlineReplay
from robot_pt.online.together import Lead
from robot_pt.replay import to_device
from robot_pt.schema import Batch
from robot_pt.train import Alone, require_finite

Save = Callable[[int, dict[str, Any]], None]
"""(agent's step, JSON state of the loop): write a checkpoint. Raises DataError when the disk refuses."""

EXAMPLES = (1 << 40) + 1
"""Batch number of the examples: no update gets so far."""


class Crew(Protocol):
    """Who brings episodes: a pool of actors, or a robot that nobody here can start."""

    def check(self) -> Sequence[str]:
        """Start again who died; sentences about what happened since the last call."""
        ...

    def reported_steps(self) -> int:
        """Environment steps so far as heartbeats tell, unfinished episodes included."""
        ...

    def finished(self) -> bool:
        """Whether no further episode will come."""
        ...


class Watcher(Protocol):
    """What looks at the run beside the observers of metrics."""

    def tick(self, learner: OnlineLearner, news: Sequence[str]) -> None:
        """Every look at the stores; `news` are the crew's sentences."""
        ...

    def probe(self, learner: OnlineLearner) -> Mapping[str, float]:
        """Metrics of its own, asked for every `Pace.probe_every` updates."""
        ...


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often things are done."""

    poll_s: float = 0.2
    """Seconds between looks at the stores; far below the 2 s in which an episode must reach a batch."""
    log_every: int = 50
    """Updates between logs of metrics."""
    probe_every: int = 200
    """Updates between looks at the critic, a multiple of `log_every`; 0 for none."""
    publish_every: int = 500
    """Updates after which a policy is published in mid-episode; it is published whenever those of an episode are done."""
    publish_s: float = 0.5
    """Seconds between policies while further updates are owed."""
    checkpoint_every: int = 2000
    """Updates between checkpoints of the learner."""


@dataclass
class OnlineLearner:
    """Runs until the crew has finished and every update is done, or the budget ends.

    `first` is the agent's step where online learning began: noise is keyed by `first` + online updates.
    """

    agent: Agent
    replay: OnlineReplay
    intake: Intake
    budget: Budget
    publisher: Publisher
    heart: Heart
    crew: Crew
    save: Save
    first: int
    pace: Pace = field(default_factory=Pace)
    device: torch.device | str = "cpu"
    observers: Sequence[Observer] = ()
    watchers: Sequence[Watcher] = ()
    lead: Lead = field(default_factory=Lead)

    def __post_init__(self) -> None:
        self.updates = 0  # online updates done
        self.troubles: dict[str, str] = {}  # what cannot be done at the moment -> why
        self.troubles_elsewhere: Mapping[str, str] = {}  # of what works beside the loop
        self._seconds = 0.0
        self._began: float | None = None
        self._window, self._clock = MetricWindow(self.pace.log_every, Alone(), None), UpdateClock()
        self._polled, self._offered = -float("inf"), -float("inf")
        self._offered_at, self._reported_at, self._settled = -1, 0, 0
        self._examples: Batch | None = None

    def state(self) -> dict[str, Any]:
        """JSON values for `resume`."""
        counts = {"updates": self.updates, "arrivals": self.intake.count, "seconds": self.elapsed}
        return {**counts, "loop": self._window.state(), "fixed": self.replay.fixed}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Continue where `state` was taken; what joined after it joins again at the same updates.

        Raises DataError when the state is damaged or not of this log, MismatchError when the data beside the stores is other data.
        """
        updates, arrivals, seconds = (state.get(name) for name in ("updates", "arrivals", "seconds"))
        if not isinstance(updates, int) or not isinstance(arrivals, int) or not isinstance(seconds, int | float):
            raise DataError(
                "the online learner's state in trainer.json is damaged; remove that checkpoint's folder, resume again."
            )
        before = state.get("fixed", self.replay.fixed)
        if before != self.replay.fixed:
            raise MismatchError(
                f"the run learned from data of {before} transitions, now it is {self.replay.fixed}; resume with the same --data and --target."
            )
        self._window = MetricWindow(self.pace.log_every, Alone(), state.get("loop"))
        self.intake.resume(arrivals)
        self.updates, self._seconds, self._reported_at = updates, float(seconds), updates
        self.replay.seek(updates)

    @property
    def elapsed(self) -> float:
        """Wall-clock seconds of learning, those before a restart included."""
        return self._seconds + (0.0 if self._began is None else time.monotonic() - self._began)

    @property
    def owed(self) -> int:
        """Updates that may be done now."""
        reported = self.crew.reported_steps() if self.budget.alternation == "step" else 0
        earned = self.budget.earned(self.intake.steps, reported)
        return max(0, max(earned, self.intake.next_at or 0) - self.updates)

    def run(self, stop: threading.Event) -> dict[str, float]:
        """Learn until the end; returns the last metrics.

        Raises:
            TrainingInterrupted: `stop` was set; a checkpoint is written. DivergenceError: nothing bad was saved or published.
        """
        self._began = time.monotonic()
        for observer in self.observers:
            observer.start(self.updates, self.budget.most_updates or 0)
        end = "stopped"
        try:
            with watched_gradients(self.agent) as norms:
                while not self._over():
                    if stop.is_set():
                        self._stop()
                    self._take_in()
                    if self._may_update():
                        self._update(norms.latest if norms else dict)
                    else:
                        self.publish()
                        self._beat("waiting for episodes")
                        self.lead.wait()
                        stop.wait(self.pace.poll_s)
            if self._reported_at != self.updates:
                self._report()
            self.publish()
            self._checkpoint()
            end = "ended"
            return self._window.last
        finally:
            self.heart.beat(end, **self.facts())
            for observer in self.observers:
                observer.close()

    def _stop(self) -> None:
        self._checkpoint()
        saved = self.troubles.get("checkpoint", "a checkpoint was saved; continue with --resume.")
        raise TrainingInterrupted(
            f"stopped on request after {self.updates} online updates and {len(self.intake.joined)} episodes: {saved}"
        )

    def _over(self) -> bool:
        if self.intake.next_at is not None or self._may_update():
            return False
        if self.budget.spent(self.updates, self.elapsed):
            return True
        if not self.crew.finished():
            return False
        self._take_in(now=True)  # what ended between the last look and the crew's end
        return "arrivals" not in self.troubles and not self._may_update()

    def _may_update(self) -> bool:
        return bool(self.owed) and self.replay.ready and not self.budget.spent(self.updates, self.elapsed)

    def _take_in(self, now: bool = False) -> None:
        self.intake.rejoin(self.updates)
        if not now and time.monotonic() - self._polled < self.pace.poll_s:
            return
        self._polled = time.monotonic()
        try:
            self.intake.look(self.updates)
            self.troubles.pop("arrivals", None)
        except DataError as error:  # a full disk: the episodes stay where they are and are found again
            self.troubles["arrivals"] = str(error)
        news = list(self.crew.check())
        for watcher in self.watchers:
            watcher.tick(self, news)

    def _update(self, norms: Callable[[], dict[str, torch.Tensor]]) -> None:
        self.lead.update(self.updates, self.replay.episodes)
        with self._clock.waiting():
            batch = next(self.replay)
        metrics = self.agent.update(to_device(batch, self.device), self.first + self.updates)
        self.updates += 1
        self._clock.done(len(batch.action))
        self._window.add(self.updates, {**metrics, **norms()})
        for observer in self.observers:
            observer.step(self.updates)
        if self._window.full(self.updates):
            self._report()
        if self.updates % self.pace.publish_every == 0 or self._episode_done():
            self.publish()
        if self.updates % self.pace.checkpoint_every == 0:
            self._checkpoint()
        self._beat("learning")

    def _episode_done(self) -> bool:
        """Whether the updates of an episode have just ended; with short ones, not more often than `publish_s`."""
        before, now = self._settled, sum(self.intake.settled(self.budget, self.updates).values())
        self._settled = now
        return not self.owed or (now > before and time.monotonic() - self._offered >= self.pace.publish_s)

    def _report(self) -> None:
        self._reported_at = self.updates
        values = {**self._window.close(), **self._clock.close(), **self.progress()}
        if self.pace.probe_every and self.updates % self.pace.probe_every == 0:
            for watcher in self.watchers:
                values |= watcher.probe(self)
        for observer in self.observers:
            observer.metrics(self.updates, values)

    def progress(self) -> dict[str, float]:
        """Counts for the log."""
        joined = self.intake.joined
        known = [a.by_policy for a in joined[-20:] if a.by_policy is not None]
        rate = {"online/success_of_last_20": sum(known) / len(known)} if known else {}
        return {"online/episodes": float(len(joined)), "online/env_steps": float(self.intake.steps), **rate}

    def examples(self) -> Batch | None:
        """Stored transitions that policies and critic are judged on: the same from the first that there are on."""
        if self._examples is None and self.replay.ready:
            self._examples = to_device(self.replay.batch(EXAMPLES, self.replay.episodes), self.device)
        return self._examples

    def publish(self) -> None:
        """Offer the policy, unless that of this update was offered, or a newer one serves (after a kill)."""
        serving, step = self.publisher.serving, self.first + self.updates
        if self._offered_at == self.updates or (serving is not None and serving.step >= step):
            return
        self._offered_at, self._offered = self.updates, time.monotonic()
        self.publisher.publish(step, self.agent, self.examples())

    def _checkpoint(self) -> None:
        require_finite(self.agent, self.updates)
        try:
            self.save(self.first + self.updates, self.state())
            self.troubles.pop("checkpoint", None)
        except DataError as error:  # learn on: the last checkpoint and the log bring everything back
            self.troubles["checkpoint"] = str(error)

    def _beat(self, state: str) -> None:
        if self.heart.due(state):
            self.heart.beat(state, **self.facts())

    def facts(self) -> dict[str, Any]:
        """What the heartbeat says: counts, versions, and how many episodes of each store are learned from."""
        serving = self.publisher.serving
        troubles = [
            *self.troubles.values(),
            *self.troubles_elsewhere.values(),
            *self.intake.troubles,
            *filter(None, [self.publisher.trouble]),
        ]
        return {
            "updates": self.updates, "owed": self.owed, "episodes": len(self.intake.joined), "env_steps": self.intake.steps,
            "set_aside": len(self.intake.set_aside), "version": serving.version if serving else "",
            "number": serving.number if serving else 0, "troubles": troubles,
            "settled": self.intake.settled(self.budget, self.updates),
        }  # fmt: skip
