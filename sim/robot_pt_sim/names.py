"""Names a user got wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from robot_pt.errors import UserError


def no_task(name: str, known: Iterable[str]) -> UserError:
    """The error for a task that is not there: the nearest name first, then all. A prefix such as kitchen/ counts for nothing."""
    names = list(known)
    bare = {one.rpartition("/")[2]: one for one in names}
    near = difflib.get_close_matches(name.rpartition("/")[2], bare, n=1)
    meant = f" (did you mean {bare[near[0]]}?)" if near else ""
    return UserError(f"there is no task {name!r}{meant}; choose one of: {', '.join(names)}.")
