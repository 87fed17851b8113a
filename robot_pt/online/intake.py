"""Episodes into the replay, each once: first those that had joined before a restart, at the same updates, then what is found."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from robot_pt.errors import DataError, UserError
from robot_pt.online.arrivals import Arrival, ArrivalLog
from robot_pt.online.budget import Budget
from robot_pt.online.follower import Found, StoreFollower, read_again
from robot_pt.online.replay import OnlineReplay
from robot_pt.schema import Episode

Judge = Callable[[Path, Episode], bool | None]
"""(store, episode) -> whether it succeeded, None where nobody knows. `robot_pt.online.verdicts.EpisodeJudge` is one."""


class Intake:
    """Takes in what `follower` finds, noting each in `log` before it is used. A `judge` is asked once per episode: its answer is noted too.

    Attributes:
        joined: arrivals in the replay, in order.
        set_aside: "store/episode" -> why it is not.
        steps: environment steps of those in the replay.
    """

    def __init__(self, log: ArrivalLog, follower: StoreFollower, replay: OnlineReplay, judge: Judge | None = None):
        self._log, self._follower, self._replay, self._judge = log, follower, replay, judge
        self._again = deque(log.entries)
        self._unsettled: deque[tuple[str, int]] = deque()  # (store, steps of all arrivals up to it)
        self._settled: Counter[str] = Counter()
        self.joined: list[Arrival] = []
        self.set_aside: dict[str, str] = {}
        self.steps = 0
        self.on_join: list[Callable[[Arrival, int], None]] = []

    @property
    def count(self) -> int:
        """Entries of the log taken so far: what a checkpoint keeps."""
        return len(self._log.entries) - len(self._again)

    @property
    def next_at(self) -> int | None:
        """Updates after which the next arrival of before a restart joins; None where there is none left."""
        return self._again[0].update if self._again else None

    @property
    def troubles(self) -> list[str]:
        """Why stores cannot be followed at the moment."""
        return list(self._follower.troubles.values())

    def resume(self, count: int) -> None:
        """Take in again the first `count` arrivals of the log, those a checkpoint knew. Raises DataError where it has fewer."""
        if not 0 <= count <= len(self._again):
            raise DataError(
                f"the checkpoint knows {count} arrivals, arrivals.jsonl holds {len(self._again)}; restore the file it was saved with."
            )
        for _ in range(count):
            self._join_again(self._again.popleft())

    def rejoin(self, updates: int) -> None:
        """Take in the arrivals of before a restart that had joined by now."""
        while self._again and self._again[0].update <= updates:
            self._join_again(self._again.popleft())

    def look(self, updates: int) -> None:
        """Take in what is new in the stores; nothing while arrivals of before a restart are due, which come first.

        Raises DataError when the log cannot be written; what was not noted is found again.
        """
        if not self._again:
            for found in self._follower.poll():
                self._join(self._judged(found), updates)

    def settled(self, budget: Budget, updates: int) -> dict[str, int]:
        """Store uid -> episodes whose updates are all done; actors look at it before they go on."""
        while self._unsettled and budget.earned(self._unsettled[0][1]) <= updates:
            self._settled[self._unsettled.popleft()[0]] += 1
        return dict(self._settled)

    def _join(self, found: Found, updates: int) -> None:
        episode = found.episode
        arrival = Arrival(found.store.uid, str(found.store.path), found.name, 0, updates, reason=found.reason)
        if episode is not None:
            arrival = arrival._replace(
                steps=len(episode),
                success=None if episode.success is None else bool(episode.success),
                version=episode.policy_version,
                interventions=sum(o == "intervention" for o in episode.operator or ()),
            )
        try:
            self._log.append(arrival)
        except DataError:
            self._follower.forget(found)
            raise
        self._settle(found, arrival, updates)

    def _judged(self, found: Found) -> Found:
        """With the judge's word; without an episode where it cannot be judged, or cannot be learned from then."""
        if self._judge is None or found.episode is None:
            return found
        try:
            episode = replace(found.episode, success=self._judge(found.store.path, found.episode))
            self._replay.columns(episode)
        except UserError as error:
            return found._replace(episode=None, reason=str(error))
        return found._replace(episode=episode)

    def _join_again(self, arrival: Arrival) -> None:
        if arrival.reason:
            self._set_aside(arrival, arrival.reason)
            return
        try:
            found = read_again(Path(arrival.path), arrival.store, arrival.episode)
        except DataError as error:
            self._set_aside(arrival, f"it joined before and cannot be read any more: {error}")
            return
        if (
            self._judge is not None and found.episode is not None
        ):  # what was said then holds, whatever the judge has learned since
            found = found._replace(episode=replace(found.episode, success=arrival.success))
        self._settle(found, arrival, arrival.update)

    def _settle(self, found: Found, arrival: Arrival, updates: int) -> None:
        if found.episode is None:
            self._set_aside(arrival, arrival.reason)
            return
        self._replay.append(found.episode, found.folder)
        self.joined.append(arrival)
        self.steps += arrival.steps
        self._unsettled.append((arrival.store, self.steps))
        for tell in self.on_join:
            tell(arrival, updates)

    def _set_aside(self, arrival: Arrival, reason: str) -> None:
        self.set_aside[f"{arrival.path}/{arrival.episode}"] = reason
        self._unsettled.append((arrival.store, self.steps))
