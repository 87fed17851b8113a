"""Samples over the wire: every one comes back exactly, pairs meet, and nothing that comes in raises."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt import messages
from robot_pt.commands import JointCommand, PoseTarget
from robot_pt.messages import COMPRESSED, FLOAT, POSE, RAW, STATE, STRING, TOPICS, TRAJECTORY, Decoder, Message, encode
from robot_pt.samples import Frame, Gripper, Joints, Mode, PolicyStep, Request, Reward, Sample, ToolPose, Version
from tests.core.robot_run import BEGIN, JOINTS, jpeg, pose

SAMPLES: list[Sample] = [
    Frame(BEGIN, "primary", jpeg(1)),
    Joints(BEGIN + 1, np.linspace(-1, 1, 6)),
    Gripper(BEGIN + 2, 0.123456789),
    ToolPose(BEGIN + 3, pose(1.0)),
    Request(PoseTarget(BEGIN + 4, pose(2.0), 0.5), "policy"),
    Request(PoseTarget(BEGIN + 4, pose(2.0), 0.5), "teleop"),
    JointCommand(BEGIN + 5, np.linspace(0, 1, 6), 0.25, pose(3.0)),
    PolicyStep(BEGIN + 6, BEGIN, 3.5, 199.0, np.arange(7.0)),
    PolicyStep(BEGIN + 6, BEGIN),
    Mode(BEGIN + 7, "policy"),
    Version(BEGIN + 8, "0f3a"),
    Reward(BEGIN + 9, 0.5),
]


def decoder() -> Decoder:
    return Decoder({"primary": "primary", "wrist": "hand_camera"}, JOINTS)


def text(topic: str, content: str) -> Message:
    store = messages.typestore()
    return Message(topic, STRING, bytes(store.serialize_cdr(store.types[STRING](content), STRING)))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda s: type(s).__name__)
def test_a_sample_comes_back_as_it_went(sample: Sample) -> None:
    taking = decoder()
    *first, last = encode(sample, JOINTS)
    assert [taking.decode(m, 0) for m in first] == [None] * len(first)
    back = taking.decode(last, sample.stamp_ns)
    flat = back.target if isinstance(back, Request) else back
    for name, value in (sample.target if isinstance(sample, Request) else sample)._asdict().items():
        got = getattr(flat, name)
        if isinstance(value, bytes):
            assert bytes(got) == value
        elif value is None:
            assert got is None
        else:
            np.testing.assert_allclose(got, value, atol=1e-15) if isinstance(value, np.ndarray) else None
            assert isinstance(value, np.ndarray) or got == value
    assert type(back) is type(sample)
    assert not taking.faults
    assert taking.unpaired() == 0


def test_the_bytes_are_those_of_the_message_definition() -> None:
    """CDR by hand, from the OMG's rules: little endian, fields aligned to their size after the 4 bytes of encapsulation."""
    [message] = encode(ToolPose(3_000_000_007, np.eye(4)))
    frame = b"base_link\0"
    body = struct.pack("<iII", 3, 7, len(frame)) + frame
    body += b"\0" * (-len(body) % 8) + struct.pack("<7d", 0, 0, 0, 0, 0, 0, 1)
    assert bytes(message.cdr) == b"\x00\x01\x00\x00" + body
    assert message[:2] == ("ee_pose", POSE)
    assert messages.header_stamp(message.cdr) == 3_000_000_007
    [reward] = encode(Reward(BEGIN, 0.5))
    assert (bytes(reward.cdr), reward.type) == (b"\x00\x01\x00\x00" + struct.pack("<f", 0.5), FLOAT)


def test_topics_and_types_are_those_of_the_interface() -> None:
    sent = {m.topic: m.type for s in SAMPLES for m in encode(s, JOINTS)}
    assert sent.pop("camera/primary/image_raw/compressed") == COMPRESSED
    assert sent == dict(TOPICS)
    assert all(messages.topic_of(s) == encode(s, JOINTS)[0].topic for s in SAMPLES)
    [renamed] = encode(Frame(BEGIN, "wrist", jpeg(0)), cameras={"wrist": "hand_camera"})
    assert renamed.topic == "camera/hand_camera/image_raw/compressed"
    assert decoder().decode(renamed, 0).camera == "wrist"
    assert [messages.camera_of(t) for t in ("camera/a/image_raw", "camera/a/camera_info", "camera/a", "x/a/image_raw")] == [
        "a", None, None, None,
    ]  # fmt: skip


def test_names_not_order_say_which_joint_is_which() -> None:
    shuffled = [JOINTS[i] for i in (3, 0, 5, 1, 4, 2)]
    [message] = encode(Joints(BEGIN, np.array([3.0, 0, 5, 1, 4, 2])), shuffled)
    np.testing.assert_array_equal(decoder().decode(message, 0).q, np.arange(6.0))
    taking = decoder()
    [fewer] = encode(Joints(BEGIN, np.zeros(5)), JOINTS[:5])
    assert taking.decode(fewer, 0) is None
    assert taking.faults == {"joint_states": 1}
    assert Decoder({}).decode(message, 0) is None
    trajectory, at = encode(JointCommand(BEGIN, np.array([3.0, 0, 5, 1, 4, 2]), 0.5, np.eye(4)), shuffled)
    taking.decode(at, 0)
    np.testing.assert_array_equal(taking.decode(trajectory, 0).q, np.arange(6.0))


