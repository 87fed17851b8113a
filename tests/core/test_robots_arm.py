"""What gate, adapter and nodes ask of an arm besides kinematics, and what it refuses."""

import subprocess
import sys
from importlib import resources
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_pt import robots
from robot_pt.errors import MismatchError, MissingExtraError, UserError
from robot_pt.rotations import matrix_to_rpy

ARMS = {name: robots.load(name) for name in robots.names()}
WX250S, PANDA = ARMS["wx250s"], ARMS["panda"]
EACH = pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS)


def test_both_robots_are_there_with_their_files():
    assert robots.names() == ("panda", "wx250s")
    folder = resources.files("robot_pt.robots")
    for name in robots.names():
        assert (folder / f"{name}.xml").is_file()
        assert (folder / f"{name}.md").is_file()
        assert robots.mjcf_path(name).read_text() == (folder / f"{name}.xml").read_text()
    assert "BSD" in (folder / "LICENSE").read_text()


@pytest.mark.parametrize("name", ["widowx", "WX250S", "", "../panda", "panda.xml"])
def test_an_unknown_robot_is_refused_with_those_there_are(name):
    with pytest.raises(UserError, match="choose from panda, wx250s"):
        robots.load(name)


@pytest.mark.parametrize("package", ["mujoco", "mink", "qpsolvers", "daqp"])
def test_a_missing_package_is_named_with_its_extra(package, monkeypatch):
    for name in [n for n in sys.modules if n == "mink" or n.startswith("mink.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"needs {package}.*robot-pt\[sim\]"):
        robots.load("wx250s")


def test_the_gates_process_loads_no_torch_and_no_ros():
    code = (
        "import sys; from robot_pt import robots; arm = robots.load('wx250s'); arm.ik(arm.fk(arm.home_rad), arm.sleep_rad);"
        "print({'torch', 'rclpy', 'cyclonedds', 'zarr', 'cv2', 'robosuite'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "set()"


@EACH
def test_arrays_cannot_be_changed_by_whoever_reads_them(arm):
    for name in ("lower_rad", "upper_rad", "max_velocity_rad_s", "effort_limit", "home_rad", "sleep_rad"):
        array = getattr(arm, name)
        assert array.shape == (len(arm.joint_names),)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0


@EACH
def test_what_was_returned_does_not_change_with_the_next_call(arm):
    pose, points = arm.fk(arm.home_rad), arm.points(arm.home_rad)
    result = arm.ik(pose, arm.home_rad)
    kept = pose.copy(), {name: point.copy() for name, point in points.items()}, result.q.copy()
    arm.ik(arm.fk(arm.sleep_rad), arm.sleep_rad + 0.1)
    arm.points(arm.sleep_rad)
    assert (pose == kept[0]).all()
    assert all((points[name] == kept[1][name]).all() for name in points)
    assert (result.q == kept[2]).all()


@EACH
@pytest.mark.parametrize("q", [[0.0], [[0.0] * 6], 0.0, [0.0] * 9], ids=["one", "matrix", "scalar", "nine"])
def test_joints_of_another_shape_are_refused(arm, q):
    for call in (arm.fk, arm.points, arm.check_q, lambda q: arm.ik(np.eye(4), q)):
        with pytest.raises(UserError, match="joints; it was given joints of shape"):
            call(q)


@EACH
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_joints_that_are_no_numbers_are_refused(arm, value):
    q = arm.home_rad.copy()
    q[2] = value
    for call in (arm.fk, arm.points, lambda q: arm.ik(np.eye(4), q)):
        with pytest.raises(UserError, match="give finite angles"):
            call(q)
    assert arm.check_q(q) == (arm.joint_names[2],)


@EACH
@given(seed=st.integers(0, 2**32 - 1), margin=st.floats(0, 0.5))
def test_joints_outside_their_limits_are_named(arm, seed, margin):
    random = np.random.default_rng(seed)
    inside = random.uniform(arm.lower_rad + margin, arm.upper_rad - margin)
    assert arm.check_q(inside, margin * 0.999) == ()
    out = random.random(len(inside)) < 0.4
    beyond = np.where(random.random(len(inside)) < 0.5, arm.lower_rad + margin - 1e-6, arm.upper_rad - margin + 1e-6)
    found = arm.check_q(np.where(out, beyond, inside), margin)
    assert set(found) >= {name for name, wrong in zip(arm.joint_names, out, strict=True) if wrong}
    assert found == tuple(name for name in arm.joint_names if name in found)


@EACH
def test_joints_exactly_at_their_limits_are_inside(arm):
    assert arm.check_q(arm.lower_rad) == arm.check_q(arm.upper_rad) == ()
    assert arm.check_q(arm.lower_rad, 1e-9) == arm.joint_names


def test_messages_are_read_by_name_in_whatever_order():
    names = [*WX250S.joint_names, "gripper", "left_finger", "right_finger"]
    positions = np.arange(len(names)) * 0.1
    for order in list(permutations(range(len(names))))[::2003]:
        index = WX250S.joint_index([names[i] for i in order])
        assert (positions[list(order)][index] == positions[:6]).all()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "are missing among"),
        (["waist", "shoulder", "elbow", "forearm_roll", "wrist_angle"], r"\['wrist_rotate'\] of wx250s are missing"),
        ([*WX250S.joint_names, "waist"], r"\['waist'\] are given more than once"),
        ([*WX250S.joint_names, "finger", "finger"], "more than once"),
        (list(PANDA.joint_names), "check that this is the robot's own driver"),
        ([name.upper() for name in WX250S.joint_names], "are missing"),
    ],
)
def test_names_that_are_not_the_robots_are_refused(names, words):
    with pytest.raises(MismatchError, match=words):
        WX250S.joint_index(names)


