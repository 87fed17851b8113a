"""The arm node in a process of its own, between a supervisor played by the test and a driver in a third process, over DDS."""

from __future__ import annotations

import itertools
import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped
from interbotix_xs_msgs.msg import JointGroupCommand, JointSingleCommand
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger
from trajectory_msgs.msg import JointTrajectory

from robot_pt import robots
from robot_pt.commands import JointCommand, PoseTarget
from robot_pt_ros import topics
from robot_pt_ros.conversions import command_messages, pose_of, target_messages

DOMAIN = 90
HERE = Path(__file__).parent
ARM_NODE = "from robot_pt_ros.arm_node import main\nraise SystemExit(main())\n"
XS = {"robot": "wx250s", "driver": "xs_sdk", "gripper_joint": "left_finger", "effort_unit": "mA"}
FRANKA = {
    "robot": "panda",
    "driver": "ros2_control",
    "joint_map": "[" + ", ".join(f"fr3_joint{i}=joint{i}" for i in range(1, 8)) + "]",
    "gripper_joint": "fr3_finger_joint1",
    "gripper_output": "trajectory",
    "gripper_closed": "0.0",
    "gripper_open": "0.04",
    "effort_unit": "Nm",
}
_numbers = itertools.count()


class Rig:
    """One arm, one driver, and the test as supervisor, in namespaces of their own."""

    def __init__(self, graph, program):
        number = next(_numbers)
        self.graph, self.program, self.ns, self.base = graph, program, f"/t{number}", f"/driver{number}"
        self.node = graph.node("supervisor", namespace=self.ns)
        self.heard: dict[str, list] = {}
        self.command = self.node.create_publisher(JointTrajectory, topics.COMMAND, topics.newest())
        self.pose = self.node.create_publisher(PoseStamped, topics.COMMAND_POSE, topics.newest())
        self.safety = self.node.create_publisher(DiagnosticStatus, topics.SAFETY_STATE, topics.latched())
        for kind, name in (
            (JointState, topics.JOINT_STATES), (JointState, topics.GRIPPER_STATE), (PoseStamped, topics.EE_POSE),
        ):  # fmt: skip
            self.listen(kind, name, topics.sampled())
        for name in (topics.ARM_STATE, topics.ARM_FAULT):
            self.listen(String, name, topics.latched())

    def close(self) -> None:
        """While the others live: a writer whose reader died without a word waits for it a second."""
        for publisher in list(self.node.publishers):
            self.node.destroy_publisher(publisher)

    def listen(self, kind, name, qos=10):
        heard = self.heard.setdefault(name, [])
        self.node.create_subscription(kind, name, heard.append, qos)
        return heard

    def driver(self, file: str, **parameters):
        return self._started((HERE / file).read_text(), self.base, parameters)

    def arm_process(self, **parameters):
        self.arm = robots.load(parameters["robot"])
        return self._started(ARM_NODE, self.ns, {"driver_namespace": self.base, **parameters}, ready=False)

    def _started(self, source, namespace, parameters, ready=True):
        pairs = [part for name, value in parameters.items() for part in ("-p", f"{name}:={value}")]
        process = self.program(source, "--ros-args", "-r", f"__ns:={namespace}", *pairs)
        assert not ready or process.stdout.readline() == "ready\n"
        return process

    def start(self, file, fake=None, **parameters):
        """Driver and arm node, configured and active, with the arm's state heard."""
        self.driver_process = self.driver(file, **(fake or {}))
        self.process = self.arm_process(**parameters)
        assert self.change(Transition.TRANSITION_CONFIGURE)
        assert self.change(Transition.TRANSITION_ACTIVATE)
        self.say("disarmed")
        assert self.graph.spin_until(lambda: self.heard[topics.JOINT_STATES] and self.command.get_subscription_count())
        return self

    def change(self, transition: int) -> bool:
        client = self.node.create_client(ChangeState, "arm/change_state")
        assert self.graph.spin_until(client.service_is_ready)
        request = ChangeState.Request(transition=Transition(id=transition))
        return self.answer(client.call_async(request)).success

    def answer(self, future, timeout_s=30):
        assert self.graph.spin_until(future.done, timeout_s)
        return future.result()

    def call(self, service: str, kind=Trigger, /, **fields):
        client = self.node.create_client(kind, service)
        assert self.graph.spin_until(client.service_is_ready)
        return self.answer(client.call_async(kind.Request(**fields)))

    def call_until_done(self, service: str, kind=Trigger, /, **fields):
        """Asked again while it is refused, as after a motion that has not come to rest yet."""
        end = time.monotonic() + 30
        while not (reply := self.call(service, kind, **fields)).success and time.monotonic() < end:
            self.graph.spin_for(0.1)
        assert reply.success, reply.message

    def set_driver(self, **parameters):
        client = AsyncParameterClient(self.node, f"{self.base}/xs_sdk")
        assert self.graph.spin_until(client.services_are_ready)
        self.answer(client.set_parameters([Parameter(name, value=value) for name, value in parameters.items()]))

    def say(self, mode: str) -> None:
        self.safety.publish(DiagnosticStatus(name="safety", values=[KeyValue(key="mode", value=mode)]))

    def send(self, q, gripper=1.0, stamp_ns=None, names=None, pose=True):
        stamp_ns = stamp_ns or time.time_ns()
        joints, reached = command_messages(
            JointCommand(stamp_ns, np.asarray(q), gripper, self.arm.fk(np.nan_to_num(q))), "base_link",
            names or self.arm.joint_names, 0.2,
        )  # fmt: skip
        if pose:
            self.pose.publish(reached)
        self.command.publish(joints)

    def stream(self, goal, gripper=1.0, speed=0.5, seconds=None, reached=lambda: False):
        """50 commands a second from where the arm is to `goal`, then on at the goal."""
        start = self.q()
        distance = float(np.abs(np.asarray(goal) - start).max())
        seconds = distance / speed + 1.0 if seconds is None else seconds
        begun = time.monotonic()
        while (elapsed := time.monotonic() - begun) < seconds and not reached():
            share = min(elapsed * speed / distance, 1.0) if distance > 0 else 1.0
            self.send(start + (np.asarray(goal) - start) * share, gripper)
            self.graph.spin_for(0.02)

    def reach(self, goal, gripper=1.0, seconds=1.0, atol=0.01):
        """`stream` for so long, and on until the arm is there."""
        self.stream(goal, gripper, seconds=seconds)
        self.stream(goal, gripper, seconds=30, reached=lambda: np.abs(self.q() - goal).max() < atol)

    def q(self) -> np.ndarray:
        return np.array(self.heard[topics.JOINT_STATES][-1].position[:-1])

    def opening(self) -> float:
        return self.heard[topics.GRIPPER_STATE][-1].position[0]

    def state(self) -> SimpleNamespace:
        return SimpleNamespace(**json.loads(self.heard[topics.ARM_STATE][-1].data))

    def wait(self, reached):
        assert self.graph.spin_until(reached), self.heard[topics.ARM_STATE][-3:]

    def await_state(self, part: str):
        self.wait(lambda: self.heard[topics.ARM_STATE] and part in self.state().state)


