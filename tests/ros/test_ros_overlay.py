"""`use_ros`: the real rclpy where there is one, the overlay elsewhere, and nothing half-way."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from robot_pt_ros import ros

ROOT = Path(__file__).parents[2]


def run(source: str, *, first_on_path: Path | None = None) -> subprocess.CompletedProcess[str]:
    paths = [str(path) for path in (first_on_path, ROOT, ROOT / "ros_nodes") if path is not None]
    program = f"import sys\nsys.path[:0] = {paths}\n{source}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)


def test_the_overlay_is_used_where_there_is_no_ros() -> None:
    ros.use_ros()
    ros.use_ros()
    assert ros.is_overlay()
    assert sys.path.count(str(ros.OVERLAY)) == 1
    import rclpy
    from sensor_msgs.msg import Image

    assert Path(rclpy.__file__).is_relative_to(ros.OVERLAY)
    assert Image().height == 0


def test_the_core_brings_no_rclpy() -> None:
    done = run("import robot_pt.errors\nimport rclpy")
    assert "No module named 'rclpy'" in done.stderr


def test_a_real_rclpy_goes_first(tmp_path: Path) -> None:
    package = tmp_path / "rclpy"
    package.mkdir()
    (package / "__init__.py").write_text("REAL = True\n")
    (package / "node.py").write_text("")
    done = run(
        "from robot_pt_ros.ros import is_overlay, use_ros\nuse_ros()\nimport rclpy\n"
        "assert rclpy.REAL and not is_overlay()\nassert 'robot_pt_ros.wire' not in sys.modules",
        first_on_path=tmp_path,
    )
    assert done.returncode == 0, done.stderr


def test_a_real_rclpy_that_does_not_load_is_not_papered_over(tmp_path: Path) -> None:
    package = tmp_path / "rclpy"
    package.mkdir()
    (package / "__init__.py").write_text("from rclpy import _rclpy_pybind11\n")
    done = run(
        "from robot_pt.errors import UserError\nfrom robot_pt_ros.ros import use_ros\n"
        "try:\n    use_ros()\nexcept UserError as error:\n    print(error)",
        first_on_path=tmp_path,
    )
    assert "does not load" in done.stdout, done.stderr
    assert "source the ROS 2 setup file" in done.stdout


def test_a_missing_wheel_is_named(tmp_path: Path) -> None:
    (tmp_path / "cyclonedds").mkdir()
    (tmp_path / "cyclonedds" / "__init__.py").write_text("raise ImportError('hidden by this test')\n")
    done = run(
        "from robot_pt_ros.ros import use_ros\nuse_ros()",
        first_on_path=tmp_path,
    )
    assert "MissingExtraError" in done.stderr
    assert "pip install 'robot-pt[ros]'" in done.stderr


def test_the_package_alone_brings_nothing_in_until_ros_is_asked_for() -> None:
    done = run(
        "import robot_pt_ros, robot_pt_ros.executables\nfrom robot_pt_ros.ros import is_overlay\n"
        "assert not is_overlay() and not {'cyclonedds', 'rosbags', 'numpy'} & sys.modules.keys()\n"
        "from sensor_msgs.msg import Image\nimport rclpy\nassert is_overlay() and Image().height == 0\n"
        "print([type(finder).__name__ for finder in sys.meta_path])\nimport cook_msgs"
    )
    assert "No module named 'cook_msgs'" in done.stderr
    assert "_FirstImport" not in done.stdout


def test_a_package_of_messages_that_nobody_has_is_missing_as_any_other() -> None:
    done = run("import robot_pt_ros\nimport cook_msgs")
    assert done.stderr.strip().endswith("ModuleNotFoundError: No module named 'cook_msgs'")


def test_what_is_out_of_scope_says_so() -> None:
    ros.use_ros()
    for module in ("rclpy.action", "rclpy.qos_overriding_options"):
        with pytest.raises(ImportError, match="not part of robot-pt's overlay"):
            __import__(module)


def test_the_wheel_exposes_no_top_level_rclpy() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert "ros_nodes/robot_pt_ros" in packages
    assert all(not package.endswith(("overlay", "rclpy")) for package in packages)
    assert not (ros.OVERLAY / "__init__.py").exists()
    assert [path.name for path in ros.OVERLAY.iterdir() if path.name != "__pycache__"] == ["rclpy"]
