"""Who a node is: its name and namespace after remapping, and what names mean seen from it."""

from __future__ import annotations

from typing import Any

from rclpy import _arguments
from rclpy._names import (
    expand_topic_name,
    validate_full_topic_name,
    validate_namespace,
    validate_node_name,
    validate_topic_name,
)


class NodeIdentity:
    """Mixed into `Node`."""

    _context: Any
    _arguments: _arguments.Arguments
    _name: str
    _namespace: str

    def _name_node(
        self, node_name: str, namespace: str | None, cli_args: list[str] | None, use_global_arguments: bool
    ) -> None:
        own = None if cli_args is None else _arguments.parse(w for w in cli_args if w not in ("--ros-args", "--"))
        process = self._context._arguments if use_global_arguments else None
        self._arguments = _arguments.chain(own, process)
        validate_node_name(node_name)
        full_namespace = "/" + (namespace or "").removeprefix("/")
        validate_namespace(full_namespace)
        self._name = self._arguments.node_name(node_name) or node_name
        self._namespace = self._arguments.namespace(self._name) or full_namespace

    def get_name(self) -> str:
        return self._name

    def get_namespace(self) -> str:
        return self._namespace

    def get_fully_qualified_name(self) -> str:
        return f"{self._namespace.rstrip('/')}/{self._name}"

    def _remapped(self, full_name: str, *, is_service: bool) -> str:
        found = self._arguments.remap(full_name, self._name, self._namespace, is_service=is_service)
        return full_name if found is None else found

    def _resolved(self, name: str, *, is_service: bool, only_expand: bool = False) -> str:
        validate_topic_name(name, is_service=is_service)
        full = expand_topic_name(name, self._name, self._namespace)
        if not only_expand:
            full = self._remapped(full, is_service=is_service)
        validate_full_topic_name(full, is_service=is_service)
        return full

    def resolve_topic_name(self, topic: str, *, only_expand: bool = False) -> str:
        """Fully qualified, and remapped unless `only_expand`. Raises InvalidTopicNameException."""
        return self._resolved(topic, is_service=False, only_expand=only_expand)

    def resolve_service_name(self, service: str, *, only_expand: bool = False) -> str:
        """As `resolve_topic_name`. Raises InvalidServiceNameException."""
        return self._resolved(service, is_service=True, only_expand=only_expand)
