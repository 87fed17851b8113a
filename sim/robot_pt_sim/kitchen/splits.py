"""Which tasks and scenes are learned from and which are asked for, after PTR's two tables.

Every entry is a task with its scene, as `simulators.make` takes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from robot_pt_sim.kitchen.tasks import PREFIX, TASKS

PRETRAINING_SCENES = (1, 2, 3, 4)
NEW_TASKS = ("put-croissant-on-plate", "put-potato-on-plate", "put-cucumber-on-cutting-board", "put-knife-in-sink")
"""Never in the pretraining data, in no scene."""
KNOWN_TASKS = ("open-door", "put-carrot-on-plate", "put-corn-in-pot", "put-sponge-in-sink")
"""In the pretraining data, though never in scene 5."""


class Split(NamedTuple):
    """What is pretrained on, and the targets that ten demonstrations each are given for."""

    pretraining: tuple[str, ...]
    targets: tuple[str, ...]


def _everywhere() -> tuple[str, ...]:
    new = {PREFIX + name for name in NEW_TASKS}
    return tuple(f"{name}@{scene}" for name in TASKS if name not in new for scene in PRETRAINING_SCENES)


SPLITS: Mapping[str, Split] = {
    "known-task-new-scene": Split(_everywhere(), tuple(f"{PREFIX}{name}@5" for name in KNOWN_TASKS)),
    "new-task-new-scene": Split(_everywhere(), tuple(f"{PREFIX}{name}@6" for name in NEW_TASKS)),
}
