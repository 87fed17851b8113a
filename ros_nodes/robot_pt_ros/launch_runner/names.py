"""Names of nodes and namespaces, checked and joined as rclpy and launch_ros do."""

from __future__ import annotations

import re

from robot_pt_ros.launch_runner.document import Where

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST = 245  # rmw: a fully qualified name of 255 characters with room for the topic


def check_node_name(name: str, where: Where) -> str:
    """Raises DataError: not letters, digits and underscores, or starting with a digit."""
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        where.fail(f"a node cannot be named {name!r}; use letters, digits and underscores, no digit first.")
    return name


def join_namespace(base: str | None, namespace: str | None, where: Where) -> str | None:
    """`namespace` below `base`, absolute; an absolute one stands alone; None where both are None. Raises DataError: not a namespace."""
    if base is None and namespace is None:
        return None
    if namespace is None:
        joined = base or ""
    elif not base or namespace.startswith("/"):
        joined = namespace
    else:
        joined = f"{base.rstrip('/')}/{namespace}"
    absolute = "/" + joined.strip("/") if not joined.startswith("//") else joined
    if (absolute != "/" and not all(_NAME.fullmatch(part) for part in absolute[1:].split("/"))) or len(
        absolute
    ) > _LONGEST:
        where.fail(
            f"{absolute!r} is no namespace; use letters, digits and underscores between slashes, no digit first."
        )
    return absolute
