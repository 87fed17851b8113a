import json

import mujoco
import numpy as np
import pytest

from robot_pt_sim.kitchen.layouts import LAYOUTS
from robot_pt_sim.kitchen.matter import FRICTION, MASS, Matter
from robot_pt_sim.kitchen.model import kitchen_xml
from robot_pt_sim.kitchen.tasks import find_kitchen
from robot_pt_sim.kitchen.things import THINGS
from robot_pt_sim.kitchen.twin import KitchenSimulator

NAMES = ("carrot", "plate")


@pytest.fixture
def model():
    return mujoco.MjModel.from_xml_string(kitchen_xml(LAYOUTS[1], [THINGS[name] for name in NAMES]))


def test_factors_are_those_of_the_model_and_of_the_seed_alone(model):
    data, own = mujoco.MjData(model), np.array(model.body_mass)
    friction = np.array(model.geom_friction)
    matter = Matter(model, NAMES)
    first = matter.draw(np.random.default_rng(4), data)
    for seed in range(3):
        matter.draw(np.random.default_rng(seed), data)
    assert matter.draw(np.random.default_rng(4), data) == first
    assert json.loads(json.dumps(first)) == first
    for name in NAMES:
        body = model.body(name).id
        assert model.body_mass[body] / own[body] == pytest.approx(first["mass"][name], abs=1e-4)
        geoms = model.geom_bodyid == body
        scaled = model.geom_friction[geoms] / friction[geoms]
        np.testing.assert_allclose(scaled[:, 0], first["friction"][name], atol=1e-4)
        np.testing.assert_array_equal(scaled[:, 1:], 1.0)


def test_a_scaled_thing_is_a_model_of_its_own_weight(model):
    """What MuJoCo derives from masses, against a model compiled with the scaled mass."""
    data = mujoco.MjData(model)
    factors = Matter(model, NAMES).draw(np.random.default_rng(7), data)["mass"]
    spec = mujoco.MjSpec.from_string(kitchen_xml(LAYOUTS[1], [THINGS[name] for name in NAMES]))
    for name in NAMES:
        for geom in spec.body(name).geoms:
            geom.mass *= factors[name]
    compiled = spec.compile()
    for field in ("body_mass", "body_inertia", "body_subtreemass", "body_invweight0", "dof_invweight0", "dof_M0"):
        np.testing.assert_allclose(getattr(model, field), getattr(compiled, field), rtol=2e-4, err_msg=field)


def test_factors_stay_in_their_range_and_nothing_else_changes(model):
    data, fixed = (
        mujoco.MjData(model),
        ("geom_size", "geom_pos", "body_pos", "cam_pos", "light_pos", "geom_rgba", "dof_damping"),
    )
    before = [np.array(getattr(model, name)) for name in fixed]
    arm = model.body("upper_arm_link").id
    weight = model.body_mass[arm]
    matter, seen = Matter(model, NAMES), []
    for seed in range(60):
        drawn = matter.draw(np.random.default_rng(seed), data)
        seen.append([*drawn["mass"].values(), *drawn["friction"].values()])
    low, high = np.min(seen, axis=0), np.max(seen, axis=0)
    for column, most in enumerate((MASS, MASS, FRICTION, FRICTION)):
        assert 1 / most - 1e-4 <= low[column] < 1 < high[column] <= most + 1e-4
        assert high[column] / low[column] > most  # most of the range is used
    assert model.body_mass[arm] == weight
    for name, values in zip(fixed, before, strict=True):
        np.testing.assert_array_equal(getattr(model, name), values, err_msg=name)


def test_every_episode_logs_its_own(kitchen):
    simulator = kitchen("put-carrot-on-plate")
    simulator.reset(0)
    first = simulator.initial_conditions()["matter"]
    assert set(first["mass"]) == set(first["friction"]) == set(simulator.definition.things)
    weight = simulator._model.body("carrot").mass[0]
    simulator.reset(1)
    second = simulator.initial_conditions()["matter"]
    ratio = simulator._model.body("carrot").mass[0] / weight
    assert ratio == pytest.approx(second["mass"]["carrot"] / first["mass"]["carrot"], rel=1e-3)
    plain = KitchenSimulator(find_kitchen("kitchen/put-carrot-on-plate"), render=False, varied=False)
    plain.reset(0)
    assert plain.initial_conditions()["matter"] == {}
    assert plain._model.body("carrot").mass[0] == pytest.approx(THINGS["carrot"].mass_kg)
