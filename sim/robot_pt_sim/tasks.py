"""The tasks by their canonical names: which robosuite scene, what counts as success, where the cameras stand.

Success tests are plain functions of a `SceneState`. They agree with robosuite's own `_check_success` (a test compares
them along episodes) and can be used on recorded states.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from robot_pt.targets import Limits
from robot_pt_sim.names import no_task
from robot_pt_sim.scene import SceneState

Point = tuple[float, float, float]
TABLE_TOP = -0.112
"""Height of table tops and bin floors in the base frame of the mounted Panda [m]."""


def cube_lifted(state: SceneState) -> bool:
    """The cube's centre is 4 cm above the table."""
    return bool(state.objects["cube"].position[2] > TABLE_TOP + 0.04)


def cube_stacked(state: SceneState) -> bool:
    """The red cube rests on the green one and the gripper has let go."""
    lifted = state.objects["cube"].position[2] > TABLE_TOP + 0.04
    return bool(lifted and state.touching("cube", "base_cube") and not state.grasped("cube"))


def in_bin(state: SceneState) -> bool:
    """The object lies in its quarter of the second bin and the gripper is 4 cm away."""
    position = state.objects["object"].position
    x, y, _ = np.abs(position - state.objects["bin"].position)
    distance = float(np.linalg.norm(position - state.tool.position))
    inside = x < 0.0975 and y < 0.1225 and 0 < position[2] - TABLE_TOP < 0.1
    return bool(inside and 1 - np.tanh(10 * distance) < 0.6)


def door_open(state: SceneState) -> bool:
    """The hinge is past 0.3 rad."""
    return state.joints["hinge"] > 0.3


@dataclass(frozen=True)
class View:
    """A camera of the scene; `position` and `look_at` in the robot base frame [m] replace the model's pose if given."""

    camera: str
    position: Point | None = None
    look_at: Point = (0.0, 0.0, 0.0)
    fovy: float = 45.0  # [deg]


class Ranges(NamedTuple):
    """Least and most of a uniform placement in robosuite's world, about its table's middle."""

    x_m: tuple[float, float]
    y_m: tuple[float, float]
    yaw_rad: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Task:
    """Everything the simulator needs to know about one task."""

    name: str
    family: str
    """Tasks of one family share a scripted expert: lift | pick-place | door | stack."""
    instruction: str
    environment: str
    """robosuite's class name."""
    success: Callable[[SceneState], bool]
    places: Mapping[str, str]
    """Short name -> MuJoCo body, or "site:NAME"."""
    geoms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Short name -> geoms whose contacts are reported."""
    joints: Mapping[str, str] = field(default_factory=dict)
    views: Mapping[str, View]
    limits: Limits
    horizon: int
    """Control steps before truncation."""
    placement_m: float | None = None
    """Half-range of the objects' uniform placement in x and y [m]; None keeps robosuite's own placement."""
    yaw_rad: float | None = None
    """Half-range of the objects' initial yaw [rad]; None keeps robosuite's own."""
    ranges: Ranges | None = None
    """Of an object that does not belong in the middle; None keeps robosuite's own."""
    colour: tuple[float, float, float] | None = None
    """RGB of the cube, 0..1."""
    options: Mapping[str, object] = field(default_factory=dict)
    """Further arguments of the robosuite class."""


COLOURS: Mapping[str, tuple[float, float, float]] = {
    "red": (0.80, 0.05, 0.05),
    "green": (0.05, 0.55, 0.10),
    "blue": (0.05, 0.15, 0.75),
    "yellow": (0.90, 0.75, 0.05),
    "purple": (0.45, 0.05, 0.60),
    "orange": (0.95, 0.40, 0.02),
}

