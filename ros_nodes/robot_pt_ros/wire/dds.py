"""A process on the graph (Participant) and its endpoints, which write and take serialized or typed messages."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

from cyclonedds.core import DDSException, InstanceState, Policy, ReadCondition, SampleState, ViewState
from cyclonedds.core import Qos as DdsQos
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic

from robot_pt.errors import DataError, UserError
from robot_pt_ros.wire import cdr, clayer, config, events, idl, names
from robot_pt_ros.wire.memory import keep_freed_blocks
from robot_pt_ros.wire.messages import Message, distro, type_name
from robot_pt_ros.wire.qos import DEFAULT, QoS, to_dds
from robot_pt_ros.wire.waiter import Waiter

if TYPE_CHECKING:
    from robot_pt_ros.wire.discovery import Graph

__all__ = ["Participant", "RawSample", "Reader", "Sample", "Waiter", "Writer"]

M = TypeVar("M", bound=Message)
ANY = SampleState.Any | ViewState.Any | InstanceState.Any


class Sample(NamedTuple, Generic[M]):
    """`publication_handle` names the writer among those matched now: Reader.publisher_gid."""

    message: M
    source_ns: int  # when it was written, by the writer's wall clock
    publication_handle: int


class RawSample(NamedTuple):
    raw: bytes  # header and CDR
    source_ns: int
    publication_handle: int


class Participant:
    """This process on one domain; one is enough for all its nodes."""

    def __init__(self, domain: int | None = None, enclave: str = "/"):
        """`domain` None: $ROS_DOMAIN_ID, else 0. UserError: a domain or an environment variable that means nothing."""
        from robot_pt_ros.wire.discovery import Graph

        self.domain = config.domain_id() if domain is None else config.domain_id({"ROS_DOMAIN_ID": str(domain)})
        self.enclave = enclave
        keep_freed_blocks()
        _Domains.enter(self.domain)
        try:
            self.dds = DomainParticipant(self.domain, DdsQos(Policy.Userdata(f"enclave={enclave};".encode())))
        except DDSException as error:
            _Domains.leave(self.domain)
            raise UserError(
                f"cannot join ROS domain {self.domain} ({error}); check CYCLONEDDS_URI and the network interface, and that fewer than "
                f"{config.MAX_INDEX} processes are on this domain."
            ) from error
        self.gid: bytes = self.dds.guid.bytes
        self._topics: dict[tuple[str, Any], Topic[Any]] = {}
        self._open: list[Writer | Reader[Any]] = []
        self._closed = False
        self._service_ids = 0
        self.graph: Graph = Graph(self)

    def writer(self, topic: str, cls: type[Message], qos: QoS = DEFAULT) -> Writer:
        """A publisher of ROS topic `topic`, "/ns/name". UserError: a bad name, class or QoS."""
        return Writer(self, names.topic_to_dds(topic), cls, qos)

    def reader(self, topic: str, cls: type[M], qos: QoS = DEFAULT) -> Reader[M]:
        """A subscription to ROS topic `topic`, "/ns/name". UserError: a bad name, class or QoS."""
        return Reader(self, names.topic_to_dds(topic), cls, qos)

    def topic(self, dds_name: str, cls: type[Message], service_header: bool = False) -> Topic[Any]:
        """The DDS topic, made once. UserError: this participant is closed."""
        if self._closed:
            raise UserError(f"this participant of domain {self.domain} is closed; make a new one.")
        struct = idl.struct(type_name(cls), service_header)
        if (dds_name, struct) not in self._topics:
            self._topics[dds_name, struct] = Topic(self.dds, dds_name, struct)
        return self._topics[dds_name, struct]

    def next_service_id(self) -> bytes:
        """16 bytes for a client or server: this participant's GUID prefix and a count, as rmw_cyclonedds has it."""
        self._service_ids += 1
        return self.gid[:12] + self._service_ids.to_bytes(4, "big")

    def opened(self, endpoint: Writer | Reader[Any]) -> None:
        """To be closed with this participant."""
        self._open.append(endpoint)

    def closed(self, endpoint: Writer | Reader[Any]) -> None:
        """No longer to be closed with this participant."""
        if endpoint in self._open:
            self._open.remove(endpoint)

    def close(self) -> None:
        """Leave the graph; endpoints made here are closed first. A second call does nothing."""
        if not self._closed:
            self._closed = True
            self.graph.close()
            for endpoint in list(self._open):
                endpoint.close()
            clayer.delete(self.dds)
            _Domains.leave(self.domain)


