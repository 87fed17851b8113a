"""Where a package's files and programs are: this very copy of robot_pt_ros, and whatever AMENT_PREFIX_PATH lists.

robot_pt_ros is always the copy that runs this code: a checkout (ros_nodes/), a wheel (PREFIX/share/robot_pt_ros) or a colcon install.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from robot_pt.errors import UserError

OURS = "robot_pt_ros"
_HERE = Path(__file__).resolve().parent.parent  # .../robot_pt_ros


def own_share() -> Path:
    """The folder with our package.xml, config/ and (once installed) launch/. Raises UserError: an install without it."""
    if (_HERE.parent / "package.xml").is_file():
        return _HERE.parent  # a checkout
    for above in _HERE.parents:
        if (above / "share" / OURS / "package.xml").is_file():
            return above / "share" / OURS
    raise UserError(f"the files of {OURS} (share/{OURS}) are not beside {_HERE}; install robot-pt again.")


def launch_folder() -> Path:
    """The folder with our launch files: share/robot_pt_ros/launch, or launch/ of a checkout."""
    share = own_share()
    return share / "launch" if (share / "launch").is_dir() else share.parent / "launch"


def prefix(package: str, environment: Mapping[str, str]) -> Path:
    """The install prefix of a package. Raises UserError: it is not installed."""
    if package == OURS:
        share = own_share()
        return share.parent.parent if share.name == OURS else share
    for root in environment.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        if root and (Path(root) / "share" / "ament_index" / "resource_index" / "packages" / package).exists():
            return Path(root)
    raise UserError(
        f"package {package!r} is not installed; source the ROS 2 workspace that has it (AMENT_PREFIX_PATH), or leave its node out."
    )


def share(package: str, environment: Mapping[str, str]) -> Path:
    """The share folder of a package. Raises UserError: it is not installed."""
    return own_share() if package == OURS else prefix(package, environment) / "share" / package


def program(package: str, executable: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The words that start `exec` of `pkg`: a path, or for our own nodes `-m robot_pt_ros NAME` for an interpreter to be put before.

    Raises UserError: the package or the executable is not there.
    """
    if package == OURS:
        names = sorted(path.stem.removesuffix("_node") for path in _HERE.glob("*_node.py"))
        if executable not in names:
            raise UserError(f"{OURS} has no executable {executable!r}; it has {', '.join(names) or 'none'}.")
        return ("-m", OURS, executable)
    path = prefix(package, environment) / "lib" / package / executable
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise UserError(f"package {package!r} has no executable {executable!r}; {path} is not a program.")
    return (str(path),)
