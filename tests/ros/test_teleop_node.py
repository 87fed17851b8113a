"""teleop: a key is one step, a button is held or it is not, a request is a service; who is gone has let go."""

from __future__ import annotations

import os
import signal
import termios
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from robot_pt.commands import JointCommand
from robot_pt.errors import UserError
from robot_pt.images import encode_jpeg
from robot_pt.teleop import Hand, Keyboard, TeleopSettings
from robot_pt_ros import topics
from robot_pt_ros.arm_watch import ArmWatch
from robot_pt_ros.camera_page import CameraPage
from robot_pt_ros.conversions import (
    command_messages,
    gripper_of,
    joint_state_message,
    nanoseconds,
    pose_message,
    pose_of,
    status_message,
)
from robot_pt_ros.teleop_devices import attach
from tests.ros.node_process import NodeProcess, change_state
from tests.ros.scripted_robot import ARM

DOMAIN = 80
NS = 1_000_000_000


class Bench:
    """An arm that stands still, the services of the other nodes, and everything teleop says."""

    def __init__(self, graph: Any):
        from diagnostic_msgs.msg import DiagnosticStatus
        from geometry_msgs.msg import PoseStamped
        from sensor_msgs.msg import JointState
        from std_msgs.msg import Bool
        from std_srvs.srv import SetBool, Trigger
        from trajectory_msgs.msg import JointTrajectory

        self.graph, self.node = graph, graph.node("bench")
        self.poses: list[Any] = []
        self.grippers: list[Any] = []
        self.deadman: list[tuple[float, bool]] = []
        self.estops: list[bool] = []
        self.asked: list[str] = []
        listen, make = self.node.create_subscription, self.node.create_publisher
        listen(PoseStamped, topics.TELEOP_POSE, self.poses.append, topics.newest())
        listen(JointTrajectory, topics.TELEOP_GRIPPER, self.grippers.append, topics.newest())
        listen(Bool, topics.DEADMAN, lambda m: self.deadman.append((time.monotonic(), m.data)), topics.heartbeat())
        listen(Bool, topics.ESTOP, lambda m: self.estops.append(m.data), topics.latched())
        self._joints = make(JointState, topics.JOINT_STATES, topics.newest())
        self._gripper = make(JointState, topics.GRIPPER_STATE, topics.newest())
        self._safety = make(DiagnosticStatus, topics.SAFETY_STATE, topics.latched())
        for name in ("episode/start", "episode/stop", "safety/arm"):
            self.node.create_service(Trigger, name, self._serve(name))
        for name in ("episode/end", "takeover", "safety/estop_set"):
            self.node.create_service(SetBool, name, self._serve(name))
        self.node.create_timer(0.02, self._say)

    def _serve(self, name: str) -> Any:
        def answer(request: Any, response: Any) -> Any:
            self.asked.append(name + (f" {request.data}" if hasattr(request, "data") else ""))
            response.success, response.message = True, f"{name} is done."
            return response

        return answer

    def _say(self) -> None:
        now = time.time_ns()
        self._joints.publish(joint_state_message(now, ARM.joint_names, ARM.home_rad))
        self._gripper.publish(joint_state_message(now, ["gripper"], np.array([1.0])))

    def say_mode(self, mode: str) -> None:
        from diagnostic_msgs.msg import DiagnosticStatus

        self._safety.publish(status_message(DiagnosticStatus.OK, "safety", mode, {"mode": mode}))

    def held(self) -> bool:
        return bool(self.deadman) and self.deadman[-1][1]

    def released(self) -> bool:
        return len(self.deadman) > 1 and not self.deadman[-1][1]


@pytest.fixture
def bench(graph: Any) -> Bench:
    return Bench(graph)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """(the operator's end, the program's end) of a terminal."""
    master, slave = os.openpty()
    yield master, slave
    for handle in (master, slave):
        try:
            os.close(handle)
        except OSError:
            continue


