import subprocess
import sys

import pytest

from robot_pt.errors import UserError
from robot_pt_sim import make
from robot_pt_sim.simulators import camera_roles, check_variant


def test_a_variant_changes_the_fields_it_names():
    task = check_variant("lift-red", {"placement_m": 0.05, "horizon": 25})
    assert (task.placement_m, task.horizon, task.yaw_rad) == (0.05, 25, 0.3)


@pytest.mark.parametrize(
    ("task", "variant", "words"),
    [
        ("lift", {"gravity": 0}, "gravity cannot be changed"),
        ("door", {"placement_m": 0.05}, "leave it out"),
        ("lift", {"placement_m": 0.5}, "between 0 and 0.12"),
        ("lift", {"yaw_rad": -1}, "between 0 and 3.15"),
        ("lift", {"horizon": 0}, "between 1 and 1000"),
        ("knit", {}, "no task"),
    ],
)
def test_what_cannot_be_changed_is_said(task, variant, words):
    with pytest.raises(UserError, match=words):
        check_variant(task, variant)


def test_one_camera_or_several():
    assert camera_roles("wrist") == ("wrist",)
    assert camera_roles(["primary", "wrist"]) == ("primary", "wrist")


def test_make_resets_with_a_seed(robosuite):
    simulator = make("lift-yellow", seed=7, render=False)
    assert simulator.initial_conditions()["seed"] == 7
    assert simulator.instruction == "lift the yellow cube"
    simulator.close()


def test_importing_the_package_imports_no_simulator():
    """MuJoCo must not be imported before a headless OpenGL is chosen."""
    code = "import sys, robot_pt_sim; print({'mujoco', 'robosuite', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
