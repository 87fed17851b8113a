"""Objects that are told when they wake up in a forked child, where no thread of the parent lives to release its locks."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class ForkAware(Protocol):
    def after_fork(self) -> None:
        """Called in the child, before anything else runs there."""
        ...


_known: weakref.WeakSet[ForkAware] = weakref.WeakSet()


def tell(about: ForkAware) -> None:
    """Call ``about.after_fork()`` in every forked child, for as long as `about` lives."""
    _known.add(about)


def _after_fork() -> None:
    for about in list(_known):
        about.after_fork()


os.register_at_fork(after_in_child=_after_fork)