def test_halves_of_different_stamps_never_meet_and_are_counted() -> None:
    taking = decoder()
    for i in range(100):
        assert taking.decode(encode(Request(PoseTarget(BEGIN + 2 * i, pose(0), 0.5), "policy"))[0], 0) is None
        assert taking.decode(encode(Request(PoseTarget(BEGIN + 2 * i + 1, pose(0), 0.5), "policy"))[1], 0) is None
    assert taking.faults["policy/command_raw"] + taking.unpaired() == 200
    assert taking.unpaired() <= 64
    both = encode(Request(PoseTarget(BEGIN + 500, pose(0), 0.5), "policy"))
    assert [taking.decode(m, 0) is None for m in reversed(both)] == [True, False]


def test_a_policys_version_is_a_hash_in_json_or_plain_text() -> None:
    for content, version in [('{"sha256": "ab", "step": 3}', "ab"), ('{"version": "cd"}', "cd"), ("ef01\n", "ef01")]:
        assert decoder().decode(text("policy/version", content), 5) == Version(5, version)
    taking = decoder()
    assert taking.decode(text("policy/version", '{"step": 3}'), 5) is None
    assert taking.decode(text("policy/step_info", '["a"]'), 5) is None
    assert taking.decode(text("policy/step_info", '{"stamp_ns": 1e999}'), 5) is None
    assert taking.decode(text("policy/step_info", json.dumps({"stamp_ns": 3, "action": [[1], [2, 3]]})), 5) is None
    assert taking.faults.total() == 4


def test_raw_frames_are_read_with_their_padding_and_colour_order() -> None:
    store, rgb = messages.typestore(), np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    header = messages._header(BEGIN, "camera")
    for encoding, pixels in (("rgb8", rgb), ("bgr8", rgb[..., ::-1])):
        padded = np.pad(pixels.reshape(4, 15), ((0, 0), (0, 3)), constant_values=9)
        image = store.types[RAW](header, 4, 5, encoding, 0, 18, padded.ravel())
        message = Message("camera/primary/image_raw", RAW, store.serialize_cdr(image, RAW))
        np.testing.assert_array_equal(decoder().decode(message, 0).image, rgb)
    for changes in [{"encoding": "mono8"}, {"height": 400}, {"step": 3}]:
        fields = {"height": 4, "width": 5, "encoding": "rgb8", "step": 15, **changes}
        image = store.types[RAW](
            header, fields["height"], fields["width"], fields["encoding"], 0, fields["step"], rgb.ravel()
        )
        taking = decoder()
        assert taking.decode(Message("camera/primary/image_raw", RAW, store.serialize_cdr(image, RAW)), 0) is None
        assert taking.faults == {"camera/primary/image_raw": 1}


def test_another_type_under_a_known_name_and_an_impossible_turn_are_refused() -> None:
    taking = decoder()
    [message] = encode(Gripper(BEGIN, 0.5))
    assert taking.decode(message._replace(topic="ee_pose"), 0) is None
    assert taking.reasons["ee_pose"] == f"type {STATE}"
    store = messages.typestore()
    content = store.deserialize_cdr(encode(ToolPose(BEGIN, np.eye(4)))[0].cdr, POSE)
    for w in (0.0, float("nan"), 1e9):
        object.__setattr__(content.pose.orientation, "w", w)
        assert taking.decode(Message("ee_pose", POSE, store.serialize_cdr(content, POSE)), 0) is None
    assert taking.reasons["ee_pose"] == "the orientation is no unit quaternion"
    assert taking.decode(message._replace(topic="somewhere/else"), 0) is None
    assert taking.faults == {"ee_pose": 4}


@settings(max_examples=300, deadline=None)
@given(
    data=st.binary(max_size=200),
    topic=st.sampled_from([*TOPICS, "camera/primary/image_raw/compressed", "camera/primary/image_raw"]),
    sample=st.sampled_from(SAMPLES),
    cut=st.integers(0, 100),
    flip=st.integers(0, 10_000),
)
def test_bytes_of_any_kind_are_a_sample_or_counted(
    data: bytes, topic: str, sample: Sample, cut: int, flip: int
) -> None:
    taking = decoder()
    kind = TOPICS.get(topic, RAW if topic.endswith("raw") else COMPRESSED)
    taking.decode(Message(topic, kind, b"\x00\x01\x00\x00" + data), 1)
    for message in encode(sample, JOINTS):
        raw = bytearray(message.cdr)
        raw[flip % len(raw)] ^= 1 + flip % 255
        found = taking.decode(message._replace(cdr=bytes(raw[: max(len(raw) - cut, 0)])), 1)
        assert found is None or isinstance(found, Sample)


def test_gripper_trajectories_name_their_joint() -> None:
    message = encode(Request(PoseTarget(BEGIN, pose(0), 0.75), "teleop"))[1]
    content = messages.typestore().deserialize_cdr(message.cdr, TRAJECTORY)
    assert content.joint_names == ["gripper"]
    assert content.points[0].positions.tolist() == [0.75]
