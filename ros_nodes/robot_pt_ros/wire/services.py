"""Services as rmw_cyclonedds carries them: a 16-byte header (client, sequence number) before the fields of request and reply.

Other RMWs put that identity beside the payload, where the `cyclonedds` wheel cannot. A Fast DDS server would misread our request (and
may allocate whatever its header bytes seem to say), so a client never sends while one is matched.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from robot_pt.errors import DataError, MismatchError, UserError
from robot_pt_ros.wire import cdr, clayer, names, typesystem
from robot_pt_ros.wire.dds import RawSample, Reader, Writer
from robot_pt_ros.wire.discovery import keys
from robot_pt_ros.wire.messages import Message, type_name
from robot_pt_ros.wire.qos import SERVICES, QoS, from_dds

if TYPE_CHECKING:
    from robot_pt_ros.wire.dds import Participant

_HEADER = {1: struct.Struct("<Qq"), 0: struct.Struct(">Qq")}  # by the CDR header's second byte
# How long a reply is held for a client whose reader is not found yet. rmw_cyclonedds blocks the callback for 0.1 s; this blocks nobody,
# and on a busy machine discovery takes longer.
REPLY_WAIT_S = 5.0
VENDORS = {
    b"\x01\x01": "RTI Connext",
    b"\x01\x03": "OpenDDS",
    b"\x01\x0f": "Fast DDS",
    b"\x01\x10": "Cyclone DDS",
    b"\x01\x12": "RustDDS",
}


class RequestId(NamedTuple):
    """Which client's which request; `publication_handle` is its request writer as matched here."""

    client: int
    sequence: int
    publication_handle: int = 0


class Client:
    """Calls one service. One thread sends and takes at a time."""

    def __init__(self, participant: Participant, service: str, cls: type, qos: QoS = SERVICES):
        """`service` "/ns/name", `cls` std_srvs.srv.Trigger or the like. UserError: a bad name, class or QoS."""
        self.service, self.cls = service, _checked(cls)
        request, reply = names.request_topic(service), names.reply_topic(service)
        identity = f"clientid={_identity(participant)};"
        # The reader first: a server looks for it as soon as it hears from the writer.
        self.reader: Reader[Any] = Reader(participant, reply, cls.Response, qos, identity, service_header=True)  # type: ignore[attr-defined]
        self.writer = Writer(participant, request, cls.Request, qos, identity, service_header=True)  # type: ignore[attr-defined]
        self._guid: int = clayer.handle(self.writer.dds)
        self._sequence = 0
        self._servers: _Peers = _Peers("serviceid")

    def ready(self) -> bool:
        """Whether a server is matched both ways; MismatchError: the server that is there belongs to another RMW."""
        return bool(self._reachable())

    def send(self, request: Message) -> int:
        """Sequence number of the request; MismatchError: a server of another RMW is there. UserError: wrong type, no room, closed."""
        if type(request) is not self.writer.cls:
            raise UserError(
                f"service {self.service} takes a {type_name(self.writer.cls)}, not a {type(request).__name__}."
            )
        self._reachable()
        self._sequence += 1
        if not self.writer.write_raw(_pack(self._guid, self._sequence, request)):
            raise UserError(
                f"service {self.service} does not accept requests now; is its node stuck? Try again or restart it."
            )
        return self._sequence

    def take(self) -> list[tuple[int, Message]]:
        """(sequence number, response) of our own requests; what does not parse is counted in `reader.dropped`."""
        found = []
        for sample in self.reader.take_raw(100):
            unpacked = _unpack(sample, self.reader)
            if unpacked is not None and unpacked[0] == self._guid:
                found.append((unpacked[1], unpacked[2]))
        return found

    def _reachable(self) -> set[str]:
        """Ids of servers matched by both our endpoints."""
        asked = self._servers.ids(self.writer.dds)
        foreign = [gid for gid, identity in asked if identity is None]
        if foreign:
            vendor = VENDORS.get(foreign[0][:2], f"DDS vendor {foreign[0][:2].hex()}")
            raise MismatchError(
                f"service {self.service} is served by another RMW ({vendor}), which would misread requests of this process; start that node "
                "with RMW_IMPLEMENTATION=rmw_cyclonedds_cpp, or run this program where ROS 2 is installed."
            )
        answered = self._servers.ids(self.reader.dds)
        return {identity for _, identity in asked if identity} & {identity for _, identity in answered if identity}

    def gids(self) -> tuple[list[bytes], list[bytes]]:
        """(readers, writers) that a node has by this."""
        return [self.reader.gid], [self.writer.gid]

    def triggers(self) -> list[Any]:
        """DDS entities that a Waiter waits on."""
        return [*self.reader.triggers(), *self.writer.triggers()]

    def poll(self) -> bool:
        """Whether a reply is there."""
        self.writer.poll()
        self.reader.poll()
        return self.reader.has_data()

    def close(self) -> None:
        """Leave the service; a second call does nothing."""
        self.writer.close()
        self.reader.close()


