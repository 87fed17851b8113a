"""640x480 rgb8 images from a publisher to a subscriber in another process: rclpy nodes on the overlay, beside `cyclonedds` itself.

Run: ``python benchmarks/images.py [--quick]``. Prints a table, then one JSON object on the last line. "overlay": rclpy programs as users
write them; "wire": the layer below; "dataclasses": cyclonedds as its documentation shows it. Same run, same loopback configuration,
reliable, keep_last 5. Unthrottled: images received per second while the publisher writes as fast as it may. At 30 Hz:
from just before the message is filled to the pixels seen as numpy in the subscriber.
"""

# No `from __future__ import annotations`: cyclonedds reads the annotations of its dataclasses.
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from cyclonedds.core import Policy, Qos
from cyclonedds.domain import Domain, DomainParticipant
from cyclonedds.idl import IdlStruct, types
from cyclonedds.pub import DataWriter
from cyclonedds.sub import DataReader
from cyclonedds.topic import Topic
from quick import asked_quick

from robot_pt_ros.ros import use_ros
from robot_pt_ros.wire.config import cyclone_config
from robot_pt_ros.wire.dds import Participant, Waiter
from robot_pt_ros.wire.messages import install_message_packages
from robot_pt_ros.wire.qos import QoS

HEIGHT, WIDTH, DOMAIN, DEPTH = 480, 640, 39, 5
TARGETS = {"overlay / dataclasses, unthrottled": 6.0, "overlay, 30 Hz, p99 ms": 15.0}
Publish = Callable[[np.ndarray, int], None]
Receive = Callable[[float], list[int]]  # waits at most so long; stamps of the images received


@dataclass
class Time(IdlStruct, typename="builtin_interfaces.msg.dds_.Time_"):
    sec: types.int32
    nanosec: types.uint32


@dataclass
class Header(IdlStruct, typename="std_msgs.msg.dds_.Header_"):
    stamp: Time
    frame_id: str


@dataclass
class Image(IdlStruct, typename="sensor_msgs.msg.dds_.Image_"):
    header: Header
    height: types.uint32
    width: types.uint32
    encoding: str
    is_bigendian: types.uint8
    step: types.uint32
    data: types.sequence[types.uint8]


class Overlay:
    """rclpy, a node in each process, the default executor."""

    def __init__(self) -> None:
        use_ros()
        import rclpy
        from sensor_msgs.msg import Image

        self.cls: Any = Image
        self.rclpy: Any = rclpy
        rclpy.init(domain_id=DOMAIN)
        self.node: Any = rclpy.create_node("benchmark")

    def publisher(self) -> Publish:
        publisher = self.node.create_publisher(self.cls, "/benchmark", DEPTH)
        _wait_for(publisher.get_subscription_count)
        return lambda pixels, stamp_ns: publisher.publish(_filled(self.cls, pixels, stamp_ns))

    def subscriber(self) -> Receive:
        stamps: list[int] = []

        def heard(message: Any) -> None:
            pixels = np.frombuffer(message.data, np.uint8).reshape(HEIGHT, WIDTH, 3)
            stamps.append(_seen(message.header.stamp, pixels))

        self.node.create_subscription(self.cls, "/benchmark", heard, DEPTH)

        def receive(timeout_s: float) -> list[int]:
            self.rclpy.spin_once(self.node, timeout_sec=timeout_s)
            arrived, stamps[:] = list(stamps), []
            return arrived

        return receive


class Wire:
    """The wire layer: messages, CDR and raw samples."""

    def __init__(self) -> None:
        install_message_packages()
        from sensor_msgs.msg import Image

        self.cls: Any = Image
        self.participant = Participant(DOMAIN)

    def publisher(self) -> Publish:
        writer = self.participant.writer("/benchmark", self.cls, QoS(depth=DEPTH, max_blocking_ns=1_000_000_000))
        _wait_for(writer.matched)

        def publish(pixels: np.ndarray, stamp_ns: int) -> None:
            writer.write(_filled(self.cls, pixels, stamp_ns))

        return publish

    def subscriber(self) -> Receive:
        reader = self.participant.reader("/benchmark", self.cls, QoS(depth=DEPTH))
        waiter = Waiter(self.participant)
        waiter.add(reader)

        def receive(timeout_s: float) -> list[int]:
            waiter.wait(timeout_s)
            stamps = []
            for sample in reader.take(DEPTH):
                pixels = np.frombuffer(sample.message.data, np.uint8).reshape(HEIGHT, WIDTH, 3)
                stamps.append(_seen(sample.message.header.stamp, pixels))
            return stamps

        return receive


