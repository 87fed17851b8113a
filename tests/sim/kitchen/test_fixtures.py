import mujoco
import numpy as np
import pytest

from robot_pt_sim.kitchen.fixtures import FIXTURES, unit_box
from robot_pt_sim.kitchen.layouts import LAYOUTS
from robot_pt_sim.kitchen.model import kitchen_xml
from robot_pt_sim.kitchen.tasks import TURNS


@pytest.mark.parametrize("name", FIXTURES)
def test_the_handle_goes_where_mujoco_moves_it(name):
    layout, fixture = LAYOUTS[2], FIXTURES[name]
    model = mujoco.MjModel.from_xml_string(kitchen_xml(layout, [], fixture))
    data = mujoco.MjData(model)
    address = int(model.joint("fixture").qposadr[0])
    for position in np.linspace(*fixture.range, 7):
        data.qpos[address] = position
        mujoco.mj_kinematics(model, data)
        np.testing.assert_allclose(data.site("handle").xpos, fixture.handle_at(layout, position), atol=1e-9)


@pytest.mark.parametrize("name", FIXTURES)
def test_it_stays_where_it_is_left(name):
    """Friction holds it: 2 s in the middle of its way, and nothing of it collides with its unit."""
    fixture = FIXTURES[name]
    model = mujoco.MjModel.from_xml_string(kitchen_xml(LAYOUTS[1], [], fixture))
    data = mujoco.MjData(model)
    address = int(model.joint("fixture").qposadr[0])
    data.qpos[address] = middle = np.mean(fixture.range) + 0.3 * np.ptp(fixture.range)
    data.qpos[:6] = data.ctrl[:6] = (0, -0.2, 0.6, 0, 1.17, 0)
    mujoco.mj_step(model, data, nstep=500)
    assert abs(data.qpos[address] - middle) < 0.01 * np.ptp(fixture.range)


def test_tasks_go_from_inside_the_range_to_inside_the_range():
    for turn in TURNS:
        low, high = FIXTURES[turn.fixture].range
        assert low <= turn.start <= high
        assert low < turn.goal < high
        assert abs(turn.goal - turn.start) > 0.4 * (high - low) * 0.6


@pytest.mark.parametrize("scene", LAYOUTS)
def test_units_leave_stove_and_wall_alone(scene):
    layout = LAYOUTS[scene]
    unit, stove = unit_box(layout), layout.stove
    apart = unit.y[0] >= stove.y[1] - 0.02 or unit.y[1] <= stove.y[0] + 0.02
    assert apart
    assert unit.x[1] < 0.56
    for turn in TURNS:
        for position in (turn.start, turn.goal):
            x, y, z = FIXTURES[turn.fixture].handle_at(layout, position)
            assert 0.12 < x < 0.45, turn.name
            assert -0.15 < y < 0.25, turn.name
            assert -0.02 < z < 0.1, turn.name