@pytest.fixture
def rig(graph, program) -> Iterator[Rig]:
    made = Rig(graph, program)
    yield made
    made.close()


def test_a_widowx_follows_the_supervisor_and_holds_when_it_falls_silent(rig) -> None:
    rig.start("fake_xs_sdk.py", **XS)
    rig.await_state("no command has come")
    group = rig.listen(JointGroupCommand, f"{rig.base}/commands/joint_group")
    start = rig.q()
    np.testing.assert_allclose(start, rig.arm.sleep_rad, atol=1e-6)
    goal = start + np.array([0.4, 0.3, -0.3, 0.2, -0.2, 0.1])
    rig.reach(goal, seconds=2.0)
    np.testing.assert_allclose(rig.q(), goal, atol=0.02)
    message = rig.heard[topics.JOINT_STATES][-1]
    assert list(message.name) == [*rig.arm.joint_names, "gripper"]
    assert not len(message.effort)
    np.testing.assert_allclose(
        pose_of(rig.heard[topics.EE_POSE][-1]), rig.arm.fk(np.array(message.position[:-1])), atol=0.05
    )
    sent = np.array([m.cmd for m in group])
    assert len(sent) > 20
    assert np.abs(np.diff(sent, axis=0)).max() < 0.25
    rig.await_state("no command has come")
    count = len(group)
    rig.graph.spin_for(0.6)
    assert len(group) == count


