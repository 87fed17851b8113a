"""Names of nodes, namespaces, topics, services and parameters: their rules, expansion and checks.

Facts: the naming rules of design.ros2.org/articles/topic_and_service_names.html and the limits of rmw (255 characters).
"""

from __future__ import annotations

import re

from rclpy.exceptions import (
    InvalidNamespaceException,
    InvalidNodeNameException,
    InvalidParameterException,
    InvalidServiceNameException,
    InvalidTopicNameException,
)

_LONGEST = 255
_SUBSTITUTION = re.compile(r"\{([^{}]*)\}")
_KNOWN = ("node", "ns", "namespace")


def node_name_error(name: str) -> tuple[str, int] | None:
    """Why `name` is no node name, and where."""
    if not name:
        return "node name must not be empty", 0
    bad = re.search(r"[^A-Za-z0-9_]", name)
    if bad:
        return "node name must not contain characters other than alphanumerics or '_'", bad.start()
    if name[0].isdigit():
        return "node name must not start with a number", 0
    if len(name) > _LONGEST:
        return f"node name length should not exceed '{_LONGEST}'", _LONGEST
    return None


def full_name_error(name: str, kind: str) -> tuple[str, int] | None:
    """Why `name` is no fully qualified `kind` ("topic name", "namespace")."""
    if not name:
        return f"{kind} must not be empty", 0
    if name[0] != "/":
        return f"{kind} must be absolute, it must lead with a '/'", 0
    if name == "/" and kind == "namespace":
        return None
    if name[-1] == "/":
        return f"{kind} must not end with a '/'", len(name) - 1
    bad = re.search(r"[^A-Za-z0-9_/]", name)
    if bad:
        return f"{kind} must not contain characters other than alphanumerics, '_', or '/'", bad.start()
    repeated = name.find("//")
    if repeated >= 0:
        return f"{kind} must not contain repeated '/'", repeated + 1
    digit = re.search(r"/[0-9]", name)
    if digit:
        return f"{kind} must not have a token that starts with a number", digit.start() + 1
    if len(name) > _LONGEST - 8:
        return f"{kind} length should not exceed '{_LONGEST - 8}'", _LONGEST - 8
    return None


def topic_name_error(name: str) -> tuple[str, int] | None:
    """Why `name` is no topic or service name before expansion."""
    if not name:
        return "topic name must not be empty string", 0
    if name[-1] == "/":
        return "topic name must not end with a forward slash", len(name) - 1
    if "~" in name[1:]:
        return "topic name must not have tilde '~' unless it is the first character", name.index("~", 1)
    if name[0] == "~" and len(name) > 1 and name[1] != "/":
        return "topic name must not have a tilde '~' not followed by a forward slash '/'", 1
    for match in _SUBSTITUTION.finditer(name):
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", match[1]):
            return "topic name has an invalid substitution", match.start()
    plain = _SUBSTITUTION.sub(lambda match: "x" * len(match[0]), name)
    if "{" in plain or "}" in plain:
        return "topic name has unbalanced curly braces '{}'", re.search(r"[{}]", plain).start()  # type: ignore[union-attr]
    bad = re.search(r"[^A-Za-z0-9_/~]", plain)
    if bad:
        return "topic name must not contain characters other than alphanumerics, '_', '~', '{', or '}'", bad.start()
    repeated = name.find("//")
    if repeated >= 0:
        return "topic name must not contain repeated '/'", repeated + 1
    digit = re.search(r"(^|/)[0-9]", plain)
    if digit:
        return "topic name token must not start with a number", digit.end() - 1
    return None


def validate_node_name(node_name: str) -> bool:
    """True, or InvalidNodeNameException."""
    error = node_name_error(node_name)
    if error:
        raise InvalidNodeNameException(node_name, *error)
    return True


def validate_namespace(namespace: str) -> bool:
    """True, or InvalidNamespaceException."""
    error = full_name_error(namespace, "namespace")
    if error:
        raise InvalidNamespaceException(namespace, *error)
    return True


def validate_topic_name(name: str, *, is_service: bool = False) -> bool:
    """True, or InvalidTopicNameException / InvalidServiceNameException."""
    error = topic_name_error(name)
    if error:
        raise (InvalidServiceNameException if is_service else InvalidTopicNameException)(name, *error)
    return True


def validate_full_topic_name(name: str, *, is_service: bool = False) -> bool:
    """True, or InvalidTopicNameException / InvalidServiceNameException."""
    error = full_name_error(name, "topic name")
    if error:
        raise (InvalidServiceNameException if is_service else InvalidTopicNameException)(name, *error)
    return True


def validate_parameter_name(name: str) -> bool:
    """True, or InvalidParameterException."""
    if not isinstance(name, str) or not name:
        raise InvalidParameterException(name)
    return True


def expand_topic_name(topic_name: str, node_name: str, node_namespace: str) -> str:
    """The fully qualified name, before remapping. Raises ValueError on an unknown ``{substitution}``."""
    base = "" if node_namespace == "/" else node_namespace
    for match in _SUBSTITUTION.finditer(topic_name):
        if match[1] not in _KNOWN:
            raise ValueError(f"unknown substitution {match[0]!r} in {topic_name!r}; known are {{node}}, {{ns}}.")
    if topic_name.startswith("~"):
        topic_name = f"{base}/{node_name}{topic_name[1:]}"
    topic_name = topic_name.replace("{node}", node_name)
    topic_name = topic_name.replace("{ns}", base or "/").replace("{namespace}", base or "/")
    return topic_name if topic_name.startswith("/") else f"{base}/{topic_name}"
