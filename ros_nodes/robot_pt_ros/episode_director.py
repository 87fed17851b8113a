"""What an episode asks of the rest of the graph: scene, recorder, gate and policy around one `EpisodeMachine`. No ROS here.

Begin: the scene is reset and the gate armed (simulation), the recorder says that it records, the policy starts. End: the policy stops,
what is held is held. A recorder that fails and a gate that faults abort the episode.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from robot_pt.commands import Answer
from robot_pt.episodes import EpisodeMachine
from robot_pt.errors import UserError
from robot_pt_ros.calls import Call

RECORDER_S = 20.0
"""How long a recorder may take to begin or to end."""
FRESH_S = 3.0
"""How long a policy may refuse to start: what it looks at is late for a moment on a busy machine."""
CLOCK_S = 2.0
"""How long a simulator's clock may lag its reset."""


class Asking(Protocol):
    """Calls services in order; `done` gets whether all agreed, a sentence, and what each said."""

    def __call__(self, calls: Sequence[Call], done: Callable[[bool, str, dict[str, str]], None]) -> None: ...


class Settings(NamedTuple):
    """As the parameters of the node."""

    control_hz: float = 5.0
    reset_service: str = ""
    """Resets the scene; "" where the operator does."""
    record: bool = False
    auto_label: bool = True
    episodes: int = 0
    sim_time: bool = False


