"""The supervisor's parameters and the limits that they become."""

from math import inf, pi

import pytest

from robot_pt.errors import UserError
from robot_pt.robots import load

pytest.importorskip("cyclonedds", reason="the overlay's nodes need robot-pt[ros]")

ARM = load("wx250s")
BOX = ("workspace_min:=[0.15, -0.15, 0.02]", "workspace_max:=[0.4, 0.2, 0.25]")
HARDWARE = ("hardware:=true", "latch_file:=/tmp/latch.json", *BOX)


@pytest.fixture
def limits():
    """Of a supervisor with these parameters."""
    import rclpy
    from rclpy.context import Context

    from robot_pt_ros import gate_parameters

    opened = []

    def made(*words):
        context = Context()
        arguments = ["test", "--ros-args", *(w for word in words for w in ("-p", word))]
        rclpy.init(args=arguments, context=context, domain_id=118)
        node = rclpy.create_node("supervisor", context=context)
        opened.append((context, node))
        gate_parameters.declare(node)
        return gate_parameters.gate_limits(node, ARM)

    yield made
    for context, node in opened:
        node.destroy_node()
        context.try_shutdown()


def test_what_is_not_given_is_the_usual_for_the_arm(limits):
    found = limits(*BOX)
    assert (found.hardware, found.require_deadman, found.cameras) == (False, False, ())
    assert found.workspace.high == (0.4, 0.2, 0.25)
    assert (found.rotation_low, found.rotation_high) == ((-pi,) * 3, (pi,) * 3)


def test_every_number_reaches_its_limit(limits):
    from robot_pt_ros.gate_parameters import _NUMBERS

    usual = limits(*BOX)
    half = {name: getattr(usual, field) / 2 for name, (field, _) in _NUMBERS.items()}
    given = {name: 2.0 if value in (0.0, inf) else value for name, value in half.items()}
    given |= {"joint_margin_rad": 0.01, "frozen_motion_rad": 0.5}
    found = limits(*BOX, *(f"{name}:={value}" for name, value in given.items()))
    for name, (field, _) in _NUMBERS.items():
        assert getattr(found, field) == pytest.approx(given[name]), name


def test_walls_of_rotation_and_points_above_the_table(limits):
    found = limits(
        *BOX, "reference_rpy:=[0.0, 1.5, 0.0]", "rotation_min:=[-0.5, -0.4, -1.0]", "rotation_max:=[0.5, 0.4, 1.0]",
        "floor_m:=0.04", "cameras:=[front, wrist]",
    )  # fmt: skip
    assert (found.reference_rpy, found.rotation_low, found.rotation_high) == (
        (0.0, 1.5, 0.0),
        (-0.5, -0.4, -1.0),
        (0.5, 0.4, 1.0),
    )
    assert {box.low[2] for box in found.watch.values()} == {0.04}
    assert found.cameras == ("front", "wrist")


def test_the_names_of_other_stacks_reach_the_same_limits(limits):
    assert limits(*BOX, "control_rate_hz:=10.0", "command_timeout_s:=0.2").timeout_s == pytest.approx(0.2)
    assert limits(*BOX).timeout_s == pytest.approx(0.5)
    found = limits(*BOX, "reference_rpy:=[0.0, 1.5, 0.0]", "yaw_limits:=[-0.8, 0.6]")
    assert (found.rotation_low, found.rotation_high) == ((-pi, -pi, -0.8), (pi, pi, 0.6))
    found = limits(*BOX, "require_estop_heartbeat:=true", "estop_timeout_s:=0.3")
    assert (found.require_estop_heartbeat, found.estop_timeout_s) == (True, 0.3)
    assert not limits(*BOX).require_estop_heartbeat


@pytest.mark.parametrize(("action", "failures"), [("hold", 10), ("fault", 1), ("reject", 10**9)])
def test_what_failures_of_inverse_kinematics_end_in(limits, action, failures):
    assert limits(*BOX, f"ik_fail_action:={action}").ik_failures_to_fault == failures


def test_hardware_asks_for_the_switch_whatever_is_given(limits):
    assert limits(*HARDWARE, "require_deadman:=false").require_deadman


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("hardware:=true", *BOX), "latch_file is empty"),
        (("hardware:=true", "latch_file:=/tmp/latch.json"), "has no workspace"),
        ((*HARDWARE, "jitter_fault_s:=.inf"), "jitter_fault_s is switched off"),
        ((*HARDWARE, "lockstep:=true"), "a real arm does not wait"),
        ((*BOX, "max_step_translation_m:=-0.1"), "max_step_m is -0.1"),
        ((*BOX, "max_joint_velocity:=.inf"), "max_joint_velocity_rad_s is inf"),
        ((*BOX, "effort_limit:=[1.0]"), "has 1 numbers"),
        ((*BOX, "follows:=somebody"), "follows is 'somebody'"),
        ((*BOX, "ik_fail_action:=neutral"), "ik_fail_action is 'neutral'"),
        ((*BOX, "on_timeout:=torque_off"), "in the sleep pose"),
        ((*BOX, "command_timeout_s:=0.1"), "1 to 10 control periods of 0.2 s"),
        ((*BOX, "command_timeout_s:=.inf"), "command_timeout_s is inf"),
        ((*BOX, "command_timeout_s:=0.5", "control_rate_hz:=0.0"), "control_hz is 0.0"),
        ((*HARDWARE, "command_timeout_s:=1.0"), "at most 2.5"),
        ((*BOX, "yaw_limits:=[0.5, -0.5]"), "every low must be below"),
        ((*BOX, "yaw_limits:=[.nan, 0.5]"), "rotation_low"),
        ((*BOX, "yaw_limits:=[0.5]"), "give two angles"),
        ((*BOX, "yaw_limits:=[-1.0, 1.0]", "rotation_max:=[1.0, 1.0, 1.0]"), "give the one or the others"),
        ((*BOX, "estop_timeout_s:=0.0"), "estop_timeout_s is 0.0"),
        ((*BOX, "rotation_min:=[0.5, 0.0, 0.0]", "rotation_max:=[0.4, 1.0, 1.0]"), "every low must be below"),
        ((*BOX, "rotation_min:=[0.1, 0.2]"), "three angles"),
        (("workspace_min:=[0.0, 0.0]", "workspace_max:=[1.0, 1.0]"), "give three numbers x, y, z"),
        (("workspace_min:=[.nan, -0.15, 0.02]", BOX[1]), "box"),
        ((BOX[0],), "box"),
        ((*BOX, "effort_limit:=[.nan, 1.0, 1.0, 1.0, 1.0, 1.0]"), "effort_limit"),
        ((*BOX, "rotation_min:=[.nan, 0.0, 0.0]"), "rotation_low"),
        (("workspace_min:=[0.5, 0.0, 0.0]", "workspace_max:=[0.4, 1.0, 1.0]"), "workspace|corner|low"),
    ],
)
def test_what_cannot_be_meant_is_one_sentence(limits, words, says):
    with pytest.raises(UserError, match=says) as told:
        limits(*words)
    assert "\n" not in str(told.value)
