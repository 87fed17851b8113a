"""What is subscribed against what is offered: a mismatch of quality of service is silence on the wire, so it is told at configure."""

from __future__ import annotations

from typing import Any

from rclpy.qos import QoSCompatibility, qos_check_compatible

from robot_pt.errors import MismatchError


def require_heard(node: Any) -> None:
    """Raise MismatchError, one sentence, where somebody publishes what no subscription of this node to that topic can ever receive.

    Who comes later is told by rclpy's own event, as a warning.
    """
    wanted: dict[str, list[Any]] = {}
    for subscription in node.subscriptions:
        wanted.setdefault(subscription.topic_name, []).append(subscription.qos_profile)
    for topic, profiles in wanted.items():
        for offered in node.get_publishers_info_by_topic(topic):
            verdicts = [qos_check_compatible(offered.qos_profile, profile) for profile in profiles]
            if all(verdict == QoSCompatibility.ERROR for verdict, _ in verdicts):
                raise MismatchError(
                    f"{offered.node_namespace.rstrip('/')}/{offered.node_name} publishes {topic} with a quality of "
                    f"service that {node.get_name()} does not hear ({_told(verdicts[0][1])}); set it as robot_pt_ros/topics.py says."
                )


def _told(why: str) -> str:
    return "; ".join(part.removeprefix("ERROR: ").strip() for part in why.split(";") if part.strip())
