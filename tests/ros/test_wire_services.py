"""The service header, who is answered, and which servers and clients are turned away. ROS domain 24."""

import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from robot_pt.errors import MismatchError, UserError
from robot_pt_ros.wire import cdr, clayer, names
from robot_pt_ros.wire.dds import Participant, Reader, Waiter, Writer
from robot_pt_ros.wire.discovery import keys
from robot_pt_ros.wire.messages import message_class, service_class
from robot_pt_ros.wire.qos import SERVICES
from robot_pt_ros.wire.services import Client, RequestId, Server

SetBool: Any = service_class("std_srvs/srv/SetBool")
Trigger: Any = service_class("std_srvs/srv/Trigger")


@pytest.fixture
def participant() -> Iterator[Participant]:
    made = Participant(24)
    yield made
    made.close()


def wait_for(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)
    return found


def raw_request(client: int, sequence: int, body: bytes) -> bytes:
    return cdr.HEADER + struct.pack("<Qq", client, sequence) + body


def test_two_clients_get_their_own_answers(participant: Participant) -> None:
    server = Server(participant, "/set", SetBool)
    clients = [Client(participant, "/set", SetBool) for _ in range(2)]
    wait_for(lambda: all(client.ready() for client in clients))
    sent = [client.send(SetBool.Request(data=bool(n))) for n, client in enumerate(clients)]
    again = clients[0].send(SetBool.Request(data=True))
    assert (sent, again) == ([1, 1], 2)
    for request, body in server.take():
        assert server.reply(request, SetBool.Response(success=body.data, message=f"{request.sequence}"))
    assert [(n, a.success, a.message) for n, a in clients[0].take()] == [(1, False, "1"), (2, True, "2")]
    assert [(n, a.success, a.message) for n, a in clients[1].take()] == [(1, True, "1")]
    assert clients[0].take() == server.take() == []


def test_bytes_and_user_data_as_rmw_cyclonedds_has_them(participant: Participant) -> None:
    listener = Reader(
        participant, "rq/bytesRequest", Trigger.Request, SERVICES, "serviceid=listener;", service_header=True
    )
    replier = Writer(
        participant, "rr/bytesReply", Trigger.Response, SERVICES, "serviceid=listener;", service_header=True
    )
    client = Client(participant, "/bytes", Trigger)
    wait_for(client.ready)
    client.send(Trigger.Request())
    (sample,) = listener.take_raw()
    handle = clayer.handle(client.writer.dds)
    assert sample.raw == raw_request(handle, 1, b"\0") + bytes(3)  # the empty request's one byte, padded
    answer = b"\x01\0\0\0" + (3).to_bytes(4, "little") + b"ok\0\0"
    replier.write_raw(raw_request(handle + 1 & 2**64 - 1, 1, answer))  # somebody else's
    replier.write_raw(raw_request(handle, 1, answer))
    assert client.take() == [(1, Trigger.Response(success=True, message="ok"))]
    (asked,) = list(participant.graph.clients("/bytes"))
    (asking,) = list(participant.graph._infos(participant.graph._writers, "rq/bytesRequest"))
    identities = {keys(e.user_data)["clientid"] for e in (asked, asking)}
    assert len(identities) == 1
    assert {keys(e.user_data)["typehash"] for e in (asked, asking)} == {
        cdr.type_hash(Trigger.Response),
        cdr.type_hash(Trigger.Request),
    }


def test_a_server_of_another_rmw_is_never_sent_anything(participant: Participant) -> None:
    foreign = Reader(participant, names.request_topic("/foreign"), SetBool.Request, SERVICES, service_header=True)
    Writer(participant, names.reply_topic("/foreign"), SetBool.Response, SERVICES, service_header=True)
    client = Client(participant, "/foreign", SetBool)
    wait_for(client.writer.matched)
    for call in (client.ready, lambda: client.send(SetBool.Request())):
        with pytest.raises(
            MismatchError, match=r"/foreign is served by another RMW .*RMW_IMPLEMENTATION=rmw_cyclonedds_cpp"
        ):
            call()
    Server(participant, "/foreign", SetBool)  # one of our kind beside it changes nothing: both would be sent it
    wait_for(lambda: client.writer.matched() == 2)
    with pytest.raises(MismatchError):
        client.send(SetBool.Request())
    time.sleep(0.1)
    assert foreign.take_raw() == []
    foreign.close()
    wait_for(lambda: client.writer.matched() == 1)
    assert client.ready()


def test_a_client_of_another_rmw_is_dropped_and_counted(participant: Participant) -> None:
    server = Server(participant, "/strict", SetBool)
    foreign = Writer(participant, names.request_topic("/strict"), SetBool.Request, SERVICES, service_header=True)
    wait_for(foreign.matched)
    foreign.write_raw(raw_request(1, 1, b"\x01\0\0\0"))
    assert server.take() == []
    assert server.dropped == 1


