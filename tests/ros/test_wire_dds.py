"""Participants, writers and readers inside one process: QoS events, closing, refusals. ROS domain 22."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from robot_pt.errors import UserError
from robot_pt_ros.wire import cdr, clayer
from robot_pt_ros.wire.dds import Participant, Reader, Writer
from robot_pt_ros.wire.messages import message_class
from robot_pt_ros.wire.qos import DEFAULT, QoS

String: Any = message_class("std_msgs/msg/String")
Int32: Any = message_class("std_msgs/msg/Int32")


@pytest.fixture(scope="module")
def participant() -> Iterator[Participant]:
    made = Participant(22)
    yield made
    made.close()


def events(endpoint: Writer | Reader[Any], kind: str, seconds: float = 10) -> list[Any]:
    """The events of a kind, waited for."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = [event for event in endpoint.take_events() if event.kind == kind]
        if found:
            return found
        time.sleep(0.005)
    return []


def test_two_publishers_are_told_apart(participant: Participant) -> None:
    reader = participant.reader("/command", String)
    writers = [participant.writer("/command", String) for _ in range(2)]
    for number, writer in enumerate(writers):
        writer.write(String(data=str(number)), stamp_ns=7 + number)
    taken = reader.take(10)
    assert [(s.message.data, s.source_ns) for s in taken] == [("0", 7), ("1", 8)]
    assert [reader.publisher_gid(s.publication_handle) for s in taken] == [writer.gid for writer in writers]
    assert {info.gid for info in participant.graph.publishers("/command")} == {writer.gid for writer in writers}
    assert reader.matched() == 2
    handle = taken[1].publication_handle
    writers[1].close()
    assert reader.publisher_gid(handle) == writers[1].gid  # asked before it left
    assert reader.publisher_gid(123) is None
    assert reader.matched() == 1


def test_source_time_is_the_wall_clock_by_default(participant: Participant) -> None:
    writer, reader = participant.writer("/clock", String), participant.reader("/clock", String)
    before = time.time_ns()
    writer.write(String())
    (sample,) = reader.take()
    assert before - 10**6 <= sample.source_ns <= time.time_ns() + 10**6


@pytest.mark.parametrize(
    ("offered", "requested", "policy"),
    [
        (QoS(reliability="best_effort"), DEFAULT, "reliability"),
        (DEFAULT, QoS(durability="transient_local"), "durability"),
        (DEFAULT, QoS(deadline_ns=10**9), "deadline"),
        (DEFAULT, QoS(lease_ns=10**9), "liveliness"),
        (DEFAULT, QoS(liveliness="manual_by_topic"), "liveliness"),
    ],
)
def test_both_sides_hear_of_a_qos_that_keeps_them_apart(
    participant: Participant, offered: QoS, requested: QoS, policy: str
) -> None:
    topic = f"/apart_{policy}_{requested.liveliness}"
    writer, reader = participant.writer(topic, String, offered), participant.reader(topic, String, requested)
    for side in (writer, reader):
        (event,) = events(side, "incompatible_qos")
        assert (event.total, event.change, event.policy) == (1, 1, policy)
    writer.write(String(data="unheard"))
    assert reader.take() == []
    assert (writer.matched(), reader.matched()) == (0, 0)


def test_a_missed_deadline_is_an_event_on_both_sides(participant: Participant) -> None:
    qos = QoS(deadline_ns=50_000_000)
    writer, reader = participant.writer("/deadman", String, qos), participant.reader("/deadman", String, qos)
    writer.write(String())
    assert not [event for event in reader.take_events() if event.kind == "deadline_missed"]
    (missed,) = events(reader, "deadline_missed")[:1]
    assert missed.total >= missed.change >= 1
    assert events(writer, "deadline_missed")


def test_manual_liveliness_ends_when_it_is_not_asserted(participant: Participant) -> None:
    qos = QoS(liveliness="manual_by_topic", lease_ns=200_000_000)
    writer, reader = participant.writer("/alive", String, qos), participant.reader("/alive", String, qos)
    writer.assert_liveliness()
    alive = events(reader, "liveliness_changed")
    assert alive[-1].alive == 1
    lost = events(reader, "liveliness_changed")
    assert (lost[-1].alive, lost[-1].not_alive) == (0, 1)
    assert events(writer, "liveliness_lost")[0].total == 1
    writer.write(String())
    assert events(reader, "liveliness_changed")[-1].alive == 1


def test_a_lifespan_ends(participant: Participant) -> None:
    writer = participant.writer("/short", String, QoS(lifespan_ns=50_000_000, depth=10))
    reader = participant.reader("/short", String)
    writer.write(String(data="old"))
    time.sleep(0.2)
    assert reader.take() == []
    heard: list[str] = []
    end = time.monotonic() + 30
    while not heard and time.monotonic() < end:  # 50 ms may pass before the next line on a busy machine
        writer.write(String(data="new"))
        heard = [s.message.data for s in reader.take()]
    assert heard == ["new"]


def test_keep_last_keeps_the_last(participant: Participant) -> None:
    writer, reader = participant.writer("/depth", String), participant.reader("/depth", String, QoS(depth=2))
    for number in range(5):
        writer.write(String(data=str(number)))
    assert [s.message.data for s in reader.take(10)] == ["3", "4"]