class Dataclasses:
    """`cyclonedds` as its documentation shows it."""

    def __init__(self) -> None:
        self.domain = Domain(DOMAIN, cyclone_config())
        self.participant = DomainParticipant(DOMAIN)
        self.topic = Topic(self.participant, "rt/benchmark", Image)
        self.qos = Qos(
            Policy.Reliability.Reliable(1_000_000_000),
            Policy.History.KeepLast(DEPTH),
            Policy.DataRepresentation(use_cdrv0_representation=True, use_xcdrv2_representation=False),
        )

    def publisher(self) -> Publish:
        writer = DataWriter(self.participant, self.topic, self.qos)
        _wait_for(lambda: len(writer.get_matched_subscriptions()))

        def publish(pixels: np.ndarray, stamp_ns: int) -> None:
            header = Header(Time(*divmod(stamp_ns, 10**9)), "camera")
            writer.write(Image(header, HEIGHT, WIDTH, "rgb8", 0, 3 * WIDTH, pixels.tobytes()))

        return publish

    def subscriber(self) -> Receive:
        from cyclonedds.core import InstanceState, ReadCondition, SampleState, ViewState, WaitSet

        reader = DataReader(self.participant, self.topic, self.qos)
        waitset = WaitSet(self.participant)
        waitset.attach(ReadCondition(reader, SampleState.Any | ViewState.Any | InstanceState.Any))

        def receive(timeout_s: float) -> list[int]:
            waitset.wait(int(timeout_s * 1e9))
            stamps = []
            for message in reader.take(DEPTH):
                if isinstance(message, Image):
                    pixels = np.array(message.data, np.uint8).reshape(HEIGHT, WIDTH, 3)
                    stamps.append(_seen(message.header.stamp, pixels))
            return stamps

        return receive


KINDS: dict[str, type[Overlay] | type[Wire] | type[Dataclasses]] = {
    "overlay": Overlay,
    "wire": Wire,
    "dataclasses": Dataclasses,
}


def _filled(cls: Any, pixels: np.ndarray, stamp_ns: int) -> Any:
    message = cls(height=HEIGHT, width=WIDTH, encoding="rgb8", step=3 * WIDTH, data=pixels.tobytes())
    message.header.frame_id = "camera"
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    return message


def _seen(stamp: Any, pixels: np.ndarray) -> int:
    assert int(pixels[-1, -1, -1]) == 7
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def _wait_for(condition: Callable[[], int]) -> None:
    end = time.monotonic() + 20
    while not condition():
        if time.monotonic() > end:
            sys.exit("no subscriber was found within 20 s")
        time.sleep(0.01)


def publish(kind: str, hz: float, seconds: float) -> None:
    """Write images for `seconds`; `hz` 0: as fast as they are taken. Then wait a little, so that the last ones arrive."""
    side = KINDS[kind]()  # kept: its DDS entities go with it
    send = side.publisher()
    pixels = np.full((HEIGHT, WIDTH, 3), 7, np.uint8)
    start = due = time.monotonic()
    while time.monotonic() < start + seconds:
        send(pixels, time.time_ns())
        due += 1 / hz if hz else 0
        time.sleep(max(0.0, due - time.monotonic()))
    time.sleep(1)


def measure(kind: str, hz: float, seconds: float) -> dict[str, float]:
    """Subscribe here, publish in a process of its own: images per second and latencies [ms]."""
    side = KINDS[kind]()  # kept: its DDS entities go with it
    receive = side.subscriber()
    arguments = [sys.executable, __file__, "--publish", kind, str(hz), str(seconds)]
    with subprocess.Popen(arguments, env=os.environ) as publisher:
        arrived: list[float] = []
        latencies: list[float] = []
        end = time.monotonic() + seconds + 25
        while publisher.poll() is None and time.monotonic() < end:
            for stamp_ns in receive(0.2):
                latencies.append((time.time_ns() - stamp_ns) / 1e6)
                arrived.append(time.monotonic())
        if publisher.poll() != 0:
            publisher.kill()
            sys.exit(f"the publisher of {kind} failed")
    if len(arrived) < 3:
        return {"received per s": len(arrived) / seconds, "p50 ms": float("nan"), "p99 ms": float("nan")}
    warm = latencies[len(latencies) // 10 :]
    return {
        "received per s": (len(arrived) - 1) / (arrived[-1] - arrived[0]),
        "p50 ms": float(np.percentile(warm, 50)),
        "p99 ms": float(np.percentile(warm, 99)),
    }


def main() -> None:
    """Measure each case in processes of its own, and print."""
    if "--publish" in sys.argv:
        kind, hz, seconds = sys.argv[2:5]
        return publish(kind, float(hz), float(seconds))
    if "--measure" in sys.argv:
        kind, hz, seconds = sys.argv[2:5]
        return print(json.dumps(measure(kind, float(hz), float(seconds))))
    seconds = 2 if asked_quick(__doc__, "2 s for a case in place of 10") else 10
    found: dict[str, float] = {}
    for kind in KINDS:
        for hz, name in ((0, "unthrottled"), (30, "30 Hz")):
            arguments = [sys.executable, __file__, "--measure", kind, str(hz), str(seconds)]
            done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True)
            case = json.loads(done.stdout.splitlines()[-1])
            found |= {
                f"{kind}, {name}, {what}": value for what, value in case.items() if hz or what == "received per s"
            }
    for kind in ("overlay", "wire"):
        ratio = found[f"{kind}, unthrottled, received per s"] / found["dataclasses, unthrottled, received per s"]
        found[f"{kind} / dataclasses, unthrottled"] = ratio
    for name, value in found.items():
        bound = f"  (asked: {'at most' if 'ms' in name else 'at least'} {TARGETS[name]})" if name in TARGETS else ""
        print(f"{name:44}{value:9.2f}{bound}")
    print(json.dumps({"benchmark": "images", "results": found, "targets": TARGETS}))


if __name__ == "__main__":
    main()
