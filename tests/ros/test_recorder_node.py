"""recorder: what was sent is in the store; a killed one loses a second at most; full disks and mistakes are said."""

from __future__ import annotations

import json
import resource
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rclpy.parameter import Parameter

from robot_pt import journal_reading
from robot_pt.align import Aligner
from robot_pt.commands import JointCommand
from robot_pt.errors import UserError
from robot_pt.samples import Mode
from robot_pt.schema import Spec
from robot_pt.store import DemoStore
from robot_pt_ros import recorder_parameters, topics
from robot_pt_ros.conversions import compressed_message, image_message
from robot_pt_ros.recorder_topics import Listener
from tests.ros.node_process import NodeProcess, call, change_state
from tests.ros.scripted_robot import ARM, ScriptedRobot
from tests.ros.test_camera_node import write_video

DOMAIN = 72
SPEC = Spec(cameras={"primary": (24, 32)}, embodiment="panda", control_hz=5.0)
ROOM = {"min_free_bytes": 1, "hard_min_bytes": 1}


class Rig:
    """A camera that plays a video, a scripted arm, a recorder, and the test as episode manager."""

    def __init__(self, graph: Any, folder: Path, **parameters: object):
        from std_msgs.msg import String

        self.graph, self.folder, self.store = graph, folder, folder / "store"
        self.node = graph.node("rig")
        self.states: list[dict[str, Any]] = []
        self.node.create_subscription(
            String, topics.RECORDER_STATE, lambda m: self.states.append(json.loads(m.data)), topics.latched()
        )
        self._say = self.node.create_publisher(String, topics.EPISODE_STATE, topics.latched())
        video = write_video(folder / "v.avi", 15, 20.0)
        self.camera = NodeProcess("camera", DOMAIN, folder, source=str(video))
        self.recorder = self.start(**parameters)
        assert change_state(graph, self.node, "camera", 1, 3) == [True, True]
        self.robot = ScriptedRobot(self.node)

    def start(self, *args: str, **parameters: object) -> NodeProcess:
        given: dict[str, object] = {"root": str(self.store), "robot": "panda", **ROOM, **parameters}
        return NodeProcess("recorder", DOMAIN, self.folder, *args, **given)

    def up(self) -> None:
        self.say("", "idle")
        assert change_state(self.graph, self.node, "recorder", 1, 3) == [True, True], self.recorder.text
        assert self.graph.spin_until(lambda: self.states and self.states[-1]["active"])
        assert self.states[-1]["phase"] == "ready"
        listened = [topics.camera_compressed("primary"), topics.JOINT_STATES, topics.COMMAND, topics.TELEOP_POSE]
        recorder = lambda topic: {i.node_name for i in self.node.get_subscriptions_info_by_topic(topic)}  # noqa: E731
        assert self.graph.spin_until(lambda: all({"recorder"} <= recorder(f"/{topic}") for topic in listened))
        self.graph.spin_for(0.7)

    def say(self, name: str, phase: str, **more: object) -> None:
        from std_msgs.msg import String

        self._say.publish(String(data=json.dumps({"id": name, "phase": phase, "task": "lift", **more})))

    def until(self, phase: str, name: str) -> dict[str, Any]:
        assert self.graph.spin_until(
            lambda: self.states and (self.states[-1]["phase"], self.states[-1]["episode_id"]) == (phase, name)
        ), (self.states[-1:], self.recorder.text)
        return self.states[-1]

    def record(self, name: str, seconds: float) -> tuple[int, int]:
        begin = time.time_ns()
        self.say(name, "recording", begin_ns=begin, instruction="lift it", metadata={"seed": 7})
        self.until("recording", name)
        self.graph.spin_for(seconds)
        return begin, time.time_ns()

    def close(self) -> None:
        for process in (self.camera, self.recorder):
            process.close()


def expected(rig: Rig, begin: int, end: int) -> Any:
    """The same samples through the aligner, by another way than the wire; the first action goes on from the command before the episode."""
    aligner = Aligner(SPEC, joints=len(ARM.joint_names))
    for sample in sorted(rig.robot.samples, key=lambda s: s.stamp_ns):
        if begin <= sample.stamp_ns <= end or (isinstance(sample, Mode | JointCommand) and sample.stamp_ns < begin):
            aligner.add(sample)
    return aligner.finish(end)