def test_a_key_is_one_step_and_the_terminal_is_given_back(
    bench: Bench, terminal: tuple[int, int], tmp_path: Path
) -> None:
    graph, (master, slave) = bench.graph, terminal
    before = termios.tcgetattr(slave)
    node = NodeProcess("teleop", DOMAIN, tmp_path, terminal=slave, device="keyboard", robot="panda")
    try:
        assert change_state(graph, bench.node, "teleop", 1, 3) == [True, True], node.text
        raw = termios.tcgetattr(slave)
        assert raw[3] & (termios.ICANON | termios.ECHO) == 0
        assert raw[3] & termios.ISIG
        assert b"one step per press" in os.read(master, 4096)
        assert graph.spin_until(bench.released)
        assert bench.poses == []
        os.write(master, b"w")
        assert graph.spin_until(lambda: bench.poses and bench.grippers)
        graph.spin_for(0.8)
        assert (len(bench.poses), len(bench.grippers)) == (1, 1), "one press is one step"
        moved = pose_of(bench.poses[0])[:3, 3] - ARM.fk(ARM.home_rad)[:3, 3]
        np.testing.assert_allclose(moved, [0.01, 0, 0], atol=1e-6)
        assert nanoseconds(bench.poses[0].header.stamp) == nanoseconds(bench.grippers[0].header.stamp)
        assert gripper_of(bench.grippers[0]) == 1.0
        assert graph.spin_until(bench.released), "the deadman ends by itself"
        held_s = [at for at, held in bench.deadman if held]
        assert 0.2 < held_s[-1] - held_s[0] < 5.0
        os.write(master, b"g")
        assert graph.spin_until(lambda: len(bench.grippers) > 1)
        assert gripper_of(bench.grippers[-1]) == 0.0
        os.write(master, b"1")
        assert graph.spin_until(lambda: bench.asked == ["episode/start"])
        assert graph.spin_until(lambda: "episode/start is done." in node.text)
        os.write(master, b"8")
        assert graph.spin_until(lambda: bench.asked[1:] == ["safety/arm", "takeover True"])
        os.write(master, b" ")
        assert graph.spin_until(lambda: bench.estops == [True] and bench.asked[-1] == "safety/estop_set True")
        for _ in range(30):  # the newest alone is kept: a node that is slow hears the second only
            bench.say_mode("estop")
            graph.spin_for(0.2)
            bench.say_mode("disarmed")
            if graph.spin_until(lambda: len(bench.estops) > 1, 0.5):
                break
        assert bench.estops == [True, False], "what is latched is what holds"
        os.write(master, b"d")
        assert graph.spin_until(bench.held)
        os.write(master, b"\x04")
        assert graph.spin_until(bench.released), "Ctrl-D releases"
        count = len(bench.poses)
        os.write(master, b"w")
        graph.spin_for(0.4)
        assert len(bench.poses) == count
        assert not bench.held()
        assert node.end(signal.SIGINT) == 0
        assert termios.tcgetattr(slave) == before
        assert bench.deadman[-1][1] is False
    finally:
        node.close()


def test_a_line_that_hangs_up_releases_and_ends_the_node(
    bench: Bench, terminal: tuple[int, int], tmp_path: Path
) -> None:
    graph, (master, slave) = bench.graph, terminal
    node = NodeProcess("teleop", DOMAIN, tmp_path, terminal=slave, device="keyboard", robot="panda", key_held_s=5.0)
    try:
        assert change_state(graph, bench.node, "teleop", 1, 3) == [True, True], node.text
        os.close(slave)
        os.write(master, b"w")
        assert graph.spin_until(bench.held)
        hung_up = time.monotonic()
        os.close(master)
        assert graph.spin_until(bench.released)
        released = next(at for at, held in bench.deadman if not held and at > hung_up)
        assert released - hung_up < 3.0  # 0.05 s of heartbeat where the machine is not busy; a key is held for 5 s
        said = lambda: sum(not held for at, held in bench.deadman if at > hung_up)  # noqa: E731
        assert graph.spin_until(lambda: said() >= 5), "it is said, not only silent"
        assert graph.spin_until(lambda: node.process.poll() is not None)
        assert node.process.returncode == 0
    finally:
        node.close()


def joy(axes: dict[int, float] | None = None, buttons: tuple[int, ...] = ()) -> Any:
    from sensor_msgs.msg import Joy

    message = Joy(axes=[0.0] * 6, buttons=[0] * 21)
    for index, value in (axes or {}).items():
        message.axes[index] = value
    for index in buttons:
        message.buttons[index] = 1
    return message


def test_a_gamepad_that_repeats_itself_slowly_is_told_once(graph: Any) -> None:
    """joy's own 20 Hz: one message of two late and the switch is dropped, so a faster rate is asked for."""
    node, said = graph.node("teleop"), []
    node.declare_parameter("gamepad_layout", "game_controller")
    pad = attach(node, "joy", TeleopSettings())
    node.get_logger = lambda: SimpleNamespace(warning=said.append, error=said.append)
    for at_ms in range(0, 30 * 20, 20):
        pad._warn_if_slow(at_ms * 1_000_000)
    assert said == []
    for at_ms in range(1000, 1000 + 60 * 50, 50):
        pad._warn_if_slow(at_ms * 1_000_000)
    assert said == [
        "the gamepad speaks every 50 ms and counts as released after 70: one message that is late or lost drops the switch. "
        "Start its driver with -p autorepeat_rate:=50.0."
    ]


