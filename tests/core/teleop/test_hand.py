import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.commands import ArmState, JointCommand
from robot_pt.teleop import Gamepad, Hand, Keyboard, TeleopSettings

MS = 1_000_000
EPOCH = 1_700_000_000_000 * MS  # stamps are made with another clock than events
TICK = 50 * MS


def pose(x=0.3, y=0.0, z=0.2):
    out = np.eye(4)
    out[:3, 3] = x, y, z
    return out


class Desk:
    """An operator, a hand and an arm that is where the last command put it, or `sag` below."""

    def __init__(self, device, sag=0.0, gate=True, **settings):
        self.hand, self.now = Hand(device, TeleopSettings(**settings)), 1_000 * MS
        self.device, self.sag, self.gate = device, sag, gate
        self.at, self.opening, self.targets = pose(), 1.0, []
        self.log = []

    @property
    def stamp(self):
        return EPOCH + self.now

    def tick(self, times=1, age_ns=0):
        for _ in range(times):
            self.now += TICK
            if self.gate:
                self.hand.executed(JointCommand(self.stamp - 20 * MS, np.zeros(6), self.opening, self.at))
            measured = self.at.copy()
            measured[2, 3] -= self.sag
            target = self.hand.tick(
                self.now, self.stamp, ArmState(self.stamp - age_ns, np.zeros(6), self.opening), measured
            )
            self.log.append(target)
            if target is not None:
                self.targets.append(target)
                self.at, self.opening = target.T_base_tool, target.gripper
                if self.gate:
                    self.hand.applied(target)


class Pad(Desk):
    """The same with a gamepad that repeats its state at every tick."""

    def __init__(self, **changes):
        super().__init__(Gamepad(), **{"dead_zone": 0.0, **changes})
        self.axes, self.buttons = [0.0] * 6, [0] * 15
        self.tick()

    def tick(self, times=1, **changes):
        for _ in range(times):
            self.device.joy(self.axes, self.buttons, self.now + TICK)
            super().tick(**changes)


def test_a_key_press_is_one_target_one_step_away():
    desk = Desk(Keyboard())
    desk.tick()
    desk.device.feed(b"w", desk.now)
    assert desk.hand.deadman(desk.now)
    desk.tick(20)
    assert not desk.hand.deadman(desk.now)
    assert len(desk.targets) == 1
    np.testing.assert_allclose(desk.targets[0].T_base_tool, pose(0.31), atol=1e-12)
    assert desk.targets[0].observation_ns == 0


def test_the_deadman_is_heard_before_the_target():
    desk = Desk(Keyboard())
    desk.tick()
    desk.device.feed(b"w", desk.now)
    desk.tick(5)
    first = next(k for k, target in enumerate(desk.log) if target is not None)
    assert (first - 1) * TICK >= 100 * MS


def test_steps_do_not_sink_by_the_sag_of_the_arm():
    desk = Desk(Keyboard(), sag=0.004)
    for _ in range(10):
        desk.tick(20)
        desk.device.feed(b"w", desk.now)
    desk.tick(20)
    np.testing.assert_allclose(desk.at, pose(0.4), atol=1e-9)


def test_without_a_gate_an_engagement_starts_from_the_measured_pose():
    desk = Desk(Keyboard(), sag=0.004, gate=False)
    desk.tick()
    desk.device.feed(b"w", desk.now)
    desk.tick(10)
    np.testing.assert_allclose(desk.targets[0].T_base_tool, pose(0.31, z=0.196), atol=1e-12)


def test_every_engagement_starts_anew_from_where_the_arm_is():
    desk = Desk(Keyboard(), gate=False)
    desk.tick()
    desk.device.feed(b"w", desk.now)
    desk.tick(20)
    desk.at = pose(0.5, 0.2)  # a policy moved it meanwhile
    desk.device.feed(b"w", desk.now)
    desk.tick(20)
    np.testing.assert_allclose(desk.targets[-1].T_base_tool, pose(0.51, 0.2), atol=1e-12)


def test_sticks_held_for_a_second_travel_their_speed_and_stamps_rise():
    desk = Pad()
    desk.buttons[10] = 1
    desk.tick(3)
    desk.axes[1] = 1.0
    desk.tick(20)
    np.testing.assert_allclose(desk.at[0, 3], 0.4, atol=1e-9)
    stamps = [target.stamp_ns for target in desk.targets]
    assert stamps == sorted(set(stamps))


def test_holding_still_asks_for_nothing_so_that_a_policy_may_run():
    desk = Pad()
    desk.buttons[10] = 1
    desk.tick(40)
    assert desk.hand.deadman(desk.now)
    assert desk.targets == []


