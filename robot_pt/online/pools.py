"""Actor processes: started, started again when they die, asked to end. On this machine here, over many through Ray."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from robot_pt.endings import ended
from robot_pt.errors import UserError
from robot_pt.online.actor import lock_of, store_of
from robot_pt.online.hearts import HeartMonitor
from robot_pt.online.locks import is_held
from robot_pt.store_source import episode_ids

MOST_DEATHS = 5
"""Deaths in a row without an episode between them after which an actor is not started again."""

Command = Sequence[str]


class ActorPool(Protocol):
    """N actors of one run. They talk to the learner through files alone, so a pool only starts and ends them."""

    def start(self) -> None: ...

    def check(self) -> Sequence[str]:
        """Start again who died; sentences about what happened since the last call. Raises UserError when nobody can go on."""
        ...

    def reported_steps(self) -> int:
        """Environment steps so far as heartbeats tell, unfinished episodes included."""
        ...

    def finished(self) -> bool:
        """Whether every actor has played its share."""
        ...

    def stop(self) -> None:
        """Ask all to end and wait; an episode that runs is dropped."""
        ...


class Starter(Protocol):
    """Runs commands somewhere."""

    def start(self, index: int, command: Command, log: Path) -> None: ...

    def exit_code(self, index: int) -> int | None:
        """None while it runs, or was never started."""
        ...

    def running(self, index: int) -> bool: ...

    def end(self, wait_s: float) -> None: ...


class SupervisedPool:
    """Keeps one process per actor alive through `starter`. An actor that outlived an earlier learner is left alone and watched.

    Args:
        commands: what to run for each actor; it ends with 0 when its share is done.
        shares: episodes each actor is to play.
    """

    def __init__(
        self, run: Path, commands: Sequence[Command], shares: Sequence[int], starter: Starter, *, pause_s: float = 1.0
    ):
        assert len(commands) == len(shares), "a share for each actor"
        self._run, self._commands, self._shares, self._starter = run, commands, shares, starter
        self._pause_s = pause_s
        self._deaths = [0] * len(commands)
        self._played = [-1] * len(commands)
        self._wait_until = [0.0] * len(commands)
        self._hearts = HeartMonitor(run)
        self._given_up: set[int] = set()
        self._started: set[int] = set()

    def start(self) -> None:
        self.check()

    def check(self) -> list[str]:
        news: list[str] = []
        for index in range(len(self._commands)):
            if self._done(index) or index in self._given_up or self._starter.running(index):
                continue
            if is_held(lock_of(self._run, index)):  # it outlived the learner that started it
                continue
            if index in self._started:
                news += self._died(index)
            if index not in self._given_up and time.monotonic() >= self._wait_until[index]:
                self._started.add(index)
                self._starter.start(index, self._commands[index], self._run / "logs" / f"actor_{index}.log")
        open_ones = {i for i in range(len(self._commands)) if not self._done(i)}
        if open_ones and open_ones <= self._given_up:
            first = min(open_ones)
            raise UserError(
                f"no actor can go on: actor {first} died {MOST_DEATHS} times in a row without an episode; see "
                f"{self._run / 'logs' / f'actor_{first}.log'}, mend it, then continue with --resume."
            )
        return news

    def reported_steps(self) -> int:
        return self._hearts.steps("actor")

    def finished(self) -> bool:
        return all(self._done(index) for index in range(len(self._commands)))

    def stop(self) -> None:
        self._starter.end(10.0)

    def _done(self, index: int) -> bool:
        return self._count(index) >= self._shares[index]

    def _count(self, index: int) -> int:
        """Episodes of an actor: a number above its last one."""
        try:
            names = episode_ids(store_of(self._run, index))
        except OSError:
            return 0
        return int(names[-1]) + 1 if names else 0

    def _died(self, index: int) -> list[str]:
        code = self._starter.exit_code(index)
        played = self._count(index)
        self._started.discard(index)
        self._deaths[index] = 1 if played > self._played[index] else self._deaths[index] + 1
        self._played[index] = played
        self._wait_until[index] = time.monotonic() + self._pause_s * 2 ** (self._deaths[index] - 1)
        how = ended(code)
        if self._deaths[index] >= MOST_DEATHS:
            self._given_up.add(index)
            return [f"actor {index} {how} {MOST_DEATHS} times in a row without an episode and is not started again."]
        return [f"actor {index} {how} and is started again; its log is {self._run / 'logs' / f'actor_{index}.log'}."]


def _alone(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what torchrun tells its processes: what they start is none of them."""
    told = ("RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE",
            "MASTER_ADDR", "MASTER_PORT")  # fmt: skip
    return {k: v for k, v in environment.items() if k not in told and not k.startswith("TORCHELASTIC_")}


class LocalStarter:
    """Processes of this machine, each in a session of its own: Ctrl-C in the terminal is the learner's to handle."""

    def __init__(self) -> None:
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, index: int, command: Command, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        one_thread = dict.fromkeys(
            ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LP_NUM_THREADS"), "1"
        )
        with log.open("ab") as out:
            self._processes[index] = subprocess.Popen(
                list(command), stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True,
                env={**_alone(os.environ), **one_thread},
            )  # fmt: skip

    def exit_code(self, index: int) -> int | None:
        return self._processes[index].poll() if index in self._processes else None

    def running(self, index: int) -> bool:
        return index in self._processes and self._processes[index].poll() is None

    def pid(self, index: int) -> int:
        """Process id of the actor that was started last."""
        return self._processes[index].pid

    def end(self, wait_s: float) -> None:
        alive = [p for p in self._processes.values() if p.poll() is None]
        for process in alive:
            process.terminate()
        deadline = time.monotonic() + wait_s
        for process in alive:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class RobotCrew:
    """Episodes come from elsewhere, e.g. a robot's recorder; the learner runs until its budget ends or it is stopped."""

    def __init__(self, run: Path):
        self._hearts = HeartMonitor(run)

    def check(self) -> list[str]:
        return []

    def reported_steps(self) -> int:
        return self._hearts.steps("robot")

    def finished(self) -> bool:
        return False


def python(*arguments: str) -> list[str]:
    """A command that runs this interpreter."""
    return [sys.executable, *arguments]
