"""ROS 2 for this process: the real rclpy where there is one, else robot-pt's overlay over the `cyclonedds` wheel.

Call `use_ros()` before the first ``import rclpy``, or have `use_ros_when_imported` do it then; nodes themselves import plain rclpy and
message packages.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

from robot_pt.errors import MissingExtraError, UserError

OVERLAY = Path(__file__).with_name("overlay")


def use_ros() -> None:
    """Make ``import rclpy`` and ``from sensor_msgs.msg import Image`` work; a second call does nothing.

    Raises MissingExtraError where there is neither a real rclpy nor the [ros] extra, and UserError where a real rclpy is
    on the path but does not load (another Python version, an environment that was not sourced).
    """
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _FirstImport)]
    if not is_overlay() and _find_real() is not None:
        try:
            importlib.import_module("rclpy.node")  # brings the extension module in, which is what fails
        except ImportError as error:
            raise UserError(
                f"rclpy is on the path but does not load ({error}); source the ROS 2 setup file with ROS's own Python "
                f"(this is {sys.version_info.major}.{sys.version_info.minor}), or start without ROS on PYTHONPATH."
            ) from error
        return
    for package in ("cyclonedds", "rosbags"):
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise MissingExtraError(package, "ros", "A ROS 2 node on a machine without ROS 2") from error
    from robot_pt_ros.wire.messages import install_message_packages

    install_message_packages()
    if not is_overlay():
        sys.path.append(str(OVERLAY))
        importlib.invalidate_caches()


def use_ros_when_imported() -> None:
    """`use_ros` at the first import of rclpy or of a message package: the overlay takes a third of a second to come."""
    if not any(isinstance(finder, _FirstImport) for finder in sys.meta_path):
        sys.meta_path.append(_FirstImport())


class _FirstImport(importlib.abc.MetaPathFinder):
    """Last on sys.meta_path until it is asked for something of ROS."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in ("rclpy", "bond") and not fullname.endswith(("_msgs", "_srvs", "_interfaces")):
            return None
        use_ros()
        return importlib.util.find_spec(fullname)


def is_overlay() -> bool:
    """Whether this process's rclpy is the overlay (False too where `use_ros` was not called yet)."""
    return str(OVERLAY) in sys.path


def _find_real() -> object | None:
    try:
        return importlib.util.find_spec("rclpy")
    except ValueError:  # a module put into sys.modules by hand
        return sys.modules.get("rclpy")
