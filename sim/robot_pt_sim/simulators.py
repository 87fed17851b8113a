"""Simulators by task name: robosuite scenes, toy kitchens and mazes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from robot_pt.errors import UserError
from robot_pt.schema import Spec
from robot_pt.simulated import Release
from robot_pt_sim import tasks
from robot_pt_sim.kitchen.tasks import PREFIX, KitchenTask, find_kitchen
from robot_pt_sim.kitchen.tasks import TASKS as KITCHENS
from robot_pt_sim.kitchen.twin import KitchenSimulator, kitchen_spec
from robot_pt_sim.names import no_task
from robot_pt_sim.panda import CONTROL_HZ, PandaSimulator, panda_spec, state_spec
from robot_pt_sim.point_maze import MAZES, Maze, PointMaze, maze_spec
from robot_pt_sim.tasks import Task, find_task

VARIANTS = ("placement_m", "yaw_rad", "horizon", "instruction")
"""Fields of a task a user may change."""
MAZE_VARIANTS = ("horizon", "instruction")
KITCHEN_VARIANTS = ("scene", "horizon", "instruction")

AnySimulator = PandaSimulator | KitchenSimulator | PointMaze
AnyTask = Task | KitchenTask | Maze


def task_names() -> list[str]:
    """Canonical names of all tasks, mazes last."""
    return [*tasks.task_names(), *KITCHENS, *MAZES]


def make(
    task: str,
    *,
    camera: str | Sequence[str] = "primary",
    image_size: tuple[int, int] = (64, 64),
    seed: int | None = None,
    render: bool = True,
    control_hz: float = CONTROL_HZ,
    camera_every: int = 1,
    **variant: Any,
) -> AnySimulator:
    """A simulator of `task` (see `task_names`) with frames of `image_size` = (height, width) from the given camera roles.

    No camera at all, `camera=()`: the state alone, for scenes with the positions of their objects (`panda.state_spec`); nothing
    is rendered. `seed` resets it at once. `control_hz` above 5 and `camera_every`: shorter steps, cameras in every n-th
    (`PandaSimulator`); a maze has one rate. `variant` changes the task: `placement_m` and `yaw_rad` (half-ranges of the objects'
    start), `horizon` (control steps), `instruction`. Raises UserError for what is unknown or not installed.
    """
    found, roles = check_variant(task, variant), camera_roles(camera)
    simulator: AnySimulator
    if isinstance(found, Maze) and (control_hz, camera_every) != (CONTROL_HZ, 1):
        raise UserError(
            f"{task} runs at {CONTROL_HZ:g} Hz with a frame at each step; leave control_hz and camera_every out."
        )
    if isinstance(found, Maze):
        simulator = PointMaze(found, cameras=roles, image_size=image_size)
    elif isinstance(found, KitchenTask):
        simulator = KitchenSimulator(
            found, cameras=roles, image_size=image_size, render=render, control_hz=control_hz, camera_every=camera_every
        )
    else:
        simulator = PandaSimulator(
            found, cameras=roles, image_size=image_size, render=render, control_hz=control_hz, camera_every=camera_every
        )
    if seed is not None:
        simulator.reset(seed)
    return simulator


def build(
    task: str,
    *,
    cameras: tuple[str, ...],
    image_size: tuple[int, int],
    variant: Mapping[str, Any],
    render: bool = True,
) -> AnySimulator:
    """As `make`, with everything given."""
    return make(task, camera=cameras, image_size=image_size, render=render, **variant)


def spec_of(task: str, cameras: Sequence[str], image_size: tuple[int, int]) -> Spec:
    """What episodes of `task` look like, without building it. Raises UserError for an unknown task, camera or a silly size."""
    found = check_variant(task, {})
    if isinstance(found, Maze):
        return maze_spec(cameras, image_size)
    if isinstance(found, KitchenTask):
        return kitchen_spec(found, cameras, image_size)
    return panda_spec(cameras, image_size) if cameras else state_spec(found)


def task_and_scene(task: str) -> tuple[str, int | None]:
    """As episodes name them: the task without its scene, and the scene where there is a choice. Raises UserError as `check_variant`."""
    found = check_variant(task, {})
    return found.name, found.scene if isinstance(found, KitchenTask) else None


def version_of(task: str) -> Release | None:
    """The simulator and version that episodes of `task` are recorded in here, as `robot_pt.simulated` reads them; None for a maze.

    Raises UserError as `check_variant`.
    """
    found = check_variant(task, {})
    if isinstance(found, Maze):
        return None
    return KitchenSimulator.release if isinstance(found, KitchenTask) else PandaSimulator.release


def camera_roles(camera: str | Sequence[str]) -> tuple[str, ...]:
    return (camera,) if isinstance(camera, str) else tuple(camera)


def check_variant(task: str, variant: Mapping[str, Any]) -> AnyTask:
    """The task with the variant's fields. Raises UserError for an unknown task or field, or a value out of range."""
    found = _found(task, variant)
    allowed = _ALLOWED[type(found)]
    unknown = sorted(set(variant) - set(allowed))
    if unknown:
        raise UserError(f"{', '.join(unknown)} cannot be changed for {task}; choose from {', '.join(allowed)}.")
    if "placement_m" in variant and isinstance(found, Task) and found.family in ("pick-place", "door"):
        raise UserError(f"placement_m cannot be changed for {task}: its scene fixes where things stand; leave it out.")
    for name, least, most in (("placement_m", 0, 0.12), ("yaw_rad", 0, 3.15), ("horizon", 1, 1000)):
        if name in variant and not least <= float(variant[name]) <= most:
            raise UserError(f"{name} is {variant[name]}; give a number between {least} and {most}.")
    return replace(found, **{name: value for name, value in variant.items() if name != "scene"})


_ALLOWED = {Maze: MAZE_VARIANTS, KitchenTask: KITCHEN_VARIANTS, Task: VARIANTS}


def _found(task: str, variant: Mapping[str, Any]) -> AnyTask:
    name, _, scene = task.partition("@")
    if name not in task_names():
        raise no_task(name, task_names())
    if name.startswith(PREFIX):
        return find_kitchen(task, variant.get("scene"))
    if scene:
        raise UserError(f"{name} has one scene; leave scene {scene} out.")
    return MAZES[name] if name in MAZES else find_task(name)