def test_a_gamepad_moves_while_its_deadman_is_held(bench: Bench, tmp_path: Path) -> None:
    from sensor_msgs.msg import Joy

    graph, sent = bench.graph, [joy()]
    publisher = bench.node.create_publisher(Joy, "joy", topics.newest())
    timer = bench.node.create_timer(0.02, lambda: publisher.publish(sent[0]))
    node = NodeProcess("teleop", DOMAIN, tmp_path, device="joy", robot="panda", timeout_s=0.2)
    try:
        assert change_state(graph, bench.node, "teleop", 1, 3) == [True, True], node.text
        assert graph.spin_until(bench.released)
        sent[0] = joy({1: 1.0})
        graph.spin_for(0.3)
        assert bench.poses == [], "a stick alone moves nothing"
        sent[0] = joy({1: 1.0}, (10,))
        assert graph.spin_until(lambda: len(bench.poses) > 8)
        assert bench.held()
        found = np.array([pose_of(m)[:3, 3] for m in bench.poses]) - ARM.fk(ARM.home_rad)[:3, 3]
        assert (np.diff(found[:, 0]) > 0).all()
        np.testing.assert_allclose(found[:, 1:], 0, atol=1e-6)
        elapsed = (nanoseconds(bench.poses[-1].header.stamp) - nanoseconds(bench.poses[0].header.stamp)) / NS
        assert (found[-1, 0] - found[0, 0]) / elapsed == pytest.approx(0.1, rel=0.3)  # max_speed_m_s
        sent[0] = joy({}, (6,))
        assert graph.spin_until(lambda: bench.asked == ["episode/start"] and bench.released())
        sent[0] = joy({1: 1.0}, (10,))
        assert graph.spin_until(bench.held)
        timer.cancel()
        silent = time.monotonic()
        assert graph.spin_until(bench.released)
        assert time.monotonic() - silent < 5.0  # timeout_s is 0.2 here
        beats = np.diff([at for at, _ in bench.deadman])
        assert np.median(beats) < 0.035, "heartbeat_hz is 50"
        publisher.publish(Joy(axes=[0.0], buttons=[1]))
        assert graph.spin_until(lambda: "the gamepad sends 1 axes" in node.text)
        assert node.end() == 0
    finally:
        node.close()


def test_a_spacemouse_moves_by_its_twist_and_buttons(bench: Bench, tmp_path: Path) -> None:
    from geometry_msgs.msg import Twist
    from sensor_msgs.msg import Joy

    graph, twist = bench.graph, Twist()
    twists = bench.node.create_publisher(Twist, "spacenav/twist", topics.newest())
    buttons = bench.node.create_publisher(Joy, "spacenav/joy", topics.recorded(10))
    bench.node.create_timer(0.03, lambda: twists.publish(twist))
    node = NodeProcess("teleop", DOMAIN, tmp_path, device="spacenav", robot="panda")
    try:
        assert change_state(graph, bench.node, "teleop", 1, 3) == [True, True], node.text
        assert graph.spin_until(bench.released)
        twist.linear.z = -1.0
        graph.spin_for(0.2)
        buttons.publish(Joy(buttons=[1]))
        assert graph.spin_until(lambda: len(bench.poses) > 5)
        assert pose_of(bench.poses[-1])[2, 3] < pose_of(bench.poses[0])[2, 3]
        buttons.publish(Joy(buttons=[0]))
        assert graph.spin_until(bench.released)
        assert "no hold-to-run switch" in node.text
    finally:
        node.close()


def test_with_a_scripted_operator_only_requests_are_served(bench: Bench, tmp_path: Path) -> None:
    from std_msgs.msg import String

    graph = bench.graph
    requests = bench.node.create_publisher(String, "teleop/request", topics.recorded(10))
    node = NodeProcess("teleop", DOMAIN, tmp_path, device="topic", robot="panda", window=True, window_port=0)
    try:
        assert change_state(graph, bench.node, "teleop", 1, 3) == [True, True], node.text
        for name in (topics.TELEOP_POSE, topics.TELEOP_GRIPPER, topics.DEADMAN):
            assert bench.node.count_publishers(name) == 0, "a second publisher would be a fault"
        assert graph.spin_until(lambda: requests.get_subscription_count() == 1)
        for word in ("start", "success", "dance", "release"):
            requests.publish(String(data=word))
        assert graph.spin_until(lambda: bench.asked == ["episode/start", "episode/end True", "takeover False"])
        assert "there is no request 'dance'" in node.text
        page = node.text.split("cameras: ")[1].split()[0]
        assert b"no frames yet" in urllib.request.urlopen(page, timeout=30).read()
        requests.publish(String(data="discard"))
        graph.spin_for(0.3)
        requests.publish(String(data="estop"))
        assert graph.spin_until(lambda: bench.estops == [True]), "a stop waits for nothing"
        assert graph.spin_until(lambda: bench.asked[-1] == "safety/estop_set True")
        assert node.end() == 0
    finally:
        node.close()