def test_xs_sdk_is_set_up_with_short_profiles_and_modes_change_only_in_the_sleep_pose(rig) -> None:
    rig.start("fake_xs_sdk.py", {"arm_mode": "velocity", "start": "[0.0, -1.0, 1.1, 0.0, 0.3, 0.0]"}, **XS)
    rig.await_state("needs 'position', which switches its torque off")
    rig.stream(rig.q() + 0.05, seconds=0.5)
    assert rig.driver_process.poll() is None
    np.testing.assert_allclose(rig.q(), [0.0, -1.0, 1.1, 0.0, 0.3, 0.0], atol=1e-6)
    refused = rig.call("arm/home")
    assert not refused.success
    assert "sleep pose" in refused.message


@pytest.mark.slow
def test_in_the_sleep_pose_the_mode_is_set_and_registers_are_written(rig) -> None:
    rig.start("fake_xs_sdk.py", {"arm_mode": "velocity"}, **XS)
    rig.await_state("no command has come")
    from interbotix_xs_msgs.srv import RegisterValues, RobotInfo

    info = rig.call(f"{rig.base}/get_robot_info", RobotInfo, cmd_type="group", name="arm")
    assert (info.mode, info.profile_type) == ("position", "time")
    for register, value in (("Profile_Velocity", 60), ("Profile_Acceleration", 24)):
        found = rig.call(f"{rig.base}/get_motor_registers", RegisterValues, cmd_type="group", name="arm", reg=register)
        assert set(found.values) == {value}


@pytest.mark.slow
def test_another_arm_than_the_model_is_not_moved(rig) -> None:
    rig.start("fake_xs_sdk.py", {"limits": 0.8}, **XS)
    rig.await_state("start the right one")
    rig.stream(rig.q() + 0.05, seconds=0.5)
    np.testing.assert_allclose(rig.q(), rig.arm.sleep_rad, atol=1e-6)


def test_the_gripper_is_pushed_no_harder_than_allowed_and_left_alone_in_place(rig) -> None:
    rig.start("fake_xs_sdk.py", **XS)
    rig.await_state("no command has come")
    single = rig.listen(JointSingleCommand, f"{rig.base}/commands/joint_single")
    assert rig.opening() == 0
    goal = rig.q()
    rig.stream(goal, 1.0, seconds=30, reached=lambda: rig.opening() > 0.97 and single and single[-1].cmd == 0)
    assert single[-1].cmd == 0
    pushes = np.array([m.cmd for m in single])
    assert np.abs(pushes).max() <= 350
    assert (pushes >= 0).all()
    rig.set_driver(obstacle=0.026)
    del single[:]
    rig.stream(goal, 0.0, seconds=30, reached=lambda: single and single[-1].cmd == -180)
    assert single[-1].cmd == -180, "what is grasped is held with less"
    assert min(m.cmd for m in single) >= -350
    assert rig.opening() == pytest.approx(0.5, abs=0.03)


