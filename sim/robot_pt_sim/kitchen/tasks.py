"""The tasks of the toy kitchens, as data: what is moved where, in which words, and when it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from robot_pt.errors import UserError
from robot_pt.targets import Limits
from robot_pt_sim.kitchen.layouts import LAYOUTS, LIMITS, Box, find_layout
from robot_pt_sim.kitchen.model import SINK_FLOOR_M, STOVE_M
from robot_pt_sim.kitchen.things import THINGS, Thing
from robot_pt_sim.scene import SceneState

PREFIX = "kitchen/"
FIRST_SCENE = 1


@dataclass(frozen=True, kw_only=True)
class KitchenTask:
    """One task in one scene."""

    name: str
    """kitchen/put-CARROT-on-PLATE, without the scene."""
    scene: int
    family: str
    """Tasks of one family share a scripted expert: kitchen-place."""
    instruction: str
    thing: str
    """What is moved."""
    place: str
    """Where to: a thing, "sink" or "stove"."""
    distractors: tuple[str, ...]
    success: Callable[[SceneState], bool]
    limits: Limits = LIMITS
    horizon: int = 60
    """Control steps before truncation."""
    joints: Mapping[str, str] = field(default_factory=dict)

    @property
    def things(self) -> tuple[str, ...]:
        """Every free body."""
        place = (self.place,) if self.place in THINGS else ()
        return (self.thing, *place, *self.distractors)

    @property
    def places(self) -> dict[str, str]:
        """Short name -> body, those that matter first."""
        return {name: name for name in self.things}


def rests_in(state: SceneState, thing: str, receptacle: str, radius: float, low: float, high: float) -> bool:
    """The thing, let go, is within `radius` of the receptacle's axis and between two heights over its frame [m]."""
    offset = state.objects[thing].position - state.objects[receptacle].position
    inside = np.hypot(offset[0], offset[1]) < radius and low < offset[2] < high
    return bool(inside and not state.grasped(thing))


def rests_over(state: SceneState, thing: str, box: Box, low: float, high: float) -> bool:
    """The thing, let go, has its frame inside an upright box and between two heights, in the robot's base frame [m]."""
    x, y, z = state.objects[thing].position
    inside = box.x[0] < x < box.x[1] and box.y[0] < y < box.y[1] and low < z < high
    return bool(inside and not state.grasped(thing))


PAIRS: tuple[tuple[str, str, str], ...] = (
    *((thing, "on", "plate") for thing in ("carrot", "banana", "croissant", "cucumber", "hot-dog", "potato", "cheese", "lemon")),
    *((thing, "in", "bowl") for thing in ("strawberry", "corn", "eggplant", "lemon", "egg", "mushroom")),
    *((thing, "in", "pot") for thing in ("potato", "carrot", "corn", "egg")),
    *((thing, "in", "sink") for thing in ("sponge", "cup", "spoon", "knife")),
    *((thing, "on", "cutting-board") for thing in ("cucumber", "butter")),
    *((thing, "on", "stove") for thing in ("pot", "pan")),
    ("can", "on", "counter-left"),
)[:-1]  # fmt: skip
"""(thing, preposition, place)."""


def _success(thing: Thing, place: str, scene: int) -> Callable[[SceneState], bool]:
    layout = find_layout(scene)
    slack = 0.010 + thing.height_m / 2  # a thing may have tipped over: its frame is then half its height up
    if place == "sink":
        return partial(rests_over, thing=thing.name, box=layout.sink, low=SINK_FLOOR_M - 0.01, high=SINK_FLOOR_M + slack + 0.02)
    if place == "stove":
        return partial(rests_over, thing=thing.name, box=layout.stove, low=STOVE_M - 0.01, high=STOVE_M + 0.012)
    receptacle = THINGS[place]
    floor = receptacle.floor_m
    return partial(
        rests_in, thing=thing.name, receptacle=place, radius=receptacle.opening_m, low=floor - 0.01, high=floor + slack
    )  # fmt: skip


def _distractors(thing: str, place: str, scene: int) -> tuple[str, ...]:
    """Three other things, the same in every episode of this task and scene."""
    small = [name for name, one in THINGS.items() if not one.opening_m and name not in (thing, place, "lid")]
    rng = np.random.default_rng([sum(map(ord, thing + place)), scene])
    return tuple(small[i] for i in rng.choice(len(small), 3, replace=False))


def _pair(thing: str, preposition: str, place: str) -> KitchenTask:
    where = THINGS[place].noun if place in THINGS else place
    return KitchenTask(
        name=f"{PREFIX}put-{thing}-{preposition}-{place}",
        scene=FIRST_SCENE,
        family="kitchen-place",
        instruction=f"put the {THINGS[thing].noun} {preposition} the {where}",
        thing=thing,
        place=place,
        distractors=_distractors(thing, place, FIRST_SCENE),
        success=_success(THINGS[thing], place, FIRST_SCENE),
    )


TASKS: Mapping[str, KitchenTask] = {task.name: task for task in (_pair(*pair) for pair in PAIRS)}


def find_kitchen(name: str, scene: int | None = None) -> KitchenTask:
    """The task in a scene, which `name` may say too: kitchen/put-carrot-on-plate@3; the first scene where neither does.

    Raises UserError with the known names, or the known scenes.
    """
    name, _, said = name.partition("@")
    if name not in TASKS:
        raise UserError(f"there is no task {name!r}; choose one of: {', '.join(TASKS)}.")
    if said and (not said.isdecimal() or scene is not None):
        raise UserError(f"the scene of {name} is given as {said!r} and {scene}; give one number, as in {name}@{FIRST_SCENE}.")
    scene = int(said) if said else FIRST_SCENE if scene is None else scene
    find_layout(scene)
    task = TASKS[name]
    return replace(
        task,
        scene=scene,
        distractors=_distractors(task.thing, task.place, scene),
        success=_success(THINGS[task.thing], task.place, scene),
    )


def scenes() -> tuple[int, ...]:
    """Numbers of all scenes."""
    return tuple(LAYOUTS)

