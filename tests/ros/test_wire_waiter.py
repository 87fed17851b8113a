"""One thread that waits: data, events, wake-ups, closing. ROS domain 23."""

import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cyclonedds.core import DDSException

from robot_pt_ros.wire.dds import Participant, Reader, Waiter, Writer
from robot_pt_ros.wire.messages import message_class
from robot_pt_ros.wire.qos import QoS

String: Any = message_class("std_msgs/msg/String")


@pytest.fixture(scope="module")
def participant() -> Iterator[Participant]:
    made = Participant(23)
    yield made
    made.close()


@pytest.fixture
def waiter(participant: Participant) -> Iterator[Waiter]:
    made = Waiter(participant)
    yield made
    made.close()


@pytest.fixture
def pair(participant: Participant, request: pytest.FixtureRequest) -> Iterator[tuple[Writer, Reader[Any]]]:
    topic = f"/{request.node.name.split('[')[0]}"
    writer, reader = participant.writer(topic, String), participant.reader(topic, String)
    writer.take_events()
    reader.take_events()
    yield writer, reader
    writer.close()
    reader.close()


def test_data_wakes_until_it_is_taken(waiter: Waiter, pair: tuple[Writer, Reader[Any]]) -> None:
    writer, reader = pair
    waiter.add(reader)
    assert waiter.wait(0.05) == []
    writer.write(String(data="a"))
    writer.write(String(data="b"))
    assert waiter.wait(5) == waiter.wait(5) == [reader]
    assert [s.message.data for s in reader.take(1)] == ["a"]
    assert waiter.wait(5) == [reader]
    assert [s.message.data for s in reader.take(9)] == ["b"]
    assert waiter.wait(0.05) == []


def test_data_that_was_there_before_counts(waiter: Waiter, pair: tuple[Writer, Reader[Any]]) -> None:
    writer, reader = pair
    writer.write(String(data="a"))
    waiter.add(reader)
    waiter.add(reader)
    assert waiter.wait(5) == [reader]
    waiter.remove(reader)
    waiter.remove(reader)
    assert waiter.wait(0.05) == []


def test_an_event_wakes_once_and_stays_until_taken(
    waiter: Waiter, pair: tuple[Writer, Reader[Any]], participant: Participant
) -> None:
    writer, _ = pair
    waiter.add(writer)
    other = participant.reader(writer.topic, String)
    assert waiter.wait(5) == [writer]
    assert waiter.wait(0.05) == []
    other.close()
    assert waiter.wait(5) == [writer]
    found = [(event.kind, event.total, event.change) for event in writer.take_events()]
    assert found == [("matched", 2, 1), ("matched", 1, -1)]
    assert writer.take_events() == []


def test_the_graph_wakes_when_it_changes(waiter: Waiter, participant: Participant) -> None:
    participant.graph.poll()
    waiter.add(participant.graph)
    assert waiter.wait(0.05) == []
    writer = participant.writer("/new", String)
    assert waiter.wait(5) == [participant.graph]
    writer.close()
    assert waiter.wait(5) == [participant.graph]
    waiter.remove(participant.graph)


def test_a_wake_from_another_thread_ends_the_wait_and_one_before_it_ends_the_next(waiter: Waiter) -> None:
    timer = threading.Timer(0.1, waiter.wake)
    start = time.monotonic()
    timer.start()
    assert waiter.wait(30) == []
    assert time.monotonic() - start < 10
    waiter.wake()
    assert waiter.wait(None) == []


def test_waiting_leaves_other_threads_running(waiter: Waiter) -> None:
    counted = 0
    done = threading.Thread(target=waiter.wait, args=(0.5,))
    done.start()
    while done.is_alive():
        counted += 1
        time.sleep(0)
    assert counted > 50