def test_a_reader_drops_and_counts_what_is_no_message(participant: Participant) -> None:
    writer, reader = participant.writer("/raw", String), participant.reader("/raw", String)
    writer.write_raw(cdr.HEADER + b"\x02\0\0\0a\0")  # padded to four here
    assert [s.message.data for s in reader.take(5)] == ["a"]
    reader.cls = message_class("sensor_msgs/msg/JointState")  # a program with another definition of the type
    writer.write(String(data="no JointState"))
    assert reader.take(5) == []
    assert reader.dropped == 1
    assert "/raw: received 24 bytes that are no sensor_msgs/msg/JointState" in reader.last_drop
    with pytest.raises(UserError, match=r"cannot publish 8 bytes on /raw .*are they a whole std_msgs/msg/String"):
        writer.write_raw(cdr.HEADER + b"\xff\xff\xff\xff")
    writer.write(String(data="x"))
    (raw,) = reader.take_raw()
    assert raw.raw == bytes(cdr.serialize(String(data="x")))


def test_refusals(participant: Participant) -> None:
    writer = participant.writer("/refusals", String)
    with pytest.raises(UserError, match="/refusals carries std_msgs/msg/String, not Int32"):
        writer.write(Int32())
    with pytest.raises(UserError, match="not a full ROS 2 name"):
        participant.reader("refusals", String)
    with pytest.raises(UserError, match="is no ROS 2 message or service class"):
        participant.writer("/refusals", str)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="QoS depth is 0"):
        participant.writer("/refusals", String, QoS(depth=0))
    with pytest.raises(UserError, match="ROS_DOMAIN_ID is '-1'"):
        Participant(-1)


def test_closing() -> None:
    here, beside = Participant(22), Participant(22)
    writer, reader = here.writer("/closing", String), beside.reader("/closing", String)
    writer.write(String())
    here.close()
    here.close()
    writer.close()
    assert (len(reader.take()), writer.take_events()) == (1, [])
    with pytest.raises(UserError, match="the publisher of /closing is closed"):
        writer.write(String())
    with pytest.raises(UserError, match="participant of domain 22 is closed"):
        here.writer("/closing", String)
    reader.close()
    assert (reader.take(), reader.take_events(), reader.publisher_gid(1), reader.poll()) == ([], [], None, False)
    assert beside.writer("/closing", String).write(String())
    beside.close()


def test_a_bad_configuration_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CYCLONEDDS_URI", "<CycloneDDS><Domain><Nonsense>1</Nonsense></Domain></CycloneDDS>")
    with pytest.raises(UserError, match=r"refuses its configuration for ROS domain 34 .*check CYCLONEDDS_URI"):
        Participant(34)
    monkeypatch.setenv(
        "CYCLONEDDS_URI",
        "<CycloneDDS><Domain><General><Interfaces><NetworkInterface address='203.0.113.7'/></Interfaces></General></Domain></CycloneDDS>",
    )
    with pytest.raises(UserError, match="check CYCLONEDDS_URI"):
        Participant(34)
    monkeypatch.delenv("CYCLONEDDS_URI")
    Participant(34).close()


def test_private_functions_of_cyclonedds_are_as_they_were_in_11_0_1(participant: Participant) -> None:
    """Fails when cyclonedds changes below clayer.py: read its new signatures and adapt that one file."""
    from importlib import metadata

    from cyclonedds import _clayer

    writer, reader = participant.writer("/private", String), participant.reader("/private", String)
    raw = cdr.serialize(String(data="abc"))
    assert metadata.version("cyclonedds").startswith("11.")
    for buffer in (bytes(raw), bytearray(raw), memoryview(raw)):
        assert _clayer.ddspy_write(writer.dds._ref, buffer) == 0
    assert _clayer.ddspy_write_ts(writer.dds._ref, bytes(raw), 1234) == 0
    taken = _clayer.ddspy_take(reader.dds._ref, 127, 10)
    assert isinstance(taken, list)
    assert [(type(found), found) for found, _ in taken] == [(bytes, bytes(raw))] * 4
    info = taken[-1][1]
    assert (info.valid_data, info.source_timestamp, info.publication_handle) == (True, 1234, clayer.handle(writer.dds))
    assert _clayer.ddspy_take(reader.dds._ref, 127, 10) == []
    assert isinstance(_clayer.ddspy_take(-1, 127, 1), int)
    assert _clayer.ddspy_write(-1, bytes(raw)) < 0
    with pytest.raises(TypeError):
        _clayer.ddspy_write(writer.dds._ref, "text")


def test_errors_of_the_private_functions_are_exceptions(participant: Participant) -> None:
    from cyclonedds.core import DDSException

    writer, reader = participant.writer("/gone", String), participant.reader("/gone", String)
    clayer.delete(writer.dds)
    clayer.delete(reader.dds)
    clayer.delete(reader.dds)
    for call in (
        lambda: clayer.write(writer.dds, bytes(8), None),
        lambda: clayer.take(reader.dds, 1),
        lambda: clayer.assert_liveliness(writer.dds),
        lambda: clayer.acknowledged(writer.dds, 1000),
    ):
        with pytest.raises(DDSException):
            call()