def test_requests_and_replies_that_do_not_parse_are_dropped_and_counted(participant: Participant) -> None:
    server, client = Server(participant, "/parse", SetBool), Client(participant, "/parse", SetBool)
    wait_for(client.ready)
    server.reader.cls = client.reader.cls = message_class("sensor_msgs/msg/JointState")
    client.send(SetBool.Request())
    assert server.take() == []
    assert server.dropped == 1
    assert "/parseRequest: received" in server.reader.last_drop
    server.reply(RequestId(clayer.handle(client.writer.dds), 1, clayer.handle(client.writer.dds)), SetBool.Response())
    assert client.take() == []
    assert client.reader.dropped == 1


class Slow(deque[Any]):
    """Held answers whose count is out of date when it is looked at in this thread: the other one had its turn."""

    def __init__(self, held: deque[Any]) -> None:
        super().__init__(held)
        self.counts, self.counted = threading.get_ident(), threading.Event()
        self.taken = threading.Event()

    def __len__(self) -> int:
        count = super().__len__()
        if count and threading.get_ident() == self.counts:
            self.counted.set()
            self.taken.wait(0.3)
        return count

    def popleft(self) -> Any:
        found = super().popleft()
        self.taken.set()
        return found


def test_answering_in_one_thread_while_another_polls(participant: Participant) -> None:
    server, client = Server(participant, "/threads", Trigger), Client(participant, "/threads", Trigger)
    wait_for(client.ready)
    client.send(Trigger.Request())
    ((request, _),) = wait_for(server.take)
    held = server._pending = Slow(server._pending)
    polls = threading.Thread(target=lambda: held.counted.wait(30) and server.poll())
    polls.start()
    assert server.reply(request, Trigger.Response(message="once"))
    polls.join(30)
    assert [answer.message for _, answer in wait_for(client.take)] == ["once"]


def test_an_answer_waits_for_a_client_whose_reader_is_not_found_yet(
    participant: Participant, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(participant, "/early", SetBool)
    waiter = Waiter(participant)
    waiter.add(server)
    early = Writer(
        participant, names.request_topic("/early"), SetBool.Request, SERVICES, "clientid=early;", service_header=True
    )
    wait_for(early.matched)
    early.write_raw(raw_request(5, 9, b"\x01\0\0\0"))
    assert waiter.wait(5) == [server]
    ((request, body),) = server.take()
    assert (request.client, request.sequence, body.data) == (5, 9, True)
    assert server.reply(request, SetBool.Response(message="held")) is False
    reader = Reader(
        participant, names.reply_topic("/early"), SetBool.Response, SERVICES, "clientid=early;", service_header=True
    )
    waiter.wait(0.5)
    (answer,) = wait_for(reader.take_raw)
    assert answer.raw[4:20] == struct.pack("<Qq", 5, 9)
    assert server.undelivered == 0
    reader.close()
    monkeypatch.setattr("robot_pt_ros.wire.services.REPLY_WAIT_S", 0.1)
    assert server.reply(request, SetBool.Response(message="nobody")) is False
    time.sleep(0.15)
    server.poll()
    assert server.undelivered == 1
    waiter.close()


def test_a_call_without_a_server_waits_for_none(participant: Participant) -> None:
    client = Client(participant, "/nobody", SetBool)
    assert client.ready() is False
    assert client.send(SetBool.Request()) == 1
    assert client.take() == []


def test_refusals(participant: Participant) -> None:
    server, client = Server(participant, "/refusals", SetBool), Client(participant, "/refusals", SetBool)
    with pytest.raises(UserError, match="takes a std_srvs/srv/SetBool_Request, not a Trigger_Request"):
        client.send(Trigger.Request())
    with pytest.raises(UserError, match="answers with a std_srvs/srv/SetBool_Response, not a Trigger_Response"):
        server.reply(RequestId(1, 1), Trigger.Response())
    with pytest.raises(UserError, match="std_msgs/msg/String is no service"):
        Client(participant, "/refusals", message_class("std_msgs/msg/String"))
    with pytest.raises(UserError, match="not a full ROS 2 name"):
        Server(participant, "refusals", SetBool)
    server.close()
    client.close()
    server.close()
    client.close()
    with pytest.raises(UserError, match="closed"):
        client.send(SetBool.Request())


def test_a_node_has_both_ends_of_its_services(participant: Participant) -> None:
    server, client = Server(participant, "/node/set", SetBool), Client(participant, "/other/set", Trigger)
    node = participant.graph.add_node("node", "/")
    participant.graph.attach(node, server)
    participant.graph.attach(node, client)
    wait_for(lambda: participant.graph.servers_of("node", "/") == {"/node/set": ["std_srvs/srv/SetBool"]})
    assert participant.graph.clients_of("node", "/") == {"/other/set": ["std_srvs/srv/Trigger"]}
    assert participant.graph.services() == {
        "/node/set": ["std_srvs/srv/SetBool"],
        "/other/set": ["std_srvs/srv/Trigger"],
    }
    assert participant.graph.topics() == {}
    assert [e.node_name for e in participant.graph.servers("/node/set")] == ["node"]
    participant.graph.detach(node, server)
    assert participant.graph.servers_of("node", "/") == {}
