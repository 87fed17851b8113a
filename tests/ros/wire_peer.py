"""The other process of the wire tests: `python wire_peer.py ROLE ...`; prints one JSON line when it is ready, one at its end."""

import json
import os
import sys
import time
from typing import Any

import numpy as np

from robot_pt_ros.wire.dds import Participant, Reader, Waiter
from robot_pt_ros.wire.messages import install_message_packages
from robot_pt_ros.wire.qos import DEFAULT, QoS
from robot_pt_ros.wire.services import Client, Server

install_message_packages()

from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402

PATIENCE_S = 30.0


def say(**what: Any) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def wait_for(condition: Any) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > end:
            sys.exit("nothing happened")
        time.sleep(0.005)


def publish_images(participant: Participant, count: str) -> None:
    """So many images, each filled with its number, with their number as stamp; ends when told to."""
    writer = participant.writer("/image", Image, QoS(depth=int(count)))
    say(gid=writer.gid.hex())
    wait_for(writer.matched)
    for number in range(int(count)):
        pixels = np.full((480, 640, 3), number, np.uint8)
        writer.write(Image(height=480, width=640, step=1920, encoding="rgb8", data=pixels.tobytes()), 1000 + number)
    sys.stdin.readline()


def subscribe_images(participant: Participant, count: str) -> None:
    reader: Reader[Any] = participant.reader("/image", Image, QoS(depth=int(count)))
    waiter = Waiter(participant)
    waiter.add(reader)
    say(gid=reader.gid.hex())
    seen: list[Any] = []
    end = time.monotonic() + PATIENCE_S
    while len(seen) < int(count) and time.monotonic() < end:
        waiter.wait(1)
        for sample in reader.take(10):
            pixels = np.frombuffer(sample.message.data, np.uint8)
            publisher = reader.publisher_gid(sample.publication_handle) or b""
            seen.append((int(pixels[0]), int(pixels[-1]), pixels.size, sample.source_ns, publisher.hex()))
    say(seen=seen, dropped=reader.dropped)


def latch(participant: Participant, text: str) -> None:
    """Publish once, for those who come later; ends when told to."""
    writer = participant.writer("/latched", String, QoS(durability="transient_local", depth=1))
    writer.write(String(data="overwritten"))
    writer.write(String(data=text))
    say()
    sys.stdin.readline()


def serve(participant: Participant, service: str) -> None:
    """SetBool that answers with what it was asked; ends when told to (a line on stdin)."""
    node = participant.graph.add_node("server", "/peer")
    server = Server(participant, service, SetBool)
    participant.graph.attach(node, server)
    waiter = Waiter(participant)
    waiter.add(server)
    say()
    os.set_blocking(0, False)
    while not sys.stdin.readline():
        waiter.wait(0.05)
        for request, body in server.take():
            server.reply(request, SetBool.Response(success=body.data, message=str(request.sequence)))
    say(dropped=server.dropped, undelivered=server.undelivered)


def call(participant: Participant, service: str, count: str) -> None:
    client = Client(participant, service, SetBool)
    waiter = Waiter(participant)
    waiter.add(client)
    say()
    wait_for(client.ready)
    answers: list[Any] = []
    for number in range(int(count)):
        sequence = client.send(SetBool.Request(data=bool(number % 2)))
        wait_for(lambda: waiter.wait(0.1))
        answers += [(n == sequence, a.success, a.message) for n, a in client.take()]
    say(answers=answers)


def node(participant: Participant, name: str, namespace: str, topic: str) -> None:
    """A node that publishes a topic and subscribes to another; ends when told to."""
    key = participant.graph.add_node(name, namespace)
    writer, reader = participant.writer(topic, String), participant.reader(topic + "_in", Image, DEFAULT)
    participant.graph.attach(key, writer)
    participant.graph.attach(key, reader)
    say(writer=writer.gid.hex(), reader=reader.gid.hex())
    for line in sys.stdin:
        if line.strip() == "close reader":
            reader.close()
        elif line.strip() == "remove node":
            participant.graph.remove_node(key)
        elif line.strip() == "second node":
            participant.graph.add_node("second", namespace)
        else:
            break


ROLES = {of.__name__: of for of in (publish_images, subscribe_images, latch, serve, call, node)}

if __name__ == "__main__":
    with_participant = Participant()
    ROLES[sys.argv[1]](with_participant, *sys.argv[2:])
    with_participant.close()
