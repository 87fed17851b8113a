import numpy as np
import pytest

from robot_pt.errors import UserError
from robot_pt.teleop import LAYOUTS, MEANINGS, Gamepad, TeleopSettings
from robot_pt.teleop.gamepad import REQUESTS

MS = 1_000_000
LAYOUT_NAMES = list(LAYOUTS)


class Pad:
    """A gamepad whose driver repeats its state every 50 ms."""

    def __init__(self, layout="game_controller", **settings):
        self.device, self.now = Gamepad(layout, TeleopSettings(**settings)), 1_000 * MS
        self.layout = LAYOUTS[layout]
        axes, buttons = self.layout.needs
        self.axes, self.buttons = [0.0] * axes, [0] * buttons
        self.send()

    def send(self, times=1):
        for _ in range(times):
            self.now += 50 * MS
            self.device.joy(self.axes, self.buttons, self.now)

    def press(self, name, down=True):
        self.buttons[self.layout.buttons[name]] = int(down)
        self.send()


@pytest.fixture(params=LAYOUT_NAMES)
def pad(request):
    return Pad(request.param, dead_zone=0.0)


@pytest.mark.parametrize(
    ("stick", "axis", "turning", "index", "sign"),
    [
        ("left", 1, False, 0, 1), ("left", 0, False, 1, 1), ("right", 1, False, 2, 1), ("right", 0, False, 5, 1),
        ("left", 0, True, 3, -1), ("left", 1, True, 4, 1),
    ],
)  # fmt: skip
def test_sticks_move_along_their_axes_at_the_set_speed(pad, stick, axis, turning, index, sign):
    pad.press("RB")
    if turning:
        pad.press("LB")
    pad.axes[getattr(pad.layout, stick)[axis]] = 0.5
    pad.send()
    expected = np.zeros(6)
    expected[index] = sign * 0.5 * (0.1 if index < 3 else 0.5) * 0.05
    np.testing.assert_allclose(pad.device.motion(pad.now, 0.05), expected, atol=1e-12)


def test_nothing_moves_unless_the_deadman_is_held(pad):
    pad.axes[pad.layout.left[1]] = 1.0
    pad.send(3)
    assert not pad.device.held(pad.now)
    assert not pad.device.motion(pad.now, 0.05).any()
    pad.press("RB")
    assert pad.device.motion(pad.now, 0.05)[0] > 0
    pad.press("RB", down=False)
    assert not pad.device.held(pad.now)
    assert not pad.device.motion(pad.now, 0.05).any()
    assert Gamepad.hold_to_run


def test_a_pulled_cable_releases_and_a_button_that_was_down_before_does_not_hold_after(pad):
    pad.press("RB")
    assert not pad.device.held(pad.now + 201 * MS)
    pad.now += 3_000 * MS
    pad.send(3)  # drivers repeat the state from before
    assert not pad.device.held(pad.now)
    pad.press("RB", down=False)
    pad.press("RB")
    assert pad.device.held(pad.now)


def test_buttons_ask_once_per_press(pad):
    for name, request in REQUESTS.items():
        if name in pad.layout.buttons:
            pad.press(name)
            pad.send(2)
            pad.press(name, down=False)
            assert pad.device.requests() == (request,)
    assert pad.device.requests() == ()


def test_a_cross_of_axes_asks_like_one_of_buttons():
    pad = Pad("xbox")
    sideways, up = LAYOUTS["xbox"].hat
    for axis, value, request in ((up, 1.0, "keep"), (up, -1.0, "discard"), (sideways, 1.0, "redo")):
        pad.axes[axis] = value
        pad.send(2)
        pad.axes[axis] = 0.0
        pad.send()
        assert pad.device.requests() == (request,)


def test_every_request_has_its_button_and_the_legend_names_them():
    assert set(REQUESTS.values()) == set(MEANINGS)
    legend = Gamepad().legend()
    for name, request in REQUESTS.items():
        assert any(line.startswith(name) and MEANINGS[request] in line for line in legend.splitlines())


@pytest.mark.parametrize(("axes", "buttons"), [(2, 30), (30, 2), (0, 0)])
def test_a_gamepad_of_another_layout_is_released_and_told_in_one_sentence(axes, buttons):
    pad = Pad()
    pad.press("RB")
    with pytest.raises(UserError, match="set gamepad_layout to one of game_controller, xbox") as raised:
        pad.device.joy([0.0] * axes, [1] * buttons, pad.now)
    assert f"{axes} axes and {buttons} buttons" in str(raised.value)
    assert not pad.device.held(pad.now)


def test_a_layout_that_is_not_known_is_refused():
    with pytest.raises(UserError, match=r"'ps9'.*game_controller, xbox"):
        Gamepad("ps9")


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_an_axis_that_is_no_number_releases(wrong):
    pad = Pad()
    pad.press("RB")
    pad.axes[0] = wrong
    pad.send()
    assert pad.device.malformed == 1
    assert not pad.device.held(pad.now)
    pad.axes[0] = 0.0
    pad.send()
    assert not pad.device.held(pad.now)  # it must be pressed anew


def test_beyond_the_range_of_a_stick_is_full_speed():
    pad = Pad(dead_zone=0.0)
    pad.press("RB")
    pad.axes[1] = 40.0
    pad.send()
    np.testing.assert_allclose(pad.device.motion(pad.now, 0.1)[0], 0.01)
