import numpy as np
import pytest

from robot_pt.errors import UserError
from robot_pt.teleop import MEANINGS, SpaceMouse

MS = 1_000_000


class Puck:
    """A device as its driver shows it: twists all the time, buttons only when one changes."""

    def __init__(self):
        self.device, self.now = SpaceMouse(), 1_000 * MS
        self.rest()

    def cap(self, *values, times=1):
        for _ in range(times):
            self.now += 30 * MS
            self.device.twist(values[:3], values[3:], self.now)

    def rest(self, times=1):
        self.cap(0, 0, 0, 0, 0, 0, times=times)


@pytest.fixture
def puck():
    return Puck()


def test_the_cap_moves_the_arm_while_the_left_button_is_held(puck):
    puck.cap(1, 0, 0, 0, 0, -1)
    assert not puck.device.motion(puck.now, 0.1).any()
    puck.device.joy([1], puck.now)
    puck.cap(1, 0, 0, 0, 0, -1)
    np.testing.assert_allclose(puck.device.motion(puck.now, 0.1), [0.01, 0, 0, 0, 0, -0.05])
    puck.device.joy([], puck.now)  # a message of a motion names no button
    puck.cap(1, 0, 0, 0, 0, 0)
    assert puck.device.held(puck.now)
    puck.device.joy([0], puck.now)
    assert not puck.device.held(puck.now)


def test_a_cap_at_rest_releases_for_its_driver_never_says_that_it_is_unplugged(puck):
    puck.device.joy([1], puck.now)
    puck.cap(0.5, 0, 0, 0, 0, 0)
    puck.rest(times=33)
    assert puck.device.held(puck.now)
    puck.rest()
    assert not puck.device.held(puck.now)
    assert not SpaceMouse.hold_to_run


def test_a_silent_driver_releases(puck):
    puck.device.joy([1], puck.now)
    puck.cap(0.5, 0, 0, 0, 0, 0)
    assert puck.device.held(puck.now + 200 * MS)
    assert not puck.device.held(puck.now + 201 * MS)


def test_the_right_button_is_the_gripper(puck):
    puck.device.joy([0, 1], puck.now)
    puck.device.joy([0, 0], puck.now)
    puck.device.joy([0, 1], puck.now)
    assert puck.device.requests() == ("gripper", "gripper")
    assert MEANINGS["gripper"] in puck.device.legend()


@pytest.mark.parametrize("wrong", [np.nan, -np.inf])
def test_a_deflection_that_is_no_number_releases(puck, wrong):
    puck.device.joy([1], puck.now)
    puck.cap(0.5, 0, 0, 0, 0, 0)
    puck.cap(0.5, wrong, 0, 0, 0, 0)
    assert puck.device.malformed == 1
    assert not puck.device.held(puck.now)
    puck.cap(0.5, 0, 0, 0, 0, 0)
    assert not puck.device.held(puck.now)


def test_a_deflection_of_another_size_is_told(puck):
    puck.device.joy([1], puck.now)
    with pytest.raises(UserError, match="3 linear and 3 angular"):
        puck.device.twist([0.0, 0.0], [0.0, 0.0, 0.0], puck.now)
    assert not puck.device.held(puck.now)