def test_what_was_sent_is_in_the_store(graph: Any, tmp_path: Path) -> None:
    rig = Rig(graph, tmp_path, task="push")
    try:
        rig.up()
        assert not call(graph, rig.node, "recorder/discard_last")[0], "nothing was recorded yet"
        begin, end = rig.record("demo-0001", 2.5)
        rig.say("demo-0001", "awaiting label", end_ns=end)
        graph.spin_for(0.5)
        rig.say("demo-0001", "ended", outcome="success", end_ns=end)
        last = rig.until("ready", "demo-0001")["last"]
        assert (last["outcome"], last["dropped"]) == ("success", {})
        assert last["written"]["camera/primary/image_raw/compressed"] >= 20
        episode = DemoStore(rig.store).read(last["stored"])
        wanted = expected(rig, begin, end)
        assert len(episode) == last["steps"]
        assert len(episode) >= 6
        for i, (got, want) in enumerate(zip(range(len(episode)), wanted.steps, strict=True)):
            assert episode.capture_time_ns is not None
            assert episode.capture_time_ns[got] == want.anchor_ns
            assert bytes(episode.images["primary"][got]) == want.images["primary"], i
            np.testing.assert_allclose(episode.actions[got], want.action, atol=1e-6)
            assert episode.requested_actions is not None
            np.testing.assert_allclose(episode.requested_actions[got], want.requested, atol=1e-6)
            np.testing.assert_allclose(episode.proprio[got], want.proprio, atol=1e-6)
        assert len(set(map(bytes, episode.images["primary"]))) > 3
        assert np.abs(episode.actions[1:, :3]).max() > 1e-4
        assert episode.operator == ["teleop"] * len(episode)
        assert (episode.task, episode.instruction, episode.success) == ("lift", "lift it", True)
        assert episode.metadata["seed"] == 7
        rig.say("demo-0001", "ended", outcome="discarded")
        assert rig.until("ready", "demo-0001")
        assert graph.spin_until(lambda: rig.states[-1]["last"]["outcome"] == "discarded")
        assert call(graph, rig.node, "recorder/stop") == (False, "no episode is being recorded; start one first.")
        ok, said = call(graph, rig.node, "recorder/start")
        assert ok, said
        assert not call(graph, rig.node, "recorder/start")[0]
        graph.spin_for(1.0)
        ok, said = call(graph, rig.node, "recorder/stop")
        assert ok, said
        assert "unknown: stored as" in said
        assert graph.spin_until(lambda: rig.states[-1]["last"]["outcome"] == "unknown")
        assert DemoStore(rig.store).read(rig.states[-1]["last"]["stored"]).task == "push"
        assert "discarded" in call(graph, rig.node, "recorder/discard_last")[1]
        rig.record("demo-0002", 0.5)
        assert rig.recorder.end(signal.SIGINT) == 0
        journal = journal_reading.read(rig.store / "journals" / "demo-0002.mcap")
        assert not journal.torn
        assert journal.records["robot_pt_end"]["outcome"] == "aborted"
    finally:
        rig.close()


def test_full_disks_are_told_and_kill_9_loses_a_second_at_most(graph: Any, tmp_path: Path) -> None:
    rig = Rig(graph, tmp_path, operator="scripted")
    try:
        rig.up()
        rig.record("full-0001", 0.2)
        pid, hard = rig.recorder.process.pid, resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (120_000, hard))  # as a disk that is full then
        state = rig.until("failed", "full-0001")
        assert "disk" in state["reason"]
        assert state["last"]["outcome"] == "aborted"
        rig.say("full-0001", "ended", outcome="aborted")
        graph.spin_for(0.3)
        assert rig.states[-1]["phase"] == "failed"
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        _, killed = rig.record("cut-0001", 2.5)
        rig.recorder.process.kill()
        rig.recorder.process.wait()
        rig.recorder = rig.start("-r", "__node:=after", operator="scripted")  # the dead one's services are still shown
        assert change_state(graph, rig.node, "after", 1) == [True], rig.recorder.text
        store = DemoStore(rig.store)
        found = [store.read(name) for name in store.episodes]
        episode = next(e for e in found if e.metadata["episode_id"] == "cut-0001")
        assert store.source(split="recovered").episodes.split[-1] == "recovered"
        assert episode.capture_time_ns is not None
        lost_s = (killed - int(episode.capture_time_ns[-1])) / 1e9 - 0.2
        assert lost_s < 1.0 + 2.0 + 0.4, lost_s  # one flush, a busy machine, and two periods that are not whole
        assert set(episode.operator or []) == {"scripted"}
        assert "cut-0001" in rig.recorder.text
    finally:
        rig.close()


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"robot": "wx2500"}, "wx2500"),
        ({"robot": "panda", "min_free_bytes": 1 << 49}, "GB left"),
        ({"robot": "panda", "operator": "nobody"}, "choose teleop or scripted"),
        ({"robot": "panda", "control_rate_hz": 7.0}, "control_hz 5.0, this robot 7.0"),
    ],
)
def test_mistakes_are_one_sentence(graph: Any, tmp_path: Path, parameters: dict[str, object], words: str) -> None:
    DemoStore.create(tmp_path / "store", SPEC)
    given = {"root": str(tmp_path / "store"), **ROOM, **parameters}
    node = graph.node("watcher", parameter_overrides=[Parameter(name, value=value) for name, value in given.items()])
    recorder_parameters.declare(node)
    with pytest.raises(UserError, match=words):
        recorder_parameters.Maker(node, "/", print).recorder_of_store()


