"""Simulators by task name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from robot_pt.errors import UserError
from robot_pt_sim.panda import CONTROL_HZ, PandaSimulator
from robot_pt_sim.tasks import Task, find_task

VARIANTS = ("placement_m", "yaw_rad", "horizon", "instruction")
"""Fields of a task a user may change."""


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
) -> PandaSimulator:
    """A simulator of `task` (see `task_names`) with frames of `image_size` = (height, width) from the given camera roles.

    `seed` resets it at once. `control_hz` above 5 and `camera_every`: shorter steps, cameras in every n-th (`PandaSimulator`). `variant` changes the task: `placement_m` and `yaw_rad` (half-ranges of the objects' start),
    `horizon` (control steps), `instruction`. Raises UserError for what is unknown or not installed.
    """
    simulator = PandaSimulator(
        check_variant(task, variant), cameras=camera_roles(camera), image_size=image_size, render=render,
        control_hz=control_hz, camera_every=camera_every,
    )  # fmt: skip
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
) -> PandaSimulator:
    """As `make`, with everything given."""
    return PandaSimulator(check_variant(task, variant), cameras=cameras, image_size=image_size, render=render)


def camera_roles(camera: str | Sequence[str]) -> tuple[str, ...]:
    return (camera,) if isinstance(camera, str) else tuple(camera)


def check_variant(task: str, variant: Mapping[str, Any]) -> Task:
    """The task with the variant's fields. Raises UserError for an unknown task or field, or a value out of range."""
    found = find_task(task)
    unknown = sorted(set(variant) - set(VARIANTS))
    if unknown:
        raise UserError(f"{', '.join(unknown)} cannot be changed for {task}; choose from {', '.join(VARIANTS)}.")
    if "placement_m" in variant and found.family in ("pick-place", "door"):
        raise UserError(f"placement_m cannot be changed for {task}: its scene fixes where things stand; leave it out.")
    for name, least, most in (("placement_m", 0, 0.12), ("yaw_rad", 0, 3.15), ("horizon", 1, 1000)):
        if name in variant and not least <= float(variant[name]) <= most:
            raise UserError(f"{name} is {variant[name]}; give a number between {least} and {most}.")
    return replace(found, **variant)