@pytest.mark.slow
def test_home_sleep_and_torque_only_while_disarmed_and_slowly(rig) -> None:
    rig.start("fake_xs_sdk.py", {"start": "[0.0, -1.5, 1.4, 0.0, 0.5, 0.0]"}, **XS)
    rig.await_state("no command has come")
    rig.say("hold")
    rig.graph.spin_for(0.2)
    for name, fields in (("arm/home", {}), ("arm/sleep", {}), ("arm/torque", {"data": False})):
        reply = rig.call(name, SetBool if fields else Trigger, **fields)
        assert not reply.success
        assert "disarm it first" in reply.message
    rig.graph.spin_for(1.6)
    assert "supervisor is not heard" in rig.call("arm/home").message
    group = rig.listen(JointGroupCommand, f"{rig.base}/commands/joint_group")
    rig.say("disarmed")
    beat = rig.node.create_timer(0.5, lambda: rig.say("disarmed"))
    rig.graph.spin_for(0.2)
    reply = rig.call("arm/torque", SetBool, data=False)
    assert not reply.success
    assert "the arm would fall" in reply.message
    reply = rig.call("arm/home")
    assert reply.success, reply.message
    assert "is moving" in rig.call("arm/sleep").message
    rig.wait(lambda: "home arrived" in rig.state().motion)
    np.testing.assert_allclose(rig.q(), rig.arm.home_rad, atol=0.05)
    sent = np.array([m.cmd for m in group])
    assert np.abs(np.diff(sent, axis=0)).max() < 3 * 0.4 / 25, (
        "no faster than reset_speed_rad_s, three ticks lost at most"
    )
    rig.call_until_done("arm/sleep")
    rig.wait(lambda: "sleep arrived" in rig.state().motion)
    rig.call_until_done("arm/torque", SetBool, data=False)
    rig.await_state("torque is off")
    assert "torque is off" in rig.call("arm/home").message
    assert rig.call("arm/torque", SetBool, data=True).success
    rig.wait(lambda: "torque" not in rig.state().state)
    rig.node.destroy_timer(beat)


def test_arming_or_a_stalled_arm_ends_a_motion(rig) -> None:
    rig.start("fake_xs_sdk.py", {"start": "[0.0, -0.5, 0.5, 0.0, 0.3, 0.0]"}, **XS)
    rig.await_state("no command has come")
    rig.say("disarmed")
    assert rig.call("arm/home").success
    rig.graph.spin_for(0.5)
    rig.say("hold")
    rig.await_state("the supervisor is in hold")
    stopped = rig.q()
    rig.graph.spin_for(0.5)
    np.testing.assert_allclose(rig.q(), stopped, atol=0.05)
    beat = rig.node.create_timer(0.5, lambda: rig.say("disarmed"))
    rig.set_driver(stuck=True)
    rig.call_until_done("arm/home")
    rig.await_state("it is stalled or touches something")
    rig.node.destroy_timer(beat)


def test_a_motor_in_error_is_a_fault_and_silent_joints_end_in_hold(rig) -> None:
    rig.start("fake_xs_sdk.py", **XS)
    rig.await_state("no command has come")
    rig.set_driver(error=32)
    rig.wait(lambda: rig.heard[topics.ARM_FAULT] and "elbow: overload" in rig.heard[topics.ARM_FAULT][-1].data)
    before = rig.q()
    away = np.array([0.1, 0.1, -0.1, 0.1, 0.1, 0.1])
    rig.stream(before + away, seconds=0.5)
    np.testing.assert_allclose(rig.q(), before, atol=1e-6)
    assert not rig.state().ok
    rig.set_driver(error=0)
    rig.wait(lambda: rig.heard[topics.ARM_FAULT][-1].data == "")
    rig.reach(before + away)
    np.testing.assert_allclose(rig.q(), before + away, atol=0.02)
    rig.set_driver(mute=True)
    goal = before + 2 * away
    group = rig.listen(JointGroupCommand, f"{rig.base}/commands/joint_group")
    end = time.monotonic() + 30
    while "joint states stopped" not in rig.state().state and time.monotonic() < end:
        rig.send(goal)
        rig.graph.spin_for(0.02)
    assert "joint states stopped" in rig.state().state
    counts = []
    for _ in range(2):
        for _ in range(20):
            rig.send(goal)
            rig.graph.spin_for(0.02)
        counts.append(len(group))
    assert counts[1] == counts[0]  # the first may still hear what was sent before


