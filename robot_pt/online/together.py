"""A learner of several processes: the first follows the stores and says what to do next, the others do the same updates with it.

Every process draws its part of the same batches (`OnlineReplay(rank=, world_size=)`) and gradients are averaged, so the numbers are
those of one process but for the order of floating-point sums. Only the first writes anything.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import final

import torch

from robot_pt.agents import Agent
from robot_pt.distributed import Ranks
from robot_pt.errors import DataError
from robot_pt.online.arrivals import read_arrivals
from robot_pt.online.follower import read_again
from robot_pt.online.replay import OnlineReplay
from robot_pt.replay import to_device

_END, _WAIT, _UPDATE = range(3)
ALONE = Ranks(0, 1, torch.device("cpu"))


@final
class Lead:
    """The first process, towards the others; without others nobody hears it."""

    def __init__(self, ranks: Ranks = ALONE):
        self._ranks = ranks

    def update(self, updates: int, episodes: int) -> None:
        """Before each update: how many were done, and how many episodes have joined."""
        self._ranks.from_first(_UPDATE, updates, episodes)

    def wait(self) -> None:
        """While there is nothing to do, so that nobody takes a long wait for a lost process."""
        self._ranks.from_first(_WAIT, 0, 0)

    def end(self) -> None:
        """Let the others end."""
        self._ranks.from_first(_END, 0, 0)


@final
class Helper:
    """Every other process: does what the first says until that ends.

    Args:
        replay: as the first has it, with this process's rank.
        log: arrivals.jsonl of the first, in a folder that both see.
        first: the agent's step where online learning began.
    """

    def __init__(self, agent: Agent, replay: OnlineReplay, log: Path, ranks: Ranks, first: int):
        self._agent, self._replay, self._log, self._ranks, self._first = agent, replay, log, ranks, first
        self._looked_at = 0

    def run(self) -> int:
        """Returns the updates done here. Raises DataError where the episodes that the first learns from are not to be had here."""
        done = 0
        while True:
            order, updates, episodes = self._ranks.from_first(_END, 0, 0)
            if order == _END:
                return done
            if order == _UPDATE:
                self.catch_up(updates, episodes)
                self._agent.update(to_device(next(self._replay), self._ranks.device), self._first + updates)
                done += 1

    def catch_up(self, updates: int, episodes: int) -> None:
        """Take in what the first has taken in before it draws batch `updates`. Raises as `run`."""
        if self._replay.episodes < episodes:
            self._join(episodes)
        if self._replay.episodes != episodes:
            raise DataError(
                f"process {self._ranks.rank} finds {self._replay.episodes} of the {episodes} episodes that the first learns from; start "
                "them where all see the RUN folder and the stores under the same paths."
            )
        if self._replay.position != updates:  # resumed
            self._replay.seek(updates)

    def _join(self, episodes: int) -> None:
        for arrival in [a for a in read_arrivals(self._log) if not a.reason][self._looked_at :]:
            if self._replay.episodes == episodes:
                return
            self._looked_at += 1
            try:
                found = read_again(Path(arrival.path), arrival.store, arrival.episode)
            except DataError:
                continue  # the first, which says so, sets it aside too
            assert found.episode is not None
            # what was said of its success when it joined holds here too
            self._replay.append(replace(found.episode, success=arrival.success), found.folder)
