"""What an import brings along: the robot's ring stays without training code, the core without TensorFlow or a simulator."""

import json
import subprocess
import sys
from functools import cache

import pytest

HEAVY = ("tensorflow", "tensorflow_datasets", "robosuite", "mujoco", "matplotlib", "av", "ray", "pyarrow", "rclpy")
LEARNING = ("robot_pt.agents", "robot_pt.replay", "robot_pt.train", "robot_pt.store", "zarr", "tensorboard")


@cache
def loaded_after(module):
    """Names of all modules in a fresh process after `import module`."""
    return loaded_by((module,))[module]


def loaded_by(modules):
    """Module -> names of all modules in one fresh process after it and those before it were imported."""
    code = "import importlib, json, sys\nfor m in sys.argv[1:]: importlib.import_module(m); print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {m: set(json.loads(line)) for m, line in zip(modules, done.stdout.splitlines(), strict=True)}


def test_no_import_brings_a_heavy_dependency():
    modules = (
        "robot_pt", "robot_pt.schema", "robot_pt.sources", "robot_pt.store", "robot_pt.replay", "robot_pt.agents.ptr",
        "robot_pt.agents.bc", "robot_pt.train", "robot_pt.checkpoint", "robot_pt.selection", "robot_pt.policy", "robot_pt.evaluate",
        "robot_pt.controls", "robot_pt.report", "robot_pt.videos", "robot_pt.cli", "robot_pt.clips", "robot_pt.objectives",
        "robot_pt.features", "robot_pt_data", "robot_pt_sim", "robot_pt_ros",
    )  # fmt: skip
    brought = {module: loaded & set(HEAVY) for module, loaded in loaded_by(modules).items()}
    assert not {module: names for module, names in brought.items() if names}


def test_policy_brings_no_training_code():
    assert loaded_after("robot_pt.policy").isdisjoint(LEARNING)


@pytest.mark.parametrize(
    "module",
    ["robot_pt", "robot_pt.schema", "robot_pt.evaluate", "robot_pt.results", "robot_pt.report", "robot_pt.machine"],
)
def test_vocabulary_and_evaluation_need_no_torch(module):
    assert "torch" not in loaded_after(module)


def test_schema_brings_numpy_and_nothing_else_of_ours():
    ours = {m for m in loaded_after("robot_pt.schema") if m.startswith("robot_pt")}
    assert ours == {"robot_pt", "robot_pt.errors", "robot_pt.schema"}


def test_help_is_quick_because_it_imports_no_package_of_ours():
    loaded = loaded_after("robot_pt.cli")
    assert "torch" not in loaded
    assert not {m for m in loaded if m.startswith(("robot_pt_data", "robot_pt_sim", "robot_pt.agents"))}