def test_no_bad_command_reaches_the_driver(rig) -> None:
    rig.start("fake_xs_sdk.py", **XS)
    rig.await_state("no command has come")
    group = rig.listen(JointGroupCommand, f"{rig.base}/commands/joint_group")
    rig.graph.spin_for(0.3)
    q, names = rig.q(), rig.arm.joint_names
    beyond = rig.arm.lower_rad.copy()
    beyond[1] -= 0.01
    bad = [
        {"q": np.full(6, np.nan)},
        {"q": np.full(6, np.inf)},
        {"q": beyond},
        {"q": q + 0.6},
        {"q": q, "gripper": 1.5},
        {"q": q, "gripper": float("nan")},
        {"q": q, "stamp_ns": time.time_ns() - 10**9},
        {"q": q, "stamp_ns": time.time_ns() + 10**9},
        {"q": q, "names": ["a", *names[1:]]},
        {"q": q, "pose": False},
    ]
    for fields in bad:
        rig.send(**fields)
        rig.graph.spin_for(0.1)
    rig.graph.spin_for(0.3)
    assert not group
    assert "following" not in rig.state().state
    rig.stream(q, seconds=30, reached=lambda: group)
    np.testing.assert_allclose(group[-1].cmd, q, atol=1e-6)


@pytest.mark.parametrize(("topic", "kind"), [(topics.COMMAND, JointTrajectory), (topics.COMMAND_POSE, PoseStamped)])
def test_beside_a_second_publisher_nothing_is_followed(rig, topic: str, kind: type) -> None:
    rig.start("fake_xs_sdk.py", **XS)
    rig.await_state("no command has come")
    rig.stream(rig.q() + 0.05, seconds=1)
    rival = rig.graph.node("neighbour", namespace=rig.ns)
    publisher = rival.create_publisher(kind, topic, topics.newest())
    rig.stream(rig.q(), seconds=30, reached=lambda: "somebody besides the supervisor" in rig.state().state)
    assert "neighbour" in rig.state().state
    held = rig.q()
    rig.stream(held + 0.2, seconds=0.6)
    np.testing.assert_allclose(rig.q(), held, atol=0.03)
    rival.destroy_publisher(publisher)
    rig.stream(rig.q(), seconds=30, reached=lambda: "following" in rig.state().state)
    assert rig.state().ok


def test_after_a_signal_it_follows_the_supervisors_hold_and_leaves_last(rig) -> None:
    rig.start("fake_xs_sdk.py", **XS)
    rig.await_state("no command has come")
    group = rig.listen(JointGroupCommand, f"{rig.base}/commands/joint_group")
    rig.stream(rig.q(), seconds=0.5)
    rig.process.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    rig.stream(rig.q(), seconds=0.7)
    count = len(group)
    rig.stream(rig.q(), seconds=1.5, reached=lambda: len(group) > count)
    assert len(group) > count, "it still follows"
    assert rig.process.poll() is None
    rig.node.destroy_publisher(rig.command)
    assert rig.graph.spin_until(lambda: rig.process.poll() is not None)
    assert rig.process.returncode == 0
    assert time.monotonic() - asked < 20


