"""The models, held against published numbers and against each chain written once more by hand as a product of matrices."""

import mujoco
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt import robots
from robot_pt.rotations import rpy_to_matrix

TABLE = """
0 0 0 0 0 0                 | 0.45833 0.00000 0.36065   | 0.00000 0.00000 0.00000
0 -1.8 1.55 0 0.8 0         | 0.12265 0.00000 0.08126   | 0.00000 0.55000 0.00000
0 -0.96 1.16 0 -0.3 0       | 0.22653 0.00000 0.26095   | 0.00000 -0.10000 0.00000
0.5 -0.3 0.4 0.2 0.6 -0.7   | 0.29324 0.18047 0.23885   | -0.44179 0.68545 0.64542
-1.2 0.4 -0.5 1.0 -0.4 0.9  | 0.14504 -0.51647 0.39428  | 1.97182 -0.30606 -1.55081
0 -0.2 0.6 0 1.17 0         | 0.22948 0.00000 0.10962   | 0.00000 1.57000 0.00000
2.0 0.9 -1.1 -2.0 1.5 2.5   | -0.06468 0.48694 0.34349  | 1.11696 -0.43442 0.41472
"""
"""wx250s: joints | x y z of ee_gripper_link [m] | its roll pitch yaw, R = Rz Ry Rx; published with the chain."""
CHECKS = [[np.array(part.split(), float) for part in line.split("|")] for line in TABLE.strip().splitlines()]


def turned(axis, angle):
    """(4, 4) rotation about x, y or z."""
    c, s = np.cos(angle), np.sin(angle)
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    pose = np.eye(4)
    pose[i, i] = pose[j, j] = c
    pose[i, j], pose[j, i] = -s, s
    return pose


def moved(x, y, z):
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    return pose


def wx250s(q):
    """(6,) -> poses of every frame in the base frame, by name."""
    frames, pose = {}, np.eye(4)
    joints = [
        ("shoulder_link", (0, 0, 0.072), "z"),
        ("upper_arm_link", (0, 0, 0.03865), "y"),
        ("elbow", (0.04975, 0, 0.25), "y"),
        ("lower_forearm_link", (0.175, 0, 0), "x"),
        ("wrist", (0.075, 0, 0), "y"),
        ("gripper_link", (0.065, 0, 0), "x"),
    ]
    for (name, offset, axis), angle in zip(joints, q, strict=True):
        pose = pose @ moved(*offset) @ turned(axis, angle)
        frames[name] = pose
    frames["fingers_link"] = pose @ moved(0.043 + 0.023, 0, 0)
    frames["tool"] = frames["fingers_link"] @ moved(0.027575, 0, 0)
    return frames


def panda(q):
    """(7,) -> poses of joint frames 1..7 ("joint4"), "flange" and "tool", from Denavit-Hartenberg parameters by Craig."""
    a = (0, 0, 0, 0.0825, -0.0825, 0, 0.088)
    d = (0.333, 0, 0.316, 0, 0.384, 0, 0)
    alpha = np.array([0, -1, 1, 1, -1, 1, 1]) * np.pi / 2
    frames, pose = {}, np.eye(4)
    for i, angle in enumerate(q):
        pose = pose @ turned("x", alpha[i]) @ moved(a[i], 0, 0) @ turned("z", angle) @ moved(0, 0, d[i])
        frames[f"joint{i + 1}"] = pose
    frames["flange"] = pose @ moved(0, 0, 0.107)
    # robosuite's hand: quaternion (w, z) = (0.924, -0.383), then its gripper a quarter turn back, then the grip site
    hand = pose @ moved(0, 0, 0.1065) @ turned("z", 2 * np.arctan2(-0.383, 0.924))
    down = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0], [0, 0, 0, 1.0]])
    frames["tool"] = hand @ turned("z", -np.pi / 2) @ moved(0, 0, 0.097) @ down.T
    return frames


def distance(first, second):
    """[m] and [degrees] between two poses (4, 4)."""
    turn = first[:3, :3].T @ second[:3, :3]
    angle = np.arctan2(np.linalg.norm(turn - turn.T) / np.sqrt(2), np.trace(turn) - 1)
    return float(np.linalg.norm(first[:3, 3] - second[:3, 3])), float(np.degrees(angle))


CHAINS = {"wx250s": wx250s, "panda": panda}
WX250S, PANDA = robots.load("wx250s"), robots.load("panda")
ARMS = {"wx250s": WX250S, "panda": PANDA}


