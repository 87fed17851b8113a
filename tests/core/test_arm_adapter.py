"""ArmAdapter with a driver that keeps what it is told: when it follows, when it moves by itself, when it refuses and in which words."""

import numpy as np
import pytest

from robot_pt import robots
from robot_pt.arm_adapter import AdapterSettings, ArmAdapter
from robot_pt.arm_guard import ArmGuard
from robot_pt.commands import Answer, JointCommand
from robot_pt.errors import UserError

NS = 1_000_000_000
EPOCH = 1_700_000_000 * NS
TICK = NS // 50


class Recorder:
    """Goes at once where it is sent."""

    def __init__(self):
        self.sent, self.words, self.broken, self.unready = [], [], "", ""

    def poll(self, now_ns):
        self.words.append("poll")

    def trouble(self):
        return self.unready

    def fault(self):
        return self.broken

    def send(self, command):
        self.sent.append(command)

    def hold(self):
        self.words.append("hold")

    def farewell(self):
        self.words.append("farewell")

    def torque(self, on):
        self.words.append(f"torque {on}")
        return Answer(True, "switched.")

    def values(self):
        return {"driver": "recorder"}


class Bench:
    """An adapter, its driver and a clock; the arm is where it was sent last unless `stuck`."""

    def __init__(self, q=None, active=True):
        self.arm, self.driver, self.now = robots.load("wx250s"), Recorder(), NS
        self.adapter = ArmAdapter(self.arm, self.driver, ArmGuard(self.arm))
        self.q = self.arm.home_rad.copy() if q is None else np.asarray(q, float)
        self.stuck, self.states, self.mode = False, True, "disarmed"
        if active:
            self.adapter.activate()
        self.run(0.5)

    def run(self, seconds, command=None):
        for _ in range(int(seconds * 50)):
            self.now += TICK
            if self.states:
                self.adapter.state(self.now, self.q, 1.0)
            if self.mode:
                self.adapter.mode(self.now, self.mode)
            if command is not None:
                self.offer(command)
            self.adapter.tick(self.now)
            if self.driver.sent and not self.stuck:
                self.q = self.driver.sent[-1].q

    def offer(self, q):
        stamp = EPOCH + self.now
        self.adapter.command(self.now, stamp, JointCommand(stamp, np.asarray(q), 0.5, self.arm.fk(q)))

    def sentence(self):
        return self.adapter.status(self.now)[1]


def test_it_follows_commands_and_holds_in_silence() -> None:
    bench = Bench()
    goal = bench.q + 0.05
    bench.run(0.2, goal)
    np.testing.assert_array_equal(bench.driver.sent[-1].q, goal)
    assert bench.adapter.status(bench.now)[:2] == (True, "following.")
    count = len(bench.driver.sent)
    bench.run(0.5)
    assert len(bench.driver.sent) == count
    assert bench.driver.words[-1] == "hold"
    assert "no command has come" in bench.sentence()


def test_nothing_is_followed_before_activation_after_deactivation_or_farewell() -> None:
    bench = Bench(active=False)
    bench.run(0.2, bench.q)
    assert not bench.driver.sent
    assert bench.sentence() == "the arm node is not active."
    assert "not active" in bench.adapter.move_to(bench.now, "home").sentence
    bench.adapter.activate()
    bench.run(0.2, bench.q)
    assert bench.driver.sent
    bench.adapter.deactivate("the arm node was deactivated.")
    count = len(bench.driver.sent)
    bench.run(0.2, bench.q)
    assert len(bench.driver.sent) == count
    bench.adapter.leave()
    bench.adapter.leave()
    assert bench.driver.words.count("farewell") == 1


@pytest.mark.parametrize("kind", ["broken", "unready"])
def test_a_driver_in_trouble_moves_nothing_and_is_quoted(kind: str) -> None:
    bench = Bench()
    setattr(bench.driver, kind, "the elbow is overloaded.")
    bench.run(0.2, bench.q)
    assert not bench.driver.sent
    assert bench.adapter.status(bench.now)[:2] == (False, "the elbow is overloaded.")
    assert bench.adapter.fault() == (bench.driver.broken and "the elbow is overloaded.")
    assert bench.adapter.move_to(bench.now, "home").sentence == "the elbow is overloaded."
    setattr(bench.driver, kind, "")
    bench.run(0.2, bench.q)
    assert bench.driver.sent


