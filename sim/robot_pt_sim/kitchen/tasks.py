"""The tasks of the toy kitchens, as data: what is moved where, in which words, and when it is done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from robot_pt.errors import UserError
from robot_pt.targets import Limits
from robot_pt_sim.kitchen.fixtures import HANDLE, JOINT
from robot_pt_sim.kitchen.layouts import COUNTER_M, LAYOUTS, LIMITS, Box, find_layout, no_scene
from robot_pt_sim.kitchen.model import SINK_FLOOR_M, STOVE_M
from robot_pt_sim.kitchen.things import LID_REST_M, THINGS, Thing
from robot_pt_sim.names import no_task
from robot_pt_sim.scene import SceneState

PREFIX = "kitchen/"
FIRST_SCENE = 1
DISTRACTORS = 3
_DOWN_M = 0.010  # over a floor, still on it: half of the thing's height is added, as it may have tipped over


@dataclass(frozen=True, kw_only=True)
class KitchenTask:
    """One task in one scene."""

    name: str
    """kitchen/put-CARROT-on-PLATE, without the scene."""
    scene: int
    family: str
    """Tasks of one family share a scripted expert: kitchen-place, kitchen-fixture."""
    instruction: str
    thing: str = ""
    """What is moved, if it is a free body."""
    place: str = ""
    """Where to: a thing, "sink", "stove" or "counter"; where from for "counter"."""
    fixture: str = ""
    """What moves on a joint, if anything: a name of `fixtures.FIXTURES`."""
    start: float = 0.0
    """Of that joint [m] or [rad]."""
    goal: float = 0.0
    """At which that joint counts as moved."""
    distractors: tuple[str, ...] = ()
    success: Callable[[SceneState], bool] = field(compare=False)
    limits: Limits = LIMITS
    horizon: int = 60
    """Control steps before truncation."""

    @property
    def needed(self) -> tuple[str, ...]:
        """Free bodies that the task is about, in the arm's reach at the start."""
        return tuple(name for name in (self.thing, self.place) if name in THINGS)

    @property
    def things(self) -> tuple[str, ...]:
        """Every free body."""
        return (*self.needed, *self.distractors)

    @property
    def places(self) -> dict[str, str]:
        """Short name -> body, or "site:NAME"; what matters comes first."""
        handle = {HANDLE: f"site:{HANDLE}"} if self.fixture else {}
        return handle | {name: name for name in self.things}

    @property
    def joints(self) -> dict[str, str]:
        """Short name -> joint."""
        return {JOINT: JOINT} if self.fixture else {}


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


def rests_beside(state: SceneState, thing: str, other: str, distance: float, high: float) -> bool:
    """The thing, let go, is at least `distance` from the other's axis and below a height, in the robot's base frame [m]."""
    offset = state.objects[thing].position - state.objects[other].position
    beside = np.hypot(offset[0], offset[1]) > distance and state.objects[thing].position[2] < high
    return bool(beside and not state.grasped(thing))


def moved_past(state: SceneState, start: float, goal: float) -> bool:
    """The fixture's joint has come from `start` to `goal` or beyond [m] or [rad]."""
    return bool((state.joints[JOINT] - goal) * np.sign(goal - start) >= 0)


PAIRS: tuple[tuple[str, str, str], ...] = (
    *((thing, "on", "plate") for thing in ("carrot", "banana", "croissant", "cucumber", "hot-dog", "potato", "cheese", "lemon")),
    *((thing, "in", "bowl") for thing in ("strawberry", "corn", "eggplant", "lemon", "egg", "mushroom")),
    *((thing, "in", "pot") for thing in ("potato", "mushroom", "corn", "egg")),
    *((thing, "in", "sink") for thing in ("sponge", "cup", "spoon", "knife")),
    *((thing, "on", "cutting-board") for thing in ("cucumber", "butter")),
    *((thing, "on", "stove") for thing in ("pot", "pan")),
    ("lid", "on", "pot"),
)  # fmt: skip
"""(thing, preposition, place)."""


class Turn(NamedTuple):
    """A task on a fixture."""

    name: str
    words: str
    fixture: str
    start: float
    goal: float


