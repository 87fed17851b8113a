"""Why a node could not do what it was asked for: its own last error, repeated where everybody looks, at the end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rcl_interfaces.msg import Log
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy

ERROR = 40
"""Severity, `rcl_interfaces/msg/Log.ERROR`."""


class LastWords:
    """Listens to /rosout for errors of these nodes, which share the namespace of `node`."""

    def __init__(self, node: Node, names: Iterable[str]):
        space = [part for part in node.get_namespace().split("/") if part]
        self._names = {".".join([*space, name]): name for name in names}
        self._said: dict[str, str] = {}
        kept = QoSProfile(
            history=HistoryPolicy.KEEP_LAST, depth=1000, reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )  # fmt: skip
        node.create_subscription(Log, "/rosout", self._on_log, kept)

    def of(self, name: str) -> str:
        """The last line of a node's last error; "" where it said none."""
        return self._said.get(name, "")

    def _on_log(self, message: Any) -> None:
        name, lines = self._names.get(message.name), message.msg.strip().splitlines()
        if name is not None and message.level >= ERROR and lines:
            self._said[name] = lines[-1]