def test_letting_go_ends_it_at_once():
    desk = Pad()
    desk.buttons[10], desk.axes[1] = 1, 1.0
    desk.tick(10)
    count = len(desk.targets)
    desk.buttons[10] = 0
    desk.tick(10)
    assert len(desk.targets) == count


def test_a_pause_of_the_loop_is_no_leap():
    desk = Pad()
    desk.buttons[10], desk.axes[1] = 1, 1.0
    desk.tick(5)
    before = desk.at[0, 3]
    desk.now += 150 * MS  # within the device's timeout
    desk.tick()
    assert desk.at[0, 3] - before <= 0.1 * 0.1 + 1e-9


def test_the_gripper_toggles_from_what_was_commanded_not_from_what_it_holds():
    desk = Pad()
    desk.opening = 0.0  # commanded closed on an object; the fingers stand at 0.4
    desk.buttons[10], desk.axes[1] = 1, 0.5
    for _ in range(4):
        desk.device.joy(desk.axes, desk.buttons, desk.now + TICK)
        desk.now += TICK
        desk.hand.executed(JointCommand(desk.stamp - 20 * MS, np.zeros(6), 0.0, desk.at))
        target = desk.hand.tick(desk.now, desk.stamp, ArmState(desk.stamp, np.zeros(6), 0.4), desk.at)
    assert target.gripper == 0.0
    desk.axes[1] = 0.0
    desk.buttons[0] = 1
    desk.tick()
    assert desk.targets[-1].gripper == 1.0
    desk.buttons[0] = 0
    desk.tick()
    desk.buttons[0] = 1
    desk.tick()
    assert [target.gripper for target in desk.targets] == [1.0, 0.0]


def test_a_gripper_key_alone_is_a_target_in_place():
    desk = Desk(Keyboard())
    desk.tick()
    desk.device.feed(b"g", desk.now)
    desk.tick(10)
    assert [target.gripper for target in desk.targets] == [0.0]
    np.testing.assert_allclose(desk.targets[0].T_base_tool, pose())


def test_a_gripper_asked_for_with_the_deadman_open_is_not_made_up_for_later():
    desk = Pad()
    desk.buttons[0] = 1
    desk.tick(3)
    desk.buttons[0], desk.buttons[10] = 0, 1
    desk.tick(10)
    assert desk.targets == []


@pytest.mark.parametrize("age_ns", [101 * MS, -101 * MS])
def test_nothing_is_built_on_joints_that_are_old_or_from_another_clock(age_ns):
    desk = Pad()
    desk.buttons[10], desk.axes[1] = 1, 1.0
    desk.tick(10, age_ns=age_ns)
    assert desk.targets == []


def test_a_pose_that_is_no_number_moves_nothing():
    desk = Pad()
    desk.buttons[10], desk.axes[1] = 1, 1.0
    desk.at = pose(np.nan)
    desk.gate = False
    desk.tick(10)
    assert desk.targets == []


def test_requests_come_once_with_the_stop_first():
    desk = Desk(Keyboard())
    desk.device.feed(b"1g3 ", desk.now)
    assert desk.hand.requests() == ("estop", "start", "success")
    assert desk.hand.requests() == ()


def test_a_wall_of_the_gate_does_not_wind_up():
    desk = Pad()
    desk.buttons[10], desk.axes[1] = 1, 1.0
    for _ in range(40):
        desk.device.joy(desk.axes, desk.buttons, desk.now + TICK)
        desk.now += TICK
        target = desk.hand.tick(desk.now, desk.stamp, ArmState(desk.stamp, np.zeros(6), 1.0), desk.at)
        if target is not None:
            desk.at = pose(min(target.T_base_tool[0, 3], 0.31))
            desk.hand.applied(target._replace(T_base_tool=desk.at))
            assert target.T_base_tool[0, 3] <= 0.31 + 0.0051


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 400), st.floats(-1, 1), st.floats(-1, 1), st.booleans()), max_size=30))
def test_targets_are_never_further_apart_than_speed_and_time_allow(moves):
    desk = Pad()
    for wait, x, yaw, held in moves:
        desk.axes[1], desk.axes[2], desk.buttons[10] = x, yaw, int(held)
        desk.now += wait * MS
        before = desk.at
        count = len(desk.targets)
        desk.tick()
        assert np.linalg.norm(desk.at[:3, 3] - before[:3, 3]) <= 0.1 * 0.1 + 1e-9
        assert held or len(desk.targets) == count