def test_a_trajectory_controller_gets_its_own_names_and_one_period(rig) -> None:
    rig.start("fake_controllers.py", **FRANKA)
    rig.await_state("no command has come")
    heard = rig.listen(JointTrajectory, f"{rig.base}/joint_trajectory_controller/joint_trajectory")
    message = rig.heard[topics.JOINT_STATES][-1]
    np.testing.assert_allclose(message.effort, [1, 2, 3, 4, 5, 6, 7, 0])
    assert rig.opening() == pytest.approx(1.0)
    goal = rig.q() + 0.1
    rig.reach(goal, 0.25)
    rig.stream(goal, 0.25, seconds=30, reached=lambda: abs(rig.opening() - 0.25) < 0.01)
    np.testing.assert_allclose(rig.q(), goal, atol=0.01)
    assert rig.opening() == pytest.approx(0.25, abs=0.01)
    sent = heard[-1]
    assert list(sent.joint_names) == [f"fr3_joint{i}" for i in range(1, 8)]
    assert (sent.header.stamp.sec, sent.header.stamp.nanosec) == (0, 0)
    assert sent.points[0].time_from_start.nanosec == 20_000_000
    rig.await_state("no command has come")
    rig.say("disarmed")
    rig.wait(lambda: "no torque service" in rig.call("arm/torque", SetBool, data=True).message)


@pytest.mark.slow
def test_a_forward_controller_gets_an_array_in_its_own_order(rig) -> None:
    backwards = "[" + ", ".join(f"joint{i}" for i in range(7, 0, -1)) + "]"
    without = {"gripper_joint": "''", "gripper_output": "none"}
    rig.start("fake_controllers.py", **{**FRANKA, **without, "arm_output": "array", "controller_joints": backwards})
    assert rig.opening() == 1.0
    rig.await_state("no command has come")
    heard = rig.listen(Float64MultiArray, f"{rig.base}/forward_command_controller/commands")
    goal = rig.q() + np.linspace(0.01, 0.07, 7)
    rig.reach(goal, atol=1e-6)
    np.testing.assert_allclose(heard[-1].data, goal[::-1], atol=1e-9)
    np.testing.assert_allclose(rig.q(), goal, atol=1e-6)


def test_a_pose_controller_gets_the_last_pose_again_while_held(rig) -> None:
    offset = {"driver": "crisp", "ee_offset_xyz": "[0.0, 0.0, 0.1]", "driver_frame": "fr3_link0"}
    rig.start("fake_controllers.py", **{**FRANKA, **offset})
    rig.await_state("no command has come")
    heard = rig.listen(PoseStamped, f"{rig.base}/target_pose", 1)
    rig.graph.spin_for(0.3)
    assert not heard, "nothing is sent before the first command"
    goal = rig.q()
    rig.stream(goal, seconds=30, reached=lambda: len(heard) > 5)
    offset_T = np.eye(4)
    offset_T[2, 3] = 0.1
    np.testing.assert_allclose(pose_of(heard[-1]), rig.arm.fk(goal) @ offset_T, atol=1e-9)
    assert heard[-1].header.frame_id == "fr3_link0"
    rig.await_state("no command has come")
    del heard[:]
    rig.wait(lambda: len(heard) > 5)
    np.testing.assert_allclose(pose_of(heard[-1]), rig.arm.fk(goal) @ offset_T, atol=1e-9)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"driver": "serial"}, "choose from ros2_control, xs_sdk, crisp"),
        ({"robot": "ur5"}, "robot 'ur5' is unknown"),
        ({"joint_map": "[fr3_joint1=elbow_joint]"}, "joint_map has 'fr3_joint1=elbow_joint'"),
        ({"driver_namespace": "OWN"}, "the graph's own topic"),
        ({"command_rate_hz": "1000.0"}, "command_rate_hz is 1000"),
        ({"effort_unit": "kg"}, "choose Nm, mA or none"),
        ({"controller_joints": "[joint1]"}, "controller_joints are"),
        ({"gripper_joint": "''"}, "gripper_joint is empty"),
        ({"joint_lower": "[-9.0, -1.0, -1.0, -1.0, -1.0, 1.0, -1.0]"}, "joint_lower is [-9.0"),
        ({"joint_upper": "[0.0, 0.0]"}, "inside the model's"),
        ({"max_jump_rad": "0.0"}, "max_jump_rad is 0.0"),
        ({"reset_speed_rad_s": "9.0"}, "reset_speed_rad_s is 9.0"),
        ({"arm_output": "velocity"}, "an arm's commands cannot be 'velocity'"),
        ({"gripper_open": "0.0"}, "gripper_closed is 0.0 and gripper_open 0.0"),
        ({"driver": "crisp", "ee_offset_xyz": "[.nan, 0.0, 0.0]"}, "three finite numbers"),
    ],
)
def test_a_mistake_is_one_sentence_at_configure(graph, parameters: dict[str, str], sentence: str, capfd) -> None:
    from rclpy.lifecycle import TransitionCallbackReturn

    from robot_pt_ros.arm_node import ArmNode

    given = {**FRANKA, "driver_namespace": "/driver", **parameters}
    given["driver_namespace"] = given["driver_namespace"].replace("OWN", "/")
    pairs = [part for name, value in given.items() for part in ("-p", f"{name}:={value}")]
    import rclpy

    rclpy.init(args=["test", "--ros-args", *pairs], domain_id=DOMAIN)
    node = ArmNode()
    try:
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    finally:
        node.destroy_node()
        rclpy.shutdown()
    assert sentence in capfd.readouterr().err


