"""Recordings as data: journals of our own and bags of ros2 bag record, one file, a folder, by the same alignment."""

import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

import robot_pt_data
from robot_pt.alignment import JPEG_QUALITY
from robot_pt.disk import DiskLimits
from robot_pt.errors import DataError, MismatchError, MissingExtraError
from robot_pt.images import decode, encode_jpeg
from robot_pt.journal import JournalWriter
from robot_pt.messages import RAW, Message, encode, typestore
from robot_pt.recorder import Recorder
from robot_pt.recording import Limits
from robot_pt.samples import Frame, Joints, ToolPose, Version
from robot_pt.schema import Spec
from robot_pt.sources import EpisodeSource
from robot_pt.store import DemoStore
from robot_pt_data.layout import recognise
from tests.core.robot_run import BEGIN, JOINTS, SPEC, events

SECOND = 1_000_000_000
MAPPING = {"embodiment": "widowx250s", "control_hz": 5.0, "task": "lift", "success": True}


def messages(seconds: float = 2.0, raw: bool = False, source: str = "policy") -> Iterator[tuple[Message, int]]:
    for received_ns, sample in events(seconds, source=source):
        if raw and isinstance(sample, Frame):
            yield raw_message(sample), received_ns
        else:
            yield from ((message, received_ns) for message in encode(sample, JOINTS))


def raw_message(frame: Frame) -> Message:
    pixels, store = decode([bytes(frame.image)])[0], typestore()
    header = store.deserialize_cdr(encode(frame)[0].cdr, encode(frame)[0].type).header
    image = store.types[RAW](header, *pixels.shape[:2], "rgb8", 0, pixels.shape[1] * 3, pixels.ravel())
    return Message(f"camera/{frame.camera}/image_raw", RAW, store.serialize_cdr(image, RAW))


def bag(
    path: Path, plugin: StoragePlugin, compressed: bool = False, namespace: str = "/wx250s/", **options: object
) -> Path:
    """A bag as ros2 bag record leaves it, written by rosbags."""
    writer = Writer(path, version=9, storage_plugin=plugin)
    if compressed:
        writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        connections: dict[str, object] = {}
        for message, received_ns in messages(**options):
            topic = namespace + message.topic
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, message.type, typestore=typestore())
            writer.write(connections[topic], received_ns, bytes(message.cdr))
        other = writer.add_connection("/rosout_like", "std_msgs/msg/String", typestore=typestore())
        writer.write(other, BEGIN, bytes(encode(Version(BEGIN, "x"))[0].cdr))
    return path


def store(path: Path, names: tuple[str, ...] = ("a", "b"), **options: object) -> DemoStore:
    to = Recorder(path, SPEC, joint_names=JOINTS, limits=Limits(DiskLimits(1, 1)), **options)
    for name in names:
        to.start(name, task=f"lift {name}", instruction="lift the cube", now_ns=BEGIN - 1)
        for received_ns, sample in events(2.0):
            to.feed(sample, received_ns)
        to.stop("success" if name == "a" else "failure", end_ns=BEGIN + 2 * SECOND)
    to.close()
    return to.store


