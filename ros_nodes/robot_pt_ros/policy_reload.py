"""The next policy: loaded and warmed up in a thread beside the one that acts, kept until it is asked for between episodes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from rclpy.node import Node
from rclpy.task import Future

from robot_pt.errors import UserError
from robot_pt.session import Session


class Ready(NamedTuple):
    """A session that may drive at once."""

    folder: str
    session: Session
    took_s: float


class NextSession:
    """Makes sessions, one at a time. Everything but `make` runs in the executor's thread.

    Args:
        folder: of the checkpoint that is asked for now. Raises UserError where there is none.
        make: the warmed-up session of that folder; called in a thread. Raises UserError and what torch raises.
    """

    def __init__(self, node: Node, folder: Callable[[], str], make: Callable[[str], Session]):
        self._node, self._folder, self._make = node, folder, make
        self._ready: Ready | None = None
        self.busy = False

    async def get(self) -> Ready:
        """The session of what is asked for now; made where it is not there yet. Raises UserError in one sentence."""
        folder = self._folder()
        if self._ready is not None and self._ready.folder == folder:
            return self._ready
        if self.busy:
            raise UserError("a policy is being loaded already; ask again when it is.")
        self.busy, self._ready = True, None
        made: Future = Future(executor=self._node.executor)
        threading.Thread(target=self._work, args=(folder, made), name="loading", daemon=True).start()
        try:
            self._ready = await made
        finally:
            self.busy = False
        return self._ready

    def taken(self) -> None:
        """The session drives now: the next request loads anew, even the same folder."""
        self._ready = None

    def _work(self, folder: str, made: Future) -> None:
        began = time.monotonic()
        try:
            session = self._make(folder)
            made.set_result(Ready(folder, session, time.monotonic() - began))
        except (UserError, RuntimeError, OSError) as error:
            made.set_exception(
                error if isinstance(error, UserError) else UserError(f"{folder} cannot be loaded: {error}")
            )
        finally:
            if not made.done():  # a mistake of ours: its traceback is in the log, and who waits must not wait for ever
                made.set_exception(UserError(f"loading {folder} broke; see the log of the policy node."))