@pytest.mark.parametrize("robot", ["wx250s", "ros2_control", "franka"])
def test_the_settings_that_come_with_a_robot_configure_its_arm(graph, robot: str, capfd) -> None:
    import rclpy
    from rclpy.lifecycle import TransitionCallbackReturn

    from robot_pt_ros.arm_node import ArmNode

    file = HERE.parents[1] / f"ros_nodes/config/{robot}.yaml"
    rclpy.init(args=["test", "--ros-args", "-r", "__ns:=/s", "--params-file", str(file)], domain_id=DOMAIN)
    node = ArmNode()
    try:
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS, capfd.readouterr().err
    finally:
        node.destroy_node()
        rclpy.shutdown()


SUPERVISOR = "from robot_pt_ros.supervisor_node import main\nraise SystemExit(main())\n"


def test_with_the_real_supervisor_an_operator_moves_the_arm_and_its_death_ends_in_hold(
    graph, program, tmp_path
) -> None:
    """Three processes: xs_sdk, arm, supervisor on hardware's terms; the test is the operator with a hold-to-run device."""
    rig = Rig(graph, program)
    rig.graph.nodes.remove(rig.node)
    rig.graph.executor.remove_node(rig.node)
    rig.node.destroy_node()
    rig.node = graph.node("operator", namespace=rig.ns)
    for kind, name, qos in (
        (JointState, topics.JOINT_STATES, topics.sampled()), (PoseStamped, topics.EE_POSE, topics.sampled()),
        (JointState, topics.GRIPPER_STATE, topics.sampled()), (String, topics.ARM_STATE, topics.latched()),
        (DiagnosticStatus, topics.SAFETY_STATE, topics.latched()),
    ):  # fmt: skip
        rig.heard[name] = []
        rig.listen(kind, name, qos)
    rig.driver_process = rig.driver("fake_xs_sdk.py", start="[0.0, -0.2, 0.6, 0.0, 1.17, 0.0]")
    rig.process = rig.arm_process(**XS)
    supervisor = rig._started(
        SUPERVISOR, rig.ns,
        {
            "robot": "wx250s", "hardware": True, "require_deadman": True, "latch_file": tmp_path / "latch.json",
            "workspace_min": "[0.1, -0.2, 0.05]", "workspace_max": "[0.45, 0.25, 0.4]", "max_joint_velocity": 0.5,
        }, ready=False,
    )  # fmt: skip
    for node in ("arm", "supervisor"):
        client = rig.node.create_client(ChangeState, f"{node}/change_state")
        assert graph.spin_until(client.service_is_ready)
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            request = ChangeState.Request(transition=Transition(id=transition))
            assert rig.answer(client.call_async(request), 20).success
    rig.await_state("no command has come")
    deadman = rig.node.create_publisher(Bool, topics.DEADMAN, topics.heartbeat())
    beat = rig.node.create_timer(0.02, lambda: deadman.publish(Bool(data=True)))
    pose = rig.node.create_publisher(PoseStamped, topics.TELEOP_POSE, topics.newest())
    gripper = rig.node.create_publisher(JointTrajectory, topics.TELEOP_GRIPPER, topics.newest())
    rig.call_until_done("safety/arm")
    rig.await_state("following")
    assert "disarm it first" in rig.call("arm/home").message
    target = pose_of(rig.heard[topics.EE_POSE][-1])
    start = target.copy()
    rig.call_until_done("takeover", SetBool, data=True)
    for _ in range(15):
        target[:3, 3] += [0.0, 0.01, 0.005]
        asked = PoseTarget(time.time_ns(), target, 1.0)
        for publisher, message in zip((pose, gripper), target_messages(asked, "base_link", 0.2), strict=True):
            publisher.publish(message)
        graph.spin_for(0.2)
    at = lambda: pose_of(rig.heard[topics.EE_POSE][-1])[:3, 3]  # noqa: E731
    rig.wait(lambda: np.abs(at() - target[:3, 3]).max() < 0.015)
    moved = pose_of(rig.heard[topics.EE_POSE][-1])
    np.testing.assert_allclose(moved[:3, 3], target[:3, 3], atol=0.015)
    assert np.linalg.norm(moved[:3, 3] - start[:3, 3]) > 0.1
    assert rig.opening() > 0.9
    rig.node.destroy_timer(beat)
    supervisor.kill()
    rig.await_state("no command has come")
    held = rig.q()
    graph.spin_for(0.5)
    np.testing.assert_allclose(rig.q(), held, atol=0.01)
    assert rig.process.poll() is None
    rig.close()


