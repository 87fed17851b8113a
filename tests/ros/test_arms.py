"""Parts of the arm drivers without DDS: reading states, names, the set-up's questions, the domain, and what is not installed."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import JointState

from robot_pt.errors import MissingExtraError, UserError
from robot_pt_ros.arms.ros2_control import GripperOutput
from robot_pt_ros.arms.states import GripperScale, StateReader, joint_map_of
from robot_pt_ros.arms.xs_sdk import _errors_in
from robot_pt_ros.arms.xs_set_up import ANSWER_S, Asking, XsSettings, load_interfaces
from robot_pt_ros.conversions import stamp
from robot_pt_ros.domain import require_own_domain

NS = 1_000_000_000
SCALE = GripperScale("left_finger", 0.015, 0.037)


def joint_state(stamp_ns: int, effort=(), **positions: float) -> JointState:
    message = JointState()
    message.header.stamp = stamp(stamp_ns)
    message.name, message.position = list(positions), [float(v) for v in positions.values()]
    message.effort = [float(v) for v in effort]
    return message


def reader() -> StateReader:
    return StateReader(["a", "b"], {"b": "driver_b"}, SCALE)


def test_names_define_meaning_and_the_gripper_is_an_opening() -> None:
    found = reader().arm(joint_state(5, driver_b=2, left_finger=0.026, a=1, right_finger=-0.026))
    np.testing.assert_array_equal(found.q, [1, 2])
    assert found.opening == pytest.approx(0.5)
    assert (found.stamp_ns, found.effort) == (5, None)
    found = reader().arm(joint_state(5, effort=(20, 10), driver_b=2, a=1))
    np.testing.assert_array_equal(found.effort, [10, 20])
    assert found.opening is None


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (joint_state(0, a=1, driver_b=2), "without a stamp"),
        (joint_state(9, a=1), "joint state lacks ['driver_b']"),
        (joint_state(9, a=1, b=2), "joint state lacks ['driver_b']"),
        (joint_state(9, a=float("nan"), driver_b=2), "joint positions are not finite or not one per name"),
        (joint_state(9, a=1, driver_b=2, left_finger=float("inf")), "gripper position is not finite"),
    ],
)
def test_what_cannot_be_meant_is_counted_and_changes_nothing(message, reason: str) -> None:
    read = reader()
    assert read.arm(message) is None
    assert read.refused == {reason: 1}
    assert read.arm(joint_state(1, a=1, driver_b=2)) is not None, "its stamp was not taken"


def test_a_joint_named_twice_is_refused() -> None:
    message = joint_state(9, a=1, driver_b=2)
    message.name, message.position = ["a", "driver_b", "a"], [1.0, 2.0, 3.0]
    read = reader()
    assert read.arm(message) is None
    assert "twice" in next(iter(read.refused))


def test_repeated_and_older_states_are_no_news() -> None:
    read = reader()
    assert read.arm(joint_state(10, a=1, driver_b=2))
    for stamp_ns in (10, 9, 10, 9, 5, 10, *[9] * 20):
        assert read.arm(joint_state(stamp_ns, a=1, driver_b=2)) is None


def test_a_drivers_clock_that_was_set_back_is_followed_once_it_goes_on() -> None:
    read = reader()
    assert read.arm(joint_state(1000, a=1, driver_b=2))
    heard = [read.arm(joint_state(stamp_ns, a=1, driver_b=2)) is not None for stamp_ns in range(100, 110)]
    assert heard == [False] * 3 + [True] * 7


def test_reasons_are_not_collected_without_end() -> None:
    read = reader()
    for i in range(100):
        read.arm(joint_state(9, **{f"x{i}": 1}, a=1))
        message = joint_state(9)
        message.name = [f"y{i}", f"y{i}"]
        read.arm(message)
    assert len(read.refused) <= 16


@given(st.floats(0, 1))
def test_openings_and_positions_are_inverse(opening: float) -> None:
    assert SCALE.opening(SCALE.position(opening)) == pytest.approx(opening, abs=1e-9)
    assert 0 <= SCALE.opening(100 * opening) <= 1
    assert 0.015 <= SCALE.position(10 * opening - 5) <= 0.037


def test_a_gripper_without_travel_is_refused() -> None:
    for closed, opened in ((1.0, 1.0), (float("nan"), 1.0), (0.0, float("inf"))):
        with pytest.raises(UserError, match="give the gripper joint's two positions"):
            GripperScale("g", closed, opened)


def test_joint_maps() -> None:
    assert joint_map_of(["fr3_joint1=joint1", " x = joint2 "], ["joint1", "joint2"]) == {
        "joint1": "fr3_joint1",
        "joint2": "x",
    }
    for pairs in (["joint1"], ["=joint1"], ["x="], ["x=other"], ["x=joint1", "y=joint1"], ["x=joint1", "x=joint2"]):
        with pytest.raises(UserError, match="joint_map has"):
            joint_map_of(pairs, ["joint1", "joint2"])


def test_the_gripper_is_told_when_the_opening_changes() -> None:
    sent: list[float] = []
    output = SimpleNamespace(topic="/g", send=lambda positions: sent.extend(positions))
    gripper = GripperOutput(output, SCALE)
    for opening in (1.0, 1.0, 0.9995, 0.0, 2.0):
        gripper.send(opening)
    assert sent == pytest.approx([0.037, 0.015, 0.037])
    assert GripperOutput(None, SCALE).topics == []
    GripperOutput(None, SCALE).send(1.0)


class Client:
    """A service client whose answers are given by hand."""

    def __init__(self, ready: bool = True):
        self.ready, self.calls, self.forgotten = ready, [], 0

    def service_is_ready(self):
        return self.ready

    def call_async(self, request):
        future = SimpleNamespace(done=lambda: future.answer is not None, answer=None, exception=lambda: None)
        future.result = lambda: future.answer
        self.calls.append((request, future))
        return future

    def remove_pending_request(self, future):
        self.forgotten += 1


def test_asking_waits_for_nothing_and_asks_again_without_an_answer() -> None:
    asking = Asking(client := Client())
    assert asking.ask(NS, "q") is None
    assert asking.ask(NS + 1, "q") is None
    assert len(client.calls) == 1
    assert asking.ask(NS + 1 + int(ANSWER_S * NS), "q") is None
    assert (len(client.calls), client.forgotten, asking.lost) == (2, 1, 1)
    client.calls[-1][1].answer = "a"
    assert asking.ask(5 * NS, "q") == "a"
    assert asking.lost == 0
    assert len(client.calls) == 2, "the answer is given before the next question"


def test_a_service_that_is_gone_counts_as_lost() -> None:
    asking = Asking(Client(ready=False))
    for second in range(1, 10):
        assert asking.ask(second * 3 * NS, "q") is None
    assert asking.lost >= 3


def test_motor_errors_are_named() -> None:
    names = ["waist", "shoulder", "gripper"]
    assert _errors_in(names, [0, 0, 0]) == ""
    assert _errors_in(names, []) == "", "as a simulated driver answers"
    found = _errors_in(names, [0, 32 | 4, 64, 1])
    assert "shoulder: overheating and overload, gripper: status 64, motor 4: input voltage" in found


def test_xs_settings_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(UserError, match="choose pwm or linear_position"):
        XsSettings(gripper_mode="current")
    for changes in (
        {"profile_velocity_ms": 2000},
        {"profile_velocity_ms": 60, "profile_acceleration_ms": 31},
        {"profile_acceleration_ms": -1},
    ):
        with pytest.raises(UserError, match="profiles are"):
            XsSettings(**changes)


def test_without_interbotix_packages_one_sentence_says_so(monkeypatch) -> None:
    assert load_interfaces()[0].JointGroupCommand
    monkeypatch.setitem(sys.modules, "interbotix_xs_msgs.msg", None)
    with pytest.raises(MissingExtraError, match="interbotix_xs_msgs"):
        load_interfaces()


def in_domain(number: int) -> SimpleNamespace:
    return SimpleNamespace(context=SimpleNamespace(get_domain_id=lambda: number))


def test_domain_0_needs_the_users_word() -> None:
    assert require_own_domain(in_domain(42), allow=False) == 42
    assert require_own_domain(in_domain(0), allow=True) == 0
    with pytest.raises(UserError, match=r"on DDS domain 0, where every ROS program .* allow_domain_0:=true"):
        require_own_domain(in_domain(0), allow=False)
