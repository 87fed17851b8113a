"""Who is on the graph: DDS' own discovery (participants, readers, writers) and `ros_discovery_info`, which says whose node they are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from cyclonedds.builtin import (
    BuiltinDataReader,
    BuiltinTopicDcpsParticipant,
    BuiltinTopicDcpsPublication,
    BuiltinTopicDcpsSubscription,
)
from cyclonedds.core import InstanceState, ReadCondition, SampleState, ViewState

from robot_pt.errors import UserError
from robot_pt_ros.wire import clayer, names
from robot_pt_ros.wire.announce import Announcement, NodeKey
from robot_pt_ros.wire.qos import QoS, from_dds

if TYPE_CHECKING:
    from robot_pt_ros.wire.dds import Participant

ANY = ViewState.Any | SampleState.Any | InstanceState.Any
UNKNOWN = "_NODE_NAME_UNKNOWN_"  # as `ros2 topic info -v` names an endpoint whose process announced no node for it


class EndpointInfo(NamedTuple):
    """One reader or writer as seen on the network; `topic_type` "pkg/msg/Name", or DDS' name where it is no ROS 2 type."""

    node_name: str
    node_namespace: str
    topic_type: str
    topic_type_hash: str  # "" where it announces none
    gid: bytes
    qos: QoS
    participant_gid: bytes
    user_data: bytes


class Endpoint(NamedTuple):
    dds_topic: str
    dds_type: str
    participant_gid: bytes
    qos: QoS
    user_data: bytes


class HasGids(Protocol):
    """Reader, Writer, Client, Server."""

    def gids(self) -> tuple[list[bytes], list[bytes]]: ...


class Graph:
    """The graph as this process sees it. Queries first take in what arrived; safe from any thread."""

    def __init__(self, participant: Participant):
        self._participant = participant
        self._lock = threading.RLock()
        self.revision = 0
        self._enclaves: dict[bytes, str] = {}
        self._writers: dict[bytes, Endpoint] = {}
        self._readers: dict[bytes, Endpoint] = {}
        self._announced = Announcement(participant)
        builtin = (BuiltinTopicDcpsParticipant, BuiltinTopicDcpsPublication, BuiltinTopicDcpsSubscription)
        self._sources = [BuiltinDataReader(participant.dds, topic) for topic in builtin]
        self._conditions = [ReadCondition(reader, ANY) for reader in self._sources]
        self._closed = False

    def add_node(self, name: str, namespace: str) -> NodeKey:
        """Announce a node, at once; UserError: a name or namespace that ROS 2 does not allow."""
        with self._lock:
            self.revision += 1
            return self._announced.add_node(name, namespace)

    def remove_node(self, node: NodeKey) -> None:
        """Take the announcement back; a second call does nothing."""
        with self._lock:
            self.revision += 1
            self._announced.remove_node(node)

    def attach(self, node: NodeKey, entity: HasGids) -> None:
        """Announce that `entity` belongs to `node`, at once."""
        with self._lock:
            self.revision += 1
            self._announced.attach(node, *entity.gids())

    def detach(self, node: NodeKey, entity: HasGids) -> None:
        """Take that back; closing an endpoint does it too."""
        readers, writers = entity.gids()
        self.forget(*readers, *writers)

    def forget(self, *gids: bytes) -> None:
        """Endpoints that are being closed."""
        with self._lock:
            if not self._closed:
                self._announced.forget(set(gids))

    def nodes(self) -> list[tuple[str, str, str]]:
        """(name, namespace, enclave) of every node announced, one entry each where a name is used twice."""
        with self._lock:
            self.poll()
            found = []
            for gid, of in self._announced.all_nodes().items():
                enclave = self._enclaves.get(gid)
                if enclave is not None:  # a participant that left takes its nodes along
                    found += [(node.name, node.namespace, enclave) for node in of]
            return found

    def topics(self) -> dict[str, list[str]]:
        """Topic name -> its types, as offered and asked for by anyone."""
        with self._lock:
            self.poll()
            return _names_and_types(
                [*self._writers.values(), *self._readers.values()], names.topic_from_dds, names.type_from_dds
            )

    def services(self) -> dict[str, list[str]]:
        """Service name -> its types, of servers and clients."""
        with self._lock:
            self.poll()
            return _names_and_types(
                [*self._writers.values(), *self._readers.values()], names.service_from_dds, names.service_type_from_dds
            )

    def publishers_of(self, name: str, namespace: str) -> dict[str, list[str]]:
        """Topic -> types that node `name` in `namespace` publishes; UserError: no such node."""
        return self._of_node(name, namespace, self._writers, names.topic_from_dds, names.type_from_dds)

    def subscribers_of(self, name: str, namespace: str) -> dict[str, list[str]]:
        """Topic -> types that the node subscribes to; UserError: no such node."""
        return self._of_node(name, namespace, self._readers, names.topic_from_dds, names.type_from_dds)

    def servers_of(self, name: str, namespace: str) -> dict[str, list[str]]:
        """Service -> types that the node serves; UserError: no such node."""
        return self._of_node(name, namespace, self._readers, _requests, names.service_type_from_dds)

    def clients_of(self, name: str, namespace: str) -> dict[str, list[str]]:
        """Service -> types that the node calls; UserError: no such node."""
        return self._of_node(name, namespace, self._writers, _requests, names.service_type_from_dds)

    def publishers(self, topic: str) -> list[EndpointInfo]:
        """Writers of a topic."""
        return self._infos(self._writers, names.topic_to_dds(topic))

    def subscriptions(self, topic: str) -> list[EndpointInfo]:
        """Readers of a topic."""
        return self._infos(self._readers, names.topic_to_dds(topic))

    def servers(self, service: str) -> list[EndpointInfo]:
        """Readers of a service's requests."""
        return self._infos(self._readers, names.request_topic(service))

    def repliers(self, service: str) -> list[EndpointInfo]:
        """Writers of a service's replies."""
        return self._infos(self._writers, names.reply_topic(service))

    def clients(self, service: str) -> list[EndpointInfo]:
        """Readers of a service's replies."""
        return self._infos(self._readers, names.reply_topic(service))

    def _infos(self, table: dict[bytes, Endpoint], dds_topic: str) -> list[EndpointInfo]:
        with self._lock:
            self.poll()
            owners = {gid: node for of in self._announced.all_nodes().values() for node in of for gid in node.gids}
            return [_info(gid, found, owners.get(gid)) for gid, found in table.items() if found.dds_topic == dds_topic]

    def _of_node(
        self, name: str, namespace: str, table: dict[bytes, Endpoint], named: _Name, typed: _Name
    ) -> dict[str, list[str]]:
        with self._lock:
            self.poll()
            every = [node for of in self._announced.all_nodes().values() for node in of]
            gids = {gid for node in every if (node.name, node.namespace) == (name, namespace) for gid in node.gids}
            if not any((node.name, node.namespace) == (name, namespace) for node in every):
                listed = ", ".join(sorted(node.path for node in every)) or "none"
                raise UserError(f"no node {name!r} in namespace {namespace!r} is on the graph; there are: {listed}.")
            return _names_and_types((found for gid, found in table.items() if gid in gids), named, typed)

    def triggers(self) -> list[Any]:
        """DDS entities that a Waiter waits on."""
        return [*self._conditions, *self._announced.triggers()]

    def poll(self) -> bool:
        """Take in what arrived; whether the graph changed."""
        with self._lock:
            if self._closed:
                return False
            participants, publications, subscriptions = self._sources
            changed = self._take_participants(participants)
            changed |= _take_endpoints(publications, self._writers)
            changed |= _take_endpoints(subscriptions, self._readers)
            changed |= self._announced.take()
            self.revision += changed
            return changed

    def _take_participants(self, reader: BuiltinDataReader) -> bool:
        taken = _take(reader)
        for sample in taken:
            gid = sample.key.bytes
            if sample.sample_info.instance_state != InstanceState.Alive:
                self._enclaves.pop(gid, None)
                self._announced.participant_left(gid)
                continue
            _, user_data = from_dds(sample.qos)
            self._enclaves[gid] = keys(user_data).get("enclave", "") if user_data else ""
        return bool(taken)

    def close(self) -> None:
        """With the participant."""
        with self._lock:
            self._closed = True
            for entity in (*self._conditions, *self._sources):
                clayer.delete(entity)
            self._announced.close()