TURNS = (
    Turn("open-drawer", "open the drawer", "drawer", 0.0, 0.055),
    Turn("close-drawer", "close the drawer", "drawer", 0.072, 0.012),
    Turn("open-door", "open the cabinet door", "door", 0.0, 0.7),
    Turn("close-door", "close the cabinet door", "door", 1.0, 0.15),
    Turn("turn-lever-left", "turn the lever to the left", "lever", 0.0, 0.7),
    Turn("turn-lever-right", "turn the lever to the right", "lever", 0.0, -0.7),
)


def _success(thing: Thing, place: str, scene: int) -> Callable[[SceneState], bool]:
    layout, lying = find_layout(scene), _DOWN_M + thing.height_m / 2
    if place == "sink":
        low, high = SINK_FLOOR_M - 0.01, SINK_FLOOR_M + lying + 0.02
        return partial(rests_over, thing=thing.name, box=layout.sink, low=low, high=high)
    if place == "stove":
        return partial(rests_over, thing=thing.name, box=layout.stove, low=STOVE_M - 0.01, high=STOVE_M + 0.012)
    where, floor = THINGS[place], THINGS[place].floor_m
    if thing.name == "lid":
        rest = where.height_m - LID_REST_M
        return partial(rests_in, thing="lid", receptacle=place, radius=0.02, low=rest - 0.006, high=rest + 0.006)
    radius, high = where.opening_m, floor + lying
    return partial(rests_in, thing=thing.name, receptacle=place, radius=radius, low=floor - 0.01, high=high)


def _pair(thing: str, preposition: str, place: str, scene: int) -> KitchenTask:
    where = THINGS[place].noun if place in THINGS else place
    return KitchenTask(
        name=f"{PREFIX}put-{thing}-{preposition}-{place}",
        scene=scene,
        family="kitchen-place",
        instruction=f"put the {THINGS[thing].noun} {preposition} the {where}",
        thing=thing,
        place=place,
        success=_success(THINGS[thing], place, scene),
    )


def _turn(turn: Turn, scene: int) -> KitchenTask:
    return KitchenTask(
        name=PREFIX + turn.name,
        scene=scene,
        family="kitchen-fixture",
        instruction=turn.words,
        fixture=turn.fixture,
        start=turn.start,
        goal=turn.goal,
        success=partial(moved_past, start=turn.start, goal=turn.goal),
    )


def _uncover(scene: int) -> KitchenTask:
    return KitchenTask(
        name=f"{PREFIX}take-lid-off-pot",
        scene=scene,
        family="kitchen-uncover",
        instruction="take the lid off the pot",
        thing="lid",
        place="pot",
        success=partial(rests_beside, thing="lid", other="pot", distance=0.09, high=COUNTER_M + 0.02),
    )


def tasks_of(scene: int) -> dict[str, KitchenTask]:
    """Every task in one scene, by name. Raises UserError with the known scenes."""
    find_layout(scene)
    tasks = (*(_pair(*pair, scene) for pair in PAIRS), *(_turn(turn, scene) for turn in TURNS), _uncover(scene))
    return {task.name: replace(task, distractors=_distractors(task)) for task in tasks}


def _distractors(task: KitchenTask) -> tuple[str, ...]:
    """Other things, the same in every episode of this task and scene."""
    small = [name for name, one in THINGS.items() if not one.opening_m and name not in ("lid", *task.needed)]
    rng = np.random.default_rng([*map(ord, task.name), task.scene])
    return tuple(small[i] for i in rng.choice(len(small), DISTRACTORS, replace=False))


TASKS: Mapping[str, KitchenTask] = tasks_of(FIRST_SCENE)


def find_kitchen(name: str, scene: int | None = None) -> KitchenTask:
    """The task in a scene, which `name` may say too: kitchen/put-carrot-on-plate@3; the first scene where neither does.

    Raises UserError with the known names, or the known scenes.
    """
    name, at, said = name.partition("@")
    if name not in TASKS:
        raise no_task(name, TASKS)
    if at and scene is not None:
        raise UserError(
            f"the scene of {name} is given as {said!r} and {scene}; give one number, as in {name}@{FIRST_SCENE}."
        )
    if at and not said.isdecimal():
        raise no_scene(said or repr(said))
    return tasks_of(int(said) if said else FIRST_SCENE if scene is None else scene)[name]


def scenes() -> tuple[int, ...]:
    """Numbers of all scenes."""
    return tuple(LAYOUTS)
