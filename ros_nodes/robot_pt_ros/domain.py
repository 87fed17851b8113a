"""DDS domain 0 is everybody's: what drives an arm needs a domain of its own, or its user's word."""

from __future__ import annotations

from typing import Protocol

from robot_pt.errors import UserError


class InDomain(Protocol):
    """A context, as rclpy's; asked for the domain that it really joined, whatever the environment says now."""

    def get_domain_id(self) -> int: ...


class InContext(Protocol):
    """A node, as rclpy's."""

    @property
    def context(self) -> InDomain: ...


def require_own_domain(node: InContext, allow: bool) -> int:
    """The node's DDS domain; raises UserError where it is 0 and `allow` is not set.

    Anybody's ROS programs talk on domain 0 by default: a lab neighbour's teleoperation would reach this arm.
    """
    domain = int(node.context.get_domain_id())
    if domain == 0 and not allow:
        raise UserError(
            "this drives an arm on DDS domain 0, where every ROS program in the network talks by default; set ROS_DOMAIN_ID to a "
            "number of your own (1 to 101) in every terminal, or pass allow_domain_0:=true."
        )
    return domain
