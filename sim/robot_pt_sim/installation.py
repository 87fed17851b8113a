"""The one robosuite this package drives, checked before anything is built with it."""

from __future__ import annotations

import importlib
import logging
from contextlib import nullcontext, suppress
from importlib import metadata
from typing import Any

from robot_pt.errors import MissingExtraError, UserError
from robot_pt.simulated import Release, told
from robot_pt_sim.rendering import choose_backend

ROBOSUITE = "1.5.2"
MUJOCO_BELOW = (3, 10)
"""mujoco 3.10 changed mj_fullM, and 4.0 the comparison of joint types; robosuite 1.5.2 breaks on both."""


def import_robosuite(render: bool = True) -> Any:
    """The robosuite module, its console chatter silenced, after a headless OpenGL was chosen.

    Raises UserError when it is missing or of another version, MissingExtraError when mujoco is missing, and UserError
    when nothing renders and `render` is asked for.
    """
    check_versions(_installed("mujoco"), _installed("robosuite"))
    # also without `render`: robosuite sets MUJOCO_GL when it is imported, to what may not draw here
    with nullcontext() if render else suppress(UserError):
        choose_backend()
    log = logging.getLogger("robosuite_logs")
    if _only_errors not in log.filters:
        log.addFilter(_only_errors)
    return importlib.import_module("robosuite")


def check_versions(mujoco: str | None, robosuite: str | None) -> None:
    """Raise unless these installed versions (None = not installed) work together."""
    if mujoco is None:
        raise MissingExtraError("mujoco", "robosuite", "the simulator")
    if tuple(int(part) for part in mujoco.split(".")[:2]) >= MUJOCO_BELOW:
        raise UserError(
            f"mujoco {mujoco} is installed and robosuite {ROBOSUITE} breaks on 3.10 and later; run: pip install 'mujoco>=3.3,<3.9'."
        )
    install = f"pip install --no-deps robosuite=={ROBOSUITE}"
    if robosuite is None:
        raise UserError(
            f"the simulator needs robosuite, which is not installed; its own requirements conflict with numpy 2, so install "
            f"it in a step of its own: {install}."
        )
    if robosuite != ROBOSUITE:
        raise UserError(
            f"robosuite {robosuite} is installed, this simulator is written for {ROBOSUITE}; run: {install}."
        )


def versions() -> dict[str, str]:
    """Installed versions of robosuite and mujoco, for episode metadata."""
    return {name: _installed(name) or "" for name in ("robosuite", "mujoco")}


def about(release: Release | None, controller: dict[str, Any]) -> dict[str, Any]:
    """What each episode of a simulator keeps of it; `release`: None where actions end alike in all of its versions."""
    return {**told(release), "versions": versions(), "controller": controller}


def _installed(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _only_errors(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