class Director:
    """Times are int ns of the node's clock, and seconds of a monotonic one.

    Args:
        ask: calls services; `hush` forgets those that are not answered; `serves`: somebody serves this one.
        log: one sentence for the operator.
    Raises:
        UserError: `episodes` without something that resets the scene.
    """

    def __init__(
        self,
        machine: EpisodeMachine,
        settings: Settings,
        ask: Asking,
        hush: Callable[[], None],
        serves: Callable[[str], bool],
        log: Callable[[str], None],
    ):
        if settings.episodes and not settings.reset_service:
            raise UserError("episodes run by themselves only where something resets the scene; give reset_service.")
        self.machine, self._is = machine, settings
        self._ask, self._hush, self._serves, self._log = ask, hush, serves, log
        self.metadata: dict[str, Any] = {}
        self.results: list[dict[str, Any]] = []
        self.graph_is_up = False
        self._seen = (machine.id, machine.phase)
        self._begin_ns = self._end_ns = self._before_ns = 0
        self._previous: dict[str, Any] = {}
        self._since = 0.0
        self._scene = ""  # "", "asked", "reset"
        self._starting = self._awaits_policy = False
        self._counts_from_ns = 0
        self._mode = self._why = ""
        self._recorder: dict[str, Any] = {}

    def state(self) -> dict[str, Any]:
        """What goes over the wire."""
        return {
            **self.machine.state(), "begin_ns": self._begin_ns, "end_ns": self._end_ns, "metadata": self.metadata,
            "previous": self._previous,
        }  # fmt: skip

    @property
    def done(self) -> bool:
        """All episodes that were to run by themselves have, or one was aborted."""
        aborted = any(result["outcome"] == "aborted" for result in self.results)
        return bool(self._is.episodes) and (len(self.results) >= self._is.episodes or aborted)

    # requests and news

    def request(self, name: str, now_ns: int, now_s: float) -> Answer:
        """One of `REQUESTS`, or "cancel"."""
        if name in ("start", "redo") and self._mode in ("fault", "estop"):
            return Answer(False, f"the supervisor is in {self._mode} ({self._why}); reset it, then start.")
        if name in ("start", "redo") and self._is.record and not self._recorder.get("active"):
            return Answer(False, "no active recorder is heard; start one, or set record to false.")
        answer = self.machine.abort("cancelled") if name == "cancel" else self.machine.request(name)
        self.tick(now_ns, now_s)
        return answer

    def safety(self, mode: str, why: str) -> None:
        """The gate's mode."""
        self._mode, self._why = mode, why
        if mode in ("fault", "estop") and self.machine.phase == "recording":
            self._log(self.machine.abort(f"{mode}: {why}").sentence)

    def recorder(self, state: dict[str, Any]) -> None:
        """recorder/state."""
        self._recorder = state
        machine = self.machine
        if state.get("phase") == "failed" and state.get("episode_id") == machine.id:
            reason = str(state.get("reason", "")).rstrip(".")
            if machine.phase in ("recording", "awaiting label"):
                self._log(machine.abort(f"recorder: {reason}").sentence)
            else:
                self._log(f"{machine.id} could not be stored: {reason}.")

    def result(self, result: dict[str, Any]) -> None:
        """sim/result: how the simulated episode ended; one of another episode is none of ours."""
        if self.machine.phase != "recording" or self._starting:
            return
        if "seed" in self.metadata and result.get("seed") != self.metadata["seed"]:
            return
        if self._is.sim_time:
            self._end_ns = (
                -1
            )  # the simulator stands still: nothing more comes, and its clock may not have been heard yet
        answer = self.machine.end(bool(result.get("success"))) if self._is.auto_label else self.machine.stop()
        self._log(answer.sentence)

    # twenty times a second

    def tick(self, now_ns: int, now_s: float) -> None:
        """Do what the phase needs; several changes may follow one another."""
        machine = self.machine
        if machine.phase == "recording" and not self._changed() and not self._starting:
            self._count(now_ns)
        if self._changed():
            self._enter(now_ns, now_s)
        if machine.phase == "resetting scene" and self._is.reset_service:
            self._reset(now_ns, now_s)
        elif machine.phase == "recording" and self._starting:
            self._start(now_s)
        elif machine.phase in ("idle", "ended") and self._may_go_on(now_s):
            self._log(machine.start().sentence)
        if self._changed():
            self._enter(now_ns, now_s)

    def _may_go_on(self, now_s: float) -> bool:
        """By itself, with the next of `episodes`."""
        recorder = not self._is.record or bool(self._recorder.get("active"))
        return bool(self._is.episodes) and self.graph_is_up and not self.done and recorder and self._settled(now_s)

    def _changed(self) -> bool:
        return self._seen != (self.machine.id, self.machine.phase)

    def _count(self, now_ns: int) -> None:
        if self._awaits_policy:
            self._counts_from_ns = now_ns
        steps = int((now_ns - self._counts_from_ns) * self._is.control_hz / 1e9)
        while self.machine.phase == "recording" and self.machine.step < steps:
            self.machine.advance()
        if self.machine.phase == "awaiting label" and self._is.auto_label and self._is.episodes:
            self._log(self.machine.end(False).sentence)

    def _enter(self, now_ns: int, now_s: float) -> None:
        (last_id, last_phase), machine = self._seen, self.machine
        self._seen, self._since = (machine.id, machine.phase), now_s
        if last_phase == "recording":
            self._stop_motion(now_ns)
        if machine.phase == "recording":
            self._begin_ns, self._end_ns, self._starting = now_ns, 0, True
            self._counts_from_ns, self._awaits_policy = now_ns, False
            if not self._is.reset_service:
                self.metadata = {}
        elif machine.phase == "resetting scene":
            self._scene = ""
        if machine.outcome and machine.phase != "recording" and last_phase in ("recording", "awaiting label"):
            self._previous = {"id": last_id, "outcome": machine.outcome, "reason": machine.reason}
            self.results.append({**self._previous, "steps": machine.step, "seed": self.metadata.get("seed")})

    def _stop_motion(self, now_ns: int) -> None:
        """The policy stops first, then the gate holds; after an abort the operator's hand is off too."""
        self._hush()
        self._starting = False
        self._end_ns = 0 if self._end_ns < 0 else now_ns
        calls = [
            Call("policy/stop", optional=True, may_refuse=True),
            Call("safety/stop_policy", optional=True, may_refuse=True),
        ]
        if self.machine.outcome == "aborted":
            calls.append(Call("takeover", False, optional=True, may_refuse=True))
        self._ask(calls, lambda ok, sentence, said: None)

    def _settled(self, now_s: float) -> bool:
        """The recorder has put the last episode away."""
        last = self._recorder.get("last") or {}
        put_away = not self._previous or last.get("episode_id") == self._previous["id"]
        return not self._is.record or put_away or now_s - self._since > RECORDER_S

    def _reset(self, now_ns: int, now_s: float) -> None:
        if self._scene == "" and self._settled(now_s):
            self._scene, self._before_ns, self._since = "asked", now_ns, now_s
            self._ask(self._scene_calls(), self._was_reset)
        elif self._scene == "reset" and (
            not self._is.sim_time or now_ns > self._before_ns or now_s - self._since > CLOCK_S
        ):
            self._scene = ""
            self.machine.scene_ready()

    def _scene_calls(self) -> list[Call]:
        """In real time a gate that is armed would drive the arm back. In lock-step it does not, and sees the jump as speed if armed later."""
        reset, arm = Call(self._is.reset_service), Call("safety/arm", optional=True, patience_s=5.0)
        return [arm, reset] if self._is.sim_time else [Call("safety/disarm", optional=True), reset, arm]

    def _was_reset(self, ok: bool, sentence: str, said: dict[str, str]) -> None:
        if self.machine.phase != "resetting scene":
            return
        if not ok:
            self._log(self.machine.abort(sentence).sentence)
            return
        try:
            found = json.loads(said[self._is.reset_service])
        except ValueError:
            found = {}
        self.metadata = found if isinstance(found, dict) else {}
        self._scene = "reset"

    def _start(self, now_s: float) -> None:
        """When the recorder records: the policy."""
        if self._is.record:
            told = self._recorder.get("episode_id") == self.machine.id and self._recorder.get("phase") == "recording"
            if not told and now_s - self._since > RECORDER_S:
                self._log(self.machine.abort("the recorder did not begin").sentence)
            if not told:
                return
        self._starting = False
        if self._serves("policy/start"):  # a gate that waits for a policy there is none of would only refuse
            self._awaits_policy = True
            released = Call("takeover", False, optional=True, may_refuse=True)
            begin = [
                released,
                Call("safety/start_policy", optional=True),
                Call("policy/start", patience_s=FRESH_S),
            ]  # heard from its first target on
            self._ask(begin, self._was_started)

    def _was_started(self, ok: bool, sentence: str, said: dict[str, str]) -> None:
        self._awaits_policy = False
        if not ok and self.machine.phase == "recording":
            self._log(self.machine.abort(sentence).sentence)