def equal(a: EpisodeSource, b: EpisodeSource) -> None:
    for name in ("proprio", "actions", "rewards", "terminated", "truncated"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert a.episodes.length.tolist() == b.episodes.length.tolist()
    steps = np.arange(len(a.actions))
    for camera in a.spec.cameras:
        np.testing.assert_array_equal(a.images(steps, camera), b.images(steps, camera))


def test_a_folder_of_journals_is_the_store_they_were_recorded_with(tmp_path: Path) -> None:
    demos = store(tmp_path / "s").source()
    found = robot_pt_data.open(tmp_path / "s/journals")
    assert isinstance(found, EpisodeSource)
    equal(demos, found)
    assert found.spec == SPEC
    for name in ("instruction", "task", "dataset", "operator", "split"):
        assert getattr(found.episodes, name) == getattr(demos.episodes, name), name
    assert found.episodes.success.tolist() == [1, 0]
    np.testing.assert_array_equal(found.operator, demos.operator)
    steps = np.array([3, 15, 0])
    assert found.encoded(steps, "wrist") == demos.encoded(steps, "wrist")
    for step in (0, 12):
        mine, theirs = found.recorded(step), demos.recorded(step)
        assert mine["metadata"] == theirs["metadata"]
        assert mine["policy_version"] == theirs["policy_version"] == "ab12"
        assert found.recorded_shapes(step) == demos.recorded_shapes(step)
        for name in found.recorded_shapes(step):
            np.testing.assert_array_equal(found.recorded_column(step, name), demos.recorded_column(step, name))


def test_one_journal_is_opened_and_inspected(tmp_path: Path) -> None:
    store(tmp_path / "s")
    found = robot_pt_data.open(tmp_path / "s/journals/b.mcap")
    assert found.episodes.task == ["lift b"]
    assert len(found.actions) == 10
    report = robot_pt_data.inspect(tmp_path / "s/journals")
    assert (report["kind"], report["episodes"], report["steps"]) == ("journals", 2, 20)
    assert report["splits"]["all"]["success"] == 1
    assert report["executable"] is True
    json.dumps(report)
    small = found.images(np.arange(3), "primary", (6, 8))
    assert small.shape == (3, 6, 8, 3)


def test_exports_take_journals(tmp_path: Path) -> None:
    store(tmp_path / "s")
    from robot_pt_data.export import export

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export(robot_pt_data.open(tmp_path / "s/journals"), tmp_path / "out", "rlds", name="demos")
    found = robot_pt_data.open(tmp_path / "out", mapping=None) if (tmp_path / "out").exists() else None
    assert found is not None
    np.testing.assert_allclose(found.actions, robot_pt_data.open(tmp_path / "s/journals").actions, atol=1e-6)


@pytest.mark.parametrize(
    ("plugin", "compressed"), [(StoragePlugin.MCAP, False), (StoragePlugin.MCAP, True), (StoragePlugin.SQLITE3, False)]
)
def test_bags_of_ros2_bag_record_give_the_same_steps(tmp_path: Path, plugin: StoragePlugin, compressed: bool) -> None:
    store(tmp_path / "s", ("a",))
    own = robot_pt_data.open(tmp_path / "s/journals")
    folder = bag(tmp_path / "bag", plugin, compressed)
    found = robot_pt_data.open(folder, mapping=MAPPING)
    equal(own, found)
    assert found.spec == SPEC
    assert found.episodes.success.tolist() == [1]
    assert found.recorded(0)["metadata"]["joint_names"] == JOINTS
    np.testing.assert_array_equal(
        found.recorded_column(0, "joint_positions"), own.recorded_column(0, "joint_positions")
    )
    [file] = [p for p in folder.iterdir() if p.suffix in (".mcap", ".db3")]
    assert recognise(file).kind == "journals"
    equal(own, robot_pt_data.open(file, mapping=MAPPING))
    (tmp_path / "many").mkdir()
    bag(tmp_path / "many/second", plugin, compressed)
    bag(tmp_path / "many/first", plugin, compressed)
    assert len(robot_pt_data.open(tmp_path / "many", mapping=MAPPING).episodes) == 2


def test_raw_frames_of_a_bag_are_encoded_when_they_are_taken(tmp_path: Path) -> None:
    found = robot_pt_data.open(bag(tmp_path / "bag", StoragePlugin.MCAP, raw=True), mapping=MAPPING)
    frames = {decode([bytes(s.image)])[0].tobytes(): s for _, s in events(2.0) if isinstance(s, Frame)}
    expected = {encode_jpeg(decode([bytes(s.image)])[0], JPEG_QUALITY) for s in frames.values()}
    assert set(found.encoded(np.arange(10), "primary")) <= expected


def test_what_a_bag_does_not_say_is_asked_for(tmp_path: Path) -> None:
    folder = bag(tmp_path / "bag", StoragePlugin.MCAP)
    assert robot_pt_data.open(folder).spec.embodiment == "unknown"
    renamed = robot_pt_data.open(folder, mapping={"cameras": {"secondary": "wrist"}})
    assert list(renamed.spec.cameras) == ["secondary"]
    (tmp_path / "bag.toml").write_text('embodiment = "panda"\n')
    assert robot_pt_data.open(folder, mapping=tmp_path / "bag.toml").spec.embodiment == "panda"
    with pytest.raises(DataError, match=r"no camera \['top'\]; it has \['primary', 'wrist'\]"):
        robot_pt_data.open(folder, mapping={"cameras": {"primary": "top"}})
    with pytest.raises(DataError, match="mapping has the fields"):
        robot_pt_data.open(folder, mapping={"colour": 1})
    with pytest.raises(DataError, match="no namespace"):
        robot_pt_data.open(bag(tmp_path / "b2", StoragePlugin.MCAP, namespace="/other_"))
    with pytest.raises(DataError, match="takes no mapping or action source"):
        robot_pt_data.open(folder, action_source="achieved")
    with pytest.raises(DataError, match="needs no index"):
        robot_pt_data.index(folder)
    from robot_pt_data.oxe import ENTRIES

    with pytest.raises(DataError, match="is for RLDS data"):
        robot_pt_data.open(folder, mapping=next(iter(ENTRIES.values())))


def test_a_bag_whose_camera_shows_nothing_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "bag"
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for message in (*encode(Frame(BEGIN, "wrist", b"")), *encode(Joints(BEGIN, np.zeros(6)))):
            connection = writer.add_connection("/" + message.topic, message.type, typestore=typestore())
            writer.write(connection, BEGIN, bytes(message.cdr))
    with pytest.raises(DataError, match="no readable frame"):
        robot_pt_data.open(folder)


def test_two_robots_in_one_bag_need_a_name(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP)
    with writer:
        for namespace in ("/left/", "/right/"):
            connections: dict[str, object] = {}
            for message, received_ns in messages(2.0 if namespace == "/left/" else 1.0):
                if message.topic not in connections:
                    connections[message.topic] = writer.add_connection(
                        namespace + message.topic, message.type, typestore=typestore()
                    )
                writer.write(connections[message.topic], received_ns, bytes(message.cdr))
    with pytest.raises(DataError, match="/left/"):
        robot_pt_data.open(tmp_path / "bag")
    assert len(robot_pt_data.open(tmp_path / "bag", mapping={"namespace": "/right"}).actions) in (4, 5)


def test_cut_off_recordings_are_a_split_of_their_own_and_aborted_ones_are_left_out(tmp_path: Path) -> None:
    to = Recorder(tmp_path / "s", SPEC, joint_names=JOINTS, limits=Limits(DiskLimits(1, 1)))
    for name in ("cut", "aborted"):
        to.start(name, now_ns=BEGIN)
        for received_ns, sample in events(2.0):
            to.feed(sample, received_ns)
        if name == "aborted":
            to.abort("test")
            continue
        current = to._ended()
        current.journal.flush()
        current.journal.drop()
    to.close()
    part = tmp_path / "s/journals/cut.mcap.part"
    assert len(robot_pt_data.open(part, "recovered").actions) == 10
    os.rename(part, tmp_path / "s/journals/cut.mcap")
    with pytest.raises(DataError, match=r"no split 'train'; it has \['recovered'\]. aborted.mcap was aborted"):
        robot_pt_data.open(tmp_path / "s/journals")
    found = robot_pt_data.open(tmp_path / "s/journals", "all")
    assert found.episodes.split == ["recovered"]
    assert found.truncated[-1]
    assert found.warnings == ["aborted.mcap was aborted and is left out."]


def break_file(path: Path) -> None:
    path.write_bytes(b"\x89MCAP0\r\n" + bytes(100))


def break_frames(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    at = raw.find(b"\xff\xd8\xff", len(raw) // 2)
    raw[at : at + 400] = bytes(400)
    path.write_bytes(raw)


@pytest.mark.parametrize("damage", [break_file, lambda p: p.write_bytes(b""), lambda p: p.write_bytes(b"no bag" * 99)])
def test_a_damaged_recording_is_named_or_left_out(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    store(tmp_path / "s")
    damage(tmp_path / "s/journals/a.mcap")
    with pytest.raises(DataError, match=r"a\.mcap"):
        robot_pt_data.open(tmp_path / "s/journals")
    found = robot_pt_data.open(tmp_path / "s/journals", skip_corrupt=True)
    assert found.episodes.task == ["lift b"]
    assert list(found.skipped) == [str(tmp_path / "s/journals/a.mcap")]


def test_a_damaged_frame_is_no_frame(tmp_path: Path) -> None:
    store(tmp_path / "s", ("a",))
    break_frames(tmp_path / "s/journals/a.mcap")
    found = robot_pt_data.open(tmp_path / "s/journals")
    assert sum(found.recorded(0)["metadata"]["counts"]["frames that are no image"].values()) == 1
    with pytest.raises(DataError, match="have no camera 'top'"):
        found.images(np.arange(2), "top")
    with pytest.raises(DataError, match=r"steps 0\.\.99"):
        found.images(np.array([0, 99]), "wrist")


def test_recordings_of_different_robots_are_not_one(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    bag(tmp_path / "many/a", StoragePlugin.MCAP)
    writer = JournalWriter(tmp_path / "many/b.mcap", header(Spec(**{**SPEC.to_json(), "embodiment": "panda"})), "/")
    for message, received_ns in messages():
        writer.write(message, received_ns)
    writer.close({"outcome": "success"})
    with pytest.raises(MismatchError, match="differ in cameras, robot or rate"):
        robot_pt_data.open(tmp_path / "many", mapping=MAPPING)


def header(spec: Spec) -> dict[str, object]:
    from robot_pt.journal_episode import Header

    return Header(spec=spec, episode_id="b", cameras={c: c for c in spec.cameras}, joint_names=JOINTS).to_json()


def test_more_recordings_than_files_may_be_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tmp_path / "s")
    whole = robot_pt_data.open(tmp_path / "s/journals")
    monkeypatch.setattr("robot_pt_data.journals.resource.getrlimit", lambda _: (0, 0))
    monkeypatch.setattr("robot_pt_data.journals.MAPPED_AT_LEAST", 1)
    found = robot_pt_data.open(tmp_path / "s/journals")
    kinds = {type(step.images["wrist"]) for r in found._recorded for step in r.alignment.steps}
    assert kinds == {np.ndarray, bytes}
    equal(whole, found)


def test_without_a_tool_pose_the_robots_kinematics_are_asked(tmp_path: Path) -> None:
    def less(found: list[tuple[int, object]]) -> list[tuple[int, object]]:
        return [e for e in found if not isinstance(e[1], ToolPose)]

    writer = Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP)
    with writer:
        connections: dict[str, object] = {}
        for received_ns, sample in less(events(2.0)):
            for message in encode(sample, ROBOT_JOINTS):
                if message.topic not in connections:
                    connections[message.topic] = writer.add_connection(
                        "/" + message.topic, message.type, typestore=typestore()
                    )
                writer.write(connections[message.topic], received_ns, bytes(message.cdr))
    with pytest.raises(DataError, match=r"nothing usable came from \['pose'\]"):
        robot_pt_data.open(tmp_path / "bag")
    robots = pytest.importorskip("robot_pt.robots")
    arm = robots.load("wx250s")
    found = robot_pt_data.open(tmp_path / "bag", mapping={"robot": "wx250s", "joint_names": ROBOT_JOINTS})
    q = found.recorded_column(0, "joint_positions")
    for step, joints in enumerate(q):
        np.testing.assert_allclose(found.proprio[step, :3], arm.fk(joints.astype(float))[:3, 3], atol=1e-5)


ROBOT_JOINTS = ["waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate"]


def test_reading_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = bag(tmp_path / "bag", StoragePlugin.MCAP)
    monkeypatch.setitem(sys.modules, "rosbags.rosbag2", None)
    with pytest.raises(MissingExtraError, match=r"robot-pt\[ros\]"):
        robot_pt_data.open(folder)


def test_a_truncated_bag_is_a_readable_error(tmp_path: Path) -> None:
    folder = bag(tmp_path / "bag", StoragePlugin.MCAP)
    [file] = folder.glob("*.mcap")
    raw = file.read_bytes()
    for size in (len(raw) // 2, len(raw) - 3, 50):
        file.write_bytes(raw[:size])
        with pytest.raises(DataError, match="bag"):
            robot_pt_data.open(folder)
