"""What an operator's request means in services, what the operator hears back, and the e-stop."""

from __future__ import annotations

from typing import Any, get_args

from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node
from std_msgs.msg import Bool, String

from robot_pt.teleop import Request
from robot_pt_ros import topics
from robot_pt_ros.calls import Call
from robot_pt_ros.errands import Errands

TRIGGERS = (
    "episode/start",
    "episode/stop",
    "episode/keep",
    "episode/discard",
    "episode/redo",
    "safety/arm",
    "online/confirm",
)
SWITCHES = ("episode/end", "takeover", "safety/estop_set")

CALLS: dict[str, tuple[Call, ...]] = {
    **{name: (Call(f"episode/{name}"),) for name in ("start", "stop", "keep", "discard", "redo")},
    "success": (Call("episode/end", True),),
    "failure": (Call("episode/end", False),),
    "takeover": (Call("safety/arm"), Call("takeover", True)),
    "release": (Call("takeover", False),),
    "estop": (Call("safety/estop_set", True),),
    "confirm": (Call("online/confirm"),),
}
"""Who takes over arms what is not armed; the gripper is no request to others."""

assert set(CALLS) == set(get_args(Request)) - {"gripper"}


class TeleopRequests:
    """Asks for what the operator wants, one after the other; an e-stop goes out first, on its topic, and forgets the rest."""

    def __init__(self, node: Node):
        self._node, self._stopped = node, False
        self._errands = Errands(node, TRIGGERS, SWITCHES, self._heard)
        self._estop = node.create_publisher(Bool, topics.ESTOP, topics.latched())
        node.create_subscription(String, "teleop/request", lambda m: self.ask(m.data), topics.recorded(10))
        node.create_subscription(DiagnosticStatus, topics.SAFETY_STATE, self._on_safety, topics.latched())

    def ask(self, name: str) -> None:
        """One of `CALLS`; what there is not is told to the operator."""
        if name not in CALLS:
            self._node.get_logger().error(f"there is no request {name[:40]!r}; choose one of {', '.join(CALLS)}.")
            return
        if name == "estop":
            self._stopped = False
            self._estop.publish(Bool(data=True))
            self._errands.abandon()
        self._errands.run(CALLS[name], self._done)

    def _done(self, ok: bool, sentence: str, said: dict[str, str]) -> None:
        if not ok:
            self._node.get_logger().warning(sentence)

    def _heard(self, service: str, ok: bool, sentence: str) -> None:
        if ok:
            self._node.get_logger().info(f"{service}: {sentence}")

    def _on_safety(self, message: Any) -> None:
        """When an e-stop was cleared, what is latched on the topic says so too: a supervisor that starts later must not trip again."""
        mode = next((str(pair.value) for pair in message.values if pair.key == "mode"), "")
        if self._stopped and mode and mode != "estop":
            self._estop.publish(Bool(data=False))
        self._stopped = mode == "estop"