_WRIST = View("robot0_eye_in_hand")
_TABLE_VIEWS = {
    "primary": View("agentview", (1.10, 0.0, 0.45), (0.51, 0.0, -0.02), 34.0),
    "secondary": View("sideview", (0.52, 0.75, 0.35), (0.52, 0.0, -0.02), 36.0),
    "wrist": _WRIST,
}
_LIFT_COLOUR_VIEWS = {
    **_TABLE_VIEWS,
    # obliquely from above: depth and width are both seen at 4 mm a pixel (64 x 64), and the fingers hide the cube late
    "primary": View("agentview", (0.80, 0.38, 0.55), (0.535, 0.0, -0.05), 29.0),
}
_TABLE_LIMITS = Limits(low=(0.35, -0.25, TABLE_TOP + 0.008, -0.6, -0.6, -1.8), high=(0.75, 0.25, 0.30, 0.6, 0.6, 1.8))

LIFT = Task(
    name="lift",
    family="lift",
    instruction="lift the red cube",
    environment="Lift",
    success=cube_lifted,
    places={"cube": "cube_main"},
    geoms={"cube": ("cube_g0",)},
    views=_TABLE_VIEWS,
    limits=_TABLE_LIMITS,
    horizon=40,
)

STACK = Task(
    name="stack",
    family="stack",
    instruction="stack the red cube on the green cube",
    environment="Stack",
    success=cube_stacked,
    places={"cube": "cubeA_main", "base_cube": "cubeB_main"},
    geoms={"cube": ("cubeA_g0",), "base_cube": ("cubeB_g0",)},
    views=_TABLE_VIEWS,
    limits=_TABLE_LIMITS,
    horizon=60,
)

DOOR = Task(
    name="door",
    family="door",
    instruction="turn the handle and open the door",
    environment="Door",
    success=door_open,
    places={"handle": "site:Door_handle", "door": "Door_door", "latch": "Door_latch"},
    geoms={"handle": ("Door_handle",), "door": ("Door_panel",)},
    joints={"hinge": "Door_hinge", "latch": "Door_latch_joint"},
    views={
        "primary": View("agentview", (1.15, 0.15, 0.75), (0.40, -0.25, 0.10), 45.0),
        "secondary": View("sideview"),
        "wrist": _WRIST,
    },
    limits=Limits(low=(0.25, -0.45, -0.05, -0.8, -0.8, -1.8), high=(0.75, 0.25, 0.45, 0.8, 0.8, 1.8)),
    horizon=80,
)
DOOR_ANYWHERE = replace(
    DOOR,
    name="door-anywhere",
    # about robosuite's middle, which keeps to 1 cm and 0.125 rad: there a policy that does not look opens it too
    ranges=Ranges((0.0, 0.16), (-0.16, 0.16), (-np.pi / 2 - 0.475, -np.pi / 2 + 0.225)),
)


def _pick_place(name: str) -> Task:
    thing = name.capitalize()
    return Task(
        name=f"pick-place-{name}",
        family="pick-place",
        instruction=f"put the {name} in its bin",
        environment=f"PickPlace{thing}",
        success=in_bin,
        places={"object": f"{thing}_main", "bin": f"Visual{thing}_main"},
        geoms={"object": (f"{thing}_g0",)},
        views={
            "primary": View("agentview", (1.25, 0.11, 0.95), (0.62, 0.11, -0.02), 48.0),
            "secondary": View("frontview"),
            "wrist": _WRIST,
        },
        limits=Limits(low=(0.35, -0.45, TABLE_TOP + 0.01, -0.6, -0.6, -1.8), high=(0.85, 0.65, 0.35, 0.6, 0.6, 1.8)),
        horizon=80,
    )


def _lift_colour(colour: str) -> Task:
    return replace(
        LIFT,
        name=f"lift-{colour}",
        instruction=f"lift the {colour} cube",
        placement_m=0.10,
        yaw_rad=0.3,
        colour=COLOURS[colour],
        views=_LIFT_COLOUR_VIEWS,
    )


TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        LIFT,
        *(_lift_colour(colour) for colour in COLOURS),
        *(_pick_place(name) for name in ("milk", "bread", "cereal", "can")),
        DOOR,
        DOOR_ANYWHERE,
        STACK,
    )
}


def task_names() -> list[str]:
    """Canonical names of all tasks."""
    return list(TASKS)


def find_task(name: str) -> Task:
    """Raises UserError with the known names."""
    if name not in TASKS:
        raise no_task(name, TASKS)
    return TASKS[name]
