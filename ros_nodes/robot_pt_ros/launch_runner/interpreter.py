"""The Python that runs our nodes: whether it has what they need, and the overlay where it has no rclpy.

The overlay goes to the end of PYTHONPATH, and only for an interpreter that cannot find rclpy: a real ROS is never shadowed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robot_pt.errors import UserError

OVERLAY = Path(__file__).resolve().parent.parent / "overlay"

_ASK = """
import importlib.util, json, sys
has = {name: importlib.util.find_spec(name) is not None for name in ("rclpy", "robot_pt", "robot_pt_ros")}
print(json.dumps({"version": list(sys.version_info[:2]), **has}))
"""


def environment_for(python: str, environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` with what a node needs to run in the interpreter `python` (a path, or a name on the PATH).

    Raises UserError: no such program, not a Python >= 3.11, or one that cannot import robot_pt and robot_pt_ros.
    """
    path = shutil.which(python, path=environment.get("PATH"))
    if path is None:
        raise UserError(
            f"python:={python} is no program; give the path of a Python that has robot-pt, e.g. /path/venv/bin/python."
        )
    found = _ask(path, environment)
    if found["version"] < [3, 11]:
        raise UserError(f"{path} is Python {'.'.join(map(str, found['version']))}; the nodes need 3.11 or newer.")
    missing = [name for name in ("robot_pt", "robot_pt_ros") if not found[name]]
    if missing:
        raise UserError(f"{path} cannot import {' and '.join(missing)}; run: {path} -m pip install 'robot-pt[ros]'.")
    made = {**environment, "PYTHONUNBUFFERED": environment.get("PYTHONUNBUFFERED", "1")}
    if not found["rclpy"]:
        made["PYTHONPATH"] = os.pathsep.join([*filter(None, [environment.get("PYTHONPATH")]), str(OVERLAY)])
    return made


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