def test_mistakes_are_one_sentence_at_configure(bench: Bench, tmp_path: Path) -> None:
    node = NodeProcess("teleop", DOMAIN, tmp_path, device="keyboard", robot="panda")
    try:
        assert change_state(bench.graph, bench.node, "teleop", 1) == [False]
        assert "there is no terminal" in node.text
        assert "Traceback" not in node.text
    finally:
        node.close()


@pytest.mark.parametrize(
    ("kind", "words"), [("pedal", "device is 'pedal'"), ("joy", "there is no gamepad layout 'n64'")]
)
def test_a_device_there_is_not_is_one_sentence(graph: Any, kind: str, words: str) -> None:
    node = graph.node("wrong")
    node.declare_parameter("gamepad_layout", "n64")
    with pytest.raises(UserError, match=words):
        attach(node, kind, TeleopSettings())


@pytest.mark.parametrize("kind", ["keyboard", "spacenav"])
def test_a_policy_on_a_real_arm_is_let_run_by_what_is_held_alone(graph: Any, kind: str) -> None:
    node = graph.node("operator")
    node.declare_parameter("gamepad_layout", "game_controller")
    with pytest.raises(UserError, match=f"{kind} is no hold-to-run switch.*teleop:=joy"):
        attach(node, kind, TeleopSettings(), held=True)
    assert not list(node.subscriptions)
    attached = attach(node, "joy", TeleopSettings(), held=True)
    assert attached is not None
    assert attached.device.hold_to_run
    assert attach(node, "topic", TeleopSettings(), held=True) is None


# parts


def test_commands_are_heard_in_either_order_and_half_ones_are_not(graph: Any) -> None:
    heard: list[JointCommand] = []

    class Listening(Hand):
        def executed(self, command: JointCommand) -> bool:
            heard.append(command)
            return True

    watch = ArmWatch(graph.node("watch"), ARM, Listening(Keyboard()))
    q, T = np.asarray(ARM.home_rad), ARM.fk(ARM.home_rad)
    for i, order in enumerate((("pose", "joints"), ("joints", "pose"))):
        joints, pose = command_messages(JointCommand(NS + i, q, 0.5, T), "base_link", ARM.joint_names, 0.1)
        for half in order:
            watch._on_half(half, {"pose": pose, "joints": joints}[half])
    assert [c.stamp_ns for c in heard] == [NS, NS + 1]
    np.testing.assert_array_equal(heard[0].q, q)
    for i in range(50):
        watch._on_half("pose", pose_message(2 * NS + i, "base_link", T))
    assert len(heard) == 2
    assert len(watch._halves) <= 9
    joints, pose = command_messages(JointCommand(3 * NS, q, 0.5, T), "base_link", ["elbow"], 0.1)
    for half, message in (("pose", pose), ("joints", joints)):
        watch._on_half(half, message)
    watch._readings._on_joints(joint_state_message(NS, ARM.joint_names[:2], q[:2]))
    assert (len(heard), watch.state) == (2, None)


def test_the_page_shows_the_newest_frame_of_each_camera_to_this_machine_alone() -> None:
    page = CameraPage(0)
    try:
        frames = [encode_jpeg(np.full((8, 8, 3), value, np.uint8)) for value in (10, 200)]
        page.show("wrist", frames[0])
        assert b'src="/camera/wrist"' in urllib.request.urlopen(page.address, timeout=30).read()
        with urllib.request.urlopen(f"{page.address}camera/wrist", timeout=30) as stream:
            assert "multipart/x-mixed-replace" in stream.headers["Content-Type"]
            for frame in frames:
                page.show("wrist", frame)
                head = b"".join(iter(stream.readline, b"\r\n"))
                assert f"Content-Length: {len(frame)}".encode() in head
                assert stream.read(len(frame)) == frame
                assert stream.readline() == b"\r\n"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{page.address}camera/none", timeout=30)
        foreign = urllib.request.Request(page.address, headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(foreign, timeout=30)
        with pytest.raises(UserError, match="set window_port"):
            CameraPage(page.port)
    finally:
        page.close()
