"""What the operator holds, attached to a node: its events go to the pure devices of `robot_pt.teleop`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import numpy as np
from geometry_msgs.msg import Twist
from rclpy.node import Node
from sensor_msgs.msg import Joy

from robot_pt.errors import UserError
from robot_pt.teleop import Device, Gamepad, Keyboard, SpaceMouse, TeleopSettings
from robot_pt_ros import topics
from robot_pt_ros.node import text
from robot_pt_ros.terminal import Terminal

DEVICES = ("keyboard", "joy", "spacenav", "topic")
_PURE: dict[str, type[Device]] = {"keyboard": Keyboard, "joy": Gamepad, "spacenav": SpaceMouse}


class Attached(Protocol):
    """A device whose events arrive by themselves."""

    hung_up: bool
    """Whoever held it is gone for good."""

    @property
    def device(self) -> Device: ...

    def close(self) -> None:
        """Release it and give back what it took."""
        ...


def attach(node: Node, kind: str, settings: TeleopSettings, *, held: bool = False) -> Attached | None:
    """The device of that kind; None for "topic", where an operator in another process publishes the teleop topics itself.

    `held`: it lets a policy move a real arm. Raises UserError for a kind there is not, or a device that cannot be used for that.
    """
    makers: dict[str, Callable[[], Attached | None]] = {
        "keyboard": partial(KeyboardInput, node, settings),
        "joy": partial(GamepadInput, node, settings),
        "spacenav": partial(SpaceMouseInput, node, settings),
        "topic": lambda: None,
    }
    if kind not in makers:
        raise UserError(f"device is {kind!r}; choose one of {', '.join(DEVICES)}.")
    if held and kind in _PURE and not _PURE[kind].hold_to_run:
        raise UserError(
            f"{kind} is no hold-to-run switch, and here a policy moves a real arm; take teleop:=joy, or leave the policy out."
        )
    return makers[kind]()


class KeyboardInput:
    """Keys of this process's terminal."""

    def __init__(self, node: Node, settings: TeleopSettings):
        self.device: Keyboard = Keyboard(settings)
        self.hung_up = False
        self._node = node
        self._keys: deque[tuple[bytes, int]] = deque()
        self._arrived = node.create_guard_condition(self._feed)
        self._terminal = Terminal(self._heard)
        self._terminal.show(self.device.legend())

    def _heard(self, data: bytes, at_ns: int) -> None:
        self._keys.append((data, at_ns))
        self._arrived.trigger()

    def _feed(self) -> None:
        while self._keys:
            data, at_ns = self._keys.popleft()
            self.device.feed(data, at_ns)
            self.hung_up = self.hung_up or not data
        if self.device.closed:
            self._node.get_logger().warning("the terminal is closed: the arm is released.", once=True)

    def close(self) -> None:
        self.device.hang_up()
        self._terminal.close()
        self._node.destroy_guard_condition(self._arrived)


class GamepadInput:
    """`joy` messages; as many buttons and axes as the layout needs, or one sentence."""

    def __init__(self, node: Node, settings: TeleopSettings):
        self.device: Gamepad = Gamepad(text(node, "gamepad_layout"), settings)
        self.hung_up = False
        self._node = node
        self._longest_ns, self._said = settings.timeout_s * 1e9, False
        self._heard: list[int] = []
        every = topics.sampled()
        every.depth = 10  # a press must not be overtaken by its release
        node.create_subscription(Joy, "joy", self._on_joy, every)

    def _on_joy(self, message: Any) -> None:
        now = time.monotonic_ns()
        try:
            self.device.joy(message.axes, message.buttons, now)
        except UserError as error:
            self._node.get_logger().error(str(error), throttle_duration_sec=5.0)
        self._warn_if_slow(now)

    def _warn_if_slow(self, now_ns: int) -> None:
        """Once: a driver that repeats itself just within the timeout drops the switch whenever one message is late."""
        if self._said:
            return
        self._heard.append(now_ns)
        if len(self._heard) <= 20:
            return
        interval = float(np.median(np.diff(self._heard)))
        self._heard.clear()
        if interval > self._longest_ns / 2:
            self._said = True
            self._node.get_logger().warning(
                f"the gamepad speaks every {interval / 1e6:.0f} ms and counts as released after {self._longest_ns / 1e6:.0f}: one message "
                "that is late or lost drops the switch. Start its driver with -p autorepeat_rate:=50.0."
            )

    def close(self) -> None:
        """Nothing is held."""


class SpaceMouseInput:
    """`spacenav/twist` and `spacenav/joy`."""

    def __init__(self, node: Node, settings: TeleopSettings):
        self.device: SpaceMouse = SpaceMouse(settings)
        self.hung_up = False
        node.create_subscription(Twist, "spacenav/twist", self._on_twist, topics.sampled())
        node.create_subscription(Joy, "spacenav/joy", self._on_joy, topics.recorded(10))

    def _on_twist(self, message: Any) -> None:
        linear, angular = message.linear, message.angular
        now = time.monotonic_ns()
        self.device.twist((linear.x, linear.y, linear.z), (angular.x, angular.y, angular.z), now)

    def _on_joy(self, message: Any) -> None:
        self.device.joy(message.buttons, time.monotonic_ns())

    def close(self) -> None:
        """Nothing is held."""
