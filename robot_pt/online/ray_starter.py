"""Actors on the machines of a Ray cluster that share a file system with the learner."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from robot_pt.errors import MissingExtraError, UserError
from robot_pt.online.pools import Command


class RayStarter:
    """A `robot_pt.online.pools.Starter`: each actor is a Ray task of one core, wherever there is one.

    Args:
        address: of the cluster, "auto" for the one this machine belongs to; None starts one here.
    Raises:
        MissingExtraError: Ray is not installed. UserError: no cluster answers.
    """

    def __init__(self, address: str | None = None):
        try:
            import ray
        except ImportError:
            raise MissingExtraError("ray", "scale", "running actors on a cluster") from None
        self._ray = ray
        try:
            ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, include_dashboard=False)
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            raise UserError(
                f"no Ray cluster answers at {address!r} ({error}); start one with `ray start --head`."
            ) from None
        self._processes = ray.remote(num_cpus=1, max_restarts=0)(_Process)
        self._actors: dict[int, Any] = {}
        self._waits: dict[int, Any] = {}
        self._codes: dict[int, int] = {}

    def start(self, index: int, command: Command, log: Path) -> None:
        self._codes.pop(index, None)
        self._actors[index] = self._processes.options(max_concurrency=2).remote(list(command), str(log))
        self._waits[index] = self._actors[index].wait.remote()

    def running(self, index: int) -> bool:
        if index not in self._waits:
            return False
        ready, _ = self._ray.wait([self._waits[index]], timeout=0)
        if not ready:
            return True
        try:
            self._codes[index] = int(self._ray.get(ready[0]))
        except self._ray.exceptions.RayError:
            self._codes[index] = 1  # the node or its worker died
        self._ray.kill(self._actors.pop(index))
        del self._waits[index]
        return False

    def exit_code(self, index: int) -> int | None:
        return None if self.running(index) else self._codes.get(index)

    def end(self, wait_s: float) -> None:
        asked = [actor.end.remote(wait_s) for actor in self._actors.values()]
        self._ray.wait(asked, num_returns=len(asked), timeout=wait_s + 5) if asked else None
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._actors.clear()
        self._waits.clear()


class _Process:
    """One actor process on a node of the cluster."""

    def __init__(self, command: list[str], log: str):
        path = Path(log)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def wait(self) -> int:
        return self._process.wait()

    def end(self, wait_s: float) -> None:
        self._process.terminate()
        try:
            self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
