"""What a node knows of the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy._names import expand_topic_name, validate_full_topic_name
from rclpy._rclpy_pybind11 import NodeNameNonExistentError
from rclpy._transport import profile_of
from rclpy.topic_endpoint_info import TopicEndpointInfo, TopicEndpointTypeEnum
from rclpy.type_hash import TypeHash
from robot_pt.errors import UserError

NamesAndTypes = list[tuple[str, list[str]]]


def _listed(found: dict[str, list[str]]) -> NamesAndTypes:
    return sorted((name, list(types)) for name, types in found.items())


class NodeGraph:
    """Mixed into `Node`; every answer is of this moment, discovery goes on. `no_demangle` is not supported."""

    _graph: Any
    _name: str
    _namespace: str
    _remapped: Callable[..., str]

    def get_topic_names_and_types(self, no_demangle: bool = False) -> NamesAndTypes:
        return _listed(self._graph.topics())

    def get_service_names_and_types(self) -> NamesAndTypes:
        return _listed(self._graph.services())

    def get_node_names(self) -> list[str]:
        return [name for name, _, _ in self._graph.nodes()]

    def get_node_names_and_namespaces(self) -> list[tuple[str, str]]:
        return [(name, namespace) for name, namespace, _ in self._graph.nodes()]

    def get_node_names_and_namespaces_with_enclaves(self) -> list[tuple[str, str, str]]:
        return [(name, namespace, enclave) for name, namespace, enclave in self._graph.nodes()]

    def get_fully_qualified_node_names(self) -> list[str]:
        return [f"{namespace.rstrip('/')}/{name}" for name, namespace, _ in self._graph.nodes()]

    def get_publisher_names_and_types_by_node(
        self, node_name: str, node_namespace: str, no_demangle: bool = False
    ) -> NamesAndTypes:
        """Raises NodeNameNonExistentError; so do the next three."""
        return self._of(self._graph.publishers_of, node_name, node_namespace)

    def get_subscriber_names_and_types_by_node(
        self, node_name: str, node_namespace: str, no_demangle: bool = False
    ) -> NamesAndTypes:
        return self._of(self._graph.subscribers_of, node_name, node_namespace)

    def get_service_names_and_types_by_node(self, node_name: str, node_namespace: str) -> NamesAndTypes:
        return self._of(self._graph.servers_of, node_name, node_namespace)

    def get_client_names_and_types_by_node(self, node_name: str, node_namespace: str) -> NamesAndTypes:
        return self._of(self._graph.clients_of, node_name, node_namespace)

    def _of(self, ask: Callable[[str, str], dict[str, list[str]]], name: str, namespace: str) -> NamesAndTypes:
        try:
            return _listed(ask(name, namespace))
        except UserError as error:
            raise NodeNameNonExistentError(f"Cannot get names and types of {namespace}/{name}: {error}") from error

    def _full(self, name: str, *, is_service: bool = False) -> str:
        full = expand_topic_name(name, self._name, self._namespace)
        validate_full_topic_name(full, is_service=is_service)
        return full

    def count_publishers(self, topic_name: str) -> int:
        """Of a relative, private or absolute name, not remapped; so do the next three."""
        return len(self._graph.publishers(self._full(topic_name)))

    def count_subscribers(self, topic_name: str) -> int:
        return len(self._graph.subscriptions(self._full(topic_name)))

    def count_clients(self, service_name: str) -> int:
        return len(self._graph.clients(self._full(service_name, is_service=True)))

    def count_services(self, service_name: str) -> int:
        return len(self._graph.servers(self._full(service_name, is_service=True)))

    def get_publishers_info_by_topic(self, topic_name: str, no_mangle: bool = False) -> list[TopicEndpointInfo]:
        """Endpoints with node, type, hash, GID and QoS (history is never announced); the name is remapped."""
        return self._infos(self._graph.publishers, topic_name, TopicEndpointTypeEnum.PUBLISHER)

    def get_subscriptions_info_by_topic(self, topic_name: str, no_mangle: bool = False) -> list[TopicEndpointInfo]:
        """As `get_publishers_info_by_topic`."""
        return self._infos(self._graph.subscriptions, topic_name, TopicEndpointTypeEnum.SUBSCRIPTION)

    def _infos(self, ask: Callable[[str], Any], name: str, kind: TopicEndpointTypeEnum) -> list[TopicEndpointInfo]:
        full = self._remapped(self._full(name), is_service=False)
        return [
            TopicEndpointInfo(
                node_name=found.node_name,
                node_namespace=found.node_namespace,
                topic_type=found.topic_type,
                topic_type_hash=_hash(found.topic_type_hash),
                endpoint_type=kind,
                endpoint_gid=list(found.gid),
                qos_profile=profile_of(found.qos),
            )
            for found in ask(full)
        ]


def _hash(text: str | None) -> TypeHash:
    if not text or not text.startswith("RIHS01_"):
        return TypeHash()
    return TypeHash(1, bytes.fromhex(text.removeprefix("RIHS01_")))
