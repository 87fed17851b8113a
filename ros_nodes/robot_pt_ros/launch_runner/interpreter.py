"""The Python that runs our nodes: whether it has what they need. `import robot_pt_ros` brings the overlay in where there is no rclpy."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from typing import Any

from robot_pt.errors import UserError

_ASK = """
import importlib.util, json, sys
names = ("rclpy", "robot_pt", "robot_pt_ros", "cyclonedds", "rosbags")
has = {name: importlib.util.find_spec(name) is not None for name in names}
print(json.dumps({"version": list(sys.version_info[:2]), **has}))
"""


def check(python: str, environment: Mapping[str, str]) -> None:
    """Raises UserError for `python` (a path, or a name on the PATH): no such program, not a Python >= 3.11, or one without robot-pt or ROS."""
    path = shutil.which(python, path=environment.get("PATH"))
    if path is None:
        raise UserError(
            f"python:={python} is no program; give the path of a Python that has robot-pt, e.g. /path/venv/bin/python."
        )
    found = _ask(path, environment)
    if found["version"] < [3, 11]:
        raise UserError(f"{path} is Python {'.'.join(map(str, found['version']))}; the nodes need 3.11 or newer.")
    missing = [name for name in ("robot_pt", "robot_pt_ros") if not found[name]]
    missing += [] if found["rclpy"] else [name for name in ("cyclonedds", "rosbags") if not found[name]]
    if missing:
        raise UserError(f"{path} cannot import {' and '.join(missing)}; run: {path} -m pip install 'robot-pt[ros]'.")


def _ask(path: str, environment: Mapping[str, str]) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [path, "-c", _ASK], env=dict(environment), capture_output=True, text=True, timeout=60, check=True
        )
        answer = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        raise UserError(
            f"{path} does not answer as a Python interpreter; give the path of one that has robot-pt."
        ) from None
    found: dict[str, Any] = answer
    return found
