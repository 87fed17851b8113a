"""`ros_discovery_info`: every process says which readers and writers belong to which of its nodes.

Jazzy's GIDs are 16 bytes; Humble's 24, zeros at the end: each distro reads only its own (wire/README.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from robot_pt.errors import UserError
from robot_pt_ros.wire.messages import distro, message_class
from robot_pt_ros.wire.qos import DISCOVERY

if TYPE_CHECKING:
    from robot_pt_ros.wire.dds import Participant

TOPIC = "ros_discovery_info"
INFO = "rmw_dds_common/msg/ParticipantEntitiesInfo"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAMESPACE = re.compile(r"/|(?:/[A-Za-z_][A-Za-z0-9_]*)+")


@dataclass(eq=False)
class NodeKey:
    """One node of this process or another."""

    name: str
    namespace: str
    readers: list[bytes] = field(default_factory=list)
    writers: list[bytes] = field(default_factory=list)

    @property
    def gids(self) -> list[bytes]:
        return [*self.readers, *self.writers]

    @property
    def path(self) -> str:
        return f"{self.namespace.rstrip('/')}/{self.name}"


class Announcement:
    """Our nodes on the topic, and what other processes say there. Not locked: Graph does that."""

    def __init__(self, participant: Participant):
        from robot_pt_ros.wire.dds import Reader, Writer

        cls = message_class(INFO)
        self._gid = participant.gid
        self._writer = Writer(participant, TOPIC, cls, DISCOVERY)
        self._reader = Reader(participant, TOPIC, cls, DISCOVERY._replace(history="keep_all"), ignore_local=True)
        self._ours: list[NodeKey] = []
        self._theirs: dict[bytes, list[NodeKey]] = {}

    def add_node(self, name: str, namespace: str) -> NodeKey:
        if not _NAME.fullmatch(name) or len(name) > 255:
            raise UserError(f"node name {name!r} is not allowed; use letters, digits and underscores, no digit first.")
        if not _NAMESPACE.fullmatch(namespace) or len(namespace) > 245:
            raise UserError(
                f"node namespace {namespace!r} is not allowed; use '/' or names joined by '/', as in '/robot/left'."
            )
        self._ours.append(NodeKey(name, namespace))
        self._publish()
        return self._ours[-1]

    def remove_node(self, node: NodeKey) -> None:
        if node in self._ours:
            self._ours.remove(node)
            self._publish()

    def attach(self, node: NodeKey, readers: Iterable[bytes], writers: Iterable[bytes]) -> None:
        node.readers += readers
        node.writers += writers
        self._publish()

    def forget(self, gids: set[bytes]) -> None:
        """Endpoints that are gone; published only where a node had them."""
        touched = [node for node in self._ours if gids & set(node.gids)]
        for node in touched:
            node.readers = [gid for gid in node.readers if gid not in gids]
            node.writers = [gid for gid in node.writers if gid not in gids]
        if touched:
            self._publish()

    def all_nodes(self) -> dict[bytes, list[NodeKey]]:
        """Participant GID -> its nodes, ours among them."""
        return {**self._theirs, self._gid: self._ours}

    def participant_left(self, gid: bytes) -> None:
        self._theirs.pop(gid, None)

    def triggers(self) -> list[Any]:
        return self._reader.triggers()[:1]

    def take(self) -> bool:
        """Take in what others announced; whether anything came."""
        samples = self._reader.take(1000)
        for sample in samples:
            info: Any = sample.message
            self._theirs[_bytes(info.gid)] = [
                NodeKey(
                    n.node_name,
                    n.node_namespace,
                    *(list(map(_bytes, of)) for of in (n.reader_gid_seq, n.writer_gid_seq)),
                )
                for n in info.node_entities_info_seq
            ]
        return bool(samples)

    def _publish(self) -> None:
        node_info = message_class("rmw_dds_common/msg/NodeEntitiesInfo")
        info = message_class(INFO)(gid=_gid(self._gid))
        info.node_entities_info_seq = [  # type: ignore[attr-defined]
            node_info(
                node_name=node.name,
                node_namespace=node.namespace,
                reader_gid_seq=[_gid(g) for g in node.readers],
                writer_gid_seq=[_gid(g) for g in node.writers],
            )
            for node in self._ours
        ]
        self._writer.write(info)

    def close(self) -> None:
        self._writer.close()
        self._reader.close()


def _gid(gid: bytes) -> Any:
    size = 24 if distro() == "humble" else 16
    return message_class("rmw_dds_common/msg/Gid")(data=np.frombuffer(gid.ljust(size, b"\0"), np.uint8))


def _bytes(gid: Any) -> bytes:
    return bytes(gid.data[:16])
