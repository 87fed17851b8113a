"""What is subscribed against what is offered: a mismatch of quality of service is silence on the wire, so it is told at configure."""

from __future__ import annotations

from typing import Any

from rclpy.qos import QoSCompatibility, qos_check_compatible

from robot_pt.errors import MismatchError


def require_heard(node: Any) -> None:
    """Raise MismatchError, one sentence, where somebody publishes what a subscription of this node can never receive.

    Who comes later is told by rclpy's own event, as a warning.
    """
    for subscription in node.subscriptions:
        for offered in node.get_publishers_info_by_topic(subscription.topic_name):
            verdict, why = qos_check_compatible(offered.qos_profile, subscription.qos_profile)
            if verdict == QoSCompatibility.ERROR:
                raise MismatchError(
                    f"{offered.node_namespace.rstrip('/')}/{offered.node_name} publishes {subscription.topic_name} with a quality of "
                    f"service that {node.get_name()} does not hear ({_told(why)}); set it as robot_pt_ros/topics.py says."
                )


def _told(why: str) -> str:
    return "; ".join(part.removeprefix("ERROR: ").strip() for part in why.split(";") if part.strip())
