import mujoco
import numpy as np
import pytest

from robot_pt.robots import load
from robot_pt.rotations import angle_between, rpy_to_matrix
from robot_pt_sim.kitchen.fixtures import FIXTURES
from robot_pt_sim.kitchen.layouts import LAYOUTS
from robot_pt_sim.kitchen.model import kitchen_xml
from robot_pt_sim.kitchen.things import THINGS

POSES = (  # q, position of ee_gripper_link [m], roll pitch yaw: from the URDF's chain, by hand
    ((0, 0, 0, 0, 0, 0), (0.45833, 0.0, 0.36065), (0, 0, 0)),
    ((0, -1.8, 1.55, 0, 0.8, 0), (0.12265, 0.0, 0.08126), (0, 0.55, 0)),
    ((0, -0.96, 1.16, 0, -0.3, 0), (0.22653, 0.0, 0.26095), (0, -0.1, 0)),
    ((0.5, -0.3, 0.4, 0.2, 0.6, -0.7), (0.29324, 0.18047, 0.23885), (-0.44179, 0.68545, 0.64542)),
    ((-1.2, 0.4, -0.5, 1.0, -0.4, 0.9), (0.14504, -0.51647, 0.39428), (1.97182, -0.30606, -1.55081)),
    ((2.0, 0.9, -1.1, -2.0, 1.5, 2.5), (-0.06468, 0.48694, 0.34349), (1.11696, -0.43442, 0.41472)),
)
URDF_MASSES = {  # kg
    "base_link": 0.538736, "shoulder_link": 0.480879, "upper_arm_link": 0.430811, "upper_forearm_link": 0.234589,
    "lower_forearm_link": 0.220991, "wrist_link": 0.084957, "gripper_link": 0.072885, "left_finger_link": 0.016246,
}  # fmt: skip


def compiled(scene=1, things=(), fixture=None):
    xml = kitchen_xml(LAYOUTS[scene], [THINGS[name] for name in things], FIXTURES.get(fixture))
    model = mujoco.MjModel.from_xml_string(xml)
    return model, mujoco.MjData(model)


def test_the_arm_in_the_kitchen_is_the_published_one():
    """Forward kinematics to 0.1 mm and 0.01 degrees, masses to the digits of the URDF."""
    model, data = compiled()
    joints = [int(model.joint(name).qposadr[0]) for name in load("wx250s").joint_names]
    for q, position, rpy in POSES:
        data.qpos[joints] = q
        mujoco.mj_kinematics(model, data)
        tool = data.site("tool")
        assert np.linalg.norm(tool.xpos - position) < 1e-4
        assert np.degrees(angle_between(tool.xmat.reshape(3, 3), rpy_to_matrix(rpy))) < 0.01
    for body, mass in URDF_MASSES.items():
        assert float(model.body(body).mass[0]) == pytest.approx(mass, abs=1e-6)


@pytest.mark.parametrize("scene", LAYOUTS)
def test_every_scene_compiles_with_every_kind_of_thing_and_fixture(scene):
    names = list(THINGS)
    for start, fixture in zip(range(0, len(names), 6), [*FIXTURES, None, None], strict=False):
        chosen = names[start : start + 6]
        model, _ = compiled(scene, chosen, fixture)
        for name in chosen:
            assert float(model.body(name).mass[0]) == pytest.approx(THINGS[name].mass_kg, rel=1e-5)
        assert {str(model.camera(i).name) for i in range(model.ncam)} == {"primary", "secondary", "wrist"}


@pytest.mark.parametrize("scene", LAYOUTS)
def test_cameras_see_the_middle_of_the_workspace(scene):
    """Projected by hand: within the middle four fifths of a square picture, in front of the camera."""
    model, data = compiled(scene)
    mujoco.mj_forward(model, data)
    for name in ("primary", "secondary"):
        camera = model.camera(name).id
        seen = data.cam_xmat[camera].reshape(3, 3).T @ (np.array([0.29, 0.05, 0.0]) - data.cam_xpos[camera])
        assert seen[2] < 0
        assert np.abs(seen[:2] / -seen[2]).max() < 0.8 * np.tan(np.deg2rad(model.cam_fovy[camera]) / 2)


def lying(things, seconds):
    """{name: (start, end)} of things let go 1 mm over the counter, far from one another."""
    model, data = compiled(1, things)
    spots = [(0.44, -0.25), (0.30, -0.25), (0.16, -0.25), (0.45, 0.33), (0.16, 0.03), (0.45, 0.15)]
    for name, (x, y) in zip(things, spots, strict=False):
        address = int(model.joint(name).qposadr[0])
        data.qpos[address : address + 7] = [x, y, -0.019, 1, 0, 0, 0]
    start = {name: np.array([x, y]) for name, (x, y) in zip(things, spots, strict=False)}
    data.ctrl[:6] = load("wx250s").home_rad
    mujoco.mj_step(model, data, nstep=round(seconds / model.opt.timestep))
    return {name: (start[name], data.body(name).xpos.copy()) for name in things}


@pytest.mark.parametrize("part", range(5))
def test_what_is_laid_down_stays(part):
    """Nothing sinks in, rolls off or jumps: at most 1 cm in two seconds, frame 2 mm round the counter's top."""
    things = list(THINGS)[part * 6 : part * 6 + 6]
    for name, (start, end) in lying(things, 2.0).items():
        assert np.linalg.norm(end[:2] - start) < 0.01, name
        assert abs(end[2] + 0.02) < 0.004, (name, end)