class Server:
    """Serves one service. One thread takes, any replies, and the one that waits polls.

    `dropped` counts requests that do not parse or come from another RMW, `undelivered` replies whose client was not found.
    """

    def __init__(self, participant: Participant, service: str, cls: type, qos: QoS = SERVICES):
        """`service` "/ns/name", `cls` std_srvs.srv.Trigger or the like. UserError: a bad name, class or QoS."""
        self.service, self.cls = service, _checked(cls)
        self.undelivered = self._foreign = 0
        request, reply = names.request_topic(service), names.reply_topic(service)
        identity = f"serviceid={_identity(participant)};"
        self.writer = Writer(participant, reply, cls.Response, qos, identity, service_header=True)  # type: ignore[attr-defined]
        self.reader: Reader[Any] = Reader(participant, request, cls.Request, qos, identity, service_header=True)  # type: ignore[attr-defined]
        self._clients = _Peers("clientid")
        self._pending: deque[tuple[float, RequestId, memoryview]] = deque(maxlen=100)
        self._sending = threading.RLock()

    @property
    def dropped(self) -> int:
        return self.reader.dropped + self._foreign

    def take(self) -> list[tuple[RequestId, Message]]:
        """Requests that arrived, oldest first."""
        self._flush()
        found: list[tuple[RequestId, Message]] = []
        for sample in self.reader.take_raw(100):
            if self._client_of(sample.publication_handle) is None:
                self._foreign += 1
                continue
            unpacked = _unpack(sample, self.reader)
            if unpacked is not None:
                found.append((RequestId(*unpacked[:2], sample.publication_handle), unpacked[2]))
        return found

    def reply(self, request: RequestId, response: Message) -> bool:
        """True: sent. False: held until the client's reader is found, REPLY_WAIT_S at most. UserError: wrong type or closed."""
        if type(response) is not self.writer.cls:
            raise UserError(
                f"service {self.service} answers with a {type_name(self.writer.cls)}, not a {type(response).__name__}."
            )
        raw = _pack(request.client, request.sequence, response)
        with self._sending:
            self._pending.append((time.monotonic() + REPLY_WAIT_S, request, raw))
            self._flush()
            return all(held[1] != request for held in self._pending)

    def _client_of(self, publication_handle: int) -> str | None:
        """Its id, "" where it already left, None: not of our kind."""
        ids = self._clients.ids(self.reader.dds, [publication_handle])
        return ids[0][1] if ids else ""

    def _flush(self) -> None:
        with self._sending:
            for _ in range(len(self._pending)):
                until, request, raw = self._pending.popleft()
                client = self._client_of(request.publication_handle)
                matched = self._clients.ids(self.writer.dds)
                if client in [identity for _, identity in matched]:
                    self.undelivered += not self.writer.write_raw(raw)
                elif time.monotonic() < until:
                    self._pending.append((until, request, raw))
                else:
                    self.undelivered += 1

    def gids(self) -> tuple[list[bytes], list[bytes]]:
        """(readers, writers) that a node has by this."""
        return [self.reader.gid], [self.writer.gid]

    def triggers(self) -> list[Any]:
        """DDS entities that a Waiter waits on."""
        return [*self.reader.triggers(), *self.writer.triggers()]

    def poll(self) -> bool:
        """Send replies held back where their client is found now; whether a request is there."""
        self.writer.poll()
        self.reader.poll()
        self._flush()
        return self.reader.has_data()

    def close(self) -> None:
        """Leave the service; a second call does nothing."""
        self.reader.close()
        self.writer.close()


class _Peers:
    """Matched endpoints' GIDs and ids in USER_DATA (`key`), each looked up once."""

    def __init__(self, key: str):
        self._key = key
        self._known: dict[int, tuple[bytes, str | None]] = {}

    def ids(self, entity: Any, handles: list[int] | None = None) -> list[tuple[bytes, str | None]]:
        """(GID, id or None where it announces none) of `handles`, by default of all that `entity` is matched with."""
        handles = clayer.matched(entity) if handles is None else handles
        for handle in handles:
            if handle not in self._known:
                found = clayer.matched_data(entity, handle)
                if found is not None:
                    _, user_data = from_dds(found.qos)
                    self._known[handle] = found.key.bytes, keys(user_data).get(self._key)
        return [self._known[handle] for handle in handles if handle in self._known]


def _checked(cls: Any) -> Any:
    if type_name(cls) not in typesystem.services():
        raise UserError(f"{type_name(cls)} is no service; give a service class, as std_srvs.srv.Trigger.")
    return cls


def _identity(participant: Participant) -> str:
    """Unique among all clients and servers: rmw_cyclonedds compares it as text."""
    return ".".join(f"{byte:x}" for byte in participant.next_service_id())


def _pack(client: int, sequence: int, message: Message) -> memoryview:
    body = cdr.serialize(message)
    raw = bytearray(len(body) + 16)
    raw[:4], raw[20:] = body[:4], body[4:]
    _HEADER[1].pack_into(raw, 4, client, sequence)
    return memoryview(raw)


def _unpack(sample: RawSample, reader: Reader[Any]) -> tuple[int, int, Message] | None:
    """(client, sequence number, message); None, counted: it does not parse."""
    raw = sample.raw
    try:
        if len(raw) < 20 or raw[0] or raw[1] not in _HEADER:
            raise DataError(
                f"received {len(raw)} bytes without a service header; is the sender's RMW another than rmw_cyclonedds?"
            )
        client, sequence = _HEADER[raw[1]].unpack_from(raw, 4)
        return client, sequence, cdr.deserialize(raw[:4] + raw[20:], reader.cls)
    except DataError as error:
        reader.dropped, reader.last_drop = reader.dropped + 1, f"{reader.topic}: {error}"
        return None
