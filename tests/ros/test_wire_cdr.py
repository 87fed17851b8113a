"""CDR against cyclonedds' own serializer, type by type; what does not parse is an error, never a crash or a wrong message."""

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rosbags.interfaces import Nodetype

from robot_pt.errors import DataError, UserError
from robot_pt_ros.wire import cdr, idl, typesystem
from robot_pt_ros.wire.messages import message_class, service_class

TYPES = sorted(name for name in typesystem.store().fielddefs if "wstring" not in str(typesystem.fields(name)))
INTEGERS = {f"{sign}int{bits}": (bits, sign == "") for sign in ("", "u") for bits in (8, 16, 32, 64)} | {
    "char": (8, False)
}
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)


def trees(type_name: str) -> st.SearchStrategy[dict[str, Any]]:
    """Field name -> plain value, nested messages as dicts."""
    return st.fixed_dictionaries({name: values(desc) for name, desc in typesystem.fields(type_name)})


def values(desc: Any) -> st.SearchStrategy[Any]:
    kind, detail = desc
    if kind == Nodetype.NAME:
        return st.deferred(lambda: trees(detail))
    if kind != Nodetype.BASE:
        item, size = detail
        few = (size, size) if kind == Nodetype.ARRAY else (0, min(size or 3, 3))
        return st.lists(values(item), min_size=few[0], max_size=few[1])
    base, limit = detail
    if base in INTEGERS:
        bits, signed = INTEGERS[base]
        return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else st.integers(0, 2**bits - 1)
    return {
        "bool": st.booleans(),
        "byte": st.integers(0, 127),
        "float32": st.floats(width=32, allow_nan=False),
        "float64": st.floats(allow_nan=False),
        "string": TEXT.map(lambda text: text.encode()[:limit].decode("utf-8", "ignore") if limit else text),
    }[base]


def message_of(type_name: str, tree: dict[str, Any]) -> Any:
    """Our message of a tree."""
    given_values = {}
    for name, desc in typesystem.fields(type_name):
        if name != typesystem.PADDING:
            given_values[name] = _ours(desc, tree[name])
    return message_class(type_name)(**given_values)


def _ours(desc: Any, value: Any) -> Any:
    kind, detail = desc
    if kind == Nodetype.NAME:
        return message_of(detail, value)
    if kind != Nodetype.BASE:
        return [_ours(detail[0], item) for item in value]
    return bytes((value,)) if detail[0] == "byte" else value


def struct_of(type_name: str, tree: dict[str, Any]) -> Any:
    """cyclonedds' dataclass of a tree."""
    members = {name: _theirs(desc, tree[name]) for name, desc in typesystem.fields(type_name)}
    return idl.struct(type_name)(**members)


def _theirs(desc: Any, value: Any) -> Any:
    kind, detail = desc
    if kind == Nodetype.NAME:
        return struct_of(detail, value)
    return [_theirs(detail[0], item) for item in value] if kind != Nodetype.BASE else value


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_bytes_are_those_of_cyclonedds(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(TYPES))
    tree = data.draw(trees(name))
    if any(field == typesystem.PADDING for field in tree):
        tree = {typesystem.PADDING: 0}
    message = message_of(name, tree)
    ours, theirs = bytes(cdr.serialize(message)), bytes(struct_of(name, tree).serialize(use_version_2=False))
    assert ours[:4] == theirs[:4] == cdr.HEADER
    assert ours.rstrip(b"\0") == theirs.rstrip(b"\0")
    assert len(ours) == len(theirs) + -len(theirs) % 4
    assert cdr.deserialize(theirs, type(message)) == message


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(TYPES), st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error(name: str, body: bytes) -> None:
    for header in (cdr.HEADER, b"\0\0\0\0", b""):
        with contextlib.suppress(DataError):
            found = cdr.deserialize(header + body, message_class(name))
            assert cdr.deserialize(cdr.serialize(found), type(found)).__repr__() == found.__repr__()


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_a_message_cut_short_or_prolonged_is_an_error(data: st.DataObject) -> None:
    name = data.draw(
        st.sampled_from(["sensor_msgs/msg/JointState", "trajectory_msgs/msg/JointTrajectory", "sensor_msgs/msg/Image"])
    )
    message = message_of(name, data.draw(trees(name)))
    raw = bytes(cdr.serialize(message))
    with pytest.raises(DataError, match="does the sender use another definition"):
        cdr.deserialize(raw[: data.draw(st.integers(0, len(raw) - 4))], type(message))
    with pytest.raises(DataError, match="size mismatch"):
        cdr.deserialize(raw + bytes(4), type(message))


def test_xcdr2_and_big_endian() -> None:
    cls: Any = message_class("std_msgs/msg/Int32")
    assert cdr.deserialize(b"\0\0\0\0" + (5).to_bytes(4, "big"), cls).data == 5
    with pytest.raises(DataError, match="encapsulation"):
        cdr.deserialize(b"\0\x07\0\0" + (5).to_bytes(4, "little"), cls)


def test_lengths_that_lie_do_not_allocate() -> None:
    cls: Any = message_class("sensor_msgs/msg/JointState")
    lie = cdr.HEADER + bytes(8) + (1).to_bytes(4, "little") + b"\0\0\0\0" + (2**32 - 1).to_bytes(4, "little")
    with pytest.raises(DataError, match="Invalid sequence length"):
        cdr.deserialize(lie, cls)


def test_a_list_that_was_spoilt_after_its_check() -> None:
    cls: Any = message_class("sensor_msgs/msg/JointState")
    message = cls(name=["a"])
    message.name.append(3)
    with pytest.raises(UserError, match="JointState holds a value that its type does not allow"):
        cdr.serialize(message)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        # As ros2_pyterfaces has them (test_wire_pyterfaces.py compares all). Char: rosbags' own figure is another one.
        ("std_msgs/msg/String", "df668c740482bbd48fb39d76a70dfd4bd59db1288021743503259e948f6b1a18"),
        ("std_msgs/msg/Char", "3ad2d04dd29ba19d04b16659afa3ccaedd691914b02a64e82e252f2fa6a586a9"),
        ("std_srvs/srv/Trigger", "eeff2cd6fa5ad9d27cdf4dec64818317839b62f212a91e6b5304b634b2062c5f"),
    ],
)
def test_type_hashes(name: str, digest: str) -> None:
    cls = service_class(name) if "/srv/" in name else message_class(name)
    assert cdr.type_hash(cls) == f"RIHS01_{digest}"


def test_hashes_of_services_and_their_parts_differ() -> None:
    trigger: Any = service_class("std_srvs/srv/Trigger")
    assert len({cdr.type_hash(of) for of in (trigger, trigger.Request, trigger.Response)}) == 3
    with pytest.raises(UserError, match="is no ROS 2 message"):
        cdr.type_hash(int)