@pytest.mark.parametrize("allow", [False, True])
def test_on_domain_0_an_arm_is_configured_only_with_the_users_word(graph, monkeypatch, capfd, allow: bool) -> None:
    """The node is on a domain of its own, and told that it is 0: tests stay out of everybody's."""
    import rclpy
    from rclpy.lifecycle import TransitionCallbackReturn

    from robot_pt_ros.arm_node import ArmNode

    words = [
        w
        for name, value in {**FRANKA, "driver_namespace": "/d", "allow_domain_0": allow}.items()
        for w in ("-p", f"{name}:={value}")
    ]
    rclpy.init(args=["test", "--ros-args", *words], domain_id=DOMAIN)
    node = ArmNode()
    monkeypatch.setattr(type(node.context), "get_domain_id", lambda context: 0)
    try:
        expected = TransitionCallbackReturn.SUCCESS if allow else TransitionCallbackReturn.FAILURE
        assert node.trigger_configure() == expected
    finally:
        node.destroy_node()
        rclpy.shutdown()
    assert ("on DDS domain 0" in capfd.readouterr().err) is not allow


def test_the_gripper_may_have_a_topic_of_its_own(graph, program) -> None:
    rig = Rig(graph, program)
    rig.driver("fake_controllers.py")
    given = {**FRANKA, "gripper_joint": "hand", "gripper_joint_states": "hand/joint_states", "gripper_output": "none"}
    rig.arm_process(**given)
    assert rig.change(Transition.TRANSITION_CONFIGURE)
    graph.spin_for(0.5)
    assert not rig.heard[topics.JOINT_STATES], "an opening nobody measured is not made up"
    hand = rig.node.create_publisher(JointState, f"{rig.base}/hand/joint_states", 1)
    assert graph.spin_until(hand.get_subscription_count)
    said = JointState(name=["hand"], position=[0.01])  # again and again: best effort may lose it
    assert graph.spin_until(lambda: hand.publish(said) or rig.heard[topics.GRIPPER_STATE])
    assert rig.opening() == pytest.approx(0.25)
    rig.close()
