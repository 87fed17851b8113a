"""The sentence that a policy with language acts by: `prompt`, or in simulation what the simulator says its task is.

A task's name is none: a policy acts by the words it was trained on.
"""

from __future__ import annotations

from typing import Any

from rclpy.node import Node
from std_msgs.msg import String

from robot_pt.errors import UserError
from robot_pt_ros import topics
from robot_pt_ros.node import flag, text


class Prompt:
    """Read anew at every start. `hears` of a policy is whether an instruction changes what it does; one without it hears none."""

    def __init__(self, node: Node):
        self._node, self._simulated, self._told = node, flag(node, "simulated"), ""
        if self._simulated:
            node.create_subscription(String, topics.INSTRUCTION, self._on_instruction, topics.latched())

    def _on_instruction(self, message: Any) -> None:
        self._told = message.data

    def require(self, policy: Any) -> None:
        """Raises UserError for a policy with language where nobody will say what to do."""
        given = text(self._node, "prompt")
        if not _hears(policy):
            if given:
                self._node.get_logger().warning(f"prompt {given!r}: the policy was trained without --language.")
        elif not (given or self._simulated):
            raise UserError(
                "the policy was trained with --language and acts by a sentence; give it in the words of its demonstrations, "
                "e.g. prompt:='lift the red cube'."
            )

    def sentence(self, policy: Any) -> str | None:
        """For the episode that begins now; None for a policy without language. Raises UserError where it is not known yet."""
        if not _hears(policy):
            return None
        sentence = text(self._node, "prompt") or self._told
        if not sentence:
            raise UserError(
                "the simulator has not said yet what its task is in words; start again, or give prompt:='...'."
            )
        return sentence


def _hears(policy: Any) -> bool:
    return bool(getattr(policy, "hears", False))
