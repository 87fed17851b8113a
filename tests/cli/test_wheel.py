"""The wheel, installed alone, brings exactly four import names and every file they need."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = {"robot_pt", "robot_pt_data", "robot_pt_sim", "robot_pt_ros"}
FOLDERS = {"robot_pt": ".", "robot_pt_data": "data", "robot_pt_sim": "sim", "robot_pt_ros": "ros_nodes"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built in this environment: no network, hatchling from the dev extra."""
    pytest.importorskip("hatchling", reason="hatchling is not installed; the dev extra brings it")
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    target = tmp_path_factory.mktemp("site")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run(pip, capture_output=True, text=True, check=True)
    return target


def python(installed, code):
    """Run `code` with the installed wheel first on the path and the checkout nowhere on it."""
    setup = f"import sys; sys.path = [{str(installed)!r}] + [p for p in sys.path if {str(ROOT)!r} not in p or 'site-packages' in p]\n"
    setup += "sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]\n"
    done = subprocess.run(
        [sys.executable, "-c", setup + code], capture_output=True, text=True, check=False, cwd=installed
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_exactly_four_import_names(installed):
    found = {p.name for p in installed.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    assert found == NAMES
    rest = {p.name for p in installed.iterdir()} - found
    assert all(name.endswith(".dist-info") or name in ("bin", "share") for name in rest)


def test_every_file_of_the_packages_is_in_the_wheel_and_no_other(wheel):
    with zipfile.ZipFile(wheel) as archive:
        shipped = {n for n in archive.namelist() if ".dist-info/" not in n and ".data/" not in n}
    expected = {
        path.relative_to(ROOT / folder).as_posix()
        for name, folder in FOLDERS.items()
        for path in (ROOT / folder / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix not in (".pyc", ".part")
    }
    assert shipped == expected
    assert {"robot_pt/py.typed", "robot_pt/report/style.css"} <= shipped


def test_launch_files_settings_and_the_index_marker_are_in_the_wheel_and_found(installed):
    for folder, source in (("launch", ROOT / "launch"), ("config", ROOT / "ros_nodes/config")):
        shipped = {p.name: p.read_text() for p in (installed / "share/robot_pt_ros" / folder).iterdir()}
        assert shipped == {p.name: p.read_text() for p in source.iterdir()}
    assert (installed / "share/ament_index/resource_index/packages/robot_pt_ros").is_file()
    code = "from robot_pt_ros.launch_runner import packages as p; print(p.launch_folder(), p.share('robot_pt_ros', {}))"
    share = installed / "share/robot_pt_ros"
    assert python(installed, code).split() == [str(share / "launch"), str(share)]


def test_every_import_name_works_from_the_wheel_alone(installed):
    printed = json.loads(python(installed, f"import json, {', '.join(sorted(NAMES))}\nprint(json.dumps([m.__file__ for m in ({', '.join(sorted(NAMES))})]))"))  # fmt: skip
    assert all(Path(f).is_relative_to(installed) for f in printed)


def test_reports_find_their_style_in_the_wheel(installed):
    code = "from robot_pt.report import Report, render; print(render(Report(title='from the wheel')))"
    assert "--paper:" in python(installed, code)


def test_the_command_is_installed(installed):
    (entry,) = installed.glob("*.dist-info/entry_points.txt")
    assert "robot-pt = robot_pt.cli:main" in entry.read_text()


def test_the_wheel_carries_its_licence_and_marks_its_types(installed):
    assert list(installed.glob("*.dist-info/licenses/LICENSE"))
    assert all((installed / name / "py.typed").exists() for name in NAMES)
