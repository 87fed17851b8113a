"""Which episode to record, from what the episode manager tells and an operator asks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from robot_pt.commands import Answer
from robot_pt.episode_recorder import EpisodeRecorder, Wish
from robot_pt.errors import DataError

LINGER_S, LINGER_MOST_S = 0.3, 2.0
"""Messages of an episode that ended may still be on their way: it is closed when none came for so long, at the latest after the second."""
LAST_WORD_S = 1.0
"""Who leaves waits so long to hear how the episode ended: Ctrl-C reaches the recorder before what the operator said just before it."""


class Simulation:
    """What the simulator says of itself; nothing (`known` False) before it was heard."""

    def __init__(self) -> None:
        self.known, self.task, self.instruction = False, "", ""
        self.metadata: dict[str, Any] = {}

    def told(self, text: str) -> None:
        """sim/about (JSON). Raises DataError, with nothing changed."""
        try:
            told = json.loads(text)
            task, instruction, metadata = str(told["task"]), str(told["instruction"]), dict(told["metadata"])
        except (ValueError, KeyError, TypeError):
            raise DataError(
                f"sim/about is not what a simulator says of itself: {text[:60]!r}; it was ignored."
            ) from None
        self.known, self.task, self.instruction, self.metadata = True, task, instruction, metadata

    def complete(self, wish: Wish) -> Wish:
        """With what the simulator knows better, and with its words where nobody gave any."""
        words, metadata = wish.instruction or self.instruction, {**self.metadata, **wish.metadata}
        return wish._replace(task=self.task, instruction=words, metadata=metadata)


class Following:
    """Begins and ends what `episodes` records. `active` is whether anything may.

    Args:
        simulation: of the simulator whose episodes these are; each keeps what it says. None on a robot.
        warn: gets one sentence for the operator.
    """

    def __init__(
        self, episodes: EpisodeRecorder, simulation: Simulation | None = None, warn: Callable[[str], None] = lambda _: None
    ):  # fmt: skip
        self._episodes, self._simulation, self._warn = episodes, simulation, warn
        self.active = self._warned = False
        self._wanted: dict[str, Any] = {}
        self._ended = self._leave_s = 0.0

    @property
    def ready(self) -> bool:
        """Whether an episode may begin: in simulation not before it is known of what."""
        return self.active and (self._simulation is None or self._simulation.known)

    def told(self, text: str, now_ns: int) -> None:
        """episode/state (JSON). A state that was overtaken by the next is told by that one, as `previous`. Raises DataError."""
        try:
            told = json.loads(text)
            name, phase, previous = str(told["id"]), str(told["phase"]), dict(told.get("previous") or {})
            begin_ns, end_ns = int(told.get("begin_ns", 0)), int(told.get("end_ns", 0))
            metadata = dict(told.get("metadata") or {})
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataError("episode/state is no episode's state; nothing was done.") from None
        running = self._episodes.running
        if running and running == previous.get("id") and running != name:
            self._episodes.stop(str(previous.get("outcome") or "unknown"), str(previous.get("reason", "")))
        if phase == "recording" and name != running and self.ready and name != self._wanted.get("id"):
            task, instruction = str(told.get("task", "")), str(told.get("instruction", ""))
            self._start(Wish(name, task, instruction, metadata, begin_ns), now_ns)
        elif running and running == name and phase != "recording":
            self._episodes.ends_at(end_ns)
            self._ended = 0.0 if phase == "awaiting label" else time.monotonic()
        elif phase != "recording" and told.get("outcome") == "discarded" and name and self._last_kept() == name:
            self._episodes.discard_last()
        self._wanted = told

    def look(self) -> None:
        """Ten times a second: is an episode over, did it end by itself?"""
        now, quiet = time.monotonic(), min(self._episodes.heard_s, self._ended + LINGER_MOST_S)
        if self._ended and quiet + LINGER_S < now > self._ended + LINGER_S:
            self.put_away()
        self._episodes.look()

    def put_away(self) -> None:
        """Wait for nothing more of an episode that is over: it is what it ended as, whatever happens next."""
        if self._ended:
            self._ended = 0.0
            self._episodes.stop(str(self._wanted.get("outcome") or "unknown"), str(self._wanted.get("reason", "")))

    def asked(self, name: str, task: str, now_ns: int, prompt: str = "") -> Future[Answer]:
        """start, stop or discard_last, by hand; done when the disk is."""
        work: dict[str, Callable[[], Future[Answer]]] = {
            "start": lambda: self._start(Wish(time.strftime("manual-%Y%m%d-%H%M%S"), task, prompt), now_ns),
            "stop": lambda: self._episodes.stop("unknown"),
            "discard_last": self._episodes.discard_last,
        }
        if name == "start" and (not self.ready or self._episodes.running):
            refused: Future[Answer] = Future()
            refused.set_result(Answer(False, self._why_not()))
            return refused
        return work[name]()

    def deactivate(self) -> None:
        """What is over is put away, what runs is aborted, and nothing begins."""
        self.active, over = False, bool(self._ended)
        self.put_away()
        if self._episodes.running and not over:
            self._episodes.stop("aborted", "the recorder was deactivated")

    def leave(self) -> None:
        """Nothing begins any more; ask `has_left` again and again."""
        self.active, self._leave_s = False, time.monotonic() + LAST_WORD_S

    def has_left(self) -> bool:
        """What is over is put away, what runs is aborted, and both are on the disk."""
        if self._episodes.running and not self._ended and time.monotonic() < self._leave_s:
            return False
        self.put_away()
        return self._episodes.close(wait=False).done()

    def _why_not(self) -> str:
        if self._episodes.running:
            return f"{self._episodes.running} is being recorded; end it, then start another."
        if not self.active:
            return "the recorder is not active; activate it, then start."
        return "the simulator has not said yet what it is; start again."

    def _start(self, wish: Wish, now_ns: int) -> Future[Answer]:
        self._ended = 0.0
        if self._simulation is not None:
            wish = self._simulation.complete(wish)
        if not (wish.instruction or self._warned):
            self._warned = True
            self._warn(
                f"{wish.episode_id} is recorded without an instruction, from which no policy with language can learn; give one in the words "
                "of the task, e.g. prompt:='lift the red cube', and discard this one."
            )
        return self._episodes.start(wish, now_ns)

    def _last_kept(self) -> str:
        last = self._episodes.last
        return str(last.get("episode_id", "")) if last.get("outcome") != "discarded" else ""
