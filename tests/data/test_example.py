"""The Example parser against TensorFlow's protobuf, and against bytes that nobody wrote on purpose."""

from __future__ import annotations

import contextlib
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_pt.errors import DataError
from robot_pt_data import example

VALUES = st.one_of(
    st.lists(st.binary(max_size=200), max_size=6),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=20),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20),
)
TREES = st.dictionaries(st.text(max_size=12), VALUES, max_size=6)


def varint(value: int) -> bytes:
    value %= 1 << 64
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(number: int, payload: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def encode(tree: dict[str, Any], packed: bool = True) -> bytes:
    """A second implementation of the wire format, writing instead of reading."""
    entries = b""
    for key, values in tree.items():
        if not values or isinstance(values[0], bytes):
            feature = message(1, b"".join(message(1, v) for v in values))
        elif isinstance(values[0], float):
            raw = np.array(values, "<f4").tobytes()
            parts = [raw[i : i + 4] for i in range(0, len(raw), 4)]
            feature = message(2, message(1, raw) if packed else b"".join(varint(1 << 3 | 5) + p for p in parts))
        else:
            numbers = [varint(v) for v in values]
            feature = message(
                3, message(1, b"".join(numbers)) if packed else b"".join(varint(1 << 3) + n for n in numbers)
            )
        entries += message(1, message(1, key.encode()) + message(2, feature))
    return message(1, entries)


def decode(data: bytes) -> dict[str, Any]:
    buffer = np.frombuffer(data, np.uint8)
    readers = {"bytes": example.strings, "float": example.floats, "int": example.ints}
    return {
        key: readers[where.kind or "bytes"](buffer, where)  # type: ignore[operator]
        for key, where in example.features(buffer, 0, len(buffer)).items()
    }


def same(found: dict[str, Any], tree: dict[str, Any]) -> bool:
    return list(found) == list(tree) and all(
        list(found[k]) == (v if not v or not isinstance(v[0], float) else list(np.array(v, np.float32)))
        for k, v in tree.items()
    )


@given(TREES, st.booleans())
def test_round_trip_packed_and_not(tree: dict[str, Any], packed: bool) -> None:
    assert same(decode(encode(tree, packed)), tree)


@given(TREES)
@settings(max_examples=50, deadline=None)
def test_protobuf_writes_what_we_read(tree: dict[str, Any]) -> None:
    tf = pytest.importorskip("tensorflow")
    lists = {
        bytes: ("bytes_list", tf.train.BytesList),
        float: ("float_list", tf.train.FloatList),
        int: ("int64_list", tf.train.Int64List),
    }
    feature = {}
    for key, values in tree.items():
        name, kind = lists[type(values[0])] if values else lists[bytes]
        feature[key] = tf.train.Feature(**{name: kind(value=values)})
    data = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
    found = decode(data)
    assert same({k: found[k] for k in tree}, tree)


@given(TREES, st.data())
@settings(max_examples=300)
def test_damaged_examples_raise_only_the_declared_error(tree: dict[str, Any], data: st.DataObject) -> None:
    whole = bytearray(encode(tree))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DataError):
        decode(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


@given(st.binary(max_size=400))
@settings(max_examples=300)
def test_any_bytes_raise_only_the_declared_error(data: bytes) -> None:
    with contextlib.suppress(DataError):
        decode(data)


def test_lengths_that_lie_allocate_nothing() -> None:
    huge = varint(1 << 3 | 2) + varint(1 << 60)
    tracemalloc.start()
    for data in (huge, message(1, huge), message(1, message(1, message(1, b"k") + message(2, message(2, huge))))):
        with pytest.raises(DataError):
            decode(data)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"\x80" * 11, "more than 64 bits"),
        (b"\x80", "a number is cut off"),
        (b"\x0b", "wire type 3"),
        (b"\x0a\x05ab", "past its message"),
        (b"\x0d\x01", "claims 4 bytes"),
        (message(1, message(1, message(1, b"\xff\xfe"))), "not UTF-8"),
        (
            encode({"a": [1.0]}).replace(message(1, np.float32(1).tobytes()), message(1, b"abcde"[:4]))[:-4] + b"abc",
            "past its message",
        ),
        (
            message(1, message(1, message(1, b"k") + message(2, message(2, message(1, b"abc"))))),
            "whole number of float32",
        ),
        (
            message(1, message(1, message(1, b"k") + message(2, message(3, message(1, b"\x80"))))),
            "ends inside a number",
        ),
        (
            message(1, message(1, message(1, b"k") + message(2, message(3, message(1, b"\x80" * 10 + b"\x00"))))),
            "more than 64 bits",
        ),
        (message(1, message(1, message(1, b"k") + message(2, message(3, b"\x0a\x7f")))), "claims 127 bytes"),
    ],
)
def test_each_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        decode(data)


def test_asking_for_the_wrong_kind_or_place() -> None:
    buffer = np.frombuffer(encode({"a": [1, 2]}), np.uint8)
    where = example.features(buffer, 0, len(buffer))["a"]
    with pytest.raises(DataError, match="holds int values, not float values"):
        example.floats(buffer, where)
    with pytest.raises(DataError, match="does not lie in a buffer"):
        example.features(buffer, 0, len(buffer) + 1)


def test_the_last_of_equal_keys_and_kinds_wins() -> None:
    first, second = encode({"a": [1]}), encode({"a": [2]})
    assert list(decode(first + second)["a"]) == [2]