@pytest.fixture
def physics():
    """The full model of the WidowX with its data, at home."""
    model = mujoco.MjModel.from_xml_path(str(robots.mjcf_path("wx250s")))
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, model.key("home").id)
    mujoco.mj_forward(model, data)
    return model, data


@pytest.mark.parametrize(("q", "position", "rpy"), CHECKS)
def test_the_widowx_reaches_the_published_poses(q, position, rpy):
    expected = np.eye(4)
    expected[:3, :3], expected[:3, 3] = rpy_to_matrix(rpy), position
    metres, degrees = distance(WX250S.fk(q), expected)
    assert metres < 1e-4
    assert degrees < 0.01


@pytest.mark.parametrize("name", ARMS)
@given(st.integers(0, 2**32 - 1))
def test_every_frame_is_where_the_product_of_its_chain_puts_it(name, seed):
    arm = ARMS[name]
    q = np.random.default_rng(seed).uniform(arm.lower_rad, arm.upper_rad)
    frames = CHAINS[name](q)
    metres, degrees = distance(arm.fk(q), frames["tool"])
    assert metres < 1e-6
    assert degrees < 1e-4
    points = arm.points(q)
    elbow, wrist = {"wx250s": ("elbow", "wrist"), "panda": ("joint4", "joint6")}[name]
    np.testing.assert_allclose(points["elbow"], frames[elbow][:3, 3], atol=1e-6)
    np.testing.assert_allclose(points["wrist"], frames[wrist][:3, 3], atol=1e-6)
    np.testing.assert_allclose(points["tool"], frames["tool"][:3, 3], atol=1e-6)


@pytest.mark.parametrize("opening", [0.0, 0.25, 1.0])
def test_fingertips_of_the_widowx_are_where_the_rail_carries_them(opening):
    q = [0.5, -0.3, 0.4, 0.2, 0.6, -0.7]
    rail = CHAINS["wx250s"](q)["fingers_link"]
    pad = 0.015 + opening * 0.022 - 0.0085  # the middle of the pad, from the middle of the hand
    points = WX250S.points(q, opening)
    np.testing.assert_allclose(points["left_finger"], (rail @ [0.042, pad, 0, 1])[:3], atol=1e-9)
    np.testing.assert_allclose(points["right_finger"], (rail @ [0.042, -pad, 0, 1])[:3], atol=1e-9)


@pytest.mark.parametrize("opening", [0.0, 0.5, 1.0])
def test_fingertips_of_the_panda_are_beyond_its_flange(opening):
    q = PANDA.home_rad + 0.1
    flange = CHAINS["panda"](q)["flange"]
    points = PANDA.points(q, opening)
    ends = np.stack([points["left_finger"], points["right_finger"]])
    middle = (flange @ [0, 0, 0.0584 + 0.0538, 1])[:3]
    np.testing.assert_allclose(ends.mean(axis=0), middle, atol=1e-6)
    assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(2 * 0.04 * opening, abs=1e-9)
    along = (ends[0] - ends[1]) @ flange[:3, :3]
    np.testing.assert_allclose(along, np.array([1, 1, 0]) / np.sqrt(2) * 0.08 * opening, atol=1e-6)


def test_limits_of_the_widowx_are_those_of_its_description():
    pi = np.pi - 1e-5
    lower, upper = np.radians([-108, -123, -100]), np.radians([114, 92, 123])
    assert WX250S.joint_names == ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
    np.testing.assert_allclose(WX250S.lower_rad, [-pi, lower[0], lower[1], -pi, lower[2], -pi], atol=1e-7)
    np.testing.assert_allclose(WX250S.upper_rad, [pi, upper[0], upper[1], pi, upper[2], pi], atol=1e-7)
    np.testing.assert_allclose(WX250S.max_velocity_rad_s, np.pi, atol=1e-7)
    assert WX250S.effort_limit.tolist() == [10, 20, 15, 2, 5, 1]
    assert WX250S.home_rad.tolist() == [0, -0.2, 0.6, 0, 1.17, 0]
    assert WX250S.sleep_rad.tolist() == [0, -1.8, 1.55, 0, 0.8, 0]
    assert WX250S.finger_range_m == (0.015, 0.037)