def test_a_mistake_is_a_failed_configure(graph: Any, tmp_path: Path) -> None:
    node = NodeProcess("recorder", DOMAIN, tmp_path, root=str(tmp_path / "store"), robot="wx2500")
    try:
        assert change_state(graph, graph.node("watcher"), "recorder", 1) == [False]
        assert "wx2500" in node.text
        assert "Traceback" not in node.text
    finally:
        node.close()


def test_compressed_frames_are_heard_where_a_camera_offers_them_and_raw_ones_of_any_driver_otherwise(
    graph: Any,
) -> None:
    from sensor_msgs.msg import CompressedImage, Image

    heard: list[tuple[str, int]] = []
    node, driver = graph.node("listener", namespace="/arm1"), graph.node("driver", namespace="/arm1")
    raw = driver.create_publisher(Image, topics.camera_image("wrist"), topics.sampled())  # BEST_EFFORT alone
    driver.create_timer(0.05, lambda: raw.publish(image_message(time.time_ns(), "x", np.zeros((4, 4, 3), np.uint8))))
    listener = Listener(node, {}, lambda topic, kind, cdr: heard.append((topic, len(cdr))))
    assert graph.spin_until(lambda: "camera/wrist/image_raw" in dict(heard))
    jpeg = driver.create_publisher(CompressedImage, topics.camera_compressed("wrist"), topics.recorded(5))
    assert graph.spin_until(lambda: jpeg.get_subscription_count() == 1)
    graph.spin_for(0.2)
    heard.clear()
    jpeg.publish(compressed_message(5, "x", b"\xff\xd8\xff"))
    assert graph.spin_until(lambda: bool(heard))
    graph.spin_for(0.2)
    assert {topic for topic, _ in heard} == {"camera/wrist/image_raw/compressed"}
    assert listener.status() == {"camera_wrist": "sensor_msgs/msg/CompressedImage"}


SLOW_DISK = """
import sys, time
from pathlib import Path

from robot_pt.recorder import Recorder
from robot_pt_ros import recorder_node

start = Recorder.start

def wait_and_start(self, *args, **kwargs):
    while not Path(sys.argv[1]).exists():
        time.sleep(0.01)
    return start(self, *args, **kwargs)

Recorder.start = wait_and_start
raise SystemExit(recorder_node.main())
"""


def test_a_slow_disk_keeps_the_recorder_from_nothing_else(graph: Any, program: Any, tmp_path: Path) -> None:
    """The manager takes the whole graph down where a node's heartbeat stops."""
    from std_msgs.msg import String
    from std_srvs.srv import Trigger

    node, beats, ready = graph.node("rig"), list[str](), tmp_path / "ready"
    node.create_subscription(String, topics.HEARTBEAT, lambda m: beats.append(m.data), topics.recorded(100))
    given = {"root": tmp_path / "store", "robot": "panda", "cameras": "[primary]", **ROOM}
    recorder = program(SLOW_DISK, str(ready), "--ros-args", *(w for k, v in given.items() for w in ("-p", f"{k}:={v}")))
    camera = NodeProcess("camera", DOMAIN, tmp_path, source=str(write_video(tmp_path / "v.avi", 15, 20.0)))
    try:
        assert change_state(graph, node, "camera", 1, 3) == [True, True]
        assert change_state(graph, node, "recorder", 1, 3) == [True, True]
        robot = ScriptedRobot(node)
        graph.spin_for(0.5)
        client = node.create_client(Trigger, "recorder/start")
        assert graph.spin_until(client.service_is_ready)
        started = client.call_async(Trigger.Request())
        graph.spin_for(0.5)
        beats.clear()
        assert graph.spin_until(lambda: beats.count("/recorder") >= 5), "it is as good as dead"
        assert not started.done()
        ready.touch()
        assert graph.spin_until(started.done)
        assert started.result().success, started.result().message
        assert robot is not None
    finally:
        camera.close()
        recorder.send_signal(signal.SIGINT)
        recorder.wait(30)
