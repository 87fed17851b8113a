"""Services policy/start, policy/stop, policy/warmup, policy/prepare, policy/reload (std_srvs/Trigger).

`prepare` loads and warms up what `checkpoint` names beside the policy that acts, at any time; `reload` swaps it in, loading it first
where it was not prepared, and never while an episode runs.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode
from std_srvs.srv import Trigger

from robot_pt.commands import Answer
from robot_pt.errors import UserError
from robot_pt.session import Session
from robot_pt_ros.episode_phase import EpisodePhase
from robot_pt_ros.node import number
from robot_pt_ros.policy_driving import Driving
from robot_pt_ros.policy_parameters import checkpoint_of
from robot_pt_ros.policy_prompt import Prompt
from robot_pt_ros.policy_reload import NextSession


class PolicyRequests:
    """`driving` gives what drives now, which another configuration replaces; `make` is that of `NextSession`."""

    def __init__(
        self, node: LifecycleNode, driving: Callable[[], Driving], make: Callable[[str], Session], prompt: Prompt
    ):
        self._node, self._driving, self._prompt = node, driving, prompt
        self._episode = EpisodePhase(node)
        self._next = NextSession(node, lambda: checkpoint_of(node), make)
        for name, work in (("start", self._start), ("stop", self._stop), ("warmup", self._warm_up)):
            node.create_service(Trigger, f"policy/{name}", partial(self._serve, name, work))
        beside = ReentrantCallbackGroup()  # while a policy loads, everything else goes on
        for name, later in (("prepare", self._prepare), ("reload", self._reload)):
            node.create_service(
                Trigger, f"policy/{name}", partial(self._serve_later, name, later), callback_group=beside
            )

    def _serve(self, name: str, work: Callable[[], Answer], request: Any, response: Any) -> Any:
        with self._driving().lock:
            answer = work()
        self._answer(name, answer, response)
        self._driving().look()
        return response

    async def _serve_later(self, name: str, work: Callable[[], Awaitable[Answer]], request: Any, response: Any) -> Any:
        before = self._driving().session
        try:
            answer = await work()
        except UserError as error:
            answer = Answer(False, f"kept {before.policy.version[:12]}: {error}")
        return self._answer(name, answer, response)

    def _answer(self, name: str, answer: Answer, response: Any) -> Any:
        response.success, response.message = answer.ok, answer.sentence
        self._node.get_logger().info(f"{name}: {answer.sentence}")
        return response

    def _start(self) -> Answer:
        try:
            sentence = self._prompt.sentence(self._driving().session.policy)
        except UserError as error:
            return Answer(False, str(error))
        return self._driving().start(sentence)

    def _stop(self) -> Answer:
        return self._driving().session.stop()

    def _warm_up(self) -> Answer:
        try:
            timing = self._driving().session.warm_up(int(number(self._node, "warmup_iters")))
        except UserError as error:
            return Answer(False, str(error))
        return Answer(True, f"p50 {timing.p50_ms:.1f} ms, p99 {timing.p99_ms:.1f} ms.")

    async def _prepare(self) -> Answer:
        ready = await self._next.get()
        version = ready.session.policy.version[:12]
        return Answer(
            True, f"policy {version} was loaded in {ready.took_s:.2f} s; policy/reload takes it between episodes."
        )

    async def _reload(self) -> Answer:
        """Take the checkpoint again; what is there stays when the new one cannot be taken."""
        before, refusal = self._driving().session, self._in_episode()
        if refusal:
            return Answer(False, refusal)
        ready = await self._next.get()
        replaced = self._driving().session is not before
        refusal = self._in_episode() or ("the node was configured anew meanwhile." if replaced else "")
        if refusal:  # an episode began meanwhile: what is loaded is kept for the next time
            return Answer(False, refusal)
        began = time.perf_counter()
        self._next.taken()
        self._driving().take(ready.session)
        took_ms = 1e3 * (time.perf_counter() - began)
        return Answer(True, f"policy {ready.session.policy.version[:12]} is loaded; the swap took {took_ms:.1f} ms.")

    def _in_episode(self) -> str:
        """Why the policy may not change now."""
        if self._driving().session.phase in ("running", "stale"):
            return "an episode is running; stop the policy, then reload."
        return f"episode {self._episode.id} is running; reload when it has ended." if self._episode.runs else ""
