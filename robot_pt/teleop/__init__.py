"""Teleoperation: what a keyboard, a gamepad or a SpaceMouse says -> pose targets, a deadman, and requests. Pure, no ROS.

hand = Hand(Gamepad("game_controller"))
hand.device.joy(axes, buttons, now_ns)                       # as messages come
target = hand.tick(now_ns, stamp_ns, state, arm.fk(state.q))  # 20 times a second; None = nothing is asked for
hand.deadman(now_ns); hand.requests()
"""

from robot_pt.teleop.device import MEANINGS, Device, Request, TeleopSettings
from robot_pt.teleop.gamepad import LAYOUTS, Gamepad
from robot_pt.teleop.hand import Hand
from robot_pt.teleop.keyboard import Keyboard
from robot_pt.teleop.spacemouse import SpaceMouse

__all__ = ["LAYOUTS", "MEANINGS", "Device", "Gamepad", "Hand", "Keyboard", "Request", "SpaceMouse", "TeleopSettings"]