def test_home_and_sleep_are_slow_watched_motions() -> None:
    bench = Bench(q=[0.3, -1.2, 1.2, 0.1, 0.2, 0.0])
    answer = bench.adapter.move_to(bench.now, "home")
    assert answer.ok
    bench.run(0.2)
    assert bench.sentence() == "on the way to home."
    bench.run(4)
    np.testing.assert_array_equal(bench.q, bench.arm.home_rad)
    steps = np.diff([c.q for c in bench.driver.sent], axis=0)
    assert np.abs(steps).max() <= 0.4 / 50 + 1e-9
    for command in bench.driver.sent[:: len(bench.driver.sent) // 5]:
        np.testing.assert_allclose(command.T_base_tool, bench.arm.fk(command.q))
        assert command.gripper == 1.0
    assert "home arrived" in bench.adapter.status(bench.now)[2]["motion"]
    assert bench.adapter.move_to(bench.now, "sleep").ok
    bench.run(8)
    np.testing.assert_array_equal(bench.q, bench.arm.sleep_rad)


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("armed", "the supervisor is in hold"),
        ("silent", "the supervisor is not heard"),
        ("states", "no fresh joint states"),
        ("stuck", "is stalled or touches something"),
        ("fault", "the elbow is overloaded"),
        ("command", "the supervisor"),
        ("rival", "somebody besides the supervisor"),
        ("deactivated", "the arm node was deactivated"),
    ],
)
def test_what_ends_a_motion_and_that_it_then_stands(cause: str, words: str) -> None:
    bench = Bench(q=[1.5, -1.2, 1.2, 0.1, 0.2, 0.0])
    assert bench.adapter.move_to(bench.now, "home").ok
    bench.run(0.5)
    match cause:
        case "armed":
            bench.mode = "hold"
        case "silent":
            bench.mode = ""
        case "states":
            bench.states = False
        case "stuck":
            bench.stuck = True
        case "fault":
            bench.driver.broken = "the elbow is overloaded."
        case "command":
            bench.now += 1
            bench.offer(bench.q)
        case "rival":
            bench.adapter.guard.publishers(["x"], "supervisor")
        case "deactivated":
            bench.adapter.deactivate("the arm node was deactivated.")
    bench.run(2)
    count = len(bench.driver.sent)
    bench.run(0.5)
    assert len(bench.driver.sent) == count
    well, sentence, values = bench.adapter.status(bench.now)
    assert not well
    assert "home stopped" in values["motion"]
    assert words in sentence


def test_motions_and_torque_are_refused_with_their_reason() -> None:
    bench = Bench()
    for mode, words in (("policy", "in policy; disarm it first"), ("fault", "in fault; disarm it first")):
        bench.mode = mode
        bench.run(0.1)
        for answer in (bench.adapter.move_to(bench.now, "sleep"), bench.adapter.torque(bench.now, False)):
            assert not answer.ok
            assert words in answer.sentence
    bench.mode = ""
    bench.run(2)
    assert "not heard" in bench.adapter.torque(bench.now, True).sentence
    bench.mode, bench.states = "disarmed", False
    bench.run(1)
    assert "no fresh joint states" in bench.adapter.move_to(bench.now, "home").sentence


def test_while_commands_still_come_the_arm_is_not_moved_otherwise() -> None:
    """The mode is said twice a second: it may be older than the first command after arming."""
    bench = Bench()
    bench.run(0.1, bench.q)
    assert not bench.adapter.move_to(bench.now, "sleep").ok


def test_a_moving_arm_is_waited_for() -> None:
    bench = Bench()
    for _ in range(20):
        bench.q = bench.q + 0.01
        bench.run(0.02)
    assert "wait until it is at rest" in bench.adapter.move_to(bench.now, "home").sentence


def test_torque_is_switched_off_in_the_sleep_pose_alone() -> None:
    bench = Bench()
    assert "the arm would fall" in bench.adapter.torque(bench.now, False).sentence
    assert "torque False" not in bench.driver.words
    bench = Bench(q=bench.arm.sleep_rad + 0.08)
    assert bench.adapter.torque(bench.now, False).ok
    assert bench.driver.words[-1] == "torque False"
    bench = Bench()
    assert bench.adapter.torque(bench.now, True).ok


def test_a_way_through_the_table_is_refused() -> None:
    bench = Bench(q=[0, 1.4, -1.9, 0, -0.8, 0])
    bench.arm.sleep_rad = np.array([0, 1.4, 1.6, 0, 0.7, 0])
    assert "the floor is at 0.00 m" in bench.adapter.move_to(bench.now, "sleep").sentence
    assert not bench.driver.sent


@pytest.mark.parametrize(
    "changes",
    [
        {"reset_speed_rad_s": 0.0},
        {"reset_speed_rad_s": 1.5},
        {"max_tracking_error_rad": float("nan")},
        {"floor_m": 3.0},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(changes) -> None:
    with pytest.raises(UserError, match="reset_speed_rad_s is"):
        AdapterSettings(**changes)
