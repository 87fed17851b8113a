"""TaskTable: task name -> slot of the one-hot input, fixed for the life of a run.

PTR gives every task, the future target's included, a slot before the first update, so nothing is resized or re-ordered at
finetuning (arXiv 2210.05178; Asap7772/PTR examples/train_pixels_real.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from robot_pt.errors import DataError, UserError
from robot_pt.schema import Int

SPARE_SLOTS = 16
"""Slots left free for tasks that are not known yet."""
PLACE = "@"
"""Between a task and the place it is done in."""


class TaskTable:
    """Names in slot order, then free slots. `fill` adds a name; nothing is ever moved or removed.

    TASK@PLACE is TASK where no name of its own: a simulator may offer one task in several places.
    """

    def __init__(self, names: Iterable[str], slots: int):
        self._names = list(names)
        self.slots = slots
        if len(set(self._names)) != len(self._names):
            raise DataError(f"task names must be unique; the table lists {sorted(self._names)}.")
        if len(self._names) > slots:
            raise DataError(f"{len(self._names)} task names do not fit {slots} slots; the table is damaged.")
        self._slot = {name: slot for slot, name in enumerate(self._names)}

    @classmethod
    def of(cls, names: Iterable[str], spare: int = SPARE_SLOTS) -> TaskTable:
        """Slots in order of the sorted union of `names`, plus `spare` free ones."""
        union = sorted(set(names))
        return cls(union, len(union) + spare)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._names)

    def __contains__(self, name: object) -> bool:
        return self._known(name) in self._slot

    def _known(self, name: object) -> object:
        return name if name in self._slot or not isinstance(name, str) else name.partition(PLACE)[0]

    def __getitem__(self, name: str) -> int:
        """The slot of `name`. Raises UserError with the known names."""
        if name not in self:
            raise UserError(f"task {name!r} is not in the run's task table; it knows {_listing(self._names)}.")
        return self._slot[str(self._known(name))]

    def fill(self, name: str) -> int:
        """The slot of `name`, taking the next free one for a new name. Raises UserError when none is free."""
        if name in self:
            return self[name]
        if len(self._names) == self.slots:
            raise UserError(
                f"no free slot for task {name!r}: all {self.slots} are taken; pretrain again with this task's data, or with more spare slots."
            )
        self._names.append(name)
        self._slot[name] = len(self._names) - 1
        return self._slot[name]

    def lookup(self, names: Iterable[str]) -> Int:
        """Slots of many names, (len,) int64."""
        return np.array([self[name] for name in names], np.int64)

    def to_json(self) -> dict[str, Any]:
        return {"names": list(self._names), "slots": self.slots}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TaskTable:
        """Raises DataError on anything that `to_json` would not have written."""
        names, slots = values.get("names"), values.get("slots")
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise DataError("the task table's names must be a list of strings; the file is damaged.")
        if not isinstance(slots, int) or isinstance(slots, bool) or not 0 <= slots <= 1_000_000:
            raise DataError(f"the task table's slots must be a whole number up to 1,000,000; the file gives {slots!r}.")
        return cls(names, slots)


def _listing(names: list[str], most: int = 8) -> str:
    shown = ", ".join(repr(n) for n in names[:most]) or "no task"
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
