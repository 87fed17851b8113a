"""ROS 2 names and DDS names, as rmw_cyclonedds (and every DDS RMW) maps them."""

from __future__ import annotations

import re

from robot_pt.errors import UserError

_TOKEN = r"[A-Za-z_][A-Za-z0-9_]*"
_FULL = re.compile(rf"(?:/{_TOKEN})+")
_TYPE = re.compile(rf"({_TOKEN})::(msg|srv)::dds_::({_TOKEN})_")


def check_name(name: str, what: str) -> str:
    """`name` itself; UserError: not fully qualified, or with characters that ROS 2 does not allow."""
    if not _FULL.fullmatch(name) or "__" in name:
        raise UserError(
            f"{what} name {name!r} is not a full ROS 2 name; it starts with '/' and has parts of letters, digits and single "
            "underscores that begin with no digit, as in '/robot/joint_states'."
        )
    return name


def topic_to_dds(topic: str) -> str:
    """ "/a/b" -> "rt/a/b"; UserError: not a full topic name."""
    return "rt" + check_name(topic, "topic")


def topic_from_dds(name: str) -> str | None:
    """ "rt/a/b" -> "/a/b"; None: no ROS 2 topic."""
    return name[2:] if name.startswith("rt/") else None


def request_topic(service: str) -> str:
    """ "/a/b" -> "rq/a/bRequest"; UserError: not a full service name."""
    return f"rq{check_name(service, 'service')}Request"


def reply_topic(service: str) -> str:
    """ "/a/b" -> "rr/a/bReply"; UserError: not a full service name."""
    return f"rr{check_name(service, 'service')}Reply"


def service_from_dds(name: str) -> str | None:
    """ "rq/a/bRequest" or "rr/a/bReply" -> "/a/b"; None: neither."""
    for prefix, suffix in (("rq/", "Request"), ("rr/", "Reply")):
        if name.startswith(prefix) and name.endswith(suffix):
            return name[2 : -len(suffix)]
    return None


def type_to_dds(type_name: str) -> str:
    """ "sensor_msgs/msg/Image" -> "sensor_msgs::msg::dds_::Image_"."""
    package, folder, short = type_name.split("/")
    return f"{package}::{folder}::dds_::{short}_"


def type_from_dds(name: str) -> str | None:
    """ "sensor_msgs::msg::dds_::Image_" -> "sensor_msgs/msg/Image"; None: not named as ROS 2 does."""
    found = _TYPE.fullmatch(name)
    return "/".join(found.groups()) if found else None


def service_type_from_dds(name: str) -> str | None:
    """ "std_srvs::srv::dds_::Trigger_Request_" -> "std_srvs/srv/Trigger"; None: no request or response."""
    found = type_from_dds(name) or ""
    return next((found.removesuffix(end) for end in ("_Request", "_Response") if found.endswith(end)), None)
