"""`colcon build` of ros_nodes/ with the setuptools of Humble and of Jazzy: what it installs is found and runs.

ROBOT_PT_COLCON_VENVS names a folder with the environments colcon59 and colcon68 (tests/envs/*.txt); without it they are made.
"""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
INSTALLED = ("share/ament_index/resource_index/packages/robot_pt_ros", "share/robot_pt_ros/package.xml")


@pytest.fixture(scope="module", params=["colcon59", "colcon68"])
def python(request, tmp_path_factory):
    """An interpreter with colcon and one setuptools."""
    folder = os.environ.get("ROBOT_PT_COLCON_VENVS")
    if folder:
        return Path(folder) / request.param / "bin/python"
    made = tmp_path_factory.mktemp("venvs") / request.param
    subprocess.run([sys.executable, "-m", "venv", made], check=True)
    requirements = ROOT / f"tests/envs/{request.param}.txt"
    subprocess.run([made / "bin/python", "-m", "pip", "install", "--quiet", "-r", requirements], check=True)
    return made / "bin/python"


@pytest.fixture(scope="module", params=[(), ("--symlink-install",)], ids=["copied", "linked"])
def built(request, python, tmp_path_factory):
    """(install prefix, workspace) of a copy of ros_nodes/ and launch/."""
    workspace = tmp_path_factory.mktemp("workspace")
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for folder in ("ros_nodes", "launch"):
        shutil.copytree(ROOT / folder, workspace / folder, ignore=ignore)
    (workspace / "ros_nodes/robot_pt_ros/camera_node.py").write_text("def main():\n    print('camera', __file__)\n")
    command = [python, "-m", "colcon", "build", "--base-paths", "ros_nodes", *request.param]
    environment = {**os.environ, "PATH": f"{python.parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return workspace / "install/robot_pt_ros", workspace


def nodes():
    tree = ast.parse((ROOT / "ros_nodes/setup.py").read_text())
    return next(
        ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "NODES"
    )


def test_executables_launch_files_settings_and_the_index_marker_are_installed(built):
    prefix, _ = built
    assert {path.name for path in (prefix / "lib/robot_pt_ros").iterdir()} == set(nodes())
    assert all(os.access(path, os.X_OK) for path in (prefix / "lib/robot_pt_ros").iterdir())
    for file in INSTALLED:
        assert (prefix / file).is_file(), file
    for folder, source in (("launch", ROOT / "launch"), ("config", ROOT / "ros_nodes/config")):
        installed = {path.name: path.read_text() for path in (prefix / "share/robot_pt_ros" / folder).iterdir()}
        assert installed == {path.name: path.read_text() for path in source.glob("*.yaml")}


def test_an_installed_executable_runs_with_the_python_of_the_environment_and_with_one_named_before_it(built, python):
    prefix, workspace = built
    program = f"{prefix}/lib/robot_pt_ros/camera"
    for command in (program, f"{python} {program}"):
        core = f"PYTHONPATH=$PYTHONPATH:{ROOT}"  # robot-pt itself, as pip installs it
        shell = f"source {workspace}/install/setup.bash; {core} PATH={python.parent}:$PATH {command}"
        done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("camera ")


def test_every_module_is_installed(built, python):
    _, workspace = built
    shell = f"source {workspace}/install/setup.bash; {python} -c 'import importlib.util as u; print(u.find_spec(\"robot_pt_ros\").origin)'"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    package = Path(done.stdout.strip()).parent
    assert package.is_relative_to(workspace)
    installed = {path.relative_to(package) for path in package.rglob("*.py")}
    sources = ROOT / "ros_nodes/robot_pt_ros"
    assert installed >= {path.relative_to(sources) for path in sources.rglob("*.py")}


def test_the_source_folder_stays_clean(built):
    _, workspace = built
    assert {path.name for path in workspace.iterdir()} == {"ros_nodes", "launch", "build", "install", "log"}
    assert not list((workspace / "ros_nodes").glob("*.egg-info"))


def test_every_executable_has_its_module():
    missing = [name for name in nodes() if not (ROOT / f"ros_nodes/robot_pt_ros/{name}_node.py").is_file()]
    assert not missing