def test_writing_from_one_thread_while_another_waits(waiter: Waiter, participant: Participant) -> None:
    qos = QoS(depth=500)
    writer, reader = participant.writer("/threads", String, qos), participant.reader("/threads", String, qos)
    waiter.add(reader)

    def write() -> None:
        for number in range(200):
            writer.write(String(data=str(number)))
            if number % 20 == 0:
                time.sleep(0.001)

    thread = threading.Thread(target=write)
    thread.start()
    taken: list[str] = []
    end = time.monotonic() + 60
    while len(taken) < 200 and time.monotonic() < end:
        waiter.wait(1)
        taken += [sample.message.data for sample in reader.take(50)]
    thread.join()
    assert taken == [str(number) for number in range(200)]


def test_a_closed_waiter_waits_no_more(participant: Participant) -> None:
    made = Waiter(participant)
    reader = participant.reader("/closed", String)
    made.add(reader)
    thread = threading.Thread(target=made.wait)
    thread.start()
    time.sleep(0.05)
    made.close()
    thread.join(30)
    assert not thread.is_alive()
    made.close()
    made.wake()
    made.add(reader)
    assert made.wait(1) == []
    reader.close()


def test_closing_while_a_thread_waits_raises_nothing_in_it(participant: Participant) -> None:
    raised: list[BaseException] = []

    def wait(waiter: Waiter) -> None:
        try:
            waiter.wait()
        except Exception as error:  # noqa: BLE001  # told by the assertion
            raised.append(error)

    reader = participant.reader("/closing", String)
    rng = random.Random(0)
    for _ in range(150):
        made = Waiter(participant)
        made.add(reader)
        thread = threading.Thread(target=wait, args=(made,))
        thread.start()
        time.sleep(rng.uniform(0, 0.002))
        made.close()
        thread.join(30)
        assert not thread.is_alive()
    reader.close()
    assert not raised


def test_a_source_that_cannot_be_asked_is_told_and_keeps_no_other_from_being_heard(
    participant: Participant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poll() -> bool:
        raise DDSException(DDSException.DDS_RETCODE_ERROR)

    waiter, writer = Waiter(participant), participant.writer("/other", String)
    broken, sound = participant.reader("/other", String), participant.reader("/other", String)
    monkeypatch.setattr(broken, "poll", poll)
    waiter.add(broken)
    waiter.add(sound)
    writer.write(String(data="a"))
    end = time.monotonic() + 30
    while (found := waiter.wait(1)) != [broken, sound]:
        assert time.monotonic() < end, found
    assert [sample.message.data for sample in sound.take()] == ["a"]
    for one in (waiter, broken, sound, writer):
        one.close()


def test_only_what_has_something_is_asked(participant: Participant, monkeypatch: pytest.MonkeyPatch) -> None:
    waiter, writer = Waiter(participant), participant.writer("/heard", String)
    heard = participant.reader("/heard", String)
    silent = [participant.reader("/silent", String) for _ in range(3)]
    for reader in (*silent, heard):
        waiter.add(reader)
    writer.write(String(data="a"))
    while waiter.wait(0.2) != [heard]:  # matches first
        heard.take_events()
    asked: list[Any] = []
    for reader in silent:
        monkeypatch.setattr(reader, "poll", lambda reader=reader: asked.append(reader))
    assert waiter.wait(5) == [heard]
    assert not asked
    for one in (waiter, writer, heard, *silent):
        one.close()


def test_more_than_a_wait_can_tell_of_is_asked_one_by_one(
    participant: Participant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robot_pt_ros.wire.clayer.Triggers.MOST", 2)
    waiter, writer = Waiter(participant), participant.writer("/many", String)
    readers = [participant.reader("/many", String) for _ in range(4)]
    for reader in readers:
        waiter.add(reader)
    writer.write(String(data="a"))
    end = time.monotonic() + 30
    while (found := waiter.wait(1)) != readers:
        assert time.monotonic() < end, found
    for one in (waiter, writer, *readers):
        one.close()