class Writer:
    """Writes to one DDS topic. Safe from any thread; one writes at a time, since writing holds the GIL."""

    def __init__(
        self,
        participant: Participant,
        dds_topic: str,
        cls: type[Message],
        qos: QoS,
        user_data: str = "",
        service_header: bool = False,
    ):
        self.topic = names.topic_from_dds(dds_topic) or dds_topic
        self.qos, self.cls = qos, cls
        self._participant = participant
        topic = participant.topic(dds_topic, cls, service_header)
        self.dds = DataWriter(participant.dds, topic, to_dds(qos, _user_data(cls, user_data), writer=True))
        self.dds.set_status_mask(events.mask(events.WRITER))
        self.gid: bytes = self.dds.guid.bytes
        self._events: deque[events.Event] = deque(maxlen=events.KEPT)
        self._closed = False
        participant.opened(self)

    def write(self, message: Message, stamp_ns: int | None = None) -> bool:
        """Publish; False: no room within qos.max_blocking_ns. UserError: another type, or closed."""
        if type(message) is not self.cls:
            raise UserError(f"{self.topic} carries {type_name(self.cls)}, not {type(message).__name__}.")
        return self.write_raw(cdr.serialize(message), stamp_ns)

    def write_raw(self, raw: cdr.Buffer, stamp_ns: int | None = None) -> bool:
        """Publish header and CDR as they are; False: no room within qos.max_blocking_ns. UserError: closed, or no message of the type."""
        if self._closed:
            raise UserError(f"the publisher of {self.topic} is closed; make a new one.")
        if len(raw) % 4:
            raw = bytes(raw) + bytes(-len(raw) % 4)
        try:
            return clayer.write(self.dds, raw, stamp_ns)
        except DDSException as error:
            raise UserError(
                f"cannot publish {len(raw)} bytes on {self.topic} ({error}); are they a whole {type_name(self.cls)}?"
            ) from error

    def acknowledged(self, timeout_s: float) -> bool:
        """Whether every reliable reader has what was written, within that time."""
        return clayer.acknowledged(self.dds, int(timeout_s * 1e9))

    def matched(self) -> int:
        """Readers that hear this writer now."""
        return len(clayer.matched(self.dds))

    def assert_liveliness(self) -> None:
        """Say that this writer is alive (liveliness "manual_by_topic")."""
        clayer.assert_liveliness(self.dds)

    def take_events(self) -> list[events.Event]:
        """What changed since the last call: incompatible_qos, deadline_missed, liveliness_lost, matched."""
        self.poll()
        return events.drain(self._events)

    def gids(self) -> tuple[list[bytes], list[bytes]]:
        """(readers, writers) that a node has by this."""
        return [], [self.gid]

    def triggers(self) -> list[Any]:
        """DDS entities that a Waiter waits on."""
        return [self.dds]

    def poll(self) -> bool:
        """Whether anything happened since the last poll: `take_events` has it."""
        new = [] if self._closed else events.take(self.dds, events.WRITER)
        self._events.extend(new)
        return bool(new)

    def close(self) -> None:
        """Leave the topic; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._participant.graph.forget(self.gid)
            self._participant.closed(self)
            clayer.delete(self.dds)


class Reader(Generic[M]):
    """Takes from one DDS topic. `dropped` counts samples that were no whole message of the type; `last_drop` says why."""

    def __init__(
        self,
        participant: Participant,
        dds_topic: str,
        cls: type[M],
        qos: QoS,
        user_data: str = "",
        service_header: bool = False,
        ignore_local: bool = False,
    ):
        self.topic = names.topic_from_dds(dds_topic) or dds_topic
        self.qos, self.cls = qos, cls
        self.dropped, self.last_drop = 0, ""
        self._participant = participant
        topic = participant.topic(dds_topic, cls, service_header)
        self.dds = DataReader(
            participant.dds, topic, to_dds(qos, _user_data(cls, user_data), writer=False, ignore_local=ignore_local)
        )
        self.dds.set_status_mask(events.mask(events.READER))
        self._condition = ReadCondition(self.dds, ANY)
        self.gid: bytes = self.dds.guid.bytes
        self._publishers: dict[int, bytes] = {}
        self._events: deque[events.Event] = deque(maxlen=events.KEPT)
        self._closed = False
        participant.opened(self)

    def take(self, limit: int = 1) -> list[Sample[M]]:
        """Up to `limit` messages, oldest first; those that do not parse are counted in `dropped`."""
        taken: list[Sample[M]] = []
        while len(taken) < limit:
            raws = self.take_raw(limit - len(taken))
            if not raws:
                break
            for raw, source_ns, handle in raws:
                try:
                    taken.append(Sample(cdr.deserialize(raw, self.cls), source_ns, handle))
                except DataError as error:
                    self.dropped, self.last_drop = self.dropped + 1, f"{self.topic}: {error}"
        return taken

    def take_raw(self, limit: int = 1) -> list[RawSample]:
        """Up to `limit` samples as received, header included, oldest first."""
        taken: list[RawSample] = []
        while len(taken) < limit and not self._closed:
            asked = limit - len(taken)
            found = clayer.take(self.dds, asked)
            taken += [RawSample(raw, i.source_timestamp, i.publication_handle) for raw, i in found if i.valid_data]
            if len(found) < asked:
                break  # there was no more
        return taken

    def publisher_gid(self, publication_handle: int) -> bytes | None:
        """The writer of a sample; None: it had left before it was asked for the first time."""
        if publication_handle not in self._publishers and not self._closed:
            found = clayer.matched_data(self.dds, publication_handle)
            if found is None:
                return None
            self._publishers[publication_handle] = found.key.bytes
        return self._publishers.get(publication_handle)

    def matched(self) -> int:
        """Writers heard now."""
        return len(clayer.matched(self.dds))

    def take_events(self) -> list[events.Event]:
        """What changed since the last call: incompatible_qos, deadline_missed, liveliness_changed, message_lost, matched."""
        self._notice()
        return events.drain(self._events)

    def gids(self) -> tuple[list[bytes], list[bytes]]:
        """(readers, writers) that a node has by this."""
        return [self.gid], []

    def triggers(self) -> list[Any]:
        """DDS entities that a Waiter waits on."""
        return [self._condition, self.dds]

    def has_data(self) -> bool:
        """Whether `take` has something."""
        return not self._closed and self._condition.triggered

    def poll(self) -> bool:
        """Whether `take` has something, or anything happened since the last poll, which `take_events` has."""
        return self._notice() or self.has_data()

    def _notice(self) -> bool:
        new = [] if self._closed else events.take(self.dds, events.READER)
        self._events.extend(new)
        return bool(new)

    def close(self) -> None:
        """Leave the topic; a second call does nothing."""
        if not self._closed:
            self._closed = True
            self._participant.graph.forget(self.gid)
            self._participant.closed(self)
            clayer.delete(self._condition)
            clayer.delete(self.dds)


def _user_data(cls: type[Message], extra: str) -> bytes:
    """Humble knows no type hashes."""
    return f"{extra}typehash={cdr.type_hash(cls)};".encode() if distro() != "humble" else extra.encode()


class _Domains:
    """Cyclone's domains of this process: configured when the first participant joins, dropped when the last leaves."""

    _lock = threading.Lock()
    _joined: ClassVar[dict[int, tuple[Domain, int]]] = {}

    @classmethod
    def enter(cls, domain: int) -> None:
        with cls._lock:
            if domain not in cls._joined:
                try:
                    cls._joined[domain] = Domain(domain, config.cyclone_config()), 0
                except (DDSException, UnicodeEncodeError) as error:
                    raise UserError(
                        f"Cyclone DDS refuses its configuration for ROS domain {domain} ({error}); check CYCLONEDDS_URI, "
                        "ROS_STATIC_PEERS and ROS_AUTOMATIC_DISCOVERY_RANGE."
                    ) from error
            held, count = cls._joined[domain]
            cls._joined[domain] = held, count + 1

    @classmethod
    def leave(cls, domain: int) -> None:
        with cls._lock:
            held, count = cls._joined[domain]
            if count > 1:
                cls._joined[domain] = held, count - 1
            else:
                del cls._joined[domain]
                clayer.delete(held)