@pytest.mark.parametrize(
    ("arm", "travel_m", "opening"),
    [
        (WX250S, 0.015, 0.0),
        (WX250S, 0.037, 1.0),
        (WX250S, 0.026, 0.5),
        (PANDA, 0.0, 0.0),
        (PANDA, 0.04, 1.0),
        (PANDA, 0.01, 0.25),
    ],
)
def test_finger_travel_is_opening(arm, travel_m, opening):
    assert arm.opening(travel_m) == pytest.approx(opening, abs=1e-12)
    assert arm.finger_travel_m(opening) == pytest.approx(travel_m, abs=1e-12)


@EACH
def test_an_encoder_beyond_the_stops_reads_as_closed_or_open(arm):
    closed, opened = arm.finger_range_m
    assert arm.opening(closed - 0.001) == 0.0
    assert arm.opening(opened + 0.001) == 1.0


@EACH
@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.01, 37.0])
def test_an_opening_that_is_none_is_refused(arm, value):
    for call in (arm.finger_travel_m, lambda opening: arm.points(arm.home_rad, opening)):
        with pytest.raises(UserError, match="opening is"):
            call(value)


@EACH
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_travel_that_is_no_number_is_refused(arm, value):
    with pytest.raises(UserError, match="travel is"):
        arm.opening(value)


def test_bridges_action_frame_calls_pointing_down_zero():
    bridge = robots.load("wx250s", robots.BRIDGE_ACTION_FRAME)
    down = [0.3, -0.2, 0.6, 0, np.pi / 2 - 0.4, 0]  # waist 0.3, and the pitches add up to a quarter turn
    pose = bridge.fk(down)
    np.testing.assert_allclose(matrix_to_rpy(pose[:3, :3]), [0, 0, 0.3], atol=1e-9)
    q = WX250S.home_rad + 0.2
    own, turned = WX250S.fk(q), bridge.fk(q)
    np.testing.assert_allclose(turned[:3, :3], own[:3, :3] @ np.array(robots.BRIDGE_ACTION_FRAME).T, atol=1e-12)
    np.testing.assert_allclose(turned[:3, 3], own[:3, 3], atol=1e-12)
    for name, point in WX250S.points(q, 0.3).items():
        np.testing.assert_allclose(bridge.points(q, 0.3)[name], point, atol=1e-12)
    assert np.abs(bridge.ik(turned, WX250S.home_rad).q - q).max() < 1e-4


def test_an_action_frame_composes_with_the_pandas_own():
    quarter = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    turned = robots.load("panda", quarter).fk(PANDA.home_rad)
    np.testing.assert_allclose(turned[:3, :3], PANDA.fk(PANDA.home_rad)[:3, :3] @ np.array(quarter).T, atol=1e-9)


@pytest.mark.parametrize("rotation", [np.eye(4), np.zeros((3, 3)), -np.eye(3), np.full((3, 3), np.nan), [1, 0, 0]])
def test_an_action_frame_that_is_no_rotation_is_refused(rotation):
    with pytest.raises(UserError, match="action_frame_rotation is"):
        robots.load("wx250s", rotation)
