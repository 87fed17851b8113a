"""What each camera sees of a task before the arm moves, by segmentation at the size that policies are trained on."""

import mujoco
import numpy as np
import pytest

from robot_pt_sim.kitchen.fixtures import HANDLE, JOINT
from robot_pt_sim.kitchen.tasks import TASKS, scenes, tasks_of
from robot_pt_sim.kitchen.twin import KitchenSimulator

SIZE, LEAST = 64, 3
"""[px]; fewer pixels of a thing than `LEAST` count as not seen."""
SEEDS = range(4)
HIDDEN_FROM_PRIMARY = {
    "close-door@1", "turn-lever-left@1", "turn-lever-right@1", "turn-lever-left@3", "turn-lever-right@3",
    "open-drawer@4", "open-door@4", "turn-lever-left@4", "turn-lever-right@4",
}  # fmt: skip
"""Behind the arm at its start, in most starts; the secondary camera sees them."""


def seen(task):
    """Camera -> (seeds, what the task is about) pixels."""
    simulator = KitchenSimulator(task, render=False)
    model, data = simulator._model, simulator._data
    owners = np.array([str(model.geom(number).name).split(":")[0] for number in range(model.ngeom)])
    about = [(JOINT, HANDLE)] if task.fixture else [(name,) for name in task.needed]
    option = mujoco.MjvOption()
    option.geomgroup[:] = [0, 1, 0, 0, 0, 0]
    found = {camera: [] for camera in ("primary", "secondary")}
    with mujoco.Renderer(model, SIZE, SIZE) as renderer:
        renderer.enable_segmentation_rendering()
        for seed in SEEDS:
            simulator.reset(seed)
            for camera, counts in found.items():
                renderer.update_scene(data, camera, option)
                geoms = renderer.render()[..., 0]
                owner = np.where(geoms >= 0, owners[geoms], "")
                counts.append([int(np.isin(owner, names).sum()) for names in about])
    return {camera: np.array(counts) for camera, counts in found.items()}


def test_what_moves_on_a_joint_is_behind_the_arm_where_it_is_said_so(backend):
    hidden = set()
    for scene in scenes():
        for task in tasks_of(scene).values():
            if task.fixture:
                pixels = seen(task)
                assert pixels["secondary"].min() >= LEAST, f"{task.name}@{scene}"
                if np.mean(pixels["primary"] < LEAST) > 0.5:
                    hidden.add(f"{task.name.removeprefix('kitchen/')}@{scene}")
    assert hidden == HIDDEN_FROM_PRIMARY


@pytest.mark.slow
def test_what_is_put_somewhere_is_seen_with_its_place(backend):
    for name in TASKS:
        for scene in scenes():
            task = tasks_of(scene)[name]
            if not task.fixture:
                pixels = seen(task)
                assert np.maximum(pixels["primary"], pixels["secondary"]).min() >= LEAST, f"{name}@{scene}"
