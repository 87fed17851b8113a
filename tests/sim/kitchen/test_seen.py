"""The state of every kitchen task has one layout, with the thing first and where it goes last."""

from itertools import product

import numpy as np
import pytest

from robot_pt_sim.kitchen.seen import NAMES, goal_of, seen
from robot_pt_sim.kitchen.tasks import TASKS, find_kitchen
from robot_pt_sim.kitchen.twin import KitchenSimulator, kitchen_spec


def start(name: str) -> tuple[KitchenSimulator, np.ndarray]:
    simulator = KitchenSimulator(find_kitchen(name), cameras=())
    return simulator, simulator.reset(3).proprio[7:]


def test_all_tasks_look_alike_without_cameras():
    specs = [kitchen_spec(find_kitchen(name), (), (0, 0)) for name in TASKS]
    assert all(spec == specs[0] for spec in specs)
    assert specs[0].proprio_names[7:] == NAMES


def test_a_thing_its_yaw_and_its_place():
    simulator, told = start("kitchen/put-carrot-on-plate@5")
    objects = simulator.state().objects
    np.testing.assert_allclose(told[:3], objects["carrot"].position, atol=1e-6)
    along = objects["carrot"].rotation[:2, 0]
    np.testing.assert_allclose(told[3:5], along / np.linalg.norm(along), atol=1e-5)
    np.testing.assert_allclose(told[5:], objects["plate"].position, atol=1e-6)


@pytest.mark.parametrize(("name", "box"), [("put-sponge-in-sink", "sink"), ("put-pan-on-stove", "stove")])
def test_a_place_that_is_no_thing_is_its_middle(name, box):
    from robot_pt_sim.kitchen.layouts import find_layout

    for scene in (1, 2):
        _, told = start(f"kitchen/{name}@{scene}")
        np.testing.assert_allclose(told[5:7], getattr(find_layout(scene), box).centre, atol=1e-6)


@pytest.mark.parametrize("name", ["open-drawer", "close-door", "turn-lever-left"])
def test_a_handle_arrives_at_the_goal_when_its_joint_does(name):
    simulator, told = start(f"kitchen/{name}")
    task, model, data = simulator.definition, simulator._model, simulator._data
    np.testing.assert_allclose(told[:3], simulator.state().objects["handle"].position, atol=1e-6)
    data.qpos[int(model.joint("fixture").qposadr[0])] = task.goal
    simulator._mujoco.mj_kinematics(model, data)
    np.testing.assert_allclose(data.site("handle").xpos, told[5:], atol=1e-6)
    assert task.success(simulator.state())


def test_the_lid_comes_off_its_pot():
    simulator, told = start("kitchen/take-lid-off-pot")
    objects = simulator.state().objects
    np.testing.assert_allclose(goal_of(simulator.definition, objects), objects["pot"].position)
    np.testing.assert_allclose(seen(simulator.definition, objects), told, atol=1e-6)


def test_what_is_held_as_high_as_the_arm_goes_is_told_as_it_is():
    simulator, _ = start("kitchen/put-carrot-on-plate")
    objects, limits = dict(simulator.state().objects), simulator.definition.limits
    for corner in product(*zip(limits.low[:3], limits.high[:3], strict=True)):
        objects["carrot"] = objects["carrot"]._replace(position=np.array(corner))
        np.testing.assert_array_equal(seen(simulator.definition, objects)[:3], corner)


def test_what_fell_off_the_counter_is_told_within_bounds():
    simulator, told = start("kitchen/put-carrot-on-plate")
    objects = dict(simulator.state().objects)
    fallen = objects["carrot"].position + np.array([0.0, 3.0, -40.0])
    objects["carrot"] = objects["carrot"]._replace(position=fallen)
    x, y, z = seen(simulator.definition, objects)[:3]
    assert x == pytest.approx(told[0])
    assert (y, z) == pytest.approx((0.25 + 0.15, -0.10 - 0.15))
