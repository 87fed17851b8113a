"""Real processes on loopback without multicast: images both ways, late joiners, services, the graph. ROS domains 26 to 33."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robot_pt_ros.wire.dds import Participant, Waiter
from robot_pt_ros.wire.messages import message_class, service_class
from robot_pt_ros.wire.qos import QoS
from robot_pt_ros.wire.services import Client, Server

PEER = Path(__file__).parent / "wire_peer.py"
Image: Any = message_class("sensor_msgs/msg/Image")
String: Any = message_class("std_msgs/msg/String")
SetBool: Any = service_class("std_srvs/srv/SetBool")
OURS = ("CYCLONEDDS_URI", "ROS_AUTOMATIC_DISCOVERY_RANGE", "ROS_STATIC_PEERS", "ROS_LOCALHOST_ONLY", "ROS_DISTRO")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in OURS:
        monkeypatch.delenv(name, raising=False)


class Peer:
    def __init__(self, process: "subprocess.Popen[str]"):
        self.process = process
        self.said = self.hear()

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        return dict(json.loads(self.process.stdout.readline()))

    def tell(self, line: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()


@contextmanager
def peer(domain: int, *arguments: object, **environment: str) -> Iterator[Peer]:
    process = subprocess.Popen(
        [sys.executable, str(PEER), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "ROS_DOMAIN_ID": str(domain), **environment},
    )
    try:
        yield Peer(process)
        process.communicate("\n", timeout=20)
        assert process.returncode == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


@contextmanager
def participant(domain: int) -> Iterator[Participant]:
    made = Participant(domain)
    try:
        yield made
    finally:
        made.close()


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.005)
    return found


def test_images_from_another_process() -> None:
    with participant(26) as here, peer(26, "publish_images", 20) as other:
        reader = here.reader("/image", Image, QoS(depth=20))
        waiter = Waiter(here)
        waiter.add(reader)
        taken: list[Any] = []
        end = time.monotonic() + 30
        while len(taken) < 20 and time.monotonic() < end:
            waiter.wait(1)
            taken += reader.take(20)
        for number, sample in enumerate(taken):
            pixels = np.frombuffer(sample.message.data, np.uint8)
            assert pixels.size == 640 * 480 * 3
            assert np.all(pixels == number)
            assert sample.source_ns == 1000 + number
            assert (reader.publisher_gid(sample.publication_handle) or b"").hex() == other.said["gid"]
        assert (len(taken), reader.dropped) == (20, 0)


def test_images_to_another_process() -> None:
    with participant(27) as here, peer(27, "subscribe_images", 20) as other:
        writer = here.writer("/image", Image, QoS(depth=20))
        wait_for(writer.matched)
        for number in range(20):
            pixels = np.full(640 * 480 * 3, number, np.uint8)
            assert writer.write(Image(height=480, width=640, data=pixels.tobytes()), 5000 + number)
        found = other.hear()
        assert found["dropped"] == 0
        assert found["seen"] == [[n, n, 640 * 480 * 3, 5000 + n, writer.gid.hex()] for n in range(20)]


def test_a_stopped_subscriber_does_not_hold_a_reliable_writer() -> None:
    with participant(27) as here, peer(27, "subscribe_images", 1) as other:
        writer = here.writer("/image", Image, QoS(depth=5))
        message = Image(height=480, width=640, data=bytes(640 * 480 * 3))
        wait_for(writer.matched)
        os.kill(other.process.pid, signal.SIGSTOP)
        slowest = 0.0
        for _ in range(60):
            start = time.monotonic()
            writer.write(message)
            slowest = max(slowest, time.monotonic() - start)
        os.kill(other.process.pid, signal.SIGCONT)
        assert slowest < 2.0  # 0.05 s is what a full history would cost each time, and without end in rmw_cyclonedds
        assert len(other.hear()["seen"]) >= 1


def test_who_comes_late_hears_what_was_latched_and_only_the_last() -> None:
    with peer(28, "latch", "armed"), participant(28) as here:
        latched = QoS(durability="transient_local", depth=1)
        reader = here.reader("/latched", String, latched)
        sample = wait_for(lambda: reader.take(5))
        assert [s.message.data for s in sample] == ["armed"]


def test_a_service_of_another_process() -> None:
    with participant(29) as here, peer(29, "serve", "/peer/set") as other:
        client = Client(here, "/peer/set", SetBool)
        waiter = Waiter(here)
        waiter.add(client)
        wait_for(client.ready)
        for number in range(50):
            sequence = client.send(SetBool.Request(data=bool(number % 2)))
            answers = wait_for(lambda: (waiter.wait(1), client.take())[1])
            assert [(n, a.success, a.message) for n, a in answers] == [(sequence, bool(number % 2), str(sequence))]
        assert here.graph.services() == {"/peer/set": ["std_srvs/srv/SetBool"]}
        assert here.graph.servers_of("server", "/peer") == {"/peer/set": ["std_srvs/srv/SetBool"]}
        other.tell()
        assert other.hear() == {"dropped": 0, "undelivered": 0}


def test_a_client_in_another_process() -> None:
    with participant(30) as here, peer(30, "call", "/set", 20) as other:
        server = Server(here, "/set", SetBool)
        waiter = Waiter(here)
        waiter.add(server)
        answered = 0
        while answered < 20 and waiter.wait(20):
            for request, body in server.take():
                server.reply(request, SetBool.Response(success=not body.data, message="ok"))
                answered += 1
        assert other.hear()["answers"] == [[True, number % 2 == 0, "ok"] for number in range(20)]
        assert (server.dropped, server.undelivered) == (0, 0)


def test_the_graph_follows_another_process() -> None:
    with participant(31) as here:
        waiter = Waiter(here)
        waiter.add(here.graph)
        before = here.graph.revision
        with peer(31, "node", "camera", "/left", "/left/image") as other:
            wait_for(
                lambda: (
                    (waiter.wait(0.1), here.graph.publishers_of("camera", "/left"))[1] if here.graph.nodes() else None
                )
            )
            assert here.graph.revision > before
            assert here.graph.nodes() == [("camera", "/left", "/")]
            assert here.graph.publishers_of("camera", "/left") == {"/left/image": ["std_msgs/msg/String"]}
            wait_for(lambda: here.graph.subscribers_of("camera", "/left"))
            assert here.graph.topics() == {
                "/left/image": ["std_msgs/msg/String"],
                "/left/image_in": ["sensor_msgs/msg/Image"],
            }
            (info,) = here.graph.publishers("/left/image")
            assert (info.node_name, info.node_namespace, info.topic_type) == ("camera", "/left", "std_msgs/msg/String")
            assert info.gid.hex() == other.said["writer"]
            assert info.topic_type_hash.startswith("RIHS01_")
            assert (info.qos.reliability, info.qos.durability) == ("reliable", "volatile")
            other.tell("close reader")
            wait_for(lambda: not here.graph.subscriptions("/left/image_in"))
            wait_for(lambda: not here.graph.subscribers_of("camera", "/left"))
            other.tell("second node")
            wait_for(lambda: len(here.graph.nodes()) == 2)
            other.tell("remove node")
            wait_for(lambda: here.graph.nodes() == [("second", "/left", "/")])
        wait_for(lambda: not here.graph.nodes())
        assert here.graph.topics() == {}


def test_a_killed_process_is_gone_when_its_lease_ends_and_its_liveliness_sooner() -> None:
    quick = QoS(lease_ns=500_000_000, deadline_ns=200_000_000)
    with participant(32) as here, peer(32, "serve", "/gone") as other:
        client = Client(here, "/gone", SetBool, QoS())
        reader = here.reader("/beat", String, quick)
        wait_for(client.ready)
        os.kill(other.process.pid, signal.SIGKILL)
        other.process.wait()
        assert reader.matched() == 0
        assert client.send(SetBool.Request()) == 1  # nobody answers: to wait for it is the caller's affair
        assert client.take() == []
        other.process.returncode = 0


def test_other_domains_are_not_heard() -> None:
    with participant(33) as here, peer(26, "node", "far", "/", "/far"):
        time.sleep(1.0)
        assert here.graph.nodes() == []
        assert here.graph.topics() == {}


def test_discovery_off_keeps_a_process_alone() -> None:
    with participant(33) as here, peer(33, "node", "far", "/", "/far", ROS_AUTOMATIC_DISCOVERY_RANGE="OFF"):
        time.sleep(1.0)
        assert here.graph.nodes() == []


@pytest.mark.parametrize(
    "environment",
    [
        {"ROS_STATIC_PEERS": "127.0.0.1"},
        {"ROS_LOCALHOST_ONLY": "1"},
        {"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET", "ROS_STATIC_PEERS": "127.0.0.1"},
    ],
    ids=lambda given: "+".join(given),
)
def test_ways_to_name_this_machine_that_meet_the_default(environment: dict[str, str]) -> None:
    with participant(33) as here, peer(33, "node", "near", "/", "/near", **environment):
        wait_for(lambda: here.graph.nodes() == [("near", "/", "/")], 30)
        wait_for(lambda: here.graph.publishers("/near"), 30)