def test_limits_of_the_panda_are_those_franka_publishes():
    assert PANDA.joint_names == tuple(f"joint{i}" for i in range(1, 8))
    assert PANDA.upper_rad.tolist() == [2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973]
    assert PANDA.lower_rad.tolist() == [-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973]
    assert PANDA.max_velocity_rad_s.tolist() == [2.175] * 4 + [2.61] * 3
    assert PANDA.effort_limit.tolist() == [87] * 4 + [12] * 3
    assert PANDA.finger_range_m == (0.0, 0.04)


@pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS)
def test_the_named_poses_are_within_the_limits(arm):
    assert arm.check_q(arm.home_rad) == arm.check_q(arm.sleep_rad) == ()
    assert min(point[2] for point in arm.points(arm.home_rad).values()) > 0.03


def test_the_widowx_weighs_what_its_links_weigh(physics):
    model, _ = physics
    links = [
        0.538736,
        0.480879,
        0.430811,
        0.234589,
        0.220991,
        0.084957,
        0.072885,
        0.00434,
        0.034199,
        0.016246,
        0.016246,
    ]
    assert model.body_mass.sum() == pytest.approx(sum(links), abs=1e-9)


def test_inertias_are_the_descriptions_turned_into_the_link_frame(physics):
    model, _ = physics
    # (xx yy zz xy xz yz) as printed beside rpy = 0 0 pi/2; a quarter turn about z swaps x and y
    printed = {
        "base_link": (2.115e-3, 6.921e-4, 2.524e-3, -1.635e-5, 6.998e-7, 4.642e-5),
        "upper_arm_link": (3.463e-3, 3.587e-3, 4.566e-4, -1e-10, -2e-10, 4.272e-4),
        "gripper_bar_link": (7.4125e-6, 2.843e-5, 2.86e-5, -8e-10, -6e-10, -1.3889e-6),
    }
    quarter = rpy_to_matrix([0, 0, np.pi / 2])
    for name, (xx, yy, zz, xy, xz, yz) in printed.items():
        expected = quarter @ np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) @ quarter.T
        body = model.body(name)
        axes = np.zeros(9)
        mujoco.mju_quat2Mat(axes, body.iquat)
        axes = axes.reshape(3, 3)
        np.testing.assert_allclose(axes @ np.diag(body.inertia) @ axes.T, expected, atol=1e-8 + 1e-4 * abs(xx))


@pytest.mark.parametrize("pose", ["home", "sleep"])
def test_the_widowx_touches_nothing_in_its_named_poses(physics, pose):
    model, data = physics
    for opening in (0.015, 0.037):
        mujoco.mj_resetDataKeyframe(model, data, model.key(pose).id)
        data.qpos[-2:] = opening, -opening
        mujoco.mj_forward(model, data)
        assert data.ncon == 0


def test_servos_hold_the_widowx_at_home_against_gravity(physics):
    model, data = physics
    at_home = data.qpos.copy()
    heights = []
    for _ in range(2500):  # 5 s
        mujoco.mj_step(model, data)
        heights.append(data.site("tool").xpos[2])
    sag = np.abs(data.qpos - at_home)
    assert 0.005 < sag.max() < 0.04  # a servo without integral term gives way a little; no sag would mean no gravity
    assert np.abs(data.qvel).max() < 1e-3
    assert np.ptp(heights[-500:]) < 1e-4  # stands still in the last second
    assert not data.warning.number.any()


def test_fingers_follow_each_other_and_stop_at_their_ends(physics):
    model, data = physics
    for wanted in (0.015, 0.037, 0.026, 0.2):  # the last is beyond what the servo takes
        data.ctrl[-1] = wanted
        mujoco.mj_step(model, data, nstep=1500)
        left, right = data.joint("left_finger").qpos[0], data.joint("right_finger").qpos[0]
        assert left == pytest.approx(min(wanted, 0.037), abs=2e-3)
        assert left == pytest.approx(-right, abs=5e-4)
    assert data.ncon == 0


def test_the_widowx_stays_finite_when_thrown_about(physics):
    model, data = physics
    random = np.random.default_rng(0)
    low, high = model.actuator_ctrlrange.T
    reached = []
    for _ in range(60):
        data.ctrl[:] = random.uniform(low, high)
        mujoco.mj_step(model, data, nstep=50)
        reached.append(data.qpos[:6].copy())
        assert np.isfinite(data.qpos).all()
        assert np.abs(data.actuator_force).max() <= 35
        assert (np.abs(data.qfrc_actuator[:6]) <= WX250S.effort_limit + 1e-9).all()
    assert not data.warning.number.any()
    assert np.ptp(reached, axis=0).min() > 0.5  # it did move