_Name = Callable[[str], str | None]


def _requests(dds_topic: str) -> str | None:
    return names.service_from_dds(dds_topic) if dds_topic.startswith("rq/") else None


def _names_and_types(endpoints: Iterable[Endpoint], named: _Name, typed: _Name) -> dict[str, list[str]]:
    found: dict[str, set[str]] = {}
    for endpoint in endpoints:
        name, of = named(endpoint.dds_topic), typed(endpoint.dds_type)
        if name is not None and of is not None:
            found.setdefault(name, set()).add(of)
    return {name: sorted(of) for name, of in sorted(found.items())}


def _info(gid: bytes, found: Endpoint, node: Any) -> EndpointInfo:
    type_name = names.type_from_dds(found.dds_type) or found.dds_type
    name, namespace = (node.name, node.namespace) if node else (UNKNOWN, "_NODE_NAMESPACE_UNKNOWN_")
    hashed = keys(found.user_data).get("typehash", "")
    return EndpointInfo(name, namespace, type_name, hashed, gid, found.qos, found.participant_gid, found.user_data)


def keys(user_data: bytes) -> dict[str, str]:
    """ "a=b;c=d;" as rmw parses USER_DATA; parts of another form are left out."""
    parts = user_data.decode("utf-8", "replace").split(";")
    return dict(part.split("=", 1) for part in parts if "=" in part)


def _take(reader: BuiltinDataReader) -> list[Any]:
    taken: list[Any] = []
    while found := reader.take(100):
        taken += found
    return taken


def _take_endpoints(reader: BuiltinDataReader, table: dict[bytes, Endpoint]) -> bool:
    taken = _take(reader)
    for sample in taken:
        gid = sample.key.bytes
        if sample.sample_info.instance_state != InstanceState.Alive:
            table.pop(gid, None)
        else:
            qos, user_data = from_dds(sample.qos)
            table[gid] = Endpoint(sample.topic_name, sample.type_name, sample.participant_key.bytes, qos, user_data)
    return bool(taken)
