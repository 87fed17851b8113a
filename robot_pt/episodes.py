"""Episodes: which one is recorded, how it ended and what becomes of it, as a state machine without clock, arm or disk.

    idle -reset_scene-> resetting scene -scene_ready-> ready -start-> recording
    recording -end(success)-> ended            a labelled end
    recording -stop-> awaiting label -end(success) | keep-> ended
    recording | awaiting label | ended -discard-> ended, outcome "discarded"      -redo-> the same, then the next one
    recording | awaiting label -abort(reason)-> ended, outcome "aborted"          resetting scene -abort-> idle

How it ended and what it is worth are apart: ending with a label and abandoning are different requests.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, final

from robot_pt.commands import Answer
from robot_pt.errors import UserError

Phase = Literal["idle", "resetting scene", "ready", "recording", "ended", "awaiting label"]
Outcome = Literal["", "success", "failure", "unknown", "discarded", "aborted"]
"""unknown: kept without a label; aborted: cut short by a fault, kept as far as it goes but no demonstration."""

REQUESTS = ("start", "stop", "success", "failure", "keep", "discard", "redo", "reset_scene")


@final
class EpisodeMachine:
    """Every request answers whether it was done, in one sentence; none raises but for a name that does not exist.

    Attributes:
        phase, outcome, reason: of the episode `id`.
        step: control steps recorded so far.
        revision: grows with every change, so a publisher knows when to publish.
    """

    def __init__(
        self, prefix: str, *, task: str = "", instruction: str = "", automatic_reset: bool = False,
        max_steps: int | None = None,
    ):  # fmt: skip
        """
        Args:
            prefix: of episode ids, unique to this run of the program, such as its wall-clock start.
            automatic_reset: something resets the scene before every episode and says `scene_ready` (a simulator); otherwise the
                operator does, and says so by `start`.
            max_steps: an episode stops there by itself and awaits its label.
        Raises:
            UserError: an empty prefix, one with a slash, or max_steps below 1.
        """
        if not prefix or "/" in prefix:
            raise UserError(f"the prefix of episode ids is {prefix!r}; give a name without slashes.")
        if max_steps is not None and max_steps < 1:
            raise UserError(f"max_steps is {max_steps}; give at least 1.")
        self._prefix, self._number = prefix, 0
        self._automatic, self._max_steps = automatic_reset, max_steps
        self.task, self.instruction = task, instruction
        self.phase: Phase = "idle"
        self.outcome: Outcome = ""
        self.reason = ""
        self.step = self.revision = 0
        self._start_when_ready = False
        self._handlers: Mapping[str, Callable[[], Answer]] = {
            "start": self.start, "stop": self.stop, "success": lambda: self.end(True), "failure": lambda: self.end(False),
            "keep": self.keep, "discard": self.discard, "redo": self.redo, "reset_scene": self.reset_scene,
        }  # fmt: skip

    @property
    def id(self) -> str:
        """Of the current or last episode; "" before the first."""
        return f"{self._prefix}-{self._number:04d}" if self._number else ""

    def request(self, name: str) -> Answer:
        """A request by its name, one of `REQUESTS`, as devices give it. Raises UserError for another name."""
        if name not in self._handlers:
            raise UserError(f"there is no episode request {name!r}; choose one of {', '.join(REQUESTS)}.")
        return self._handlers[name]()

    def set_task(self, task: str, instruction: str = "") -> Answer:
        """What the next episodes are about; refused while one is recorded or not decided yet."""
        if self._open():
            return self._no("finish it before the task changes")
        self.task, self.instruction = task, instruction
        return self._yes(f"the next episode is {instruction or task!r}.")

    def reset_scene(self) -> Answer:
        """Bring the scene to its start; `scene_ready` or, by hand, `start` says that it is done."""
        if self._open():
            return self._no("end or discard it first")
        self._to("resetting scene")
        return self._yes("the scene is being reset." if self._automatic else "reset the scene, then start.")

    def scene_ready(self) -> Answer:
        """The scene is as it should be; an episode that was asked for begins."""
        if self.phase != "resetting scene":
            return self._no("no reset was asked for")
        self._to("ready")
        return self._begin() if self._start_when_ready else self._yes("the scene is ready; start when you are.")

    def start(self) -> Answer:
        """Begin to record; where the scene resets itself, after that."""
        if self._open():
            return self._no("end or discard it first")
        if not self._automatic or self.phase == "ready":
            return self._begin()
        if self.phase != "resetting scene":
            self._to("resetting scene")
        self._start_when_ready = True
        return self._yes("the scene is being reset, the episode starts after that.")

    def advance(self) -> Answer:
        """One more control step was recorded."""
        if self.phase != "recording":
            return self._no("no step belongs to an episode now")
        self.step += 1
        self.revision += 1
        if self._max_steps is not None and self.step >= self._max_steps:
            self._to("awaiting label", reason=f"{self.step} steps are the most")
            return self._yes(f"{self.id} stopped after {self.step} steps, the most there may be; label it.")
        return Answer(True, f"{self.id} has {self.step} steps.")

    def stop(self) -> Answer:
        """End without saying how it went; the label comes next."""
        if self.phase != "recording":
            return self._no("nothing is recorded")
        self._to("awaiting label")
        return self._yes(f"{self.id} stopped after {self.step} steps; was it a success?")

    def end(self, success: bool) -> Answer:
        """End with a label, or label what was stopped."""
        if not self._open():
            return self._no("nothing is recorded or waits for a label")
        self._to("ended", outcome="success" if success else "failure")
        return self._yes(f"{self.id} is kept as a {self.outcome} of {self.step} steps.")

    def keep(self) -> Answer:
        """Keep what was stopped without a label; what has one is kept anyway."""
        if self.phase == "ended" and self.outcome in ("success", "failure", "unknown"):
            return Answer(True, f"{self.id} is kept ({self.outcome}).")
        if self.phase != "awaiting label":
            return self._no("stop it first" if self.phase == "recording" else "nothing waits to be kept")
        self._to("ended", outcome="unknown")
        return self._yes(f"{self.id} is kept without a label.")

    def discard(self) -> Answer:
        """Throw away the episode that runs, waits, or was the last to end."""
        if self.phase == "ended" and self.outcome == "discarded":
            return Answer(True, f"{self.id} is discarded already.")
        if not self._open() and self.phase != "ended":
            return self._no("there is nothing to discard")
        self._to("ended", outcome="discarded")
        return self._yes(f"{self.id} is discarded.")

    def redo(self) -> Answer:
        """Throw the episode away and go on with the next: at once after an automatic reset, by `start` otherwise."""
        thrown = self.discard()
        if not thrown.ok:
            return thrown
        return Answer(True, f"{thrown.sentence} {(self.start() if self._automatic else self.reset_scene()).sentence}")

    def abort(self, reason: str) -> Answer:
        """A fault ends the episode: "disk", "fault", a dead node. What was recorded is kept as aborted; a reset is given up."""
        self._start_when_ready, why = False, reason.rstrip(".") or "fault"
        if self.phase == "resetting scene":
            self._to("idle", reason=why)
            return self._yes(f"the scene was not reset: {self.reason}.")
        if not self._open():
            return self._no("no episode runs that could be aborted")
        self._to("ended", outcome="aborted", reason=why)
        return self._yes(f"{self.id} was aborted after {self.step} steps: {self.reason}.")

    def state(self) -> dict[str, Any]:
        """JSON values: id, phase, step, outcome, reason, task, instruction."""
        names = ("id", "phase", "step", "outcome", "reason", "task", "instruction")
        return {name: getattr(self, name) for name in names}

    def to_json(self) -> str:
        """`state` as the text that goes over the wire."""
        return json.dumps(self.state())

    def _open(self) -> bool:
        return self.phase in ("recording", "awaiting label")

    def _begin(self) -> Answer:
        self._number += 1
        self.step, self._start_when_ready = 0, False
        self._to("recording", outcome="")
        return self._yes(f"{self.id} is being recorded.")

    def _to(self, phase: Phase, *, outcome: Outcome | None = None, reason: str = "") -> None:
        self.phase, self.reason = phase, reason
        if outcome is not None:
            self.outcome = outcome

    def _yes(self, sentence: str) -> Answer:
        self.revision += 1
        return Answer(True, sentence)

    def _no(self, hint: str) -> Answer:
        what = (
            f"{self.id} is {self.phase}"
            if self._number and self.phase != "idle"
            else f"the episode manager is {self.phase}"
        )
        return Answer(False, f"{what}; {hint}.")
